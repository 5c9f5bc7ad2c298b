"""Figures per model, and why a model is benched, from rows of the log."""

from __future__ import annotations

import tracemalloc
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given

import llm_failover_nb as fo
from llm_failover_nb.engine.events import AttemptRecord, EventLog
from llm_failover_nb.notebook.board import Why
from llm_failover_nb.notebook.tally import LATENCIES, MODELS, WINDOW, Figures, Tally
from llm_failover_nb.testing import FakeClock, ScriptedProvider
from tests.notebook.rows import NOON, any_rows, failed, row

AT = 1_767_268_800_000


def tally_of(*rows: AttemptRecord) -> Tally:
    tally = Tally()
    for each in rows:
        tally.add(each)
    return tally


def counts(tally: Tally, spec: str = "a/x", now: datetime = NOON) -> tuple[int, int]:
    figures = tally.figures(spec, now)
    return figures.calls, figures.answered


def text_of(why: Why | None) -> str:
    return "" if why is None else why["text"]


# Figures


def test_a_model_without_rows_has_no_figures() -> None:
    """Nobody has asked it, and nobody can say what it costs."""
    assert Tally().figures("a/x", NOON) == Figures(0, 0, None, None)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("ok", (1, 1)),
        ("failover", (1, 0)),
        ("exhausted", (1, 0)),
        ("interrupted", (1, 0)),
        ("retry", (0, 0)),
        ("skipped", (0, 0)),
        ("cancelled", (0, 0)),
        ("bench", (0, 0)),
        ("unbench", (0, 0)),
    ],
)
def test_what_is_a_call(outcome: str, expected: tuple[int, int]) -> None:
    """A model was answered by or left; a retry is an attempt, and no call."""
    assert counts(tally_of(row(outcome))) == expected


def test_the_latency_is_the_median_of_the_answers() -> None:
    """What a failure took is not in it."""
    rows = [row("ok", latency=latency) for latency in (0.5, 9.0, 1.0)]

    assert tally_of(*rows, row("failover", latency=60.0)).figures("a/x", NOON).latency == 1.0


def test_the_last_latencies_of_a_bucket_are_kept() -> None:
    """However many came before them."""
    rows = [row("ok", latency=float(n)) for n in range(10 * LATENCIES)]
    kept = range(9 * LATENCIES, 10 * LATENCIES)

    assert tally_of(*rows).figures("a/x", NOON).latency == sum(kept) / LATENCIES


@pytest.mark.parametrize("latency", [None, float("inf"), float("nan")])
def test_a_latency_that_is_none_is_left_out(latency: float | None) -> None:
    """The answer counts."""
    assert tally_of(row("ok", latency=latency)).figures("a/x", NOON) == Figures(1, 1, None, None)


def test_calls_leave_the_window() -> None:
    """In whole buckets of half a minute; the cost stays."""
    tally = tally_of(row("ok", cost=0.25), row("failover"))

    assert counts(tally, now=NOON + timedelta(seconds=WINDOW - 1)) == (2, 1)
    assert tally.figures("a/x", NOON + timedelta(seconds=WINDOW)) == Figures(0, 0, None, 0.25)


def test_calls_of_all_the_window_count() -> None:
    """One a second for an hour: those of the last fifteen minutes, to half a minute."""
    rows = [row("ok", at=NOON + timedelta(seconds=second)) for second in range(3_600)]

    assert counts(tally_of(*rows), now=rows[-1].time) == (WINDOW, WINDOW)


def test_a_row_that_comes_late_counts() -> None:
    """Rows of several threads are not in the order of their times."""
    tally = tally_of(row("ok"), row("ok", at=NOON - timedelta(seconds=40)))

    assert counts(tally) == (2, 2)


def test_a_clock_that_was_set_back_begins_anew() -> None:
    """What it said before was never true."""
    before = NOON - timedelta(hours=5)

    assert counts(tally_of(row("ok"), row("ok", at=before)), now=before) == (1, 1)


# Cost


@pytest.mark.parametrize(
    ("rows", "cost"),
    [
        ([row("ok", cost=0.5), row("ok", cost=0.25)], 0.75),
        ([row("ok", cost=0.5), row("ok")], 0.5),
        ([row("failover", cost=0.5)], 0.5),
        ([row("ok", cost=float("inf"))], None),
        ([row("failover")], None),
        ([row("ok", model="sim/echo")], 0.0),
        ([row("failover", model="local/smollm2")], 0.0),
        ([row("ok", model="lab/x", input_tokens=10, output_tokens=10)], None),
        ([row("ok", model="openai/gpt-4o-mini", cost=0.5, input_tokens=10, output_tokens=10)], 0.5),
        ([row("ok", model="openai/gpt-4o-mini", input_tokens=10)], None),
    ],
)
def test_cost(rows: list[AttemptRecord], cost: float | None) -> None:
    """The provider's own figure where there is one, nothing where nothing is paid, else no guess."""
    assert tally_of(*rows).figures(rows[0].model, NOON).cost == cost


def test_cost_by_the_list() -> None:
    """Of answers, and of a refused answer, which was paid for."""
    rows = [
        row(outcome, model="openai/gpt-4o-mini", input_tokens=1000, output_tokens=200)
        for outcome in ("ok", "failover")
    ]

    assert tally_of(*rows).figures("openai/gpt-4o-mini", NOON).cost == pytest.approx(0.00054)


# Why


def test_why_a_model_was_left_and_benched() -> None:
    """The words, and what they are made of; never the error's own."""
    assert tally_of(*failed()).why("a/x") == {
        "text": "overloaded, HTTP 503",
        "kind": "transient",
        "reason": "overloaded",
        "status": 503,
        "at": AT,
    }


@pytest.mark.parametrize("outcome", ["failover", "exhausted", "interrupted"])
def test_why_after_each_way_to_leave(outcome: str) -> None:
    """Also when no model was left, and amid an answer."""
    assert text_of(tally_of(*failed(outcome=outcome)).why("a/x")) == "overloaded, HTTP 503"


def test_no_reason_without_a_bench() -> None:
    """A failure below the threshold benches nothing."""
    assert tally_of(row("failover", reason="overloaded")).why("a/x") is None


def test_a_bench_by_hand() -> None:
    """The operator is the reason."""
    tally = tally_of(row("bench", reason="operator", call=0))

    assert tally.why("a/x") == {
        "text": "benched by hand",
        "kind": "",
        "reason": "operator",
        "status": None,
        "at": AT,
    }


def test_a_failure_leaves_a_bench_by_hand() -> None:
    """The model was asked since nothing else was left; its bench is the operator's still."""
    tally = tally_of(row("bench", reason="operator", call=0), row("failover", benched=True))

    assert text_of(tally.why("a/x")) == "benched by hand"


def test_a_failure_after_a_bench_by_hand_has_run_out() -> None:
    """It lays a bench of its own, and is the reason."""
    assert text_of(tally_of(row("bench", reason="operator", call=0), *failed()).why("a/x")) == (
        "overloaded, HTTP 503"
    )


def test_a_request_at_fault_is_no_reason() -> None:
    """A model that is benched already was asked, and could not take the request."""
    refused = row("failover", kind="request_specific", reason="bad_request", status=400, benched=True)

    assert text_of(tally_of(*failed(), refused).why("a/x")) == "overloaded, HTTP 503"


def test_a_model_benched_beside_another() -> None:
    """They share the key that was refused: the reason names the other."""
    dead = {"kind": "auth_dead", "reason": "credentials", "status": 401}
    own, left = failed(**dead)
    tally = tally_of(own, row("bench", model="a/y", reason="failure", benched=True), left)

    assert tally.why("a/y") == {
        "text": "the key was refused for a/x",
        "kind": "auth_dead",
        "reason": "credentials",
        "status": 401,
        "at": AT,
    }
    assert text_of(tally.why("a/x")) == "the key was refused, HTTP 401"


@pytest.mark.parametrize("manual", [None, True, False])
def test_a_bench_of_another_kernel(manual: bool | None) -> None:
    """A store that both share tells of it, and not why; it takes the place of what was known here."""
    by_hand, theirs = row("bench", reason="operator", call=0), row("bench", reason="store", call=0)
    tally = tally_of(*failed(), by_hand, theirs)

    assert text_of(tally.why("a/x", manual=manual)) == "benched by another kernel"


def test_a_lift_by_another_kernel() -> None:
    """The reason goes with the bench."""
    assert tally_of(*failed(), row("unbench", reason="store", call=0)).why("a/x") is None


@pytest.mark.parametrize("ends", [row("unbench", reason="operator", call=0), row("ok", call=9)])
def test_the_reason_goes_with_the_bench(ends: AttemptRecord) -> None:
    """By an operator's lift, or by an answer."""
    assert tally_of(*failed(), ends).why("a/x") is None


def test_an_answer_to_an_earlier_question_leaves_the_bench() -> None:
    """It was asked before the failure, and lifts nothing."""
    late = row("ok", call=9, at=NOON + timedelta(seconds=1), latency=5.0)

    assert text_of(tally_of(*failed(), late).why("a/x")) == "overloaded, HTTP 503"


def test_an_answer_leaves_a_bench_by_hand() -> None:
    """So does the registry."""
    assert text_of(tally_of(row("bench", reason="operator", call=0), row("ok")).why("a/x")) == (
        "benched by hand"
    )


def test_a_lift_that_was_taken_back() -> None:
    """The bench is automatic again, as the registry says; the rows know an operator's alone."""
    lifted, laid = row("unbench", reason="operator", call=0), row("bench", reason="operator", call=0)
    tally = tally_of(*failed(), lifted, laid)

    assert text_of(tally.why("a/x", manual=False)) == "overloaded, HTTP 503"
    assert text_of(tally.why("a/x", manual=True)) == "benched by hand"


@pytest.mark.parametrize("text", ["a\nb\u202e", "d\x1b[31m", "my prompt was bad", "e" * 61, "<b>", ""])
def test_what_is_no_word_is_no_kind_and_no_reason(text: str) -> None:
    """Somebody's own classifier may have put an error's text there, and the prompt in it."""
    why = tally_of(*failed(kind=text, reason=text)).why("a/x")

    assert why is not None
    assert (why["text"], why["kind"], why["reason"]) == ("failed, HTTP 503", "", "")


def test_reason_of_somebodys_own_classifier_is_kept() -> None:
    """As far as it is a word."""
    why = tally_of(*failed(reason="budget_spent")).why("a/x")

    assert why is not None
    assert (why["text"], why["reason"]) == ("failed, HTTP 503", "budget_spent")


def test_no_error_text_is_a_reason() -> None:
    """A provider may quote the prompt in it."""
    assert "secret prompt" not in str(
        tally_of(*failed(error="secret prompt", note="secret prompt")).why("a/x")
    )


def test_a_real_outage() -> None:
    """A chain, its benches and its log, as the engine writes them."""
    clock, log = FakeClock(), EventLog()
    world = {"benches": fo.BenchRegistry(clock=clock, log=log), "log": log, "clock": clock}
    chain = fo.parse_chain("sim/auth,sim/gone,sim/echo", **world)  # type: ignore[arg-type]  # options by name
    chain.complete("hi")
    tally = tally_of(*log)

    assert [text_of(tally.why(spec)) for spec in chain.specs] == [
        "the key was refused, HTTP 401",
        "no such model, HTTP 404",
        "",
    ]
    assert [counts(tally, spec, clock.now()) for spec in chain.specs] == [(1, 0), (1, 0), (1, 1)]


def test_a_real_key_that_two_models_share() -> None:
    """The engine benches both; each has its reason."""
    clock, log, registry = FakeClock(), EventLog(), fo.Registry()
    refused = fo.ProviderError("no", status=401, body='{"error": {"code": "invalid_api_key"}}')
    provider = ScriptedProvider(refused, name="lab")
    provider.key = lambda: "one"  # type: ignore[attr-defined]  # what tells its key from others
    registry.register("lab", provider)
    benches = fo.BenchRegistry(clock=clock, log=log)
    chain = fo.parse_chain("lab/a,lab/b,sim/echo", registry=registry, benches=benches, log=log, clock=clock)
    chain.complete("hi")

    assert text_of(tally_of(*log).why("lab/b")) == "the key was refused for lab/a"


# Bounds


def test_the_models_that_rows_have_named() -> None:
    """The one named last stands at the end."""
    tally = tally_of(row("ok", model="a/x"), row("ok", model="b/y"), row("ok", model="a/x"))

    assert tally.models() == ("b/y", "a/x")


def test_models_that_nobody_names_are_forgotten() -> None:
    """Of too many the one that was named longest ago goes first."""
    rows = [row("ok", model=f"lab/{n}") for n in range(MODELS)]
    tally = tally_of(*rows, rows[0], row("ok", model="lab/new"))

    assert len(tally.models()) == MODELS
    assert (counts(tally, "lab/0"), counts(tally, "lab/1")) == ((2, 2), (0, 0))


def test_memory_does_not_grow_with_calls() -> None:
    """Ten times as many rows are held in as much."""
    tally, times = Tally(), count()

    def add(rows: int) -> int:
        for n in range(rows):
            at = NOON + timedelta(seconds=next(times))
            tally.add(row("bench", call=n, at=at, reason="failure"))
            tally.add(row("ok", call=n, at=at, latency=n / 7))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = add(2_000)
        assert add(20_000) - first < 20_000
    finally:
        tracemalloc.stop()


def test_a_window_holds_no_more_than_its_buckets() -> None:
    """Those that have left it are let go with the next call."""
    tally = tally_of(*[row("ok", at=NOON + timedelta(seconds=10 * n)) for n in range(1_000)])

    assert len(tally._stats["a/x"].buckets) == 30


@given(any_rows)
def test_any_rows(rows: list[AttemptRecord]) -> None:
    """Whatever a log says, there are figures, which hang together."""
    tally = tally_of(*rows)
    for spec in tally.models():
        figures, why = tally.figures(spec, NOON), tally.why(spec)
        assert 0 <= figures.answered <= figures.calls
        assert why is None or "\n" not in why["text"] + why["kind"] + why["reason"]
