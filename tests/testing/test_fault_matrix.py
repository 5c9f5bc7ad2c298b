"""Every fault, on every wire, by every call: what the caller sees of it, and what the server saw.

What is expected is in one table, that of ``fault_table``. Each case is run once, through a chain of a faulty
and a healthy model of one server, over real sockets; what was seen then is what the tests look at. When the
model has recovered, a second call follows over the same connections.

A fault's silence is kept short by a provider that is in a hurry with the faulty model alone; the healthy one
has all the time that a busy machine may need.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

import llm_failover_nb as fo
from llm_failover_nb.engine.clock import SystemClock
from llm_failover_nb.engine.types import Timeouts
from llm_failover_nb.providers import bodies
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.presets import WIRES
from llm_failover_nb.providers.sim import SimProvider
from llm_failover_nb.testing import FaultServer
from llm_failover_nb.testing.fault_server import Received
from tests.testing.fault_table import (
    ATTEMPTS,
    BACKOFF,
    CASES,
    EVERYTHING,
    HEALTHY,
    HEALTHY_SCRIPT,
    IN_PROCESS,
    KINDS,
    PATHS,
    PROMPT,
    RECOVERED,
    Case,
)

HURRY = 0.03  # seconds that a fault's silence is borne, for a start
LONG = 30.0  # seconds that a busy machine may need for anything

LENIENCE = {"midstream": "restart", "content_filter": "next"}

T = TypeVar("T")

every_case = pytest.mark.parametrize("case", EVERYTHING, ids=str)
every_wire = pytest.mark.parametrize("wire", WIRES)
every_path = pytest.mark.parametrize("path", PATHS)
every_stream = pytest.mark.parametrize("path", ["stream", "astream"])


# What is seen


class Haste:
    """Puts a real provider in a hurry with some of its models."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.limits: dict[str, Timeouts] = {}

    def complete(self, request):
        return super().complete(self._hurried(request))

    def acomplete(self, request):
        return super().acomplete(self._hurried(request))

    def stream(self, request):
        return super().stream(self._hurried(request))

    def astream(self, request):
        return super().astream(self._hurried(request))

    def _hurried(self, request: fo.Request) -> fo.Request:
        return replace(request, timeouts=self.limits.get(request.model, request.timeouts))


class HastyHTTP(Haste, HTTPProvider):
    pass


class HastySim(Haste, SimProvider):
    pass


class NotingClock(SystemClock):
    """The real clock, which notes how long it is told to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Called:
    """What the caller of one call has in hand when it is over."""

    text: str
    response: fo.Response | None = None
    error: Exception | None = None
    chunks: tuple[fo.Chunk, ...] = ()


class Caller:
    """Makes calls by one path, the asynchronous ones on one event loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._runner = asyncio.Runner()

    def ask(self, chain: fo.Chain, prompt: object) -> Called:
        chunks: list[fo.Chunk] = []
        try:
            response = self._answer(chain, prompt, chunks)
        except fo.FailoverError as error:
            # Without its frames, which hold all that was read.
            return Called(shown(chunks), error=error.with_traceback(None), chunks=tuple(chunks))
        return Called(shown(chunks) if chunks else response.text, response, chunks=tuple(chunks))

    def close(self, provider: HastyHTTP | HastySim) -> None:
        self._runner.run(provider.aclose())
        self._runner.close()

    def _answer(self, chain: fo.Chain, prompt: object, chunks: list[fo.Chunk]) -> fo.Response:
        match self._path:
            case "complete":
                return chain.complete(prompt)
            case "acomplete":
                return self._runner.run(chain.acomplete(prompt))
            case "stream":
                for chunk in chain.stream(prompt):
                    chunks.append(chunk)  # noqa: PERF402  # kept although the loop fails
            case "astream":
                self._runner.run(_collect(chain, prompt, chunks))
        return chunks[-1].response


async def _collect(chain: fo.Chain, prompt: object, chunks: list[fo.Chunk]) -> None:
    async for chunk in chain.astream(prompt):
        chunks.append(chunk)  # noqa: PERF401  # likewise


def shown(chunks: list[fo.Chunk]) -> str:
    """The text that a caller is left with who throws away what a restart tells it to."""
    text = ""
    for chunk in chunks:
        text = "" if chunk.kind == "restart" else text + chunk.text
    return text


class World:
    """The faulty models of one provider, with benches, a log and a clock of its own."""

    def __init__(self, provider: HastyHTTP | HastySim, path: str) -> None:
        self.provider = provider
        self.registry = fo.Registry()
        self.registry.register("lab", provider)
        self.clock, self.benches, self.log = NotingClock(), fo.BenchRegistry(), fo.EventLog()
        self.caller = Caller(path)

    def chain(self, *models: str, **options: object) -> fo.Chain:
        """A chain whose limits are as long as a busy machine may need."""
        limits = dict.fromkeys(("first_token_timeout", "idle_timeout", "attempt_timeout"), LONG)
        usual = {"max_retries": ATTEMPTS, "backoff": lambda attempt: BACKOFF, **limits}
        world = {"registry": self.registry, "benches": self.benches, "log": self.log, "clock": self.clock}
        return fo.parse_chain([f"lab/{model}" for model in models], **world, **{**usual, **options})

    def ask(self, chain: fo.Chain, prompt: object = PROMPT) -> Called:
        return self.caller.ask(chain, prompt)

    def rows(self, case: Case) -> list[tuple[str, str, str, str]]:
        """What was recorded of each attempt: whose it was, the outcome, kind and reason."""
        names = {f"lab/{case.model}": "faulty", f"lab/{HEALTHY_SCRIPT}": "healthy"}
        return [(names[row.model], row.outcome, row.kind, row.reason) for row in self.log if row.method]


@contextmanager
def world_of(server: FaultServer, wire: str, path: str) -> Iterator[World]:
    """The models of a server on one of its wires, which has forgotten all that was before."""
    server.reset()
    world = World(HastyHTTP("lab", dialect=WIRES[wire], base_url=server.base_url(wire)), path)
    try:
        yield world
    finally:
        world.caller.close(world.provider)
        settled(server)


def asked(server: FaultServer, model: str) -> list[Received]:
    """The requests for one model, in order."""
    return [request for request in server.requests if request.model == model]


def threads() -> set[str]:
    """The threads that run, the server's own excepted."""
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith("fault-server")}


@dataclass(frozen=True)
class Seen:
    """All that was seen of a case: of the call that met the fault, and of one that followed it."""

    first: Called
    rows: list[tuple[str, str, str, str]]
    benched: bool
    waits: list[float]
    faulty: list[Received]
    healthy: list[Received]
    second: Called
    asked_again: int
    unconnected: bool
    left_running: set[str]


def look(server: FaultServer, case: Case) -> Seen:
    """Run a case."""
    if case.limit is None:
        return look_within(server, case, None)
    return patiently(lambda seconds: look_within(server, case, seconds), lambda seen: bool(seen.faulty))


def patiently(run: Callable[[float], T], reached: Callable[[T], bool]) -> T:
    """What comes of ``run`` in a time that is short, and yet enough for a busy machine to send a request."""
    seconds = HURRY
    while not reached(seen := run(seconds)) and seconds < LONG:
        seconds *= 4
    return seen


def look_within(server: FaultServer, case: Case, seconds: float | None) -> Seen:
    """Run a case whose faulty model is given so many seconds."""
    before = threads()
    with world_of(server, case.wire, case.path) as world, pytest.MonkeyPatch.context() as patch:
        # An endless stream ends after 256 MiB, which is more than these tests have time to read.
        patch.setattr(bodies, "STREAM_LIMIT", 256 * 1024)
        chain = world.chain(case.model, HEALTHY_SCRIPT, **(LENIENCE if case.lenient else {}))
        if case.limit is not None:
            world.provider.limits[case.model] = Timeouts(**{case.limit: seconds})
        first = world.ask(chain, case.fault.prompt)
        seen = partial(
            Seen,
            first=first,
            rows=world.rows(case),
            benched=world.benches.is_benched(f"lab/{case.model}"),
            waits=list(world.clock.waits),
            faulty=(faulty := asked(server, case.model)),
            healthy=asked(server, HEALTHY_SCRIPT),
        )
        # The model has recovered, and an operator says so.
        if faulty or seconds is None:  # else the fault is yet to come
            world.provider.limits.clear()
        world.benches.unbench(f"lab/{case.model}")
        second = world.ask(chain)
        again = len(asked(server, case.model)) - len(faulty)
    unconnected = server.wait_unconnected(LONG)
    return seen(second=second, asked_again=again, unconnected=unconnected, left_running=threads() - before)


def settled(server: FaultServer) -> bool:
    """Whether every client has left, those included that the server has yet to notice."""
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=LONG) as last:
        # They were here before this one, and are let in before it.
        last.sendall(b"GET /v1/models HTTP/1.1\r\n\r\n")
        last.recv(1)
    return server.wait_unconnected(LONG)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(scope="module")
def seen(server: FaultServer) -> Callable[[Case], Seen]:
    """What was seen of a case, which is run when it is first looked at."""
    return cache(partial(look, server))


# Case by case


@every_case
def test_what_the_caller_sees(case: Case, seen: Callable[[Case], Seen]) -> None:
    """The answer is that of the model which the table names; where it names none, the error says why."""
    first = seen(case).first
    if not case.ends_the_call:
        assert (first.text, first.error) == (PROMPT if case.answers else HEALTHY, None)
    elif case.reasons == ["content_filter"]:
        assert (type(first.error), first.error.reason, first.text) == (fo.ProviderError, "content_filter", "")
    else:
        assert (type(first.error), first.error.text) == (fo.StreamInterrupted, first.text)
        assert first.error.__cause__.reason == case.reasons[0]


@every_case
def test_what_is_recorded(case: Case, seen: Callable[[Case], Seen]) -> None:
    """Every attempt has its row, with what became of it, its kind and its reason."""
    assert seen(case).rows == case.rows


@every_case
def test_what_the_server_sees(case: Case, seen: Callable[[Case], Seen]) -> None:
    """The faulty model is asked as often as the table says, with the gaps that it says, then the healthy."""
    met, there = seen(case), (case.wire, case.streams)
    assert [(request.wire, request.stream) for request in met.faulty] == [there] * case.tries
    assert len(met.healthy) == int(not (case.answers or case.ends_the_call))
    gaps = [after.at - before.at for before, after in pairwise(met.faulty)]
    assert met.waits == case.waits
    assert [gap for gap, wait in zip(gaps, case.waits, strict=True) if gap < wait - 0.001] == []


# Over everything


def test_a_model_that_failed_is_benched(seen: Callable[[Case], Seen]) -> None:
    """One that was healthy, and only could not take this request, is not."""
    failed = {str(c) for c in EVERYTHING if not c.answers and KINDS[c.reasons[0]] != "request_specific"}
    assert {str(case) for case in EVERYTHING if seen(case).benched} == failed


def test_no_answer_is_truncated(seen: Callable[[Case], Seen]) -> None:
    """What is handed over as an answer is all that some model said, and what a stream showed is the same."""
    whole = {PROMPT, HEALTHY, RECOVERED}
    truncated = [
        (str(case), call.text)
        for case in EVERYTHING
        for call in (seen(case).first, seen(case).second)
        if call.response is not None and not (call.response.text == call.text and call.text in whole)
    ]
    assert truncated == []


def test_what_came_of_an_answer_is_its_beginning(seen: Callable[[Case], Seen]) -> None:
    """The text of an interruption is what a model had said until then, and not nothing."""
    said = {str(c): seen(c).first.text for c in CASES if c.ends_the_call and c.reasons != ["content_filter"]}
    assert [name for name, text in said.items() if not text] == []
    assert [
        name
        for name, text in said.items()
        if not PROMPT.startswith(text) and not (name.startswith("endless") and set(text.split()) == {"word"})
    ] == []


def test_who_is_silent_is_asked_once(seen: Callable[[Case], Seen]) -> None:
    """A silent model stays silent: it is left at once."""
    silent = [case for case in EVERYTHING if "timeout" in case.reasons]
    assert {len(seen(case).faulty) for case in silent} == {1}


def test_no_model_is_asked_too_often(seen: Callable[[Case], Seen]) -> None:
    """No fault makes one call ask one model more than ``max_retries`` times."""
    times = {len(some) for case in EVERYTHING for some in (seen(case).faulty, seen(case).healthy)}
    assert max(times | {seen(case).asked_again for case in EVERYTHING}) == ATTEMPTS


def test_a_call_after_the_fault_is_answered(seen: Callable[[Case], Seen]) -> None:
    """The same chain goes on over the connections that the fault has left, and no answer is another's."""
    answers = {str(case): seen(case).second.text for case in EVERYTHING}
    expected = {str(case): RECOVERED for case in EVERYTHING if case.recovers}
    assert {name: answers[name] for name in expected} == expected
    assert set(answers.values()) == {PROMPT, HEALTHY, RECOVERED}


def test_nothing_is_left(seen: Callable[[Case], Seen]) -> None:
    """When all is closed, no connection is open and no thread runs that did not run before."""
    left = [str(case) for case in EVERYTHING if not seen(case).unconnected or seen(case).left_running]
    assert left == []


def test_a_refusal_costs_no_connection(seen: Callable[[Case], Seen]) -> None:
    """Where the fault was a whole response, all requests go over one connection."""
    whole = {"429", "503x5", "down", "context", "html", "empty"}
    costly = {
        str(case)
        for case in CASES
        if case.fault.script in whole
        and len({request.connection for request in (*seen(case).faulty, *seen(case).healthy)}) > 1
    }
    assert costly == set()


@pytest.mark.parametrize("case", IN_PROCESS, ids=str)
def test_in_process_it_comes_to_the_same(case: Case) -> None:
    """``sim/…`` fails as the openai wire does."""
    world = World(HastySim(), case.path)
    if case.limit is not None:
        world.provider.limits[case.model] = Timeouts(**{case.limit: HURRY})
    called = world.ask(world.chain(case.model, HEALTHY_SCRIPT), case.fault.prompt)
    world.caller.close(world.provider)
    assert (world.rows(case), world.clock.waits) == (case.rows, case.waits)
    assert (called.response is None) == case.ends_the_call


# A faulty model alone


@every_wire
@every_path
@pytest.mark.parametrize(
    ("script", "reason", "tries"),
    [
        ("503x5", "overloaded", 2),
        ("429:60", "rate_limit", 1),
        ("context", "context_length", 1),
        ("auth", "credentials", 1),
        ("html", "malformed", 2),
        ("reset", "connection", 2),
    ],
)
def test_alone_a_fault_is_all_there_is(
    server: FaultServer, wire: str, path: str, script: str, reason: str, tries: int
) -> None:
    """Without another model the call fails with that model's last error, asked no more often than else."""
    with world_of(server, wire, path) as world:
        error = world.ask(world.chain(script)).error
        assert (type(error), error.specs, len(asked(server, script))) == (
            fo.AllModelsFailed,
            (f"lab/{script}",),
            tries,
        )
        assert [(cause.reason, cause.kind) for cause in error.exceptions] == [(reason, KINDS[reason])]


@every_wire
@every_path
@pytest.mark.parametrize("script", ["500+echo", "flap", "reset+echo", "cut:0+echo", "html+echo"])
def test_alone_a_second_attempt_answers(server: FaultServer, wire: str, path: str, script: str) -> None:
    """What goes by is retried in place."""
    with world_of(server, wire, path) as world:
        assert world.ask(world.chain(script)).text == PROMPT
        assert len(asked(server, script)) == 2


@every_wire
@every_path
def test_alone_a_wait_within_the_deadline_is_waited(server: FaultServer, wire: str, path: str) -> None:
    """A wait that is longer than ``max_wait`` is waited where no other model is left and time allows it."""
    with world_of(server, wire, path) as world:
        called = world.ask(world.chain("429:0.05+echo", max_wait=0.01, deadline=60))
        before, after = asked(server, "429:0.05+echo")
        assert (called.text, world.clock.waits, after.at - before.at >= 0.049) == (PROMPT, [0.05], True)


@every_wire
@every_stream
def test_alone_a_broken_answer_is_told_whole(server: FaultServer, wire: str, path: str) -> None:
    """With ``restart`` the caller has the beginning, is told to throw it away, and gets all of it."""
    with world_of(server, wire, path) as world:
        called = world.ask(world.chain("cut:7+echo", midstream="restart"))
        kinds = [chunk.kind for chunk in called.chunks]
        assert (called.text, kinds.count("restart")) == (PROMPT, 1)
        assert "".join(chunk.text for chunk in called.chunks[: kinds.index("restart")]) == PROMPT[:7]


# Faults in a row


@every_wire
@every_stream
def test_a_fallback_is_not_asked_to_finish_anothers_answer(server: FaultServer, wire: str, path: str) -> None:
    """A model that refuses a trailing assistant message can stand in for one that broke off."""
    with world_of(server, wire, path) as world:
        called = world.ask(world.chain("cut:7", "noprefill", midstream="restart"))
        assert (called.text, called.response.model) == (PROMPT, "lab/noprefill")


@every_wire
@every_path
def test_a_flapping_model_fails_nobody(server: FaultServer, wire: str, path: str) -> None:
    """A model that fails every other time is left every other time, and each call is answered."""
    with world_of(server, wire, path) as world:
        chain = world.chain("flap", HEALTHY_SCRIPT, max_retries=1, cooldown=0)
        assert [world.ask(chain).text for _ in range(4)] == [HEALTHY, PROMPT, HEALTHY, PROMPT]


@every_wire
@every_path
@pytest.mark.parametrize("script", ["trickle:0.02", "silent"])
def test_nothing_outlives_the_deadline(server: FaultServer, wire: str, path: str, script: str) -> None:
    """However slowly a server sends, the call ends when its time is over, and nobody else is asked."""

    def run(seconds: float) -> tuple[type[Exception], bool, list[Received], list[Received]]:
        with world_of(server, wire, path) as world:
            error = world.ask(world.chain(script, HEALTHY_SCRIPT, deadline=seconds)).error
            closed = server.wait_closed(LONG, model=script) if asked(server, script) else False
            return type(error), closed, asked(server, script), asked(server, HEALTHY_SCRIPT)

    error, closed, faulty, healthy = patiently(run, lambda seen: bool(seen[2]))
    assert (error, closed, len(faulty), len(healthy)) == (fo.DeadlineExceeded, True, 1, 0)


@every_wire
@every_stream
def test_no_flood_outlives_the_deadline(server: FaultServer, wire: str, path: str) -> None:
    """A stream without an end ends with the call's time; the text until then is in the error."""

    def run(seconds: float) -> tuple[Called, bool]:
        with world_of(server, wire, path) as world:
            called = world.ask(world.chain("endless", deadline=seconds))
            return called, server.wait_closed(LONG, model="endless") if called.text else False

    called, closed = patiently(run, lambda seen: bool(seen[0].text))
    assert (type(called.error), called.error.text, closed) == (fo.DeadlineExceeded, called.text, True)
