"""The user's settings: one TOML file, read on demand and checked whole. Nothing is kept or done here.

The file is ``settings.toml`` in the user's configuration folder, or the one that
``LLM_FAILOVER_NB_SETTINGS`` names::

    chain = "openai/gpt-x,local/smollm2"   # for cells that name none

    [aliases]
    fast = "groq/llama-small"

    [local.models]                         # local/qwen; relative to this file
    qwen = "~/models/qwen.gguf"
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import platformdirs

from llm_failover_nb.engine.errors import FailoverError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EMBEDDED_MODEL",
    "SETTINGS_VARIABLE",
    "Settings",
    "SettingsError",
    "load_settings",
    "settings_path",
]

SETTINGS_VARIABLE = "LLM_FAILOVER_NB_SETTINGS"
EMBEDDED_MODEL = "smollm2"

_KEYS = ("aliases", "chain", "local")
_LOCAL_KEYS = ("models",)

_HEADER = re.compile(r"\s*\[+([^\]]+)\]")
_SETTING = re.compile(r"\s*([^=#\[]+?)\s*=")


class SettingsError(FailoverError, ValueError):
    """The settings file cannot be used; the message names the file, the line, the value and the remedy.

    Args:
        problem: What is wrong, and what to do.
        path: The file.
        line: The line, from 1, where it is known.
    """

    def __init__(self, problem: str, *, path: Path, line: int | None = None) -> None:
        super().__init__(f"{path}{f', line {line}' if line else ''}: {problem}")
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user has set.

    Args:
        aliases: Short names for specs or chains.
        chain: The chain of cells that name none; ``None`` when not set.
        local: GGUF files by the name that follows ``local/``.
        path: The file that this was, or would have been, read from.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    chain: str | None = None
    local: Mapping[str, Path] = field(default_factory=dict)
    path: Path | None = None


def settings_path() -> Path:
    """Where the settings are: ``LLM_FAILOVER_NB_SETTINGS``, else the user's configuration folder."""
    if named := os.environ.get(SETTINGS_VARIABLE):
        return Path(named).expanduser()
    return platformdirs.user_config_path("llm-failover-nb", appauthor=False) / "settings.toml"


def load_settings(path: str | os.PathLike[str] | None = None) -> Settings:
    """Read the settings; a file that is not there is one with nothing in it.

    Args:
        path: The file to read, instead of :func:`settings_path`.

    Raises:
        SettingsError: When the file cannot be read, is no TOML, has a key that is not known or a value
            of the wrong type.
    """
    file = settings_path() if path is None else Path(path)
    text = _text(file)
    return Settings(path=file) if text is None else _Reader(file, text).settings()


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError("this is not UTF-8 text; save it as UTF-8", path=file, line=line) from None
    except OSError as error:
        raise SettingsError(f"the settings cannot be read: {error.strerror}", path=file) from None


class _Reader:
    """One file's text on its way to :class:`Settings`; it knows what to blame, and on which line."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._text = text

    def settings(self) -> Settings:
        top = self._parsed()
        self._only_known(top, _KEYS)
        local = self._table("local", top.get("local", {}))
        self._only_known(local, _LOCAL_KEYS, within="local")
        return Settings(
            aliases=self._texts("aliases", top.get("aliases", {})),
            chain=self._filled("chain", top["chain"]) if "chain" in top else None,
            local=self._models(self._texts("local.models", local.get("models", {}))),
            path=self._file,
        )

    def _parsed(self) -> Mapping[str, object]:
        try:
            return tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            at = re.search(r"line (\d+)", str(error))
            line = int(at[1]) if at else None
            raise SettingsError(f"this is no TOML: {error}", path=self._file, line=line) from None

    def _only_known(self, table: Mapping[str, object], known: tuple[str, ...], *, within: str = "") -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
                name = f"{within}.{key}" if within else key
                raise self._error(name, f"the key {name} is not known; {hint}")

    def _models(self, files: Mapping[str, str]) -> Mapping[str, Path]:
        if EMBEDDED_MODEL in files:
            name = f"local.models.{EMBEDDED_MODEL}"
            raise self._error(
                name, f"{name} is the model that the package brings; call {files[EMBEDDED_MODEL]!r} otherwise"
            )
        folder = self._file.absolute().parent
        return MappingProxyType({name: folder / Path(file).expanduser() for name, file in files.items()})

    def _texts(self, name: str, value: object) -> Mapping[str, str]:
        items = self._table(name, value)
        return MappingProxyType({key: self._filled(f"{name}.{key}", item) for key, item in items.items()})

    def _table(self, name: str, value: object) -> Mapping[str, object]:
        if isinstance(value, dict):
            return value
        raise self._error(name, f"{name} is a table, not {value!r}; write [{name}] and its keys below it")

    def _filled(self, name: str, value: object) -> str:
        if isinstance(value, str) and value.strip():
            return value.strip()
        key = name.rpartition(".")[2]
        raise self._error(name, f'{name} is a text that is not empty, not {value!r}; write {key} = "…"')

    def _error(self, name: str, problem: str) -> SettingsError:
        return SettingsError(problem, path=self._file, line=_line_of(name, self._text))


def _line_of(name: str, text: str) -> int | None:
    """The line that sets the dotted ``name``, as far as reading line by line can tell: tomllib keeps none."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        match = _HEADER.match(line) or _SETTING.match(line)
        if match is None:
            continue
        here = re.sub(r"[\s\"']", "", match[1])
        if match.re is _HEADER:
            table = f"{here}."
        else:
            here = table + here
        if here == name or here.startswith(f"{name}."):
            return number
    return None
