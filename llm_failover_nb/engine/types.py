"""The data that travels through the engine, frozen, and the Protocols of a provider. Little but coercion."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from llm_failover_nb.engine.json_text import read_json

if TYPE_CHECKING:
    from llm_failover_nb.engine.events import AttemptRecord

__all__ = [
    "AsyncProvider",
    "Chunk",
    "ChunkKind",
    "Finish",
    "Message",
    "Prompt",
    "Provider",
    "Request",
    "Response",
    "SyncProvider",
    "Timeouts",
    "Usage",
]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; ``role`` is ``user``, ``assistant``, ``system`` or ``tool``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Timeouts:
    """What one attempt may take, in seconds; ``None`` is no limit.

    Args:
        connect: Until the connection stands.
        first_token: Until a stream brings its first content.
        idle: Between two reads of a stream after that.
        attempt: For the attempt as a whole; what is left of the call's deadline is folded in.
    """

    connect: float | None = None
    first_token: float | None = None
    idle: float | None = None
    attempt: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked.

    Args:
        messages: The turns; a str is one user message, a list may hold ``{"role", "content"}`` dicts.
        model: The model's bare name, as the provider knows it; ``"failover"`` in events.
        system: The system prompt.
        temperature: Sampling temperature, as the provider scales it.
        max_tokens: The most tokens to answer with.
        stop: Texts at which the answer ends.
        seed: For providers that sample reproducibly.
        schema: A JSON schema that the answer shall follow.
        extra: Members added to the wire's body as they are.
        timeouts: What the attempt may take; the provider, which does the I/O, holds to it.
        attempt: The how-manieth attempt on this entry of this call, from 1.
    """

    messages: tuple[Message, ...]
    model: str = ""
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    schema: Mapping[str, object] | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    timeouts: Timeouts = field(default=Timeouts(), compare=False, repr=False)
    attempt: int = field(default=1, compare=False, repr=False)

    def __post_init__(self) -> None:
        if type(self.messages) is not tuple:
            object.__setattr__(self, "messages", _messages(self.messages))
        if type(self.stop) is not tuple:
            object.__setattr__(self, "stop", _stops(self.stop))

    @property
    def prompt(self) -> str:
        """The last user message, or ``""``."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


Prompt = str | Sequence[Message | Mapping[str, str]] | Request


def _messages(prompt: object) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    if isinstance(prompt, Sequence):
        return tuple(_message(item) for item in prompt)
    raise TypeError(f"a prompt is a str, a list of Message or a Request, not {type(prompt).__name__}")


def _message(item: object) -> Message:
    match item:
        case Message():
            return item
        case {"role": str(role), "content": str(content)}:
            return Message(role, content)
    raise TypeError(f"a message is Message(role, content) or a dict with both as str, not {item!r}")


def _stops(stop: object) -> tuple[str, ...]:
    if stop is None:
        return ()
    if isinstance(stop, str):
        return (stop,)
    if isinstance(stop, Sequence) and all(isinstance(text, str) for text in stop):
        return tuple(stop)
    raise TypeError(f"stop is a str or a list of str, not {stop!r}")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them (``None`` where it did not say) and its own price in USD."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: float | None = None


# How much of an answer its repr shows.
_LONGEST_SHOWN = 60

Finish = Literal["", "stop", "length", "tool_calls", "content_filter", "other"]
"""Why a model stopped, in one word for all wires; ``""`` where the wire did not say."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. As a str, and so in an f-string, it is its text; its repr is one short line.

    Args:
        text: The answer.
        model: The spec that answered; the engine sets it.
        finish_reason: Why the model stopped, in the wire's own word.
        usage: Tokens, as far as known.
        attempts: One record an attempt of the call, failed ones included, in order.
        cost: USD, where the provider says; else computed when shown.
        latency: Seconds from the call's start to its end.
        first_token: Seconds from the call's start to the first content of a stream.
        reasoning: The model's thinking, where the wire keeps it apart from the answer.
        tool_calls: Tool calls as the wire gives them, whole.
        finish: ``finish_reason`` in the word common to all wires: ``stop``, ``length`` (a limit cut the
            answer short), ``tool_calls``, ``content_filter``, ``other``, or ``""`` where nothing was said.
    """

    text: str = ""
    model: str = ""
    finish_reason: str | None = None
    usage: Usage = field(default=Usage())
    attempts: tuple[AttemptRecord, ...] = ()
    cost: float | None = None
    latency: float | None = None
    first_token: float | None = None
    reasoning: str = ""
    tool_calls: tuple[Mapping[str, object], ...] = ()
    finish: Finish = ""

    def json(self) -> object:
        """The answer as JSON: the whole text, or what stands in the one fenced block of it.

        Of duplicate keys the last wins, as with ``json.loads``; ``NaN`` and ``Infinity`` are refused.

        Raises:
            ValueError: When the text is no JSON; it says what is wrong, where, and how the text begins.

        >>> Response('{"cities": ["Paris", "Lyon"]}').json()
        {'cities': ['Paris', 'Lyon']}
        """
        try:
            return read_json(self.text)
        except ValueError as error:
            if self.finish != "length":
                raise
            raise ValueError(f"{error}; a limit cut it short, so raise max_tokens") from None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        # Also that of a provider's which holds what it should not: this is how one finds out.
        shown = str(self.text)
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[: _LONGEST_SHOWN - 1]}…"
        tokens = [getattr(self.usage, name, None) for name in ("input_tokens", "output_tokens")]
        counts = "+".join("?" if count is None else str(count) for count in tokens)
        return f"Response({shown!r}, model={self.model!r}, attempts={len(self.attempts)}, tokens={counts})"


ChunkKind = Literal["text", "reasoning", "tool", "restart", "done"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a stream.

    Args:
        text: The piece; empty for ``tool``, ``restart`` and ``done``.
        kind: ``text`` of the answer, ``reasoning``, a ``tool`` delta, ``restart`` (discard what you
            have; the whole answer follows) or ``done``, the last one.
        response: On ``done``, the whole answer.
        tool: On ``tool``, the delta as the wire gives it.
    """

    text: str = ""
    kind: ChunkKind = "text"
    response: Response | None = None
    tool: Mapping[str, object] | None = None


class SyncProvider(Protocol):
    """Answers requests, synchronously; ``request.model`` is the bare name."""

    def complete(self, request: Request, /) -> Response: ...
    def stream(self, request: Request, /) -> Iterator[Chunk]: ...


class AsyncProvider(Protocol):
    """Answers requests, asynchronously."""

    async def acomplete(self, request: Request, /) -> Response: ...
    def astream(self, request: Request, /) -> AsyncIterator[Chunk]: ...


Provider = SyncProvider | AsyncProvider
