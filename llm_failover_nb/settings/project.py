"""The project's file: where it is looked for, which one counts, what was passed over. Read once, as bytes.

From the working directory upwards, the first folder that has ``llm_failover.toml``, or a ``pyproject.toml``
with ``[tool.llm_failover]``. The last folder that is looked at is the user's home, one with ``.git`` in it,
or the file system's root.

A file of another user is not opened: in a folder where anybody can write, such as ``/tmp``, it could change
what the notebooks below it do. Root's are read, for root can change everything here anyway. A
``pyproject.toml`` that cannot be read, or is no TOML, is other tools' business and stops no call, unless a
line in it names ``tool.llm_failover``. Whatever is passed over is noted, for ``%llm config`` to show.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llm_failover_nb.settings.reader import decoded, parsed
from llm_failover_nb.settings.types import SettingsError

__all__ = ["PROJECT_FILE", "PYPROJECT", "TABLE", "Found", "ProjectFile", "find_project"]

PROJECT_FILE = "llm_failover.toml"
PYPROJECT = "pyproject.toml"
TABLE = "tool.llm_failover"

_NAMES_TABLE = re.compile(r"""\btool["']?\s*\.\s*["']?llm_failover\b""")


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A project's file, as it was when it was read.

    Args:
        path: Where it is.
        content: All of it.
        text: The same, decoded.
        top: The tables that are ours.
        within: Where in it they stand, dotted; empty where they are the whole file.
    """

    path: Path
    content: bytes = field(repr=False)
    text: str = field(repr=False)
    top: object = field(repr=False)
    within: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What the search has found.

    Args:
        file: The project's file; ``None`` where there is none.
        notes: What was passed over, and why: a sentence each.
    """

    file: ProjectFile | None
    notes: tuple[str, ...] = ()


def find_project(start: Path | None = None, *, but: Path | None = None) -> Found:
    """The project's file.

    Args:
        start: The folder to begin at, instead of the working directory.
        but: A file that is none, whatever its name: the user's own.

    Raises:
        SettingsError: When a folder has both files, or one that is ours cannot be read.
    """
    try:
        first = Path.cwd() if start is None else start.absolute()
    except OSError as error:
        return Found(
            None, (f"the working directory cannot be read ({error.strerror}); no project was found",)
        )
    search = _Search(but)
    for folder in _upwards(first):
        if (file := search.look_in(folder)) is not None:
            return Found(file, tuple(search.notes))
    return Found(None, tuple(search.notes))


def _upwards(first: Path) -> Iterator[Path]:
    """The folders to look in."""
    home = os.path.realpath(os.path.expanduser("~"))  # of a user without a home, a folder that nobody has
    for folder in (first, *first.parents):
        yield folder
        if os.path.realpath(folder) == home or os.path.lexists(folder / ".git"):
            return


class _Search:
    """One search, and what it passes over."""

    def __init__(self, but: Path | None) -> None:
        self._but = but
        self.notes: list[str] = []

    def look_in(self, folder: Path) -> ProjectFile | None:
        own, shared = self._own(folder / PROJECT_FILE), self._shared(folder / PYPROJECT)
        if own is not None and shared is not None:
            raise SettingsError(
                f"{own.path} and [{TABLE}] in {shared.path} are both settings of this project; move all of "
                "them into one of the two"
            )
        return own if own is not None else shared

    def _own(self, path: Path) -> ProjectFile | None:
        try:
            content = self._content(path)
        except OSError as error:
            raise SettingsError(f"the settings cannot be read: {error.strerror}", path=path) from None
        if content is None:
            return None
        text = decoded(content, path)
        return ProjectFile(path, content, text, parsed(text, path))

    def _shared(self, path: Path) -> ProjectFile | None:
        """A file that other tools have their tables in, too."""
        try:
            content = self._content(path)
        except OSError as error:
            self.notes.append(f"{path} cannot be read ({error.strerror}) and was passed over")
            return None
        if content is None or b"llm_failover" not in content:
            return None
        try:
            text = decoded(content, path)
            top = _ours(parsed(text, path))
        except SettingsError as error:
            if _NAMES_TABLE.search(content.decode("utf-8", "replace")):
                raise
            self.notes.append(f"{error}; it was passed over, since nothing in it names {TABLE}")
            return None
        return None if top is None else ProjectFile(path, content, text, top, TABLE)

    def _content(self, path: Path) -> bytes | None:
        """What the file holds; ``None`` for none, and for one that does not count."""
        if not self._is_there(path) or self._is_the_users(path):
            return None
        # Opened before it is looked at, so that nobody can put another in its place in between.
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                self.notes.append(f"{path} is no file, and was passed over")
                return None
            return file.read() if self._counts(path, status) else None

    def _is_there(self, path: Path) -> bool:
        try:
            return self._counts(path, path.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:  # a folder on the way up that may be passed through, but not looked into
            self.notes.append(f"{path} cannot be looked for ({error.strerror})")
            return False

    def _is_the_users(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            return self._but is not None and path.samefile(self._but)
        return False

    def _counts(self, path: Path, status: os.stat_result) -> bool:
        """Whether the file is the user's own."""
        if not hasattr(os, "geteuid") or status.st_uid in (0, os.geteuid()):
            return True
        self.notes.append(f"{path} belongs to another user ({status.st_uid}) and was not read")
        return False


def _ours(top: object) -> object:
    """The table that is ours; ``None`` where there is none."""
    for part in TABLE.split("."):
        if not isinstance(top, dict) or part not in top:
            return None
        top = top[part]
    return top


def _without_waiting(path: str, flags: int) -> int:
    """Opens a pipe, too, at once, instead of waiting for somebody to write into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
