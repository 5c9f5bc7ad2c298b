"""The bench registry: every rule that lays, extends, keeps or lifts a bench is here, and nowhere else.

A model's place in it:

    ready ── failures reach the threshold ──► benched ── time runs out ──► half open
      ▲                                          │                            │ one call is the probe
      └── success of a later attempt, operator ──┴──── probe answers ─────────┘ probe fails: benched again

A bench of the operator (``manual``) is outside this: no failure shortens or extends it, no success lifts
it, and once it has run out no probe is needed. Nothing runs on a timer: the state is computed when read.

A registry may share its benches with those of other processes (:meth:`BenchRegistry.share`). The rules are
the same, applied within a transaction of the store; sharing.py says what a row is, and how two become one.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from numbers import Real
from typing import Literal, NamedTuple, TypeVar

from llm_failover_nb.engine.clock import Clock, SystemClock
from llm_failover_nb.engine.events import AttemptRecord, EventLog, process_log
from llm_failover_nb.engine.locks import new_lock
from llm_failover_nb.engine.roster import Roster
from llm_failover_nb.engine.sharing import EPOCH, TICK, BenchRow, BenchStore, merged, microseconds, moment

__all__ = [
    "BenchMemory",
    "BenchRegistry",
    "BenchStanding",
    "BenchedModel",
    "process_benches",
]

FOREVER = datetime.max.replace(tzinfo=UTC)

# The call that probes, where it is one of another process: calls are counted from 1.
_ELSEWHERE = -1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BenchedModel:
    """A live bench.

    Args:
        model: The spec.
        until: When it ends, aware; ``None`` is until lifted.
        consecutive_fails: Failures without a success between them.
        manual: Whether the operator laid it.
    """

    model: str
    until: datetime | None
    consecutive_fails: int
    manual: bool


@dataclass(frozen=True, slots=True)
class BenchStanding:
    """How a model stands that a bench or a failure has touched.

    Args:
        model: The spec.
        state: ``benched``; ``due`` when an automatic bench has run out, so that the next call is the probe;
            ``probing`` while that call runs; else ``ready``.
        until: When a live bench ends, aware; ``None`` without one, and until lifted.
        consecutive_fails: Failures without a success between them.
        manual: Whether the operator laid the live bench.
        edited: Grows with each bench and lift of the operator, and with nothing else.
    """

    model: str
    state: Literal["ready", "benched", "due", "probing"]
    until: datetime | None
    consecutive_fails: int
    manual: bool
    edited: int


@dataclass(frozen=True, slots=True)
class BenchMemory:
    """What stood at a moment, for :meth:`BenchRegistry.put_back`.

    Args:
        model: The spec.
        until: The end of the bench that was laid last, live or run out; ``None``: there was none.
        consecutive_fails: As in :class:`BenchStanding`.
        manual: Whether the operator laid it.
        edited: As in :class:`BenchStanding`.
    """

    model: str
    until: datetime | None
    consecutive_fails: int
    manual: bool
    edited: int


@dataclass(slots=True)
class _State:
    fails: int = 0
    until: datetime | None = None  # end of the bench that was laid last; None: there is none
    manual: bool = False
    laid: int = 0  # when it was laid, on the registry's sequence
    lifted: int = 0  # when the operator lifted last, on the same
    edited: int = 0  # when the operator benched or lifted last, on the same
    laid_at: datetime = EPOCH  # the same three by the clock, for other processes
    lifted_at: datetime = EPOCH
    edited_at: datetime = EPOCH
    prober: int = 0  # the call that probes; 0: none
    lapses: float = 0.0  # when its place lapses, on the clock's monotonic scale
    kept: BenchRow | None = None  # what the shared store holds, as seen last

    def clear(self) -> None:
        self.fails, self.until, self.manual, self.prober = 0, None, False, 0

    def lay(self, number: int, now: datetime, *, by_hand: bool = False) -> None:
        self.laid, self.laid_at = number, self._after_the_last(now)
        if by_hand:
            self.edited, self.edited_at = self.laid, self.laid_at

    def lift(self, number: int, now: datetime) -> None:
        self.lifted, self.lifted_at = number, self._after_the_last(now)
        self.edited, self.edited_at = self.lifted, self.lifted_at

    def _after_the_last(self, now: datetime) -> datetime:
        # Two of them may fall on one tick of the clock, or it steps back; their order must not be lost.
        return max(now, self.laid_at + TICK, self.edited_at + TICK)


class _News(NamedTuple):
    """A bench that another process laid or lifted."""

    model: str
    at: datetime
    until: datetime | None  # None: it was lifted
    manual: bool


class BenchRegistry:
    """Which models are benched, until when and why; safe from any thread.

    Args:
        clock: Where the time comes from.
        log: An event log that is told of benches laid and lifted.

    >>> benches = BenchRegistry()
    >>> benches.bench("openai/gpt-x", for_=600)
    >>> benches.is_benched("openai/gpt-x"), benches.unbench("openai/gpt-x")
    (True, True)
    """

    def __init__(self, clock: Clock | None = None, log: EventLog | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._log = log
        self._lock = new_lock()
        self._states: dict[str, _State] = {}
        # Attempts, benches and lifts are ordered by this, not by time: clocks tie and step back. Those of
        # another process come into this order when they become known here.
        self._sequence = count(1)
        self.roster = Roster()
        """The chains that use this registry, and their calls."""
        self._store: BenchStore | None = None
        self._turn = new_lock()  # held over each change that is shared, and taken before the lock
        self._identity = ""  # of the store that the states' rows are from
        self._pulled = 0  # the highest version taken over from it
        self._unsaved: set[str] = set()  # models changed here, but not in the store

    # What an operator asks and says

    def bench(
        self, spec: str, *, until: datetime | None = None, for_: float | timedelta | None = None
    ) -> None:
        """Bench a model by hand, replacing a bench that stands, longer or shorter.

        Calls that wait for it on an event loop go on to their next model at once, where one is live; an
        answer of which something has come is left to come.

        Args:
            spec: ``provider/model``.
            until: An aware datetime; one in the past benches nothing.
            for_: Seconds or a timedelta from now. Without either, the bench holds until lifted.

        Raises:
            ValueError: When both are given, ``until`` is naive, or ``for_`` is NaN.
            TypeError: When the spec is no str, or an end is of the wrong type.
        """
        if not isinstance(spec, str) or not spec:
            raise TypeError(f"{spec!r} names no model: give its spec, provider/model, as a str")
        now = self.clock.now()
        end = _end(now, until, for_)

        def lay(state: _State) -> None:
            if _run_out(state, now):
                state.clear()
            state.prober = 0
            state.manual = end >= now
            state.until = end if state.manual else None
            state.lay(next(self._sequence), now, by_hand=True)

        self._change(spec, lay)
        if end >= now:
            self._tell("bench", spec, "operator", now, end)
            self.roster.leave(spec)

    def unbench(self, spec: str) -> bool:
        """Lift a bench, also a manual one; whether there was a live one.

        An attempt that began before this may still fail: that counts, but does not bench.
        """
        now = self.clock.now()

        def lift(state: _State) -> bool:
            live = _live(state, now)
            state.lift(next(self._sequence), now)
            if state.until is not None:
                state.clear()
            return live

        live = self._change(spec, lift)
        if live:
            self._tell("unbench", spec, "operator", now)
        return live

    def is_benched(self, spec: str) -> bool:
        """Whether the model is benched now."""
        state = self._states.get(spec)
        return state is not None and _live(state, self.clock.now())

    def list(self) -> builtins.list[BenchedModel]:
        """The live benches, by name."""
        now = self.clock.now()
        with self._lock:
            return [
                BenchedModel(spec, None if s.until == FOREVER else s.until, s.fails, s.manual)
                for spec, s in sorted(self._states.items())
                if _live(s, now)
            ]

    def standings(self) -> builtins.list[BenchStanding]:
        """All models that a bench or a failure has touched, by name, also those that are ready again."""
        now, instant = self.clock.now(), self.clock.monotonic()
        with self._lock:
            return [_standing(spec, state, now, instant) for spec, state in sorted(self._states.items())]

    def remembered(self, spec: str) -> BenchMemory:
        """What stands now, so that an edit can be taken back."""
        with self._lock:
            state = self._states.get(spec) or _State()
            return BenchMemory(spec, state.until, state.fails, state.manual, state.edited)

    def put_back(self, memory: BenchMemory, *, edited: int) -> bool:
        """Take back an operator's bench or lift: what stood before it stands again.

        What failures have done since holds: their count, and an automatic bench that ends later.

        Args:
            memory: What stood before the edit.
            edited: The ``edited`` of what stood after it.

        Returns:
            Whether it was taken back: not when the operator has edited the model again since.
        """
        spec, now = memory.model, self.clock.now()

        def restore(state: _State) -> tuple[bool, datetime | None] | None:
            if state.edited != edited:
                return None
            was_live = _live(state, now)
            laid_since = state.until if was_live and not state.manual else None
            state.manual = memory.manual
            state.until = memory.until
            if laid_since is not None and not memory.manual:
                state.until = max(laid_since, memory.until or laid_since)
            state.fails = max(state.fails, memory.consecutive_fails)
            state.prober = 0
            state.lay(next(self._sequence), now, by_hand=True)
            return was_live, state.until if _live(state, now) else None

        restored = self._change(spec, restore)
        if restored is None:
            return False
        was_live, until = restored
        if until is not None:
            self._tell("bench", spec, "operator", now, until)
            if memory.manual:
                self.roster.leave(spec)
        elif was_live:
            self._tell("unbench", spec, "operator", now)
        return True

    # What the policy loop asks and reports; ``call`` identifies the call, ``began`` its attempt

    def until(self, spec: str) -> datetime | None:
        """The end of the bench that stands; ``None`` when the model is not benched."""
        state = self._states.get(spec)
        return state.until if state is not None and _live(state, self.clock.now()) else None

    def blocked(self, spec: str, call: int) -> bool:
        """Whether ``call`` should pass the model by: it is benched, or another call is probing it."""
        state = self._states.get(spec)
        if state is None or state.until is None:
            return False
        if _live(state, self.clock.now()):
            return True
        return not state.manual and _probed_by_another(state, call, self.clock.monotonic())

    def admit(self, spec: str, call: int, *, lapse: float, force: bool = False) -> int:
        """Begin an attempt: its number on the sequence, or 0 when the model should be passed by.

        Args:
            spec: The model.
            call: Who asks; a call keeps its place as the probe over its retries.
            lapse: Seconds after which a probe's place is free for another.
            force: Begin even so: a bench is never a refusal.
        """
        state = self._states.get(spec)
        if state is None or state.until is None:
            return next(self._sequence)
        return self._admit_after_a_bench(spec, call, lapse, force)

    def _admit_after_a_bench(self, spec: str, call: int, lapse: float, force: bool) -> int:
        now, instant = self.clock.now(), self.clock.monotonic()

        def enter(state: _State) -> int:
            if _half_open(state, now):
                if not _probed_by_another(state, call, instant):
                    if not _probes(state, call, instant):
                        state.prober, state.lapses = call, instant + lapse
                    return next(self._sequence)
            elif not _live(state, now):
                return next(self._sequence)
            return next(self._sequence) if force else 0

        with self._lock:
            state = self._states[spec]
            free = _half_open(state, now) and not _probed_by_another(state, call, instant)
            if self._store is None or not free or _probes(state, call, instant):
                return enter(state)
        return self._change(spec, enter)

    def succeeded(self, spec: str, call: int, began: int) -> None:
        """An attempt answered: the count is cleared, an automatic bench from before it is lifted."""
        state = self._states.get(spec)
        if state is not None and (state.fails or state.prober == call or _outlived(state, began)):
            self._settle(spec, call, began)

    def _settle(self, spec: str, call: int, began: int) -> None:
        now = self.clock.now()

        def settle(state: _State) -> bool:
            state.fails = 0
            if state.prober == call:
                state.prober = 0
            lifted = False
            if _outlived(state, began):
                lifted = _live(state, now)
                state.clear()
            return lifted

        if self._change(spec, settle):
            self._tell("unbench", spec, "answered", now, call=call)

    def failed(self, spec: str, call: int, began: int, *, threshold: int, for_: float) -> datetime | None:
        """A model was left by a failure: count it, and bench for ``for_`` seconds at ``threshold``.

        Returns:
            The end of the bench that stands now; ``None`` when the model is not benched.
        """
        now = self.clock.now()

        def count_one(state: _State) -> tuple[datetime | None, bool]:
            if _run_out(state, now):
                state.clear()
            state.fails += 1
            laid = not state.manual and began > state.lifted and state.fails >= threshold and for_ > 0
            if laid:
                state.until = max(_after(now, for_), state.until or now)
                state.lay(next(self._sequence), now)
            return state.until, laid

        until, laid = self._change(spec, count_one)
        if laid:
            self._tell("bench", spec, "failure", now, until, call=call)
        return until

    def bench_beside(self, spec: str, call: int, began: int, *, for_: float) -> bool:
        """Bench a model for the failure of another, with which it shares what failed; no failure is counted.

        Args:
            spec: The model that was not asked.
            call: Who met the failure.
            began: When the attempt that failed began: an operator's lift since then holds.
            for_: Seconds.

        Returns:
            Whether it is benched now by this.
        """
        now = self.clock.now()

        def lay(state: _State) -> datetime | None:
            if _run_out(state, now):
                state.clear()
            if state.manual or began <= state.lifted or for_ <= 0:
                return None
            state.until = max(_after(now, for_), state.until or now)
            state.lay(next(self._sequence), now)
            return state.until

        until = self._change(spec, lay)
        if until is not None:
            self._tell("bench", spec, "failure", now, until, call=call)
        return until is not None

    def healthy(self, spec: str, call: int) -> None:
        """A probe showed the model to be up (first content, or the request's own fault): let all go on."""
        state = self._states.get(spec)
        if state is None or state.prober != call:
            return

        def heal(state: _State) -> None:
            if state.prober == call:
                state.clear()

        self._change(spec, heal)

    def released(self, spec: str, call: int) -> None:
        """A call was cancelled: if it was the probe, its place is free."""
        state = self._states.get(spec)
        if state is None or state.prober != call:
            return

        def leave(state: _State) -> None:
            if state.prober == call:
                state.prober = 0

        self._change(spec, leave)

    # What other processes see

    def share(self, store: BenchStore | None) -> None:
        """Share the benches with every registry that uses the same store; None ends it.

        What this registry and the store know becomes one, as after a time in which the store could not be
        had. Afterwards each change is made in the store, and what others change comes in with :meth:`pull`.
        """
        with self._turn, self._lock:
            self._store = store
            self._unsaved = set(self._states)
            if store is not None and store.identity != self._identity:
                self._begin_anew(store.identity)
                for state in self._states.values():
                    state.kept = None
        self.pull()

    def pull(self) -> None:
        """Take over what others changed in the store, and hand over what it could not take before.

        To be called some times a second, off the call path: until then this registry reads what it knows.
        """
        news: builtins.list[_News] = []
        with self._turn:
            store = self._store
            if store is None:
                return
            rows = store.changed(self._pulled)
            if store.identity != self._identity:
                with self._lock:
                    self._begin_anew(store.identity)
                rows = store.changed(0)
            with self._lock:
                for row in rows:
                    news += self._absorb(row)
                    self._pulled = row.version
                unsaved = tuple(self._unsaved)
        self._hear(news)
        for spec in unsaved:
            self._change(spec, _as_it_is)

    def _begin_anew(self, identity: str) -> None:
        """Another store, under the lock: none of its rows was seen, and all we know may be news to it."""
        self._identity, self._pulled, self._unsaved = identity, 0, set(self._states)
        for state in self._states.values():
            # What was agreed on stays the base: whoever made the store anew knew it, too.
            if state.kept is not None:
                state.kept = replace(state.kept, version=-1)

    def _state(self, spec: str) -> _State:
        """The model's state, under the lock."""
        state = self._states.get(spec)
        if state is None:
            state = self._states[spec] = _State()
        return state

    def _change(self, spec: str, rule: Callable[[_State], T]) -> T:
        """Apply a rule to a model's state, in the store as well where there is one."""
        if self._store is None:
            with self._lock:
                return rule(self._state(spec))
        return self._change_shared(self._store, spec, rule)

    def _change_shared(self, store: BenchStore, spec: str, rule: Callable[[_State], T]) -> T:
        results: builtins.list[T] = []
        news: builtins.list[_News] = []

        def apply() -> _State:
            state = self._state(spec)
            results.append(rule(state))
            self._unsaved.add(spec)
            return state

        def settle(row: BenchRow) -> BenchRow:
            with self._lock:
                news.extend(self._absorb(row))
                return self._row(spec, apply())

        with self._turn:
            kept = store.change(spec, settle)
            with self._lock:
                if not results:
                    apply()
                if kept is not None:
                    self._states[spec].kept = kept
                    self._unsaved.discard(spec)
        self._hear(news)
        return results[0]

    def _absorb(self, row: BenchRow) -> builtins.list[_News]:
        """Bring a state to a row of the store, under the lock; what that changed for its readers."""
        state = self._state(row.model)
        base = state.kept or BenchRow(row.model)
        if row.version == base.version:
            return []
        mine, state.kept = self._row(row.model, state), row
        # A row that is gone says nothing. One that this registry wrote it knows already: it was interrupted
        # before it heard that the row was kept.
        if not row.version or row.writer == self._owner():
            return []
        now = self.clock.now()
        before = state.until if _live(state, now) else None
        self._take(state, mine, merged(base, mine, row, microseconds(now)))
        after = state.until if _live(state, now) else None
        return [] if before == after else [_News(row.model, now, after, state.manual)]

    def _take(self, state: _State, mine: BenchRow, row: BenchRow) -> None:
        state.fails, state.manual = row.fails, row.manual
        state.until = None if row.until is None else moment(row.until)
        if row.since != mine.since:
            state.laid, state.laid_at = next(self._sequence), moment(row.since)
        if row.lifted != mine.lifted:
            state.lifted, state.lifted_at = next(self._sequence), moment(row.lifted)
        if row.edited != mine.edited:
            state.edited, state.edited_at = next(self._sequence), moment(row.edited)
        if (row.prober, row.lapses) != (mine.prober, mine.lapses):
            owner, _, call = row.prober.rpartition(":")
            state.prober = 0 if not owner else int(call) if owner == self._owner() else _ELSEWHERE
            left = (moment(row.lapses) - self.clock.now()).total_seconds()
            state.lapses = self.clock.monotonic() + left

    def _row(self, spec: str, state: _State) -> BenchRow:
        """A state as a row, with version and writer as they are in the store."""
        kept = state.kept or BenchRow(spec)
        prober, lapses = kept.prober, kept.lapses
        if state.prober != _ELSEWHERE:
            left = timedelta(seconds=state.lapses - self.clock.monotonic()) if state.prober else timedelta(0)
            prober = f"{self._owner()}:{state.prober}" if state.prober else ""
            lapses = microseconds(self.clock.now() + left) if state.prober else 0
        return replace(
            kept,
            fails=state.fails,
            until=None if state.until is None else microseconds(state.until),
            manual=state.manual,
            since=microseconds(state.laid_at),
            lifted=microseconds(state.lifted_at),
            edited=microseconds(state.edited_at),
            prober=prober,
            lapses=lapses,
        )

    def _owner(self) -> str:
        return "" if self._store is None else self._store.owner

    def _hear(self, news: builtins.list[_News]) -> None:
        for spec, now, until, manual in news:
            self._tell("unbench" if until is None else "bench", spec, "store", now, until)
            if manual and until is not None:
                self.roster.leave(spec)

    def _tell(
        self, outcome: str, spec: str, by: str, now: datetime, until: datetime | None = None, call: int = 0
    ) -> None:
        if self._log is not None:
            seconds = 0.0 if until is None else seconds_until(until, now)
            self._log.append(
                AttemptRecord(
                    time=now,
                    call_id=call,
                    model=spec,
                    outcome=outcome,
                    reason=by,
                    benched=outcome == "bench",
                    benched_for=seconds,
                )
            )


def seconds_until(until: datetime, now: datetime) -> float:
    """Seconds of a bench that are left; infinite until lifted."""
    return math.inf if until == FOREVER else max(0.0, (until - now).total_seconds())


def _standing(spec: str, state: _State, now: datetime, instant: float) -> BenchStanding:
    live, run_out = _live(state, now), _run_out(state, now)
    name: Literal["ready", "benched", "due", "probing"] = "ready"
    if live:
        name = "benched"
    elif run_out and not state.manual:
        name = "probing" if _probed_by_another(state, 0, instant) else "due"
    until = state.until if live and state.until != FOREVER else None
    fails = 0 if run_out and state.manual else state.fails
    return BenchStanding(spec, name, until, fails, live and state.manual, state.edited)


def _live(state: _State, now: datetime) -> bool:
    until = state.until
    return until is not None and now <= until


def _run_out(state: _State, now: datetime) -> bool:
    until = state.until
    return until is not None and now > until


def _half_open(state: _State, now: datetime) -> bool:
    return _run_out(state, now) and not state.manual


def _probes(state: _State, call: int, instant: float) -> bool:
    return state.prober == call and instant < state.lapses


def _outlived(state: _State, began: int) -> bool:
    """Whether an attempt that began then and answered ends the bench."""
    return state.until is not None and not state.manual and state.laid < began


def _as_it_is(state: _State) -> None:
    """A rule that changes nothing, for what only has to be stored."""


def _probed_by_another(state: _State, call: int, instant: float) -> bool:
    return state.prober not in (0, call) and instant < state.lapses


def _end(now: datetime, until: datetime | None, for_: float | timedelta | None) -> datetime:
    if until is not None and for_ is not None:
        raise ValueError(f"until={until} and for_={for_!r} both say when the bench ends: give one of them")
    if for_ is not None:
        if not isinstance(for_, (timedelta, Real)):
            raise TypeError(f"for_={for_!r} is no duration: give seconds or a timedelta")
        seconds = for_.total_seconds() if isinstance(for_, timedelta) else float(for_)
        if math.isnan(seconds):
            raise ValueError(f"for_={for_!r} is no number of seconds: leave it out to bench until lifted")
        return _after(now, seconds)
    if until is None:
        return FOREVER
    if not isinstance(until, datetime):
        raise TypeError(f"until={until!r} is no moment: give an aware datetime, or for_= for a duration")
    if until.utcoffset() is None:
        raise ValueError(
            f"until={until!r} is naive, and could mean any time zone: "
            "use datetime.now(UTC) + timedelta(...), or until.astimezone()"
        )
    try:
        return until.astimezone(UTC)
    except OverflowError:
        return FOREVER


def _after(now: datetime, seconds: float) -> datetime:
    try:
        return now + timedelta(seconds=float(seconds))
    except OverflowError:
        return FOREVER if seconds > 0 else now - timedelta(seconds=1)


process_benches = BenchRegistry(log=process_log)
"""The process's own registry, which every chain uses unless it is given another."""
