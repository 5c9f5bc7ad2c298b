"""Answers of wires whose streams are made of parts of the very shape that a whole answer has.

The dialect reads one message into a :class:`Part`; here parts become an answer. Pure, and nothing here names
a wire's member: those are the dialect's. Wires that stream deltas of another shape (``openai``,
``anthropic``) put their answers together themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llm_failover_nb.engine.types import Chunk, Finish, Response, Usage
from llm_failover_nb.providers.answers import Json, Said, malformed, whole_characters
from llm_failover_nb.providers.event_stream import message_in
from llm_failover_nb.providers.failures import failure_told, mended

__all__ = ["Part", "PartAnswer", "ReadPart"]


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


ReadPart = Callable[[Json, str], Part | None]
"""Reads a message, given with its text; ``None`` when it is none of its wire. It raises the ProviderError
that the message tells of in a way of the wire's own."""


class PartAnswer:
    """An answer made of parts; see ``reader.Answer``.

    Args:
        part: Reads a message.
        words: The wire's finish reasons and the common words for them.
        judged: The answer, unless its emptiness is a failure, which it raises.
    """

    __slots__ = ("_finish", "_judged", "_part", "_tools", "_usage", "_words", "complete", "said")

    def __init__(
        self, part: ReadPart, words: Mapping[str, Finish], judged: Callable[[Response], Response]
    ) -> None:
        self.complete = False
        self.said = Said()
        self._part = part
        self._words = words
        self._judged = judged
        self._tools: list[Json] = []
        self._finish: str | None = None
        self._usage = Usage()

    def take(self, name: str, data: str, chunks: list[Chunk], whole: bool, /) -> bool:
        """Read one event, see :data:`.event_stream.Take`."""
        message = message_in(name, data, whole)
        part = None if message is None else self._take_message(message, data, chunks)
        return part is not None and part.last

    def take_whole(self, message: Json, text: str, /) -> None:
        """Read the only message there is, which need not say that it is whole."""
        if self._take_message(message, text, []) is None:
            raise malformed(text, "it has none of the members of an answer")

    def response(self) -> Response:
        """All that was said, judged."""
        return self._judged(
            self.said.answer(
                finish_reason=self._finish,
                words=self._words,
                usage=self._usage,
                tool_calls=tuple(self._tools),
            )
        )

    def _take_message(self, message: Json, text: str, chunks: list[Chunk]) -> Part | None:
        if failure := failure_told(message, text):
            raise failure
        part = self._part(message, text)
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
            self.said.stopped(self._finish)
        return part

    def _add(self, chunk: Chunk, chunks: list[Chunk]) -> None:
        if chunk.tool is None:
            self.said.add(chunk.text, chunk.kind, chunks)
            return
        tool = whole_characters(chunk.tool)
        self._tools.append(tool)
        chunks.append(Chunk(kind="tool", tool=tool))
