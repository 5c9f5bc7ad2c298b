"""Limits of time over real sockets: no server outlives them, however it doles out what it sends."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from llm_failover_nb import BenchRegistry, DeadlineExceeded, EventLog, Registry, parse_chain
from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.types import Request, Timeouts
from llm_failover_nb.providers import exchange
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.network import TimedBackend
from tests.providers.calls import (
    CALLS,
    STREAMS,
    Driver,
    Path,
    Sync,
    asked,
    asked_of,
    error_of,
    provider,
    refused_url,
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
    piece,
    sending,
    streamed,
)


def test_no_answer_within_the_attempt(driver: Driver, serve: Callable[[Script], RawServer]) -> None:
    """A silent server costs the attempt's time and no more, and its connection is closed."""
    server = serve(once(silent))
    made = provider(server.url)
    error = error_of(lambda: driver.complete(made, request(connect=5, attempt=0.5)))
    assert (error.reason, error.kind) == ("timeout", ErrorKind.TRANSIENT)
    assert error.message == "127.0.0.1 was not done within 0.5 s (attempt_timeout)"
    assert server.hung_up.wait(5)


CHUNKED = streamed()

# What a server can dole out that never comes to an end, each piece sooner than any read would give up.
TRICKLES = {
    "a header": (b"HTTP/1.1 200 OK\r\nx-a: ", b"a"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n"),
    "interim responses": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b" "),
    "the size of a chunk": (CHUNKED, b"0"),
    "an extension of a chunk": (CHUNKED + b"5;", b"a"),
    "trailers": (CHUNKED + b"0\r\n", b"x-a: b\r\n"),
    "line ends": (CHUNKED, piece(b"\n")),
    "comments": (CHUNKED, piece(b": ping\n\n")),
    "empty deltas": (CHUNKED, piece(event(""))),
    "words": (CHUNKED, piece(event("a"))),
    "an unfinished event": (streamed(event("a")), piece(b"x")),
}


@pytest.mark.parametrize("what", TRICKLES)
def test_a_trickling_server_does_not_outlive_the_attempt(
    path: Path, serve: Callable[[Script], RawServer], what: str
) -> None:
    """A little now and then is no progress: the limit is over all, not for each read."""
    head, more = TRICKLES[what]
    server = serve(once(sending(head), lambda connection: connection.repeat(more, pause=0.02)))
    start = time.perf_counter()
    error = error_of(lambda: path(server.url, request(attempt=0.3)))
    assert time.perf_counter() - start < 3
    assert (error.reason, error.kind) == ("timeout", ErrorKind.TRANSIENT)
    assert error.message == "127.0.0.1 was not done within 0.3 s (attempt_timeout)"


@pytest.mark.parametrize("what", [each for each in TRICKLES if each not in ("words", "an unfinished event")])
@STREAMS
def test_a_trickling_server_is_no_first_token(
    path: Path, serve: Callable[[Script], RawServer], what: str
) -> None:
    """Neither do headers, comments and blanks keep a hope alive."""
    head, more = TRICKLES[what]
    server = serve(once(sending(head), lambda connection: connection.repeat(more, pause=0.02)))
    error = error_of(lambda: path(server.url, request(first_token=0.3, idle=9, attempt=9)))
    assert error.message == "no first token from 127.0.0.1 within 0.3 s (first_token_timeout)"


def test_a_silent_server_does_not_outlive_the_attempt(
    path: Path, serve: Callable[[Script], RawServer]
) -> None:
    """Nor does one that says nothing at all."""
    error = error_of(lambda: path(serve(once(silent)).url, request(attempt=0.3)))
    assert error.message == "127.0.0.1 was not done within 0.3 s (attempt_timeout)"


@pytest.mark.parametrize("pace", ["never", "a little"])
def test_a_server_that_does_not_read_does_not_outlive_the_attempt(
    path: Path, serve: Callable[[Script], RawServer], pace: str
) -> None:
    """A long prompt is written within the limit too, however slowly it is taken."""

    def read_slowly(connection: Connection) -> None:
        while not connection.server.stopping.wait(0.05):
            if pace == "a little":
                connection.socket.recv(65536)

    server = serve(read_slowly)
    server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # or there is always room
    start = time.perf_counter()
    long = Request("x" * 8_000_000, model="m", timeouts=Timeouts(attempt=0.5))  # type: ignore[arg-type]
    error = error_of(lambda: path(server.url, long))
    assert (error.reason, time.perf_counter() - start < 3) == ("timeout", True)


def test_an_error_page_that_trickles_keeps_its_status(
    path: Path, serve: Callable[[Script], RawServer]
) -> None:
    """The status says more than that its page took too long."""
    head = b"HTTP/1.1 503 Down\r\ncontent-length: 1000000\r\n\r\n"
    server = serve(once(sending(head), lambda connection: connection.repeat(b"x", pause=0.02)))
    error = error_of(lambda: path(server.url, request(attempt=0.3)))
    assert (error.status, error.body[:1]) == (503, "x")


def test_an_error_page_is_not_waited_for_long(
    path: Path, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status is known; a server that stalls in it does not hold up the next attempt."""
    monkeypatch.setattr(exchange, "_ERROR_PAGE", 0.2)
    server = serve(once(sending(b"HTTP/1.1 503 Down\r\ncontent-length: 1000\r\n\r\nx"), silent))
    start = time.perf_counter()
    error = error_of(lambda: path(server.url, request()))
    assert (error.status, error.body, time.perf_counter() - start < 4) == (503, "x", True)


# The deadline over the whole call


@pytest.mark.parametrize("what", ["a header", "a body", "comments", "words"])
@pytest.mark.parametrize("name", CALLS)
def test_a_trickling_server_does_not_outlive_the_deadline(
    serve: Callable[[Script], RawServer], name: str, what: str
) -> None:
    """The call ends as what it is, and the model that it cut is neither failed nor benched."""
    head, more = TRICKLES[what]
    server = serve(once(sending(head), lambda connection: connection.repeat(more, pause=0.02)))
    registry, benches = Registry(), BenchRegistry()
    made = provider(server.url)
    registry.register("lab", made)
    chain = parse_chain("lab/m", registry=registry, benches=benches, deadline=0.3, log=EventLog())
    start = time.perf_counter()
    with pytest.raises(DeadlineExceeded, match=r"the deadline of 0.3 s passed"):
        asked_of(chain, name)
    made.close()
    assert (benches.list(), time.perf_counter() - start < 3) == ([], True)


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


@pytest.mark.parametrize("name", CALLS)
def test_a_name_that_is_not_found_in_time(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Looking up a name is part of connecting, though no resolver can be interrupted."""
    go_on, ended = threading.Event(), threading.Event()

    def look(*args: object, **named: object) -> list[object]:
        go_on.wait(20)
        ended.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look)
    made = provider("http://model.test/v1", allow_http=True)

    async def call() -> None:
        try:
            await asked(made, name, request(connect=0.1, attempt=9))
        finally:
            go_on.set()  # the loop waits for the thread that looks

    if name.startswith("a"):
        error = error_of(lambda: asyncio.run(call()))
    else:
        error = error_of(lambda: getattr(Sync(), name)(made, request(connect=0.1, attempt=9)))
    go_on.set()
    made.close()
    assert ended.wait(5)
    assert error.message == "no connection to model.test within 0.1 s (connect_timeout)"


def test_a_proxy_that_is_silent_is_no_connection(
    call: Callable[[HTTPProvider, Request], object],
    serve: Callable[[Script], RawServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until the tunnel stands, all is connecting."""
    monkeypatch.setenv("https_proxy", serve(once(silent)).url.removesuffix("/v1"))
    made = provider("https://model.test/v1")
    error = error_of(lambda: call(made, request(connect=0.3, first_token=9, attempt=9)))
    made.close()
    assert error.message == "no connection to model.test within 0.3 s (connect_timeout)"


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


# Clients of the user's own


def test_a_users_own_client_keeps_no_limit(serve: Callable[[Script], RawServer]) -> None:
    """What it is used for besides, from the same thread too, is nobody's business here."""
    server = serve(answering(http(ANSWER)))
    with httpx.Client(verify=False) as client:
        made = provider(server.url, client=client)
        made.complete(request(attempt=5))
        list(made.stream(request(attempt=5)))
        assert made._limit.moment is None
        assert client.post(server.url, json={}).status_code == 200


def test_two_providers_share_a_clients_limit() -> None:
    """Its network is wrapped once, however many providers it serves."""
    with httpx.Client(verify=False) as client:
        first, second = (provider("https://llm.test/v1", client=client) for _ in range(2))
        network = client._transport._pool._network_backend  # type: ignore[attr-defined]
        assert first._limit is second._limit is network.limit
        assert not isinstance(network._backend, TimedBackend)


def test_the_proxies_of_a_users_own_client_keep_time(serve: Callable[[Script], RawServer]) -> None:
    """They have pools of their own."""
    proxy = serve(once(sending(b"HTTP/1.1 200 OK\r\nx-a: "), lambda c: c.repeat(b"a", pause=0.02)))
    with httpx.Client(verify=False, proxy=proxy.url.removesuffix("/v1")) as client:
        made = provider("http://model.test/v1", client=client, allow_http=True)
        error = error_of(lambda: made.complete(request(attempt=0.3)))
    assert "(attempt_timeout)" in error.message


def test_the_pause_before_a_client_connects_again_is_limited() -> None:
    """A client that was told to retry does so within the limit."""
    with httpx.Client(transport=httpx.HTTPTransport(verify=False, retries=9)) as client:
        made = provider(refused_url(), client=client)
        start = time.perf_counter()
        error = error_of(lambda: made.complete(request(connect=5, attempt=0.3)))
    assert ("(attempt_timeout)" in error.message, time.perf_counter() - start < 3) == (True, True)


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
