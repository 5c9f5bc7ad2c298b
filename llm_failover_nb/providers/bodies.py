"""The body of a response: read piece by piece, unpacked, and never larger than it may be.

Whole answers and streams alike; what is in them is a dialect's to say, how to connect is elsewhere.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Self

import httpx

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import redact

if TYPE_CHECKING:
    from types import TracebackType

    from llm_failover_nb.engine.types import Chunk
    from llm_failover_nb.providers.dialect import StreamReader
    from llm_failover_nb.providers.exchange import Exchange

__all__ = ["BODY_LIMIT", "STREAM_LIMIT", "Body", "Incoming", "aread", "areading", "read", "reading"]

BODY_LIMIT = 32 * 1024 * 1024
"""Bytes that a whole answer may have, unpacked; and what a stream may bring to be kept, see ``Incoming``."""

STREAM_LIMIT = 8 * BODY_LIMIT
"""Bytes that all of a stream may have, unpacked; a long answer is a thousand times its text."""

_ERROR_LIMIT = 1024 * 1024  # more of an error page tells nothing new

# Bytes handed on at once: a packed piece may be a thousand times as large unpacked, and a reader makes
# twenty times as much again of an event that is all line ends.
_AT_ONCE = 256 * 1024

# Chunks are kept until the end. Besides its characters a text costs about this much memory, and a tool's
# delta about that much; no model's answer comes near a hundred thousand of these.
_TEXT_OVERHEAD = 64
_TOOL_OVERHEAD = 256

# Nothing is asked to be packed; gzip and zlib are taken all the same, and of the others it is said what they
# are. A word that names no packing ("utf-8", "none") is a server's mistake: what it names is read as it is.
_PACKINGS = frozenset({"br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})
_GZIP = b"\x1f\x8b"  # how it begins


@contextmanager
def reading(response: httpx.Response) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
    """A response and its bytes as they come; closes both, and with them a connection that is not done."""
    if not isinstance(response.stream, httpx.SyncByteStream):
        raise TypeError("the response of a synchronous client must have a synchronous stream")
    pieces = iter(response.stream)
    try:
        yield response, pieces
    finally:
        if (close := getattr(pieces, "close", None)) is not None:
            close()
        response.close()


@asynccontextmanager
async def areading(response: httpx.Response) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
    """The same for an asynchronous response."""
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the response of an asynchronous client must have an asynchronous stream")
    pieces = aiter(response.stream)
    try:
        yield response, pieces
    finally:
        if (aclose := getattr(pieces, "aclose", None)) is not None:
            await aclose()
        await response.aclose()


class Body:
    """Unpacks and bounds the body of one response.

    As a context manager it forgives a failure while the body of an error is read: the status is known, and
    says more than that its page was cut.
    """

    __slots__ = ("_came", "_kept", "_limit", "_refused", "_size", "_unpacker")

    def __init__(self, response: httpx.Response, limit: int) -> None:
        self._refused = response.status_code >= 300
        self._limit = limit
        self._came = 0
        self._size = 0
        self._kept = BytesIO()
        encoding = response.headers.get("content-encoding", "").lower()
        is_packed = any(word.strip() in _PACKINGS for word in encoding.split(","))
        self._unpacker = _Unpacker(encoding.strip()) if is_packed else None

    def unpack(self, data: bytes) -> Iterable[bytes]:
        """``data`` as it was before packing, in pieces of a bounded size.

        Raises:
            ProviderError: ``malformed``, when it is over the limit, packed or not, or cannot be unpacked.
        """
        self._came = self._within(self._came + len(data))
        if self._unpacker is None and len(data) <= _AT_ONCE:
            self._size = self._came
            return (data,)
        return self._unpacked(data)

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        for piece in _slices(data) if self._unpacker is None else self._unpacker.unpack(data):
            self._size = self._within(self._size + len(piece))
            yield piece

    def _within(self, size: int) -> int:
        if size > self._limit:
            raise _no_answer(f"it is over {self._limit} bytes")
        return size

    def keep(self, data: bytes) -> None:
        """Unpack ``data`` for :meth:`whole`."""
        for piece in self.unpack(data):
            self._kept.write(piece)
            if self._refused and self._size > _ERROR_LIMIT:
                raise _no_answer("it is an error page without an end")

    def whole(self) -> bytes:
        return self._kept.getvalue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._refused and isinstance(error, Exception)


class _Unpacker:
    """Unpacks gzip and zlib, whichever it is, some bytes at a time."""

    __slots__ = ("_encoding", "_zlib")

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._zlib = _new_zlib()

    def unpack(self, data: bytes) -> Iterator[bytes]:
        piece = b""
        while data or len(piece) == _AT_ONCE:
            if self._zlib.eof:
                if not data or not _GZIP.startswith(data[:2]):
                    return  # what follows the end, and is not gzip joined to it, is nothing
                self._zlib = _new_zlib()
            try:
                piece = self._zlib.decompress(data, _AT_ONCE)
            except zlib.error as error:
                raise _no_answer(f"it cannot be unpacked as {self._encoding} ({error})") from None
            data = self._zlib.unconsumed_tail or self._zlib.unused_data
            if piece:
                yield piece


def _new_zlib() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 32)


def _slices(data: bytes) -> Iterator[bytes]:
    return (data[start : start + _AT_ONCE] for start in range(0, len(data), _AT_ONCE))


def _no_answer(why: str) -> ProviderError:
    return ProviderError(
        f"the body is no answer of a model: {redact(why)}; check base_url",  # a header may be quoted in it
        kind=ErrorKind.TRANSIENT,
        reason="malformed",
    )


def read(
    response: httpx.Response, pieces: Iterator[bytes], exchange: Exchange, *, limit: int | None = None
) -> Body:
    """All of an answer, within the exchange's limit of time.

    Args:
        response: The answer's head.
        pieces: Its body as it comes.
        exchange: Keeps the time.
        limit: Bytes that it may have, unpacked; ``BODY_LIMIT`` unless given.

    Raises:
        ProviderError: When it is over its limit or cannot be unpacked (``malformed``).
        TimeoutError: When the time has passed.
    """
    with Body(response, BODY_LIMIT if limit is None else limit) as body:
        for data in pieces:
            body.keep(data)
            exchange.until()
    return body


async def aread(response: httpx.Response, pieces: AsyncIterator[bytes], exchange: Exchange) -> Body:
    """The same for an asynchronous response."""
    with Body(response, BODY_LIMIT) as body:
        async with asyncio.timeout(exchange.left()):
            async for data in pieces:
                body.keep(data)
    return body


class Incoming:
    """A stream on its way in; as a context manager around each network read, it judges what goes wrong there.

    A failure after the answer was complete is none: many servers do not end their bodies well.
    """

    __slots__ = ("_ended", "_exchange", "_kept", "body", "data", "reader", "response")

    def __init__(self, reader: StreamReader, exchange: Exchange, response: httpx.Response) -> None:
        self.reader = reader
        self.response = response
        self.body = Body(response, STREAM_LIMIT)
        self.data: bytes | None = None  # kept here, for tracebacks show what drivers hold
        self._kept = 0
        self._exchange = exchange
        self._ended = False

    @property
    def wanted(self) -> bool:
        return not (self._ended or self.reader.finished)

    @property
    def worth_draining(self) -> bool:
        """The body's own end may still have to be read for the connection to be of further use."""
        return not self._ended

    def take(self) -> Iterator[Chunk]:
        """The content in what was read; ``None`` is the end of the body.

        Raises:
            ProviderError: ``malformed``, when it is more than a stream may bring; ``timeout``.
        """
        if self.data is None:
            self._ended = True
        elif self.response.status_code >= 300:
            self._keep_error_page()
        else:
            with self._exchange:
                for chunks in self._read():
                    yield from chunks

    def _read(self) -> Iterator[list[Chunk]]:
        data, self.data = self.data, None
        for number, piece in enumerate(self.body.unpack(data or b"")):
            if number:
                self._exchange.until()
            chunks = self.reader.feed(piece)
            self._count(chunks)
            yield chunks

    def _count(self, chunks: list[Chunk]) -> None:
        """Note whether the answer has begun, and what it takes to keep it."""
        if not self._exchange.content:
            self._exchange.content = any(chunk.text.strip() or chunk.tool for chunk in chunks)
        for chunk in chunks:
            self._kept += len(chunk.text) + (_TEXT_OVERHEAD if chunk.tool is None else _TOOL_OVERHEAD)
        if self._kept > BODY_LIMIT:
            raise _no_answer(f"what it says takes more than {BODY_LIMIT} bytes to keep")

    def _keep_error_page(self) -> None:
        data, self.data = self.data, None
        try:
            self.body.keep(data or b"")
        except ProviderError:
            self._ended = True  # what there is of it must do

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception) and (self.reader.complete or self.response.status_code >= 300):
            return True
        self._exchange.__exit__(kind, error, trace)
        return False
