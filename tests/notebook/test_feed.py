"""The feed: what happened, in sentences."""

from __future__ import annotations

import asyncio
import contextlib
import math
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given

import llm_failover_nb as fo
from llm_failover_nb.engine.events import AttemptRecord, EventLog
from llm_failover_nb.notebook.board import Decision
from llm_failover_nb.notebook.feed import _DID, DECISIONS, OPEN_CALLS, Feed
from llm_failover_nb.notebook.render.words import REASONS
from llm_failover_nb.testing import FakeClock, ScriptedProvider
from tests.notebook.rows import NOON, any_rows, failed, row

LONG = "Tell me of the clock tower, and of the people who wind it up each morning."


class World:
    """A clock, benches and a log of its own, and a feed that follows it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = EventLog()
        self.benches = fo.BenchRegistry(clock=self.clock, log=self.log)
        self.registry = fo.Registry()
        self.feed = Feed()
        self._position = 0

    def chain(self, specs: str, **options: object) -> fo.Chain:
        world = {"clock": self.clock, "log": self.log, "benches": self.benches, "registry": self.registry}
        return fo.parse_chain(specs, **world | options)  # type: ignore[arg-type]  # options by name

    def complete(self, specs: str, **options: object) -> None:
        """Ask, whatever comes of it."""
        self._ask(lambda: self.chain(specs, **options).complete("hi"))

    def stream(self, specs: str, **options: object) -> None:
        """The same as a stream."""
        self._ask(lambda: list(self.chain(specs, **options).stream(LONG)))

    def texts(self) -> list[str]:
        """The sentences, newest first."""
        self._follow()
        return [decision["text"] for decision in self.feed.decisions()]

    def _ask(self, ask: Callable[[], object]) -> None:
        with contextlib.suppress(fo.FailoverError):
            ask()
        self._follow()

    def _follow(self) -> None:
        rows, self._position = self.log.since(self._position)
        for each in rows:
            self.feed.add(each)


@pytest.fixture
def world() -> World:
    return World()


def feed_of(*rows: AttemptRecord) -> Feed:
    feed = Feed()
    for each in rows:
        feed.add(each)
    return feed


def last(feed: Feed) -> Decision:
    return feed.decisions()[0]


# Calls, as the engine writes them


@pytest.mark.parametrize(
    ("model", "did"),
    [
        ("503", "answered HTTP 503 three times and is benched for 5 min"),
        ("500", "answered HTTP 500 three times and is benched for 5 min"),
        ("504", "answered HTTP 504 three times and is benched for 5 min"),
        ("418", "answered HTTP 418 three times and is benched for 5 min"),
        ("429", "hit its rate limit (HTTP 429) three times and is benched for 5 min"),
        ("429:30", "hit its rate limit (HTTP 429) and is benched for 30 s"),
        ("auth", "refused the key (HTTP 401) and is benched for 5 min"),
        ("quota", "said that the account's quota is used up (HTTP 429) and is benched for 5 min"),
        ("403", "refused this key access (HTTP 403) and is benched for 5 min"),
        ("gone", "is unknown to its provider (HTTP 404) and is benched for 5 min"),
        ("context", "could not take a prompt this long (HTTP 400)"),
        ("bad", "refused the request (HTTP 400)"),
        ("html", "sent something other than an answer three times and is benched for 5 min"),
        ("empty", "said nothing three times and is benched for 5 min"),
        ("cut:40", "broke off mid-answer three times and is benched for 5 min"),
        ("reset", "could not be reached three times and is benched for 5 min"),
        ("timeout", "did not answer in time and is benched for 5 min"),
        ("503x2+429:1", "answered HTTP 503 twice, hit its rate limit (HTTP 429) and is benched for 5 min"),
    ],
)
def test_a_model_fails_and_the_next_answers(world: World, model: str, did: str) -> None:
    """What it did, how often, what follows for it, and who answered."""
    world.complete(f"sim/{model},sim/echo")

    assert world.texts() == [f"sim/{model} {did}; sim/echo answered"]


@pytest.mark.parametrize(
    ("specs", "options", "text"),
    [
        ("sim/500x2,sim/echo", {}, "sim/500x2 answered HTTP 500 twice, then gave its answer"),
        (
            "sim/500+504+echo",
            {"max_retries": 5},
            "sim/500+504+echo answered HTTP 500 and HTTP 504, then gave its answer",
        ),
        (
            "sim/auth,sim/gone",
            {},
            (
                "sim/auth refused the key (HTTP 401) and is benched for 5 min; "
                "sim/gone is unknown to its provider (HTTP 404) and is benched for 5 min; no model was left"
            ),
        ),
        (
            "sim/filter,sim/echo",
            {},
            "sim/filter refused the prompt by its content filter (HTTP 400); the call ended there",
        ),
        (
            "sim/filter,sim/echo",
            {"content_filter": "next"},
            "sim/filter refused the prompt by its content filter (HTTP 400); sim/echo answered",
        ),
        ("sim/bad", {}, "sim/bad refused the request (HTTP 400); no model was left"),
        (
            "sim/down",
            {"deadline": 30.0, "backoff": lambda _: 60.0},
            "sim/down answered HTTP 503; the call ended there",
        ),
        (
            "sim/down,sim/echo",
            {"bench_threshold": 3},
            "sim/down answered HTTP 503 three times; sim/echo answered",
        ),
        ("openai/x,groq/y", {}, "openai/x and groq/y have no key; no model could be asked"),
        (
            "openai/x,sim/gone",
            {},
            (
                "sim/gone is unknown to its provider (HTTP 404) and is benched for 5 min; "
                "openai/x has no key; no model was left"
            ),
        ),
        (
            "openai/x,sim/gone,sim/echo",
            {},
            "sim/gone is unknown to its provider (HTTP 404) and is benched for 5 min; sim/echo answered",
        ),
        (
            "sim/auth,sim/quota,sim/gone,sim/403,sim/bad,sim/context,sim/echo",
            {},
            (
                "sim/auth refused the key (HTTP 401) and is benched for 5 min; "
                "sim/quota said that the account's quota is used up (HTTP 429) and is benched for 5 min; "
                "sim/gone is unknown to its provider (HTTP 404) and is benched for 5 min; "
                "sim/403 refused this key access (HTTP 403) and is benched for 5 min; "
                "2 more models failed; sim/echo answered"
            ),
        ),
    ],
)
def test_a_call_in_a_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch, specs: str, options: dict[str, object], text: str
) -> None:
    """From the first thing that went wrong to its end."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    world.registry = fo.Registry()
    world.complete(specs, registry=None, **options)

    assert world.texts() == [text]


def test_an_answer_that_breaks_off(world: World) -> None:
    """The caller has some of it already: nobody else is asked."""
    world.stream("sim/cut:40,sim/echo")

    assert world.texts() == ["sim/cut:40 broke off mid-answer and is benched for 5 min; the call ended there"]


def test_an_answer_that_begins_anew(world: World) -> None:
    """A cell restarts with the next model."""
    world.stream("sim/cut:40,sim/echo", midstream="restart", max_retries=1)

    assert world.texts() == ["sim/cut:40 broke off mid-answer and is benched for 5 min; sim/echo answered"]


def test_clean_calls_are_no_decisions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a key that is missing one, as long as somebody answers."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    world.complete("sim/echo", registry=None)
    world.complete("openai/x,sim/echo", registry=None)

    assert world.texts() == []


def test_a_key_that_two_models_share(world: World) -> None:
    """Both are benched, by the failure of one."""
    refused = fo.ProviderError("no", status=401, body='{"error": {"code": "invalid_api_key"}}')
    provider = ScriptedProvider(refused, name="lab")
    provider.key = lambda: "one"  # type: ignore[attr-defined]  # what tells its key from others
    world.registry.register("lab", provider)
    world.complete("lab/a,lab/b,sim/echo")

    assert world.texts() == [
        (
            "lab/a refused the key (HTTP 401) and is benched for 5 min, lab/b too, for the same key; "
            "sim/echo answered"
        ),
    ]


def test_a_model_answers_again(world: World) -> None:
    """The probe after a bench has run out."""
    provider = ScriptedProvider(fo.ProviderError("no", status=401), "yes", name="lab")
    world.registry.register("lab", provider)
    world.complete("lab/a")
    world.clock.advance(301)
    world.complete("lab/a")

    assert world.texts()[0] == "lab/a answered again; its bench had run out"


def test_a_benched_model_answers_after_all(world: World) -> None:
    """Asked since nothing else was left: its bench is lifted."""
    provider = ScriptedProvider(fo.ProviderError("no", status=401), "yes", name="lab")
    world.registry.register("lab", provider)
    world.complete("lab/a")
    world.complete("lab/a")

    assert world.texts()[0] == "lab/a answered again; its bench is lifted"


def test_a_benched_model_answers_at_the_end_of_a_chain(world: World) -> None:
    """The call had other failures before."""
    dead = fo.ProviderError("no", status=401)
    world.registry.register("lab", ScriptedProvider(dead, "yes", name="lab"))
    world.registry.register("box", ScriptedProvider(dead, name="box"))
    world.complete("box/b,lab/a")
    world.complete("box/b,lab/a")

    assert world.texts()[0] == (
        "box/b refused the key (HTTP 401) and is benched for 5 min; "
        "lab/a answered again, and its bench is lifted"
    )


def test_what_the_operator_does(world: World) -> None:
    """Benches and lifts, which are no call's."""
    world.benches.bench("lab/a", for_=300)
    world.benches.bench("lab/a")
    world.benches.unbench("lab/a")

    assert world.texts() == [
        "the bench of lab/a was lifted by hand",
        "lab/a was benched by hand until lifted",
        "lab/a was benched by hand for 5 min",
    ]


def test_what_another_kernel_does() -> None:
    """A store that both share has told of it."""
    feed = feed_of(
        row("bench", reason="store", call=0, benched_for=300.0), row("unbench", reason="store", call=0)
    )

    assert [(each["text"], each["tone"]) for each in feed.decisions()] == [
        ("the bench of a/x was lifted by another kernel", "note"),
        ("a/x was benched by another kernel for 5 min", "note"),
    ]


def test_a_model_that_is_benched_while_a_call_waits_to_ask_it_again(world: World) -> None:
    """The call goes on to the next."""

    def bench(attempt: int) -> float:
        world.benches.bench("sim/down")
        return 0.0

    world.complete("sim/down,sim/echo", backoff=bench)

    assert world.texts() == [
        "sim/down answered HTTP 503 and was benched meanwhile; sim/echo answered",
        "sim/down was benched by hand until lifted",
    ]


def test_a_model_that_is_benched_while_it_is_asked(world: World) -> None:
    """Its answer is not waited for."""

    class Silent:
        async def acomplete(self, request: fo.Request) -> fo.Response:
            asyncio.get_running_loop().call_soon(world.benches.bench, "lab/a")
            await asyncio.Event().wait()
            raise AssertionError("it is never set")

        def astream(self, request: fo.Request) -> AsyncIterator[fo.Chunk]:
            raise NotImplementedError

    world.registry.register("lab", Silent())
    asyncio.run(world.chain("lab/a,sim/echo").acomplete("hi"))

    assert world.texts() == [
        "lab/a was benched by hand while it was asked; sim/echo answered",
        "lab/a was benched by hand until lifted",
    ]


def test_a_cancelled_call(world: World) -> None:
    """Who was asked then."""

    class Cancelled:
        def complete(self, request: fo.Request) -> fo.Response:
            raise KeyboardInterrupt

        def stream(self, request: fo.Request) -> Iterator[fo.Chunk]:
            raise KeyboardInterrupt

    world.registry.register("lab", Cancelled())
    with pytest.raises(KeyboardInterrupt):
        world.chain("sim/gone,lab/a").complete("hi")
    with pytest.raises(KeyboardInterrupt):
        world.chain("lab/a").complete("hi")

    assert world.texts() == [
        "cancelled while lab/a was asked",
        (
            "sim/gone is unknown to its provider (HTTP 404) and is benched for 5 min; "
            "cancelled while lab/a was asked"
        ),
    ]


# While a call goes on


def test_an_open_decision_says_who_is_asked() -> None:
    """It stays one decision, with its id and its time, while its words change."""
    retry = row("retry", reason="overloaded", status=503, attempt=1)
    bench, left = failed(attempt=2)
    feed, seen = Feed(), []
    for n, each in enumerate([retry, bench, left, row("ok", model="b/y", position=1)]):
        feed.add(each._replace(time=NOON + timedelta(seconds=n)))
        seen.append(last(feed))

    assert [(decision["text"], decision["open"]) for decision in seen] == [
        ("a/x answered HTTP 503; asking it again", True),
        ("a/x answered HTTP 503; asking it again", True),
        ("a/x answered HTTP 503 twice and is benched for 5 min; asking b/y", True),
        ("a/x answered HTTP 503 twice and is benched for 5 min; b/y answered", False),
    ]
    assert len({(decision["id"], decision["at"]) for decision in seen}) == 1


def test_a_deadline_that_cuts_an_attempt() -> None:
    """It is the clock's word, not the model's."""
    feed = feed_of(*failed(), row("cancelled", model="b/y", position=1, reason="deadline"))

    assert last(feed)["text"] == (
        "a/x answered HTTP 503 and is benched for 5 min; the deadline passed while b/y was asked"
    )


def test_a_call_that_is_gone() -> None:
    """Cancelled while it waited: no row says so, whoever knows that it has ended does."""
    feed = feed_of(row("retry", reason="overloaded", status=503))
    feed.gone(1)
    feed.gone(2)

    assert [(each["text"], each["open"], each["tone"]) for each in feed.decisions()] == [
        ("a/x answered HTTP 503; the call was cancelled", False, "note")
    ]


@pytest.mark.parametrize(
    ("rows", "tone"),
    [
        ([row("retry")], "failed"),
        ([row("retry"), row("ok")], "recovered"),
        ([*failed(), row("ok", model="b/y", position=1)], "recovered"),
        (failed(outcome="exhausted"), "failed"),
        (failed(outcome="interrupted"), "failed"),
        ([row("cancelled")], "note"),
        ([row("cancelled", reason="deadline")], "failed"),
        ([row("bench", reason="operator", call=0, benched_for=math.inf)], "edit"),
        ([row("unbench", reason="operator", call=0)], "edit"),
        ([row("unbench", reason="answered"), row("ok")], "recovered"),
    ],
)
def test_the_tone(rows: list[AttemptRecord], tone: str) -> None:
    """Of the end, or of how it stands."""
    assert last(feed_of(*rows))["tone"] == tone


def test_the_same_model_twice_in_a_chain() -> None:
    """Its second place is another entry."""
    left = failed(next_model="a/x")
    feed = feed_of(*left, row("ok", position=1))

    assert last(feed)["text"] == "a/x answered HTTP 503 and is benched for 5 min; a/x answered"


def test_the_same_model_fails_at_both_its_places() -> None:
    """It is told of each."""
    refused = {"reason": "bad_request", "status": 400}
    feed = feed_of(
        row("failover", **refused), row("exhausted", kind="request_specific", position=1, **refused)
    )

    assert last(feed)["text"] == (
        "a/x refused the request (HTTP 400); a/x refused the request (HTTP 400); no model was left"
    )


def test_a_model_answers_again_once() -> None:
    """What it answers after that is nothing new."""
    later = NOON + timedelta(seconds=400)
    feed = feed_of(*failed(call=1), row("ok", call=2, at=later), row("ok", call=3, at=later))

    assert [each["text"].partition("; ")[0] for each in feed.decisions()][:-1] == ["a/x answered again"]


def test_an_answer_after_a_lift() -> None:
    """The operator has lifted the bench: it did not run out."""
    later = NOON + timedelta(seconds=400)
    feed = feed_of(*failed(call=1), row("unbench", reason="operator", call=0), row("ok", call=2, at=later))

    assert last(feed)["text"] == "the bench of a/x was lifted by hand"


def test_an_answer_from_before_the_bench() -> None:
    """It was asked for earlier, and says nothing of the model now."""
    feed = feed_of(*failed(call=1), row("ok", call=2, at=NOON + timedelta(seconds=400), latency=350.0))

    assert len(feed.decisions()) == 1


@pytest.mark.parametrize("times", range(1, 10))
def test_how_often(times: int) -> None:
    """In words as far as one would."""
    words = ["", " twice", " three times", " four times", " five times", " six times"]
    said = words[times - 1] if times <= len(words) else f" {times} times"
    feed = feed_of(*[row("retry", reason="timeout") for _ in range(times)])

    assert last(feed)["text"] == f"a/x did not answer in time{said}; asking it again"


def test_many_kinds_of_failures_of_one_model() -> None:
    """Three are told, the others are counted."""
    retries = [row("retry", status=status) for status in (500, 501, 502, 503, 504)]

    assert last(feed_of(*retries))["text"] == (
        "a/x answered HTTP 500, HTTP 501 and HTTP 502 and failed otherwise twice; asking it again"
    )


def test_many_models_without_a_key() -> None:
    """Three are named, the others are counted."""
    chain = ",".join(f"lab/{n}" for n in range(9))
    rows = [row("skipped", model=f"lab/{n}", chain=chain, position=n, reason="no_key") for n in range(9)]

    assert [each["text"] for each in feed_of(*rows).decisions()] == [
        "lab/0, lab/1, lab/2 and 6 more have no key; no model could be asked"
    ]


def test_every_reason_has_its_words() -> None:
    """Those that are left out are no failure of a model that was asked."""
    assert set(_DID) == set(REASONS) - {"no_key", "benched", "deadline"}


@pytest.mark.parametrize("status", [None, 200])
def test_a_reason_without_a_status_of_its_own(status: int | None) -> None:
    """An error inside a 200 is told by what it is."""
    feed = feed_of(row("retry", reason="overloaded", status=status))

    assert last(feed)["text"] == "a/x was overloaded; asking it again"


@pytest.mark.parametrize("reason", ["made-up", ""])
def test_a_reason_that_nobody_knows(reason: str) -> None:
    """Somebody else's classifier has made it up."""
    assert last(feed_of(row("retry", reason=reason)))["text"] == "a/x failed; asking it again"


def test_names_are_one_line() -> None:
    """They cannot pretend to be anything else, and no error's own text is there."""
    rows = failed(
        model="a/x\n\u202e\x1b" + "y" * 500, next_model="b\n/y", error="the prompt", note="the prompt"
    )
    text = last(feed_of(*rows))["text"]

    assert "the prompt" not in text
    assert text.startswith("a/x yyy")
    assert text.endswith("; asking b /y")
    assert len(text) < 300


# Bounds


def test_the_last_decisions_are_kept() -> None:
    """The newest stands first."""
    rows = [row("bench", model=f"lab/{n}", reason="operator", call=0) for n in range(3 * DECISIONS)]
    ids = [decision["id"] for decision in feed_of(*rows).decisions()]

    assert ids == list(range(3 * DECISIONS, 2 * DECISIONS, -1))


def test_a_call_whose_decision_has_gone_stays_gone() -> None:
    """It does not come again with each of its rows."""
    edits = [row("bench", model=f"lab/{n}", reason="operator", call=0) for n in range(DECISIONS)]
    feed = feed_of(row("retry"), *edits, row("retry"), row("ok"))

    assert {decision["tone"] for decision in feed.decisions()} == {"edit"}


def test_a_call_that_never_ends_is_let_go() -> None:
    """It is open no more, and what comes of it later is a call of its own."""
    feed = feed_of(
        row("retry", call=-1), *[row("skipped", call=n, reason="no_key") for n in range(OPEN_CALLS)]
    )

    assert [(each["text"], each["open"]) for each in feed.decisions()] == [("a/x failed", False)]


@pytest.mark.parametrize("end", ["ok", "exhausted", "interrupted", "cancelled"])
def test_a_call_that_has_ended_is_followed_no_more(end: str) -> None:
    """Whatever came before."""
    for before in [row("retry"), row("unbench", reason="answered"), row("skipped", reason="no_key")]:
        assert not feed_of(before, row(end))._calls


def test_memory_does_not_grow_with_calls() -> None:
    """Ten times as many calls that never end are held in as much."""
    feed, calls = Feed(), count()

    def add(number: int) -> int:
        for _ in range(number):
            call = next(calls)
            for each in failed(call=call, model=f"lab/{call}"):
                feed.add(each)
        feed.decisions()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = add(3_000)
        assert add(30_000) - first < 100_000
    finally:
        tracemalloc.stop()


@given(any_rows)
def test_any_rows(rows: list[AttemptRecord]) -> None:
    """Whatever a log says, there are sentences: one line each, none empty, each with an id of its own."""
    feed = Feed()
    for each in rows:
        feed.add(each)
        decisions = feed.decisions()
        assert all(decision["text"].strip() and "\n" not in decision["text"] for decision in decisions)
        assert len({decision["id"] for decision in decisions}) == len(decisions)
