"""The Chat Completions wire of OpenAI and of the many who speak it: requests to bytes, bytes to answers.

Pure functions and readers: no I/O, no clock, no environment. What an error *means* is not decided here: a
``ProviderError`` leaves with the status, code and body it came with, and ``engine.classify`` reads them.
The three verdicts given here are about the shape of an answer, which only a reader of the wire can judge:
``malformed`` and ``empty`` (transient), ``cut`` (transient) and a ``content_filter`` that left nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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
    dumps,
    given,
    malformed,
    not_empty,
    written,
)
from llm_failover_nb.providers.event_stream import is_marker, message_in
from llm_failover_nb.providers.failures import (
    failure_beside,
    failure_flat,
    failure_told,
    mended,
    read_failure,
)
from llm_failover_nb.providers.listing import ModelsPage, ModelsQuery, objects_in, usable_names
from llm_failover_nb.providers.reader import Reader, Wire, read_whole

__all__ = ["OpenAIDialect", "Refusal"]

# What some servers write where there is no finish reason yet.
_NO_REASON = frozenset({"", "null", "None"})

_MODELS = ModelsQuery("/models")

# What the "type" of a model is in the list of a speaker (Together's reference has these), which cannot chat.
_NO_CHAT = frozenset({"audio", "embedding", "image", "moderation", "rerank", "transcribe", "video"})

# Finish reasons that explain why nothing was said; after any other an empty answer is a fault.
_MAY_BE_EMPTY = frozenset({"length", "model_length", "tool_calls", "function_call"})

# OpenAI's words, and those that its speakers' references give besides: Together's eos, the eos_token and
# stop_sequence of Hugging Face's own server, Mistral's model_length.
_WORDS: Mapping[str, Finish] = MappingProxyType(
    {
        "stop": "stop",
        "eos": "stop",
        "eos_token": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "model_length": "length",
        "tool_calls": "tool_calls",
        "function_call": "tool_calls",
        "content_filter": "content_filter",
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Fields of a request that some models answer with an error.

    Args:
        fields: The fields' names.
        models: Found at the beginning of the names of these models.
        effort: The reasoning effort of these models unasked, where they take the fields after all at the
            effort ``none``, be it this one or that of ``reasoning_effort`` in a request's ``extra``;
            ``None`` where they refuse at any.

    >>> refusal = Refusal(frozenset({"temperature"}), re.compile("o3"))
    >>> refusal.concerns(Request("hi", model="o3-pro")), refusal.concerns(Request("hi", model="gpt-4o"))
    (True, False)
    """

    fields: frozenset[str]
    models: re.Pattern[str]
    effort: str | None = None

    def concerns(self, request: Request) -> bool:
        """Whether the model of ``request`` would refuse."""
        if self.models.match(request.model) is None:
            return False
        return self.effort is None or request.extra.get("reasoning_effort", self.effort) != "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIDialect:
    """How one speaker of the wire wants it.

    Args:
        key_header: The header that carries the key.
        key_prefix: What stands before the key in it.
        completion_tokens: Found at the beginning of the names of models for which ``max_tokens`` goes by its
            newer name, ``max_completion_tokens``; ``None`` where it has but one.
        seed_member: The body's name for ``seed``.
        stream_usage: Ask for the usage at a stream's end; off for servers that refuse the question.
        never: The names of fields of a request that it takes for none of its models.
        refusals: Those that it takes for some of them only.
        temperatures: The least and the highest temperature that it takes.
        most_stops: How many stop texts it takes.
        models_at: What asks for the list of its models; ``None`` where it has no list of names that its chat
            completions take.
        no_chat: Found at the beginning of the names of listed models that cannot chat, where the list itself
            does not tell.
    """

    wire: ClassVar[str] = "openai"

    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    completion_tokens: re.Pattern[str] | None = None
    seed_member: str = "seed"
    stream_usage: bool = True
    never: frozenset[str] = frozenset()
    refusals: tuple[Refusal, ...] = ()
    temperatures: tuple[float, float] | None = None
    most_stops: int | None = None
    models_at: ModelsQuery | None = _MODELS
    no_chat: re.Pattern[str] | None = None

    def auth(self, key: str) -> dict[str, str]:
        """The headers that carry ``key``."""
        return {self.key_header: self.key_prefix + key}

    def encode(self, request: Request, *, stream: bool) -> tuple[str, bytes]:
        """The path below the base URL, and the body.

        Raises:
            ProviderError: When the request holds what JSON cannot (``request_specific``).
        """
        body = self._body(request)
        if stream and self.stream_usage:
            body["stream_options"] = {"include_usage": True}
        body.update(request.extra)
        # After extra, which may change what is asked for but not how the answer is read.
        body["stream"] = stream
        return "/chat/completions", written(body, request)

    def dropped(self, request: Request) -> tuple[str, ...]:
        """The fields of ``request`` that would be refused, and ``encode`` leaves out.

        >>> dialect = OpenAIDialect(never=frozenset({"schema"}), temperatures=(0, 1.5))
        >>> dialect.dropped(Request("hi", temperature=2, seed=7, schema={"type": "object"}))
        ('temperature', 'schema')
        """
        return tuple(name for name in given(request) if self._refuses(name, request))

    def response(self, body: bytes) -> Response:
        """The answer in the body of a 200; see :func:`.reader.read_whole`."""
        return read_whole(body, _WIRE)

    def reader(self) -> Reader:
        """A reader for the body of one stream."""
        return Reader(_WIRE)

    def failure(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        """The error of a response that is not a 2xx; see :func:`.failures.read_failure`."""
        return read_failure(body, status=status, headers=headers)

    def models_query(self, after: str = "") -> ModelsQuery | None:  # noqa: ARG002  # it has one page
        """What asks for the list of models, where it has one."""
        return self.models_at

    def models_page(self, body: bytes) -> ModelsPage:
        """All of the list, but for what it says cannot chat; see :func:`.listing.objects_in`.

        >>> OpenAIDialect().models_page(b'{"data": [{"id": "gpt-x"}, {"id": "ada", "type": "embedding"}]}')
        ModelsPage(names=('gpt-x',), after='')
        """
        _, models = objects_in(body, "data")
        names = usable_names(model.get("id") for model in models if _can_chat(model))
        no_chat = self.no_chat
        return ModelsPage(tuple(name for name in names if no_chat is None or no_chat.match(name) is None))

    def _refuses(self, name: str, request: Request) -> bool:
        """Whether a field of ``request`` would be answered with an error."""
        if name in self.never:
            return True
        if name == "temperature" and self.temperatures is not None and request.temperature is not None:
            least, highest = self.temperatures
            if request.temperature < least or request.temperature > highest:
                return True
        if name == "stop" and self.most_stops is not None and len(request.stop) > self.most_stops:
            return True
        return any(name in refusal.fields and refusal.concerns(request) for refusal in self.refusals)

    def _body(self, request: Request) -> dict[str, object]:
        messages = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        if request.system is not None:
            messages.insert(0, {"role": "system", "content": request.system})
        body: dict[str, object] = {"model": request.model, "messages": messages}
        sent = [name for name in given(request) if not self._refuses(name, request)]
        if "temperature" in sent:
            body["temperature"] = request.temperature
        if "max_tokens" in sent:
            body[self._max_tokens(request.model)] = request.max_tokens
        if "stop" in sent:
            body["stop"] = request.stop
        if "seed" in sent:
            body[self.seed_member] = request.seed
        if "schema" in sent:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.schema},
            }
        return body

    def _max_tokens(self, model: str) -> str:
        newer = self.completion_tokens is not None and self.completion_tokens.match(model) is not None
        return "max_completion_tokens" if newer else "max_tokens"


# Lists of models


def _can_chat(model: Json) -> bool:
    """Whether a listed model can, as far as its speaker tells: Together, Fireworks and Mistral do."""
    capabilities = model.get("capabilities")
    if isinstance(capabilities, dict) and capabilities.get("completion_chat") is False:
        return False
    return model.get("supports_chat") is not False and str(model.get("type")) not in _NO_CHAT


# Answers


class _Answer:
    """An answer made of choices; see ``reader.Answer``."""

    __slots__ = ("_finish", "_tools", "_usage", "complete", "said")

    def __init__(self) -> None:
        self.complete = False
        self.said = Said()
        self._tools = _ToolCalls()
        self._finish: str | None = None
        self._usage: object = None

    def take(self, name: str, data: str, chunks: list[Chunk], whole: bool, /) -> bool:
        """Read one event, see :data:`.event_stream.Take`."""
        message = message_in(name, data, whole)
        if message is None:
            return self._take_marker(data)
        text = _only_text(message)
        said = self.said
        if text and not said.halves and (text.isascii() or "\\u" not in data):
            chunks.append(Chunk(text))
            said.text.append(text)
            return False
        choice = _first_choice(message.get("choices"))
        self._usage = _usage_told(message, choice) or self._usage
        if failure := _failure_in(message, data, choice):
            raise failure
        if choice is not None:
            self._take_choice(choice, chunks)
        return False

    def take_whole(self, message: Json, text: str, /) -> None:
        """Read the only message there is."""
        choice = _first_choice(message.get("choices"))
        if failure := _failure_in(message, text, choice):
            raise failure
        said = (choice.get("message") or choice.get("delta") or NO_JSON) if choice is not None else None
        if choice is None or not isinstance(said, Mapping):
            raise malformed(text, "it has no choices")
        for position, chunk in enumerate(_content(said)):
            if chunk.tool is not None:
                self._tools.add({**chunk.tool, "index": position})
            else:
                self.said.add(chunk.text, chunk.kind, [])
        self._usage = _usage_told(message, choice)
        self._finish = _finish_of(choice)

    def response(self) -> Response:
        """All that was said, judged."""
        answer = self.said.answer(
            finish_reason=self._finish,
            words=_WORDS,
            usage=_usage(self._usage),
            tool_calls=self._tools.whole(),
        )
        return not_empty(answer, explains=_MAY_BE_EMPTY)

    def _take_marker(self, data: str) -> bool:
        """The end of the stream, if that is what an event without a message says."""
        marked = is_marker(data)
        self.complete = self.complete or marked
        return marked

    def _take_choice(self, choice: Json, chunks: list[Chunk]) -> None:
        delta = choice.get("delta", choice.get("message"))
        if delta and isinstance(delta, dict):
            for chunk in _content(delta):
                self._hand_out(chunk, chunks)
        if finish := _finish_of(choice):
            self._finish = finish
            self.complete = True
            self.said.stopped(finish)

    def _hand_out(self, chunk: Chunk, chunks: list[Chunk]) -> None:
        """Keep what a chunk says for the whole answer, and add it to ``chunks``."""
        if chunk.tool is not None:
            self._tools.add(chunk.tool)
            chunks.append(chunk)
        else:
            self.said.add(chunk.text, chunk.kind, chunks)


def _is_part(message: Json) -> bool:
    """Whether it is a chunk of a stream, and not the last one: a whole answer has a message, not a delta."""
    choice = _first_choice(message.get("choices")) or NO_JSON
    return not choice.get("message") and "delta" in choice and _finish_of(choice) is None


_WIRE = Wire(answer=_Answer, missing="a finish reason or [DONE]", is_part=_is_part)


class _ToolCalls:
    """Tool calls put together from their deltas; the arguments of one call come in pieces."""

    __slots__ = ("_calls", "_last", "_open")

    def __init__(self) -> None:
        self._calls: dict[object, dict[str, object]] = {}
        self._open: dict[int, tuple[int, str]] = {}  # which call stands at an index now
        self._last: object = None

    def add(self, delta: Json) -> None:
        call = self._calls.setdefault(self._key(delta), {})
        for name, value in delta.items():
            if name not in ("index", "function") and value is not None:
                call.setdefault(name, value)
        known = call.setdefault("function", {"name": "", "arguments": ""})
        function = delta.get("function")
        if isinstance(known, dict) and isinstance(function, dict):
            # The name comes whole and may be repeated; the arguments add up.
            known["name"] = known["name"] or function.get("name") or ""
            known["arguments"] += _arguments(function.get("arguments"))

    def whole(self) -> tuple[Json, ...]:
        return tuple({**call, "function": _mended_values(call["function"])} for call in self._calls.values())

    def _key(self, delta: Json) -> object:
        """Which call a delta belongs to: by its index and id, else by its id, else the one before."""
        index, call = delta.get("index"), delta.get("id")
        if isinstance(index, int):
            self._last = self._open[index] = self._key_at(index, call, delta.get("function"))
        elif isinstance(call, str) and call:
            self._last = call
        return self._last

    def _key_at(self, index: int, call: object, function: object) -> tuple[int, str]:
        """The call that stands at an index now.

        Gemini's calls all stand at 0, each with an id of its own, and relays drop the ids too. An id alone
        begins no other call: servers have made up a new one for each delta, but given the name once.
        """
        call = call if isinstance(call, str) else ""
        name = function.get("name") if isinstance(function, dict) else None
        key = self._open.get(index, (index, call))
        if name and call and key[1]:
            return index, call
        match self._calls.get(key):
            case {"function": {"name": str(known), "arguments": str(said)}} if known and said:
                return key if not isinstance(name, str) or name in ("", known) else (index, call or name)
        return key


def _mended_values(function: object) -> object:
    if not isinstance(function, dict):
        return function
    return {name: mended(value) if isinstance(value, str) else value for name, value in function.items()}


def _arguments(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return dumps(value)  # some servers send the object itself


def _first_choice(choices: object) -> Json | None:
    """The choice with index 0; others are alternatives that nobody asked for."""
    if not isinstance(choices, list):
        return None
    for choice in choices:
        if isinstance(choice, dict) and not choice.get("index"):
            return choice
    return None


def _only_text(message: Json) -> str | None:
    """The text of a message that brings nothing but text, as most of most streams do; else ``None``."""
    choices = message.get("choices")
    if type(choices) is not list or len(choices) != 1 or message.get("usage") or "error" in message:
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason") or choice.get("index") or "error" in choice:
        return None
    delta = choice.get("delta")
    text = delta.get("content") if type(delta) is dict and len(delta) == 1 else None
    return text if type(text) is str and "errors" not in message else None


def _finish_of(choice: Json) -> str | None:
    """Why the model stopped, if it did."""
    finish = choice.get("finish_reason")
    if isinstance(finish, dict):  # SGLang's own form: an object with the word and what it came from
        finish = finish.get("type")
    return mended(finish) if isinstance(finish, str) and finish not in _NO_REASON else None


def _content(said: Json) -> Iterator[Chunk]:
    """What a delta or a message says, in the order in which it is meant to be read."""
    thought = said.get("reasoning_content") or said.get("reasoning")
    if thought and isinstance(thought, str):
        yield Chunk(thought, "reasoning")
    text = said.get("content")
    if text:
        if isinstance(text, str):
            yield Chunk(text)
        elif isinstance(text, list):
            yield from _parts(text)
    refusal = said.get("refusal")
    if refusal and isinstance(refusal, str):
        yield Chunk(refusal)
    calls = said.get("tool_calls")
    if calls and isinstance(calls, list):
        yield from (Chunk(kind="tool", tool=call) for call in calls if isinstance(call, dict))
        return
    call = said.get("function_call")  # the one call that an answer could have before there were tools
    if call and isinstance(call, dict):
        yield Chunk(kind="tool", tool={"type": "function", "function": call})


def _parts(parts: Iterable[object]) -> Iterator[Chunk]:
    """Content that comes as a list of parts, thoughts among them (Mistral's reasoning models)."""
    for part in parts:
        match part:
            case {"type": "thinking", "thinking": list(thoughts)}:
                yield from (Chunk(thought.text, "reasoning") for thought in _parts(thoughts))
            case {"text": str(text)} if text:
                yield Chunk(text)


def _usage_told(message: Json, choice: Json | None) -> Json | None:
    """The count of tokens: beside the choices, in the choice (Moonshot), or Groq's own where it is alone."""
    for holder in (message, choice, message.get("x_groq")):
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if usage and isinstance(usage, dict):
            return usage
    return None


def _usage(raw: object) -> Usage:
    if not isinstance(raw, dict) or not raw:
        return Usage()
    prompt, completion = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    cached = count(prompt, "cached_tokens")
    return Usage(
        input_tokens=count(raw, "prompt_tokens"),
        output_tokens=count(raw, "completion_tokens"),
        cached_tokens=cached if cached is not None else count(raw, "prompt_cache_hit_tokens"),  # DeepSeek
        reasoning_tokens=count(completion, "reasoning_tokens"),
        cost=_cost(raw.get("cost")),  # OpenRouter
    )


def _cost(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _failure_in(message: object, text: str, choice: Json | None = None) -> ProviderError | None:
    """The error that came with a 200, whole or beside choices; ``None`` when there is none."""
    if failure := failure_told(message, text):
        return failure
    if not isinstance(message, dict):
        return None
    for holder in () if choice is None else (choice, choice.get("delta"), choice.get("message")):
        if isinstance(holder, dict) and (error := holder.get("error")):
            return read_failure(dumps({"error": error}))
    if failure := failure_beside(message, text):
        return failure
    return failure_flat(message, text) if message.get("choices") is None else None
