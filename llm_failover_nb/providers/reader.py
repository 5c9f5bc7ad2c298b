"""One reader for the answers of all wires: whole bodies and streams, however their bytes are cut.

Pure, and nothing here names a wire or a member of a message. What a message means, and what it adds to the
answer so far, is its wire's part: a :class:`Wire` begins an :class:`Answer`, and the reader brings it the
messages one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.types import Chunk, Response
from llm_failover_nb.providers.answers import Json, Said, as_chunks, body_text, cut, decode, malformed
from llm_failover_nb.providers.event_stream import EventStream, Framing, is_event_stream, server_sent
from llm_failover_nb.providers.failures import failure_told

__all__ = ["Answer", "Reader", "Wire", "read_whole"]


class Answer(Protocol):
    """What one wire makes of the messages of one answer."""

    said: Said

    @property
    def complete(self) -> bool:
        """The sign of the answer's end came; without it a stream was cut."""
        ...

    def take(self, name: str, data: str, chunks: list[Chunk], whole: bool, /) -> bool:
        """Read one event of a stream, see :data:`.event_stream.Take`."""
        ...

    def take_whole(self, message: Json, text: str, /) -> None:
        """Read the only message there is, given with its text; it need not say that it is whole.

        Raises:
            ProviderError: The error in it, or ``malformed``.
        """
        ...

    def response(self) -> Response:
        """All that was said.

        Raises:
            ProviderError: Where its emptiness is a failure: ``empty`` or ``content_filter``.
        """
        ...


def _is_no_part(_: Json) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What the reader asks of a wire.

    Args:
        answer: Begins an answer.
        missing: What a stream that was cut has not, for messages.
        framing: Given the first character of a stream, how it is split; ``None`` for a body kept whole.
        is_stream: Whether the text of a body that is no object is a stream, as some relays send unasked. Of
            such a text ``framing`` knows how it is split.
        is_part: Whether the only message of a body says itself that it is a part and more was to come: what
            a stream sent unasked leaves when it is cut after its first message.
    """

    answer: Callable[[], Answer]
    missing: str
    framing: Callable[[bytes], Framing | None] = server_sent
    is_stream: Callable[[str], bool] = is_event_stream
    is_part: Callable[[Json], bool] = _is_no_part


class Reader:
    """Reads the body of one stream, however its bytes are cut; a body that is no stream too.

    ``feed`` never raises: what goes wrong after some text is raised by ``end``, when the text has been
    handed out.
    """

    __slots__ = ("_answer", "_stream", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._answer = wire.answer()
        self._stream = EventStream(wire.framing)

    @property
    def complete(self) -> bool:
        """The answer is whole; a connection that breaks now does no harm."""
        return self._answer.said.whole or (self._stream.finished and self._answer.complete)

    @property
    def finished(self) -> bool:
        """Nothing more is worth reading."""
        return self._stream.finished

    def feed(self, data: bytes, /) -> list[Chunk]:
        """The content in ``data``, in order; nothing after the stream's end or first error."""
        return self._stream.feed(data, self._answer.take)

    def end(self) -> list[Chunk]:
        """What is left, and then the ``done`` chunk with the whole answer.

        Raises:
            ProviderError: The provider's own error, unless the answer was whole before it, or ``cut``,
                ``malformed``, ``empty``, ``content_filter``.
        """
        if (body := self._stream.body) is not None:
            return as_chunks(read_whole(body, self._wire))
        try:
            chunks = self._stream.end(self._answer.take)
        except ProviderError:
            # A failure behind the finish reason, as when the tokens could not be counted, takes nothing away.
            if not self._answer.said.whole:
                raise
            chunks = []
        if not self._answer.complete:
            raise cut(self._answer.said, self._wire.missing)
        self._answer.said.end(chunks)
        chunks.append(Chunk(kind="done", response=self._answer.response()))
        return chunks


def read_whole(body: bytes, wire: Wire) -> Response:
    """The answer in the body of a 200 to a request that was not streamed; a stream sent unasked is read too.

    Raises:
        ProviderError: The error in the body, or ``malformed``, ``cut``, ``empty``, ``content_filter``.
    """
    text = body_text(body)
    try:
        message = decode(text)
    except (ValueError, RecursionError):
        message = None
    if isinstance(message, dict):
        return _only(message, text, wire)
    if wire.is_stream(text):
        return _streamed(body, Reader(wire))
    if message is None:
        raise malformed(text, "it is no JSON" if text else "it is empty")
    raise failure_told(message, text) or malformed(text, "it is no JSON object")


def _only(message: Json, text: str, wire: Wire) -> Response:
    answer = wire.answer()
    answer.take_whole(message, text)
    if wire.is_part(message):
        raise cut(answer.said, wire.missing)
    answer.said.end([])
    return answer.response()


def _streamed(body: bytes, reader: Reader) -> Response:
    reader.feed(body)
    return reader.end()[-1].response or Response()
