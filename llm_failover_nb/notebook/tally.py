"""Figures of each model, and why it is benched, from the rows of the log as they come. Nothing is shown.

What is kept does not grow with the calls: counts go into buckets of 30 seconds, with the last sixteen
latencies of each, and models that nobody has asked for long are forgotten.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.events import AttemptRecord
from llm_failover_nb.notebook.board import Why, milliseconds
from llm_failover_nb.notebook.prices import cost_of_tokens, is_free
from llm_failover_nb.notebook.render.page import one_line
from llm_failover_nb.notebook.render.words import REASONS, reason_words

__all__ = ["LATENCIES", "MODELS", "WINDOW", "Figures", "Tally"]

WINDOW = 900
"""What the last minutes are, in seconds."""

LATENCIES = 16
"""How many latencies of one model are kept of each bucket: the last ones."""

MODELS = 2_000
"""How many models are kept; those that no row has named for longest go first."""

# Seconds. The window ends with a whole bucket, and so is up to this much shorter than it says.
_BUCKET = 30
_BUCKETS = WINDOW // _BUCKET

# Calls whose benches have been told and whose failure has not; the two follow each other at once.
_CALLS = 500

_LEFT = frozenset({"failover", "exhausted", "interrupted"})

# A kind and a reason are words of ours. Somebody else's classifier may make up others; what is no such word
# may quote an error, and with it the prompt.
_WORD = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True, slots=True)
class Figures:
    """A model in numbers.

    Args:
        calls: Calls of the last :data:`WINDOW` seconds that it answered or was left by; a call whose chain
            names it twice may count twice.
        answered: Those that it answered.
        latency: The median of what these took, in seconds; None without any.
        cost: USD since the first row, as far as it is known; None where nobody can say.
    """

    calls: int
    answered: int
    latency: float | None
    cost: float | None


class _Bucket:
    """The calls of half a minute."""

    __slots__ = ("answered", "calls", "index", "latencies")

    def __init__(self, index: int) -> None:
        self.index = index
        self.calls = 0
        self.answered = 0
        self.latencies = array("d")

    def answer(self, latency: float | None) -> None:
        if latency is not None and math.isfinite(latency):
            if len(self.latencies) < LATENCIES:
                self.latencies.append(latency)
            else:
                self.latencies[self.answered % LATENCIES] = latency
        self.answered += 1


@dataclass(slots=True)
class _Stat:
    """What is known of one model: of its bench by hand, and of the last one by a failure.

    ``failure`` may be that of another model, whose key it shares, or a bench of another kernel; it is
    ``over`` once the bench was lifted.
    """

    buckets: deque[_Bucket] = field(default_factory=deque)
    cost: float | None = None
    by_hand: AttemptRecord | None = None
    failure: AttemptRecord | None = None
    over: bool = False

    def blame(self, record: AttemptRecord) -> None:
        self.failure, self.over = record, False


class Tally:
    """Figures per model, kept up to date row by row; for one thread at a time.

    >>> from datetime import UTC
    >>> now = datetime.now(UTC)
    >>> tally = Tally()
    >>> tally.add(AttemptRecord(now, 1, model="sim/echo", outcome="ok", latency=0.5))
    >>> tally.figures("sim/echo", now)
    Figures(calls=1, answered=1, latency=0.5, cost=0.0)
    """

    def __init__(self) -> None:
        self._stats: OrderedDict[str, _Stat] = OrderedDict()
        # call -> the models that were benched during it, until the row that says why
        self._benched: OrderedDict[int, list[str]] = OrderedDict()

    def add(self, record: AttemptRecord) -> None:
        """Count a row; rows come in the order of the log."""
        stat = self._stats.get(record.model)
        if stat is None:
            stat = self._stats[record.model] = _Stat()
            if len(self._stats) > MODELS:
                self._stats.popitem(last=False)
        else:
            self._stats.move_to_end(record.model)
        outcome = record.outcome
        if outcome == "ok":
            self._bucket(stat, record.time).answer(record.latency)
            _answered(stat, record)
        elif outcome in _LEFT:
            self._bucket(stat, record.time)
            self._left(stat, record)
        elif outcome == "bench":
            self._laid(stat, record)
        elif outcome == "unbench":
            stat.by_hand, stat.over = None, True
        if outcome == "ok" or record.input_tokens is not None or record.cost is not None:
            cost = _cost(record)
            if cost is not None:
                stat.cost = cost + (stat.cost or 0.0)

    def figures(self, spec: str, now: datetime) -> Figures:
        """What is known of a model; of one that no row has named, nothing.

        Args:
            spec: The model.
            now: The end of the window, aware.
        """
        stat = self._stats.get(spec) or _Stat()
        first = _index(now) - _BUCKETS
        buckets = [bucket for bucket in stat.buckets if bucket.index > first]
        latencies = [latency for bucket in buckets for latency in bucket.latencies]
        return Figures(
            sum(bucket.calls for bucket in buckets),
            sum(bucket.answered for bucket in buckets),
            median(latencies) if latencies else None,
            0.0 if stat.cost is None and is_free(spec) else stat.cost,
        )

    def why(self, spec: str, *, manual: bool | None = None) -> Why | None:
        """Why a model was benched last; None where it has answered since, was lifted, or never was.

        It says nothing of whether the bench has run out meanwhile.

        Args:
            spec: The model.
            manual: Whether its live bench is the operator's, where the registry has said so: a lift that is
                taken back lays an automatic bench anew, and the rows tell of that as of an operator's.
        """
        stat = self._stats.get(spec)
        if stat is None:
            return None
        if stat.by_hand is not None and manual is not False:
            return _why(stat.by_hand, "benched by hand")
        record = stat.failure
        if record is None or (stat.over and manual is not False):
            return None
        if record.outcome == "bench":
            return _why(record, "benched by another kernel")
        if record.model != spec:
            return _why(record, f"{REASONS['credentials'][0]} for {one_line(record.model)}")
        return _why(record, reason_words(record.reason, record.status))

    def models(self) -> tuple[str, ...]:
        """The specs that rows have named, at most :data:`MODELS`, the one named last at the end."""
        return tuple(self._stats)

    def _bucket(self, stat: _Stat, time: datetime) -> _Bucket:
        """The bucket of that time, a call counted in it; those that have left the window are let go."""
        index, buckets = _index(time), stat.buckets
        if buckets and index <= buckets[-1].index - _BUCKETS:
            buckets.clear()  # the clock was set back: what it said before is no time of this one
        if not buckets or index > buckets[-1].index:
            buckets.append(_Bucket(index))
            while buckets[0].index <= index - _BUCKETS:
                buckets.popleft()
        buckets[-1].calls += 1
        return buckets[-1]

    def _laid(self, stat: _Stat, record: AttemptRecord) -> None:
        if record.reason == "operator":
            stat.by_hand = record
        elif record.reason == "store":
            stat.by_hand = None
            stat.blame(record)
        elif record.reason == "failure":
            stat.by_hand = None  # it has run out: a failure does not replace a live one
            benched = self._benched.setdefault(record.call_id, [])
            if len(benched) < MODELS:
                benched.append(record.model)
            if len(self._benched) > _CALLS:
                self._benched.popitem(last=False)

    def _left(self, stat: _Stat, record: AttemptRecord) -> None:
        """Note why the model is benched, and those that were benched with it for the same key."""
        benched = self._benched.pop(record.call_id, ())
        # A request that was at fault itself says nothing of a bench that stands.
        if record.benched and record.kind != ErrorKind.REQUEST_SPECIFIC.value:
            stat.blame(record)
        for spec in benched:
            other = self._stats.get(spec)
            if other is not None:
                other.blame(record)


def _answered(stat: _Stat, record: AttemptRecord) -> None:
    """An answer ends a bench by a failure from before it was asked for, and so the reason."""
    if stat.failure is not None:
        since = (record.time - stat.failure.time).total_seconds()
        stat.over = stat.over or record.latency is None or since >= record.latency


def _why(record: AttemptRecord, text: str) -> Why:
    return Why(
        text=text,
        kind=_word(record.kind),
        reason=_word(record.reason),
        status=record.status,
        at=milliseconds(record.time),
    )


def _word(text: str) -> str:
    return one_line(text) if _WORD.fullmatch(text) else ""


def _cost(record: AttemptRecord) -> float | None:
    cost = record.cost
    if cost is not None and math.isfinite(cost):
        return cost
    return cost_of_tokens(record.model, record.input_tokens, record.output_tokens)


def _index(time: datetime) -> int:
    return int(time.timestamp() // _BUCKET)
