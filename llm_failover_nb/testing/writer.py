"""What the fault server asks of a wire: a request read, answers, streams and errors written. No I/O.

Each wire has a module with its :class:`Wire` and its :class:`Writer`. When and how much of what they write is
sent, and what breaks on the way, is ``play``'s to decide.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_failover_nb.providers.script import Outcome
    from llm_failover_nb.testing.connection import HTTPRequest

__all__ = [
    "EXAMPLES",
    "JSON",
    "Asked",
    "Refusal",
    "Wire",
    "Writer",
    "bearer",
    "event",
    "lists_nothing",
    "packed",
    "turns_of",
]

JSON: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})

EXAMPLES = ("echo", "503x2+echo", "429:5", "silent", "cut:40")
"""The models that the server names to clients that ask for a list; every other script is one too."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, whatever its wire.

    Args:
        model: The model's name, which is the script.
        stream: Whether it asks for a stream.
        turns: Role and text of each turn that has text; the roles are ``user``, ``assistant`` and the like.
        body: The JSON body.
        array: Whether its stream is to be a JSON array, which gemini alone has.
    """

    model: str
    stream: bool
    turns: tuple[tuple[str, str], ...]
    body: Mapping[str, object] = field(default_factory=dict)
    array: bool = False

    @property
    def prompt(self) -> str:
        """The last user turn, or nothing."""
        return next((text for role, text in reversed(self.turns) if role == "user"), "")

    @property
    def prefills(self) -> bool:
        """Whether the last word is the assistant's."""
        return self.turns[-1:] != () and self.turns[-1][0] == "assistant"

    @property
    def tokens(self) -> int:
        """The words of all turns."""
        return sum(len(text.split()) for _, text in self.turns)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A whole response in place of an answer, usually a failed one."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Writer(Protocol):
    """Writes what answers one request. The parts of a stream are sent in the order of the methods here."""

    def refusal(self, outcome: Outcome, message: str = "") -> Refusal | None:
        """What stands for a failed outcome; ``None`` for one that is no failure.

        Args:
            outcome: What the request meets; ``noprefill`` stands for its refusal.
            message: What the failure says, where it is not what it usually says.
        """
        ...

    # Completions

    def whole(self, text: str) -> bytes:
        """A complete answer."""
        ...

    def hollow(self) -> bytes:
        """An answer whose list of choices is empty, whatever the wire calls it."""
        ...

    def error(self) -> bytes:
        """The body of an error that comes with a 200."""
        ...

    # Streams

    def stream_headers(self) -> Mapping[str, str]: ...

    def begin(self) -> bytes:
        """What comes before the first word."""
        ...

    def content(self, text: str) -> bytes:
        """A piece of the text."""
        ...

    def end(self, text: str) -> bytes:
        """The finish reason, and the usage where the wire gives it; ``text`` is all that was said."""
        ...

    def marker(self) -> bytes:
        """The terminal marker; nothing where the finish reason is the last word."""
        ...

    def hollow_stream(self) -> bytes:
        """All of a stream without choices, its marker excepted."""
        ...

    def error_event(self) -> bytes: ...

    def broken_event(self) -> bytes:
        """An event, whole for its framing, that is no JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Wire:
    """One wire, as the server serves it.

    Args:
        name: Its name.
        root: The path of its base URL.
        asked: What a request asks for; ``None`` when it is none of this wire's.
        listed: The answer to what clients ask when they start, such as a list of models; ``None`` for others.
        key: The key that a request carries, or nothing.
        writer: Who writes what answers a request.
    """

    name: str
    root: str
    asked: Callable[[HTTPRequest], Asked | None]
    listed: Callable[[HTTPRequest], bytes | None]
    key: Callable[[HTTPRequest], str]
    writer: Callable[[Asked], Writer]


def bearer(request: HTTPRequest) -> str:
    """The key that a request carries as most do."""
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def lists_nothing(_: HTTPRequest) -> None:
    """Answers no question of a client that starts."""


def packed(value: object) -> bytes:
    """JSON as it goes out, with every character as it is."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def event(data: bytes, name: str = "") -> bytes:
    """A server-sent event."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + data + b"\n\n"


def turns_of(messages: object, *, content: str = "content") -> tuple[tuple[str, str], ...]:
    """The turns in a list of messages; those without a text are left out.

    Args:
        messages: A list of objects with a ``role``; what is none is passed over.
        content: The member with the text, or with a list of parts that have one each.
    """
    found: list[tuple[str, str]] = []
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        text = _text(message.get(content))
        if text is not None:
            found.append((str(message.get("role", "user")), text))
    return tuple(found)


def _text(said: object) -> str | None:
    if isinstance(said, str):
        return said
    texts = [part.get("text") for part in said if isinstance(part, dict)] if isinstance(said, list) else []
    return "".join(text for text in texts if isinstance(text, str)) or None
