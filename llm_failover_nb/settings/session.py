"""What a notebook has set itself, on top of the files. No files in here, and nothing of a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llm_failover_nb.settings.layers import merged
from llm_failover_nb.settings.reader import Source, read
from llm_failover_nb.settings.types import Settings, SettingsError

__all__ = ["Session"]

_TABLES = ("aliases", "cell", "chains", "policy")
_ELSEWHERE = {
    "providers": "call register_provider, or write it into a settings file",
    "local": "write the file's whole path, as in local//path/to/model.gguf, or name it in a settings file",
}


class Session:
    """The topmost layer; each value is checked as one in a file would be.

    >>> session = Session()
    >>> session.set("cell.temperature", 0.2)
    >>> session.overlay(Settings()).cell["temperature"]
    0.2
    """

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    @property
    def values(self) -> Mapping[str, object]:
        """What is set here, as it was given, by dotted name."""
        return MappingProxyType(self._values)

    def set(self, name: str, value: object) -> None:
        """Set one value; the next :meth:`overlay` has it.

        Args:
            name: ``chain``, or a dotted name in ``aliases``, ``chains``, ``cell`` or ``policy``.
            value: What a settings file could hold there.

        Raises:
            SettingsError: When there is no such setting, or the value does not fit it; the message names
                both, and what was set before stays.
        """
        _check(name)
        table, _, key = name.partition(".")
        other = {"aliases": f"chains.{key}", "chains": f"aliases.{key}"}.get(table)
        values = {known: at for known, at in self._values.items() if known != other} | {name: value}
        _layer(values)
        self._values = values

    def unset(self, name: str) -> bool:
        """Leave a value to the files again; whether it had been set here."""
        was_set = name in self._values
        self._values = {known: value for known, value in self._values.items() if known != name}
        return was_set

    def overlay(self, settings: Settings) -> Settings:
        """The settings with what was set here on top.

        Args:
            settings: Those of the files.
        """
        return merged(settings, _layer(self._values))


def _layer(values: Mapping[str, object]) -> Settings:
    single: dict[str, object] = {}
    tables: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        table, dot, key = name.partition(".")
        if dot:
            tables.setdefault(table, {})[key] = value
        else:
            single[name] = value
    return read({**single, **tables}, Source("notebook"))


def _check(name: str) -> None:
    table, dot, key = name.partition(".")
    if table in _ELSEWHERE:
        raise SettingsError(f"{name} cannot be set in the notebook; {_ELSEWHERE[table]}")
    if table in _TABLES and not (dot and key):
        raise SettingsError(f"{name} is a table; name one of its keys, as in {table}.name")
    if table == "chain" and dot:
        raise SettingsError(f"{name} is no setting; chain has no keys: did you mean chains.{key}?")
