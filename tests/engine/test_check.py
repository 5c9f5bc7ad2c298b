"""A chain's own check of each answer: what it is shown, and what its no does, over all four call paths."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Iterator

import pytest

import llm_failover_nb as fo
from llm_failover_nb.engine.classify import Verdict
from llm_failover_nb.engine.explain import explain
from tests.engine.conftest import Ask, Bed, chunks_of, dead, down, drive

TOLD = "the answer did not pass the check: "


def refuse(*texts: str) -> object:
    """A check that refuses these answers."""

    def check(response: fo.Response) -> None:
        if response.text in texts:
            raise ValueError(f"{response.text!r} will not do")

    return check


def blank(text: str) -> list[object]:
    """An answer of which nothing reaches the caller before its end."""
    return [fo.Chunk(text)]


@pytest.fixture(params=["complete", "acomplete"])
def whole(request: pytest.FixtureRequest) -> str:
    """The name of each of the two calls whose answer comes at once."""
    return request.param


# What it is shown


def test_answer_that_passes_counts(bed: Bed, ask: Ask) -> None:
    """A check that raises nothing changes nothing, whatever it returns."""
    response = ask(bed.chain({"a": "ok", "b": "no"}, check=lambda response: False))
    assert (response.text, response.model, bed.events, bed.asked("b")) == ("ok", "a/m", [], 0)


def test_check_is_shown_the_answer_as_the_caller_gets_it(bed: Bed, ask: Ask) -> None:
    """The same in all but the attempts, of which the present one is not yet known."""
    said = fo.Response("ok", "m-1", "stop", fo.Usage(3, 2), cost=0.5, reasoning="hm", finish="stop")
    seen: list[fo.Response] = []
    response = ask(bed.chain({"a": dead(), "b": said}, check=seen.append))
    (shown,) = seen
    assert [
        (r.text, r.model, r.finish_reason, r.finish, r.usage, r.cost, r.reasoning, r.latency, r.first_token)
        for r in seen
    ] == [
        (
            "ok", "b/m", "stop", "stop", fo.Usage(3, 2), 0.5, "hm", response.latency, response.first_token,
        )
    ]  # fmt: skip
    assert shown.attempts == response.attempts[:1]


def test_check_is_asked_once_an_answer(bed: Bed, ask: Ask) -> None:
    """Not for failures, and not again for what has passed."""
    seen: list[str] = []
    ask(bed.chain({"a": (down(), "ok")}, check=lambda response: seen.append(response.text)))
    assert seen == ["ok"]


def test_check_holds_no_lock(bed: Bed, ask: Ask) -> None:
    """It may call the benches, the log and the chain itself, from another thread too."""

    def check(response: fo.Response) -> None:
        def use() -> None:
            seen.append((len(list(bed.log)), bed.benches.is_benched("a/m"), other.complete("hi").text))

        thread = threading.Thread(target=use)
        thread.start()
        thread.join(timeout=10)

    seen: list[object] = []
    other = bed.chain({"b": "nested"})
    ask(bed.chain({"a": "ok"}, check=check))
    assert seen == [(0, False, "nested")]


def test_answer_of_blanks_alone_is_checked(bed: Bed, streaming: str) -> None:
    """With the blanks, before the caller gets them."""
    seen: list[str] = []
    ask = bed.chain({"a": [" ", "\n"]}, check=lambda response: seen.append(response.text))
    assert ([c.text for c in chunks_of(streaming, ask)], seen) == ([" \n", ""], [" \n"])


def test_what_is_no_answer_is_not_checked(bed: Bed, ask: Ask) -> None:
    """A provider that returns something else has failed before there is anything to check."""

    class Odd:
        keeps_time = True

        def complete(self, request: fo.Request) -> object:
            return "no Response"

        def stream(self, request: fo.Request) -> object:
            yield fo.Chunk(kind="done", response=fo.Response(text=5))

    seen: list[object] = []
    bed.registry.register("a", Odd())
    with pytest.raises(fo.AllModelsFailed, match=r"instead of (a Response|str and Usage)"):
        ask(fo.parse_chain("a/m", max_retries=1, check=seen.append, **bed.world))
    assert seen == []


def test_late_answer_is_not_checked(bed: Bed, ask: Ask) -> None:
    """It does not count in any case, and the time is up."""

    def late(request: fo.Request) -> str:
        bed.clock.advance(10)
        return "late"

    seen: list[object] = []
    with pytest.raises(fo.DeadlineExceeded):
        ask(bed.chain({"a": late}, deadline=5, check=seen.append))
    assert seen == []


def test_deadline_that_passes_in_the_check_ends_the_call(bed: Bed, ask: Ask) -> None:
    """Whatever the check says: its time is the call's."""

    def slow(response: fo.Response) -> None:
        bed.clock.advance(10)
        raise ValueError("no")

    with pytest.raises(fo.DeadlineExceeded) as caught:
        ask(bed.chain({"a": "ok", "b": "no"}, deadline=5, check=slow))
    assert (caught.value.text, bed.asked("b"), bed.events) == ("ok", 0, [])


# What a no does


def refused_first(bed: Bed, ask: Ask, **options: object) -> fo.Response:
    """A call whose first model's answer is refused, before content where it streams."""
    return ask(bed.chain({"a": blank(" "), "b": "ok"}, check=refuse(" "), **options))


def test_refused_answer_is_the_next_models_turn(bed: Bed, ask: Ask) -> None:
    """One attempt, no wait, no bench, one event."""
    assert refused_first(bed, ask).model == "b/m"
    assert (bed.asked("a"), bed.clock.sleeps, bed.benched()) == (1, [], {})
    (event,) = bed.events
    assert (event.model, event.kind, event.benched, event.next_model) == (
        "a/m", fo.ErrorKind.REQUEST_SPECIFIC, False, "b/m",
    )  # fmt: skip


def test_refusal_says_what_the_check_said(bed: Bed, ask: Ask) -> None:
    """Reason, message and rule are on the error, and the exception is its cause."""
    refused_first(bed, ask)
    error = bed.events[0].error
    assert (str(error), error.reason, error.model, error.rule) == (
        f"{TOLD}' ' will not do", "invalid_answer", "a/m", "check",
    )  # fmt: skip
    assert repr(error.__cause__) == repr(ValueError("' ' will not do"))


def test_refusal_keeps_no_frames(bed: Bed, ask: Ask) -> None:
    """Neither of the error nor of its cause: they hold requests, and the keys in them."""

    def check(response: fo.Response) -> None:
        if response.model == "a/m":
            try:
                raise KeyError("inner")
            except KeyError as inner:
                raise ValueError("outer") from inner

    ask(bed.chain({"a": blank(" "), "b": "ok"}, check=check))
    error = bed.events[0].error
    cause = error.__cause__
    assert (error.__traceback__, error.__context__) == (None, None)
    assert (cause.__traceback__, cause.__cause__, cause.__context__) == (None, None, None)


def test_row_of_a_refused_answer_tells_what_it_used(bed: Bed, ask: Ask) -> None:
    """It is a failover by the table of reasons, and was paid for."""
    said = fo.Response(" ", usage=fo.Usage(3, 2, cost=0.5))
    ask(bed.chain({"a": said, "b": "ok"}, check=refuse(" ")))
    row = next(iter(bed.log))
    assert (row.model, row.outcome, row.kind, row.reason) == (
        "a/m", "failover", "request_specific", "invalid_answer",
    )  # fmt: skip
    assert (row.input_tokens, row.output_tokens, row.cost) == (3, 2, 0.5)


def test_every_answer_refused_is_a_total_failure(bed: Bed, ask: Ask) -> None:
    """Each model has its line."""
    chain = bed.chain({"a": blank(" "), "b": blank(" ")}, check=refuse(" "))
    with pytest.raises(fo.AllModelsFailed) as caught:
        ask(chain)
    line = f"{TOLD}' ' will not do"
    assert str(caught.value) == f"failover: all 2 models in chain failed\na/m: {line}\nb/m: {line}"


def test_refusal_is_evidence_of_health(bed: Bed, ask: Ask) -> None:
    """The model answered: as a probe it frees its place, and its bench is not renewed."""
    bed.half_open("a/m")
    refused_first(bed, ask)
    assert (bed.benches.blocked("a/m", call=-1), bed.benched()) == (False, {})


def test_refusal_is_not_the_classifiers(bed: Bed, ask: Ask) -> None:
    """The chain's own classify is not asked what a refused answer means."""
    seen: list[BaseException] = []

    def judge(error: BaseException) -> Verdict:
        seen.append(error)
        return Verdict(fo.ErrorKind.AUTH_DEAD, "mine")

    refused_first(bed, ask, classify=judge)
    assert (seen, bed.benched(), bed.events[0].error.reason) == ([], {}, "invalid_answer")


def test_failures_after_a_refusal_are_the_classifiers(bed: Bed, ask: Ask) -> None:
    """A no to one answer says nothing of the next attempt."""
    verdict = Verdict(fo.ErrorKind.AUTH_DEAD, "mine")
    chain = bed.chain(
        {"a": blank(" "), "b": down(), "c": "ok"}, check=refuse(" "), classify=lambda e: verdict
    )
    ask(chain)
    assert [e.error.reason for e in bed.events] == ["invalid_answer", "mine"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AssertionError("no list"), "no list"),
        (AssertionError(), "AssertionError"),
        (KeyError("name"), "KeyError: 'name'"),
        (StopIteration("x"), "StopIteration: x"),
        (fo.ProviderError("no reason given"), "ProviderError: no reason given"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_the_check_raises_is_a_no(bed: Bed, ask: Ask, error: Exception, said: str) -> None:
    """Also what it did not mean to; then its type is named."""

    def check(response: fo.Response) -> None:
        if response.model == "a/m":
            raise error

    assert ask(bed.chain({"a": blank(" "), "b": "ok"}, check=check)).model == "b/m"
    assert (str(bed.events[0].error), bed.events[0].error.__cause__) == (TOLD + said, error)


@pytest.mark.parametrize("reason", ["too_short", "rate_limit", "credentials"])
def test_reason_of_the_checks_own_is_kept(bed: Bed, ask: Ask, reason: str) -> None:
    """The error stays as it is, but means no more than that this answer will not do."""
    own = fo.ProviderError("too short", kind=fo.ErrorKind.AUTH_DEAD, reason=reason, retry_after=99)

    def check(response: fo.Response) -> None:
        if response.model == "a/m":
            raise own

    for name, script in (("a", blank(" ")), ("b", "ok")):
        bed.chain({name: script})
        bed.providers[name].key = "the same"
    chain = fo.parse_chain("a/m,b/m", check=check, observer=bed.events.append, **bed.world)
    assert (ask(chain).model, bed.benched(), bed.asked("a")) == ("b/m", {}, 1)
    error = bed.events[0].error
    assert bed.events[0].benched_too == ()
    assert (error, error.kind, error.reason, error.rule) == (
        own, fo.ErrorKind.REQUEST_SPECIFIC, reason, "check",
    )  # fmt: skip


def test_check_may_be_a_content_filter(bed: Bed, ask: Ask) -> None:
    """Then the policy for those holds, which is not to be routed around."""

    def check(response: fo.Response) -> None:
        raise fo.ProviderError("not for here", reason="content_filter")

    with pytest.raises(fo.ProviderError, match="not for here"):
        ask(bed.chain({"a": "ok", "b": "no"}, check=check, content_filter="stop", midstream="restart"))
    assert bed.asked("b") == 0


def test_explain_names_the_check(bed: Bed) -> None:
    """The rule that decided is the chain's own check."""
    with pytest.raises(fo.AllModelsFailed) as caught:
        bed.chain({"a": "x"}, check=refuse("x")).complete("hi")
    first, second = explain(caught.value).split("\n")
    assert first == (
        "a/m: the model answered, but not as it should (request_specific, invalid_answer; decided by the "
        f"chain's own check): \"{TOLD}'x' will not do\""
    )
    assert second.startswith("say in the prompt what the answer must look like")


def test_secrets_in_what_the_check_says_are_masked(bed: Bed, ask: Ask) -> None:
    """An answer that repeats a key does not get it into rows and messages."""
    fo.Secret("sk-canary-9876543210")
    with pytest.raises(fo.AllModelsFailed) as caught:
        ask(
            bed.chain(
                {"a": "sk-canary-9876543210"}, midstream="restart", check=refuse("sk-canary-9876543210")
            )
        )
    assert "canary" not in str(caught.value) + repr(list(bed.log))


# Streams


def test_refusal_after_content_raises(bed: Bed, streaming: str) -> None:
    """The caller has the text, so that another model's would not follow on it."""
    chain = bed.chain({"a": ["no ", "good"], "b": "ok"}, check=refuse("no good"))
    with pytest.raises(fo.StreamInterrupted) as caught:
        chunks_of(streaming, chain)
    assert (caught.value.text, caught.value.__cause__.reason) == ("no good", "invalid_answer")
    assert (bed.asked("b"), bed.benched(), bed.outcomes()) == (0, {}, [("a/m", "interrupted")])


def test_refusal_after_content_restarts_with_the_next_model(bed: Bed, streaming: str) -> None:
    """The same model is not asked again: its answer would be no better."""
    chain = bed.chain({"a": ["no ", "good"], "b": "ok"}, check=refuse("no good"), midstream="restart")
    chunks = chunks_of(streaming, chain)
    assert [(c.kind, c.text) for c in chunks] == [
        ("text", "no "), ("text", "good"), ("restart", ""), ("text", "ok"), ("done", ""),
    ]  # fmt: skip
    assert (bed.asked("a"), chunks[-1].response.model, bed.clock.sleeps, bed.benched()) == (1, "b/m", [], {})


def test_refusal_before_content_hands_on_nothing(bed: Bed, streaming: str) -> None:
    """Neither the blanks nor a restart."""
    chunks = chunks_of(streaming, bed.chain({"a": [" ", "\n"], "b": "ok"}, check=refuse(" \n")))
    assert [(c.kind, c.text) for c in chunks] == [("text", "ok"), ("done", "")]


def test_refused_stream_has_been_closed(bed: Bed, streaming: str) -> None:
    """The check runs when the request is off the wire."""

    class Provider:
        keeps_time = True

        def complete(self, request: fo.Request) -> fo.Response:
            return fo.Response("unused")

        def stream(self, request: fo.Request) -> Iterator[fo.Chunk]:
            try:
                yield fo.Chunk("ok")
            finally:
                order.append("closed")

    order: list[str] = []
    bed.add("a", Provider())
    chain = fo.parse_chain("a/m", check=lambda response: order.append("checked"), **bed.world)
    chunks_of(streaming, chain)
    assert order == ["closed", "checked"]


# Cancelling


@pytest.mark.parametrize(
    "cancel", [asyncio.CancelledError, concurrent.futures.CancelledError, KeyboardInterrupt, SystemExit]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_cancel_in_the_check_stops_at_once(bed: Bed, path: str, cancel: type[BaseException]) -> None:
    """An interrupt while the check runs is the caller's wish, and says nothing of the answer."""

    def check(response: fo.Response) -> None:
        raise cancel

    bed.half_open("a/m")
    with pytest.raises(cancel):
        drive(path, bed.chain({"a": "ok", "b": "no"}, check=check))
    assert (bed.asked("b"), bed.events, bed.outcomes()) == (0, [], [("a/m", "cancelled")])
    assert not bed.benches.blocked("a/m", call=-1)


# What is no check


class AsyncCallable:
    """An object whose call is a coroutine function."""

    async def __call__(self, response: fo.Response) -> None: ...


async def coroutine_function(response: fo.Response) -> None: ...


@pytest.mark.parametrize(
    "check",
    [coroutine_function, functools.partial(coroutine_function), AsyncCallable()],
    ids=type,
)
def test_check_that_nobody_would_await_is_refused(bed: Bed, check: object) -> None:
    """It would let every answer pass."""
    with pytest.raises(TypeError, match="is a coroutine function, which would never be awaited"):
        bed.chain({"a": "ok"}, check=check)


def test_check_that_cannot_be_called_is_refused(bed: Bed) -> None:
    """When the chain is built, not when it is asked."""
    with pytest.raises(TypeError, match="check='json' is not callable"):
        bed.chain({"a": "ok"}, check="json")


def test_check_may_be_none(bed: Bed, ask: Ask) -> None:
    """As any option that is the default."""
    assert ask(bed.chain({"a": "ok"}, check=None)).text == "ok"


def test_check_of_a_spliced_chain_stays_behind(bed: Bed, ask: Ask) -> None:
    """As its policy and its observer do."""
    inner = bed.chain({"a": "ok"}, check=refuse("ok"))
    assert ask(fo.parse_chain([inner], **bed.world)).text == "ok"


def test_chain_in_a_provider_keeps_its_check(bed: Bed, whole: str) -> None:
    """Its refusals are its own affair: the outer chain sees a model that answers."""
    bed.add("inner", bed.chain({"a": "bad", "b": "ok"}, check=refuse("bad")))
    response = drive(whole, fo.parse_chain("inner/any", **bed.world))
    assert response.text == "ok"
