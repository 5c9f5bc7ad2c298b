"""The bytes of a stream on their way to a wire's reader: split into events, or kept whole if there are none.

Pure, and the same for every wire and every framing. How bytes are split is ``sse``'s and ``ndjson``'s to say,
what the message in an event means its reader's: nothing here names a wire or a member of a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.types import Chunk
from llm_failover_nb.providers.answers import (
    BODY_LIMIT,
    Json,
    decode,
    decode_from_start,
    malformed,
    without_mark,
)
from llm_failover_nb.providers.failures import failure_told, failure_unframed, read_failure
from llm_failover_nb.providers.sse import UNFRAMED, Event, SSEDecoder

__all__ = [
    "EventStream",
    "Framing",
    "Take",
    "is_event_stream",
    "is_marker",
    "message_in",
    "server_sent",
]

_OF_FAILURES = frozenset({"error", UNFRAMED})

_BEGINS_A_BODY = frozenset((b"{", b"[", b"<", b'"'))

Take = Callable[[str, str, list[Chunk], bool], bool]
"""Reads one event: its name, its data, the chunks to add to, and whether it came whole (the stream's end may
cut the last one). Says whether nothing more is worth reading."""


class Framing(Protocol):
    """Splits the bytes of a stream into events, however they are cut; ``SSEDecoder`` is one."""

    def feed(self, data: bytes, /) -> Iterator[Event]: ...
    def end(self) -> Iterator[Event]: ...


def server_sent(first: bytes) -> Framing | None:
    """How server-sent events are split; ``None`` when the first character is that of a whole body."""
    return None if first in _BEGINS_A_BODY else SSEDecoder()


class EventStream:
    """Hands each event to the ``take`` it is fed with; a body that is no event stream is kept whole instead.

    It never raises before ``end``: what goes wrong after some content is raised when that was handed out. A
    ProviderError that ``take`` raises ends the stream. ``take`` is not kept, for it belongs to an answer, and
    one that its own stream refers to would outlive its call, with all that it has read.

    Args:
        framing: Given the first character, how the stream is split; ``None`` for a body to be kept whole.
    """

    __slots__ = ("_body", "_body_size", "_decoder", "_failure", "_framing", "_head", "_mode",
                 "finished")  # fmt: skip

    def __init__(self, framing: Callable[[bytes], Framing | None] = server_sent) -> None:
        self.finished = False
        self._framing = framing
        self._decoder: Framing | None = None
        self._mode: Literal["unknown", "events", "body"] = "unknown"
        self._head = b""
        self._body: list[bytes] = []
        self._body_size = 0
        self._failure: ProviderError | None = None

    @property
    def body(self) -> bytes | None:
        """All that came, where that is no event stream; ``None`` where it is one, or has no end."""
        return b"".join(self._body) if self._mode == "body" else None

    def feed(self, data: bytes, take: Take) -> list[Chunk]:
        """The content in ``data``, in order; nothing after the stream's end or first error."""
        if self.finished:
            return []
        if self._mode == "unknown":
            data = self._sniff(data)
        if self._mode == "body":
            self._keep(data)
            return []
        return self._read(self._decoder.feed(data), take) if data and self._decoder is not None else []

    def end(self, take: Take) -> list[Chunk]:
        """The content of an event that the stream's end left unfinished.

        Raises:
            ProviderError: What went wrong on the way.
        """
        chunks: list[Chunk] = []
        if not self.finished and self._decoder is not None:
            chunks = self._read(self._decoder.end(), take, whole=False)
        if self._failure is not None:
            raise self._released(self._failure)
        return chunks

    def _sniff(self, data: bytes) -> bytes:
        """Settle by the first character what this is: content types are not to be trusted."""
        data = self._head + data
        if len(data) < 3 and b"\xef\xbb\xbf".startswith(data):  # perhaps a byte-order mark, cut
            self._head = data
            return b""
        self._head = b""
        data = without_mark(data)
        if data:
            self._decoder = self._framing(data[:1])
            self._mode = "body" if self._decoder is None else "events"
        return data

    def _keep(self, data: bytes) -> None:
        self._body.append(data)
        self._body_size += len(data)
        if self._body_size > BODY_LIMIT:
            self._fail(malformed(b"".join(self._body[:1]).decode("utf-8", "replace"), "it has no end"))
            self._mode, self._body = "events", []

    def _fail(self, failure: ProviderError) -> None:
        self._failure = failure
        self.finished = True

    def _released(self, failure: ProviderError) -> ProviderError:
        """``failure``, no longer kept: raised, it refers to frames that refer to this stream."""
        self._failure = None
        return failure

    def _read(self, events: Iterator[Event], take: Take, *, whole: bool = True) -> list[Chunk]:
        chunks: list[Chunk] = []
        try:
            for name, data in events:
                if take(name, data, chunks, whole):
                    self.finished = True
                    break
        except ProviderError as failure:
            # Its frames, and those of what it came from, would keep the bytes read so far; it gets new ones
            # where it is raised.
            failure.__context__ = None
            self._fail(failure.with_traceback(None))
        return chunks


def message_in(name: str, data: str, whole: bool, *, names: frozenset[str] = frozenset()) -> Json | None:
    """The JSON object that an event brings; ``None`` for a ping, a marker, or an event cut short.

    Args:
        name: The event's name.
        data: Its data.
        whole: False for one that the stream's end left unfinished.
        names: The events that bring the wire's own messages, besides those without a name: what is no JSON
            in one of these is a loss.

    Raises:
        ProviderError: The error that it tells of, or ``malformed``.
    """
    if name and name in _OF_FAILURES:
        if failure := failure_unframed(data) if name == UNFRAMED else read_failure(data):
            raise failure
        return None
    try:
        message, end = decode_from_start(data) if data[:1] == "{" else (None, -1)
        if end != len(data):
            message = decode(data)
    except (ValueError, RecursionError):
        if whole and data.strip() and not is_marker(data) and (name in ("", "message") or name in names):
            raise malformed(data, "a part of it is no JSON") from None
        return None
    if isinstance(message, dict):
        return message
    if message and not is_marker(data):
        raise failure_told(message, data) or malformed(data, "a part of it is no JSON object")
    return None


def is_marker(data: str) -> bool:
    """Whether an event's data is the terminal marker that some wires have, and some relays add to others.

    Frameworks that write each event as JSON write the marker in quotes.
    """
    return data.strip().strip('"') == "[DONE]"


def is_event_stream(text: str) -> bool:
    """Whether a body that was to be one JSON value is server-sent events: some relays send them unasked."""
    return text.startswith(("data:", "event:", ":"))
