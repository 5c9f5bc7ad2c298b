"""One thread that publishes what has changed, some times a second at most. It does not know what."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

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
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Something has changed; cheap, from any thread."""
        self._woken.set()
        if self._thread is None:
            self._begin()

    def close(self) -> None:
        """Publish no more, and wait for the thread, unless it is the one that asks."""
        self._closed.set()
        self._woken.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="llm-failover-panel", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        again: float | None = None
        while True:
            self._woken.wait(again)
            if self._closed.is_set():
                return
            self._woken.clear()
            try:
                again = self._publish()
            except Exception:
                logger.exception("a panel could not be brought up to date")
                again = None
            self._closed.wait(self._interval)
