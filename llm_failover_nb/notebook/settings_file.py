"""The settings file in a registry: what is new in it comes, what has changed is made anew, what is gone goes.

An alias that the session has set, changed or removed is the session's own, and stays as it is; so does a
provider that it has registered. Nothing is read here: whoever reads the file hands it on.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.settings import ProviderSettings, Settings

__all__ = ["SettingsFile"]


class SettingsFile:
    """Remembers what the file has brought, to tell it from what the session has set.

    Args:
        registry: What follows the file.
    """

    def __init__(self, registry: SpecRegistry) -> None:
        self._registry = registry
        self._aliases: dict[str, str] = {}
        self._providers: Mapping[str, ProviderSettings] = {}

    def follow(self, settings: Settings) -> None:
        """Bring the registry to what the file says now.

        A provider whose entry has changed is made anew when it is next asked for; calls that are still
        running over its connections go on.

        Args:
            settings: All of the file; one with nothing in it takes back whatever the file has brought.
        """
        self._follow_aliases(settings.aliases)
        self._follow_providers(settings.providers)

    def _follow_aliases(self, aliases: Mapping[str, str]) -> None:
        standing = self._registry.aliases()
        for name in {**self._aliases, **aliases}:
            if standing.get(name) == self._aliases.get(name):
                self._set(name, aliases.get(name))

    def _set(self, name: str, target: str | None) -> None:
        if target is None:
            self._registry.unalias(name)
            del self._aliases[name]
        elif target != self._aliases.get(name):
            self._registry.alias(name, target)
            self._aliases[name] = target

    def _follow_providers(self, providers: Mapping[str, ProviderSettings]) -> None:
        before, self._providers = self._providers, providers
        for name in {**before, **providers}:
            if before.get(name) != providers.get(name):
                self._registry.forget(name)
