"""The thread that looks into a store some times a second, off the call path. It decides nothing."""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet

from llm_failover_nb.engine.bench import BenchRegistry
from llm_failover_nb.engine.events import logger
from llm_failover_nb.engine.sharing import BenchStore

__all__ = ["Lookout", "Store"]


class Store(BenchStore, Protocol):
    """A store as the lookout keeps it."""

    def tidy(self) -> None:
        """Do what the store needs done now and then."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


# All of the process's, so that a forked one has their threads too.
_lookouts: WeakSet[Lookout] = WeakSet()


class Lookout:
    """Connects a registry with a store, and looks for changes until it is closed.

    Args:
        registry: Whose benches are shared.
        store: Where; it is closed with this.
    """

    period = 0.1
    """Seconds between two looks: a bench is seen elsewhere after that long at most, and some more."""

    def __init__(self, registry: BenchRegistry, store: Store) -> None:
        self._registry = registry
        self._store = store
        self._complained = False
        registry.share(store)
        self._start()
        _lookouts.add(self)

    def _start(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._look_out, args=(self._ended,), name="llm-failover-store", daemon=True
        )
        self._thread.start()

    def _look_out(self, ended: threading.Event) -> None:
        while not ended.wait(self.period):
            try:
                self._registry.pull()
                self._store.tidy()
            except Exception:  # noqa: BLE001  # told, but once and not ten times a second
                if not self._complained:
                    logger.exception("looking into the store failed; looking goes on")
                self._complained = True

    def close(self) -> None:
        """End the thread, hand over what is left, and close the store; the registry keeps what it knows."""
        _lookouts.discard(self)
        self._ended.set()
        self._thread.join()
        self._registry.pull()
        self._registry.share(None)
        self._store.close()

    def after_fork_in_child(self) -> None:
        """A child has none of its parent's threads."""
        self._start()


def _after_fork_in_child() -> None:
    for lookout in tuple(_lookouts):
        lookout.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
