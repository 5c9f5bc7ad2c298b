"""A cancelled call counts as nothing: no failover, no bench, no event; the request on the wire is closed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing

import pytest

import llm_failover_nb as fo
from llm_failover_nb.providers.register import register_provider
from llm_failover_nb.testing import FaultServer, ScriptedProvider
from tests.engine.conftest import Bed, dead, down, drive


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """A server that fails on purpose, over real sockets."""
    with FaultServer() as running:
        yield running


@pytest.fixture
def wired(bed: Bed, server: FaultServer) -> Bed:
    """A world with that server under the name ``srv``."""
    register_provider("srv", base_url=server.url, registry=bed.registry)
    return bed


def untouched(bed: Bed) -> bool:
    """Whether a call left no bench and told no event."""
    return bed.benched() == {} and bed.events == [] and not bed.benches.blocked("a/m", call=-1)


@pytest.mark.parametrize(
    "cancel", [asyncio.CancelledError, concurrent.futures.CancelledError, KeyboardInterrupt, SystemExit]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_cancel_in_an_attempt_stops_at_once(bed: Bed, path: str, cancel: type[BaseException]) -> None:
    """Whatever form the caller's wish to stop takes."""
    chain = bed.chain({"a": cancel(), "b": "no"})
    with pytest.raises(cancel):
        drive(path, chain)
    assert (bed.asked("a"), bed.asked("b"), untouched(bed)) == (1, 0, True)
    assert bed.outcomes() == [("a/m", "cancelled")]


def test_cancel_in_a_backoff_stops_at_once(bed: Bed, path: str) -> None:
    """A wait is as good a place to stop as an attempt; a probe gives back its place."""
    chain = bed.chain({"a": (dead(), down(), "ok"), "b": "other"})
    drive(path, chain)
    bed.events.clear()
    bed.clock.advance(301)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    async def cancelled(seconds: float) -> None:
        raise KeyboardInterrupt

    bed.clock.sleep, bed.clock.asleep = interrupted, cancelled
    with pytest.raises(KeyboardInterrupt):
        drive(path, chain)
    assert (bed.asked("a"), untouched(bed)) == (2, True)


@pytest.mark.parametrize("method", ["acomplete", "astream"])
def test_cancel_at_every_await(bed: Bed, method: str) -> None:
    """However many turns of the loop the task has had, a cancel leaves no bench and no event."""

    class Slow:
        async def acomplete(self, request: fo.Request) -> fo.Response:
            for _ in range(4):
                await asyncio.sleep(0)
            if request.attempt == 1:
                raise down()
            return fo.Response("ok")

        async def astream(self, request: fo.Request) -> AsyncIterator[fo.Chunk]:
            yield fo.Chunk((await self.acomplete(request)).text)
            await asyncio.sleep(0)
            yield fo.Chunk("ok")

    bed.add("a", Slow())
    chain = fo.parse_chain("a/m", observer=bed.events.append, **bed.world)

    async def call() -> str:
        if method == "acomplete":
            return (await chain.acomplete("hi")).text
        async with aclosing(chain.astream("hi")) as chunks:
            return "".join([chunk.text async for chunk in chunks])

    async def cancelled_after(turns: int) -> bool:
        task = asyncio.ensure_future(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    turns = 0
    while asyncio.run(cancelled_after(turns)):
        assert untouched(bed), turns
        turns += 1
    assert turns >= 10


@pytest.mark.parametrize("close_after", [1, 2])
def test_closed_generator_is_a_cancel(bed: Bed, close_after: int) -> None:
    """Closing a stream before its end closes the provider's, and says nothing about the model."""
    chain = bed.chain({"a": "one two three"})
    with closing(chain.stream("hi")) as chunks:
        for _ in range(close_after):
            next(chunks)
    assert (bed.providers["a"].closed, untouched(bed)) == (1, True)


def test_closed_async_generator_is_a_cancel(bed: Bed) -> None:
    """The same, asynchronously."""
    chain = bed.chain({"a": "one two three"})

    async def leave_early() -> None:
        async with aclosing(chain.astream("hi")) as chunks:
            await anext(chunks)

    asyncio.run(leave_early())
    assert (bed.providers["a"].closed, untouched(bed)) == (1, True)


class Holds(ScriptedProvider):
    """Keeps the streams it gave, so that being collected does not close them."""

    def __init__(self, *script: object) -> None:
        super().__init__(*script)
        self.held: list[object] = []

    def stream(self, request: fo.Request) -> Iterator[fo.Chunk]:
        self.held.append(super().stream(request))
        return self.held[-1]

    def astream(self, request: fo.Request) -> AsyncIterator[fo.Chunk]:
        self.held.append(super().astream(request))
        return self.held[-1]


def test_leaving_a_stream_closes_the_providers_at_once(bed: Bed) -> None:
    """Not when somebody collects it."""
    bed.add("a", Holds("one two three"))
    with closing(fo.parse_chain("a/m", **bed.world).stream("hi")) as chunks:
        next(chunks)
    assert bed.providers["a"].closed == 1


def test_leaving_an_async_stream_closes_the_providers_at_once(bed: Bed) -> None:
    """On the same loop, before the caller goes on."""
    provider = Holds("one two three")
    provider.keeps_time = True
    bed.add("a", provider)

    async def leave_early() -> int:
        async with aclosing(fo.parse_chain("a/m", **bed.world).astream("hi")) as chunks:
            await anext(chunks)
        return provider.closed

    assert asyncio.run(leave_early()) == 1


def test_generator_that_was_never_started_sends_nothing(bed: Bed) -> None:
    """Closing it is nothing at all."""
    chain = bed.chain({"a": "ok"})
    chain.stream("hi").close()
    assert (bed.asked("a"), bed.outcomes()) == (0, [])


# On the wire, seen from the server


@pytest.mark.parametrize("method", ["acomplete", "astream"])
@pytest.mark.parametrize("model", ["silent", "stall:20"])
def test_cancelled_task_closes_the_connection(
    wired: Bed, server: FaultServer, method: str, model: str
) -> None:
    """The provider must not go on, and bill."""
    chain = fo.parse_chain(f"srv/{model}", observer=wired.events.append, **wired.world)
    seen = len(server.requests)

    async def call() -> None:
        if method == "acomplete":
            await chain.acomplete("hi")
        else:
            async with aclosing(chain.astream("hi " * 50)) as chunks:
                async for _ in chunks:
                    pass

    async def cancel() -> None:
        task = asyncio.ensure_future(call())
        await asyncio.to_thread(server.wait_received, seen + 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert (server.wait_closed(5), untouched(wired)) == (True, True)


def test_closed_stream_closes_the_connection(wired: Bed, server: FaultServer) -> None:
    """Leaving a synchronous stream hangs up."""
    chain = fo.parse_chain("srv/stall:20", observer=wired.events.append, **wired.world)
    with closing(chain.stream("hi " * 50)) as chunks:
        assert next(chunks).text
    assert (server.wait_closed(5), untouched(wired)) == (True, True)


@pytest.mark.parametrize("path", ["complete", "stream"])
def test_keyboard_interrupt_closes_the_connection(wired: Bed, server: FaultServer, path: str) -> None:
    """Ctrl-C while a silent server keeps us waiting."""
    chain = fo.parse_chain("srv/silent", observer=wired.events.append, **wired.world)
    seen = len(server.requests)

    def interrupt() -> None:
        server.wait_received(seen + 1)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        drive(path, chain)
    interrupter.join()
    assert (server.wait_closed(5), untouched(wired)) == (True, True)


def test_two_event_loops_in_a_row(wired: Bed) -> None:
    """Clients are the loop's; a chain outlives it."""
    chain = fo.parse_chain("srv/echo", **wired.world)
    answers = [asyncio.run(chain.acomplete("hi")).text for _ in range(2)]
    assert answers == ["hi", "hi"]
