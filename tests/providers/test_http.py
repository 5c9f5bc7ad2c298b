"""HTTP for any dialect: every behaviour over real sockets, synchronous and asynchronous alike."""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
import signal
import socket
import threading
import traceback
import weakref
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

import aiohttp
import httpx
import pytest

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Chunk, Request, Response, Timeouts
from llm_failover_nb.providers import bodies
from llm_failover_nb.providers.connections import proxy_for, ssl_context_for
from llm_failover_nb.providers.exchange import Exchange
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.openai import OpenAIDialect
from llm_failover_nb.providers.reader import Reader
from llm_failover_nb.providers.transport_errors import MEANINGS
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
)

KEY = "sk-canary-0123456789"
LIMITS = Timeouts(connect=5, first_token=5, idle=5, attempt=10)
STREAM = chunked(event("hel"), event("lo", "stop"), DONE)


def request(**limits: float | None) -> Request:
    """A request whose unnamed limits are long."""
    return Request("hi", model="m", timeouts=Timeouts(**limits) if limits else LIMITS)  # type: ignore[arg-type]


def provider(url: str, **options: object) -> HTTPProvider:
    return HTTPProvider("lab", dialect=OpenAIDialect(), base_url=url, **{"api_key": KEY, **options})  # type: ignore[arg-type]


class Driver(Protocol):
    """The four calls, two at a time."""

    def complete(self, provider: HTTPProvider, request: Request) -> Response: ...
    def stream(self, provider: HTTPProvider, request: Request) -> list[Chunk]: ...


class Sync:
    def complete(self, provider: HTTPProvider, request: Request) -> Response:
        return provider.complete(request)

    def stream(self, provider: HTTPProvider, request: Request) -> list[Chunk]:
        return list(provider.stream(request))


class Async:
    def complete(self, provider: HTTPProvider, request: Request) -> Response:
        return asyncio.run(provider.acomplete(request))

    def stream(self, provider: HTTPProvider, request: Request) -> list[Chunk]:
        async def collect() -> list[Chunk]:
            return [chunk async for chunk in provider.astream(request)]

        return asyncio.run(collect())


@pytest.fixture(params=[Sync(), Async()], ids=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Driver:
    return request.param


@pytest.fixture(params=["complete", "stream"])
def call(request: pytest.FixtureRequest, driver: Driver) -> Callable[[HTTPProvider, Request], object]:
    """One of the four calls."""
    return getattr(driver, request.param)


@pytest.fixture
def serve() -> Iterator[Callable[[Script], RawServer]]:
    """Start servers that end with the test."""
    servers: list[RawServer] = []

    def start(script: Script) -> RawServer:
        servers.append(RawServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def ask(serve: Callable[[Script], RawServer]) -> Iterator[Callable[..., HTTPProvider]]:
    """A provider of a server that runs a script; closed with the test."""
    made: list[HTTPProvider] = []

    def make(script: Script, **options: object) -> HTTPProvider:
        made.append(provider(serve(script).url, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def error_of(call: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        call()
    return caught.value


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


# Answers


def test_a_completion_is_answered(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """A plain answer comes back as a Response."""
    assert driver.complete(ask(answering(http(ANSWER))), request()) == Response(
        text="hello", finish_reason="stop", finish="stop"
    )


def test_a_stream_is_answered(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """The chunks come in order, the whole answer last."""
    whole = Response(text="hello", finish_reason="stop", finish="stop")
    assert driver.stream(ask(answering(STREAM)), request()) == [
        Chunk("hel"),
        Chunk("lo"),
        Chunk(kind="done", response=whole),
    ]


def test_the_request_is_what_the_dialect_made(driver: Driver, serve: Callable[[Script], RawServer]) -> None:
    """Path, key, headers and body reach the server."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url, headers={"X-Team": "blue", "user-agent": "mine"})
    driver.complete(made, request())
    made.close()
    received = server.requests[0]
    assert received.line == "POST /v1/chat/completions HTTP/1.1"
    assert received.json["messages"] == [{"role": "user", "content": "hi"}]
    assert {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "user-agent": "mine",
        "x-team": "blue",
    }.items() <= received.headers.items()


def test_a_query_in_the_base_url_is_kept(driver: Driver, serve: Callable[[Script], RawServer]) -> None:
    """Gateways that want a version as a query get it."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url + "/?api-version=1")
    driver.complete(made, request())
    made.close()
    assert server.requests[0].line == "POST /v1/chat/completions?api-version=1 HTTP/1.1"


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress(ANSWER, mtime=0)), ("deflate", zlib.compress(ANSWER)), ("identity", ANSWER)],
)
def test_a_packed_answer_is_unpacked(
    driver: Driver, ask: Callable[..., HTTPProvider], encoding: str, packed: bytes
) -> None:
    """Servers that pack unasked are understood."""
    made = ask(answering(http(packed, content_encoding=encoding)))
    assert driver.complete(made, request()).text == "hello"


def test_a_packed_stream_is_unpacked(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """A stream may be packed, too."""
    body = gzip.compress(event("hello", "stop") + DONE)
    made = ask(answering(http(body, content_encoding="gzip")))
    assert text_of(driver.stream(made, request())) == "hello"


def test_a_completion_for_a_stream_is_one_delta(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """A server that does not stream is read all the same."""
    assert text_of(driver.stream(ask(answering(http(ANSWER))), request())) == "hello"


# Connections


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


# Refusals


@pytest.mark.parametrize("status", ["400 Bad Request", "401 No", "429 Slow", "500 Oops", "503 Down"])
def test_a_status_is_an_error_with_all_that_came(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider], status: str
) -> None:
    """Status, code, headers and body are the provider's, and what they mean is left open."""
    body = b'{"error":{"message":"why","code":"some_code"}}'
    made = ask(answering(http(body, status, Retry_After="7")))
    error = error_of(lambda: call(made, request()))
    assert (error.status, error.message, error.code, error.kind, error.reason, error.model) == (
        int(status[:3]),
        "why",
        "some_code",
        None,
        "",
        "m",
    )
    assert (error.headers["RETRY-AFTER"], error.body) == ("7", body.decode())


def test_a_redirect_is_not_followed(
    call: Callable[[HTTPProvider, Request], object], serve: Callable[[Script], RawServer]
) -> None:
    """A key never goes to another address than the one it was given for."""
    other = serve(answering(http(ANSWER)))
    made = provider(serve(answering(http(b"", "307 Moved", location=other.url))).url)
    error = error_of(lambda: call(made, request()))
    made.close()
    assert (error.status, other.connections) == (307, 0)
    assert "redirects (HTTP 307) to 127.0.0.1; redirects are not followed" in error.message


def test_an_error_page_that_is_cut_keeps_its_status(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider]
) -> None:
    """The status says more than the page that did not come whole."""
    made = ask(once(sending(http(b"x" * 50, "503 Down")[:-20])))
    assert error_of(lambda: call(made, request())).status == 503


def test_an_error_page_in_an_unknown_packing_keeps_its_status(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider]
) -> None:
    """A page that cannot be unpacked is no page, but a status."""
    made = ask(answering(http(b"\x00\x01", "502 Bad", content_encoding="br")))
    assert error_of(lambda: call(made, request())).message == "HTTP 502"


def test_an_error_inside_a_200_carries_the_headers(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider]
) -> None:
    """What a body says of its failure comes with the wait that the headers ask for."""
    made = ask(answering(http(b'{"error":{"message":"slow down","code":429}}', retry_after="3")))
    error = error_of(lambda: call(made, request()))
    assert (error.status, error.message, error.headers["Retry-After"]) == (429, "slow down", "3")


# Size


@pytest.mark.parametrize("packing", [None, "gzip"])
def test_a_body_has_a_limit(
    driver: Driver,
    ask: Callable[..., HTTPProvider],
    monkeypatch: pytest.MonkeyPatch,
    packing: str | None,
) -> None:
    """A body over the limit is malformed, before and after unpacking."""
    monkeypatch.setattr(bodies, "BODY_LIMIT", 10_000)
    body = b'{"x":"' + b"x" * 20_000 + b'"}'
    response = http(gzip.compress(body), content_encoding="gzip") if packing else http(body)
    error = error_of(lambda: driver.complete(ask(answering(response)), request()))
    assert (error.reason, error.kind) == ("malformed", ErrorKind.TRANSIENT)
    assert "over 10000 bytes" in error.message


def test_a_stream_has_a_limit(
    driver: Driver, ask: Callable[..., HTTPProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream without end is malformed at last."""
    monkeypatch.setattr(bodies, "STREAM_LIMIT", 10_000)
    made = ask(answering(chunked(*[event("x" * 1000)] * 20)))
    assert error_of(lambda: driver.stream(made, request())).reason == "malformed"


def test_the_limit_of_a_body_is_32_mib() -> None:
    """The limit is the documented one."""
    assert bodies.BODY_LIMIT == 32 * 1024 * 1024


def test_what_cannot_be_unpacked_is_malformed(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider]
) -> None:
    """A broken packing is the server's fault, and may pass."""
    made = ask(answering(http(b"not gzip", content_encoding="gzip")))
    error = error_of(lambda: call(made, request()))
    assert (error.reason, error.kind) == ("malformed", ErrorKind.TRANSIENT)


# Time


def silent(connection: Connection) -> None:
    connection.hold()


def test_no_answer_within_the_attempt(driver: Driver, serve: Callable[[Script], RawServer]) -> None:
    """A silent server costs the attempt's time and no more, and its connection is closed."""
    server = serve(once(silent))
    made = provider(server.url)
    error = error_of(lambda: driver.complete(made, request(connect=5, attempt=0.5)))
    assert (error.reason, error.kind) == ("timeout", ErrorKind.TRANSIENT)
    assert error.message == "127.0.0.1 was not done within 0.5 s (attempt_timeout)"
    assert server.hung_up.wait(5)


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_trickling_server_does_not_outlive_the_attempt(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider], where: str
) -> None:
    """A byte now and then is no progress: the limit is over all, not for each read."""
    whole = http(b" " * 200 + ANSWER)
    head = 0 if where == "headers" else whole.index(b"\r\n\r\n") + 4
    made = ask(once(sending(whole[:head]), lambda connection: connection.trickle(whole[head:])))
    error = error_of(lambda: call(made, request(attempt=0.5)))
    assert (error.reason, error.message[-17:]) == ("timeout", "(attempt_timeout)")


def test_no_connection_within_the_connect_timeout(
    call: Callable[[HTTPProvider, Request], object], serve: Callable[[Script], RawServer]
) -> None:
    """A handshake that never comes is a connection that does not stand."""
    server = serve(silent)
    made = provider(server.url.replace("http:", "https:"))
    error = error_of(lambda: call(made, request(connect=0.1, first_token=9, attempt=9)))
    assert (error.reason, error.kind) == ("timeout", ErrorKind.TRANSIENT)
    assert error.message == "no connection to 127.0.0.1 within 0.1 s (connect_timeout)"
    assert server.hung_up.wait(5)
    made.close()


def test_a_name_that_is_not_found_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up a name is part of connecting, where it can be limited: in asynchronous calls."""
    found = threading.Event()

    def look(*args: object, **named: object) -> list[object]:
        found.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look)
    made = provider("http://model.test/v1", allow_http=True)

    async def call() -> None:
        try:
            await made.acomplete(request(connect=0.1, attempt=9))
        finally:
            found.set()  # the loop waits for the thread that looks

    error = error_of(lambda: asyncio.run(call()))
    assert error.message == "no connection to model.test within 0.1 s (connect_timeout)"


def test_no_first_token_in_time(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """A stream that does not begin is given up."""
    made = ask(once(sending(chunked(end=False)), silent))
    error = error_of(lambda: driver.stream(made, request(first_token=0.4, idle=9, attempt=9)))
    assert error.message == "no first token from 127.0.0.1 within 0.4 s (first_token_timeout)"


def test_a_limit_that_strikes_while_connecting_is_named(
    driver: Driver, serve: Callable[[Script], RawServer]
) -> None:
    """The limit that was passed is named, not the phase in which it was."""
    made = provider(serve(silent).url.replace("http:", "https:"))
    error = error_of(lambda: driver.stream(made, request(connect=9, first_token=0.4)))
    made.close()
    assert error.message == "no first token from 127.0.0.1 within 0.4 s (first_token_timeout)"


def test_pings_are_no_first_token(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """Comments and role-only chunks keep a connection alive, not a hope."""

    def ping(connection: Connection) -> None:
        connection.send(chunked(end=False))
        while not connection.server.stopping.wait(0.02):
            connection.send(b"8\r\n: ping\n\n\r\n")

    error = error_of(lambda: driver.stream(ask(once(ping)), request(first_token=0.4, idle=9, attempt=9)))
    assert "first_token_timeout" in error.message


@pytest.mark.parametrize("text", [" ", "\n\n"])
def test_blanks_are_no_first_token(driver: Driver, ask: Callable[..., HTTPProvider], text: str) -> None:
    """A server that sends nothing but blanks has not begun to answer."""

    def blank(connection: Connection) -> None:
        connection.send(chunked(event(text), end=False))
        connection.hold()

    error = error_of(lambda: driver.stream(ask(once(blank)), request(first_token=0.4, idle=9)))
    assert "no first token" in error.message


def test_silence_after_the_first_token(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """A stream that falls silent is given up after the idle timeout."""
    made = ask(once(sending(chunked(event("a"), end=False)), silent))
    error = error_of(lambda: driver.stream(made, request(first_token=9, idle=0.1, attempt=9)))
    assert error.message == "127.0.0.1 was silent for 0.1 s (idle_timeout)"


def test_the_idle_timeout_may_be_longer_than_that_for_the_first_token(
    driver: Driver, ask: Callable[..., HTTPProvider]
) -> None:
    """Once content has come, the limit for the first token is over."""

    def pause(connection: Connection) -> None:
        connection.server.stopping.wait(0.3)

    rest = chunked(event("b", "stop"), DONE).partition(b"\r\n\r\n")[2]
    made = ask(once(sending(chunked(event("a"), end=False)), pause, sending(rest)))
    assert text_of(driver.stream(made, request(first_token=0.15, idle=5))) == "ab"


def test_a_steady_stream_ends_with_the_attempt(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """An answer without end is cut off when the attempt's time is over."""

    def steadily(connection: Connection) -> None:
        connection.send(chunked(end=False))
        piece = chunked(event("a"), end=False).partition(b"\r\n\r\n")[2]
        while not connection.server.stopping.wait(0.02):
            connection.send(piece)

    error = error_of(lambda: driver.stream(ask(once(steadily)), request(first_token=9, idle=9, attempt=0.5)))
    assert error.message == "127.0.0.1 was not done within 0.5 s (attempt_timeout)"


def test_no_limits_are_no_limits(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider]
) -> None:
    """A request without limits is answered."""
    made = ask(answering(http(ANSWER)))
    assert call(made, Request("hi", model="m")) is not None  # type: ignore[arg-type]


def test_the_provider_says_that_it_keeps_time() -> None:
    """The engine need not hold the provider to its limits."""
    assert HTTPProvider.keeps_time is True


# Failures of the network


def refused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def test_a_refused_connection(call: Callable[[HTTPProvider, Request], object]) -> None:
    """Nobody listens: that is the connection's failure, not a timeout."""
    error = error_of(lambda: call(provider(refused_url()), request()))
    assert (error.reason, error.kind) == ("connection", ErrorKind.TRANSIENT)
    assert error.message.startswith("127.0.0.1 could not be reached")


def test_an_unknown_host(
    call: Callable[[HTTPProvider, Request], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that nobody knows is a connection that does not stand."""

    def unknown(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(-2, "Name or service not known")

    made = provider("http://model.test/v1", allow_http=True)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = error_of(lambda: call(made, request()))
    assert (error.reason, error.message.partition(":")[0]) == (
        "connection",
        "model.test could not be reached",
    )


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (once(Connection.reset), "connection"),
        (once(), "connection"),
        (once(sending(b"SSH-2.0-OpenSSH\r\n\r\n")), "malformed"),
        (once(sending(http(ANSWER)[:-5])), "cut"),
        (once(sending(chunked(b"{", end=False))), "cut"),
        # Which of the two depends on how much of the response the client had parsed by then.
        (once(sending(chunked(b"{", end=False) + b"zz\r\nno chunk\r\n")), "cut or malformed"),
        (once(sending(chunked(b"{", end=False)), Connection.reset), "cut"),
        (once(sending(chunked(event("a"), end=True))), "cut"),
        (once(sending(http(b"<html>"))), "malformed"),
        (once(sending(http(b""))), "malformed or cut"),  # as an answer, or as a stream
    ],
    ids=[
        "reset",
        "disconnect",
        "other protocol",
        "wrong length",
        "unfinished chunks",
        "bad chunk",
        "reset in the body",
        "unfinished stream",
        "html",
        "empty",
    ],
)
def test_a_broken_exchange_is_told_by_its_reason(
    call: Callable[[HTTPProvider, Request], object],
    ask: Callable[..., HTTPProvider],
    script: Script,
    reason: str,
) -> None:
    """Reset, cut and garbage are told apart, the same in all four calls; all of them may pass."""
    error = error_of(lambda: call(ask(script), request()))
    assert error.reason in reason.split(" or ")
    assert error.kind is ErrorKind.TRANSIENT


def test_a_break_after_the_finish_reason_does_no_harm(
    driver: Driver, ask: Callable[..., HTTPProvider]
) -> None:
    """The answer was whole; how the server hangs up is its own affair."""
    made = ask(once(sending(chunked(event("hello", "stop"), end=False)), Connection.reset))
    assert driver.stream(made, request())[-1].kind == "done"


def test_every_exception_of_httpx_has_a_meaning() -> None:
    """The table is complete over httpx's exceptions."""
    exceptions = {
        name
        for name, value in vars(httpx).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert exceptions - MEANINGS.keys() == set()


def test_every_exception_of_aiohttp_has_a_meaning() -> None:
    """Whatever aiohttp raises, its ancestry leads to a meaning."""
    nameless = {
        name
        for name, value in vars(aiohttp).items()
        if isinstance(value, type)
        and issubclass(value, aiohttp.ClientError)
        and not {cls.__name__ for cls in value.__mro__} & MEANINGS.keys()
    }
    assert nameless == set()


# Leaving early


def test_closing_the_generator_closes_the_connection(serve: Callable[[Script], RawServer]) -> None:
    """A caller that has enough stops the provider's work."""
    server = serve(once(sending(chunked(event("a"), end=False)), silent))
    made = provider(server.url)
    stream = made.stream(request())
    assert next(stream) == Chunk("a")
    stream.close()  # type: ignore[attr-defined]
    assert server.hung_up.wait(5)


def test_closing_the_async_generator_closes_the_connection(serve: Callable[[Script], RawServer]) -> None:
    """An asynchronous caller that has enough stops the provider's work, before its loop ends."""
    server = serve(once(sending(chunked(event("a"), end=False)), silent))
    made = provider(server.url)

    async def leave() -> bool:
        stream = made.astream(request())
        assert await anext(stream) == Chunk("a")
        await stream.aclose()  # type: ignore[attr-defined]
        return await asyncio.to_thread(server.hung_up.wait, 5)

    assert asyncio.run(leave())


@pytest.mark.parametrize("name", ["acomplete", "astream"])
@pytest.mark.parametrize("answered", [False, True])
def test_cancelling_closes_the_connection(
    serve: Callable[[Script], RawServer], name: str, answered: bool
) -> None:
    """A cancelled task leaves no request running, before or amid the answer."""
    arrived = threading.Event()
    steps = [sending(chunked(b": ping\n\n", end=False))] if answered else []
    server = serve(once(*steps, lambda _: arrived.set(), silent))
    made = provider(server.url)

    async def work() -> None:
        if name == "acomplete":
            await made.acomplete(request())
        else:
            async for _ in made.astream(request()):
                pass

    async def cancel() -> bool:
        task = asyncio.create_task(work())
        await asyncio.to_thread(arrived.wait, 5)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        return await asyncio.to_thread(server.hung_up.wait, 5)

    assert asyncio.run(cancel())


@pytest.mark.parametrize("name", ["complete", "stream"])
def test_an_interrupt_closes_the_connection(serve: Callable[[Script], RawServer], name: str) -> None:
    """Ctrl-C ends the request on the wire, and is raised as what it is."""

    def interrupt(_: Connection) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    server = serve(once(interrupt, silent))
    made = provider(server.url)
    with pytest.raises(KeyboardInterrupt):
        Sync().complete(made, request()) if name == "complete" else Sync().stream(made, request())
    assert server.hung_up.wait(5)


class BrokenDialect(OpenAIDialect):
    def reader(self) -> Reader:
        raise RuntimeError("a fault in a dialect")


def test_a_fault_of_our_own_closes_the_connection(
    driver: Driver, serve: Callable[[Script], RawServer]
) -> None:
    """Whatever happens before the first byte is read, no connection is left behind."""
    server = serve(once(sending(chunked(event("a"), end=False)), silent))
    made = HTTPProvider("lab", dialect=BrokenDialect(), base_url=server.url)
    with pytest.raises(RuntimeError, match="a fault in a dialect"):
        driver.stream(made, request())
    assert server.hung_up.wait(5)


def test_the_callers_time_is_not_the_providers(serve: Callable[[Script], RawServer]) -> None:
    """A caller that dawdles between chunks is not cancelled by a limit of the stream's."""
    server = serve(answering(chunked(event("a"), event("b", "stop"), DONE)))
    made = provider(server.url)

    async def dawdle() -> str:
        text = ""
        async for chunk in made.astream(request(idle=0.05)):
            text += chunk.text
            await asyncio.to_thread(server.stopping.wait, 0.1)
        return text

    assert asyncio.run(dawdle()) == "ab"


# Keys


def test_a_missing_key_names_its_variable(
    call: Callable[[HTTPProvider, Request], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its variable the provider says which one to set, and asks nobody."""
    monkeypatch.delenv("LAB_KEY", raising=False)
    made = provider("http://127.0.0.1:9/v1", api_key=None, key_env="LAB_KEY")
    error = error_of(lambda: call(made, request()))
    assert (made.missing_key, error.reason, error.kind) == ("LAB_KEY", "no_key", ErrorKind.AUTH_DEAD)
    assert "LAB_KEY is not set" in error.message


@pytest.mark.parametrize("value", ["", "  \n"])
def test_a_blank_key_is_missing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A variable without content is no key."""
    monkeypatch.setenv("LAB_KEY", value)
    assert provider("http://127.0.0.1:9/v1", api_key=None, key_env="LAB_KEY").missing_key == "LAB_KEY"


def test_nothing_is_missing_where_no_key_is_needed() -> None:
    """A literal key, and a server that wants none, lack nothing."""
    assert provider("http://127.0.0.1:9/v1").missing_key is None
    assert provider("http://127.0.0.1:9/v1", api_key=None).missing_key is None


def test_a_key_that_changes_is_used_at_once(
    driver: Driver, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is read at each call, and blanks around the key are dropped."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url, api_key=None, key_env="LAB_KEY")
    for key in ("first-key", " second-key\n"):
        monkeypatch.setenv("LAB_KEY", key)
        driver.complete(made, request())
    made.close()
    assert [seen.headers["authorization"] for seen in server.requests] == [
        "Bearer first-key",
        "Bearer second-key",
    ]


def test_without_a_key_no_header_is_sent(driver: Driver, serve: Callable[[Script], RawServer]) -> None:
    """A server that wants no key gets none."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url, api_key=None)
    driver.complete(made, request())
    made.close()
    assert "authorization" not in server.requests[0].headers


def test_a_header_of_the_users_own_wins_over_the_key(serve: Callable[[Script], RawServer]) -> None:
    """Who sets the header himself knows why."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url, headers={"Authorization": "Custom abcdefgh"})
    made.complete(request())
    made.close()
    assert server.requests[0].headers["authorization"] == "Custom abcdefgh"


@pytest.mark.parametrize("key", ["sk-line\nbreak-123", "sk-schlüssel-123"])
def test_a_key_that_no_header_carries_is_named_not_shown(driver: Driver, key: str) -> None:
    """A key with a line break gives an error about the key, without the key."""
    made = provider("http://127.0.0.1:9/v1", api_key=Secret(key))
    error = error_of(lambda: driver.complete(made, request()))
    assert (error.reason, error.kind, key in error.message) == ("credentials", ErrorKind.AUTH_DEAD, False)


def test_no_traceback_shows_a_key_that_no_header_carries(
    call: Callable[[HTTPProvider, Request], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unusable key is as secret as any other."""
    monkeypatch.setenv("LAB_KEY", f"{KEY}\nrest")
    made = provider("http://127.0.0.1:9/v1", api_key=None, key_env="LAB_KEY")
    error = error_of(lambda: call(made, request()))
    assert (error.reason, leaks(error)) == ("credentials", False)


def test_a_key_that_goes_away_is_missed(
    driver: Driver, ask: Callable[..., HTTPProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was taken out of the environment is not used any more."""
    made = ask(answering(http(ANSWER)), api_key=None, key_env="LAB_KEY")
    monkeypatch.setenv("LAB_KEY", KEY)
    driver.complete(made, request())
    monkeypatch.delenv("LAB_KEY")
    assert error_of(lambda: driver.complete(made, request())).reason == "no_key"


def leaks(error: BaseException) -> bool:
    """Does the most talkative traceback show the key?"""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return KEY in "".join(shown.format()) or KEY in repr(error.__dict__)


@pytest.mark.parametrize("key", ["literal", "variable"])
@pytest.mark.parametrize(
    "script",
    [
        once(Connection.reset),
        once(silent),
        answering(http(f'{{"error":{{"message":"Incorrect API key: {KEY}"}}}}'.encode(), "401 No", echo=KEY)),
        answering(http(f'{{"error":"no {KEY}"}}'.encode())),
        answering(http(f"<html>{KEY}".encode())),
        once(sending(chunked(b"data: {\n\n"))),
    ],
    ids=["reset", "silent", "echo in 401", "echo in 200", "echo in garbage", "malformed"],
)
def test_no_traceback_shows_the_key(
    call: Callable[[HTTPProvider, Request], object],
    ask: Callable[..., HTTPProvider],
    monkeypatch: pytest.MonkeyPatch,
    script: Script,
    key: str,
) -> None:
    """Not even one with all local variables, as %xmode Verbose prints it."""
    monkeypatch.setenv("LAB_KEY", KEY)
    options = {"api_key": None, "key_env": "LAB_KEY"} if key == "variable" else {}
    error = error_of(lambda: call(ask(script, **options), request(first_token=0.1, attempt=0.1)))
    assert not leaks(error)


class AzureLike(OpenAIDialect):
    """httpx masks the header of most providers, but not every one's."""

    def auth(self, key: str) -> dict[str, str]:
        return {"api-key": key}


@pytest.mark.parametrize("name", ["acomplete", "astream"])
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("own_client", [False, True])
def test_no_traceback_of_a_cancelled_call_shows_the_key(
    serve: Callable[[Script], RawServer], name: str, answered: bool, own_client: bool
) -> None:
    """A cancelled call leaves without the frames in which it waited."""
    arrived = threading.Event()
    steps = [sending(chunked(b": ping\n\n", end=False))] if answered else []
    server = serve(once(*steps, lambda _: arrived.set(), silent))

    async def cancelled() -> BaseException:
        async with httpx.AsyncClient() as client:
            made = HTTPProvider(
                "lab",
                dialect=AzureLike(),
                base_url=server.url,
                api_key=Secret(KEY),
                async_client=client if own_client else None,
            )
            chunks = made.astream(request())
            task = asyncio.ensure_future(made.acomplete(request()) if name == "acomplete" else anext(chunks))
            await asyncio.to_thread(arrived.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            return caught.value

    error = asyncio.run(cancelled())
    assert [each for each in (error, error.__cause__, error.__context__) if each and leaks(each)] == []


def test_a_cancellation_leaves_without_what_came_before_it() -> None:
    """What was being seen to when it struck may hold the key as well."""
    error = asyncio.CancelledError()
    error.__context__ = OSError(KEY)
    with pytest.raises(asyncio.CancelledError) as caught, Exchange("lab.test", request()):
        raise error
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["complete", "stream"])
@pytest.mark.parametrize("answered", [False, True])
def test_no_traceback_of_an_interrupted_call_shows_the_key(
    serve: Callable[[Script], RawServer], name: str, answered: bool
) -> None:
    """Neither does Ctrl-C show where it struck."""

    def interrupt(_: Connection) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    steps = [sending(chunked(b": ping\n\n", end=False))] if answered else []
    made = HTTPProvider(
        "lab",
        dialect=AzureLike(),
        base_url=serve(once(*steps, interrupt, silent)).url,
        api_key=Secret(KEY),
    )
    with pytest.raises(KeyboardInterrupt) as caught:
        Sync().complete(made, request()) if name == "complete" else Sync().stream(made, request())
    frames = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert [module for module in frames if module.startswith(("httpx", "httpcore", "h11"))] == []


@pytest.mark.parametrize(
    "response",
    [
        http(f'{{"error":{{"message":"{"x" * 990} {KEY}"}}}}'.encode(), "401 No"),
        http(f"<html><title>{'x' * 190} {KEY}</title>".encode(), "502 Bad"),
        http(f"{'x' * 190} {KEY}".encode()),
    ],
    ids=["message", "title", "garbage"],
)
def test_half_a_key_is_not_shown_either(
    driver: Driver, ask: Callable[..., HTTPProvider], response: bytes
) -> None:
    """A long text is cut after the key in it was masked, not through it."""
    error = error_of(lambda: driver.complete(ask(answering(response)), request()))
    assert KEY[:6] not in error.message


@pytest.mark.parametrize("packing", ["identity", "gzip"])
def test_no_traceback_of_an_oversized_body_shows_the_key(
    call: Callable[[HTTPProvider, Request], object],
    ask: Callable[..., HTTPProvider],
    monkeypatch: pytest.MonkeyPatch,
    packing: str,
) -> None:
    """The frames in which a body was read do not leave with its error."""
    monkeypatch.setattr(bodies, "BODY_LIMIT", 100)
    monkeypatch.setattr(bodies, "STREAM_LIMIT", 100)
    body = KEY.encode() * 20
    made = ask(answering(http(gzip.compress(body) if packing == "gzip" else body, content_encoding=packing)))
    error = error_of(lambda: call(made, request()))
    assert ("over 100 bytes" in error.message, leaks(error)) == (True, False)


def test_the_repr_shows_where_not_with_what() -> None:
    """The repr has the address without user-info and key."""
    made = provider("https://user:secret@llm.test/v1/?api-key=abc")
    assert repr(made) == "HTTPProvider('lab', base_url='https://llm.test/v1')"


# Construction


@pytest.mark.parametrize(
    "url", ["llm.test/v1", "ftp://llm.test", "https://", "http://[::1", "", "https://llm.test:port"]
)
def test_a_bad_base_url_is_named(url: str) -> None:
    """What is no URL of a server is refused, with what was given."""
    with pytest.raises(ValueError, match="base_url") as caught:
        provider(url)
    assert repr(url) in str(caught.value)


def test_a_bad_base_url_does_not_show_its_password() -> None:
    """User-info in a bad URL stays out of the message."""
    with pytest.raises(ValueError, match="base_url") as caught:
        provider("ftp://user:hunter2@llm.test")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"api_key": None, "key_env": "LAB_KEY"},
        {"api_key": None, "headers": {"X-Api-Key": "abcdefgh"}},
        {"api_key": None, "headers": {"x-gateway-token": Secret("abcdefgh")}},
    ],
)
def test_a_key_over_plain_http_is_refused(options: dict[str, object]) -> None:
    """A key, from wherever, does not cross a network unencrypted."""
    with pytest.raises(ValueError, match=r"unencrypted to llm\.test"):
        provider("http://llm.test/v1", **options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8", "dev.localhost"])
def test_a_key_may_travel_within_the_machine(host: str) -> None:
    """Loopback needs no encryption."""
    assert provider(f"http://{host}:1/v1").missing_key is None


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.1"])
def test_what_only_looks_like_loopback_is_none(host: str) -> None:
    """Names and addresses that begin like loopback are somewhere else."""
    with pytest.raises(ValueError, match="unencrypted"):
        provider(f"http://{host}/v1")


def test_plain_http_is_for_those_who_ask_for_it() -> None:
    """allow_http and a call without a key may use plain http."""
    assert provider("http://llm.test/v1", allow_http=True).base_url == "http://llm.test/v1"
    assert provider("http://llm.test/v1", api_key=None).base_url == "http://llm.test/v1"


def test_two_sources_for_a_key_are_one_too_many() -> None:
    """One of them would silently do nothing."""
    with pytest.raises(ValueError, match="api_key and key_env"):
        provider("https://llm.test/v1", key_env="LAB_KEY")


def test_a_bad_header_is_refused() -> None:
    """A header that cannot be sent is refused where it is given."""
    with pytest.raises(ValueError, match="X-Team"):
        provider("https://llm.test/v1", headers={"X-Team": "a\r\nb"})


# Proxies and clients


def test_a_proxy_of_the_environment_is_used(
    driver: Driver, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY is honoured, and asked for the whole URL."""
    proxy = serve(answering(http(ANSWER)))
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
    made = provider("http://model.test/v1", allow_http=True)
    answer = driver.complete(made, request())
    made.close()
    assert answer.text == "hello"
    assert proxy.requests[0].line == "POST http://model.test/v1/chat/completions HTTP/1.1"


def test_a_proxy_that_refuses_is_a_failed_connection(
    driver: Driver, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel that is not granted is no answer of the provider's."""
    proxy = serve(once(sending(http(b"", "403 Forbidden"))))
    monkeypatch.setenv("https_proxy", proxy.url.removesuffix("/v1"))
    made = provider("https://model.test/v1")
    error = error_of(lambda: driver.complete(made, request()))
    made.close()
    assert (error.reason, error.kind) == ("connection", ErrorKind.TRANSIENT)
    assert proxy.requests[0].line == "CONNECT model.test:443 HTTP/1.1"
    assert "authorization" not in proxy.requests[0].headers


def test_loopback_is_never_proxied(
    driver: Driver, ask: Callable[..., HTTPProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local server is asked directly, and its key stays on the machine."""
    monkeypatch.setenv("http_proxy", refused_url().removesuffix("/v1"))
    assert driver.complete(ask(answering(http(ANSWER))), request()).text == "hello"


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host excepted from proxies is asked directly."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "model.test")
    assert proxy_for(httpx.URL("https://model.test/v1")) is None
    assert proxy_for(httpx.URL("https://other.test/v1")) == "http://127.0.0.1:1"


def test_unreadable_certificates_are_named(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong SSL_CERT_FILE is an error that names it."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    error = error_of(lambda: driver.complete(provider("https://127.0.0.1:9/v1"), request()))
    assert (error.kind, "/nowhere/ca.pem" in error.message) == (ErrorKind.AUTH_DEAD, True)


def test_the_ssl_context_is_shared() -> None:
    """Certificates are loaded once for all providers."""
    first, second = (ssl_context_for(httpx.URL(f"https://{host}")) for host in "ab")
    assert first is second


def test_a_users_own_client_is_used_and_left_open() -> None:
    """Synchronous calls go over a client that was given, which stays the user's to close."""
    seen: list[httpx.Request] = []

    def answer(outgoing: httpx.Request) -> httpx.Response:
        seen.append(outgoing)
        return httpx.Response(200, content=ANSWER)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        made = provider("https://llm.test/v1", client=client)
        assert made.complete(request()).text == "hello"
        assert text_of(list(made.stream(request()))) == "hello"
        made.close()
        assert not client.is_closed
    assert seen[0].extensions["timeout"] == {"connect": 5, "read": 10, "write": 10, "pool": 10}


def test_a_users_own_async_client_is_used() -> None:
    """Asynchronous calls go over a client that was given."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=ANSWER))

    async def calls() -> list[str]:
        async with httpx.AsyncClient(transport=transport) as client:
            made = provider("https://llm.test/v1", async_client=client)
            answer = await made.acomplete(request())
            return [answer.text, text_of([chunk async for chunk in made.astream(request())])]

    assert asyncio.run(calls()) == ["hello", "hello"]


def test_a_users_own_client_does_not_follow_redirects() -> None:
    """Not even one that was made to."""
    transport = httpx.MockTransport(lambda _: httpx.Response(307, headers={"location": "https://evil.test"}))
    with httpx.Client(transport=transport, follow_redirects=True) as client:
        made = provider("https://llm.test/v1", client=client)
        assert error_of(lambda: made.complete(request())).status == 307


class Endless(httpx.SyncByteStream):
    """A body whose every read is quick and whose end never comes."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"\n"


@pytest.mark.parametrize(
    ("name", "limits", "limit"),
    [
        ("complete", {"attempt": 0.05}, "attempt_timeout"),
        ("stream", {"attempt": 0.05}, "attempt_timeout"),
        ("stream", {"first_token": 0.05}, "first_token_timeout"),
    ],
)
def test_the_body_over_a_users_own_client_has_limits(name: str, limits: dict[str, float], limit: str) -> None:
    """Between the reads of a client that cannot be limited as a whole, the time is looked at."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless()))
    with httpx.Client(transport=transport) as client:
        made = provider("https://llm.test/v1", client=client)
        error = error_of(lambda: getattr(Sync(), name)(made, request(**limits)))
    assert (error.reason, limit in error.message) == ("timeout", True)


def test_an_exception_that_is_not_the_networks_is_left_alone() -> None:
    """A fault in a user's own transport is not dressed up as the provider's."""

    def broken(_: httpx.Request) -> httpx.Response:
        raise RuntimeError("mine")

    with (
        httpx.Client(transport=httpx.MockTransport(broken)) as client,
        pytest.raises(RuntimeError, match="mine"),
    ):
        provider("https://llm.test/v1", client=client).complete(request())
