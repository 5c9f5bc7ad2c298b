"""The only place that reads the time or waits. Everything that needs a clock is handed one."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time as the engine sees it; :class:`llm_failover_nb.testing.FakeClock` is the other one."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from some start, never going back: for durations and deadlines."""
        ...

    def sleep(self, seconds: float, /) -> None: ...
    async def asleep(self, seconds: float, /) -> None: ...


class SystemClock:
    """The machine's own clock."""

    monotonic = staticmethod(time.perf_counter)
    sleep = staticmethod(time.sleep)
    asleep = staticmethod(asyncio.sleep)

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)
