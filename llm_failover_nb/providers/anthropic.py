"""The Messages wire of Anthropic: requests to bytes, bytes to answers.

Pure functions and readers: no I/O, no clock, no environment. What an error *means* is not decided here: a
``ProviderError`` leaves with the status, code and body it came with, and ``engine.classify`` reads them.
The verdicts given here are about the shape of an answer, as in ``openai``: ``malformed``, ``empty``, ``cut``,
and a ``content_filter`` that left nothing.

Members, events and stop reasons are those of the Messages API, version 2023-06-01, as its reference and its
pages "Streaming messages", "Handling stop reasons" and "Structured outputs" give them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.types import Chunk, Finish, Request, Response, Usage
from llm_failover_nb.providers.answers import (
    NO_JSON,
    Json,
    Said,
    count,
    decode,
    given,
    malformed,
    not_empty,
    whole_characters,
    with_extra,
    written,
)
from llm_failover_nb.providers.event_stream import message_in
from llm_failover_nb.providers.failures import failure_flat, failure_told, mended, read_failure
from llm_failover_nb.providers.listing import ModelsPage, ModelsQuery, next_mark, objects_in, usable_names
from llm_failover_nb.providers.reader import Reader, Wire, read_whole

__all__ = ["AnthropicDialect"]

# The pages' other stop reasons, pause_turn and compaction, have no common word: the turn is to go on.
_WORDS: Mapping[str, Finish] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
    }
)

# Stop reasons that explain why nothing was said; after any other an empty answer is a fault.
_MAY_BE_EMPTY = frozenset(
    {"max_tokens", "model_context_window_exceeded", "pause_turn", "stop_sequence", "tool_use"}
)

# Of a ping or an event yet unknown nothing is expected; what is no JSON in one of these is a loss.
_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    }
)

# The version in the name of a model, as in claude-opus-4-1-20250805; until 3.7 it stood before the family's
# name, as in claude-3-5-haiku-20241022.
_VERSION = re.compile(r"claude-(?:[a-z]{1,20}-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
# From here on models answer 400, "`temperature` is deprecated for this model": the migration guides name Opus
# 4.7 and 4.8, all of version 5, and Mythos Preview, whose name has no version.
_WITHOUT_TEMPERATURE = (4, 7)
_MYTHOS = "claude-mythos-preview"
# From here on "`temperature` and `top_p` cannot both be specified for this model".
_ONE_OF_TWO = (4, 1)
# "Structured outputs are generally available for Claude 4.5 and later models and Claude Mythos Preview"; the
# beta began with Opus 4.1. Models before it answer 400.
_WITH_SCHEMA = (4, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicDialect:
    """How one speaker of the wire wants it.

    Args:
        version: The version of the API, sent beside the key.
        max_tokens: Tokens to answer with at most where the request does not say; the wire demands a number.

    >>> AnthropicDialect().auth("KEY")
    {'x-api-key': 'KEY', 'anthropic-version': '2023-06-01'}
    """

    wire: ClassVar[str] = "anthropic"

    version: str = "2023-06-01"
    max_tokens: int = 4096

    def auth(self, key: str) -> dict[str, str]:
        """The headers that carry ``key``, and the version, without which it opens nothing."""
        return {"x-api-key": key, "anthropic-version": self.version}

    def encode(self, request: Request, *, stream: bool) -> tuple[str, bytes]:
        """The path below the base URL, and the body.

        Raises:
            ProviderError: When the request holds what JSON cannot (``request_specific``).
        """
        body = with_extra(self._body(request), request.extra)
        # After extra, which may change what is asked for but not how the answer is read.
        body["stream"] = stream
        return "/v1/messages", written(body, request)

    def dropped(self, request: Request) -> tuple[str, ...]:
        """The names of the request's fields that would be refused, and that ``encode`` leaves out.

        These are ``seed``, which the wire does not have; ``temperature``, where it is not in 0 to 1, where
        the model takes none, and where the request's ``extra`` asks for what excludes it (thinking,
        ``top_p``); ``stop``, where one of its texts is nothing but blanks; and ``schema``, where the model
        has no structured outputs.

        >>> AnthropicDialect().dropped(Request("hi", seed=7, stop=("\\n", "END")))
        ('stop', 'seed')
        """
        return tuple(name for name in given(request) if _refuses(name, request))

    def response(self, body: bytes) -> Response:
        """The answer in the body of a 200; see :func:`.reader.read_whole`."""
        return read_whole(body, _WIRE)

    def reader(self) -> Reader:
        """A reader for the body of one stream.

        Tool chunks carry the events of a tool's block whole, for they name the block they belong to.
        """
        return Reader(_WIRE)

    def failure(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        """The error of a response that is not a 2xx; see :func:`.failures.read_failure`."""
        return read_failure(body, status=status, headers=headers)

    def models_query(self, after: str = "") -> ModelsQuery | None:
        """What asks for a page of the list, newest first: 1,000 names, as many as there can be in one."""
        return ModelsQuery("/v1/models?limit=1000" + (f"&after_id={after}" if after else ""))

    def models_page(self, body: bytes) -> ModelsPage:
        """A page of the list; see :func:`.listing.objects_in`."""
        page, models = objects_in(body, "data")
        after = next_mark(page.get("last_id")) if page.get("has_more") is True else ""
        return ModelsPage(usable_names(model.get("id") for model in models), after)

    def _body(self, request: Request) -> dict[str, object]:
        sent = [name for name in given(request) if not _refuses(name, request)]
        body: dict[str, object] = {
            "model": request.model,
            "max_tokens": request.max_tokens if "max_tokens" in sent else self.max_tokens,
            "messages": _turns(request),
        }
        if system := _system(request):
            body["system"] = system
        if "temperature" in sent:
            body["temperature"] = request.temperature
        if "stop" in sent:
            body["stop_sequences"] = request.stop
        if "schema" in sent:
            body["output_config"] = {"format": {"type": "json_schema", "schema": request.schema}}
        return body


# Requests


def _turns(request: Request) -> list[dict[str, str]]:
    """The turns of the two roles that the wire has; what a tool said is said to the model by the user."""
    return [
        {"role": "assistant" if turn.role == "assistant" else "user", "content": turn.content}
        for turn in request.messages
        if turn.role != "system"
    ]


def _system(request: Request) -> str:
    """The system prompt and the system's turns, which have no place among the others."""
    turns = [turn.content for turn in request.messages if turn.role == "system"]
    return "\n\n".join(text for text in (request.system, *turns) if text)


def _refuses(name: str, request: Request) -> bool:
    """Whether the wire has no place for a field of ``request``, or the model would refuse it."""
    match name:
        case "seed":
            return True
        case "temperature":
            return _refuses_temperature(request, _version(request.model))
        case "stop":
            # "Each stop sequence must contain non-whitespace."
            return not all(map(str.strip, request.stop))
        case "schema":
            version = _version(request.model)
            return version is not None and version < _WITH_SCHEMA
    return False


def _refuses_temperature(request: Request, version: tuple[int, int] | None) -> bool:
    value = request.temperature
    if value is None:
        return False
    if value < 0 or value > 1 or _MYTHOS in request.model:
        return True
    match request.extra.get("thinking"):
        # "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode."
        case {"type": "enabled" | "adaptive"} if value != 1:
            return True
    # A name that tells no version is believed to be that of a model which takes what is asked for.
    if version is None:
        return False
    return version >= _WITHOUT_TEMPERATURE or (version >= _ONE_OF_TWO and "top_p" in request.extra)


def _version(model: str) -> tuple[int, int] | None:
    """The version that a model's name tells."""
    named = _VERSION.search(model)
    return None if named is None else (int(named[1]), int(named[2] or 0))


# Answers


class _Answer:
    """An answer made of blocks; see ``reader.Answer``."""

    __slots__ = ("_finish", "_stopped", "_tools", "_usage", "_why", "said")

    def __init__(self) -> None:
        self.said = Said()
        self._tools = _ToolUses()
        self._finish: str | None = None
        self._stopped = False
        self._usage: Json = NO_JSON
        self._why = ""

    @property
    def complete(self) -> bool:
        """The answer is whole: its stop reason or the terminal event came."""
        return self._stopped or self._finish is not None

    def take(self, name: str, data: str, chunks: list[Chunk], whole: bool, /) -> bool:
        """Read one event, see :data:`.event_stream.Take`; by its type, for some relays name no events."""
        message = message_in(name, data, whole, names=_EVENTS)
        if message is None:
            return False
        if text := _only_text(message):
            self.said.add(text, "text", chunks)
            return False
        if failure := _failure_in(message, data):
            raise failure
        kind = message.get("type")
        if kind == "content_block_delta":
            self._take_delta(message, chunks)
        elif kind == "content_block_start":
            self._take_block(message, chunks)
        elif kind == "message_start":
            self._count(message.get("message"))
        elif kind == "message_delta":
            self._count(message)
            self._take_stop(message.get("delta"))
        elif kind == "message_stop":
            self._stopped = True
        return self._stopped

    def take_whole(self, message: Json, text: str, /) -> None:
        """Read the only message there is: blocks, each with all that it says."""
        if failure := _failure_in(message, text):
            raise failure
        if not isinstance(blocks := message.get("content"), list):
            raise malformed(text, "it has no content")
        for index, block in enumerate(blocks):
            self._take_block({"index": index, "content_block": block}, [])
        self._count(message)
        self._take_stop(message)

    def response(self) -> Response:
        """All that was said, judged."""
        answer = self.said.answer(
            finish_reason=self._finish,
            words=_WORDS,
            usage=_usage(self._usage),
            tool_calls=self._tools.whole(),
        )
        return not_empty(answer, explains=_MAY_BE_EMPTY, why=self._why)

    def _take_delta(self, event: Json, chunks: list[Chunk]) -> None:
        delta = event.get("delta")
        match delta:
            case {"type": "thinking_delta", "thinking": str(thought)} if thought:
                self.said.add(thought, "reasoning", chunks)
            case {"type": "input_json_delta", "partial_json": str(piece)}:
                self._tools.add(event.get("index"), piece)
                chunks.append(Chunk(kind="tool", tool=event))

    def _take_block(self, event: Json, chunks: list[Chunk]) -> None:
        """A block begins; some relays begin it with all that it says."""
        block = event.get("content_block")
        match block:
            case {"type": "text", "text": str(text)} if text:
                self.said.add(text, "text", chunks)
            case {"type": "thinking", "thinking": str(thought)} if thought:
                self.said.add(thought, "reasoning", chunks)
            case {"type": "tool_use"} if isinstance(block, dict):
                self._tools.begin(event.get("index"), block)
                chunks.append(Chunk(kind="tool", tool=event))

    def _take_stop(self, delta: object) -> None:
        if isinstance(delta, dict) and (finish := _finish_of(delta)):
            self._finish = finish
            self.said.stopped(finish)
            self._why = _why(delta)

    def _count(self, of: object) -> None:
        """Each report of tokens stands for all until then, as far as it goes."""
        usage = of.get("usage") if isinstance(of, dict) else None
        if isinstance(usage, dict):
            self._usage = {**self._usage, **{k: v for k, v in usage.items() if v is not None}}


class _ToolUses:
    """Tool calls put together: a block each, its input in pieces of one JSON text."""

    __slots__ = ("_blocks", "_pieces")

    def __init__(self) -> None:
        self._blocks: dict[int | None, Json] = {}
        self._pieces: dict[int | None, list[str]] = {}

    def begin(self, index: object, block: Json) -> None:
        self._blocks[_index(index)] = block

    def add(self, index: object, piece: str) -> None:
        self._pieces.setdefault(_index(index), []).append(piece)

    def whole(self) -> tuple[Json, ...]:
        return tuple(
            _whole(block, "".join(self._pieces.get(index, ()))) for index, block in self._blocks.items()
        )


def _index(index: object) -> int | None:
    return index if isinstance(index, int) else None


def _whole(block: Json, text: str) -> Json:
    """A tool's block with its input; one that a limit cut short is left as the text it is."""
    if text.strip():
        block = {**block, "input": _input(text)}
    try:
        return whole_characters(block)
    except RecursionError:
        raise malformed(text, "the input of a tool is nested too deep") from None


def _input(text: str) -> object:
    try:
        return decode(text)
    except (ValueError, RecursionError):
        return text


_WIRE = Wire(answer=_Answer, missing="a stop reason or message_stop")


def _only_text(message: Json) -> str | None:
    """The text of an event that brings nothing but text, as most of most streams do; else ``None``."""
    delta = message.get("delta")
    if type(delta) is not dict or delta.get("type") != "text_delta" or "error" in message:
        return None
    text = delta.get("text")
    return text if type(text) is str and "errors" not in message else None


def _finish_of(message: Json) -> str | None:
    """Why the model stopped, if it did."""
    finish = message.get("stop_reason")
    return mended(finish) if isinstance(finish, str) and finish else None


def _why(message: Json) -> str:
    """What the provider says of a refusal."""
    details = message.get("stop_details")
    why = details.get("explanation") if isinstance(details, dict) else None
    return mended(why) if isinstance(why, str) else ""


def _usage(raw: object) -> Usage:
    """The tokens, counted as other wires do: the whole input, and the part of it read from the cache."""
    cached = count(raw, "cache_read_input_tokens")
    fresh = count(raw, "input_tokens")
    kept = count(raw, "cache_creation_input_tokens")
    details = raw.get("output_tokens_details") if isinstance(raw, dict) else None
    return Usage(
        input_tokens=None if fresh is None else fresh + (cached or 0) + (kept or 0),
        output_tokens=count(raw, "output_tokens"),
        cached_tokens=cached,
        reasoning_tokens=count(details, "thinking_tokens"),
    )


def _failure_in(message: object, text: str) -> ProviderError | None:
    """The error that came with a 200; ``None`` when there is none."""
    if failure := failure_told(message, text):
        return failure
    if not isinstance(message, dict):
        return None
    kind = message.get("type")
    # Every event and message gives its type; message_start has a member "message" too.
    if kind == "error":
        return read_failure(text)
    return failure_flat(message, text) if kind is None else None
