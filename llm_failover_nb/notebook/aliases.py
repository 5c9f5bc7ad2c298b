"""The settings file's aliases in a registry: those new in it come, those gone from it go.

An alias that the session has set, changed or removed is the session's own, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_failover_nb.engine.registry import SpecRegistry

__all__ = ["FileAliases"]


class FileAliases:
    """Remembers what the file has brought, to tell it from what the session has set.

    Args:
        registry: Where the aliases are kept.
    """

    def __init__(self, registry: SpecRegistry) -> None:
        self._registry = registry
        self._brought: dict[str, str] = {}

    def follow(self, aliases: Mapping[str, str]) -> None:
        """Bring the registry to what the file says now.

        Args:
            aliases: All of the file's; none of them takes back whatever the file has brought.
        """
        standing = self._registry.aliases()
        for name in {**self._brought, **aliases}:
            if standing.get(name) == self._brought.get(name):
                self._set(name, aliases.get(name))

    def _set(self, name: str, target: str | None) -> None:
        if target is None:
            self._registry.unalias(name)
            del self._brought[name]
        elif target != self._brought.get(name):
            self._registry.alias(name, target)
            self._brought[name] = target
