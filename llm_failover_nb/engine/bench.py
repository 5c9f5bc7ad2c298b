"""The bench registry: every rule that lays, extends, keeps or lifts a bench is here, and nowhere else.

A model's place in it:

    ready ── failures reach the threshold ──► benched ── time runs out ──► half open
      ▲                                          │                            │ one call is the probe
      └── success of a later attempt, operator ──┴──── probe answers ─────────┘ probe fails: benched again

A bench of the operator (``manual``) is outside this: no failure shortens or extends it, no success lifts
it, and once it has run out no probe is needed. Nothing runs on a timer: the state is computed when read.
"""

from __future__ import annotations

import builtins
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from numbers import Real
from typing import Literal

from llm_failover_nb.engine.clock import Clock, SystemClock
from llm_failover_nb.engine.events import AttemptRecord, EventLog, process_log
from llm_failover_nb.engine.locks import new_lock
from llm_failover_nb.engine.roster import Roster

__all__ = [
    "BenchMemory",
    "BenchRegistry",
    "BenchStanding",
    "BenchedModel",
    "process_benches",
]

FOREVER = datetime.max.replace(tzinfo=UTC)


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
    prober: int = 0  # the call that probes; 0: none
    lapses: float = 0.0  # when its place lapses, on the clock's monotonic scale

    def clear(self) -> None:
        self.fails, self.until, self.manual, self.prober = 0, None, False, 0


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
        # Attempts, benches and lifts are ordered by this, not by time: clocks tie and step back.
        self._sequence = count(1)
        self.roster = Roster()
        """The chains that use this registry, and their calls."""

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
        with self._lock:
            state = self._states.setdefault(spec, _State())
            if _run_out(state, now):
                state.clear()
            state.prober = 0
            state.manual = end >= now
            state.until = end if state.manual else None
            state.laid = state.edited = next(self._sequence)
        if end >= now:
            self._tell("bench", spec, "operator", now, end)
            self.roster.leave(spec)

    def unbench(self, spec: str) -> bool:
        """Lift a bench, also a manual one; whether there was a live one.

        An attempt that began before this may still fail: that counts, but does not bench.
        """
        now = self.clock.now()
        with self._lock:
            state = self._states.setdefault(spec, _State())
            live = _live(state, now)
            state.lifted = state.edited = next(self._sequence)
            if state.until is not None:
                state.clear()
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
        with self._lock:
            state = self._states.setdefault(spec, _State())
            if state.edited != edited:
                return False
            was_live = _live(state, now)
            laid_since = state.until if was_live and not state.manual else None
            state.manual = memory.manual
            state.until = memory.until
            if laid_since is not None and not memory.manual:
                state.until = max(laid_since, memory.until or laid_since)
            state.fails = max(state.fails, memory.consecutive_fails)
            state.prober = 0
            state.laid = state.edited = next(self._sequence)
            live, until = _live(state, now), state.until
        if live:
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
        now, instant = self.clock.now(), self.clock.monotonic()
        with self._lock:
            if _run_out(state, now) and not state.manual:
                if not _probed_by_another(state, call, instant):
                    if state.prober != call or instant >= state.lapses:
                        state.prober, state.lapses = call, instant + lapse
                    return next(self._sequence)
            elif not _live(state, now):
                return next(self._sequence)
            return next(self._sequence) if force else 0

    def succeeded(self, spec: str, call: int, began: int) -> None:
        """An attempt answered: the count is cleared, an automatic bench from before it is lifted."""
        if spec not in self._states:
            return
        now = self.clock.now()
        with self._lock:
            state = self._states[spec]
            lifted = False
            state.fails = 0
            if state.prober == call:
                state.prober = 0
            if state.until is not None and not state.manual and state.laid < began:
                lifted = _live(state, now)
                state.clear()
        if lifted:
            self._tell("unbench", spec, "answered", now, call=call)

    def failed(self, spec: str, call: int, began: int, *, threshold: int, for_: float) -> datetime | None:
        """A model was left by a failure: count it, and bench for ``for_`` seconds at ``threshold``.

        Returns:
            The end of the bench that stands now; ``None`` when the model is not benched.
        """
        now = self.clock.now()
        with self._lock:
            state = self._states.setdefault(spec, _State())
            if _run_out(state, now):
                state.clear()
            state.fails += 1
            laid = not state.manual and began > state.lifted and state.fails >= threshold and for_ > 0
            if laid:
                state.until = max(_after(now, for_), state.until or now)
                state.laid = next(self._sequence)
            until = state.until
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
        with self._lock:
            state = self._states.setdefault(spec, _State())
            if _run_out(state, now):
                state.clear()
            if state.manual or began <= state.lifted or for_ <= 0:
                return False
            state.until = until = max(_after(now, for_), state.until or now)
            state.laid = next(self._sequence)
        self._tell("bench", spec, "failure", now, until, call=call)
        return True

    def healthy(self, spec: str, call: int) -> None:
        """A probe showed the model to be up (first content, or the request's own fault): let all go on."""
        state = self._states.get(spec)
        if state is None:
            return
        with self._lock:
            if state.prober == call:
                state.clear()

    def released(self, spec: str, call: int) -> None:
        """A call was cancelled: if it was the probe, its place is free."""
        state = self._states.get(spec)
        if state is None:
            return
        with self._lock:
            if state.prober == call:
                state.prober = 0

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
