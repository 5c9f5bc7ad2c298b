"""The policy loop, once, for all four call paths: it hands out the next attempt, or a wait, or raises.

It does no I/O and never waits. A driver iterates a :class:`Call` and takes each step, of `steps.py`. Which
bench follows a failure is `bench.py`'s to say, what it means is `classify.py`'s; the order is this file's.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import logging
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from llm_failover_nb.engine.bench import seconds_until
from llm_failover_nb.engine.check import Check
from llm_failover_nb.engine.classify import Verdict
from llm_failover_nb.engine.errors import (
    AllModelsFailed,
    DeadlineExceeded,
    ErrorKind,
    ProviderError,
    StreamInterrupted,
)
from llm_failover_nb.engine.events import (
    AttemptRecord,
    EventLog,
    FailoverEvent,
    Observer,
    current_cell,
    logger,
    tell,
)
from llm_failover_nb.engine.roster import RunningCall
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.steps import Attempt, Step, Wait
from llm_failover_nb.engine.tether import Tether
from llm_failover_nb.engine.types import Chunk, Request, Response, Timeouts, Usage

if TYPE_CHECKING:
    from llm_failover_nb.engine.bench import BenchRegistry
    from llm_failover_nb.engine.clock import Clock
    from llm_failover_nb.engine.policy import Policy
    from llm_failover_nb.engine.portal import Calls

__all__ = ["Call", "Entry", "Setup"]

Classify = Callable[[BaseException, str], Verdict]

_call_ids = count(1)

# A probe's place is free again after this long at the most, in seconds.
_PROBE_LAPSE = 60.0

# A stream need not say more of its answer than its chunks did.
_NOTHING_SAID = Response()

# An error's text in the log and in messages; a provider may send pages.
_ERROR_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """A model in a chain: its place, its spec, the name its provider knows, and how to ask it.

    Args:
        wire: The dialect that its failures come in.
        missing_key: What to set before it can be asked; ``None`` when nothing is missing.
        key: What tells the key that it uses from others; ``None`` when it uses none.
        dropped: The fields of a request that it cannot take, and that its provider leaves out.
    """

    position: int
    spec: str
    name: str
    calls: Calls
    wire: str
    missing_key: Callable[[], str | None]
    key: Callable[[], Hashable | None]
    dropped: Callable[[Request], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a chain fixes when it is built and all its calls share."""

    label: str
    entries: tuple[Entry, ...]
    policy: Policy
    benches: BenchRegistry
    clock: Clock
    observers: tuple[Observer, ...]
    log: EventLog
    classify: Classify
    check: Check | None = None

    def first_asked(self) -> int | None:
        """The place of the entry that a call would ask first now; ``None`` when no entry has a key."""
        keyed = [entry for entry in self.entries if entry.missing_key() is None]
        live = (entry for entry in keyed if not self.benches.blocked(entry.spec, 0))
        first = next(live, keyed[0] if keyed else None)
        return None if first is None else first.position


class Call:
    """One call through a chain: iterate its steps, then read ``response``.

    Args:
        setup: The chain's.
        request: The caller's, its model ``"failover"``; each attempt gets it with the model's bare name.
        method: ``complete``, ``acomplete``, ``stream`` or ``astream``.

    Iterating raises what the call ends with when no model answers: ``AllModelsFailed``,
    ``DeadlineExceeded``, ``StreamInterrupted``, or the ``ProviderError`` of a content filter.
    """

    def __init__(self, setup: Setup, request: Request, method: str) -> None:
        self.setup = setup
        self._request = request
        self._method = method
        self.id = next(_call_ids)
        self._cell = current_cell.get()
        self.streams = method in {"stream", "astream"}
        self._roster = setup.benches.roster
        # A synchronous call waits in a thread, which nobody can wake.
        self._tether = Tether() if method in {"acomplete", "astream"} else None
        self._step: Step | None = None
        self._number = 0
        self.cancelling = False
        self._lent = False  # whether its task is at something that is none of this call's
        self._attempts = setup.policy.attempts(stream=self.streams)
        self._lapse = min(setup.policy.cooldown, _PROBE_LAPSE)
        self._records: list[AttemptRecord] = []
        self._errors: dict[int, Exception] = {}
        self._entry: Entry = setup.entries[0]
        self._rest: Sequence[Entry] = ()
        self._best_effort = False
        self._restart_due = False
        # Plain requests, which most are, hold none of the fields that not every model takes.
        # By identity: a number of NumPy's does not compare.
        r = request
        self._may_drop = bool(r.stop) or not (
            r.temperature is None and r.max_tokens is None and r.seed is None and r.schema is None
        )
        self._response: Response | None = None
        self._start = 0.0
        self._deadline = math.inf
        self.has_deadline = setup.policy.deadline is not None

    @property
    def response(self) -> Response:
        """The answer, once the steps are done."""
        if self._response is None:
            raise RuntimeError("the call has not been answered yet: iterate its steps first")
        return self._response

    def __iter__(self) -> Iterator[Step]:
        self._start = self.setup.clock.monotonic()
        if (deadline := self.setup.policy.deadline) is not None:
            self._deadline = self._start + deadline
        self._roster.begin(self)
        try:
            live = self._live()
            for index, entry in enumerate(live):
                self._entry, self._rest = entry, live[index + 1 :]
                yield from self._ask()
                if self._response is not None:
                    return
            raise self._all_failed(len(live))
        finally:
            self._roster.end(self)

    # The loop

    def _live(self) -> Sequence[Entry]:
        """The entries of this call: not benched and with a key; if there are none, all with a key."""
        keyed = [entry for entry in self.setup.entries if not self._lacks_key(entry)]
        if not keyed:
            raise self._all_failed(0)
        blocked = self.setup.benches.blocked
        live = [entry for entry in keyed if not blocked(entry.spec, self.id)]
        self._best_effort = not live
        return live or keyed

    def _lacks_key(self, entry: Entry) -> bool:
        variable = entry.missing_key()
        if variable is None:
            return False
        error = ProviderError(
            f"no key: set {variable}", model=entry.spec, kind=ErrorKind.AUTH_DEAD, reason="no_key"
        )
        self._errors[entry.position] = error
        self._record(entry, "skipped", verdict=Verdict(ErrorKind.AUTH_DEAD, "no_key"), error=error)
        return True

    def _ask(self) -> Iterator[Step]:
        """Ask one entry until it has answered, or is left."""
        entry = self._entry
        number = 0
        while True:
            number += 1
            if self.cancelling:
                self.release()
                raise self.cancellation()
            began = self._admit()
            if not began:
                self._skipped()
                return
            attempt = Attempt(self, entry.calls, self._request_for(entry, number), number, began)
            self._number = number
            yield attempt
            if attempt.error is None:  # it has answered, or was left
                return
            error = attempt.error = _kept(attempt.error, entry, cause=attempt.refusal is not None)
            verdict = self._judge(attempt, error)
            wait = self._wait_before_retry(attempt, verdict)
            if wait is None:
                self._leave(attempt, error, verdict)
                return
            self._record_attempt(attempt, "retry", verdict)
            yield Wait(self, wait)

    def _admit(self) -> int:
        benches, spec = self.setup.benches, self._entry.spec
        began = benches.admit(spec, self.id, lapse=self._lapse, force=self._best_effort)
        if not began and not self._another_live():
            began = benches.admit(spec, self.id, lapse=self._lapse, force=True)
        return began

    def _another_live(self) -> bool:
        if self._best_effort:
            return bool(self._rest)
        blocked = self.setup.benches.blocked
        return any(not blocked(entry.spec, self.id) for entry in self._rest)

    def _request_for(self, entry: Entry, number: int) -> Request:
        timeouts = self.setup.policy.timeouts
        left = self._left()
        if left <= 0:
            self.release()
            raise self._deadline_exceeded() from self._errors.get(entry.position)
        if left < math.inf:
            attempt = left if timeouts.attempt is None else min(left, timeouts.attempt)
            timeouts = Timeouts(timeouts.connect, timeouts.first_token, timeouts.idle, attempt)
        r = self._request
        return Request(
            r.messages, entry.name, r.system, r.temperature, r.max_tokens, r.stop, r.seed, r.schema,
            r.extra, timeouts, number,
        )  # fmt: skip

    def _judge(self, attempt: Attempt, error: Exception) -> Verdict:
        """What the failure means; raises where it ends the call whatever it means."""
        self._errors[self._entry.position] = error
        if self.late():
            # The deadline may have cut it: evidence about the clock, not about the model.
            self.release()
            self._record_attempt(attempt, "cancelled", Verdict(ErrorKind.UNKNOWN, "deadline"))
            raise self._deadline_exceeded(attempt.text) from error
        verdict = attempt.refusal or self._classified(error)
        if isinstance(error, ProviderError):
            error.model = self._entry.spec
            error.kind, error.reason, error.rule = verdict.kind, verdict.reason, verdict.rule
        if attempt.committed and self.setup.policy.midstream == "raise":
            self._leave(attempt, error, verdict, outcome="interrupted")
            text = attempt.text
            raise StreamInterrupted(
                f"{self._entry.spec} failed after {len(text)} characters of its answer: {_line(error)}",
                text=text,
                model=self._entry.spec,
            ) from error
        if verdict.reason == "content_filter" and self.setup.policy.content_filter == "stop":
            self._leave(attempt, error, verdict, outcome="exhausted")
            raise error
        self._restart_due = self._restart_due or attempt.committed
        return verdict

    def _classified(self, error: Exception) -> Verdict:
        try:
            return self.setup.classify(error, self._entry.wire)
        except Exception:  # noqa: BLE001  # somebody else's function; logged below
            logger.exception("the classifier raised; %s counts as unknown", type(error).__name__)
            return Verdict(ErrorKind.UNKNOWN, "unknown")

    def _wait_before_retry(self, attempt: Attempt, verdict: Verdict) -> float | None:
        """Seconds to wait before asking the same model again; ``None`` to leave it."""
        if attempt.number >= self._attempts or not verdict.retry_in_place:
            return None
        if verdict.kind not in (ErrorKind.TRANSIENT, ErrorKind.UNKNOWN):
            return None
        asked = verdict.retry_after or 0.0
        left = self._left()
        if asked > self.setup.policy.max_wait and not (asked <= left < math.inf and not self._another_live()):
            return None
        try:
            wait = max(self.setup.policy.wait_after(attempt.number), asked)
        except Exception:
            self._give_up(attempt, verdict)
            raise
        if wait < left:
            return wait
        if self._rest:
            return None
        self._give_up(attempt, verdict)
        raise self._deadline_exceeded() from attempt.error

    def _give_up(self, attempt: Attempt, verdict: Verdict) -> None:
        """The call ends after a failed attempt that might have been retried: no failure is counted."""
        self.release()
        self._record_attempt(attempt, "exhausted", verdict)

    def _leave(self, attempt: Attempt, error: Exception, verdict: Verdict, *, outcome: str = "") -> None:
        """Settle what a failure changes, then record it and tell it."""
        until = self._bench(attempt, verdict)
        dead_key = verdict.reason == "credentials" and verdict.kind is not ErrorKind.REQUEST_SPECIFIC
        benched_too = self._bench_key(attempt) if dead_key else ()
        now = self.setup.clock.now()
        # By the clock that laid it.
        benched_for = 0.0 if until is None else seconds_until(until, self.setup.benches.clock.now())
        following = "" if outcome else self._next_spec()
        outcome = outcome or ("failover" if following else "exhausted")
        self._record_attempt(
            attempt, outcome, verdict, until is not None, benched_for, following, _benched_note(benched_too)
        )
        logged = logger.isEnabledFor(logging.WARNING) and logger.hasHandlers()
        if not (logged or self.setup.observers):
            return
        event = FailoverEvent(
            self._entry.spec, error, verdict.kind, attempt.number, until is not None, benched_for, following,
            self._request, now, self.id, self.setup.label, self._method, benched_too,
        )  # fmt: skip
        # Whoever wants the warnings configures logging; nobody gets them unasked under their cell.
        if logged:
            _warn(event, error, until, self.setup.policy.cooldown)
        tell(self.setup.observers, event)

    def _bench(self, attempt: Attempt, verdict: Verdict) -> datetime | None:
        benches, policy, spec = self.setup.benches, self.setup.policy, self._entry.spec
        if verdict.kind is ErrorKind.REQUEST_SPECIFIC:
            benches.healthy(spec, self.id)
            return benches.until(spec)
        threshold, seconds = policy.bench_threshold, policy.cooldown
        if verdict.kind is ErrorKind.AUTH_DEAD:
            threshold = 1
            if verdict.lasts is not None and verdict.lasts > policy.max_wait:
                seconds = min(verdict.lasts, policy.max_bench)
        elif verdict.retry_after is not None and verdict.retry_after > policy.max_wait:
            threshold, seconds = 1, min(verdict.retry_after, policy.max_bench)
        return benches.failed(spec, self.id, attempt.began, threshold=threshold, for_=seconds)

    def _bench_key(self, attempt: Attempt) -> tuple[str, ...]:
        """A key is dead: bench the chain's other entries that use it. The specs that are benched so."""
        key = self._entry.key()
        if key is None:
            return ()
        bench, cooldown = self.setup.benches.bench_beside, self.setup.policy.cooldown
        others = {entry.spec: entry for entry in self.setup.entries if entry.spec != self._entry.spec}
        return tuple(
            spec
            for spec, entry in others.items()
            if entry.key() == key and bench(spec, self.id, attempt.began, for_=cooldown)
        )

    def _next_spec(self) -> str:
        blocked = self.setup.benches.blocked
        if not self._best_effort:
            for entry in self._rest:
                if not blocked(entry.spec, self.id):
                    return entry.spec
        return self._rest[0].spec if self._rest else ""

    def _skipped(self) -> None:
        """The entry was benched after the call began, and another is live."""
        self._pass_by("passed by: benched since the call began")

    def _pass_by(self, why: str, attempt: Attempt | None = None) -> None:
        entry = self._entry
        self._errors.setdefault(entry.position, ProviderError(why, model=entry.spec, reason="benched"))
        verdict = Verdict(ErrorKind.UNKNOWN, "benched")
        if attempt is None:
            self._record(entry, "skipped", verdict=verdict)
        else:
            self._record_attempt(attempt, "skipped", verdict, benched=True)

    # What the steps report, and ask for

    def answer(self, attempt: Attempt, now: float) -> Response:
        """An attempt's answer as the caller gets it, with the attempts that are known so far."""
        answer = attempt.response or _NOTHING_SAID
        usage, first = answer.usage, attempt.first_token
        return Response(
            attempt.text,
            self._entry.spec, answer.finish_reason, usage, tuple(self._records),
            answer.cost if answer.cost is not None else usage.cost,
            now - self._start, None if first is None else first - self._start,
            answer.reasoning, answer.tool_calls, answer.finish,
        )  # fmt: skip

    def answered(self, attempt: Attempt) -> None:
        entry, clock = self._entry, self.setup.clock
        self.setup.benches.succeeded(entry.spec, self.id, attempt.began)
        usage = (attempt.response or _NOTHING_SAID).usage
        now, first = clock.monotonic(), attempt.first_token
        record = AttemptRecord(
            clock.now(), self.id, self._cell, self.setup.label, self._method, entry.spec, entry.position,
            attempt.number, "ok", "", "", None, False, 0.0, "", now - attempt.start,
            None if first is None else first - attempt.start,
            usage.input_tokens, usage.output_tokens, usage.cost, "",
            self._dropped_note(attempt) if self._may_drop else "",
        )  # fmt: skip
        self._records.append(record)
        self.setup.log.append(record)
        self._response = self.answer(attempt, now)

    def cancelled(self, attempt: Attempt) -> None:
        self.release()
        self._record_attempt(attempt, "cancelled", None)

    # What is done to it from outside

    def standing(self) -> RunningCall:
        """How the call stands, as a thread sees it that is not its own."""
        clock, step = self.setup.clock, self._step
        now, instant = clock.now(), clock.monotonic()
        waits_until = None
        if isinstance(step, Wait):
            waits_until = now + timedelta(seconds=step.began + step.seconds - instant)
        return RunningCall(
            self.id, self._cell, tuple(entry.spec for entry in self.setup.entries), self._method,
            self._entry.spec, self._number, now - timedelta(seconds=instant - self._start), waits_until,
            reachable=self._tether is not None,
        )  # fmt: skip

    def cancel(self) -> None:
        """End the call where it waits, or, where nobody can wake it, as soon as it looks."""
        self.cancelling = True
        if self._tether is not None:
            self._tether.pull(lambda: not self._lent)

    def leave(self, spec: str) -> None:
        """The operator has benched a model: if the call waits for it, and another is live, go on to that."""
        if self._tether is not None:
            self._tether.pull(lambda: not self._lent and self._leaves(spec))

    def _leaves(self, spec: str) -> bool:
        waits = self._step is not None and not self._step.committed and self._entry.spec == spec
        return waits and self.setup.benches.is_benched(spec) and self._another_live()

    def entered(self, step: Step) -> None:
        """A driver begins a step."""
        self._step = step
        if self._tether is not None:
            self._tether.hold()
        if self._roster.listeners:
            self._roster.listeners.tell()

    def lend(self) -> None:
        """The reader of a stream has a chunk: what its task waits for now is none of this call's."""
        self._lent = True

    def resume(self) -> None:
        """It asks for the next.

        Raises:
            CancelledError: When somebody has cancelled the call meanwhile.
        """
        self._lent = False
        if self.cancelling:
            raise self.cancellation()

    def left(self, error: BaseException | None) -> bool:
        """A driver has left a step; whether it was ended from outside, so that the call goes on elsewhere."""
        self._step = None
        return self._tether is not None and self._tether.release(error) and not self.cancelling

    def withdraw(self, attempt: Attempt) -> None:
        """The model was benched by hand while it was asked."""
        self._pass_by("left unanswered: benched by hand while it was asked", attempt)

    def cancellation(self) -> BaseException:
        """What a cancelled call raises, as its kind of caller knows it."""
        return concurrent.futures.CancelledError() if self._tether is None else asyncio.CancelledError()

    def release(self) -> None:
        """Give back the place as the probe, if this call has it."""
        self.setup.benches.released(self._entry.spec, self.id)

    def saw_content(self) -> None:
        self.setup.benches.healthy(self._entry.spec, self.id)

    def restart(self) -> Sequence[Chunk]:
        """The chunk that tells the caller to discard what it has, once, if it has anything."""
        if not self._restart_due:
            return ()
        self._restart_due = False
        return (Chunk(kind="restart"),)

    def late(self) -> bool:
        """Whether the call's deadline has passed."""
        return self.has_deadline and self.setup.clock.monotonic() >= self._deadline

    def done(self) -> Chunk:
        """The last chunk of a stream."""
        return Chunk("", "done", self.response)

    # Endings and rows

    def _left(self) -> float:
        """Seconds until the deadline."""
        if not self.has_deadline:
            return math.inf
        return self._deadline - self.setup.clock.monotonic()

    def _deadline_exceeded(self, text: str = "") -> DeadlineExceeded:
        return DeadlineExceeded(
            f"failover: the deadline of {self.setup.policy.deadline:g} s passed while "
            f"{self._entry.spec} was asked; give a longer deadline, or fewer retries",
            text=text,
        )

    def _all_failed(self, live: int) -> AllModelsFailed:
        entries = [entry for entry in self.setup.entries if entry.position in self._errors]
        errors = [self._errors[entry.position] for entry in entries]
        lines = [f"failover: all {live} models in chain failed"]
        if not live:
            missing = dict.fromkeys(entry.missing_key() for entry in entries)
            lines[0] += f": none has a key, set {' or '.join(filter(None, missing))}"
        lines += [f"{entry.spec}: {_line(error)}" for entry, error in zip(entries, errors, strict=True)]
        return AllModelsFailed("\n".join(lines), errors, [entry.spec for entry in entries])

    def _record_attempt(
        self,
        attempt: Attempt,
        outcome: str,
        verdict: Verdict | None,
        benched: bool = False,
        benched_for: float = 0.0,
        next_model: str = "",
        note: str = "",
    ) -> None:
        clock, first = self.setup.clock, attempt.first_token
        self._record(
            self._entry,
            outcome,
            verdict=verdict,
            error=attempt.error,
            attempt=attempt.number,
            benched=benched,
            benched_for=benched_for,
            next_model=next_model,
            latency=clock.monotonic() - attempt.start,
            first_token=None if first is None else first - attempt.start,
            # A refused answer has been paid for.
            usage=attempt.response.usage if attempt.refusal and attempt.response else None,
            note="; ".join(filter(None, (self._dropped_note(attempt) if self._may_drop else "", note))),
        )

    def _dropped_note(self, attempt: Attempt) -> str:
        """What the model was asked without, since it cannot take it."""
        try:
            dropped = ", ".join(self._entry.dropped(attempt.request))
        except Exception:  # noqa: BLE001  # somebody else's provider; logged below
            logger.exception("%s could not say what it leaves out; the call goes on", self._entry.spec)
            return ""
        return dropped and f"asked without {dropped}, which it does not take"

    def _record(
        self,
        entry: Entry,
        outcome: str,
        *,
        verdict: Verdict | None = None,
        error: Exception | None = None,
        attempt: int = 0,
        benched: bool = False,
        benched_for: float = 0.0,
        next_model: str = "",
        latency: float | None = None,
        first_token: float | None = None,
        usage: Usage | None = None,
        note: str = "",
    ) -> None:
        used = usage or Usage()
        record = AttemptRecord(
            self.setup.clock.now(), self.id, self._cell, self.setup.label, self._method, entry.spec,
            entry.position, attempt, outcome, verdict.kind.value if verdict else "",
            verdict.reason if verdict else "", _status(error), benched, benched_for,
            next_model, latency, first_token, used.input_tokens, used.output_tokens, used.cost,
            "" if error is None else _line(error), note,
        )  # fmt: skip
        self._records.append(record)
        self.setup.log.append(record)


def _kept(error: Exception, entry: Entry, *, cause: bool) -> Exception:
    """An error as events and groups keep it: without frames, which hold requests and the keys in them.

    Of what caused it nothing is kept, or, with ``cause``, the cause as bare as the error itself.
    """
    why = error.__cause__ if cause else None
    if error.__traceback__ is not None and logger.isEnabledFor(logging.DEBUG):
        logger.debug("an attempt on %s failed", entry.spec, exc_info=error)
    if isinstance(error, ProviderError) and error.model not in ("", entry.name, entry.spec):
        # It is labelled already: one instance may be the failure of several entries.
        error = copy.copy(error)
    _bare(error).__cause__ = None if why is None else _bare(why)
    return error


def _bare(error: BaseException) -> BaseException:
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _benched_note(specs: Sequence[str]) -> str:
    return f"benched too, for the same key: {', '.join(specs)}" if specs else ""


def _status(error: Exception | None) -> int | None:
    """The HTTP status of a failure; what other people's errors call so may be words."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _line(error: Exception) -> str:
    """An error in one line: masked, and cut where a provider sent pages."""
    text = " ".join(redact(str(error)).split()) or type(error).__name__
    return text if len(text) <= _ERROR_LENGTH else text[: _ERROR_LENGTH - 1] + "…"


def _warn(event: FailoverEvent, error: Exception, until: datetime | None, cooldown: float) -> None:
    logger.warning(
        "%s failed (%s: %s); %s%s",
        event.model,
        event.kind.value,
        _line(error),
        f"{note}; " if (note := _benched_note(event.benched_too)) else "",
        f"next: {event.next_model}" if event.next_model else "no model left to try",
        extra={
            "model": event.model,
            "kind": event.kind.value,
            "status": _status(error),
            "attempt": event.attempt,
            "benched": event.benched,
            "cooldown": cooldown,
            "until": until,
            "next": event.next_model,
        },
    )
