"""What tests of readers share: recorded streams, ways to cut them, and each wire as a server speaks it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.types import Chunk, Response
from llm_failover_nb.providers.anthropic import AnthropicDialect
from llm_failover_nb.providers.dialect import Dialect
from llm_failover_nb.providers.gemini import GeminiDialect
from llm_failover_nb.providers.ollama import OllamaDialect
from llm_failover_nb.providers.openai import OpenAIDialect

CORPUS = Path(__file__).parents[1] / "corpus"

Message = dict[str, Any]


# The corpus


def corpus(name: str) -> list[dict[str, Any]]:
    """The cases of one of its files."""
    return [json.loads(line) for line in (CORPUS / f"{name}.jsonl").read_text("utf-8").strip().split("\n")]


def recorded() -> list[dict[str, Any]]:
    """Its streams, with their bytes as ``body``."""
    return [case | {"body": (CORPUS / case["file"]).read_bytes()} for case in corpus("streams")]


def failures_in_a_200() -> list[dict[str, Any]]:
    """Its failures that came with a status of success."""
    return [case for case in corpus("errors") if case["status"] == 200]


# What was read


@dataclass
class Reading:
    """What a reader made of a stream."""

    chunks: list[Chunk] = field(default_factory=list)
    error: ProviderError | None = None

    def said(self, kind: str = "text") -> str:
        return "".join(chunk.text for chunk in self.chunks if chunk.kind == kind)

    @property
    def answer(self) -> Response:
        assert self.error is None, self.error
        assert self.chunks[-1].response is not None
        return self.chunks[-1].response

    @property
    def reason(self) -> str | None:
        return None if self.error is None else self.error.reason

    def kind(self, wire: str) -> str | None:
        return str(classify(self.error, wire=wire).kind) if self.error else None


def read(dialect: Dialect, *pieces: bytes) -> Reading:
    """Read a stream that arrives in ``pieces``, the way the provider does."""
    reader, reading = dialect.reader(), Reading()
    for piece in pieces:
        reading.chunks += reader.feed(piece)
        if reader.finished:
            break
    try:
        reading.chunks += reader.end()
    except ProviderError as error:
        reading.error = error
    return reading


def summary(dialect: Dialect, *pieces: bytes) -> object:
    """All of a reading that must not depend on how the bytes were cut."""
    reading = read(dialect, *pieces)
    error = reading.error and (
        str(reading.error),
        reading.error.status,
        reading.error.code,
        reading.error.body,
    )
    kinds = [(chunk.kind, chunk.text, chunk.tool) for chunk in reading.chunks]
    return kinds, error, None if reading.error else reading.answer


def refused(dialect: Dialect, body: bytes) -> ProviderError:
    """The error that a body, which is no answer, is read as."""
    try:
        answer = dialect.response(body)
    except ProviderError as error:
        return error
    raise AssertionError(f"it was read as {answer}")


def cuts(body: bytes, places: list[int]) -> list[bytes]:
    """``body`` cut at ``places``."""
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[a:b] for a, b in itertools.pairwise(edges)]


def bytewise(body: bytes) -> list[bytes]:
    return [body[i : i + 1] for i in range(len(body))]


# The wires, as servers speak them


def sse(*messages: Message) -> bytes:
    """An event stream; each message is named by its type, if it has one."""
    names = [f"event: {message['type']}\n" if "type" in message else "" for message in messages]
    lines = [f"{name}data: {json.dumps(message)}\n\n" for name, message in zip(names, messages, strict=True)]
    return "".join(lines).encode()


def ndjson(*messages: Message) -> bytes:
    return "".join(json.dumps(message) + "\n" for message in messages).encode()


def array(*messages: Message) -> bytes:
    return json.dumps(messages, indent=2).encode()


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One wire.

    Args:
        dialect: Reads it.
        stream: The body of a stream of messages.
        text: A message of a stream with a piece of text.
        thought: One with a piece of reasoning.
        end: The last one, with a finish reason.
        whole: The body of an answer that is not streamed, with its text and finish reason.
        stop: The finish reason of an answer that was said to its end.
        words: Names of members, and values, that mean something to its reader.
        endings: How lines may end.
    """

    dialect: Dialect
    stream: Callable[..., bytes]
    text: Callable[[str], Message]
    thought: Callable[[str], Message]
    end: Callable[[str], Message]
    whole: Callable[[str, str | None], Message]
    stop: str
    words: str
    endings: tuple[bytes, ...] = (b"\n", b"\r\n", b"\r")

    def said(self, *pieces: str) -> list[Message]:
        return [self.text(piece) for piece in pieces]

    def answer(self, *pieces: str, finish: str | None = None) -> bytes:
        """A whole stream of these pieces of text."""
        return self.stream(*self.said(*pieces), self.end(self.stop if finish is None else finish))

    def body(self, text: str, finish: str | None) -> bytes:
        return json.dumps(self.whole(text, finish)).encode()


def _choice(finish: str | None = None, **delta: str) -> Message:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _candidate(*parts: Message, finish: str | None = None) -> Message:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, "finishReason": finish}
    return {"candidates": [candidate]}


def _block_delta(kind: str, member: str, piece: str) -> Message:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, member: piece}}


def _line(done: bool = False, **message: str) -> Message:
    return {"model": "m", "message": {"role": "assistant", "content": "", **message}, "done": done}


def _gemini(stream: Callable[..., bytes]) -> Speaker:
    return Speaker(
        dialect=GeminiDialect(),
        stream=stream,
        text=lambda piece: _candidate({"text": piece}),
        thought=lambda piece: _candidate({"text": piece, "thought": True}),
        end=lambda finish: _candidate(finish=finish),
        whole=lambda text, finish: _candidate({"text": text}, finish=finish),
        stop="STOP",
        words="candidates content parts text thought functionCall finishReason index error errors message "
        "detail promptFeedback blockReason usageMetadata promptTokenCount",
    )


SPEAKERS = {
    "openai": Speaker(
        dialect=OpenAIDialect(),
        stream=sse,
        text=lambda piece: _choice(content=piece),
        thought=lambda piece: _choice(reasoning_content=piece),
        end=_choice,
        whole=lambda text, finish: {
            "choices": [{"index": 0, "message": {"content": text}, "finish_reason": finish}]
        },
        stop="stop",
        words="choices delta message content error index tool_calls function arguments usage cost "
        "finish_reason reasoning refusal prompt_tokens_details code status type text thinking",
    ),
    "anthropic": Speaker(
        dialect=AnthropicDialect(),
        stream=sse,
        text=lambda piece: _block_delta("text_delta", "text", piece),
        thought=lambda piece: _block_delta("thinking_delta", "thinking", piece),
        end=lambda finish: {"type": "message_delta", "delta": {"stop_reason": finish}},
        whole=lambda text, finish: {
            "type": "message",
            "content": [{"type": "text", "text": text}],
            "stop_reason": finish,
        },
        stop="end_turn",
        words="type index delta content_block message content usage text thinking error partial_json "
        "stop_reason stop_details explanation input input_tokens errors output_tokens_details output_tokens "
        "detail message_start content_block_start content_block_delta content_block_stop message_delta "
        "message_stop ping tool_use text_delta thinking_delta input_json_delta",
    ),
    "gemini": _gemini(sse),
    "gemini as an array": _gemini(array),
    "ollama": Speaker(
        dialect=OllamaDialect(),
        stream=ndjson,
        text=lambda piece: _line(content=piece),
        thought=lambda piece: _line(thinking=piece),
        end=lambda finish: _line(done=True) | {"done_reason": finish},
        whole=lambda text, finish: _line(content=text) | {"done": True, "done_reason": finish},
        stop="stop",
        endings=(b"\n", b"\r\n", b"\n\n"),
        words="message content thinking tool_calls function arguments response done error done_reason "
        "prompt_eval_count eval_count errors detail",
    ),
}
