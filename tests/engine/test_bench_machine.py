"""The bench registry driven at random against a plain model of its rules, and hammered from threads."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

import llm_failover_nb as fo
from llm_failover_nb.engine import bench
from llm_failover_nb.testing import FakeClock

M = "a/m"
SECONDS = st.sampled_from([1.0, 30.0, 59.0, 60.0, 300.0])
CALLS = st.integers(1, 4)


class BenchMachine(RuleBasedStateMachine):
    """The rules again, written as plainly as possible: times in seconds, no lock, no cleverness."""

    attempts = Bundle("attempts")

    @initialize()
    def start(self) -> None:
        self.clock = FakeClock()
        self.benches = self.registry()
        self.now = 0.0
        self.steps = 0
        self.until: float | None = None  # the end of the bench that was laid last
        self.manual = False
        self.laid_at_step = 0
        self.lifted_at_step = 0
        self.fails = 0
        self.prober: int | None = None
        self.prober_since = 0.0

    def registry(self) -> fo.BenchRegistry:
        """What is driven; others may be, which keep to the same rules."""
        return fo.BenchRegistry(clock=self.clock)

    def live(self) -> bool:
        return self.until is not None and self.now <= self.until

    def half_open(self) -> bool:
        return self.until is not None and not self.live() and not self.manual

    def forget(self) -> None:
        self.until, self.manual, self.fails, self.prober = None, False, 0, None

    def passes(self, call: int) -> bool:
        if self.live():
            return False
        if self.half_open() and self.prober not in (None, call):
            return self.now >= self.prober_since + 60
        return True

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.now += seconds

    @rule(seconds=st.none() | SECONDS)
    def operator_benches(self, seconds: float | None) -> None:
        self.benches.bench(M, for_=seconds)
        if self.until is not None and not self.live():
            self.forget()
        self.prober = None
        self.manual = True
        self.until = float("inf") if seconds is None else self.now + seconds

    @rule()
    def operator_lifts(self) -> None:
        was_live = self.live()
        assert self.benches.unbench(M) == was_live
        self.steps += 1
        self.lifted_at_step = self.steps
        if self.until is not None:
            self.forget()

    @rule(target=attempts, call=CALLS, force=st.booleans())
    def begin(self, call: int, force: bool) -> tuple[int, int, int]:
        number = self.benches.admit(M, call, lapse=60, force=force)
        passes = self.passes(call)
        assert bool(number) == (passes or force)
        self.steps += 1
        if passes and self.half_open() and (self.prober != call or self.now >= self.prober_since + 60):
            self.prober, self.prober_since = call, self.now
        return (call, number, self.steps)

    @rule(attempt=consumes(attempts))
    def answers(self, attempt: tuple[int, int, int]) -> None:
        call, number, step = attempt
        if not number:
            return
        self.benches.succeeded(M, call, number)
        self.fails = 0
        if self.prober == call:
            self.prober = None
        if self.until is not None and not self.manual and self.laid_at_step < step:
            self.forget()

    @rule(attempt=consumes(attempts), threshold=st.integers(1, 3), seconds=SECONDS)
    def fails_for_good(self, attempt: tuple[int, int, int], threshold: int, seconds: float) -> None:
        call, number, step = attempt
        if not number:
            return
        until = self.benches.failed(M, call, number, threshold=threshold, for_=seconds)
        if self.until is not None and not self.live():
            self.forget()
        self.fails += 1
        if not self.manual and step > self.lifted_at_step and self.fails >= threshold:
            self.until = max(self.until or 0.0, self.now + seconds)
            self.steps += 1
            self.laid_at_step = self.steps
        assert (until is not None) == self.live()

    @rule(attempt=consumes(attempts))
    def shows_health(self, attempt: tuple[int, int, int]) -> None:
        self.benches.healthy(M, attempt[0])
        if self.prober == attempt[0]:
            self.forget()

    @rule(attempt=consumes(attempts))
    def is_cancelled(self, attempt: tuple[int, int, int]) -> None:
        self.benches.released(M, attempt[0])
        if self.prober == attempt[0]:
            self.prober = None

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "benches"):
            return
        assert self.benches.is_benched(M) == self.live()
        for call in range(1, 5):
            assert self.benches.blocked(M, call) == (not self.passes(call))
        if not self.live():
            assert self.benches.list() == []
            return
        (live,) = self.benches.list()
        left = float("inf") if live.until is None else (live.until - self.clock.now()).total_seconds()
        assert (left, live.consecutive_fails, live.manual) == (
            self.until - self.now,
            self.fails,
            self.manual,
        )


BenchMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBenchMachine = BenchMachine.TestCase


def in_threads(work: object, count: int = 16) -> None:
    """Run ``work(number)`` on so many threads at once, and raise what one of them raised."""
    barrier, errors, interval = threading.Barrier(count), [], sys.getswitchinterval()

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(1, count + 1)]
    # At the usual interval a thread is through with a call before another gets its turn, locked or not.
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


def test_no_failure_is_lost_between_threads() -> None:
    """Sixteen threads count failures of the same models; every one of them counts."""
    benches = fo.BenchRegistry(clock=FakeClock())

    def fails(number: int) -> None:
        for n in range(2000):
            spec = f"a/{n % 5}"
            benches.failed(
                spec, number, benches.admit(spec, number, lapse=60, force=True), threshold=1, for_=60
            )

    in_threads(fails)
    assert {b.model: b.consecutive_fails for b in benches.list()} == {f"a/{n}": 6400 for n in range(5)}


def test_exactly_one_probe_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen threads race for the place of the probe, round after round; one gets it."""
    looks = bench._probed_by_another

    def looks_and_waits(*state: object) -> bool:
        seen = looks(*state)
        time.sleep(0)  # between the look and what follows from it all others have their turn
        return seen

    monkeypatch.setattr(bench, "_probed_by_another", looks_and_waits)
    clock = FakeClock()
    benches = fo.BenchRegistry(clock=clock)
    rounds, let_through = 200, Counter()
    start, end = threading.Barrier(17), threading.Barrier(17)

    def race(number: int) -> None:
        for n in range(rounds):
            start.wait()
            if benches.admit(M, number, lapse=60):
                let_through[n, number] += 1
            end.wait()

    def referee() -> None:
        for _ in range(rounds):
            benches.failed(M, 99, benches.admit(M, 99, lapse=60, force=True), threshold=1, for_=60)
            clock.advance(61)
            start.wait()
            end.wait()

    judge = threading.Thread(target=referee)
    judge.start()
    in_threads(race)
    judge.join()
    assert Counter(n for n, _ in let_through) == dict.fromkeys(range(rounds), 1)


def test_operator_and_failures_race_without_losing_the_operator() -> None:
    """Whatever fails meanwhile, the bench that the operator laid last is the one that stands."""
    benches = fo.BenchRegistry(clock=FakeClock())

    def race(number: int) -> None:
        for _ in range(300):
            began = benches.admit(M, number, lapse=60, force=True)
            if number == 1:
                benches.bench(M)
            elif number % 2:
                benches.failed(M, number, began, threshold=1, for_=60)
            else:
                benches.succeeded(M, number, began)

    in_threads(race)
    ((model, until, manual),) = [(b.model, b.until, b.manual) for b in benches.list()]
    assert (model, until, manual) == (M, None, True)
