"""The settings' providers in a registry: one whose entry has changed or gone is made anew.

Nothing is read here: whoever reads the settings hands them on. Their aliases and chains need no following,
for registries look those up when a name is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.settings import ProviderSettings, Settings

__all__ = ["SettingsFile"]


class SettingsFile:
    """Remembers the providers' entries, to see which have changed.

    Args:
        registry: What follows the settings.
    """

    def __init__(self, registry: SpecRegistry) -> None:
        self._registry = registry
        self._providers: Mapping[str, ProviderSettings] = {}

    def follow(self, settings: Settings) -> None:
        """Let a provider whose entry is not what it was be made anew when it is next asked for.

        Calls that are still running over its connections go on. One that the session has registered is the
        session's own, and stays.

        Args:
            settings: All of them; with nothing in them, every provider that they brought goes.
        """
        before, self._providers = self._providers, settings.providers
        for name in {**before, **settings.providers}:
            if before.get(name) != settings.providers.get(name):
                self._registry.forget(name)
