"""The rules of the bench registry, one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy
import pytest

import llm_failover_nb as fo
from llm_failover_nb.engine.bench import FOREVER
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.testing import FakeClock

M = "a/m"


class Desk:
    """A registry, its clock and its log, asked by a call with a number of its own."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = fo.EventLog()
        self.benches = fo.BenchRegistry(clock=self.clock, log=self.log)

    def begin(self, call: int = 1, *, force: bool = False) -> int:
        return self.benches.admit(M, call, lapse=60, force=force)

    def fail(
        self, call: int = 1, *, began: int | None = None, threshold: int = 1, for_: float = 300
    ) -> object:
        began = self.begin(call, force=True) if began is None else began
        return self.benches.failed(M, call, began, threshold=threshold, for_=for_)

    def left(self) -> float | None:
        (bench,) = self.benches.list()
        return None if bench.until is None else (bench.until - self.clock.now()).total_seconds()

    def fails(self) -> int:
        (bench,) = self.benches.list()
        return bench.consecutive_fails


@pytest.fixture
def desk() -> Desk:
    """A registry of its own."""
    return Desk()


# The operator


def test_bench_for_seconds(desk: Desk) -> None:
    """A bench of so many seconds holds until its last instant, and not a moment longer."""
    desk.benches.bench(M, for_=60)
    desk.clock.advance(60)
    assert desk.benches.is_benched(M)
    desk.clock.advance(0.001)
    assert (desk.benches.is_benched(M), desk.benches.list()) == (False, [])


def test_bench_for_timedelta_and_until(desk: Desk) -> None:
    """for_ may be a timedelta, until an aware datetime in any zone."""
    desk.benches.bench(M, for_=timedelta(minutes=5))
    assert desk.left() == 300
    until = (desk.clock.now() + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5)))
    desk.benches.bench(M, until=until)
    (bench,) = desk.benches.list()
    assert (bench, bench.until.tzinfo) == (fo.BenchedModel(M, until, 0, True), UTC)


def test_bench_until_lifted(desk: Desk) -> None:
    """Without either, the bench holds until lifted."""
    desk.benches.bench(M)
    desk.clock.advance(10**9)
    assert (desk.left(), desk.benches.unbench(M), desk.benches.list()) == (None, True, [])


@pytest.mark.parametrize("far", [10**12, float("inf")])
def test_bench_beyond_the_calendar_is_until_lifted(desk: Desk, far: float) -> None:
    """More seconds than a datetime can count are no error."""
    desk.benches.bench(M, for_=far)
    assert desk.left() is None


def test_until_beyond_the_calendar_in_another_zone(desk: Desk) -> None:
    """The last datetime of a western zone has no UTC; it is until lifted."""
    desk.benches.bench(M, until=datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))))
    assert desk.left() is None


def test_benches_are_listed_by_name(desk: Desk) -> None:
    """Not in the order in which they were laid."""
    for spec in ("b/m", "a/m", "c/m"):
        desk.benches.bench(spec)
    assert [bench.model for bench in desk.benches.list()] == ["a/m", "b/m", "c/m"]


def test_bench_in_the_past_is_none(desk: Desk) -> None:
    """It replaces what stood, with nothing."""
    desk.benches.bench(M, for_=60)
    desk.benches.bench(M, until=desk.clock.now() - timedelta(seconds=1))
    assert desk.benches.list() == []


@pytest.mark.parametrize("past", [-1.0, -(10**12), float("-inf")])
def test_negative_duration_is_in_the_past(desk: Desk, past: float) -> None:
    """However far in the past."""
    desk.benches.bench(M, for_=past)
    assert not desk.benches.is_benched(M)


def test_bad_ends_are_named(desk: Desk) -> None:
    """Both ends, a naive datetime and NaN are refused with the value and the remedy."""
    with pytest.raises(ValueError, match="both say when"):
        desk.benches.bench(M, until=FOREVER, for_=1)
    with pytest.raises(ValueError, match=r"2026.* is naive.*datetime.now\(UTC\)"):
        desk.benches.bench(M, until=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="for_=nan is no number"):
        desk.benches.bench(M, for_=float("nan"))
    assert desk.benches.list() == []


def test_what_is_no_spec_and_no_end_is_refused(desk: Desk) -> None:
    """Before anything is benched, with the value and what it should be."""
    for spec in (None, "", 7):
        with pytest.raises(TypeError, match="names no model"):
            desk.benches.bench(spec)
    with pytest.raises(TypeError, match="for_='10m' is no duration"):
        desk.benches.bench(M, for_="10m")
    with pytest.raises(TypeError, match="until='tomorrow' is no moment"):
        desk.benches.bench(M, until="tomorrow")
    assert desk.benches.list() == []


def test_manual_bench_replaces_what_stood(desk: Desk) -> None:
    """Longer or shorter, manual or not; the count stays."""
    desk.fail(for_=300)
    desk.benches.bench(M, for_=10)
    assert (desk.left(), desk.fails()) == (10, 1)
    desk.benches.bench(M, for_=900)
    desk.benches.bench(M, for_=20)
    assert desk.left() == 20


def test_failure_leaves_a_manual_bench_as_it_is(desk: Desk) -> None:
    """It counts, but neither shortens nor extends, nor clears the flag."""
    desk.benches.bench(M, for_=60)
    desk.fail(for_=10)
    desk.fail(for_=900)
    assert desk.benches.list() == [fo.BenchedModel(M, desk.clock.now() + timedelta(seconds=60), 2, True)]


def test_success_leaves_a_manual_bench(desk: Desk) -> None:
    """The count is cleared, the bench is the operator's."""
    desk.fail()
    desk.benches.bench(M, for_=60)
    desk.benches.succeeded(M, 1, desk.begin(force=True))
    assert (desk.left(), desk.fails()) == (60, 0)


def test_expired_manual_bench_needs_no_probe(desk: Desk) -> None:
    """Any number of calls go on at once."""
    desk.benches.bench(M, for_=60)
    desk.clock.advance(61)
    assert (bool(desk.begin(1)), bool(desk.begin(2)), desk.benches.blocked(M, 3)) == (True, True, False)


def test_unbench_says_whether_there_was_a_live_bench(desk: Desk) -> None:
    """An unknown model and an expired bench are none."""
    assert not desk.benches.unbench(M)
    desk.benches.bench(M, for_=60)
    assert desk.benches.unbench(M)
    desk.benches.bench(M, for_=60)
    desk.clock.advance(61)
    assert not desk.benches.unbench(M)


def test_unbench_ends_the_probing(desk: Desk) -> None:
    """The operator vouches for the model: all go on."""
    desk.fail()
    desk.clock.advance(301)
    desk.begin(1)
    desk.benches.unbench(M)
    assert (bool(desk.begin(2)), bool(desk.begin(3))) == (True, True)


def test_failure_from_before_an_unbench_counts_but_does_not_bench(desk: Desk) -> None:
    """The next failure, begun after it, benches at a threshold of two."""
    began = desk.begin()
    desk.benches.unbench(M)
    assert desk.fail(began=began) is None
    desk.fail(threshold=2)
    assert (desk.left(), desk.fails()) == (300, 2)


# Failures and successes


def test_failure_benches(desk: Desk) -> None:
    """What is listed says that no operator did it."""
    until = desk.fail(for_=300)
    assert desk.benches.list() == [fo.BenchedModel(M, until, 1, False)]
    assert until == desk.clock.now() + timedelta(seconds=300)


def test_counts_below_the_threshold_stay(desk: Desk) -> None:
    """However long ago, until a success."""
    desk.fail(threshold=3)
    desk.clock.advance(10**6)
    desk.fail(threshold=3)
    assert desk.benches.list() == []
    desk.fail(threshold=3)
    assert (desk.left(), desk.fails()) == (300, 3)


def test_success_clears_the_count(desk: Desk) -> None:
    """Failures must follow each other."""
    desk.fail(threshold=2)
    desk.benches.succeeded(M, 1, desk.begin())
    desk.fail(threshold=2)
    assert desk.benches.list() == []


def test_expired_bench_starts_its_count_anew(desk: Desk) -> None:
    """The failures before it are history."""
    desk.fail(threshold=2)
    desk.fail(threshold=2)
    desk.clock.advance(301)
    desk.fail(threshold=2)
    assert desk.benches.list() == []


def test_manual_bench_over_an_expired_one_starts_anew(desk: Desk) -> None:
    """The count that is kept is the one that still counts."""
    desk.fail()
    desk.clock.advance(301)
    desk.benches.bench(M, for_=60)
    assert desk.fails() == 0


def test_automatic_benches_only_extend(desk: Desk) -> None:
    """A shorter cooldown of another chain does not end a longer bench early."""
    desk.fail(for_=300)
    desk.fail(for_=10)
    assert desk.left() == 300
    desk.fail(for_=900)
    assert desk.left() == 900


def test_cooldown_of_zero_benches_nobody(desk: Desk) -> None:
    """Nor does it make a probe of the next call."""
    assert desk.fail(for_=0) is None
    assert (bool(desk.begin(1)), bool(desk.begin(2))) == (True, True)


def test_success_lifts_only_what_was_laid_before_it_began(desk: Desk) -> None:
    """A bench laid since is newer evidence."""
    began = desk.begin(2)
    desk.fail(1)
    desk.benches.succeeded(M, 2, began)
    assert (desk.left(), desk.fails()) == (300, 0)
    desk.benches.succeeded(M, 2, desk.begin(2, force=True))
    assert desk.benches.list() == []


def test_success_of_an_unknown_model_is_nothing(desk: Desk) -> None:
    """The usual case costs one look."""
    desk.benches.succeeded(M, 1, desk.begin())
    assert (desk.benches.list(), len(desk.log)) == ([], 0)


def test_reading_changes_nothing(desk: Desk) -> None:
    """Asked a hundred times or never, an expired bench lets one probe through."""
    desk.fail()
    desk.clock.advance(301)
    for _ in range(100):
        desk.benches.is_benched(M), desk.benches.list(), desk.benches.blocked(M, 2)
    assert (bool(desk.begin(1)), bool(desk.begin(2))) == (True, False)


# The probe


def test_benched_model_admits_nobody_but_by_force(desk: Desk) -> None:
    """Force is for a call that has nobody else to ask."""
    desk.fail()
    assert (desk.begin(1), desk.benches.blocked(M, 1), bool(desk.begin(1, force=True))) == (0, True, True)


def test_no_probe_at_a_benchs_last_instant(desk: Desk) -> None:
    """It still holds then, and a failure counts on."""
    desk.fail(for_=300)
    desk.clock.advance(300)
    assert desk.begin(1) == 0
    desk.fail(threshold=2)
    assert (desk.left(), desk.fails()) == (300, 2)


def test_one_probe(desk: Desk) -> None:
    """One call gets through, keeps its place over retries, and the others are blocked."""
    desk.fail()
    desk.clock.advance(301)
    assert (bool(desk.begin(1)), desk.begin(2), bool(desk.begin(1))) == (True, 0, True)
    assert (desk.benches.blocked(M, 1), desk.benches.blocked(M, 2)) == (False, True)
    assert desk.begin(2, force=True) > 0


def test_probe_lapses(desk: Desk) -> None:
    """A probe that does not come back makes way, also if it begins another attempt."""
    desk.fail()
    desk.clock.advance(301)
    desk.begin(1)
    desk.clock.advance(59)
    desk.begin(1)
    assert desk.begin(2) == 0
    desk.clock.advance(1)
    assert (bool(desk.begin(2)), desk.begin(1)) == (True, 0)


def test_lapsed_probe_takes_its_place_again(desk: Desk) -> None:
    """If nobody else has taken it."""
    desk.fail()
    desk.clock.advance(301)
    desk.begin(1)
    desk.clock.advance(60)
    assert (bool(desk.begin(1)), desk.begin(2)) == (True, 0)


def test_probe_that_answers_opens_the_door(desk: Desk) -> None:
    """Success, first content and a refusal of the request alike."""
    for heals in (
        lambda began: desk.benches.succeeded(M, 1, began),
        lambda began: desk.benches.healthy(M, 1),
    ):
        desk.fail()
        desk.clock.advance(301)
        heals(desk.begin(1))
        assert (bool(desk.begin(2)), bool(desk.begin(3))) == (True, True)


def test_probe_that_fails_benches_again(desk: Desk) -> None:
    """At a threshold of one; at a higher one the count starts anew and the door is open."""
    desk.fail()
    desk.clock.advance(301)
    desk.fail(1, began=desk.begin(1))
    assert desk.left() == 300
    desk.clock.advance(301)
    desk.fail(1, began=desk.begin(1), threshold=2)
    assert (bool(desk.begin(2)), bool(desk.begin(3))) == (True, True)


def test_place_of_a_failed_probe_is_free_after_a_short_bench(desk: Desk) -> None:
    """It failed, and is no probe any more, though its place would not have lapsed yet."""
    desk.fail(for_=10)
    desk.clock.advance(11)
    desk.fail(1, began=desk.begin(1), for_=10)
    desk.clock.advance(11)
    assert (bool(desk.begin(2)), desk.begin(1)) == (True, 0)


def test_place_of_a_probe_that_was_unbenched_is_free(desk: Desk) -> None:
    """The next bench has a probe of its own."""
    desk.fail(for_=10)
    desk.clock.advance(11)
    desk.begin(1)
    desk.benches.unbench(M)
    desk.fail(2, for_=10)
    desk.clock.advance(11)
    assert (bool(desk.begin(3)), desk.begin(1)) == (True, 0)


def test_cancelled_probe_frees_its_place(desk: Desk) -> None:
    """And leaves the model unproven: the next one is the probe."""
    desk.fail()
    desk.clock.advance(301)
    desk.begin(1)
    desk.benches.released(M, 1)
    assert (bool(desk.begin(2)), desk.begin(3)) == (True, 0)


def test_others_do_not_end_a_probe(desk: Desk) -> None:
    """Health and release are the prober's to report."""
    desk.fail()
    desk.clock.advance(301)
    desk.begin(1)
    desk.benches.healthy(M, 2)
    desk.benches.released(M, 2)
    assert desk.begin(3) == 0


def test_late_success_does_not_end_a_probe(desk: Desk) -> None:
    """An answer to an attempt from before the bench says nothing about now."""
    began = desk.begin(9)
    desk.fail()
    desk.clock.advance(301)
    desk.begin(1)
    desk.benches.succeeded(M, 9, began)
    assert desk.begin(2) == 0


def test_late_success_of_a_prober_gives_up_its_place(desk: Desk) -> None:
    """A bench laid while it probed stays; its place is free."""
    desk.fail()
    desk.clock.advance(301)
    began = desk.begin(1)
    desk.fail(2)
    desk.benches.succeeded(M, 1, began)
    assert desk.left() == 300


# The log and the process's own


def test_changes_are_rows(desk: Desk) -> None:
    """Who benched and who lifted, for how long."""
    desk.benches.bench(M, for_=60)
    desk.benches.unbench(M)
    desk.fail(7)
    desk.benches.succeeded(M, 8, desk.begin(8, force=True))
    rows = [(r.outcome, r.model, r.reason, r.call_id, r.benched, r.benched_for) for r in desk.log]
    assert rows == [
        ("bench", M, "operator", 0, True, 60.0),
        ("unbench", M, "operator", 0, False, 0.0),
        ("bench", M, "failure", 7, True, 300.0),
        ("unbench", M, "answered", 8, False, 0.0),
    ]


def test_rows_of_what_was_no_change(desk: Desk) -> None:
    """No row where nothing changed: a lift of nothing, a bench in the past, an end on time."""
    desk.benches.unbench(M)
    desk.benches.bench(M, for_=-1)
    desk.fail()
    desk.clock.advance(301)
    desk.benches.succeeded(M, 1, desk.begin(1))
    assert [r.outcome for r in desk.log] == ["bench"]


@pytest.mark.usefixtures("package_state")
def test_package_functions_are_the_process_registry() -> None:
    """bench_model, is_benched, list_benched and unbench_model share one registry with every chain."""
    fo.bench_model("sim/echo", for_=60)
    assert fo.is_benched("sim/echo")
    assert [(b.model, b.manual) for b in fo.list_benched()] == [("sim/echo", True)]
    assert fo.parse_chain("sim/echo,sim/say:hi").complete("hi").model != "sim/echo"
    assert (fo.unbench_model("sim/echo"), fo.is_benched("sim/echo")) == (True, False)


@pytest.mark.usefixtures("package_state")
def test_package_functions_resolve_aliases() -> None:
    """A bench is keyed by the spec, whatever the operator calls it."""
    process_registry.alias("fast", "sim/echo, sim/say:hi")
    try:
        fo.bench_model("fast", for_=60)
        assert [b.model for b in fo.list_benched()] == ["sim/echo", "sim/say:hi"]
        assert fo.is_benched("fast")
        assert fo.unbench_model("sim/echo")
        assert not fo.is_benched("fast")
        assert fo.unbench_model("fast")
        assert not fo.unbench_model("fast")
    finally:
        process_registry.unalias("fast")


def test_package_functions_refuse_what_is_no_model() -> None:
    """A word, nothing, or no text at all."""
    with pytest.raises(fo.ChainSpecError, match="'gpt' is no spec"):
        fo.bench_model("gpt")
    with pytest.raises(fo.ChainSpecError, match="' , ' names no model"):
        fo.is_benched(" , ")
    with pytest.raises(TypeError, match="None names no model"):
        fo.bench_model(None)


def test_numpys_seconds_are_seconds(desk: Desk) -> None:
    """Of an operator's bench and of a cooldown alike."""
    desk.benches.bench(M, for_=numpy.int64(60))
    assert desk.left() == 60
    desk.benches.unbench(M)
    desk.fail(for_=numpy.float32(30))
    assert desk.left() == 30
