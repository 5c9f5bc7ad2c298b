"""What providers list of their models, asked for in the background and remembered: for completion.

Nothing here waits for a server, and nothing raises: what is not known is empty until it is known. How a list
is asked for and read is the provider's (``models``), what is done with the names is ``completion``'s.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from llm_failover_nb.engine.clock import Clock, SystemClock
from llm_failover_nb.engine.locks import new_lock
from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.types import Provider
from llm_failover_nb.providers.listing import usable_names

__all__ = ["KEPT", "RETRIED_AFTER", "Catalogue"]

KEPT = 3_600.0
"""Seconds that a list is taken for current; new models come by the week."""

RETRIED_AFTER = 60.0
"""Seconds after which a provider that gave no list is asked again, when its names are next wanted."""

_KEPT_AT_ONCE = 1.0  # seconds, of a list that costs this process a look at its own settings

_log = logging.getLogger("llm_failover_nb")


class _Lister(Protocol):
    def models(self) -> Iterable[object]: ...


@dataclass(frozen=True, slots=True)
class _List:
    """What is known of one provider's models.

    Args:
        provider: Whose they are; one that was registered anew under the same name has others.
        names: The models.
        until: When to ask again, on the monotonic clock.
    """

    provider: Provider
    names: tuple[str, ...]
    until: float


class Catalogue:
    """The models of providers, as far as they are known by now.

    A list is fetched on a daemon thread of its own, one at a time for each provider, and kept for an hour;
    after a failure the names known before stay, and the provider is asked again after a minute. One whose key
    is missing is not asked. Safe from any thread.

    Args:
        registry: Whose providers are meant.
        clock: Measures how old a list is.
    """

    def __init__(self, registry: SpecRegistry, *, clock: Clock | None = None) -> None:
        self._registry = registry
        self._clock = SystemClock() if clock is None else clock
        self._lock = new_lock()
        self._lists: dict[str, _List] = {}
        self._fetching: dict[str, threading.Thread] = {}

    def models(self, provider: str) -> tuple[str, ...]:
        """The bare names known now, in the provider's order; a fetch begins where they are not, or are old.

        Args:
            provider: The provider's name; one that is not known has no models.
        """
        try:
            asked = self._registry.provider(provider)
        except Exception:  # noqa: BLE001  # somebody else's provider, or settings that cannot be read
            return ()
        known = self._known(provider, asked)
        if known is not None and self._clock.monotonic() < known.until:
            return known.names
        if not _can_list(asked):
            return ()
        if getattr(asked, "lists_at_once", False) is True:
            return self._fetch(provider, asked, kept=_KEPT_AT_ONCE)
        self._begin(provider, asked)
        return () if known is None else known.names

    def wait(self, provider: str, timeout: float) -> bool:
        """Block until no fetch of this provider's list is under way, at most ``timeout`` s; whether none is.

        For tests.
        """
        with self._lock:
            thread = self._fetching.get(provider)
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _known(self, name: str, provider: Provider) -> _List | None:
        with self._lock:
            known = self._lists.get(name)
        return known if known is not None and known.provider is provider else None

    def _begin(self, name: str, provider: Provider) -> None:
        with self._lock:
            thread = self._fetching.get(name)
            # After a fork the parent's thread is not alive in here.
            if thread is not None and thread.is_alive():
                return
            thread = threading.Thread(
                target=self._fetch, args=(name, provider), name=f"llm-failover-models-{name}", daemon=True
            )
            self._fetching[name] = thread
            thread.start()

    def _fetch(self, name: str, provider: Provider, *, kept: float = KEPT) -> tuple[str, ...]:
        before = self._known(name, provider)
        names = () if before is None else before.names
        try:
            names = usable_names(cast("_Lister", provider).models())
        except Exception as error:  # noqa: BLE001  # whatever it is, completion goes on without the names
            _log.debug("no list of the models of %s: %s", name, redact(str(error)))
            kept = RETRIED_AFTER
        with self._lock:
            self._lists[name] = _List(provider, names, self._clock.monotonic() + kept)
        return names


def _can_list(provider: object) -> bool:
    """Whether there is something to ask, and the key to ask it with."""
    try:
        return callable(getattr(provider, "models", None)) and not getattr(provider, "missing_key", None)
    except Exception:  # noqa: BLE001  # a property of somebody else's
        return False
