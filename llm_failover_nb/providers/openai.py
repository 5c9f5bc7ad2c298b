"""The Chat Completions wire of OpenAI and of the many who speak it: requests to bytes, bytes to answers.

Pure functions and readers: no I/O, no clock, no environment. What an error *means* is not decided here: a
``ProviderError`` leaves with the status, code and body it came with, and ``engine.classify`` reads them.
The three verdicts given here are about the shape of an answer, which only a reader of the wire can judge:
``malformed`` and ``empty`` (transient), ``cut`` (transient) and a ``content_filter`` that left nothing.
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.types import Chunk, ChunkKind, Request, Response, Usage
from llm_failover_nb.providers.failures import mended, read_failure
from llm_failover_nb.providers.sse import Event, SSEDecoder

__all__ = ["OpenAIDialect", "OpenAIReader", "read_response"]

Json = Mapping[str, object]

_NO_JSON: Json = {}
_BOM = "\ufeff"
_REPLACEMENT = "\ufffd"  # stands for half a character that stayed alone
_BODY_LIMIT = 32 * 1024 * 1024
_EXCERPT = 200  # characters of a body that an error message quotes

# What some servers write where there is no finish reason yet.
_NO_REASON = frozenset({"", "null", "None"})

# Finish reasons that explain why nothing was said; after any other an empty answer is a fault.
_MAY_BE_EMPTY = frozenset({"length", "tool_calls", "function_call", "content_filter"})


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, numbers.Integral):  # NumPy's, from a column of prompts or a grid of settings
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain).encode
_decode = json.JSONDecoder().decode
_decode_from_start = json.JSONDecoder().raw_decode  # spends nothing on blanks around the value


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
        try:
            return "/chat/completions", _encode(body).encode("utf-8", "replace")
        except (TypeError, ValueError, RecursionError) as error:
            raise ProviderError(
                f"the request cannot be written as JSON: {error}; check extra, schema and temperature",
                kind=ErrorKind.REQUEST_SPECIFIC,
                reason="bad_request",
                model=request.model,
            ) from None

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

    __slots__ = ("_body", "_body_size", "_decoder", "_failure", "_finish", "_halves", "_head", "_mode",
                 "_reasoning", "_text", "_tools", "_usage", "complete", "finished")  # fmt: skip

    def __init__(self) -> None:
        self.complete = False
        self.finished = False
        self._decoder = SSEDecoder()
        self._mode: Literal["unknown", "events", "body"] = "unknown"
        self._head = b""
        self._body: list[bytes] = []
        self._body_size = 0
        self._failure: ProviderError | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._halves: dict[ChunkKind, str] = {}  # of characters, whose other halves are yet to come
        self._tools = _ToolCalls()
        self._finish: str | None = None
        self._usage: Json = _NO_JSON

    def feed(self, data: bytes, /) -> list[Chunk]:
        """The content in ``data``, in order; nothing after the stream's end or first error."""
        if self.finished:
            return []
        if self._mode == "unknown":
            data = self._sniff(data)
        if self._mode == "body":
            self._keep(data)
            return []
        return self._read(self._decoder.feed(data)) if data else []

    def end(self) -> list[Chunk]:
        """What is left, and then the ``done`` chunk with the whole answer.

        Raises:
            ProviderError: The provider's own error, or ``cut``, ``malformed``, ``empty``,
                ``content_filter``, see the module's text.
        """
        chunks: list[Chunk] = []
        if self._mode == "body" and self._failure is None:
            return _as_chunks(read_response(b"".join(self._body)))
        if not self.finished:
            chunks = self._read(self._decoder.end(), whole=False)
        if self._failure is not None:
            raise self._failure
        if not self.complete:
            raise ProviderError(
                f"the stream ended after {sum(map(len, self._text))} characters of text without a finish "
                "reason or [DONE]: it was cut; ask again",
                kind=ErrorKind.TRANSIENT,
                reason="cut",
            )
        alone, self._halves = self._halves, {}
        for kind in alone:
            self._hand_out(Chunk(_REPLACEMENT, kind), chunks)
        answer = Response(
            text="".join(self._text),
            finish_reason=self._finish,
            reasoning="".join(self._reasoning),
            tool_calls=self._tools.whole(),
            usage=(usage := _usage(self._usage)),
            cost=usage.cost,
        )
        chunks.append(Chunk(kind="done", response=_not_empty(answer)))
        return chunks

    def _sniff(self, data: bytes) -> bytes:
        """Settle by the first character if this is an event stream: content types are not to be trusted."""
        data = self._head + data
        if len(data) < 3 and b"\xef\xbb\xbf".startswith(data):  # perhaps a byte-order mark, cut
            self._head = data
            return b""
        self._head = b""
        data = data.removeprefix(b"\xef\xbb\xbf").lstrip()
        if data:
            self._mode = "body" if data[:1] in b'{[<"' else "events"
        return data

    def _keep(self, data: bytes) -> None:
        self._body.append(data)
        self._body_size += len(data)
        if self._body_size > _BODY_LIMIT:
            self._fail(_malformed(b"".join(self._body[:1]).decode("utf-8", "replace"), "it has no end"))

    def _fail(self, failure: ProviderError) -> None:
        self._failure = failure
        self.finished = True

    def _read(self, events: Iterator[Event], *, whole: bool = True) -> list[Chunk]:
        chunks: list[Chunk] = []
        try:
            for name, data in events:
                self._take(name, data, chunks, whole)
                if self.finished:
                    break
        except ProviderError as failure:
            # Its frames would keep the bytes read so far; it gets new ones where it is raised.
            self._fail(failure.with_traceback(None))
        return chunks

    def _take(self, name: str, data: str, chunks: list[Chunk], whole: bool) -> None:
        """Read one event; ``whole`` is false for one that the stream's end left unfinished."""
        if name == "error":
            raise read_failure(data)
        try:
            message, end = _decode_from_start(data) if data[:1] == "{" else (None, -1)
            if end != len(data):
                message = _decode(data)
        except (ValueError, RecursionError):
            self._take_text(name, data, whole)
            return
        if type(message) is not dict:
            if message:
                raise _failure_in(message, data) or _malformed(data, "a part of it is no JSON object")
            return
        text = _only_text(message)
        if text and not self._halves and (text.isascii() or "\\u" not in data):
            chunks.append(Chunk(text))
            self._text.append(text)
            return
        if usage := message.get("usage"):
            self._usage = usage if isinstance(usage, dict) else self._usage
        choice = _first_choice(message.get("choices"))
        if failure := _failure_in(message, data, choice):
            raise failure
        if choice is not None:
            self._take_choice(choice, chunks)

    def _take_text(self, name: str, data: str, whole: bool) -> None:
        """An event that is no JSON: the terminal marker, a ping, or garbage."""
        if data.strip() == "[DONE]":
            self.complete = self.finished = True
        elif whole and data.strip() and name in ("", "message"):
            raise _malformed(data, "a part of it is no JSON")

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
        elif text := self._joined(chunk.text, chunk.kind):
            (self._reasoning if chunk.kind == "reasoning" else self._text).append(text)
            chunks.append(Chunk(text, chunk.kind))

    def _joined(self, text: str, kind: ChunkKind) -> str:
        """``text`` after the half of a character that was held back; half a one at its end is held back now.

        Servers that cut between tokens and write JSON's escapes send a character as two halves.
        """
        text = self._halves.pop(kind, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self._halves[kind] = text[-1]
            text = text[:-1]
        return mended(text)


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
    return _encode(value)  # some servers send the object itself


def read_response(body: bytes) -> Response:
    """The answer in the body of a 200 to a request that was not streamed.

    An event stream is read too: some relays send one unasked.

    Raises:
        ProviderError: The error in the body, or ``malformed``, ``empty``, ``content_filter``.
    """
    text = body.decode("utf-8", "replace").removeprefix(_BOM).strip()
    try:
        message = _decode(text)
    except (ValueError, RecursionError):
        if text.startswith(("data:", "event:", ":")):
            return _streamed(body)
        raise _malformed(text, "it is no JSON" if text else "it is empty") from None
    choice = _first_choice(message.get("choices")) if isinstance(message, dict) else None
    if failure := _failure_in(message, text, choice):
        raise failure
    said = (choice.get("message") or choice.get("delta") or _NO_JSON) if choice is not None else None
    if not isinstance(said, dict | Mapping) or choice is None:
        raise _malformed(text, "it has no choices")
    return _not_empty(_answer(choice, said, message.get("usage")))


def _streamed(body: bytes) -> Response:
    reader = OpenAIReader()
    reader.feed(body)
    response = reader.end()[-1].response
    return response if response is not None else Response()


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


def _as_chunks(response: Response) -> list[Chunk]:
    """A whole answer as the chunks of a stream, for servers that do not stream though asked to."""
    chunks = [Chunk(kind="tool", tool=call) for call in response.tool_calls]
    if response.text:
        chunks.insert(0, Chunk(response.text))
    if response.reasoning:
        chunks.insert(0, Chunk(response.reasoning, "reasoning"))
    return [*chunks, Chunk(kind="done", response=response)]


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
    cached = _count(prompt, "cached_tokens")
    return Usage(
        input_tokens=_count(raw, "prompt_tokens"),
        output_tokens=_count(raw, "completion_tokens"),
        cached_tokens=cached if cached is not None else _count(raw, "prompt_cache_hit_tokens"),  # DeepSeek
        reasoning_tokens=_count(completion, "reasoning_tokens"),
        cost=_cost(raw.get("cost")),  # OpenRouter
    )


def _count(of: object, name: str) -> int | None:
    value = of.get(name) if isinstance(of, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _cost(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _not_empty(response: Response) -> Response:
    """``response``, unless nothing was said.

    Raises:
        ProviderError: ``content_filter`` when that is why, ``empty`` when nothing explains it.
    """
    if response.text or response.tool_calls:
        return response
    if response.finish_reason == "content_filter":
        raise ProviderError(
            "the provider's content filter stopped the answer before it began; rephrase the prompt, or "
            "ask another model",
            kind=ErrorKind.REQUEST_SPECIFIC,
            reason="content_filter",
            code="content_filter",
        )
    if response.reasoning or response.finish_reason in _MAY_BE_EMPTY:
        return response
    raise ProviderError(
        f"the model said nothing (finish reason {response.finish_reason!r}); ask again",
        kind=ErrorKind.TRANSIENT,
        reason="empty",
    )


def _malformed(text: str, why: str) -> ProviderError:
    # Masked before it is cut: half a key would not be known again.
    begins = f", and begins with {redact(text)[:_EXCERPT]!r}" if text else ""
    return ProviderError(
        f"the body is no answer of this wire: {why}{begins}; check that the base URL is that of the "
        "model's API and that no proxy or login page answers in its place",
        kind=ErrorKind.TRANSIENT,
        reason="malformed",
        body=text,
    )


def _failure_in(message: object, text: str, choice: Json | None = None) -> ProviderError | None:
    """The error that came with a 200, whole or beside choices; ``None`` when there is none."""
    if isinstance(message, list) and message and isinstance(message[0], dict) and message[0].get("error"):
        return read_failure(text)
    if not isinstance(message, dict):
        return None
    if message.get("error") or message.get("errors"):
        return read_failure(text)
    if choice is not None:
        if (error := choice.get("error")) or choice.get("finish_reason") == "error":
            return read_failure(_encode({"error": error or "the provider ended the answer with an error"}))
        return None
    if "choices" not in message and (message.get("message") or message.get("detail")):
        return read_failure(text)
    return None
