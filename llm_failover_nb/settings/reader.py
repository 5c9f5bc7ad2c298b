"""One layer's tables to one layer's settings, with the line of each: every key known, every value fitting.

No files are read here, and no layer knows another.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from llm_failover_nb.settings.lines import line_of, lines_of
from llm_failover_nb.settings.types import (
    EMBEDDED_MODEL,
    Layer,
    Origin,
    ProviderSettings,
    Settings,
    SettingsError,
)
from llm_failover_nb.settings.values import (
    CELL,
    POLICY,
    Misfit,
    choice,
    filled,
    names_a_chain,
    shown,
    switch,
)

if TYPE_CHECKING:
    from llm_failover_nb.engine.chain import PolicyFields

__all__ = ["Source", "decoded", "parsed", "read"]

_KEYS = ("aliases", "cell", "chain", "chains", "local", "policy", "providers")
_LOCAL_KEYS = ("models",)
_PROVIDER_KEYS = ("allow_http", "base_url", "headers", "key_env", "wire")

# Three facts of the layer above, which this one cannot import; tests hold them to it.
_WIRES = ("anthropic", "gemini", "ollama", "openai")
_KEY_HEADERS = ("authorization", "cookie", "key", "secret", "token")  # how the names of such headers end
_LONGEST_LOWER_NAME = 24  # a variable that is not upper case, and longer than this, is rather a key

T = TypeVar("T")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Source:
    """Where a layer's values stand, and so what to blame.

    Args:
        layer: Whose they are.
        path: The file; ``None`` for the notebook's own.
        text: The file's text.
        within: The table of the file that holds them, dotted; empty where that is the whole file.
    """

    def __init__(self, layer: Layer, path: Path | None = None, text: str = "", *, within: str = "") -> None:
        self.layer = layer
        self.path = path
        self.within = within
        self._lines = lines_of(text)

    def line(self, name: str) -> int | None:
        """The line of a dotted name, or that of what it stands in."""
        return line_of(self.full(name), self._lines)

    def full(self, name: str) -> str:
        """A dotted name as the file spells it out."""
        return f"{self.within}.{name}" if self.within else name

    def origin(self, name: str) -> Origin:
        return Origin(self.layer, self.path, self.line(name))

    def error(self, misfit: Misfit) -> SettingsError:
        return SettingsError(misfit.problem, path=self.path, line=self.line(misfit.name))


def decoded(content: bytes, path: Path) -> str:
    """The text of a file.

    Raises:
        SettingsError: When it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError("this is not UTF-8 text; save it as UTF-8", path=path, line=line) from None


def parsed(text: str, path: Path) -> Mapping[str, object]:
    """The tables of a TOML text.

    Raises:
        SettingsError: When it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SettingsError("its tables and lists are nested too deeply to be read", path=path) from None
    except ValueError as error:  # a number of thousands of digits raises no TOMLDecodeError
        at = re.search(r"line (\d+)", str(error))
        line = (
            int(at[1]) if at else text.rstrip().count("\n") + 1 if "end of document" in str(error) else None
        )
        raise SettingsError(f"this is no TOML: {error}", path=path, line=line) from None


def read(top: object, source: Source) -> Settings:
    """The settings of one layer.

    Args:
        top: Its tables, as tomllib gives them.
        source: Where they stand.

    Raises:
        SettingsError: When a key is not known, or a value does not fit it.
    """
    try:
        return _Reader(source).settings(top)
    except Misfit as misfit:
        raise source.error(misfit) from None


class _Reader:
    """One layer on its way to :class:`Settings`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._origins: dict[str, Origin] = {}

    def settings(self, given: object) -> Settings:
        top = self._table("", given)
        _only_known(top, _KEYS)
        local = self._table("local", top.get("local", {}))
        _only_known(local, _LOCAL_KEYS, within="local")
        return Settings(
            chain=filled("chain", top["chain"]) if self._is_set("chain", top) else None,
            aliases=self._named("aliases", "an alias", top),
            chains=self._chains(top),
            cell=MappingProxyType(self._fields("cell", CELL, top)),
            policy=cast("PolicyFields", self._fields("policy", POLICY, top)),
            local=self._models(self._texts("local.models", local.get("models", {}))),
            providers=self._providers(self._table("providers", top.get("providers", {}))),
            path=self._source.path,
            origins=MappingProxyType(self._origins),
        )

    def _is_set(self, name: str, within: Mapping[str, object]) -> bool:
        if name in within:
            self._set_at([name])
        return name in within

    def _set_at(self, names: Iterable[str]) -> None:
        self._origins.update((name, self._source.origin(name)) for name in names)

    def _named(self, table: str, what: str, top: Mapping[str, object]) -> Mapping[str, str]:
        targets = self._texts(table, top.get(table, {}))
        for name in targets:
            names_a_chain(f"{table}.{name}", name, what)
        self._set_at(f"{table}.{name}" for name in targets)
        return targets

    def _chains(self, top: Mapping[str, object]) -> Mapping[str, str]:
        chains = self._named("chains", "a chain", top)
        for name in chains:
            if f"aliases.{name}" in self._origins:
                raise Misfit(
                    f"chains.{name}", f"{name!r} is an alias and a chain; rename one of the two, or delete it"
                )
        return chains

    def _fields(
        self, table: str, readers: Mapping[str, Callable[[str, object], T]], top: Mapping[str, object]
    ) -> dict[str, T]:
        given = self._table(table, top.get(table, {}))
        _only_known(given, tuple(readers), within=table)
        self._set_at(f"{table}.{key}" for key in given)
        return {key: readers[key](f"{table}.{key}", value) for key, value in given.items()}

    def _models(self, files: Mapping[str, str]) -> Mapping[str, Path]:
        if EMBEDDED_MODEL in files:
            name = f"local.models.{EMBEDDED_MODEL}"
            raise Misfit(
                name, f"{name} is the model that the package brings; call {files[EMBEDDED_MODEL]!r} otherwise"
            )
        self._set_at(f"local.models.{name}" for name in files)
        folder = (self._source.path or Path()).absolute().parent
        return MappingProxyType(
            {name: folder / _at_home(f"local.models.{name}", file) for name, file in files.items()}
        )

    def _providers(self, entries: Mapping[str, object]) -> Mapping[str, ProviderSettings]:
        providers = {name: self._provider(name, entry) for name, entry in entries.items()}
        self._set_at(f"providers.{name}" for name in providers)
        return MappingProxyType(providers)

    def _provider(self, provider: str, value: object) -> ProviderSettings:
        within = f"providers.{provider}"
        names_a_chain(within, provider, "a provider")
        entry = self._table(within, value)
        if "api_key" in entry:
            raise Misfit(
                f"{within}.api_key",
                f"{within}.api_key would be a key written in this file; put the key into an environment "
                'variable, and write its name here: key_env = "LAB_KEY"',
            )
        _only_known(entry, _PROVIDER_KEYS, within=within)
        if "base_url" not in entry:
            raise Misfit(within, f'{within} has no base_url; write base_url = "https://llm.example.org/v1"')
        return ProviderSettings(
            base_url=_base_url(f"{within}.base_url", entry["base_url"]),
            wire=choice(f"{within}.wire", entry["wire"], _WIRES) if "wire" in entry else None,
            key_env=_variable(f"{within}.key_env", entry["key_env"]) if "key_env" in entry else None,
            allow_http=switch(f"{within}.allow_http", entry.get("allow_http", False)),
            headers=self._headers(f"{within}.headers", entry.get("headers", {})),
            line=self._source.line(within),
        )

    def _headers(self, name: str, value: object) -> Mapping[str, str]:
        # The value is not shown: it may be one that carries a key.
        if not isinstance(value, dict):
            raise Misfit(name, f'{name} is a table of texts; write headers = {{ "x-team" = "nlp" }}')
        for header in value:
            if header.lower().endswith(_KEY_HEADERS):
                raise Misfit(
                    f"{name}.{header}",
                    f"{name}.{header} would be a key written in this file; name its variable instead: "
                    'key_env = "LAB_KEY", or give the header in code: register_provider(…, headers=…)',
                )
        headers = self._texts(name, value)
        for header, text in headers.items():
            if not (_HEADER_NAME.fullmatch(header) and text.isascii() and text.isprintable()):
                raise Misfit(
                    f"{name}.{header}",
                    f"{name}.{header} holds a character that no header can carry; leave it out",
                )
        return headers

    def _texts(self, name: str, value: object) -> Mapping[str, str]:
        items = self._table(name, value)
        return MappingProxyType({key: filled(f"{name}.{key}", item) for key, item in items.items()})

    def _table(self, name: str, value: object) -> Mapping[str, object]:
        if isinstance(value, dict):
            return value
        full = self._source.full(name).strip(".")
        raise Misfit(name, f"{full} is a table, not {shown(value)}; write [{full}] and its keys below it")


def _only_known(table: Mapping[str, object], known: tuple[str, ...], *, within: str = "") -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            name = f"{within}.{key}" if within else key
            raise Misfit(name, f"the key {name} is not known; {hint}")


def _at_home(name: str, file: str) -> Path:
    try:
        return Path(file).expanduser()
    except RuntimeError:
        raise Misfit(
            name, f"{name} is in a home folder that is not known: {shown(file)}; write the whole path"
        ) from None


def _base_url(name: str, value: object) -> str:
    url = filled(name, value)
    without_password = url.rpartition("@")[2]
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise Misfit(name, f"{name} {shown(without_password)} is no URL: {error}") from None
    if "@" in parts.netloc:
        raise Misfit(
            name,
            f"{name} holds a user name or a password, which is not sent; take it out, and name the "
            'variable with the key: key_env = "LAB_KEY"',
        )
    if not whole:
        raise Misfit(
            name,
            f"{name} {shown(without_password)} does not begin with https:// or http:// and a host; write it "
            'whole: base_url = "https://llm.example.org/v1"',
        )
    return url


def _variable(name: str, value: object) -> str:
    if isinstance(value, str) and _could_be_a_variable(value.strip()):
        return value.strip()
    raise Misfit(
        name,
        f"{name} is the name of an environment variable, such as LAB_KEY; what stands there is none, and "
        "is not shown here in case it is a key",
    )


def _could_be_a_variable(name: str) -> bool:
    """Whether this looks like a variable's name and not like a key that was pasted in its place."""
    return name.isidentifier() and name.isascii() and (name.isupper() or len(name) <= _LONGEST_LOWER_NAME)
