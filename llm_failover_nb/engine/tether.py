"""Ends from outside what a call awaits. Whether it shall is not decided here.

It works as ``asyncio.timeout`` does: it cancels the task, and where the step ends it takes the cancellation
back, unless somebody else has cancelled the task as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

__all__ = ["Tether"]


class Tether:
    """Holds the task that is in one step of a call; a call has one step at a time."""

    __slots__ = ("_before", "_held", "_pulled", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._held = False
        self._pulled = False

    def hold(self) -> None:
        """The running task begins a step."""
        self._task = task = asyncio.current_task()
        self._before = task.cancelling() if task is not None else 0
        self._held = True

    def release(self, error: BaseException | None) -> bool:
        """The step has ended, with ``error`` or without; whether it is the end that was pulled."""
        self._held = False
        if not self._pulled or self._task is None:
            return False
        self._pulled = False
        others = self._task.uncancel() > self._before
        return isinstance(error, asyncio.CancelledError) and not others

    def pull(self, wanted: Callable[[], bool]) -> None:
        """End the step from any thread, if ``wanted`` says so, which is asked on the loop."""
        task = self._task
        if task is not None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed, and nobody waits on it
                task.get_loop().call_soon_threadsafe(self._pull, wanted)

    def _pull(self, wanted: Callable[[], bool]) -> None:
        # The step may have ended since; then the task is at something else.
        if self._held and self._task is not None and not self._pulled and wanted():
            self._pulled = self._task.cancel()
