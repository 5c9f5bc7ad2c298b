"""What a panel shows, as plain data for one JSON trait: the shapes. `desk.py` fills them, `panel.js` draws.

All moments are milliseconds since 1970 UTC on the kernel's clock, all durations seconds. No text in here is
HTML, and none is a prompt, an answer, a key, or an error's own words: a provider may quote the prompt there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, TypedDict

__all__ = [
    "PROTOCOL",
    "Board",
    "ChainRow",
    "Decision",
    "Defaults",
    "ModelRow",
    "Running",
    "State",
    "Undo",
    "Why",
    "milliseconds",
    "moment_of",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

PROTOCOL = 1
"""The version of these shapes and of the messages about them; a browser that speaks another is told so."""

State = Literal["ready", "benched", "manual", "due", "probing", "no_key"]
"""``benched`` is automatic, ``manual`` the operator's; ``due`` has run out: the next call is the probe."""


class Why(TypedDict):
    """Why a model is benched, or was left last.

    ``text`` is whole, such as ``an error of the provider's own, HTTP 503``; the others are its parts.
    """

    text: str
    kind: str
    reason: str
    status: int | None
    at: int


class ModelRow(TypedDict):
    """One model.

    ``until`` is the end of its live bench, None without one or until lifted. ``calls`` counts the calls of
    the last ``Board.window`` seconds that it answered or was left by, ``answered`` those that it answered;
    ``latency`` is the median of these, None without any. ``cost`` is USD since the log began, None where
    nobody can say. ``edited`` is the version of what an operator sees, which an edit gives back.
    """

    spec: str
    state: State
    until: int | None
    fails: int
    why: Why | None
    missing: str
    calls: int
    answered: int
    latency: float | None
    cost: float | None
    edited: str


class ChainRow(TypedDict):
    """One chain; ``name`` names it in edits, ``next`` is the place in ``specs`` of who is asked first."""

    name: str
    title: str
    specs: list[str]
    default: bool
    next: int | None
    fixed: str  # why it cannot be edited; empty where it can
    edited: str


class Defaults(TypedDict):
    """The defaults of the policy that a panel edits: seconds, and attempts on one model."""

    cooldown: float
    max_retries: int
    edited: str


class Running(TypedDict):
    """A call that runs now.

    ``cell`` says where it was made, in words. ``waiting`` is when its backoff ends, None while a model is
    asked. ``fixed`` says why it cannot be cancelled at once; empty where it can.
    """

    id: int
    cell: str
    specs: list[str]
    model: str
    attempt: int
    since: int
    waiting: int | None
    fixed: str


class Decision(TypedDict):
    """One sentence of the feed; ``open`` while the call that it is about goes on, and its text may change."""

    id: int
    at: int
    text: str
    tone: Literal["failed", "recovered", "edit", "note"]
    open: bool


class Undo(TypedDict):
    """The last edit that can be taken back."""

    id: int
    text: str


class Board(TypedDict):
    """Everything.

    ``kernel`` changes when the kernel is restarted, ``revision`` grows with each publication, ``window`` is
    the last minutes in seconds; ``store`` says with whom benches are shared, empty when with nobody;
    ``trouble`` is what went wrong in the panel itself, empty while nothing did. The feed's newest come first.
    """

    protocol: int
    kernel: str
    revision: int
    now: int
    window: int
    models: list[ModelRow]
    chains: list[ChainRow]
    defaults: Defaults
    running: list[Running]
    feed: list[Decision]
    undo: Undo | None
    store: str
    trouble: str


def milliseconds(moment: datetime) -> int:
    """An aware moment as a board holds it."""
    return (moment - _EPOCH) // _MILLISECOND


def moment_of(milliseconds: int) -> datetime:
    """The moment that a board, or a message about it, holds.

    Raises:
        OverflowError: When no calendar goes that far.
    """
    return _EPOCH + milliseconds * _MILLISECOND
