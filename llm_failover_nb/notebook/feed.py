"""The last decisions in sentences, from the rows of the log as they come. Words alone; nothing is decided.

A call has one sentence, from the moment that something goes wrong in it; one that goes clean has none. The
tone is that of its end: ``failed`` where nobody answered, and while it still looks for an answer,
``recovered`` where it got one after all; ``edit`` is what an operator did, ``note`` the rest.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from types import MappingProxyType
from typing import Literal

from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.events import AttemptRecord
from llm_failover_nb.notebook.board import Decision, milliseconds
from llm_failover_nb.notebook.render.page import one_line
from llm_failover_nb.notebook.render.words import counted, duration, one_and_another

__all__ = ["DECISIONS", "OPEN_CALLS", "Feed"]

DECISIONS = 50
"""How many decisions are kept: the newest."""

OPEN_CALLS = 500
"""How many calls may be followed at a time; the one that began to go wrong first is let go."""

# Benches that have not been lifted, to tell when a model answers again.
_BENCHES = 2_000

# Of one call: models that are told of one by one, different failures of one model, names in an enumeration.
_MODELS = 4
_FAILURES = 3
_NAMES = 3

_LONGEST_NAME = 120

Tone = Literal["failed", "recovered", "edit", "note"]

# reason -> what the model did.
_DID: Mapping[str, str] = MappingProxyType(
    {
        "rate_limit": "hit its rate limit",
        "overloaded": "was overloaded",
        "server_error": "had an error of its own",
        "timeout": "did not answer in time",
        "connection": "could not be reached",
        "malformed": "sent something other than an answer",
        "cut": "broke off mid-answer",
        "empty": "said nothing",
        "quota": "said that the account's quota is used up",
        "credentials": "refused the key",
        "region": "is not served from here",
        "permission": "refused this key access",
        "model_gone": "is unknown to its provider",
        "not_installed": "is not installed",
        "context_length": "could not take a prompt this long",
        "content_filter": "refused the prompt by its content filter",
        "bad_request": "refused the request",
        "invalid_answer": "gave an answer that did not pass the check",
    }
)

# Who else than a call benches and lifts: by whom, in words, and the tone.
_OTHERS: Mapping[str, tuple[str, Tone]] = MappingProxyType(
    {"operator": ("by hand", "edit"), "store": ("by another kernel", "note")}
)

# Where there is a status of a refusal, it says what these are.
_PLAIN = frozenset({"overloaded", "server_error", "timeout", "connection", "malformed", "empty", "cut"})
_REFUSED = 400
_ANSWERED = "answered "

_TIMES = ("", "", " twice", " three times", " four times", " five times", " six times")


@dataclass(slots=True)
class _Model:
    """What an entry of the chain did in a call: each failure and how often it came, and what followed."""

    spec: str
    failures: dict[str, int] = field(default_factory=dict)
    benched_for: float = 0.0
    beside: Sequence[str] = ()
    passed: Literal["", "was benched meanwhile", "was benched by hand while it was asked"] = ""


@dataclass(slots=True)
class _Call:
    """A call in which something has gone wrong, or is about to; ``tail`` is how it stands, or ended."""

    models: list[_Model] = field(default_factory=list)
    last: tuple[int | None, str] = (None, "")
    more: int = 0
    keyless: list[str] = field(default_factory=list)
    benched: list[str] = field(default_factory=list)
    lifted: str = ""
    tail: str = ""
    tone: Tone = "failed"
    told: bool = False
    open: bool = True

    def model(self, record: AttemptRecord) -> _Model | None:
        """The model that a row is about; None where too many are told of already."""
        entry = (record.position, record.model)
        if self.last != entry or not (self.models or self.more):
            self.last = entry
            if len(self.models) == _MODELS:
                self.more += 1
            else:
                self.models.append(_Model(record.model))
        return None if self.more else self.models[-1]

    def is_retried(self, record: AttemptRecord) -> bool:
        """Whether the model of a row has failed in this call, and was asked again."""
        return self.last == (record.position, record.model) and bool(self.models) and not self.more

    def close(self, tail: str, tone: Tone) -> None:
        self.tail, self.tone, self.open = tail, tone, False


@dataclass(slots=True)
class _Told:
    """A decision: of a call that may go on, or in words that stand."""

    at: datetime
    what: _Call | str
    tone: Tone


class Feed:
    """The last decisions, kept up to date row by row; for one thread at a time.

    >>> from datetime import UTC
    >>> feed = Feed()
    >>> feed.add(AttemptRecord(
    ...     datetime.now(UTC), 1, model="openai/x", outcome="failover", reason="overloaded", status=503,
    ...     benched=True, benched_for=300.0, next_model="anthropic/y",
    ... ))
    >>> feed.decisions()[0]["text"]
    'openai/x answered HTTP 503 and is benched for 5 min; asking anthropic/y'
    >>> feed.add(AttemptRecord(datetime.now(UTC), 1, model="anthropic/y", outcome="ok"))
    >>> feed.decisions()[0]["text"]
    'openai/x answered HTTP 503 and is benched for 5 min; anthropic/y answered'
    """

    def __init__(self) -> None:
        self._calls: OrderedDict[int, _Call] = OrderedDict()
        self._told: OrderedDict[int, _Told] = OrderedDict()
        self._ids = count(1)
        # spec -> the end of its automatic bench; None: until lifted
        self._benches: OrderedDict[str, datetime | None] = OrderedDict()

    def add(self, record: AttemptRecord) -> None:
        """Take a row in; rows come in the order of the log."""
        match record.outcome:
            case "ok":
                self._answered(record)
            case "retry" | "failover" | "exhausted" | "interrupted":
                self._failed(record)
            case "cancelled":
                self._cancelled(record)
            case "skipped":
                self._skipped(record)
            case "bench":
                self._benched(record)
            case "unbench":
                self._lifted(record)

    def decisions(self) -> list[Decision]:
        """The last decisions, the newest first, at most :data:`DECISIONS`.

        While a call goes on, its decision is ``open``, and its text and tone may change; its ``id``, its
        place, and ``at``, when something first went wrong, do not.
        """
        return [_decision(number, told) for number, told in reversed(self._told.items())]

    def going_on(self) -> set[int]:
        """The calls whose rows have not said yet how they ended."""
        return set(self._calls)

    def gone(self, call: int) -> None:
        """A call has ended without a row that says so, as one does that is cancelled while it waits.

        Args:
            call: Its id; one of which there is nothing to tell does no harm.
        """
        self._end(call, "; the call was cancelled", "note")

    # Rows of calls

    def _answered(self, record: AttemptRecord) -> None:
        call = self._calls.get(record.call_id)
        again = self._again(record, call)
        if call is None or not call.told:
            self._calls.pop(record.call_id, None)
            if again:
                self._tell(record.time, f"{_name(record.model)} answered again; {again}", "recovered")
        elif again:
            self._end(record.call_id, f"; {_name(record.model)} answered again, and {again}", "recovered")
        elif call.is_retried(record):
            self._end(record.call_id, ", then gave its answer", "recovered")
        else:
            self._end(record.call_id, f"; {_name(record.model)} answered", "recovered")

    def _failed(self, record: AttemptRecord) -> None:
        call = self._call(record)
        outcome, reason = record.outcome, record.reason
        model = call.model(record)
        if model is not None:
            _count(model, _did("cut", None) if outcome == "interrupted" else _did(reason, record.status))
        if outcome == "retry":
            call.tail = "; asking it again" if model is not None else f"; asking {_name(record.model)} again"
            return
        if model is not None and record.benched:
            model.benched_for = _seconds(record)
            model.beside = [spec for spec in call.benched if spec != record.model]
        call.benched = []
        if outcome == "failover":
            call.tail = f"; asking {_name(record.next_model)}" if record.next_model else ""
        elif _ends_the_call(record):
            self._end(record.call_id, "; the call ended there", "failed")
        else:
            self._end(record.call_id, "; no model was left", "failed")

    def _cancelled(self, record: AttemptRecord) -> None:
        self._call(record)
        asked = f"while {_name(record.model)} was asked"
        if record.reason == "deadline":
            self._end(record.call_id, f"; the deadline passed {asked}", "failed")
        else:
            self._end(record.call_id, f"; cancelled {asked}", "note")

    def _skipped(self, record: AttemptRecord) -> None:
        if record.reason == "no_key":
            call = self._call(record, tell=False)
            if len(call.keyless) < _BENCHES:
                call.keyless.append(record.model)
            # With the last of them the call has ended, and no other row will say so.
            if len(call.keyless) == len(record.chain.split(",")):
                self._tell_of(call, record.time)
                self._end(record.call_id, "; no model could be asked", "failed")
            return
        call = self._call(record)
        call.tail = ""
        if any(record.model in model.beside for model in call.models):
            return  # as has been told
        model = call.model(record)
        if model is not None:
            asked = record.attempt > 0
            model.passed = "was benched by hand while it was asked" if asked else "was benched meanwhile"

    # Rows of benches

    def _benched(self, record: AttemptRecord) -> None:
        if record.reason in _OTHERS:
            self._benches.pop(record.model, None)
            by, tone = _OTHERS[record.reason]
            how_long = _how_long(_seconds(record))
            self._tell(record.time, f"{_name(record.model)} was benched {by} {how_long}", tone)
        elif record.reason == "failure":
            self._benches[record.model] = _end_of(record)
            self._benches.move_to_end(record.model)
            if len(self._benches) > _BENCHES:
                self._benches.popitem(last=False)
            call = self._call(record, tell=False)
            if len(call.benched) < _BENCHES:
                call.benched.append(record.model)

    def _lifted(self, record: AttemptRecord) -> None:
        self._benches.pop(record.model, None)
        if record.reason == "answered":
            self._call(record, tell=False).lifted = record.model
        elif record.reason in _OTHERS:
            by, tone = _OTHERS[record.reason]
            self._tell(record.time, f"the bench of {_name(record.model)} was lifted {by}", tone)

    def _again(self, record: AttemptRecord, call: _Call | None) -> str:
        """What became of the bench that an answer ends, in words; empty where it ends none."""
        if call is not None and call.lifted == record.model:
            return "its bench is lifted"
        end = self._benches.get(record.model)
        if end is None or (record.time - end).total_seconds() < (record.latency or 0.0):
            return ""  # one that was asked before the bench says nothing of what came after
        del self._benches[record.model]
        return "its bench had run out"

    # What is kept

    def _call(self, record: AttemptRecord, *, tell: bool = True) -> _Call:
        call = self._calls.get(record.call_id)
        if call is None:
            call = self._calls[record.call_id] = _Call()
            if len(self._calls) > OPEN_CALLS:
                _, oldest = self._calls.popitem(last=False)
                oldest.close("", oldest.tone)
        if tell:
            self._tell_of(call, record.time)
        return call

    def _end(self, call_id: int, tail: str, tone: Tone) -> None:
        call = self._calls.pop(call_id, None)
        if call is not None:
            call.close(tail, tone)

    def _tell_of(self, call: _Call, at: datetime) -> None:
        if not call.told:
            call.told = True
            self._tell(at, call, call.tone)

    def _tell(self, at: datetime, what: _Call | str, tone: Tone) -> None:
        self._told[next(self._ids)] = _Told(at, what, tone)
        if len(self._told) > DECISIONS:
            self._told.popitem(last=False)


# What a row says


def _count(model: _Model, did: str) -> None:
    if did not in model.failures and len(model.failures) >= _FAILURES:
        did = "failed otherwise"
    model.failures[did] = model.failures.get(did, 0) + 1


def _did(reason: str, status: int | None) -> str:
    """What a model did that failed, as a verb."""
    words = _DID.get(reason)
    if status is None or status < _REFUSED:
        return words or "failed"
    return f"{_ANSWERED}HTTP {status}" if words is None or reason in _PLAIN else f"{words} (HTTP {status})"


def _ends_the_call(record: AttemptRecord) -> bool:
    """Whether the failure ended its call whatever models were left, as far as its row can tell.

    So it is amid an answer, by a content filter, and where the deadline would pass before a retry.
    """
    given_up = not record.benched and record.kind != ErrorKind.REQUEST_SPECIFIC.value
    return record.outcome == "interrupted" or record.reason == "content_filter" or given_up


def _seconds(record: AttemptRecord) -> float:
    """How long its bench lasts; what the log could not keep as a number reads None."""
    return record.benched_for or 0.0


def _end_of(record: AttemptRecord) -> datetime | None:
    try:
        return record.time + timedelta(seconds=_seconds(record))
    except OverflowError:
        return None


# Sentences


def _decision(number: int, told: _Told) -> Decision:
    call = told.what
    still_open = isinstance(call, _Call) and call.open
    if isinstance(call, _Call):
        text, told.tone = _sentence(call), call.tone
        if not still_open:
            told.what = text  # nothing of it changes any more
    else:
        text = call
    at = milliseconds(told.at)
    return Decision(id=number, at=at, text=text, tone=told.tone, open=still_open)


def _sentence(call: _Call) -> str:
    parts = [_clause(model) for model in call.models]
    if call.more:
        parts.append(f"{counted(call.more, 'more model')} failed")
    if call.keyless and call.tone == "failed" and not call.open:
        parts.append(f"{_names(call.keyless)} {'has' if len(call.keyless) == 1 else 'have'} no key")
    return "; ".join(parts) + call.tail if parts else call.tail.removeprefix("; ")


def _clause(model: _Model) -> str:
    failures = [f"{words}{_times(number)}" for words, number in model.failures.items()]
    statuses = [words.removeprefix(_ANSWERED) for words in failures if words.startswith(_ANSWERED)]
    did = [f"{_ANSWERED}{one_and_another(statuses)}"] if statuses else []
    did += [words for words in failures if not words.startswith(_ANSWERED)]
    if model.passed:
        did.append(model.passed)
    if model.benched_for:
        did.append(f"is benched {_how_long(model.benched_for)}")
    beside = f", {_names(model.beside)} too, for the same key" if model.beside else ""
    return f"{_name(model.spec)} {one_and_another(did)}{beside}"


def _times(number: int) -> str:
    return _TIMES[number] if number < len(_TIMES) else f" {number} times"


def _how_long(seconds: float) -> str:
    return "until lifted" if math.isinf(seconds) else f"for {duration(seconds)}"


def _names(specs: Sequence[str]) -> str:
    names = [_name(spec) for spec in specs[:_NAMES]]
    return one_and_another([*names, f"{len(specs) - _NAMES} more"] if len(specs) > _NAMES else names)


def _name(spec: str) -> str:
    return one_line(spec, _LONGEST_NAME)
