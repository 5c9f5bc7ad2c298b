"""From files to the settings that hold: the user's, the project's, and what trust leaves of the latter.

The I/O of the package's settings begins here; every call reads anew, and keeps nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import platformdirs

from llm_failover_nb.settings import trust
from llm_failover_nb.settings.layers import merged, within_bounds
from llm_failover_nb.settings.project import Found, ProjectFile, find_project
from llm_failover_nb.settings.reader import Source, decoded, parsed, read
from llm_failover_nb.settings.types import SETTINGS_VARIABLE, Settings, SettingsError, Untrusted

__all__ = ["load_settings", "named_chains", "settings_path", "untrusted_words", "withheld"]


def settings_path() -> Path:
    """Where the user's own are: ``LLM_FAILOVER_NB_SETTINGS``, else the user's configuration folder."""
    if named := os.environ.get(SETTINGS_VARIABLE):
        return Path(named).expanduser()
    return platformdirs.user_config_path("llm-failover-nb", appauthor=False) / "settings.toml"


def load_settings(path: str | os.PathLike[str] | None = None) -> Settings:
    """The user's settings and the project's, merged; a file that is not there is one with nothing in it.

    Args:
        path: Read this file alone, as the user's.

    Raises:
        SettingsError: When a file cannot be read, is no TOML, has a key that is not known or a value that
            does not fit.
    """
    try:
        return _layers() if path is None else _users(Path(path))
    except SettingsError as error:
        refused = error
    # A key may stand in the file by mistake, and tracebacks show the locals of the frames that read it.
    refused.__context__ = None
    raise refused.with_traceback(None)


def named_chains() -> Mapping[str, str]:
    """What the settings let names stand for in a chain: aliases and named chains.

    Raises:
        SettingsError: As :func:`load_settings` does.
    """
    return load_settings().names


def withheld() -> Mapping[str, str]:
    """Names that only an untrusted project file defines: providers, aliases and chains, and why not.

    Raises:
        SettingsError: As :func:`load_settings` does.
    """
    untrusted = load_settings().untrusted
    if untrusted is None:
        return {}
    names = [*untrusted.providers, *(name.partition(".")[2] for name in untrusted.chains)]
    return dict.fromkeys(names, untrusted_words(untrusted))


def untrusted_words(untrusted: Untrusted) -> str:
    """Where something stands that does not count, why not, and what to do.

    >>> untrusted_words(Untrusted(Path("llm_failover.toml"), b""))
    'defined in llm_failover.toml, which is not trusted yet; run %llm trust to see what it wants and allow it'
    """
    why = "which is not trusted yet; run %llm trust to see what it wants and allow it"
    return f"defined in {untrusted.path}, {why}"


def _layers() -> Settings:
    file = settings_path()
    user, found = _users(file), find_project(but=file)
    if found.file is None:
        return replace(user, notes=found.notes)
    project = _projects(found.file)
    return replace(
        merged(user, project),
        project=found.file.path,
        untrusted=project.untrusted,
        notes=_notes(found, project),
    )


def _users(file: Path) -> Settings:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return Settings(path=file)
    except OSError as error:
        raise SettingsError(f"the settings cannot be read: {error.strerror}", path=file) from None
    text = decoded(content, file)
    return read(parsed(text, file), Source("user", file, text))


def _projects(file: ProjectFile) -> Settings:
    project = read(file.top, Source("project", file.path, file.text, within=file.within))
    return project if trust.trusted(file.path, file.content) else within_bounds(project, file.content)


def _notes(found: Found, project: Settings) -> tuple[str, ...]:
    """What was passed over; and why a file is not trusted, if the user's list is to blame."""
    problem = "" if project.untrusted is None else trust.problem()
    return (*found.notes, problem) if problem else found.notes
