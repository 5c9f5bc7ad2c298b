"""What the dialects share: JSON written and read, an answer put together from pieces, verdicts on its shape.

Pure, and the same for every wire: nothing here names a wire or a member of one. What an error of the provider
*means* is ``engine.classify``'s to say.
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Container, Mapping

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.types import Chunk, ChunkKind, Finish, Request, Response, Usage
from llm_failover_nb.providers.failures import broken_off, filtered, mended

__all__ = [
    "BODY_LIMIT",
    "NO_JSON",
    "Json",
    "Said",
    "as_chunks",
    "body_text",
    "count",
    "cut",
    "decode",
    "decode_from_start",
    "dumps",
    "given",
    "malformed",
    "not_empty",
    "whole_characters",
    "with_extra",
    "without_mark",
    "written",
]

Json = Mapping[str, object]

NO_JSON: Json = {}

BODY_LIMIT = 32 * 1024 * 1024
"""Bytes that an answer which is no stream may have."""

_BOM = b"\xef\xbb\xbf"
_REPLACEMENT = "\ufffd"  # stands for half a character that stayed alone
_EXCERPT = 200  # characters of a body that an error message quotes


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, numbers.Integral):  # NumPy's, from a column of prompts or a grid of settings
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain).encode
"""Compact JSON; takes any mapping and any number."""

decode = json.JSONDecoder().decode
decode_from_start = json.JSONDecoder().raw_decode  # spends nothing on blanks around the value

_as_it_came = json.JSONEncoder(ensure_ascii=False).encode


def given(request: Request) -> list[str]:
    """The names of the fields that not every model takes, as far as the request has them.

    >>> given(Request("hi", stop="END", temperature=0))
    ['temperature', 'stop']
    """
    # On every call, and mostly nothing: a loop over the names would take twice as long.
    names = []
    if request.temperature is not None:
        names.append("temperature")
    if request.max_tokens is not None:
        names.append("max_tokens")
    if request.stop:
        names.append("stop")
    if request.seed is not None:
        names.append("seed")
    if request.schema is not None:
        names.append("schema")
    return names


def with_extra(body: dict[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    """``body`` with the members of ``extra``; where both hold an object, with the members of that.

    So ``extra={"options": {"top_k": 3}}`` adds an option and drops none.
    """
    for name, value in extra.items():
        known = body.get(name)
        if isinstance(known, dict) and isinstance(value, Mapping):
            body[name] = {**known, **value}
        else:
            body[name] = value
    return body


def written(body: Json, request: Request) -> bytes:
    """The body of ``request`` as it goes out.

    Raises:
        ProviderError: When it holds what JSON cannot (``request_specific``).
    """
    try:
        return dumps(body).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError) as error:
        raise ProviderError(
            f"the request cannot be written as JSON: {error}; check extra, schema and temperature",
            kind=ErrorKind.REQUEST_SPECIFIC,
            reason="bad_request",
            model=request.model,
        ) from None


def body_text(body: bytes) -> str:
    """A body as text, without byte-order mark and blanks around it; it begins as ``without_mark`` does."""
    return without_mark(body).rstrip().decode("utf-8", "replace")


def without_mark(body: bytes) -> bytes:
    """A body without byte-order mark and the blanks before its first character."""
    return body.removeprefix(_BOM).lstrip()


def whole_characters(value: Json) -> Json:
    """A JSON object with every text in it mended, see :func:`.failures.mended`.

    Raises:
        RecursionError: When it is nested too deep.
    """
    text = _as_it_came(value)
    if text.isascii():
        return value
    whole = decode(mended(text))
    return whole if isinstance(whole, dict) else value


class Said:
    """Text and reasoning of one answer, as its pieces come; halves of characters wait for their others.

    Servers that cut between tokens and write JSON's escapes send a character as two halves.
    """

    __slots__ = ("_whole_at", "halves", "reasoning", "text")

    def __init__(self) -> None:
        self._whole_at: int | None = None  # how many pieces there were when the model had stopped
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.halves: dict[ChunkKind, str] = {}

    def add(self, text: str, kind: ChunkKind, chunks: list[Chunk]) -> None:
        """Keep a piece, and add what can be shown of it to ``chunks``."""
        text = self.halves.pop(kind, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self.halves[kind] = text[-1]
            text = text[:-1]
        if text:
            text = mended(text)
            (self.reasoning if kind == "reasoning" else self.text).append(text)
            chunks.append(Chunk(text, kind))

    @property
    def whole(self) -> bool:
        """The model has stopped for a good reason, and said nothing since: what breaks now does no harm.

        Some relays write a finish reason into every message, so one that text follows says nothing.
        """
        return self._whole_at == len(self.text) + len(self.reasoning)

    def stopped(self, finish_reason: str | None) -> None:
        """The model stopped, with this word of the wire's for why; what it said with it has been added."""
        if finish_reason is not None and broken_off(finish_reason) is not None:
            self._whole_at = None
        elif self._whole_at is None:
            self._whole_at = len(self.text) + len(self.reasoning)

    def end(self, chunks: list[Chunk]) -> None:
        """Nothing more comes: a half that waits has stayed alone."""
        alone, self.halves = self.halves, {}
        for kind in alone:
            self.add(_REPLACEMENT, kind, chunks)

    def answer(
        self,
        *,
        finish_reason: str | None,
        words: Mapping[str, Finish],
        usage: Usage,
        tool_calls: tuple[Json, ...] = (),
    ) -> Response:
        """All that was said, as an answer.

        Args:
            finish_reason: Why the model stopped, in the wire's own word.
            words: The wire's words and the common ones for them; one that is not among them is
                ``content_filter`` where it says so, else ``other``.
            usage: The tokens counted.
            tool_calls: Tool calls, whole.

        Raises:
            ProviderError: When the model stopped because something failed.
        """
        return Response(
            text="".join(self.text),
            finish_reason=finish_reason,
            usage=usage,
            cost=usage.cost,
            reasoning="".join(self.reasoning),
            tool_calls=tool_calls,
            finish="" if finish_reason is None else words.get(finish_reason) or _common_word(finish_reason),
        )


def _common_word(finish_reason: str) -> Finish:
    """The common word for one that the wire's references do not give."""
    if failure := broken_off(finish_reason):
        raise failure
    return "content_filter" if filtered(finish_reason) else "other"


def as_chunks(response: Response) -> list[Chunk]:
    """A whole answer as the chunks of a stream, for servers that do not stream though asked to."""
    chunks = [Chunk(kind="tool", tool=call) for call in response.tool_calls]
    if response.text:
        chunks.insert(0, Chunk(response.text))
    if response.reasoning:
        chunks.insert(0, Chunk(response.reasoning, "reasoning"))
    return [*chunks, Chunk(kind="done", response=response)]


def count(of: object, name: str) -> int | None:
    """The whole number that an object has under ``name``; ``None`` where it has none."""
    value = of.get(name) if isinstance(of, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# Verdicts


def not_empty(response: Response, *, explains: Container[str | None] = (), why: str = "") -> Response:
    """``response``, unless nothing was said.

    Args:
        response: The whole answer.
        explains: Finish reasons that explain why nothing was said; after any other that is a fault.
        why: The provider's own words for what its filter did.

    Raises:
        ProviderError: ``content_filter`` when that is why, ``empty`` when nothing explains it.
    """
    if response.text or response.tool_calls:
        return response
    if response.finish == "content_filter":
        raise ProviderError(
            f"the provider's content filter stopped the answer before it began{why and f' ({why})'}; "
            "rephrase the prompt, or ask another model",
            kind=ErrorKind.REQUEST_SPECIFIC,
            reason="content_filter",
            code=response.finish_reason,
        )
    if response.reasoning or response.finish_reason in explains:
        return response
    raise ProviderError(
        f"the model said nothing (finish reason {response.finish_reason!r}); ask again",
        kind=ErrorKind.TRANSIENT,
        reason="empty",
    )


def cut(said: Said, missing: str) -> ProviderError:
    """A stream that ended without ``missing``, the sign that the answer is whole."""
    return ProviderError(
        f"the stream ended after {sum(map(len, said.text))} characters of text without {missing}: it was "
        "cut; ask again",
        kind=ErrorKind.TRANSIENT,
        reason="cut",
    )


def malformed(text: str, why: str) -> ProviderError:
    """A body, or a part of a stream, that is no answer of its wire."""
    # Masked before it is cut: half a key would not be known again.
    begins = f", and begins with {redact(text)[:_EXCERPT]!r}" if text else ""
    return ProviderError(
        f"the body is no answer of this wire: {why}{begins}; check that the base URL is that of the "
        "model's API and that no proxy or login page answers in its place",
        kind=ErrorKind.TRANSIENT,
        reason="malformed",
        body=text,
    )
