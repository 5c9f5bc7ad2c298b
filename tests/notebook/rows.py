"""Rows of a log, as the engine writes them and as nobody would."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from llm_failover_nb.engine.events import AttemptRecord

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(
    outcome: str, *, call: int = 1, model: str = "a/x", at: datetime = NOON, **fields: Any
) -> AttemptRecord:
    """A row of a call on ``a/x`` at noon, unless something else is said."""
    return AttemptRecord(at, call, chain="a/x,b/y", model=model, outcome=outcome, position=0)._replace(
        **fields
    )


def failed(**fields: Any) -> tuple[AttemptRecord, AttemptRecord]:
    """What a failure writes that benches its model for 5 minutes: the bench, then the row that says why."""
    left = {
        "outcome": "failover", "kind": "transient", "reason": "overloaded", "status": 503,
        "benched": True, "benched_for": 300.0, "attempt": 1, "next_model": "b/y",
    } | fields  # fmt: skip
    outcome = left.pop("outcome")
    own = {name: value for name, value in left.items() if name in {"call", "model", "at"}}
    return row("bench", reason="failure", benched=True, benched_for=300.0, **own), row(outcome, **left)


_words = st.sampled_from(["", "a/x", "b/y", "<script>", "a\nb", "\ud83d", "x" * 500]) | st.text(max_size=9)
_outcomes = st.sampled_from(
    ["ok", "retry", "failover", "exhausted", "skipped", "cancelled", "interrupted", "bench", "unbench", "odd"]
)
_reasons = st.sampled_from(
    ["", "failure", "answered", "operator", "no_key", "benched", "deadline", "credentials", "overloaded"]
)
_floats = st.floats(allow_nan=False) | st.none()

any_rows = st.lists(
    st.builds(
        AttemptRecord,
        time=st.datetimes(datetime(1900, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # in UTC
        call_id=st.integers(0, 3),
        chain=_words,
        model=_words,
        position=st.none() | st.integers(0, 2),
        attempt=st.integers(-1, 3),
        outcome=_outcomes,
        kind=_words,
        reason=_reasons | _words,
        status=st.none() | st.integers(-(2**15), 2**15),
        benched=st.booleans(),
        benched_for=st.floats(0) | st.none(),
        next_model=_words,
        latency=_floats,
        input_tokens=st.none() | st.integers(-5, 2**63 - 1),
        output_tokens=st.none() | st.integers(-5, 2**63 - 1),
        cost=_floats,
        error=_words,
    ),
    max_size=30,
)
"""Any sequence of rows that a log could give back."""
