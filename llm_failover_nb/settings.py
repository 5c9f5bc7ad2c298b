"""The user's settings: one TOML file, read on demand and checked whole. Nothing is kept or done here.

The file is ``settings.toml`` in the user's configuration folder, or the one that
``LLM_FAILOVER_NB_SETTINGS`` names::

    chain = "openai/gpt-x,local/smollm2"   # for cells that name none

    [aliases]
    fast = "groq/llama-small"

    [local.models]                         # local/qwen; relative to this file
    qwen = "~/models/qwen.gguf"

    [providers.lab]                        # lab/MODEL; wins over a built-in name
    base_url = "https://llm.example.org/v1"
    wire = "openai"                        # or anthropic, gemini, ollama; a built-in name has its own
    key_env = "LAB_KEY"                    # the variable with the key; the key itself is refused here
    allow_http = false                     # true lets the key travel over plain http to another machine
    headers = { "x-team" = "nlp" }
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
from urllib.parse import urlsplit

import platformdirs

from llm_failover_nb.engine.errors import FailoverError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EMBEDDED_MODEL",
    "ProviderSettings",
    "SETTINGS_VARIABLE",
    "Settings",
    "SettingsError",
    "load_settings",
    "settings_path",
]

SETTINGS_VARIABLE = "LLM_FAILOVER_NB_SETTINGS"
EMBEDDED_MODEL = "smollm2"

_KEYS = ("aliases", "chain", "local", "providers")
_LOCAL_KEYS = ("models",)
_PROVIDER_KEYS = ("allow_http", "base_url", "headers", "key_env", "wire")

# Three facts of the layer above, which this one cannot import; tests hold them to it.
_WIRES = ("anthropic", "gemini", "ollama", "openai")
_KEY_HEADERS = ("authorization", "cookie", "key", "secret", "token")  # how the names of such headers end
_LONGEST_LOWER_NAME = 24  # a variable that is not upper case, and longer than this, is rather a key

# What is longer may be a key; what looks like a host and a path is none.
_LONGEST_SHOWN = 20
_ADDRESS = re.compile(
    r"(?:\w{1,10}://)?(?:[\w-]{1,30}(?:\.[\w-]{1,30}){1,5}|localhost)(?::\d{1,5})?(?:/[\w.-]{1,20}){0,5}/?"
)

_TABLE = re.compile(r"\s*\[+([^\]]+)\]")
_SETTING = re.compile(r"\s*([^=#\[]+?)\s*=")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


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
class ProviderSettings:
    """One ``[providers.NAME]``: an endpoint whose models are ``NAME/MODEL``.

    Args:
        base_url: Where it listens, ``http`` or ``https``, with a host.
        wire: The dialect it speaks; ``None`` leaves it to the name: a built-in one has its own.
        key_env: The environment variable with its key; ``None`` when the file names none.
        allow_http: Whether the key may travel over plain http to a host other than this machine.
        headers: Further headers to send; none of them carries a key.
        line: Where the entry stands in the file, from 1; two that differ by it alone are equal.
    """

    base_url: str
    wire: str | None = None
    key_env: str | None = None
    allow_http: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user has set.

    Args:
        aliases: Short names for specs or chains.
        chain: The chain of cells that name none; ``None`` when not set.
        local: GGUF files by the name that follows ``local/``.
        providers: Endpoints by the name that stands before the slash.
        path: The file that this was, or would have been, read from.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    chain: str | None = None
    local: Mapping[str, Path] = field(default_factory=dict)
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
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
    try:
        return _read(file)
    except SettingsError as error:
        refused = error
    # A key may stand in the file by mistake, and tracebacks show the locals of the frames that read it.
    refused.__context__ = None
    raise refused.with_traceback(None)


def _read(file: Path) -> Settings:
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
            aliases=self._aliases(self._texts("aliases", top.get("aliases", {}))),
            chain=self._filled("chain", top["chain"]) if "chain" in top else None,
            local=self._models(self._texts("local.models", local.get("models", {}))),
            providers=MappingProxyType(
                {
                    name: self._provider(name, entry)
                    for name, entry in self._table("providers", top.get("providers", {})).items()
                }
            ),
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

    def _aliases(self, targets: Mapping[str, str]) -> Mapping[str, str]:
        for alias in targets:
            if not alias or set(alias) & set("/, \t\n"):
                raise self._error(
                    f"aliases.{alias}",
                    f"{alias!r} is no name for an alias: give it one without slash, comma or space",
                )
        return targets

    def _models(self, files: Mapping[str, str]) -> Mapping[str, Path]:
        if EMBEDDED_MODEL in files:
            name = f"local.models.{EMBEDDED_MODEL}"
            raise self._error(
                name, f"{name} is the model that the package brings; call {files[EMBEDDED_MODEL]!r} otherwise"
            )
        folder = self._file.absolute().parent
        return MappingProxyType({name: folder / Path(file).expanduser() for name, file in files.items()})

    def _provider(self, provider: str, value: object) -> ProviderSettings:
        within = f"providers.{provider}"
        if not provider or set(provider) & set("/, \t\n"):
            raise self._error(
                within, f"{provider!r} is no name for a provider: give it one without slash, comma or space"
            )
        entry = self._table(within, value)
        if "api_key" in entry:
            raise self._error(
                f"{within}.api_key",
                f"{within}.api_key would be a key written in this file; put the key into an environment "
                'variable, and write its name here: key_env = "LAB_KEY"',
            )
        self._only_known(entry, _PROVIDER_KEYS, within=within)
        if "base_url" not in entry:
            raise self._error(
                within, f'{within} has no base_url; write base_url = "https://llm.example.org/v1"'
            )
        return ProviderSettings(
            base_url=self._base_url(f"{within}.base_url", entry["base_url"]),
            wire=self._wire(f"{within}.wire", entry["wire"]) if "wire" in entry else None,
            key_env=self._variable(f"{within}.key_env", entry["key_env"]) if "key_env" in entry else None,
            allow_http=self._switch(f"{within}.allow_http", entry.get("allow_http", False)),
            headers=self._headers(f"{within}.headers", entry.get("headers", {})),
            line=_line_of(within, self._text),
        )

    def _base_url(self, name: str, value: object) -> str:
        url = self._filled(name, value)
        shown = url.rpartition("@")[2]  # what stands before it may be a password
        try:
            parts = urlsplit(url)
            whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError as error:
            raise self._error(name, f"{name} {_shown(shown)} is no URL: {error}") from None
        if "@" in parts.netloc:
            raise self._error(
                name,
                f"{name} holds a user name or a password, which is not sent; take it out, and name the "
                'variable with the key: key_env = "LAB_KEY"',
            )
        if not whole:
            raise self._error(
                name,
                f"{name} {_shown(shown)} does not begin with https:// or http:// and a host; write it whole: "
                'base_url = "https://llm.example.org/v1"',
            )
        return url

    def _wire(self, name: str, value: object) -> str:
        wire = self._filled(name, value)
        if wire in _WIRES:
            return wire
        near = difflib.get_close_matches(wire.lower(), _WIRES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of: {', '.join(_WIRES)}"
        raise self._error(name, f"{name} {_shown(wire)} is not known; {hint}")

    def _variable(self, name: str, value: object) -> str:
        if isinstance(value, str) and _could_be_a_variable(value.strip()):
            return value.strip()
        raise self._error(
            name,
            f"{name} is the name of an environment variable, such as LAB_KEY; what stands there is none, and "
            "is not shown here in case it is a key",
        )

    def _switch(self, name: str, value: object) -> bool:
        if isinstance(value, bool):
            return value
        key = name.rpartition(".")[2]
        raise self._error(name, f"{name} is true or false, not {_shown(value)}; write {key} = true")

    def _headers(self, name: str, value: object) -> Mapping[str, str]:
        # The value is not shown: it may be one that carries a key.
        if not isinstance(value, dict):
            raise self._error(name, f'{name} is a table of texts; write headers = {{ "x-team" = "nlp" }}')
        for header in value:
            if header.lower().endswith(_KEY_HEADERS):
                raise self._error(
                    f"{name}.{header}",
                    f"{name}.{header} would be a key written in this file; name its variable instead: "
                    'key_env = "LAB_KEY", or give the header in code: register_provider(…, headers=…)',
                )
        headers = self._texts(name, value)
        for header, text in headers.items():
            if not (_HEADER_NAME.fullmatch(header) and text.isascii() and text.isprintable()):
                raise self._error(
                    f"{name}.{header}",
                    f"{name}.{header} holds a character that no header can carry; leave it out",
                )
        return headers

    def _texts(self, name: str, value: object) -> Mapping[str, str]:
        items = self._table(name, value)
        return MappingProxyType({key: self._filled(f"{name}.{key}", item) for key, item in items.items()})

    def _table(self, name: str, value: object) -> Mapping[str, object]:
        if isinstance(value, dict):
            return value
        raise self._error(
            name, f"{name} is a table, not {_shown(value)}; write [{name}] and its keys below it"
        )

    def _filled(self, name: str, value: object) -> str:
        if isinstance(value, str) and value.strip():
            return value.strip()
        key = name.rpartition(".")[2]
        raise self._error(name, f'{name} is a text that is not empty, not {_shown(value)}; write {key} = "…"')

    def _error(self, name: str, problem: str) -> SettingsError:
        return SettingsError(problem, path=self._file, line=_line_of(name, self._text))


def _could_be_a_variable(name: str) -> bool:
    """Whether this looks like a variable's name and not like a key that was pasted in its place."""
    return name.isidentifier() and name.isascii() and (name.isupper() or len(name) <= _LONGEST_LOWER_NAME)


def _shown(value: object) -> str:
    """A value as a message shows it; not where it may be a key that stands in the wrong place.

    >>> _shown("opnai"), _shown(3), _shown("sk-0123456789abcdefghijklmn")
    ("'opnai'", '3', 'what stands there (not shown here, in case it is a key)')
    """
    text = repr(value)
    if len(text) <= _LONGEST_SHOWN or (isinstance(value, str) and _ADDRESS.fullmatch(value)):
        return text
    return "what stands there (not shown here, in case it is a key)"


def _line_of(name: str, text: str) -> int | None:
    """The line that sets the dotted ``name``, or else that of what it stands in: inline tables have one."""
    while name:
        if (line := _line_setting(name, text)) is not None:
            return line
        name = name.rpartition(".")[0]
    return None


def _line_setting(name: str, text: str) -> int | None:
    """The line that sets ``name``, as far as reading line by line can tell: tomllib keeps none."""
    name, table = _bare(name), ""
    for number, line in enumerate(text.splitlines(), 1):
        match = _TABLE.match(line) or _SETTING.match(line)
        if match is None:
            continue
        here = _bare(match[1])
        if match.re is _TABLE:
            table = f"{here}."
        else:
            here = table + here
        if here == name or here.startswith(f"{name}."):
            return number
    return None


def _bare(name: str) -> str:
    """A dotted name without quotes and spaces, in which TOML leaves a choice."""
    return re.sub(r"[\s\"']", "", name)
