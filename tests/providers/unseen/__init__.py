"""Streams that vendors send, labelled by the rules of the corpus before any reader here had read them.

Data, a module a wire, and what they share: how a case is written, and how events are framed. Each case is a
shape that a vendor's documentation or somebody's bug report shows; ``seen`` says whose. The bytes are short
on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["AUTH_DEAD", "REQUEST_SPECIFIC", "TRANSIENT", "Unseen", "lines", "ndjson"]

TRANSIENT, AUTH_DEAD, REQUEST_SPECIFIC = "transient", "auth_dead", "request_specific"


@dataclass(frozen=True, slots=True)
class Unseen:
    """One stream, and what a reader must make of it.

    Args:
        name: The case's name.
        seen: Where the shape was seen.
        body: What comes over the wire.
        text: All text that is handed out, before an error too.
        finish: The wire's own word for why the model stopped; for clean streams.
        usage: The counts that must be among the answer's.
        kind: What the failure means; ``None`` for a clean stream.
        wait: Seconds that the failure asks to wait.
        reasoning: What the model thought; not looked at where it is ``None``.
        tools: Name and arguments of each tool call.
        also: Another kind that can be defended; ``"clean"`` for none.
    """

    name: str
    seen: str
    body: bytes
    text: str = ""
    finish: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    kind: str | None = None
    wait: float | None = None
    reasoning: str | None = None
    tools: tuple[tuple[str, object], ...] = ()
    also: str = ""


def lines(*events: object, end: str = "\n\n") -> bytes:
    """Server-sent events: an object becomes a data line, a text stands as it is."""
    whole = (event if isinstance(event, str) else f"data: {json.dumps(event)}" for event in events)
    return "".join(event + end for event in whole).encode()


def ndjson(*messages: object, end: str = "\n") -> bytes:
    """An object a line; a text stands as it is."""
    return "".join((one if isinstance(one, str) else json.dumps(one)) + end for one in messages).encode()
