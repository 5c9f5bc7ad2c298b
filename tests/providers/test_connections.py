"""Connections over real sockets: shared, kept, and closed with loop, provider or process."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.types import Request, Response
from llm_failover_nb.providers.async_connections import _wire
from llm_failover_nb.providers.connections import InFlight
from llm_failover_nb.providers.http import HTTPProvider
from tests.providers.calls import (
    LIMITS,
    STREAM,
    Driver,
    Sync,
    error_of,
    provider,
    request,
    silent,
    text_of,
)
from tests.providers.raw_server import (
    ANSWER,
    DONE,
    Connection,
    RawServer,
    Script,
    answering,
    chunked,
    event,
    http,
    once,
    sending,
    streamed,
)


def slowly_ending(connection: Connection) -> None:
    """Answer each request; the end of a stream's body comes a moment after its last event."""
    while (received := connection.request()) is not None:
        if not received.json["stream"]:
            connection.send(http(ANSWER))
            continue
        connection.send(STREAM.removesuffix(b"0\r\n\r\n"))
        connection.server.stopping.wait(0.01)
        connection.send(b"0\r\n\r\n")


def test_synchronous_calls_share_a_connection(serve: Callable[[Script], RawServer]) -> None:
    """One connection serves calls and streams one after the other."""
    server = serve(slowly_ending)
    made = provider(server.url)
    made.complete(request())
    list(made.stream(request()))
    made.complete(request())
    made.close()
    assert (len(server.requests), server.connections) == (3, 1)


@pytest.mark.parametrize("extra", [http(ANSWER.replace(b"hello", b"another's")), b"garbage", b"\r\n"])
def test_what_comes_after_an_answer_is_nobodys(serve: Callable[[Script], RawServer], extra: bytes) -> None:
    """A connection on which more came is not used again: the rest would answer the next call."""
    server = serve(answering(http(ANSWER) + extra))
    made = provider(server.url)
    answers = [made.complete(request()).text for _ in range(3)]
    made.close()
    assert (answers, server.connections) == (["hello"] * 3, 3)


def test_what_comes_after_an_asynchronous_answer_is_nobodys(serve: Callable[[Script], RawServer]) -> None:
    """A second answer to one question does not answer the next."""
    server = serve(answering(http(ANSWER) + http(ANSWER.replace(b"hello", b"another's"))))

    async def answers() -> list[str]:
        made = provider(server.url)
        texts = [(await made.acomplete(request())).text for _ in range(3)]
        await made.aclose()
        return texts

    assert (asyncio.run(answers()), server.connections) == (["hello"] * 3, 3)


def test_asynchronous_calls_share_a_connection(serve: Callable[[Script], RawServer]) -> None:
    """One connection a loop serves calls and streams one after the other."""
    server = serve(slowly_ending)
    made = provider(server.url)

    async def calls() -> None:
        await made.acomplete(request())
        assert [chunk.kind async for chunk in made.astream(request())][-1] == "done"
        await made.acomplete(request())

    asyncio.run(calls())
    assert (len(server.requests), server.connections) == (3, 1)


def test_twenty_calls_share_a_connection(serve: Callable[[Script], RawServer]) -> None:
    """It is kept alive from call to call, whichever thread makes it."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url)
    for _ in range(10):
        made.complete(request())
    with ThreadPoolExecutor(1) as pool:
        for _ in range(10):
            pool.submit(made.complete, request()).result()
    made.close()
    assert (len(server.requests), server.connections) == (20, 1)


def test_twenty_asynchronous_calls_share_a_connection(serve: Callable[[Script], RawServer]) -> None:
    """Likewise, whichever task makes it."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url)

    async def calls() -> None:
        for _ in range(20):
            await asyncio.create_task(made.acomplete(request()))

    asyncio.run(calls())
    assert (len(server.requests), server.connections) == (20, 1)


@pytest.mark.parametrize("status", ["400 Bad", "429 Slow", "500 Oops"])
def test_an_error_keeps_the_connection(
    driver: Driver, serve: Callable[[Script], RawServer], status: str
) -> None:
    """A retry need not connect anew."""
    server = serve(answering(http(b'{"error":{"message":"why"}}', status)))
    made = provider(server.url)

    async def twice() -> None:
        for _ in range(2):
            with pytest.raises(ProviderError):
                await made.acomplete(request())

    if isinstance(driver, Sync):
        for _ in range(2):
            error_of(lambda: made.complete(request()))
        made.close()
    else:
        asyncio.run(twice())
    assert (len(server.requests), server.connections) == (2, 1)


def test_two_event_loops_in_a_row_work(serve: Callable[[Script], RawServer]) -> None:
    """Each loop has connections of its own, which end with it and leave nothing behind."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url)
    answers = [asyncio.run(made.acomplete(request())).text for _ in range(2)]
    gc.collect()  # what was not closed would warn now
    assert (answers, server.connections, len(made._async_connections._held)) == (["hello", "hello"], 2, 0)


def test_aclose_closes_the_running_loops_connections(serve: Callable[[Script], RawServer]) -> None:
    """After aclose a call opens a new connection on the same loop."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url)

    async def calls() -> None:
        for _ in range(2):
            await made.acomplete(request())
            await made.aclose()

    asyncio.run(calls())
    assert server.connections == 2


def test_a_closed_provider_opens_again(serve: Callable[[Script], RawServer]) -> None:
    """close lets go of the connections, not of the provider."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url)
    for _ in range(2):
        made.complete(request())
        made.close()
    assert server.connections == 2


def amid(connection: Connection, reached: threading.Event, go_on: threading.Event) -> None:
    """Answer the model "quick" at once, and everybody else half, and then the rest when told."""
    while (received := connection.request()) is not None:
        if received.json["model"] == "quick":
            connection.send(http(ANSWER))
            continue
        head, rest = (STREAM[:60], STREAM[60:]) if received.json["stream"] else (b"", http(ANSWER))
        connection.send(head)
        reached.set()
        go_on.wait(5)
        connection.send(rest)


@pytest.mark.parametrize("name", ["complete", "stream"])
def test_closing_leaves_the_calls_of_others_alone(serve: Callable[[Script], RawServer], name: str) -> None:
    """One chain that is done with a provider does not end what another asks of it."""
    reached, go_on = threading.Event(), threading.Event()
    made = provider(serve(lambda connection: amid(connection, reached, go_on)).url)
    made.complete(Request("hi", model="quick", timeouts=LIMITS))  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: getattr(Sync(), name)(made, request()))
        assert reached.wait(5)
        line = made._connections._line
        assert line is not None
        made.close()
        go_on.set()
        answer = slow.result()
    assert (text_of(answer) if name == "stream" else answer.text) == "hello"
    assert line.transport._pool.connections == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["acomplete", "astream"])
def test_aclose_leaves_the_calls_of_others_alone(serve: Callable[[Script], RawServer], name: str) -> None:
    """Nor does one of several tasks on a loop; the last exchange closes, before the loop does."""
    reached, go_on = threading.Event(), threading.Event()
    server = serve(lambda connection: amid(connection, reached, go_on))
    made = provider(server.url)

    async def text() -> str:
        if name == "acomplete":
            return (await made.acomplete(request())).text
        return "".join([chunk.text async for chunk in made.astream(request())])

    async def calls() -> tuple[str, str, bool, int]:
        slow = asyncio.create_task(text())
        await asyncio.to_thread(reached.wait, 5)
        (line,) = made._async_connections._held.values()
        await made.aclose()
        quick = await made.acomplete(Request("hi", model="quick", timeouts=LIMITS))  # type: ignore[arg-type]
        go_on.set()
        answer = await slow
        closed = line.transport.client.closed  # type: ignore[attr-defined]
        return answer, quick.text, closed, len(made._async_connections._held)

    assert asyncio.run(calls()) == ("hello", "hello", True, 1)


def test_a_retired_transport_is_closed_after_the_last_exchange() -> None:
    """Neither amid one nor after the first of two."""
    in_flight = InFlight()
    assert [in_flight.begin(), in_flight.begin()] == [True, True]
    assert [in_flight.retire(), in_flight.end(), in_flight.end()] == [False, False, True]


def test_a_failed_exchange_is_no_longer_in_flight(serve: Callable[[Script], RawServer]) -> None:
    """Otherwise what is retired would never be closed."""
    made = provider(serve(once(Connection.reset)).url)
    error_of(lambda: made.complete(request()))
    line = made._connections._line
    assert line is not None
    assert line.in_flight.retire()
    made.close()


def test_a_failed_async_exchange_is_no_longer_in_flight(serve: Callable[[Script], RawServer]) -> None:
    """Likewise."""
    made = provider(serve(once(Connection.reset)).url)

    async def fail() -> bool:
        with pytest.raises(ProviderError):
            await made.acomplete(request())
        (line,) = made._async_connections._held.values()
        return line.in_flight.retire()

    assert asyncio.run(fail())


def test_a_retired_transport_takes_no_further_exchange(serve: Callable[[Script], RawServer]) -> None:
    """A call that comes while another thread closes opens a new one."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url)
    made.complete(request())
    line = made._connections._line
    assert line is not None
    line.in_flight.retire()
    made._connections._line = None
    assert line.in_flight.begin() is False
    made.complete(request())
    made.close()
    line.close()
    assert server.connections == 2


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # asyncio's own, of a loop closed too early
def test_loops_closed_without_their_shutdown_are_let_go(
    serve: Callable[[Script], RawServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Their connections are given up at the next opening, without a complaint."""
    made = provider(serve(answering(http(ANSWER))).url)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(made.acomplete(request()))
        loop.close()
        loops.append(weakref.ref(loop))
        del loop
    gc.collect()
    assert [loop() is not None for loop in loops] == [False, False, True]
    del made
    gc.collect()
    assert ([loop() for loop in loops], caplog.messages) == ([None] * 3, [])


def test_a_provider_that_nobody_has_any_more_is_closed(
    serve: Callable[[Script], RawServer], caplog: pytest.LogCaptureFixture
) -> None:
    """A name registered anew, say; on its loop, and without aiohttp's complaint of what nobody closed."""
    server = serve(once(sending(http(ANSWER)), silent))

    async def replaced() -> bool:
        made = provider(server.url)
        made.itself = made  # type: ignore[attr-defined]  # only a collection finds it
        await made.acomplete(request())
        del made
        gc.collect()
        return await asyncio.to_thread(server.hung_up.wait, 5)

    assert (asyncio.run(replaced()), caplog.messages) == (True, [])


def test_providers_that_end_with_their_loop_leave_nothing(
    serve: Callable[[Script], RawServer], caplog: pytest.LogCaptureFixture
) -> None:
    """What closes them then is not cut off amid its work, which asyncio would complain of."""
    server = serve(talkative)

    async def read(made: HTTPProvider, begun: asyncio.Event) -> None:
        async for _ in made.astream(request()):
            begun.set()

    async def main() -> None:
        for _ in range(5):
            made, begun = provider(server.url), asyncio.Event()
            await asyncio.gather(*(made.acomplete(request()) for _ in range(3)))
            reading.append(asyncio.create_task(read(made, begun)))
            await begun.wait()

    reading: list[asyncio.Task[None]] = []
    asyncio.run(main())
    gc.collect()
    assert ([task.cancelled() for task in reading], caplog.messages) == ([True] * 5, [])


# The end of the process, and its fork

PROGRAM = """
import asyncio, os, signal, sys, threading
from tests.providers.calls import provider, request

made = provider(sys.argv[1])

def asked():
    assert made.complete(request()).text == "hello"
"""

ENDS = {
    "after a call": "asked()",
    "amid a stream": "chunks = made.stream(request()); next(chunks)",
    "after an asyncio.run": "asyncio.run(made.acomplete(request()))",
    # as IPython runs its cells, one loop for all of them, which nobody shuts down
    "between two cells": """
loop = asyncio.new_event_loop()
loop.run_until_complete(made.acomplete(request()))
""",
    "after a call on the portal": """
from llm_failover_nb.engine.portal import portal
portal.run(made.acomplete(request()))
""",
    "while a thread is amid a stream": """
begun = threading.Event()
def stream():
    for chunk in made.stream(request()):
        begun.set()
threading.Thread(target=stream, daemon=True).start()
begun.wait(10)
""",
}


def run_program(server: RawServer, text: str, first: str = "") -> str:
    """What a program with a provider of the server writes; a connection left open is written of."""
    warned = ("-W", "always::ResourceWarning", "-W", "ignore:unclosed event loop:ResourceWarning")
    done = subprocess.run(
        [sys.executable, "-X", "dev", *warned, "-c", first + PROGRAM + text, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # In development mode asyncio also tells of what took long, such as an import.
    return "".join(line for line in done.stderr.splitlines(True) if not line.startswith("Executing <"))


def talkative(connection: Connection) -> None:
    """Answer each request, a stream with its beginning."""
    while (received := connection.request()) is not None:
        connection.send(streamed(event("a")) if received.json["stream"] else http(ANSWER))
    connection.server.hung_up.set()


@pytest.mark.parametrize("end", ENDS)
def test_a_process_closes_its_connections_at_its_end(serve: Callable[[Script], RawServer], end: str) -> None:
    """Nothing warns, and the server sees it."""
    server = serve(talkative)
    written = run_program(server, ENDS[end])
    assert (written, server.hung_up.wait(5), server.connections) == ("", True, 1)


FORK = """
asked()
child = os.fork()
if child == 0:
    try:
        asked()
        asked()
        made.close()
        os._exit(0)
    finally:
        os._exit(1)
assert os.waitpid(child, 0)[1] == 0
asked()
made.close()
"""

FORK_AMID_OPENING = """
made._connections._lock.acquire()  # as another thread might hold it
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        asked()
        os._exit(0)
    finally:
        os._exit(1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_process_connects_anew(serve: Callable[[Script], RawServer]) -> None:
    """The child's calls go over a connection of its own, the parent's go on over theirs."""
    server = serve(answering(http(ANSWER)))
    assert run_program(server, FORK) == ""
    assert (len(server.requests), server.connections) == (4, 2)


def test_a_fork_amid_an_opening_does_no_harm(serve: Callable[[Script], RawServer]) -> None:
    """A lock that was held by a thread of the parent is free in the child."""
    server = serve(answering(http(ANSWER)))
    run_program(server, FORK_AMID_OPENING)
    assert server.connections == 1


def test_a_call_after_the_close_at_the_end_connects_anew(serve: Callable[[Script], RawServer]) -> None:
    """Functions that run at the end of a process, the first one last, may ask once more."""
    server = serve(answering(http(ANSWER)))
    run_program(server, "asked()", first="import atexit; atexit.register(lambda: asked())\n")
    assert (len(server.requests), server.connections) == (2, 2)


def test_a_forked_process_opens_its_own_connections(
    serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fork the parent's connections are left alone."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url)
    made.complete(request())
    child = os.getpid() + 1
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: child)
        made.complete(request())
        made.complete(request())
        made.close()
    assert server.connections == 2
    assert not server.hung_up.is_set()
    for inherited in made._connections._inherited:
        inherited.close()


def test_many_calls_are_in_flight_at_once(serve: Callable[[Script], RawServer]) -> None:
    """No hidden limit holds calls back: each of 150 waits until all have arrived."""
    everybody = threading.Barrier(150, timeout=20)
    made = provider(serve(once(lambda _: everybody.wait(), sending(http(ANSWER)))).url)

    async def calls() -> list[Response]:
        return await asyncio.gather(*(made.acomplete(request()) for _ in range(150)))

    assert {answer.text for answer in asyncio.run(calls())} == {"hello"}


def test_a_dead_address_leaves_time_for_the_next(
    serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with several addresses is reached at the one that answers."""
    made = provider(serve(answering(http(ANSWER))).url.replace("127.0.0.1", "localhost"))
    lookup = socket.getaddrinfo

    def both(host: str, *rest: object, **named: object) -> list[object]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "localhost" else [host]
        return [entry for each in hosts for entry in lookup(each, *rest, **named)]  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert made.complete(request()).text == "hello"
    made.close()


def test_a_server_that_stays_after_the_end_of_a_stream_is_left(
    driver: Driver, serve: Callable[[Script], RawServer]
) -> None:
    """After [DONE] the stream ends, whether or not the server ends its body."""
    server = serve(once(sending(chunked(event("hello", "stop"), DONE, end=False)), Connection.hold))
    made = provider(server.url)
    assert driver.stream(made, request())[-1].kind == "done"
    assert server.hung_up.wait(5)
    made.close()


def test_a_server_that_refuses_before_it_has_read_is_left(serve: Callable[[Script], RawServer]) -> None:
    """What it has not taken of a long prompt is not kept for it, for it may never take it."""

    def refuse(connection: Connection) -> None:
        connection.socket.recv(1000)
        connection.send(http(b"too large", "413 Too Large"))
        connection.server.stopping.wait(30)

    made = provider(serve(refuse).url)

    async def call() -> tuple[int | None, int | None]:
        with pytest.raises(ProviderError) as caught:
            await made.acomplete(Request("x" * 20_000_000, model="m", timeouts=LIMITS))  # type: ignore[arg-type]
        wire = _wire.get()
        return caught.value.status, wire and wire.get_write_buffer_size()

    assert asyncio.run(call()) == (413, 0)
