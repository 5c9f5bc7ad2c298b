"""Holds asynchronous providers that keep no time themselves to the request's timeouts. Nothing else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import AsyncProvider, Chunk, Request, Response

__all__ = ["Timed", "timeout_error"]


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
        try:
            async with asyncio.timeout(limit) as watch:
                return await self._provider.acomplete(request)
        except TimeoutError:
            if watch.expired():
                raise timeout_error("no answer", limit, "attempt_timeout") from None
            raise

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
                    async with asyncio.timeout_at(None if when == math.inf else when) as watch:
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if not watch.expired():
                        raise
                    if end <= phase_end:
                        raise timeout_error("no whole answer", limits.attempt, "attempt_timeout") from None
                    raise timeout_error(what, limit, setting) from None
                yield chunk
                if setting == "idle_timeout":
                    phase_start = clock()
                elif chunk.text or chunk.tool:
                    what, setting, limit = "nothing more", "idle_timeout", limits.idle
                    phase_start = clock()
        finally:
            if (aclose := getattr(chunks, "aclose", None)) is not None:
                await aclose()
