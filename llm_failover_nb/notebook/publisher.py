"""One thread that publishes what has changed, some times a second at most. It does not know what."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from llm_failover_nb.engine.locks import new_lock

__all__ = ["Publisher"]

logger = logging.getLogger("llm_failover_nb")


class Publisher:
    """Calls ``publish`` after one or many wakes, on a daemon thread that begins with the first.

    Args:
        publish: Publishes what there is; returns the seconds after which it wants to be called even if
            nobody wakes it, or ``None``. What it raises is logged, and it is called again at the next wake.
        interval: Seconds between two calls at least.
    """

    def __init__(self, publish: Callable[[], float | None], *, interval: float = 0.2) -> None:
        self._publish = publish
        self._interval = interval
        # A process that a call forks may find it held by this one's thread.
        self._changed = threading.Condition(new_lock())
        self._woken = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Something has changed; cheap, from any thread."""
        if self._woken:
            return  # the publication that will tell of it has not begun
        with self._changed:
            self._woken = True
            self._changed.notify_all()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="llm-failover-panel", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Publish no more, and wait for the thread, unless it is the one that asks."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _run(self) -> None:
        again: float | None = None
        while self._wants_another(again):
            try:
                again = self._publish()
            except Exception:
                logger.exception("a panel could not be brought up to date")
                again = None
            with self._changed:
                self._changed.wait_for(lambda: self._closed, self._interval)

    def _wants_another(self, again: float | None) -> bool:
        """Wait for the next change, or ``again`` seconds; false once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._closed, again)
            self._woken = False
            return not self._closed
