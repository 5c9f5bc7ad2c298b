"""The Chat Completions wire of OpenAI and of the many who speak it: requests to bytes, bytes to answers.

Pure functions and readers: no I/O, no clock, no environment. What an error *means* is not decided here: a
``ProviderError`` leaves with the status, code and body it came with, and ``engine.classify`` reads them.
The three verdicts given here are about the shape of an answer, which only a reader of the wire can judge:
``malformed`` and ``empty`` (transient), ``cut`` (transient) and a ``content_filter`` that left nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.types import Chunk, Request, Response, Usage
from llm_failover_nb.providers.answers import (
    NO_JSON,
    Json,
    Said,
    as_chunks,
    body_text,
    count,
    cut,
    dumps,
    malformed,
    not_empty,
    read_json,
    written,
)
from llm_failover_nb.providers.event_stream import (
    EventStream,
    is_event_stream,
    is_marker,
    message_in,
    read_streamed,
)
from llm_failover_nb.providers.failures import failure_told, mended, read_failure

__all__ = ["OpenAIDialect", "OpenAIReader", "read_response"]

# What some servers write where there is no finish reason yet.
_NO_REASON = frozenset({"", "null", "None"})

_FILTERS = frozenset({"content_filter"})

# Finish reasons that explain why nothing was said; after any other an empty answer is a fault.
_MAY_BE_EMPTY = frozenset({"length", "tool_calls", "function_call"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIDialect:
    """How one speaker of the wire wants it.

    Args:
        key_header: The header that carries the key.
        key_prefix: What stands before the key in it.
        max_tokens_member: The body's name for ``max_tokens``.
        seed_member: The body's name for ``seed``.
        stream_usage: Ask for the usage at a stream's end; off for servers that refuse the question.
    """

    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    max_tokens_member: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed_member: str = "seed"
    stream_usage: bool = True

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

    def dropped(self, request: Request) -> tuple[str, ...]:  # noqa: ARG002  # the wire takes them all
        """The fields of ``request`` that the wire cannot take, and ``encode`` leaves out: none."""
        return ()

    def response(self, body: bytes) -> Response:
        """The answer in the body of a 200; see :func:`read_response`."""
        return read_response(body)

    def reader(self) -> OpenAIReader:
        """A reader for the body of one stream."""
        return OpenAIReader()

    def failure(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        """The error of a response that is not a 2xx; see :func:`.failures.read_failure`."""
        return read_failure(body, status=status, headers=headers)

    def _body(self, request: Request) -> dict[str, object]:
        messages = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        if request.system is not None:
            messages.insert(0, {"role": "system", "content": request.system})
        body: dict[str, object] = {"model": request.model, "messages": messages}
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.max_tokens is not None:
            body[self.max_tokens_member] = request.max_tokens
        if request.stop:
            body["stop"] = request.stop
        if request.seed is not None:
            body[self.seed_member] = request.seed
        if request.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.schema},
            }
        return body


class OpenAIReader:
    """Reads the body of one stream, however its bytes are cut; a body that is no event stream too.

    ``feed`` never raises: what goes wrong after some text is raised by ``end``, when the text has been
    handed out. ``complete`` says that the answer is whole (a finish reason or the terminal marker came),
    ``finished`` that nothing more is worth reading.
    """

    __slots__ = ("_finish", "_said", "_stream", "_tools", "_usage", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._stream = EventStream()
        self._said = Said()
        self._tools = _ToolCalls()
        self._finish: str | None = None
        self._usage: Json = NO_JSON

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
            ProviderError: The provider's own error, or ``cut``, ``malformed``, ``empty``,
                ``content_filter``, see the module's text.
        """
        if (body := self._stream.body) is not None:
            return as_chunks(read_response(body))
        chunks = self._stream.end(self._take)
        if not self.complete:
            raise cut(self._said, "a finish reason or [DONE]")
        self._said.end(chunks)
        answer = Response(
            text="".join(self._said.text),
            finish_reason=self._finish,
            reasoning="".join(self._said.reasoning),
            tool_calls=self._tools.whole(),
            usage=(usage := _usage(self._usage)),
            cost=usage.cost,
        )
        chunks.append(Chunk(kind="done", response=_judged(answer)))
        return chunks

    def _take(self, name: str, data: str, chunks: list[Chunk], whole: bool) -> bool:
        """Read one event, see :data:`.event_stream.Take`."""
        message = message_in(name, data, whole)
        if message is None:
            return self._take_marker(data)
        text = _only_text(message)
        said = self._said
        if text and not said.halves and (text.isascii() or "\\u" not in data):
            chunks.append(Chunk(text))
            said.text.append(text)
            return False
        if usage := message.get("usage"):
            self._usage = usage if isinstance(usage, dict) else self._usage
        choice = _first_choice(message.get("choices"))
        if failure := _failure_in(message, data, choice):
            raise failure
        if choice is not None:
            self._take_choice(choice, chunks)
        return False

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

    def _hand_out(self, chunk: Chunk, chunks: list[Chunk]) -> None:
        """Keep what a chunk says for the whole answer, and add it to ``chunks``."""
        if chunk.tool is not None:
            self._tools.add(chunk.tool)
            chunks.append(chunk)
        else:
            self._said.add(chunk.text, chunk.kind, chunks)


class _ToolCalls:
    """Tool calls put together from their deltas; the arguments of one call come in pieces."""

    __slots__ = ("_calls", "_last")

    def __init__(self) -> None:
        self._calls: dict[object, dict[str, object]] = {}
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
        """Which call a delta belongs to: by its index, else by its id, else the one before."""
        index = delta.get("index")
        if not isinstance(index, int):
            index = delta.get("id") or self._last
        self._last = index if isinstance(index, int | str) else None
        return self._last


def _mended_values(function: object) -> object:
    if not isinstance(function, dict):
        return function
    return {name: mended(value) if isinstance(value, str) else value for name, value in function.items()}


def _arguments(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return dumps(value)  # some servers send the object itself


def read_response(body: bytes) -> Response:
    """The answer in the body of a 200 to a request that was not streamed.

    An event stream is read too: some relays send one unasked.

    Raises:
        ProviderError: The error in the body, or ``malformed``, ``empty``, ``content_filter``.
    """
    text = body_text(body)
    if is_event_stream(text):
        return read_streamed(OpenAIReader(), body)
    message = read_json(text)
    choice = _first_choice(message.get("choices")) if isinstance(message, dict) else None
    if failure := _failure_in(message, text, choice):
        raise failure
    said = (choice.get("message") or choice.get("delta") or NO_JSON) if choice is not None else None
    if not isinstance(message, dict) or not isinstance(said, Mapping) or choice is None:
        raise malformed(text, "it has no choices")
    return _judged(_answer(choice, said, message.get("usage")))


def _answer(choice: Json, said: Json, usage: object) -> Response:
    content = list(_content(said))
    tools = _ToolCalls()
    for position, chunk in enumerate(content):
        if chunk.tool is not None:
            tools.add({"index": position, **chunk.tool})
    counted = _usage(usage)
    return Response(
        text=mended("".join(chunk.text for chunk in content if chunk.kind == "text")),
        finish_reason=_finish_of(choice),
        usage=counted,
        cost=counted.cost,
        reasoning=mended("".join(chunk.text for chunk in content if chunk.kind == "reasoning")),
        tool_calls=tools.whole(),
    )


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


def _parts(parts: Iterable[object]) -> Iterator[Chunk]:
    """Content that comes as a list of parts, thoughts among them (Mistral's reasoning models)."""
    for part in parts:
        match part:
            case {"type": "thinking", "thinking": list(thoughts)}:
                yield from (Chunk(thought.text, "reasoning") for thought in _parts(thoughts))
            case {"text": str(text)} if text:
                yield Chunk(text)


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


def _judged(response: Response) -> Response:
    return not_empty(response, filters=_FILTERS, explains=_MAY_BE_EMPTY)


def _failure_in(message: object, text: str, choice: Json | None = None) -> ProviderError | None:
    """The error that came with a 200, whole or beside choices; ``None`` when there is none."""
    if failure := failure_told(message, text):
        return failure
    if not isinstance(message, dict):
        return None
    if choice is not None:
        if (error := choice.get("error")) or choice.get("finish_reason") == "error":
            return read_failure(dumps({"error": error or "the provider ended the answer with an error"}))
        return None
    if "choices" not in message and (message.get("message") or message.get("detail")):
        return read_failure(text)
    return None
