"""Benches that registries share through a store: one rule for all, and a lost store loses nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import llm_failover_nb as fo
from llm_failover_nb.engine.bench import FOREVER
from llm_failover_nb.engine.sharing import BenchRow, merged, microseconds
from llm_failover_nb.testing import FakeClock
from tests.engine.shared import MemoryStore, Pair, Rows
from tests.engine.test_bench_machine import BenchMachine

M = "a/m"


class Office:
    """Two registries, here and there, that share one store and a clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.rows = Rows()
        self.stores = [MemoryStore(self.rows, owner) for owner in ("one", "two")]
        self.log = fo.EventLog()
        self.here = fo.BenchRegistry(clock=self.clock, log=self.log)
        self.there = fo.BenchRegistry(clock=self.clock)
        self.here.share(self.stores[0])
        self.there.share(self.stores[1])

    def pull(self) -> None:
        """Both learn what the other did; twice, for what is handed over by the first look."""
        for _ in range(2):
            self.here.pull()
            self.there.pull()

    def fail(
        self, registry: fo.BenchRegistry, call: int = 1, *, for_: float = 300, threshold: int = 1
    ) -> None:
        """A failure of a call that asked by force."""
        began = registry.admit(M, call, lapse=60, force=True)
        registry.failed(M, call, began, threshold=threshold, for_=for_)

    def half_open(self) -> None:
        """Both know a bench by a failure that has run out."""
        self.fail(self.here, -9, for_=60)
        self.pull()
        self.clock.advance(61)

    def cut(self, away: bool = True) -> None:
        """Take the store away from the registry here, or give it back."""
        self.stores[0].away = away

    def back(self) -> None:
        """The store is back, and both have looked."""
        self.cut(away=False)
        self.pull()

    def left(self) -> list[tuple[float | None, int, bool]]:
        """Seconds left, failures and flag of the one bench, as both see it."""
        seen = [registry.list() for registry in (self.here, self.there)]
        assert seen[0] == seen[1]
        return [
            (
                None if b.until is None else (b.until - self.clock.now()).total_seconds(),
                b.consecutive_fails,
                b.manual,
            )
            for b in seen[0]
        ]


@pytest.fixture
def office() -> Office:
    """Two registries on a store."""
    return Office()


# One rule over all processes


class PairMachine(BenchMachine):
    """Two registries on one store keep to the rules of a single one, once both have pulled."""

    def registry(self) -> Pair:
        rows = Rows()
        return Pair((MemoryStore(rows, "one"), MemoryStore(rows, "two")), self.clock)


PairMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPairMachine = PairMachine.TestCase


def test_benches_are_seen_after_a_pull(office: Office) -> None:
    """Not before: reading asks nobody."""
    office.here.bench(M, for_=60)
    assert not office.there.is_benched(M)
    office.pull()
    assert office.left() == [(60, 0, True)]


def test_until_lifted_is_shared_as_such(office: Office) -> None:
    """The end of the calendar survives the way there and back."""
    office.here.bench(M)
    office.pull()
    assert office.left() == [(None, 0, True)]


def test_failures_of_both_are_counted_without_a_look(office: Office) -> None:
    """Each change reads what the other has written."""
    office.fail(office.here, threshold=3)
    office.fail(office.there, threshold=3)
    assert office.there.list() == []
    office.fail(office.here, threshold=3)
    assert [b.consecutive_fails for b in office.here.list()] == [3]


def test_one_probe_among_all(office: Office) -> None:
    """Who asks second is told no by the store, though it has not heard of the first."""
    office.half_open()
    assert (bool(office.here.admit(M, 1, lapse=60)), office.there.admit(M, 1, lapse=60)) == (True, 0)
    assert office.there.blocked(M, 1)


def test_a_probes_place_lapses_everywhere(office: Office) -> None:
    """Also when its process is gone and cannot give it back."""
    office.half_open()
    office.here.admit(M, 1, lapse=60)
    office.pull()
    office.clock.advance(59)
    assert office.there.blocked(M, 1)
    office.clock.advance(1)
    assert (office.there.blocked(M, 1), bool(office.there.admit(M, 1, lapse=60))) == (False, True)


def test_a_lapsed_probe_that_takes_its_place_again_has_it_everywhere(office: Office) -> None:
    """It is the same call, for another while."""
    office.half_open()
    office.here.admit(M, 1, lapse=60)
    office.pull()
    office.clock.advance(60)
    office.here.admit(M, 1, lapse=60)
    office.pull()
    assert office.there.blocked(M, 1)


@pytest.mark.parametrize("late", ["healthy", "released"])
def test_a_probe_that_lost_its_place_reports_nothing(office: Office, late: str) -> None:
    """Another process has taken it, which the store knows."""
    office.half_open()
    office.here.admit(M, 1, lapse=60)
    office.clock.advance(60)
    office.there.admit(M, 2, lapse=60)
    getattr(office.here, late)(M, 1)
    assert (office.here.admit(M, 3, lapse=60), office.there.admit(M, 3, lapse=60)) == (0, 0)


def test_a_probe_that_answers_opens_the_door_everywhere(office: Office) -> None:
    """Even for who has not pulled: taking the place asks the store."""
    office.half_open()
    office.here.admit(M, 1, lapse=60)
    office.here.healthy(M, 1)
    assert (bool(office.there.admit(M, 1, lapse=60)), bool(office.there.admit(M, 2, lapse=60))) == (
        True,
        True,
    )


def test_a_success_lifts_no_bench_it_did_not_know_of(office: Office) -> None:
    """A bench laid elsewhere comes after every attempt that had begun here."""
    began = office.here.admit(M, 1, lapse=60)
    office.here.failed(M, 2, began, threshold=9, for_=60)  # so that there is something to clear
    office.fail(office.there, for_=300)
    office.here.succeeded(M, 1, began)
    office.pull()
    assert office.left() == [(300, 0, False)]


def test_a_lift_elsewhere_holds_against_attempts_from_before_it(office: Office) -> None:
    """They count, but do not bench."""
    office.here.bench(M)
    office.pull()
    began = office.here.admit(M, 1, lapse=60, force=True)
    office.there.unbench(M)
    assert office.here.failed(M, 1, began, threshold=1, for_=60) is None


def test_a_bench_by_hand_elsewhere_moves_waiting_calls_on(office: Office) -> None:
    """As one that is laid here; automatic ones and lifts move nobody."""
    moved: list[str] = []
    office.here.roster.leave = moved.append
    office.fail(office.there)
    office.here.pull()
    office.there.bench(M)
    office.here.pull()
    office.there.unbench(M)
    office.here.pull()
    assert moved == [M]


def test_an_edit_is_taken_back_everywhere(office: Office) -> None:
    """What stood before it stands again, for both."""
    office.fail(office.here, for_=300)
    before = office.here.remembered(M)
    office.here.bench(M, for_=60)
    assert office.here.put_back(before, edited=office.here.remembered(M).edited)
    office.pull()
    assert office.left() == [(300, 1, False)]


@pytest.mark.parametrize("edit", ["bench", "unbench"])
def test_an_edit_is_not_taken_back_over_one_elsewhere(office: Office, edit: str) -> None:
    """That is the operator's later word, though this process has not heard it."""
    before = office.here.remembered(M)
    office.here.bench(M, for_=60)
    after = office.here.remembered(M)
    getattr(office.there, edit)(M)
    assert not office.here.put_back(before, edited=after.edited)
    office.pull()
    assert office.here.is_benched(M) == (edit == "bench") == office.there.is_benched(M)


def test_failures_elsewhere_are_no_edit(office: Office) -> None:
    """They stand in the way of nothing that an operator takes back."""
    before = office.here.remembered(M)
    office.here.bench(M, for_=60)
    after = office.here.remembered(M)
    office.fail(office.there)
    assert office.here.put_back(before, edited=after.edited)


def test_calls_on_healthy_models_leave_the_store_alone(office: Office) -> None:
    """Admission, success and reading cost what they cost without one."""
    office.fail(office.here, threshold=2)
    office.here.succeeded(M, 1, office.here.admit(M, 1, lapse=60))
    changes = office.stores[0].changes
    for spec in (M, "never/seen"):
        office.here.succeeded(spec, 1, office.here.admit(spec, 1, lapse=60))
        office.here.healthy(spec, 1)
        office.here.released(spec, 1)
        office.here.blocked(spec, 1), office.here.is_benched(spec), office.here.until(spec)
    assert office.stores[0].changes == changes


def test_calls_on_a_benched_model_leave_the_store_alone(office: Office) -> None:
    """Whether they pass it by, ask by force, or find it probed; only taking the probe's place asks."""
    office.half_open()
    began = office.here.admit(M, 1, lapse=60)
    changes = office.stores[0].changes
    assert [bool(office.here.admit(M, call, lapse=60, force=call == 3)) for call in (1, 2, 3)] == [
        True,
        False,
        True,
    ]
    office.here.bench("a/other")
    assert office.stores[0].changes == changes + 1
    assert (office.here.admit("a/other", 1, lapse=60), bool(began)) == (0, True)
    assert office.stores[0].changes == changes + 1


def test_what_others_did_is_a_row_of_the_log(office: Office) -> None:
    """By the store; what is as it was is none, and neither is a count."""
    office.there.bench(M, for_=60)
    office.here.pull()
    office.fail(office.there, threshold=9)
    office.here.pull()
    office.there.unbench(M)
    office.here.pull()
    rows = [(r.outcome, r.model, r.reason, r.benched_for) for r in office.log]
    assert rows == [("bench", M, "store", 60.0), ("unbench", M, "store", 0.0)]


def test_what_others_did_is_told_when_a_change_meets_it(office: Office) -> None:
    """Before what the change itself did."""
    office.there.bench(M, for_=60)
    office.here.unbench(M)
    assert [(r.outcome, r.reason) for r in office.log] == [("bench", "store"), ("unbench", "operator")]


# Coming and going


def test_what_both_knew_before_becomes_one() -> None:
    """Benches laid before the store was in use are shared by it, and those in it are known."""
    rows, clock = Rows(), FakeClock()
    one, two = fo.BenchRegistry(clock=clock), fo.BenchRegistry(clock=clock)
    one.bench("a/one")
    two.bench("a/two")
    one.share(MemoryStore(rows, "one"))
    two.share(MemoryStore(rows, "two"))
    one.pull()
    assert [[b.model for b in each.list()] for each in (one, two)] == [["a/one", "a/two"]] * 2


def test_a_registry_without_its_store_keeps_what_it_knows(office: Office) -> None:
    """And shares nothing any more."""
    office.there.bench(M)
    office.pull()
    office.here.share(None)
    office.here.unbench(M)
    office.here.pull()
    assert (office.here.is_benched(M), office.there.is_benched(M)) == (False, True)


def test_coming_back_counts_nothing_twice(office: Office) -> None:
    """What it knew from the store is the store's; what happened meanwhile is added."""
    office.fail(office.here)
    office.here.share(None)
    office.fail(office.here)
    office.here.share(office.stores[0])
    office.pull()
    assert office.left() == [(300, 2, False)]


def test_a_new_store_at_the_old_address_is_told_everything(office: Office) -> None:
    """Somebody deleted the file: nobody forgets for it."""
    office.here.bench(M, for_=60)
    office.there.bench("a/two", for_=60)
    office.fail(office.here)
    office.pull()
    row = BenchRow("a/new", version=1, until=microseconds(FOREVER), manual=True, since=1, edited=1)
    office.rows.rows, office.rows.version, office.rows.identity = {"a/new": row}, 1, "second"
    office.pull()
    assert sorted(office.rows.rows) == [M, "a/new", "a/two"]
    benches = [(b.model, b.consecutive_fails) for b in office.here.list()]
    assert benches == [(M, 1), ("a/new", 0), ("a/two", 0)]
    assert office.here.list() == office.there.list()


def test_versions_of_a_new_store_begin_anew(office: Office) -> None:
    """One of them may be what an old one was, and one may be higher than all that were."""
    office.fail(office.here)
    office.pull()
    same = BenchRow(M, version=office.rows.rows[M].version, writer="three", fails=5)
    others = [BenchRow(f"a/{n}", version=n, writer="three", fails=n) for n in (1, 99)]
    office.rows.rows = {row.model: row for row in (same, *others)}
    office.rows.identity = "second"
    office.here.pull()
    assert {spec: s.fails for spec, s in office.here._states.items()} == {M: 5, "a/1": 1, "a/99": 99}


def test_an_unrelated_store_is_no_continuation(office: Office) -> None:
    """What it knows of a model and what this process knows add up."""
    office.fail(office.here)
    rows = Rows("second", {M: BenchRow(M, version=1, writer="three", fails=2)}, 1)
    office.here.share(MemoryStore(rows, "one"))
    assert [b.consecutive_fails for b in office.here.list()] == [3]


def test_only_what_is_new_is_asked_for(office: Office) -> None:
    """And what was handed over is not handed over again."""
    office.there.bench(M)
    office.here.bench("a/two")
    office.here.pull()
    changes, looks = office.stores[0].changes, office.stores[0].looks
    looks.clear()
    office.here.pull()
    assert (looks, office.stores[0].changes) == ([2], changes)


def test_a_row_that_is_gone_says_nothing(office: Office) -> None:
    """What is known here is written anew with the next change."""
    office.here.bench(M, for_=60)
    office.rows.rows.clear()
    office.fail(office.here)
    office.pull()
    assert office.left() == [(60, 1, True)]


# A store that cannot be had


def test_without_the_store_the_rules_hold_here(office: Office) -> None:
    """The process goes on with what it knows: benches, lifts and its own probe."""
    office.cut()
    office.fail(office.here)
    assert office.here.is_benched(M)
    office.clock.advance(301)
    assert (bool(office.here.admit(M, 1, lapse=60)), office.here.admit(M, 2, lapse=60)) == (True, 0)
    office.here.healthy(M, 1)
    office.here.bench(M)
    assert (office.here.unbench(M), office.here.list()) == (True, [])


def test_what_was_done_without_it_is_handed_over(office: Office) -> None:
    """With the first look that finds the store again."""
    office.cut()
    office.here.bench(M, for_=60)
    office.pull()
    assert not office.there.is_benched(M)
    office.back()
    assert office.left() == [(60, 0, True)]


def test_failures_on_both_sides_add_up(office: Office) -> None:
    """Three here and two there are five, and the later end holds."""
    office.cut()
    for _ in range(3):
        office.fail(office.here, for_=60)
    for _ in range(2):
        office.fail(office.there, for_=300)
    office.back()
    assert office.left() == [(300, 5, False)]


def test_a_change_that_may_have_been_kept_counts_once(office: Office) -> None:
    """The answer was lost, the row was not: it says who wrote it."""
    office.stores[0].after_commit = office.cut
    office.fail(office.here)
    office.stores[0].after_commit = lambda: None
    office.fail(office.here)
    office.back()
    assert office.left() == [(300, 2, False)]


def test_a_change_that_was_not_kept_is_not_lost(office: Office) -> None:
    """The rule had run when the store went: it is in memory, and comes to the store later."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    office.stores[0].before_commit = interrupt
    with pytest.raises(KeyboardInterrupt):
        office.fail(office.here)
    office.stores[0].before_commit = lambda: None
    assert office.rows.rows == {}
    office.pull()
    assert office.left() == [(300, 1, False)]


class OutageMachine(RuleBasedStateMachine):
    """Whatever two registries did apart, they agree once both have the store again."""

    @initialize()
    def start(self) -> None:
        self.office = Office()
        self.registries = (self.office.here, self.office.there)

    @rule(which=st.integers(0, 1), away=st.booleans())
    def store_goes_or_comes(self, which: int, away: bool) -> None:
        self.office.stores[which].away = away

    @rule(seconds=st.sampled_from([0.5, 30.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.office.clock.advance(seconds)

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([None, 10.0, 60.0]))
    def operator_benches(self, which: int, seconds: float | None) -> None:
        self.registries[which].bench(M, for_=seconds)

    @rule(which=st.integers(0, 1))
    def operator_lifts(self, which: int) -> None:
        self.registries[which].unbench(M)

    @rule(which=st.integers(0, 1), call=st.integers(1, 3), threshold=st.integers(1, 3))
    def fails(self, which: int, call: int, threshold: int) -> None:
        self.office.fail(self.registries[which], call, threshold=threshold, for_=60)

    @rule(which=st.integers(0, 1), call=st.integers(1, 3), force=st.booleans())
    def answers(self, which: int, call: int, force: bool) -> None:
        if began := self.registries[which].admit(M, call, lapse=60, force=force):
            self.registries[which].succeeded(M, call, began)

    @rule(which=st.integers(0, 1), call=st.integers(1, 3))
    def begins(self, which: int, call: int) -> None:
        self.registries[which].admit(M, call, lapse=60)

    @rule(which=st.integers(0, 1))
    def looks(self, which: int) -> None:
        self.registries[which].pull()

    @invariant()
    def agree_when_both_are_back(self) -> None:
        if not hasattr(self, "office") or any(store.away for store in self.office.stores):
            return
        self.office.pull()
        assert len(self.office.left()) == self.office.here.is_benched(M)
        states = [registry._states.get(M) for registry in self.registries]
        if None not in states:
            here, there = (
                (s.fails, s.until, s.manual, s.laid_at, s.lifted_at, s.edited_at, s.kept) for s in states
            )
            assert here == there
            blocked = {registry.blocked(M, 9) for registry in self.registries}
            assert len(blocked) == 1
        assert not any(registry._unsaved for registry in self.registries)


OutageMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestOutageMachine = OutageMachine.TestCase


# Two rows become one

NOW = 1_000


def row(**fields: object) -> BenchRow:
    """A row of the model."""
    return BenchRow(M, **fields)


BASE = row(version=1, fails=1, until=2_000, since=100)


def bench_of(one: BenchRow) -> tuple[object, ...]:
    """What matters of it."""
    return one.until, one.manual, one.since, one.edited


def by_hand(until: int | None, since: int) -> BenchRow:
    """A row whose bench the operator laid."""
    return row(until=until, since=since, edited=since, manual=True)


@pytest.mark.parametrize(
    ("mine", "theirs", "fails"),
    [
        (3, 2, 4),  # both counted on from one
        (0, 3, 2),  # a success here, then two more there
        (2, 0, 1),
        (0, 0, 0),
        (1, 5, 5),
    ],
)
def test_failures_since_they_parted_are_added(mine: int, theirs: int, fails: int) -> None:
    """A side that had a success has begun anew."""
    assert merged(BASE, row(fails=mine), row(fails=theirs), NOW).fails == fails


def test_what_one_side_changed_is_taken_from_it() -> None:
    """A bench that a success here has ended, and that nobody touched there, is ended."""
    ended, same = row(since=100), row(version=2, until=2_000, since=100)
    longer = row(until=5_000, since=300)
    assert bench_of(merged(BASE, ended, same, NOW))[0] is None
    assert bench_of(merged(BASE, same, longer, NOW)) == bench_of(longer)
    assert bench_of(merged(BASE, longer, same, NOW)) == bench_of(longer)


def test_of_two_automatic_benches_the_later_end_holds() -> None:
    """Whoever laid it."""
    one, other = row(until=5_000, since=300), row(until=4_000, since=400)
    assert {merged(BASE, *pair, NOW).until for pair in ((one, other), (other, one))} == {5_000}


def test_a_bench_by_hand_stands_before_an_automatic_one() -> None:
    """Though that is longer and later."""
    hand, other = by_hand(3_000, 300), row(until=9_000, since=400)
    for pair in ((hand, other), (other, hand)):
        both = merged(BASE, *pair, NOW)
        assert (both.until, both.manual) == (3_000, True)


def test_of_two_benches_by_hand_the_later_word_holds() -> None:
    """Though it is shorter."""
    one, other = by_hand(9_000, 300), by_hand(3_000, 400)
    assert {merged(BASE, *pair, NOW).until for pair in ((one, other), (other, one))} == {3_000}


def test_a_bench_by_hand_that_has_run_out_stands_for_nothing() -> None:
    """Against a live one by a failure."""
    hand, other = by_hand(900, 300), row(until=9_000, since=400)
    for pair in ((hand, other), (other, hand)):
        both = merged(BASE, *pair, NOW)
        assert (both.until, both.manual) == (9_000, False)


@pytest.mark.parametrize("manual", [False, True])
def test_a_lift_ends_what_was_laid_before_it(manual: bool) -> None:
    """Also where both sides changed the bench, and where only one knew of one."""
    lifted = row(lifted=500, edited=500, since=100)
    laid = by_hand(9_000, 400) if manual else row(until=9_000, since=400)
    for base in (BASE, row()):
        for pair in ((lifted, laid), (laid, lifted)):
            both = merged(base, *pair, NOW)
            assert (both.until, both.manual, both.lifted, both.edited) == (None, False, 500, 500)


def test_an_automatic_bench_from_before_a_bench_by_hand_is_replaced() -> None:
    """Also when the one by hand was laid in the past, and has ended what stood."""
    past, laid = row(since=500, edited=500), row(until=9_000, since=400)
    assert {merged(BASE, *pair, NOW).until for pair in ((past, laid), (laid, past))} == {None}


def test_a_bench_laid_after_a_lift_stands() -> None:
    """The later of the two words."""
    lifted, laid = row(lifted=300, edited=300, since=100), row(until=9_000, since=400)
    assert {merged(BASE, *pair, NOW).until for pair in ((lifted, laid), (laid, lifted))} == {9_000}


def test_the_stores_probe_stands_unless_it_is_the_old_one() -> None:
    """Then the one that began here does."""
    free, mine, theirs = row(), row(prober="one:1", lapses=5), row(prober="two:1", lapses=6)
    assert merged(row(), mine, theirs, NOW).prober == "two:1"
    assert merged(row(), mine, free, NOW).prober == "one:1"
    assert merged(theirs, free, theirs, NOW).prober == ""


def test_two_changes_on_one_tick_of_the_clock_keep_their_order(office: Office) -> None:
    """A bench after a lift stands, at the same instant."""
    office.here.bench(M)
    office.here.unbench(M)
    office.here.bench(M, for_=timedelta(minutes=1))
    office.pull()
    kept = office.rows.rows[M]
    assert (kept.since == kept.edited, kept.since > kept.lifted) == (True, True)
    assert office.left() == [(60, 0, True)]
