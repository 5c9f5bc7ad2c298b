"""Wires whose streams are made of parts of the very shape that a whole answer has: one reader for both.

The dialect reads one message into a :class:`Part`; here parts become an answer. Pure, and nothing here names
a wire's member: those are the dialect's. Wires that stream deltas of another shape (``openai``,
``anthropic``) have readers of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llm_failover_nb.engine.types import Chunk, Response, Usage
from llm_failover_nb.providers.answers import (
    Json,
    Said,
    as_chunks,
    body_text,
    cut,
    decode,
    malformed,
    whole_characters,
)
from llm_failover_nb.providers.event_stream import EventStream, Framing, message_in, read_streamed
from llm_failover_nb.providers.failures import failure_told, mended

__all__ = ["Part", "PartReader", "PartWire", "read_whole"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one message says.

    Args:
        content: Text, reasoning and tool calls, in order.
        finish: Why the model stopped, if it did: then the answer is whole.
        usage: The tokens counted so far, if it says.
        last: Nothing comes after it.
    """

    content: tuple[Chunk, ...] = ()
    finish: str | None = None
    usage: Usage | None = None
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWire:
    """What a dialect knows of its own messages.

    Args:
        part: Reads a message, given with its text; ``None`` when it is none of this wire. It raises the
            ProviderError that the message tells of in a way of this wire's own.
        judged: The answer, unless its emptiness is a failure, which it raises.
        framing: Given the first character of a stream, how it is split; ``None`` for a body kept whole.
        is_stream: Whether the text of a body that is no object is a stream, which some relays send unasked.
        missing: What a stream that was cut has not, for messages.
    """

    part: Callable[[Json, str], Part | None]
    judged: Callable[[Response], Response]
    framing: Callable[[bytes], Framing | None]
    is_stream: Callable[[str], bool]
    missing: str


class PartReader:
    """Reads the body of one stream, however its bytes are cut; see ``dialect.StreamReader``."""

    __slots__ = ("_finish", "_said", "_stream", "_tools", "_usage", "_wire", "complete")

    def __init__(self, wire: PartWire) -> None:
        self.complete = False
        self._wire = wire
        self._stream = EventStream(wire.framing)
        self._said = Said()
        self._tools: list[Json] = []
        self._finish: str | None = None
        self._usage = Usage()

    @property
    def finished(self) -> bool:
        """Nothing more is worth reading."""
        return self._stream.finished

    def feed(self, data: bytes, /) -> list[Chunk]:
        """The content in ``data``, in order; nothing after the stream's end or first error."""
        return self._stream.feed(data, self._take)

    def end(self) -> list[Chunk]:
        """What is left, and then the ``done`` chunk with the whole answer.

        Raises:
            ProviderError: The provider's own error, or ``cut``, ``malformed``, ``empty``, ``content_filter``.
        """
        chunks = self._stream.end(self._take)
        if (body := self._stream.body) is not None:
            return as_chunks(read_whole(body, self._wire))
        if not self.complete:
            raise cut(self._said, self._wire.missing)
        self._said.end(chunks)
        chunks.append(Chunk(kind="done", response=self._wire.judged(self._answer())))
        return chunks

    def take_whole(self, message: Json, text: str) -> Response:
        """The answer in the only message there is, which need not say that it is whole."""
        chunks: list[Chunk] = []
        if self._take_message(message, text, chunks) is None:
            raise malformed(text, "it has none of the members of an answer")
        self._said.end(chunks)
        return self._wire.judged(self._answer())

    def _answer(self) -> Response:
        return Response(
            text="".join(self._said.text),
            finish_reason=self._finish,
            usage=self._usage,
            reasoning="".join(self._said.reasoning),
            tool_calls=tuple(self._tools),
        )

    def _take(self, name: str, data: str, chunks: list[Chunk], whole: bool) -> bool:
        """Read one event, see :data:`.event_stream.Take`."""
        message = message_in(name, data, whole)
        part = None if message is None else self._take_message(message, data, chunks)
        return part is not None and part.last

    def _take_message(self, message: Json, text: str, chunks: list[Chunk]) -> Part | None:
        if failure := failure_told(message, text):
            raise failure
        part = self._wire.part(message, text)
        if part is None:
            return None
        try:
            for chunk in part.content:
                self._add(chunk, chunks)
        except RecursionError:
            raise malformed(text, "a tool call in it is nested too deep") from None
        self._usage = part.usage or self._usage
        if part.finish is not None:
            self._finish = mended(part.finish)
        if part.finish is not None or part.last:
            self.complete = True
        return part

    def _add(self, chunk: Chunk, chunks: list[Chunk]) -> None:
        if chunk.tool is None:
            self._said.add(chunk.text, chunk.kind, chunks)
            return
        tool = whole_characters(chunk.tool)
        self._tools.append(tool)
        chunks.append(Chunk(kind="tool", tool=tool))


def read_whole(body: bytes, wire: PartWire) -> Response:
    """The answer in the body of a 200 to a request that was not streamed; a stream sent unasked is read too.

    Raises:
        ProviderError: The error in the body, or ``malformed``, ``empty``, ``content_filter``.
    """
    text = body_text(body)
    try:
        message = decode(text)
    except (ValueError, RecursionError):
        message = None
    reader = PartReader(wire)
    if isinstance(message, dict):
        return reader.take_whole(message, text)
    if wire.is_stream(text):
        return read_streamed(reader, text.encode())
    if message is None:
        raise malformed(text, "it is no JSON" if text else "it is empty")
    raise failure_told(message, text) or malformed(text, "it is no JSON object")
