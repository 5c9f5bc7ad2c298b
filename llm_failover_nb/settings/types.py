"""What settings are once they have been read: frozen data, and the one error. Nothing is read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from llm_failover_nb.engine.errors import FailoverError

if TYPE_CHECKING:
    from llm_failover_nb.engine.chain import PolicyFields

__all__ = [
    "CELL_DEFAULTS",
    "EMBEDDED_MODEL",
    "SETTINGS_VARIABLE",
    "CellValue",
    "Format",
    "Layer",
    "Origin",
    "ProviderSettings",
    "Settings",
    "SettingsError",
    "Untrusted",
]

SETTINGS_VARIABLE = "LLM_FAILOVER_NB_SETTINGS"
EMBEDDED_MODEL = "smollm2"

Layer: TypeAlias = Literal["default", "user", "project", "notebook"]
"""Who set a value; each wins over those before it."""

Format: TypeAlias = Literal["markdown", "text", "json", "code", "html"]


class SettingsError(FailoverError, ValueError):
    """A setting cannot be used; the message names the file, the line, the value and the remedy.

    Args:
        problem: What is wrong, and what to do.
        path: The file; ``None`` for what the notebook set.
        line: The line, from 1, where it is known.
    """

    def __init__(self, problem: str, *, path: Path | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}{f', line {line}' if line else ''}: "
        super().__init__(f"{where}{problem}")
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Args:
        layer: Who set it.
        path: The file that sets it; ``None`` for a default and for what the notebook set.
        line: Its line there, from 1, where it is known.
    """

    layer: Layer
    path: Path | None = None
    line: int | None = None

    @property
    def words(self) -> str:
        """The layer, and the file and line where there is one.

        >>> Origin("user", Path("settings.toml"), 3).words
        'user: settings.toml, line 3'
        """
        if self.path is None:
            return self.layer
        return f"{self.layer}: {self.path}{f', line {self.line}' if self.line else ''}"


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


CellValue: TypeAlias = str | float | int | bool | tuple[str, ...]

CELL_DEFAULTS: Mapping[str, CellValue | None] = MappingProxyType(
    {
        "system": None,
        "temperature": None,
        "max_tokens": None,
        "stop": None,
        "seed": None,
        "format": "markdown",
        "stream": True,
        "raw": False,
        "await_cells": True,
    }
)
"""What a ``%%llm`` cell takes where neither its first line nor a setting says; ``None`` sends nothing."""


@dataclass(frozen=True, slots=True)
class Untrusted:
    """What a project's file asks for and does not get, because the user has not trusted it.

    Args:
        path: The file.
        content: All of it, as it was read: what is shown is what can be trusted.
        providers: Its ``[providers.NAME]``: hosts, and the variables with their keys.
        models: Its ``[local.models]``: files to load.
        chains: Its chains that name such a file themselves (``local//path/to.gguf``), by dotted name.
        origins: Where each of these stands, by dotted name.
    """

    path: Path
    content: bytes = field(repr=False)
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    models: Mapping[str, Path] = field(default_factory=dict)
    chains: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False)


def _no_policy() -> PolicyFields:
    return cast("PolicyFields", {})


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user has set, in one layer or in several merged.

    Args:
        aliases: Short names for specs or chains.
        chain: The chain of cells that name none; ``None`` when not set.
        local: GGUF files by the name that follows ``local/``.
        providers: Endpoints by the name that stands before the slash.
        path: The user's file that this was, or would have been, read from.
        chains: Named chains; no name is in ``aliases``, too.
        cell: What is set of the defaults of ``%%llm`` cells; the rest is :data:`CELL_DEFAULTS`. ``stop`` is a
            tuple of texts.
        policy: The fields of :class:`~llm_failover_nb.engine.policy.Policy` that are set; ready to be given
            to ``parse_chain(…, **settings.policy)``.
        project: The project's file, where there is one that says something.
        untrusted: What that file asks for and does not get; ``None`` when nothing was left out.
        notes: What else was not read, and why: a sentence each.
        origins: Where each value that is set comes from, by its dotted name, such as ``chain``,
            ``chains.prod``, ``cell.temperature`` or ``providers.lab``.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    chain: str | None = None
    local: Mapping[str, Path] = field(default_factory=dict)
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    path: Path | None = None
    chains: Mapping[str, str] = field(default_factory=dict)
    cell: Mapping[str, CellValue] = field(default_factory=dict)
    policy: PolicyFields = field(default_factory=_no_policy)
    project: Path | None = None
    untrusted: Untrusted | None = None
    notes: tuple[str, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False)

    @property
    def names(self) -> Mapping[str, str]:
        """All that a name can stand for in a chain: the aliases and the named chains."""
        return {**self.aliases, **self.chains}
