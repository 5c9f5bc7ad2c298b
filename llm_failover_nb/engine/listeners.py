"""Callables that are told that something has changed, and not what. Nothing else.

What changes says so once it is settled, outside its locks; who listens looks for itself, later and elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from llm_failover_nb.engine.locks import new_lock

__all__ = ["Listeners"]

logger = logging.getLogger("llm_failover_nb")


class Listeners:
    """Some listeners, or none, which is false."""

    __slots__ = ("_all", "_lock")

    def __init__(self) -> None:
        self._lock = new_lock()
        self._all: tuple[Callable[[], object], ...] = ()

    def add(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Have ``listener`` told from now on, in whatever thread the change happens; it must be quick.

        Returns:
            What takes it away again.
        """
        # An object of its own: a listener that is added twice is taken away one at a time.
        added = partial(listener)

        def remove() -> None:
            with self._lock:
                self._all = tuple(each for each in self._all if each is not added)

        with self._lock:
            self._all = (*self._all, added)
        return remove

    def __bool__(self) -> bool:
        return bool(self._all)

    def tell(self) -> None:
        """Something has changed; a listener that raises is logged."""
        for listener in self._all:
            try:
                listener()
            except Exception:
                logger.exception("a listener raised; what it listens to goes on")
