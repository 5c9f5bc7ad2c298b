"""Calls reached from outside: who runs, a bench that a waiting call obeys at once, a cancel, the chains."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing, closing, suppress
from typing import TypeVar

import pytest

import llm_failover_nb as fo
from llm_failover_nb.engine.roster import RunningCall
from llm_failover_nb.testing import ScriptedProvider
from tests.engine.conftest import Bed, dead, down, drive

T = TypeVar("T")

ASYNC_PATHS = ("acomplete", "astream")


class Silent:
    """An asynchronous provider that says when it is asked, and answers when it is told to."""

    def __init__(self, *opening: str) -> None:
        self.opening = opening
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.closed = 0

    async def acomplete(self, request: fo.Request) -> fo.Response:
        return fo.Response("".join([chunk.text async for chunk in self.astream(request)]))

    async def astream(self, request: fo.Request) -> AsyncIterator[fo.Chunk]:
        try:
            for text in self.opening:
                yield fo.Chunk(text)
            self.asked.set()
            await self.may_answer.wait()
            yield fo.Chunk("late")
        except asyncio.CancelledError:
            self.closed += 1
            raise


@pytest.fixture(params=ASYNC_PATHS)
def apath(request: pytest.FixtureRequest) -> str:
    """The name of each of the two asynchronous calls in turn."""
    return request.param


def run(work: Coroutine[object, object, T]) -> T:
    """Run a test's own coroutine; one that waits in vain fails, and does not hang."""
    return asyncio.run(asyncio.wait_for(work, 20))


async def answer(path: str, chain: fo.Chain) -> str:
    """What a chain answers by one of the asynchronous paths, as its reader has it at the end."""
    if path == "acomplete":
        return (await chain.acomplete("hi")).text
    text = ""
    async with aclosing(chain.astream("hi")) as chunks:
        async for chunk in chunks:
            text = "" if chunk.kind == "restart" else text + chunk.text
    return text


def waiting(bed: Bed, silent: Silent, **others: object) -> fo.Chain:
    """A chain whose first model says nothing until it is told to."""
    chain = bed.chain({"a": "unused", **others})
    bed.registry.register("a", silent)
    return fo.parse_chain(chain.specs, **bed.world, observer=bed.events.append, backoff=float)


def running(bed: Bed) -> RunningCall:
    """The one call that runs."""
    (call,) = bed.benches.roster.calls()
    return call


# A bench by the operator


def test_call_that_waits_leaves_a_model_that_is_benched_by_hand(bed: Bed, apath: str) -> None:
    """The request is closed, the next model is asked; no failure is counted, and no event told."""

    async def main() -> tuple[str, int]:
        silent = Silent()
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="from b")))
        await silent.asked.wait()
        bed.benches.bench("a/m", for_=60)
        return await task, silent.closed

    assert run(main()) == ("from b", 1)
    assert bed.events == []
    assert bed.benches.list() == [fo.BenchedModel("a/m", bed.benches.until("a/m"), 0, manual=True)]
    assert bed.outcomes() == [("a/m", "skipped"), ("b/m", "ok")]


def test_call_leaves_one_model_after_another(bed: Bed, apath: str) -> None:
    """Each time that it waits for one that is benched."""

    async def main() -> str:
        first, second = Silent(), Silent()
        chain = waiting(bed, first, b="unused", c="from c")
        bed.registry.register("b", second)
        task = asyncio.create_task(answer(apath, fo.parse_chain(chain.specs, **bed.world)))
        for silent, spec in ((first, "a/m"), (second, "b/m")):
            await silent.asked.wait()
            bed.benches.bench(spec)
        return await task

    assert run(main()) == "from c"


def test_record_of_a_model_that_was_left_says_so(bed: Bed, apath: str) -> None:
    """Its row has the attempt and its time; the operator's bench is the reason."""

    async def main() -> fo.AttemptRecord:
        silent = Silent()
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="ok")))
        await silent.asked.wait()
        bed.clock.advance(7)
        bed.benches.bench("a/m")
        await task
        return next(row for row in bed.log if row.outcome == "skipped")

    row = run(main())
    assert (row.attempt, row.reason, row.benched, row.latency) == (1, "benched", True, 7.0)


def test_bench_from_another_thread_is_obeyed(bed: Bed, apath: str) -> None:
    """A click may come on any thread."""

    async def main() -> str:
        silent = Silent()
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="from b")))
        await silent.asked.wait()
        await asyncio.to_thread(bed.benches.bench, "a/m")
        return await task

    assert run(main()) == "from b"


@pytest.mark.parametrize("others", [{}, {"b": "benched, too"}], ids=["alone", "the other benched"])
def test_call_stays_where_nothing_else_is_live(bed: Bed, apath: str, others: dict[str, object]) -> None:
    """A bench is never a refusal."""

    async def main() -> str:
        silent = Silent()
        bed.benches.bench("b/m")
        task = asyncio.create_task(answer(apath, waiting(bed, silent, **others)))
        await silent.asked.wait()
        bed.benches.bench("a/m")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        silent.may_answer.set()
        return await task

    assert run(main()) == "late"


def test_bench_that_is_lifted_at_once_moves_nobody(bed: Bed, apath: str) -> None:
    """What counts is how things stand when the call's own loop looks."""

    async def main() -> str:
        silent = Silent()
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="no")))
        await silent.asked.wait()
        bed.benches.bench("a/m")
        bed.benches.unbench("a/m")
        await asyncio.sleep(0)
        silent.may_answer.set()
        return await task

    assert run(main()) == "late"


def test_bench_of_another_model_moves_nobody(bed: Bed, apath: str) -> None:
    """Calls that wait for other models go on waiting."""

    async def main() -> str:
        silent = Silent()
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="no", c="no")))
        await silent.asked.wait()
        bed.benches.bench("b/m")
        await asyncio.sleep(0)
        silent.may_answer.set()
        return await task

    assert run(main()) == "late"


def test_answer_that_has_begun_is_left_to_come(bed: Bed) -> None:
    """The reader has some of it already."""

    async def main() -> str:
        silent = Silent("begun, ")
        task = asyncio.create_task(answer("astream", waiting(bed, silent, b="no")))
        await silent.asked.wait()
        bed.benches.bench("a/m")
        await asyncio.sleep(0)
        silent.may_answer.set()
        return await task

    assert run(main()) == "begun, late"


def test_bench_ends_a_backoff_on_that_model(bed: Bed, apath: str) -> None:
    """Nobody waits for what will not be asked again."""

    async def main() -> tuple[str, int]:
        chain, slept = bed.chain({"a": down(), "b": "from b"}), asyncio.Event()

        async def for_ever(seconds: float) -> None:
            slept.set()
            await asyncio.Event().wait()

        bed.clock.asleep = for_ever
        task = asyncio.create_task(answer(apath, chain))
        await slept.wait()
        bed.benches.bench("a/m")
        return await task, bed.asked("a")

    assert run(main()) == ("from b", 1)


def test_probe_that_leaves_gives_back_its_place(bed: Bed, apath: str) -> None:
    """The next call after the operator's lift may ask the model."""

    async def main() -> str:
        bed.half_open("a/m")
        silent = Silent()
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="from b")))
        await silent.asked.wait()
        bed.benches.bench("a/m")
        text = await task
        bed.benches.unbench("a/m")
        return text

    assert run(main()) == "from b"
    assert not bed.benches.blocked("a/m", call=-1)


def test_cancel_beside_a_bench_is_a_cancel(bed: Bed, apath: str) -> None:
    """Whoever cancels the task wins over the operator's bench, whichever came first."""

    async def main() -> bool:
        silent = Silent()
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="no")))
        await silent.asked.wait()
        bed.benches.bench("a/m")
        await asyncio.sleep(0)  # the bench has reached the task, which has not run since
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()

    assert run(main())
    assert bed.asked("b") == 0


def test_answer_that_came_with_the_bench_counts(bed: Bed) -> None:
    """A provider that answers in spite of the cancellation has answered."""

    class Stubborn(Silent):
        async def acomplete(self, request: fo.Request) -> fo.Response:
            try:
                return await super().acomplete(request)
            except asyncio.CancelledError:
                return fo.Response("in spite of it")

    async def main() -> tuple[str, int]:
        stubborn = Stubborn()
        task = asyncio.create_task(answer("acomplete", waiting(bed, stubborn, b="no")))
        await stubborn.asked.wait()
        bed.benches.bench("a/m")
        return await task, task.cancelling()

    assert run(main()) == ("in spite of it", 0)


def test_bench_after_the_loop_has_gone_is_a_bench(bed: Bed) -> None:
    """A call that its loop has left behind is nobody's to wake."""

    async def main() -> object:
        chunks = waiting(bed, Silent("begun"), b="no").astream("hi")
        await anext(chunks)
        (call,) = bed.benches.roster._calls.values()
        return call

    call = run(main())
    bed.benches.roster.begin(call)
    bed.benches.bench("a/m")
    assert bed.benches.is_benched("a/m")


# A cancel


def test_cancel_ends_a_call_that_waits(bed: Bed, apath: str) -> None:
    """No failover, no bench, no event; the request is closed and the caller is told by the usual error."""

    async def main() -> tuple[bool, bool, int]:
        silent = Silent()
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="no")))
        await silent.asked.wait()
        known = bed.benches.roster.cancel(running(bed).id)
        await asyncio.wait({task})
        return known, task.cancelled(), silent.closed

    assert run(main()) == (True, True, 1)
    assert (bed.outcomes(), bed.events, bed.benched()) == ([("a/m", "cancelled")], [], {})


def test_cancel_leaves_its_readers_other_work_alone(bed: Bed) -> None:
    """Who has read a part of a stream, and waits for something else, waits on; the stream ends when asked."""

    async def main() -> tuple[str, type[BaseException] | None]:
        one, other = Silent("begun"), Silent()
        async with aclosing(waiting(bed, one, b="no").astream("hi")) as chunks:
            await anext(chunks)
            (begun,) = bed.benches.roster.calls()
            task = asyncio.create_task(other.asked.wait())
            bed.benches.roster.cancel(begun.id)
            asyncio.get_running_loop().call_soon(other.asked.set)
            waited = await task
            try:
                await anext(chunks)
            except BaseException as error:  # noqa: BLE001  # which one is the question
                return str(waited), type(error)
        return str(waited), None

    assert run(main()) == ("True", asyncio.CancelledError)


def test_cancel_ends_a_stream_that_has_begun(bed: Bed) -> None:
    """Also amid an answer that has stalled."""

    async def main() -> tuple[bool, int]:
        silent = Silent("begun")
        task = asyncio.create_task(answer("astream", waiting(bed, silent, b="no")))
        await silent.asked.wait()
        bed.benches.roster.cancel(running(bed).id)
        await asyncio.wait({task})
        return task.cancelled(), silent.closed

    assert run(main()) == (True, 1)


def test_cancel_in_a_backoff_ends_the_call(bed: Bed, path: str) -> None:
    """By all four paths; a synchronous one sees it when its wait is over. A probe gives back its place."""
    bed.half_open("a/m")
    chain = bed.chain({"a": down(), "b": "no"})
    sleep, asleep = bed.clock.sleep, bed.clock.asleep

    def cancelling_sleep(seconds: float) -> None:
        bed.benches.roster.cancel(running(bed).id)
        sleep(seconds)

    async def cancelling_asleep(seconds: float) -> None:
        bed.benches.roster.cancel(running(bed).id)
        await asleep(seconds)

    bed.clock.sleep, bed.clock.asleep = cancelling_sleep, cancelling_asleep
    with pytest.raises((asyncio.CancelledError, concurrent.futures.CancelledError)):
        drive(path, chain)
    assert (bed.asked("a"), bed.asked("b"), bed.events, bed.benched()) == (1, 0, [], {})
    assert not bed.benches.blocked("a/m", call=-1)


def test_cancel_that_comes_too_late_ends_nothing_else(bed: Bed) -> None:
    """The task may be at something else by then."""

    class Quick(Silent):
        async def acomplete(self, request: fo.Request) -> fo.Response:
            bed.benches.roster.cancel(running(bed).id)
            return fo.Response("just in time")

    async def main() -> str:
        response = await waiting(bed, Quick()).acomplete("hi")
        for _ in range(3):
            await asyncio.sleep(0)
        return response.text

    assert run(main()) == "just in time"


@pytest.mark.parametrize("when", ["before the first step", "between two"])
def test_cancel_outside_a_step_ends_the_call(bed: Bed, path: str, when: str) -> None:
    """Nothing is awaited there that could be ended: the next model is not asked."""

    def cancel(*_: object) -> None:
        for call in bed.benches.roster.calls():
            bed.benches.roster.cancel(call.id)

    class Looking(ScriptedProvider):
        @property
        def missing_key(self) -> None:
            cancel()

    options = {"observer": cancel} if when == "between two" else {}
    chain = bed.chain({"a": dead(), "b": "no"}, **options)
    if not options:
        bed.add("a", Looking("no"))
        chain = fo.parse_chain(chain.specs, **bed.world)
    with pytest.raises((asyncio.CancelledError, concurrent.futures.CancelledError)):
        drive(path, chain)
    assert bed.asked("b") == 0


def test_synchronous_stream_sees_a_cancel_at_its_next_chunk(bed: Bed) -> None:
    """Nobody can wake a thread that reads."""
    chain = bed.chain({"a": ["one ", "two ", "three"], "b": "no"})
    with closing(chain.stream("hi")) as chunks:
        first = next(chunks).text
        bed.benches.roster.cancel(running(bed).id)
        with pytest.raises(concurrent.futures.CancelledError):
            next(chunks)
    assert (first, bed.outcomes()) == ("one ", [("a/m", "cancelled")])


def test_cancel_of_a_call_that_has_ended_is_a_no(bed: Bed) -> None:
    """There is nothing to cancel, and nothing happens."""
    bed.chain({"a": "ok"}).complete("hi")
    assert not bed.benches.roster.cancel(1)


# Who runs


def test_running_call_says_how_it_stands(bed: Bed, apath: str) -> None:
    """Whom it asks, since when, by which attempt, and whether it can be stopped at once."""

    async def main() -> RunningCall:
        silent = Silent()
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="ok")))
        await silent.asked.wait()
        bed.clock.advance(3)
        call = running(bed)
        silent.may_answer.set()
        await task
        return call

    began = bed.clock.now()
    call = run(main())
    assert call == RunningCall(call.id, "", ("a/m", "b/m"), apath, "a/m", 1, began, None, reachable=True)
    assert bed.benches.roster.calls() == []


def test_call_in_its_backoff_says_until_when(bed: Bed, path: str) -> None:
    """The waits of a chain here are one second for each attempt."""
    seen: list[RunningCall] = []
    chain = bed.chain({"a": (down(), "ok")})
    sleep = bed.clock.sleep

    def looking_sleep(seconds: float) -> None:
        # The fake clock's asynchronous wait comes through here, too.
        seen.append(running(bed))
        sleep(seconds)

    bed.clock.sleep = looking_sleep
    drive(path, chain)
    assert [((call.waits_until - bed.clock.now()).total_seconds(), call.attempt) for call in seen] == [
        (1.0, 1)
    ]


def test_synchronous_call_says_that_it_cannot_be_stopped_at_once(bed: Bed) -> None:
    """Its thread waits, and nobody else can wake it."""
    seen: list[RunningCall] = []

    def look(request: fo.Request) -> str:
        seen.append(running(bed))
        return "ok"

    bed.chain({"a": look}).complete("hi")
    assert [(call.method, call.reachable) for call in seen] == [("complete", False)]


@pytest.mark.parametrize("script", ["ok", dead()], ids=["answered", "failed"])
def test_call_that_has_ended_runs_no_more(bed: Bed, path: str, script: object) -> None:
    """However it ended."""
    chain = bed.chain({"a": script})
    with suppress(fo.AllModelsFailed):
        drive(path, chain)
    assert bed.benches.roster.calls() == []


def test_stream_that_is_closed_runs_no_more(bed: Bed) -> None:
    """Its reader has left."""
    chunks: Iterator[fo.Chunk] = bed.chain({"a": ["one ", "two"]}).stream("hi")
    next(chunks)
    while_open = len(bed.benches.roster.calls())
    chunks.close()
    assert (while_open, bed.benches.roster.calls()) == (1, [])


def test_listeners_hear_of_each_step_and_of_the_end(bed: Bed) -> None:
    """They are told that something changed, and look for themselves."""
    seen: list[list[str]] = []
    remove = bed.benches.roster.listeners.add(
        lambda: seen.append([c.model for c in bed.benches.roster.calls()])
    )
    chain = bed.chain({"a": dead(), "b": "ok"})
    chain.complete("hi")
    remove()
    chain.complete("hi")
    assert seen == [["a/m"], ["b/m"], []]


def test_listener_that_raises_is_logged(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """The call that it listens to goes on."""

    def broken() -> None:
        raise RuntimeError("broken listener")

    bed.benches.roster.listeners.add(broken)
    assert bed.chain({"a": "ok"}).complete("hi").text == "ok"
    assert "broken listener" in caplog.text


def test_listener_added_twice_is_taken_away_once_at_a_time(bed: Bed) -> None:
    """Two who listen with the same function do not take each other away."""
    seen: list[int] = []

    def listener() -> None:
        seen.append(1)

    bed.benches.roster.listeners.add(listener)()
    bed.benches.roster.listeners.add(listener)
    bed.benches.roster.listeners.add(listener)()
    bed.chain({"a": "ok"}).complete("hi")
    assert len(seen) == 2


def test_package_functions_are_those_of_the_process(path: str) -> None:
    """They list and cancel the calls of every chain that was given no benches of its own."""
    seen: list[tuple[tuple[str, ...], bool]] = []

    def look(request: fo.Request) -> str:
        (call,) = fo.list_running()
        seen.append((call.specs, fo.cancel_call(call.id)))
        return "ok"

    registry = fo.Registry()
    registry.register("looking", ScriptedProvider(look))
    with suppress(asyncio.CancelledError, concurrent.futures.CancelledError):
        drive(path, fo.parse_chain("looking/m", registry=registry))
    assert (seen, fo.list_running(), fo.cancel_call(1)) == ([(("looking/m",), True)], [], False)


# The chains


def test_roster_knows_the_chains_that_are_held(bed: Bed) -> None:
    """And no longer than they are."""
    chain = bed.chain({"a": "ok", "b": "ok"})
    held = [known.specs for known in bed.benches.roster.chains()]
    del chain
    gc.collect()
    assert (held, bed.benches.roster.chains()) == ([("a/m", "b/m")], [])


def test_first_asked_is_the_first_that_is_live(bed: Bed) -> None:
    """Benched entries are passed by while there is another."""
    chain = bed.chain({"a": "ok", "b": "ok"})
    places = [chain.first_asked()]
    for spec in ("a/m", "b/m"):
        bed.benches.bench(spec)
        places.append(chain.first_asked())
    assert places == [0, 1, 0]


def test_first_asked_has_a_key(bed: Bed) -> None:
    """Entries without one are left out; where none has one, nobody would be asked."""

    class Keyless(ScriptedProvider):
        missing_key = "SOME_KEY"

    bed.add("k", Keyless("no"))
    bed.add("a", ScriptedProvider("ok"))
    chains = [fo.parse_chain(text, **bed.world) for text in ("k/m,a/m", "k/m")]
    assert [chain.first_asked() for chain in chains] == [1, None]


# How models stand


def test_standings_tell_how_each_model_stands(bed: Bed) -> None:
    """Also those that no bench holds any more."""
    bed.half_open("due/m")
    bed.half_open("probed/m")
    bed.benches.admit("probed/m", 7, lapse=60)
    bed.benches.bench("manual/m", for_=60)
    bed.benches.bench("forever/m")
    bed.benches.failed("counted/m", 1, bed.benches.admit("counted/m", 1, lapse=60), threshold=3, for_=60)
    bed.benches.failed("down/m", 1, bed.benches.admit("down/m", 1, lapse=60), threshold=1, for_=60)
    end = bed.benches.until("manual/m")
    assert [(s.model, s.state, s.until, s.consecutive_fails, s.manual) for s in bed.benches.standings()] == [
        ("counted/m", "ready", None, 1, False),
        ("down/m", "benched", end, 1, False),
        ("due/m", "due", None, 1, False),
        ("forever/m", "benched", None, 0, True),
        ("manual/m", "benched", end, 0, True),
        ("probed/m", "probing", None, 1, False),
    ]


def test_manual_bench_that_has_run_out_is_ready_anew(bed: Bed) -> None:
    """It needs no probe, and its count begins anew."""
    bed.benches.failed("a/m", 1, bed.benches.admit("a/m", 1, lapse=60), threshold=3, for_=60)
    bed.benches.bench("a/m", for_=60)
    bed.clock.advance(61)
    (standing,) = bed.benches.standings()
    assert (standing.state, standing.consecutive_fails, standing.manual) == ("ready", 0, False)


def test_edited_grows_with_the_operators_acts_alone(bed: Bed) -> None:
    """A failure or an answer is no edit."""

    def edited() -> int:
        return bed.benches.standings()[0].edited

    seen = []
    for act in (
        lambda: bed.benches.failed("a/m", 1, 1, threshold=1, for_=60),
        lambda: bed.benches.succeeded("a/m", 1, 99),
        lambda: bed.benches.bench("a/m"),
        lambda: bed.benches.failed("a/m", 1, 100, threshold=1, for_=60),
        lambda: bed.benches.unbench("a/m"),
    ):
        act()
        seen.append(edited())
    assert seen[0] == seen[1] == 0 < seen[2] == seen[3] < seen[4]


# An edit taken back


def failed(bed: Bed, spec: str, for_: float = 300) -> None:
    """An attempt of another call has just failed."""
    bed.benches.failed(spec, -1, bed.benches.admit(spec, -1, lapse=60, force=True), threshold=1, for_=for_)


def test_bench_that_is_taken_back_leaves_what_stood(bed: Bed) -> None:
    """An automatic bench with its own end and count."""
    failed(bed, "a/m")
    before = bed.benches.standings()[0]
    memory = bed.benches.remembered("a/m")
    bed.benches.bench("a/m", for_=3600)
    taken = bed.benches.put_back(memory, edited=bed.benches.remembered("a/m").edited)
    after = bed.benches.standings()[0]
    assert taken
    assert (after.state, after.until, after.consecutive_fails, after.manual) == (
        before.state, before.until, before.consecutive_fails, False,
    )  # fmt: skip


def test_bench_of_a_ready_model_taken_back_leaves_it_ready(bed: Bed) -> None:
    """There was nothing before."""
    memory = bed.benches.remembered("a/m")
    bed.benches.bench("a/m")
    bed.benches.put_back(memory, edited=bed.benches.remembered("a/m").edited)
    assert (bed.benches.list(), bed.benches.blocked("a/m", call=-1)) == ([], False)


def test_lift_that_is_taken_back_benches_again(bed: Bed) -> None:
    """By hand, if it was by hand, with its count."""
    failed(bed, "a/m", for_=0)
    bed.benches.bench("a/m", for_=3600)
    (before,) = bed.benches.list()
    memory = bed.benches.remembered("a/m")
    bed.benches.unbench("a/m")
    bed.benches.put_back(memory, edited=bed.benches.remembered("a/m").edited)
    assert bed.benches.list() == [before]


def test_edit_is_not_taken_back_over_a_later_one(bed: Bed) -> None:
    """The operator's last word holds."""
    memory = bed.benches.remembered("a/m")
    bed.benches.bench("a/m", for_=60)
    edited = bed.benches.remembered("a/m").edited
    bed.benches.bench("a/m")
    assert not bed.benches.put_back(memory, edited=edited)
    assert bed.benches.list() == [fo.BenchedModel("a/m", None, 0, manual=True)]


def test_failures_since_an_edit_hold_when_it_is_taken_back(bed: Bed) -> None:
    """A lift is taken back after the model failed again: the later end and the count stay."""
    failed(bed, "a/m", for_=60)
    memory = bed.benches.remembered("a/m")
    bed.benches.unbench("a/m")
    edited = bed.benches.remembered("a/m").edited
    failed(bed, "a/m", for_=600)
    failed(bed, "a/m", for_=600)
    (since,) = bed.benches.list()
    assert bed.benches.put_back(memory, edited=edited)
    assert bed.benches.list() == [since]
    assert since.consecutive_fails == 2


def test_call_that_waits_leaves_a_model_whose_lift_is_taken_back(bed: Bed, apath: str) -> None:
    """It is benched by hand again."""

    async def main() -> str:
        silent = Silent()
        bed.benches.bench("a/m")
        memory = bed.benches.remembered("a/m")
        bed.benches.unbench("a/m")
        task = asyncio.create_task(answer(apath, waiting(bed, silent, b="from b")))
        await silent.asked.wait()
        bed.benches.put_back(memory, edited=bed.benches.remembered("a/m").edited)
        return await task

    assert run(main()) == "from b"


def test_taking_back_is_told_to_the_log(bed: Bed) -> None:
    """As the edits themselves are."""
    benches = fo.BenchRegistry(clock=bed.clock, log=bed.log)
    memory = benches.remembered("a/m")
    benches.bench("a/m")
    laid = benches.remembered("a/m")
    benches.put_back(memory, edited=laid.edited)
    benches.put_back(laid, edited=benches.remembered("a/m").edited)
    assert [(row.outcome, row.reason) for row in bed.log] == [
        ("bench", "operator"), ("unbench", "operator"), ("bench", "operator"),
    ]  # fmt: skip


def test_taking_back_what_changed_nothing_tells_nothing(bed: Bed) -> None:
    """A lift of a model that was ready."""
    benches = fo.BenchRegistry(clock=bed.clock, log=bed.log)
    memory = benches.remembered("a/m")
    benches.unbench("a/m")
    assert benches.put_back(memory, edited=benches.remembered("a/m").edited)
    assert list(bed.log) == []


def test_roster_is_safe_from_any_thread(bed: Bed) -> None:
    """Chains are built and calls run while somebody looks."""
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            bed.benches.roster.calls()
            bed.benches.roster.chains()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        looking = pool.submit(look)
        for _ in range(200):
            bed.chain({"a": "ok"}).complete("hi")
        done.set()
    assert looking.exception() is None
