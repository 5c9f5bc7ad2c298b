"""HTTP for any dialect: every behaviour over real sockets, synchronous and asynchronous alike."""

from __future__ import annotations

import asyncio
import gzip
import signal
import socket
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress

import aiohttp
import httpx
import pytest

from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Chunk, Request, Response
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.openai import OpenAIDialect
from llm_failover_nb.providers.reader import Reader
from llm_failover_nb.providers.transport_errors import MEANINGS
from tests.providers.calls import (
    KEY,
    LIMITS,
    STREAM,
    Driver,
    Path,
    Sync,
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
    sending,
)

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


def test_a_long_prompt_arrives_whole(path: Path, serve: Callable[[Script], RawServer]) -> None:
    """With its length, as any other, and without a word of warning."""
    server = serve(answering(http(ANSWER)))
    prompt = "".join(map(str, range(300_000)))
    path(server.url, Request(prompt, model="m", timeouts=LIMITS))  # type: ignore[arg-type]
    received = server.requests[0]
    assert received.json["messages"] == [{"role": "user", "content": prompt}]
    assert received.headers["content-length"] == str(len(received.body))
    assert "transfer-encoding" not in received.headers


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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(path: Path, serve: Callable[[Script], RawServer], status: int) -> None:
    """A key never goes to another address than the one it was given for."""
    other = serve(answering(http(ANSWER)))
    server = serve(answering(http(b"", f"{status} Moved", location=other.url)))
    error = error_of(lambda: path(server.url, request()))
    assert (error.status, len(server.requests), other.connections) == (status, 1, 0)
    assert error.message.startswith(
        f"127.0.0.1 redirects (HTTP {status}) to 127.0.0.1; redirects are not followed"
    )


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


# Failures of the network


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


# Construction


@pytest.mark.parametrize(
    "url", ["llm.test/v1", "ftp://llm.test", "https://", "http://[::1", "", "https://llm.test:port"]
)
def test_a_bad_base_url_is_named(url: str) -> None:
    """What is no URL of a server is refused, with what was given."""
    with pytest.raises(ValueError, match="base_url") as caught:
        provider(url)
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://user:hunter2@llm.test", "ftp://llm.test/?key=hunter2"])
def test_a_bad_base_url_does_not_show_its_password(url: str) -> None:
    """User-info and query of a bad URL stay out of the message."""
    with pytest.raises(ValueError, match="base_url") as caught:
        provider(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"api_key": None, "key_env": "LAB_KEY"},
        {"api_key": None, "headers": {"X-Api-Key": "abcdefgh"}},
        {"api_key": None, "headers": {"x-gateway-token": Secret("abcdefgh")}},
        {"api_key": None, "query": "?key=abcdefgh"},
    ],
)
def test_a_key_over_plain_http_is_refused(options: dict[str, str]) -> None:
    """A key, from wherever, does not cross a network unencrypted."""
    with pytest.raises(ValueError, match=r"unencrypted to llm\.test"):
        provider("http://llm.test/v1" + options.pop("query", ""), **options)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::1]",
        "127.8.8.8",
        "dev.localhost",
        "[::ffff:127.0.0.1]",
    ],
)
def test_a_key_may_travel_within_the_machine(host: str) -> None:
    """Loopback needs no encryption."""
    assert provider(f"http://{host}:1/v1").missing_key is None


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0", "[::]", "10.0.0.1", "[::ffff:10.0.0.1]", "2130706433", "0x7f000001", "127.1", "127.0.0.1.",
        "localhost.evil.test", "127.0.0.1.evil.test", "evil-localhost",
    ],
)  # fmt: skip
@pytest.mark.parametrize("proxied", [False, True])
def test_what_only_looks_like_loopback_is_none(
    monkeypatch: pytest.MonkeyPatch, host: str, proxied: bool
) -> None:
    """Names and addresses that begin like loopback are somewhere else, by a proxy on loopback too."""
    if proxied:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
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


# Clients of the user's own


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


def test_an_exception_that_is_not_the_networks_is_left_alone() -> None:
    """A fault in a user's own transport is not dressed up as the provider's."""

    def broken(_: httpx.Request) -> httpx.Response:
        raise RuntimeError("mine")

    with (
        httpx.Client(transport=httpx.MockTransport(broken)) as client,
        pytest.raises(RuntimeError, match="mine"),
    ):
        provider("https://llm.test/v1", client=client).complete(request())


def test_a_key_in_the_query_over_plain_http_is_refused() -> None:
    """Gateways that take their key in the address are no exception."""
    with pytest.raises(ValueError, match=r"unencrypted to llm\.test") as caught:
        provider("http://llm.test/v1?key=sk-canary-in-query", api_key=None)
    assert "in-query" not in str(caught.value)


def test_a_version_in_the_query_is_no_key() -> None:
    """It may cross any network."""
    assert provider("http://llm.test/v1?api-version=7", api_key=None).missing_key is None
