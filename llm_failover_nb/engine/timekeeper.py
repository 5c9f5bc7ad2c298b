"""Holds asynchronous providers that keep no time themselves to the request's timeouts. Nothing else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Generator
from typing import Generic, TypeVar, cast

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import AsyncProvider, Chunk, Request, Response

__all__ = ["Timed", "timeout_error"]

T = TypeVar("T")


def timeout_error(what: str, seconds: float | None, setting: str) -> ProviderError:
    """The failure of a model that was silent for too long."""
    return ProviderError(
        f"{what} within {seconds:g} s ({setting})", kind=ErrorKind.TRANSIENT, reason="timeout"
    )


class Timed:
    """An asynchronous provider whose calls end when the request's timeouts say so.

    A synchronous provider cannot be stopped from outside; it keeps its own time or none.
    """

    def __init__(self, provider: AsyncProvider) -> None:
        self._provider = provider

    async def acomplete(self, request: Request, /) -> Response:
        limit = request.timeouts.attempt
        end = None if limit is None else asyncio.get_running_loop().time() + limit
        try:
            return await _until(end, self._provider.acomplete(request))
        except _Expired:
            raise timeout_error("no answer", limit, "attempt_timeout") from None

    async def astream(self, request: Request, /) -> AsyncIterator[Chunk]:
        limits = request.timeouts
        clock = asyncio.get_running_loop().time
        start = clock()
        end = start + (math.inf if limits.attempt is None else limits.attempt)
        chunks = aiter(self._provider.astream(request))
        what, setting, limit = "no first token", "first_token_timeout", limits.first_token
        phase_start = start
        try:
            while True:
                phase_end = math.inf if limit is None else phase_start + limit
                when = min(end, phase_end)
                try:
                    # Never around the yield: it would cancel the consumer.
                    chunk = await _until(None if when == math.inf else when, anext(chunks))
                except StopAsyncIteration:
                    return
                except _Expired:
                    if end <= phase_end:
                        raise timeout_error("no whole answer", limits.attempt, "attempt_timeout") from None
                    raise timeout_error(what, limit, setting) from None
                yield chunk
                if setting == "idle_timeout":
                    phase_start = clock()
                elif chunk.text.strip() or chunk.tool:
                    what, setting, limit = "nothing more", "idle_timeout", limits.idle
                    phase_start = clock()
        finally:
            if (aclose := getattr(chunks, "aclose", None)) is not None:
                await aclose()


class _Expired(Exception):
    """A moment passed; unlike TimeoutError, nobody else raises it."""


async def _until(when: float | None, work: Awaitable[T]) -> T:
    """``work``, unless it lasts beyond ``when`` on the loop's clock.

    The timeout is set when the work first waits: most steps of most streams are there already, and a
    timeout costs more than they do.

    Raises:
        _Expired: When it does; the work has been cancelled.
    """
    steps = work.__await__()
    try:
        first = next(steps)
    except StopIteration as done:
        return cast("T", done.value)
    try:
        async with asyncio.timeout_at(when) as watch:
            return await _Rest(steps, first)
    except TimeoutError:
        if watch.expired():
            raise _Expired from None
        raise


class _Rest(Generic[T]):
    """What remains of some work whose first step has been taken."""

    def __init__(self, steps: Generator[object, object, T], first: object) -> None:
        self._steps = steps
        self._first = first

    def __await__(self) -> Generator[object, object, T]:
        step = self._first
        while True:
            try:
                try:
                    sent = yield step
                except BaseException as error:  # noqa: BLE001  # a cancel, too, is for the work to answer
                    step = self._steps.throw(error)
                else:
                    step = self._steps.send(sent)
            except StopIteration as done:
                return cast("T", done.value)
