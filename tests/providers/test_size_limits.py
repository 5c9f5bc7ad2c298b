"""Limits of size over real sockets: whatever has no end, ends with an error and without the memory."""

from __future__ import annotations

import gzip
import re
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.types import Request
from llm_failover_nb.providers import bodies
from llm_failover_nb.providers.anthropic import AnthropicDialect
from llm_failover_nb.providers.gemini import GeminiDialect
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.ollama import OllamaDialect
from llm_failover_nb.providers.openai import OpenAIDialect
from tests.providers.calls import KEY, STREAMS, Driver, Path, error_of, request, text_of
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


def test_the_limits_are_the_documented_ones() -> None:
    """32 MiB of a body, 256 MiB of a stream."""
    assert (bodies.BODY_LIMIT, bodies.STREAM_LIMIT) == (32 << 20, 256 << 20)


def test_what_cannot_be_unpacked_is_malformed(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider]
) -> None:
    """A broken packing is the server's fault, and may pass."""
    made = ask(answering(http(b"not gzip", content_encoding="gzip")))
    error = error_of(lambda: call(made, request()))
    assert (error.reason, error.kind) == ("malformed", ErrorKind.TRANSIENT)


def test_a_packing_that_quotes_the_key_is_masked(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider]
) -> None:
    """A header that is named in a message may hold what was sent, in any form."""
    made = ask(answering(http(b"not gzip", content_encoding=f"gzip, {KEY.encode().hex()}")))
    assert KEY.encode().hex() not in error_of(lambda: call(made, request())).message


# What has no end

CHUNKED = streamed()
GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
ZLIB = b"\x78\x9c"
LIMIT_OF_A_STREAM = 2 * 1024 * 1024  # in these tests, for the time's sake


def forever(head: bytes, more: bytes) -> Script:
    return once(sending(head), lambda connection: connection.repeat(more))


def packed(encoding: str, begin: bytes, more: bytes) -> Script:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\n\r\n".encode()
    return forever(head + begin, more)


def deflated(data: bytes) -> bytes:
    """``data`` as a part of a deflate stream that can be repeated without end."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


BOMB = deflated(b"\0" * (1 << 20)) * 64
LINES = deflated(b"data:\n" * (1 << 17)) * 64
NOTHING = b"\0\0\0\xff\xff" * 10_000  # stored blocks without content

BODIES = {
    "bytes": forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
    "the length it said": forever(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", b" " * 65536),
    "chunks": forever(CHUNKED, piece(b"x" * 65536)),
    "a JSON text": forever(streamed(b'{"a":"'), piece(b"x" * 65536)),
    "gzip bomb": packed("gzip", GZIP, BOMB),
    "deflate bomb": packed("deflate", ZLIB, BOMB),
    "bomb of lines": packed("gzip", GZIP, LINES),
    "nothing in gzip": packed("gzip", GZIP, NOTHING),
    "junk after gzip": packed("gzip", gzip.compress(b"{"), b"x" * 65536),
    "gzip after gzip": packed("gzip", b"", gzip.compress(b" " * 65536) * 100),
}

HEADS = {
    "a status line": forever(b"HTTP/1.1 200 ", b"a" * 65536),
    "a header": forever(b"HTTP/1.1 200 OK\r\nx-a: ", b"a" * 65536),
    "headers": forever(b"HTTP/1.1 200 OK\r\n", b"x-a: bbbbbbbbbbbbbbbb\r\n" * 3000),
}

FRAMES = {
    "interim responses": forever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
    "the size of a chunk": forever(CHUNKED, b"0" * 65536),
    "an extension of a chunk": forever(CHUNKED + b"5;", b"a" * 65536),
    "ten megabytes of extension": once(sending(CHUNKED + b"5;" + b"a" * 10_000_000), Connection.hold),
    "a trailer": forever(chunked(ANSWER, end=False) + b"0\r\nx-a: ", b"a" * 65536),
    "trailers": forever(CHUNKED + b"0\r\n", b"x-a: bbbbbbbbbbbbbbbb\r\n" * 3000),
}


@contextmanager
def memory_within(mib: float) -> Iterator[None]:
    """Nothing in here holds more than that at any moment, the server's own little included."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] / (1 << 20)
    finally:
        tracemalloc.stop()
    assert peak < mib


@pytest.mark.parametrize("body", BODIES)
def test_a_body_without_end_is_malformed(
    path: Path, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    """It is left at its limit, which is held to before as after unpacking."""
    monkeypatch.setattr(bodies, "STREAM_LIMIT", LIMIT_OF_A_STREAM)
    server = serve(BODIES[body])
    with memory_within(80):
        error = error_of(lambda: path(server.url, request(first_token=30, attempt=30)))
    assert (error.reason, error.kind) == ("malformed", ErrorKind.TRANSIENT)
    assert re.search(r"over \d+ bytes|it has no end", error.message)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_without_end_is_malformed(path: Path, serve: Callable[[Script], RawServer], head: str) -> None:
    """The library gives up; the error says at what."""
    server = serve(HEADS[head])
    with memory_within(30):
        error = error_of(lambda: path(server.url, request()))
    assert (error.reason, error.kind) == ("malformed", ErrorKind.TRANSIENT)
    assert error.message.startswith("127.0.0.1 sends a header, a trailer or a chunk's size that has no end (")


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_without_end_ends(path: Path, serve: Callable[[Script], RawServer], frame: str) -> None:
    """What one library takes for malformed another reads on, without keeping it, until the time is up."""
    server = serve(FRAMES[frame])
    with memory_within(30):
        error = error_of(lambda: path(server.url, request(attempt=0.5)))
    assert error.reason in ("malformed", "timeout")
    assert re.search(r"has no end \(|\(attempt_timeout\)", error.message)


@pytest.mark.parametrize("bomb", [BOMB, LINES, NOTHING], ids=["zeros", "lines", "nothing"])
def test_a_packed_error_page_is_bounded(
    path: Path, serve: Callable[[Script], RawServer], bomb: bytes
) -> None:
    """The status is known, and of the page a megabyte is enough."""
    head = b"HTTP/1.1 503 Down\r\ncontent-encoding: gzip\r\n\r\n"
    server = serve(forever(head + GZIP, bomb))
    with memory_within(30):
        error = error_of(lambda: path(server.url, request(attempt=1)))
    assert (error.status, len(error.body) < 2_000_000) == (503, True)


@pytest.mark.parametrize("name", ["stream", "astream"])
def test_unpacking_looks_at_the_clock(serve: Callable[[Script], RawServer], name: str) -> None:
    """One small piece may be a minute's work when it is unpacked."""
    data = gzip.compress(b"data:\n" * (1 << 24))
    server = serve(answering(http(data, content_encoding="gzip")))
    start = time.perf_counter()
    error = error_of(lambda: Path(name, over_client=False)(server.url, request(attempt=0.5)))
    assert (error.reason, time.perf_counter() - start < 3) == ("timeout", True)


# What is not packed as it should be


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "X-GZIP"])
def test_an_unknown_packing_is_named(
    call: Callable[[HTTPProvider, Request], object], ask: Callable[..., HTTPProvider], encoding: str
) -> None:
    """The error says which, though none was asked for."""
    made = ask(answering(http(b"\x0b\x02\x80", content_encoding=encoding)))
    error = error_of(lambda: call(made, request()))
    assert (error.reason, error.message.partition(" (")[0]) == (
        "malformed",
        f"the body is no answer of a model: it cannot be unpacked as {encoding.lower()}",
    )


@pytest.mark.parametrize("encoding", ["utf-8", "none", "identity", "", "x-gzip", "GZip"])
def test_a_body_is_read_as_what_it_is(
    driver: Driver, ask: Callable[..., HTTPProvider], encoding: str
) -> None:
    """Servers write other things there than packings."""
    body = gzip.compress(ANSWER) if "gzip" in encoding.lower() else ANSWER
    made = ask(answering(http(body, content_encoding=encoding)))
    assert driver.complete(made, request()).text == "hello"


def test_a_stream_of_many_gzips_is_one(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """Some servers pack each event by itself; where the one ends the next begins, in whichever read."""

    def events(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
        for data in (event("hel"), event("lo", "stop") + DONE):
            connection.send(piece(gzip.compress(data)))
            connection.server.stopping.wait(0.02)
        connection.send(b"0\r\n\r\n")

    assert text_of(driver.stream(ask(once(events)), request())) == "hello"


def test_what_follows_a_gzip_is_nothing(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """Padding, say."""
    made = ask(answering(http(gzip.compress(ANSWER) + b"\0" * 512, content_encoding="gzip")))
    assert driver.complete(made, request()).text == "hello"


def test_what_can_be_unpacked_is_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a piece is cut, nothing of it waits in the unpacker for the next one."""
    monkeypatch.setattr(bodies, "_AT_ONCE", 1000)
    packed = gzip.compress(b" " * 20_000)
    response = httpx.Response(200, headers={"content-encoding": "gzip"})
    for end in range(len(packed) + 1):
        got = b"".join(bodies.Body(response, 100_000).unpack(packed[:end]))
        assert got == zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(packed[:end])


# The wires

LONG_LINES = {
    "openai": (OpenAIDialect(), b"data: "),
    "anthropic": (AnthropicDialect(), b"event: content_block_delta\ndata: "),
    "gemini": (GeminiDialect(), b"data: "),
    "gemini's array": (GeminiDialect(), b'[{"a":"'),
    "ollama": (OllamaDialect(), b'{"a":"'),
}

# What says nothing, and what says something, on each wire.
KEPT_ALIVE = {
    "openai": (OpenAIDialect(), b"\n", b": ping\n\n"),
    "anthropic": (AnthropicDialect(), b"\n", b'event: ping\ndata: {"type": "ping"}\n\n'),
    "gemini": (GeminiDialect(), b"\n", b'data: {"usageMetadata": {}}\n\n'),
    "gemini's array": (GeminiDialect(), b"[", b'{"usageMetadata": {}},'),
    "ollama": (OllamaDialect(), b"\n", b'{"done": false}\n'),
}
CANDIDATE = b'{"candidates": [{"content": {"parts": [{"text": "ab"}]}}]}'
TEXTS = {
    "openai": (OpenAIDialect(), b"\n", event("ab")),
    "anthropic": (
        AnthropicDialect(),
        b"\n",
        b'data: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ab"}}\n\n',
    ),
    "gemini": (
        GeminiDialect(),
        b"\n",
        b"data: " + CANDIDATE + b"\n\n",
    ),
    "gemini's array": (GeminiDialect(), b"[", CANDIDATE + b","),
    "ollama": (OllamaDialect(), b"\n", b'{"message": {"content": "ab"}}\n'),
    "tool calls": (OllamaDialect(), b"\n", b'{"message": {"tool_calls": [{"function": {"name": "a"}}]}}\n'),
}


@STREAMS
@pytest.mark.parametrize("wire", LONG_LINES)
def test_a_line_without_end_is_malformed(path: Path, serve: Callable[[Script], RawServer], wire: str) -> None:
    """At four mebibytes, on every wire."""
    dialect, head = LONG_LINES[wire]
    server = serve(forever(streamed(head), piece(b"x" * 65536)))
    with memory_within(30):
        error = error_of(lambda: path(server.url, request(), dialect=dialect))
    assert (error.reason, "over 4194304 bytes" in error.message) == ("malformed", True)


@STREAMS
@pytest.mark.parametrize("wire", KEPT_ALIVE)
def test_a_stream_that_says_nothing_without_end_is_malformed(
    path: Path, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch, wire: str
) -> None:
    """Its bytes are counted, whatever is in them."""
    monkeypatch.setattr(bodies, "STREAM_LIMIT", 500_000)
    dialect, head, said = KEPT_ALIVE[wire]
    server = serve(forever(streamed(head), piece(said * 100)))
    error = error_of(lambda: path(server.url, request(first_token=30, attempt=30), dialect=dialect))
    assert (error.reason, "over 500000 bytes" in error.message) == ("malformed", True)


@STREAMS
@pytest.mark.parametrize("wire", TEXTS)
def test_an_answer_without_end_is_malformed(
    path: Path, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch, wire: str
) -> None:
    """A word is kept until the end, and takes many times its size: that has a limit of its own."""
    monkeypatch.setattr(bodies, "BODY_LIMIT", 500_000)
    dialect, head, said = TEXTS[wire]
    server = serve(forever(streamed(head), piece(said * 100)))
    error = error_of(lambda: path(server.url, request(first_token=30, attempt=30), dialect=dialect))
    assert (error.reason, "takes more than 500000 bytes to keep" in error.message) == ("malformed", True)


def test_a_long_answer_is_no_answer_without_end(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """A hundred thousand words, one an event, are more than any model says, and well within the limits."""
    words = event("ab") * 1000
    chunks = driver.stream(
        ask(answering(chunked(*[words] * 100, event("", "stop"), DONE))), request(first_token=60, attempt=60)
    )
    assert len(text_of(chunks)) == 200_000
