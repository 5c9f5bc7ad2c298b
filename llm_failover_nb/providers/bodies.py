"""The body of a response: read piece by piece, unpacked, and never larger than it may be.

Whole answers and streams alike; what is in them is a dialect's to say, how to connect is elsewhere.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Self

import httpx

from llm_failover_nb.engine.errors import ErrorKind, ProviderError

if TYPE_CHECKING:
    from types import TracebackType

    from llm_failover_nb.engine.types import Chunk
    from llm_failover_nb.providers.dialect import StreamReader
    from llm_failover_nb.providers.exchange import Exchange

__all__ = ["BODY_LIMIT", "STREAM_LIMIT", "Body", "Incoming", "aread", "areading", "read", "reading"]

BODY_LIMIT = 32 * 1024 * 1024
"""Bytes that a whole answer may have, unpacked."""

STREAM_LIMIT = 8 * BODY_LIMIT
"""Bytes that all of a stream may have, unpacked; a long answer is a thousand times its text."""

_ERROR_LIMIT = 1024 * 1024  # more of an error page tells nothing new


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

    __slots__ = ("_encoding", "_limit", "_parts", "_refused", "_size", "_unpacker")

    def __init__(self, response: httpx.Response, limit: int) -> None:
        self._refused = response.status_code >= 300
        self._limit = limit
        self._size = 0
        self._parts: list[bytes] = []
        # Nothing was asked to be packed; gzip and zlib are taken all the same, whichever it is.
        self._encoding = response.headers.get("content-encoding", "identity").strip().lower()
        self._unpacker = None if self._encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)

    def unpack(self, data: bytes) -> bytes:
        """``data`` as it was before packing; never more than the limit allows, in all."""
        if self._unpacker is not None:
            data = self._inflated(self._unpacker, data)
        self._size += len(data)
        if self._size > self._limit:
            raise _no_answer(f"it is over {self._limit} bytes")
        return data

    def keep(self, data: bytes) -> None:
        """Unpack ``data`` for :meth:`whole`."""
        if self._refused and self._size > _ERROR_LIMIT:
            raise _no_answer("it is an error page without an end")
        self._parts.append(self.unpack(data))

    def whole(self) -> bytes:
        return b"".join(self._parts)

    def _inflated(self, unpacker: zlib._Decompress, data: bytes) -> bytes:
        try:
            return unpacker.decompress(data, self._limit - self._size + 1)
        except zlib.error as error:
            raise _no_answer(f"it cannot be unpacked as {self._encoding!r} ({error})") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._refused and isinstance(error, Exception)


def _no_answer(why: str) -> ProviderError:
    return ProviderError(
        f"the body is no answer of a model: {why}; check base_url",
        kind=ErrorKind.TRANSIENT,
        reason="malformed",
    )


def read(response: httpx.Response, pieces: Iterator[bytes], exchange: Exchange) -> Body:
    """All of an answer, within the exchange's limit of time.

    Raises:
        ProviderError: When it is over ``BODY_LIMIT`` or cannot be unpacked (``malformed``).
        TimeoutError: When the time has passed.
    """
    with Body(response, BODY_LIMIT) as body:
        for data in pieces:
            body.keep(data)
            exchange.until()
    return body


async def aread(response: httpx.Response, pieces: AsyncIterator[bytes]) -> Body:
    """The same for an asynchronous response; its caller keeps the time, with one timer around it all."""
    with Body(response, BODY_LIMIT) as body:
        async for data in pieces:
            body.keep(data)
    return body


class Incoming:
    """A stream on its way in; as a context manager around each network read, it judges what goes wrong there.

    A failure after the answer was complete is none: many servers do not end their bodies well.
    """

    __slots__ = ("_ended", "_exchange", "body", "data", "reader", "response")

    def __init__(self, reader: StreamReader, exchange: Exchange, response: httpx.Response) -> None:
        self.reader = reader
        self.response = response
        self.body = Body(response, STREAM_LIMIT)
        self.data: bytes | None = None  # kept here, for tracebacks show what drivers hold
        self._exchange = exchange
        self._ended = False

    @property
    def wanted(self) -> bool:
        return not (self._ended or self.reader.finished)

    @property
    def worth_draining(self) -> bool:
        """The body's own end may still have to be read for the connection to be of further use."""
        return not self._ended

    def take(self) -> list[Chunk]:
        """The content in what was read; ``None`` is the end of the body."""
        if self.data is None:
            self._ended = True
            return []
        try:
            if self.response.status_code >= 300:
                self._keep_error_page()
                return []
            chunks = self.reader.feed(self.body.unpack(self.data))
        except ProviderError as error:
            raise error.with_traceback(None) from None  # as in Exchange
        finally:
            self.data = None
        if not self._exchange.content:
            self._exchange.content = any(chunk.text.strip() or chunk.tool for chunk in chunks)
        return chunks

    def _keep_error_page(self) -> None:
        try:
            self.body.keep(self.data or b"")
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
