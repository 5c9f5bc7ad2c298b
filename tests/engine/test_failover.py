"""The policy loop, row by row of the design's tables, over all four call paths."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

import llm_failover_nb as fo
from llm_failover_nb.engine.classify import Verdict
from llm_failover_nb.engine.events import current_cell
from llm_failover_nb.engine.types import Timeouts
from llm_failover_nb.testing import ScriptedProvider
from tests.engine.conftest import (
    Ask,
    Bed,
    chunks_of,
    dead,
    down,
    drive,
    filtered,
    flood,
    refused,
    silence,
)

UNKNOWN = ValueError("what is this")


# An answer


def test_first_entry_answers(bed: Bed, ask: Ask) -> None:
    """The first model that answers is named whole, and nobody else is asked."""
    chain = bed.chain({"a": "hello there", "b": "no"})
    response = ask(chain)
    assert (response.text, response.model, bed.asked("b")) == ("hello there", "a/m", 0)


def test_provider_gets_the_bare_name_and_the_callers_fields(bed: Bed, ask: Ask) -> None:
    """The provider is handed the request with its own name for the model."""
    chain = bed.chain({"a": "ok"})
    ask(chain, "question", system="be brief", temperature=0.5, stop="END")
    (request,) = bed.providers["a"].requests
    assert (request.model, request.prompt, request.system, request.temperature, request.stop) == (
        "m", "question", "be brief", 0.5, ("END",),
    )  # fmt: skip


def test_every_field_of_the_call_reaches_the_provider(bed: Bed, ask: Ask) -> None:
    """None of them is lost on the way into an attempt."""
    fields = {
        "system": "be brief", "temperature": 0.5, "max_tokens": 7, "stop": ("END",), "seed": 3,
        "schema": {"type": "object"}, "extra": {"top_k": 5},
    }  # fmt: skip
    ask(bed.chain({"a": "ok"}), **fields)
    (request,) = bed.providers["a"].requests
    assert {name: getattr(request, name) for name in fields} == fields


def test_answer_keeps_what_the_provider_says_of_it(bed: Bed, ask: Ask) -> None:
    """All but the model's name, which is the chain's to give."""
    tool = {"index": 0}
    said = fo.Response(
        "ok", "m-0613", "stop", fo.Usage(3, 2, cost=0.5), cost=0.25, reasoning="hm", tool_calls=(tool,)
    )
    r = ask(bed.chain({"a": said}))
    assert (r.text, r.model, r.finish_reason, r.usage, r.cost, r.reasoning, r.tool_calls) == (
        "ok", "a/m", "stop", fo.Usage(3, 2, cost=0.5), 0.25, "hm", (tool,),
    )  # fmt: skip


def test_cost_may_come_with_the_usage(bed: Bed, ask: Ask) -> None:
    """The provider's own price, wherever it says it."""
    assert ask(bed.chain({"a": fo.Response("ok", usage=fo.Usage(cost=0.5))})).cost == 0.5


def test_every_attempt_is_told_its_number(bed: Bed, ask: Ask) -> None:
    """A provider can see the how-manieth attempt of this call it is."""
    chain = bed.chain({"a": (down(), down(), "ok")})
    ask(chain)
    assert [request.attempt for request in bed.providers["a"].requests] == [1, 2, 3]


def test_response_carries_one_record_an_attempt(bed: Bed, ask: Ask) -> None:
    """Failed attempts are in the answer's record, in order, with what they waited for."""
    chain = bed.chain({"a": down(), "b": "ok"}, max_retries=2)
    response = ask(chain)
    assert [(r.model, r.attempt, r.outcome, r.status) for r in response.attempts] == [
        ("a/m", 1, "retry", 503),
        ("a/m", 2, "failover", 503),
        ("b/m", 1, "ok", None),
    ]


def test_rows_tell_each_attempt_whole(bed: Bed, path: str) -> None:
    """Every column of a failed attempt and of an answer, in the log as in the response."""

    def fails(request: fo.Request) -> fo.ProviderError:
        bed.clock.advance(3)
        return dead()

    def answers(request: fo.Request) -> fo.Response:
        bed.clock.advance(2)
        return fo.Response("ok", usage=fo.Usage(7, 5, cost=0.5))

    chain, start, cell = bed.chain({"a": fails, "b": answers}), bed.clock.now(), current_cell.set("cell-1")
    try:
        response = drive(path, chain)
    finally:
        current_cell.reset(cell)
    call = response.attempts[0].call_id
    first_token = 2.0 if "stream" in path else None
    assert list(response.attempts) == [
        fo.AttemptRecord(
            start + timedelta(seconds=3), call, "cell-1", "a/m,b/m", path, "a/m", 0, 1, "failover",
            "auth_dead", "credentials", 401, True, 300.0, "b/m", 3.0, None, None, None, None, "status 401",
        ),
        fo.AttemptRecord(
            start + timedelta(seconds=5), call, "cell-1", "a/m,b/m", path, "b/m", 1, 1, "ok", "",
            "", None, False, 0.0, "", 2.0, first_token, 7, 5, 0.5, "",
        ),
    ]  # fmt: skip
    assert list(bed.log) == list(response.attempts)


def test_rows_tell_the_models_place_in_the_chain(bed: Bed, ask: Ask) -> None:
    """Counted from 0, whether it failed or answered."""
    ask(bed.chain({"a": dead(), "b": dead(), "c": "ok"}))
    assert [(row.model, row.position) for row in bed.log] == [("a/m", 0), ("b/m", 1), ("c/m", 2)]


def test_every_call_has_a_number_of_its_own(bed: Bed, ask: Ask) -> None:
    """Rows and events of one call are told from another's by it."""
    chain = bed.chain({"a": "ok"})
    first, second = ask(chain), ask(chain)
    assert first.attempts[0].call_id != second.attempts[0].call_id


def test_latencies_are_the_clocks(bed: Bed, ask: Ask) -> None:
    """The response's latency spans the call, a record's only its attempt."""

    def slow(request: fo.Request) -> str:
        bed.clock.advance(2)
        return "ok"

    def fails(request: fo.Request) -> fo.ProviderError:
        bed.clock.advance(3)
        return dead()

    response = ask(bed.chain({"a": fails, "b": slow}))
    assert (response.latency, [r.latency for r in response.attempts]) == (5.0, [3.0, 2.0])


def test_first_tokens_are_the_clocks(bed: Bed, streaming: str) -> None:
    """The response's first token is counted from the call's start, a record's from its attempt's."""

    def slow(request: fo.Request) -> str:
        bed.clock.advance(2)
        return "ok"

    def fails(request: fo.Request) -> fo.ProviderError:
        bed.clock.advance(3)
        return dead()

    response = drive(streaming, bed.chain({"a": fails, "b": slow}))
    assert (response.first_token, [r.first_token for r in response.attempts]) == (5.0, [None, 2.0])


# Retries


def test_transient_is_retried_with_backoff(bed: Bed, ask: Ask) -> None:
    """A transient failure is tried again in place, after the backoff."""
    chain = bed.chain({"a": (down(), down(), "ok"), "b": "no"})
    assert (ask(chain).model, bed.clock.sleeps, bed.events) == ("a/m", [1.0, 2.0], [])


def test_unknown_is_retried_like_transient(bed: Bed, ask: Ask) -> None:
    """A failure of which nothing is known is treated like a transient one."""
    chain = bed.chain({"a": (UNKNOWN, UNKNOWN, "ok")})
    assert (ask(chain).text, bed.asked("a")) == ("ok", 3)


def test_backoff_starts_anew_with_each_model(bed: Bed, ask: Ask) -> None:
    """The attempt that it is asked for is the model's, not the call's."""
    ask(bed.chain({"a": down(), "b": (down(), "ok")}, max_retries=2))
    assert bed.clock.sleeps == [1.0, 1.0]


def test_max_retries_counts_attempts(bed: Bed, ask: Ask) -> None:
    """No more than max_retries attempts are made on one model."""
    chain = bed.chain({"a": down(), "b": "ok"}, max_retries=2)
    ask(chain)
    assert (bed.asked("a"), bed.clock.sleeps) == (2, [1.0])


def test_streams_may_have_their_own_count(bed: Bed, path: str) -> None:
    """stream_max_retries counts for streams alone."""
    chain = bed.chain({"a": down(), "b": "ok"}, max_retries=3, stream_max_retries=1)
    drive(path, chain)
    assert bed.asked("a") == (1 if "stream" in path else 3)


def test_silence_is_not_retried_in_place(bed: Bed, ask: Ask) -> None:
    """A silent provider stays silent: it is asked once."""
    chain = bed.chain({"a": silence(), "b": "ok"})
    assert (ask(chain).model, bed.asked("a"), bed.clock.sleeps) == ("b/m", 1, [])


def test_silence_benches(bed: Bed, ask: Ask) -> None:
    """One silent attempt is a failure of the model like any other."""
    ask(bed.chain({"a": silence(), "b": "ok"}, cooldown=60))
    assert bed.benched() == {"a/m": 60.0}


@pytest.mark.parametrize("status", [408, 504])
def test_timeout_statuses_are_retried_in_place(bed: Bed, ask: Ask, status: int) -> None:
    """HTTP 408 and 504 are answers, not silence."""
    chain = bed.chain({"a": (down(status), "ok")})
    assert (ask(chain).model, bed.asked("a")) == ("a/m", 2)


# Waits


def test_retry_after_is_a_floor_on_the_backoff(bed: Bed, ask: Ask) -> None:
    """The wait is the longer of the two."""
    chain = bed.chain({"a": (flood(7), flood(0.5), "ok")})
    ask(chain)
    assert bed.clock.sleeps == [7.0, 2.0]


def test_retry_after_may_be_a_date(bed: Bed, ask: Ask) -> None:
    """It counts from the chain's clock."""
    at = (bed.clock.now() + timedelta(seconds=7)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    ask(bed.chain({"a": (down(503, headers={"Retry-After": at}), "ok")}))
    assert bed.clock.sleeps == [7.0]


def test_long_retry_after_benches_for_that_long(bed: Bed, ask: Ask) -> None:
    """Beyond max_wait the model is benched for as long as it asks, and the chain moves on."""
    chain = bed.chain({"a": flood(30), "b": "ok"}, bench_threshold=5)
    ask(chain)
    assert (bed.asked("a"), bed.benched(), bed.clock.sleeps) == (1, {"a/m": 30.0}, [])


def test_retry_after_of_max_wait_is_waited(bed: Bed, ask: Ask) -> None:
    """The bound itself is still a wait, and the bench after it an ordinary one."""
    ask(bed.chain({"a": flood(10), "b": "ok"}, max_retries=2))
    assert (bed.clock.sleeps, bed.benched()) == ([10.0], {"a/m": 300.0})


def test_max_wait_and_max_bench_are_the_policys(bed: Bed, ask: Ask) -> None:
    """Other numbers than the usual ones are held to."""
    ask(bed.chain({"a": flood(7), "b": flood(100), "c": "ok"}, max_wait=5, max_bench=50))
    assert (bed.clock.sleeps, bed.benched()) == ([], {"a/m": 7.0, "b/m": 50.0})


def test_retry_after_benches_no_longer_than_max_bench(bed: Bed, ask: Ask) -> None:
    """An absurd Retry-After is cut."""
    ask(bed.chain({"a": flood(10**7), "b": "ok"}))
    assert bed.benched() == {"a/m": 86_400.0}


def test_last_live_entry_waits_where_the_deadline_allows(bed: Bed, ask: Ask) -> None:
    """With nobody else to ask, a long wait that fits an explicit deadline is waited."""
    chain = bed.chain({"a": dead(), "b": (flood(30), "ok")}, deadline=60)
    assert (ask(chain).model, bed.clock.sleeps) == ("b/m", [30.0])


def test_last_live_entry_does_not_wait_without_a_deadline(bed: Bed, ask: Ask) -> None:
    """Without a deadline nobody said how long would be too long."""
    chain = bed.chain({"a": flood(30)})
    with pytest.raises(fo.AllModelsFailed):
        ask(chain)
    assert (bed.clock.sleeps, bed.benched()) == ([], {"a/m": 30.0})


def test_last_live_entry_does_not_wait_beyond_the_deadline(bed: Bed, ask: Ask) -> None:
    """A wait that does not fit is a bench, as without a deadline."""
    with pytest.raises(fo.AllModelsFailed):
        ask(bed.chain({"a": flood(30)}, deadline=20))
    assert (bed.clock.sleeps, bed.benched()) == ([], {"a/m": 30.0})


def test_last_live_entry_is_the_one_with_nothing_but_benches_behind_it(bed: Bed, ask: Ask) -> None:
    """A model that was benched since the start is nobody else to ask."""

    def benches(request: fo.Request) -> fo.ProviderError:
        bed.benches.bench("b/m")
        return flood(30)

    chain = bed.chain({"a": (benches, "ok"), "b": "no"}, deadline=60)
    assert (ask(chain).model, bed.clock.sleeps) == ("a/m", [30.0])


def test_unknown_failure_may_ask_to_wait(bed: Bed, ask: Ask) -> None:
    """The floor on the backoff is for whatever is retried."""
    odd = fo.ProviderError("odd", kind=fo.ErrorKind.UNKNOWN, retry_after=4)
    ask(bed.chain({"a": (odd, "ok")}))
    assert bed.clock.sleeps == [4.0]


def test_last_of_a_best_effort_chain_may_wait_but_not_the_others(bed: Bed, ask: Ask) -> None:
    """Where all are benched, the next one is still asked before a long wait."""
    chain = bed.chain({"a": flood(30), "b": "ok"}, deadline=60)
    bed.benches.bench("a/m")
    bed.benches.bench("b/m")
    assert (ask(chain).model, bed.clock.sleeps) == ("b/m", [])


# What a failure means


def test_transient_benches_at_the_threshold(bed: Bed, ask: Ask) -> None:
    """A model that was left counts one failure, however many attempts it had."""
    chain = bed.chain({"a": down(), "b": "ok"}, bench_threshold=2, cooldown=60)
    ask(chain)
    assert bed.benched() == {}
    ask(chain)
    assert bed.benched() == {"a/m": 60.0}


def test_unknown_benches_like_transient(bed: Bed, ask: Ask) -> None:
    """Not to know what is wrong with a model is no reason to go on asking it."""
    ask(bed.chain({"a": UNKNOWN, "b": "ok"}, cooldown=60))
    assert bed.benched() == {"a/m": 60.0}


def test_auth_dead_benches_at_once(bed: Bed, ask: Ask) -> None:
    """A dead key is asked once and benched, whatever the threshold."""
    chain = bed.chain({"a": dead(), "b": "ok"}, bench_threshold=9)
    assert (ask(chain).model, bed.asked("a"), bed.benched()) == ("b/m", 1, {"a/m": 300.0})


def spent(message: str, **fields: object) -> fo.ProviderError:
    """An account whose quota is used up."""
    return down(429, body=f'{{"error": {{"message": "{message}", "code": "insufficient_quota"}}}}', **fields)


def test_used_up_quota_benches_for_as_long_as_it_lasts(bed: Bed, ask: Ask) -> None:
    """A quota that the provider says ends at some moment benches until then, longer or shorter."""
    ask(bed.chain({"a": spent("It resets in 2 hours"), "b": "b", "c": "c"}))
    assert bed.benched() == {"a/m": 7200.0}


def test_used_up_quota_benches_no_longer_than_max_bench(bed: Bed, ask: Ask) -> None:
    """A month is cut to what the policy allows."""
    ask(bed.chain({"a": spent("It resets in 30 days"), "b": "b"}, max_bench=4000))
    assert bed.benched() == {"a/m": 4000.0}


def test_used_up_quota_without_an_end_benches_for_the_cooldown(bed: Bed, ask: Ask) -> None:
    """Nothing said, or a wait so short that it speaks of something else, leaves the cooldown."""
    ask(bed.chain({"a": spent("None left"), "b": spent("None left, retry in 10s"), "c": "c"}, cooldown=99))
    assert bed.benched() == {"a/m": 99.0, "b/m": 99.0}


def test_daily_limit_benches_for_as_long_as_the_provider_says(bed: Bed, ask: Ask) -> None:
    """A limit of the day is a rate limit that asks for hours: asked once, and benched for them."""
    day = down(
        429,
        headers={"Retry-After": "8"},
        body='{"error": {"message": "Rate limit reached on tokens per day (TPD): Limit 200000, Used 199945, '
        'Requested 9073. Please try again in 17h57m7.2s.", "code": "rate_limit_exceeded"}}',
    )
    ask(bed.chain({"a": day, "b": "b"}, cooldown=60))
    assert (bed.asked("a"), bed.benched()) == (1, {"a/m": 64627.2})


def test_request_specific_moves_on_without_a_bench(bed: Bed, ask: Ask) -> None:
    """The next model may take what this one cannot; this one is healthy."""
    chain = bed.chain({"a": refused(), "b": "ok"})
    assert (ask(chain).model, bed.asked("a"), bed.benched()) == ("b/m", 1, {})
    assert [(e.kind, e.benched) for e in bed.events] == [(fo.ErrorKind.REQUEST_SPECIFIC, False)]


def test_request_specific_under_a_bench_tells_that_bench(bed: Bed, ask: Ask) -> None:
    """The event says how the model stands, whoever benched it."""
    chain = bed.chain({"a": refused(), "b": "ok"})
    bed.benches.bench("a/m", for_=60)
    bed.benches.bench("b/m")
    ask(chain)
    assert (bed.events[0].benched, bed.events[0].benched_for, bed.benched()["a/m"]) == (True, 60.0, 60.0)


def test_content_filter_stops_the_chain(bed: Bed, ask: Ask) -> None:
    """A moderation decision is the user's to route around: the error itself is raised, after its event."""
    chain = bed.chain({"a": filtered(), "b": "ok"})
    with pytest.raises(fo.ProviderError) as caught:
        ask(chain)
    assert (caught.value.reason, bed.asked("b"), bed.benched()) == ("content_filter", 0, {})
    assert [(e.model, e.next_model) for e in bed.events] == [("a/m", "")]


def test_row_of_a_content_filter_stop(bed: Bed, ask: Ask) -> None:
    """Nobody was asked after it, as after a last entry."""
    with pytest.raises(fo.ProviderError):
        ask(bed.chain({"a": filtered(), "b": "no"}))
    assert [(r.model, r.outcome, r.reason) for r in bed.log] == [("a/m", "exhausted", "content_filter")]


def test_content_filter_next_goes_on(bed: Bed, ask: Ask) -> None:
    """The user may choose to go on."""
    chain = bed.chain({"a": filtered(), "b": "ok"}, content_filter="next")
    assert ask(chain).model == "b/m"


def test_own_classifier_decides(bed: Bed, ask: Ask) -> None:
    """classify= may give a kind or a whole verdict."""
    kind = bed.chain({"a": UNKNOWN, "b": "ok"}, classify=lambda error: fo.ErrorKind.AUTH_DEAD)
    ask(kind)
    assert bed.benched() == {"a/m": 300.0}
    verdict = Verdict(fo.ErrorKind.TRANSIENT, "mine", 4.0)
    whole = bed.chain({"c": (UNKNOWN, "ok")}, classify=lambda error: verdict)
    ask(whole)
    assert bed.clock.sleeps == [4.0]


def test_own_kind_leaves_the_rest_of_the_verdict(bed: Bed, ask: Ask) -> None:
    """Who gives a kind alone has said nothing of the wait, nor of the reason."""
    chain = bed.chain({"a": (flood(4), "ok")}, classify=lambda error: fo.ErrorKind.UNKNOWN)
    response = ask(chain)
    assert (bed.clock.sleeps, response.attempts[0].kind, response.attempts[0].reason) == (
        [4.0], "unknown", "rate_limit",
    )  # fmt: skip


def test_classifier_that_raises_knows_nothing(bed: Bed, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """Its own failure is logged, and the error it was asked about counts as unknown."""

    def broken(error: BaseException) -> fo.ErrorKind:
        raise RuntimeError("classifier")

    chain = bed.chain({"a": dead(), "b": "ok"}, classify=broken, max_retries=1)
    assert (ask(chain).model, bed.events[0].kind) == ("b/m", fo.ErrorKind.UNKNOWN)
    assert "the classifier raised" in caplog.text


def test_backoff_that_raises_leaves_no_probe(bed: Bed, ask: Ask) -> None:
    """Bad input of the caller's ends the call; the attempt has its row, the probe's place is free."""

    def broken(attempt: int) -> float:
        raise RuntimeError("backoff")

    chain = bed.chain({"a": (dead(), down(), "ok")}, backoff=broken)
    with pytest.raises(fo.AllModelsFailed):
        ask(chain)
    bed.clock.advance(301)
    with pytest.raises(RuntimeError, match="backoff"):
        ask(chain)
    assert (bed.outcomes()[-1], bed.benches.blocked("a/m", call=-1)) == (("a/m", "exhausted"), False)


def test_error_is_told_its_model_and_meaning(bed: Bed, ask: Ask) -> None:
    """A provider's error leaves with the spec, the kind and the reason, and without frames."""
    chain = bed.chain({"a": flood(99), "b": "ok"})
    ask(chain)
    (event,) = bed.events
    assert isinstance(event.error, fo.ProviderError)
    assert (event.error.model, event.error.kind, event.error.reason, event.error.__traceback__) == (
        "a/m", fo.ErrorKind.TRANSIENT, "rate_limit", None,
    )  # fmt: skip


def test_what_is_no_response_is_a_failure(bed: Bed, ask: Ask, path: str) -> None:
    """A provider that returns something else has not answered, and the next one is asked."""

    class Wrong:
        def __init__(self, answer: object) -> None:
            self.answer = answer

        def complete(self, request: fo.Request) -> object:
            return self.answer

        def stream(self, request: fo.Request) -> object:
            yield fo.Chunk(kind="done", response=self.answer)

    wrong = ["text", {"text": "hi"}, fo.Response("hi", usage=None), fo.Response(None)]
    for number, answer in enumerate(wrong if "stream" in path else [None, *wrong]):
        bed.add(f"w{number}", Wrong(answer))
        bed.add("ok", ScriptedProvider("fine"))
        chain = fo.parse_chain(f"w{number}/m,ok/m", max_retries=1, **bed.world)
        response = ask(chain)
        assert (response.model, response.attempts[0].reason) == ("ok/m", "malformed")


def test_one_error_of_two_models_keeps_both_names(bed: Bed, ask: Ask) -> None:
    """An instance that several entries raise is told apart in what is kept."""
    error = dead()
    with pytest.raises(fo.AllModelsFailed) as caught:
        ask(bed.chain({"a": error, "b": error}))  # both of the bare name m
    assert [each.model for each in caught.value.exceptions] == ["a/m", "b/m"]


def test_kept_errors_hold_no_frames(bed: Bed, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """Frames would keep requests, and their keys, alive; who wants the traceback finds it in the log."""

    def breaks(request: fo.Request) -> str:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner

    caplog.set_level(logging.DEBUG, logger="llm_failover_nb")
    ask(bed.chain({"a": breaks, "b": "ok"}, max_retries=1))
    error = bed.events[0].error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    assert "in breaks" in caplog.text


# Nobody answers


def test_all_failed_names_each_model_and_its_last_error(bed: Bed, ask: Ask) -> None:
    """The message counts the live models and gives each its line; the group holds the errors."""
    last = ValueError("second")
    chain = bed.chain({"a": (ValueError("first"), last), "b": dead()}, max_retries=2)
    with pytest.raises(fo.AllModelsFailed) as caught:
        ask(chain)
    assert str(caught.value) == "failover: all 2 models in chain failed\na/m: second\nb/m: status 401"
    assert (caught.value.exceptions[0], caught.value.specs) == (last, ("a/m", "b/m"))


def test_all_failed_counts_the_live_ones(bed: Bed, ask: Ask) -> None:
    """A model that was benched from the start is not among them."""
    chain = bed.chain({"a": "no", "b": dead()})
    bed.benches.bench("a/m")
    with pytest.raises(fo.AllModelsFailed, match="all 1 models in chain failed"):
        ask(chain)


def test_error_line_is_one_line(bed: Bed, ask: Ask) -> None:
    """A provider that sends pages gets one line, cut; an error without words gives its type."""
    chain = bed.chain({"a": ValueError("x\ny" * 2000), "b": KeyError()}, max_retries=1)
    with pytest.raises(fo.AllModelsFailed) as caught:
        ask(chain)
    _, first, second = str(caught.value).splitlines()
    assert (len(first), first[-1], second) == (len("a/m: ") + 500, "…", "b/m: KeyError")


def test_duplicates_stay_and_each_has_its_line(bed: Bed, ask: Ask) -> None:
    """A model named twice is asked twice, the second time because nothing else is live."""
    bed.add("a", ScriptedProvider(dead()))
    chain = fo.parse_chain("a/m,a/m", **bed.world)
    with pytest.raises(fo.AllModelsFailed, match=r"all 2 models in chain failed\na/m: .*\na/m: "):
        ask(chain)
    assert bed.asked("a") == 2


# Benches


def test_benched_entry_is_left_out(bed: Bed, ask: Ask) -> None:
    """A model that is benched when the call starts is not asked."""
    chain = bed.chain({"a": "no", "b": "ok"})
    bed.benches.bench("a/m", for_=60)
    assert (ask(chain).model, bed.asked("a")) == ("b/m", 0)


def test_all_benched_are_all_tried(bed: Bed, ask: Ask) -> None:
    """A bench is never a refusal."""
    chain = bed.chain({"a": dead(), "b": "ok"})
    bed.benches.bench("a/m")
    bed.benches.bench("b/m")
    assert (ask(chain).model, bed.events[0].next_model) == ("b/m", "b/m")


def test_live_is_fixed_at_the_start(bed: Bed, ask: Ask) -> None:
    """A bench lifted in the middle of a call does not bring the model back into it."""
    bed.benches.bench("b/m")

    def lifts(request: fo.Request) -> fo.ProviderError:
        bed.benches.unbench("b/m")
        return dead()

    with pytest.raises(fo.AllModelsFailed, match="all 1 models"):
        ask(bed.chain({"a": lifts, "b": "ok"}))


def test_entry_benched_since_the_start_is_skipped(bed: Bed, ask: Ask) -> None:
    """No event and no attempt: another call, or the operator, knows better by now."""

    def benches(request: fo.Request) -> fo.ProviderError:
        bed.benches.bench("b/m")
        return dead()

    chain = bed.chain({"a": benches, "b": "no", "c": "ok"})
    assert (ask(chain).model, bed.asked("b"), [e.model for e in bed.events]) == ("c/m", 0, ["a/m"])
    assert bed.outcomes() == [("a/m", "failover"), ("b/m", "skipped"), ("c/m", "ok")]
    assert bed.events[0].next_model == "c/m"


def test_entry_benched_since_the_start_is_tried_as_the_last_resort(bed: Bed, ask: Ask) -> None:
    """It is skipped unless nothing else is live."""

    def benches(request: fo.Request) -> fo.ProviderError:
        bed.benches.bench("b/m")
        return dead()

    chain = bed.chain({"a": benches, "b": "ok"})
    assert (ask(chain).model, bed.events[0].next_model) == ("b/m", "b/m")


def test_last_resort_is_the_next_entry_where_all_that_are_left_are_benched(bed: Bed, ask: Ask) -> None:
    """The order of the chain holds among them too."""

    def benches(request: fo.Request) -> fo.ProviderError:
        bed.benches.bench("b/m")
        bed.benches.bench("c/m")
        return dead()

    assert ask(bed.chain({"a": benches, "b": "ok", "c": "no"})).model == "b/m"


def test_skipped_entry_has_its_line(bed: Bed, ask: Ask) -> None:
    """Where nobody answers, a skipped model says why it was not asked."""

    def benches(request: fo.Request) -> fo.ProviderError:
        bed.benches.bench("b/m")
        return dead()

    with pytest.raises(fo.AllModelsFailed, match="b/m: passed by: benched since the call began"):
        ask(bed.chain({"a": benches, "b": "no", "c": dead()}))


def test_waiting_call_sees_that_its_model_was_benched(bed: Bed, path: str) -> None:
    """A bench laid during the backoff ends the retries on that model, without an event."""
    chain = bed.chain({"a": down(), "b": "ok"})
    sleep, asleep = bed.clock.sleep, bed.clock.asleep

    def benching_sleep(seconds: float) -> None:
        bed.benches.bench("a/m")
        sleep(seconds)

    async def benching_asleep(seconds: float) -> None:
        bed.benches.bench("a/m")
        await asleep(seconds)

    bed.clock.sleep, bed.clock.asleep = benching_sleep, benching_asleep
    assert (drive(path, chain).model, bed.asked("a"), bed.events) == ("b/m", 1, [])


def test_entry_left_in_the_backoff_keeps_its_failure_as_its_line(bed: Bed, ask: Ask) -> None:
    """That it was passed by later says less than why it failed."""
    chain = bed.chain({"a": down(), "b": dead()})
    sleep = bed.clock.sleep

    def benching_sleep(seconds: float) -> None:
        bed.benches.bench("a/m")
        sleep(seconds)

    bed.clock.sleep = benching_sleep
    with pytest.raises(fo.AllModelsFailed, match="a/m: status 503\nb/m"):
        ask(chain)


def test_success_lifts_an_automatic_bench_from_before(bed: Bed, ask: Ask) -> None:
    """A best-effort attempt that answers proves the bench wrong."""
    chain = bed.chain({"a": (dead(), "ok")})
    with pytest.raises(fo.AllModelsFailed):
        ask(chain)
    assert (ask(chain).text, bed.benched()) == ("ok", {})


def test_success_of_a_retry_lifts_a_bench_from_between_the_attempts(bed: Bed, ask: Ask) -> None:
    """What counts is when the attempt that answered began, not when the call did."""

    def benched_meanwhile(request: fo.Request) -> fo.ProviderError:
        bed.benches.failed("a/m", 99, bed.benches.admit("a/m", 99, lapse=60), threshold=1, for_=60)
        return down()

    assert (ask(bed.chain({"a": (benched_meanwhile, "ok")})).text, bed.benched()) == ("ok", {})


def test_success_keeps_a_manual_bench(bed: Bed, ask: Ask) -> None:
    """What the operator benched, only the operator lifts."""
    chain = bed.chain({"a": "ok"})
    bed.benches.bench("a/m", for_=60)
    ask(chain)
    assert bed.benched() == {"a/m": 60.0}


def test_success_keeps_a_bench_laid_while_it_ran(bed: Bed, ask: Ask) -> None:
    """Another call's later failure is newer evidence than this attempt's start."""

    def benched_meanwhile(request: fo.Request) -> str:
        bed.benches.failed("a/m", 99, bed.benches.admit("a/m", 99, lapse=60), threshold=1, for_=60)
        return "ok"

    ask(bed.chain({"a": benched_meanwhile}))
    assert bed.benched() == {"a/m": 60.0}


def test_failure_from_before_an_unbench_does_not_bench(bed: Bed, ask: Ask) -> None:
    """The operator lifted the bench after this attempt began: it counts, but does not bench."""

    def lifted_meanwhile(request: fo.Request) -> fo.ProviderError:
        bed.benches.unbench("a/m")
        return dead()

    chain = bed.chain({"a": lifted_meanwhile, "b": "ok"})
    ask(chain)
    assert (bed.benched(), bed.events[0].benched, bed.events[0].benched_for) == ({}, False, 0.0)


# The probe


def test_one_call_probes_while_others_go_on(bed: Bed, path: str) -> None:
    """After a bench has run out, a second call meanwhile passes the model by."""
    inner: list[str] = []

    def probing(request: fo.Request) -> str:
        inner.append(second.complete("hi").model)
        return "ok"

    chain = bed.chain({"a": (dead(), probing), "b": "other"})
    second = fo.parse_chain(["a/m", "b/m"], **bed.world)
    drive(path, chain)
    bed.clock.advance(301)
    assert (drive(path, chain).model, inner) == ("a/m", ["b/m"])


def test_probe_is_let_through_where_nothing_else_is_live(bed: Bed) -> None:
    """Two calls may probe where the alternative is a refusal."""
    inner: list[str] = []

    def probing(request: fo.Request) -> str:
        inner.append(second.complete("hi").text)
        return "ok"

    chain = bed.chain({"a": (dead(), probing, "also")})
    second = fo.parse_chain(["a/m"], **bed.world)
    with pytest.raises(fo.AllModelsFailed):
        chain.complete("hi")
    bed.clock.advance(301)
    assert (chain.complete("hi").text, inner) == ("ok", ["also"])


def test_request_specific_failure_of_the_probe_is_health(bed: Bed, ask: Ask) -> None:
    """A model that refuses a request is up: the others need not wait."""
    chain = bed.chain({"a": (dead(), refused(), "ok"), "b": "other"})
    ask(chain)
    bed.clock.advance(301)
    assert ask(chain).model == "b/m"
    assert not bed.benches.blocked("a/m", call=-1)


@pytest.mark.parametrize(("cooldown", "lapse"), [(300, 60), (20, 20)])
def test_probe_lapses_after_a_minute_or_the_cooldown(bed: Bed, ask: Ask, cooldown: int, lapse: int) -> None:
    """Whichever is shorter: a probe that hangs does not keep the model from the others."""
    seen: list[bool] = []

    def probing(request: fo.Request) -> str:
        for seconds in (lapse - 1, 1):
            bed.clock.advance(seconds)
            seen.append(bed.benches.blocked("a/m", call=-1))
        return "ok"

    bed.half_open("a/m")
    ask(bed.chain({"a": probing}, cooldown=cooldown))
    assert seen == [True, False]


def test_failed_probe_benches_again(bed: Bed, ask: Ask) -> None:
    """One failure of the probe is enough at the default threshold."""
    chain = bed.chain({"a": dead(), "b": "ok"})
    ask(chain)
    bed.clock.advance(301)
    ask(chain)
    assert (bed.asked("a"), bed.benched()) == (2, {"a/m": 300.0})


def test_probe_ends_at_first_content(bed: Bed) -> None:
    """A long stream that has begun proves the model to be up."""
    chain = bed.chain({"a": (dead(), "long answer", "ok"), "b": "other"})
    chain.complete("hi")
    bed.clock.advance(301)
    with_first = chain.stream("hi")
    next(with_first)
    assert chain.complete("hi").model == "a/m"
    with_first.close()


def test_cancelled_probe_frees_its_place(bed: Bed) -> None:
    """A cancelled call says nothing: the next call is the probe."""
    chain = bed.chain({"a": (dead(), KeyboardInterrupt(), "ok"), "b": "other"})
    chain.complete("hi")
    bed.clock.advance(301)
    with pytest.raises(KeyboardInterrupt):
        chain.complete("hi")
    assert chain.complete("hi").model == "a/m"


# Keys


class Keyed(ScriptedProvider):
    """A provider whose key may be missing."""

    def __init__(self, variable: str | None, *script: object) -> None:
        super().__init__(*script)
        self.missing_key = variable


def test_entry_without_a_key_is_left_out(bed: Bed, ask: Ask) -> None:
    """It is no failure: no event, no bench, a row that says so."""
    bed.add("a", Keyed("A_KEY", "no"))
    bed.add("b", Keyed(None, "ok"))
    chain = fo.parse_chain("a/m,b/m", observer=bed.events.append, **bed.world)
    assert (ask(chain).model, bed.asked("a"), bed.events, bed.benched()) == ("b/m", 0, [], {})
    assert [(r.outcome, r.reason) for r in bed.log] == [("skipped", "no_key"), ("ok", "")]


def test_entry_without_a_key_is_not_the_last_resort(bed: Bed, ask: Ask) -> None:
    """Where all others are benched, they are tried; it could not answer."""
    bed.add("a", Keyed("A_KEY", "no"))
    bed.add("b", Keyed(None, "ok"))
    bed.benches.bench("b/m")
    assert (ask(fo.parse_chain("a/m,b/m", **bed.world)).model, bed.asked("a")) == ("b/m", 0)


def test_no_key_at_all_says_which_variables_to_set(bed: Bed, ask: Ask) -> None:
    """The error is the remedy."""
    bed.add("a", Keyed("A_KEY", "no"))
    bed.add("b", Keyed("B_KEY", "no"))
    with pytest.raises(fo.AllModelsFailed) as caught:
        ask(fo.parse_chain("a/m,b/m", **bed.world))
    assert str(caught.value) == (
        "failover: all 0 models in chain failed: none has a key, set A_KEY or B_KEY\n"
        "a/m: no key: set A_KEY\nb/m: no key: set B_KEY"
    )


def test_missing_key_is_a_cause_beside_the_failures(bed: Bed, ask: Ask) -> None:
    """An entry without a key has its line, in the chain's order, and is not counted as live."""
    bed.add("a", Keyed("A_KEY", "no"))
    bed.add("b", Keyed(None, dead()))
    with pytest.raises(
        fo.AllModelsFailed, match=r"all 1 models in chain failed\na/m: no key: set A_KEY\nb/m"
    ):
        ask(fo.parse_chain("a/m,b/m", **bed.world))


def test_cause_of_a_missing_key_says_so(bed: Bed, ask: Ask) -> None:
    """Programs read it from the error, as people do from the line."""
    bed.add("a", Keyed("A_KEY", "no"))
    with pytest.raises(fo.AllModelsFailed) as caught:
        ask(fo.parse_chain("a/m", **bed.world))
    (cause,) = caught.value.exceptions
    assert (cause.model, cause.kind, cause.reason) == ("a/m", fo.ErrorKind.AUTH_DEAD, "no_key")


def test_key_that_is_set_later_counts_from_the_next_call(bed: Bed, ask: Ask) -> None:
    """Keys are looked for at the start of each call."""
    provider = Keyed("A_KEY", "ok")
    bed.add("a", provider)
    chain = fo.parse_chain("a/m", **bed.world)
    with pytest.raises(fo.AllModelsFailed):
        ask(chain)
    provider.missing_key = None
    assert ask(chain).text == "ok"


# Deadlines


def test_deadline_ends_the_call(bed: Bed, ask: Ask) -> None:
    """The attempt that the deadline cut is neither failure nor bench."""

    def slow(request: fo.Request) -> fo.ProviderError:
        bed.clock.advance(10)
        return silence()

    chain = bed.chain({"a": slow, "b": "ok"}, deadline=5)
    with pytest.raises(fo.DeadlineExceeded, match="5 s") as caught:
        ask(chain)
    assert (isinstance(caught.value, TimeoutError), bed.events, bed.benched()) == (True, [], {})
    assert bed.outcomes() == [("a/m", "cancelled")]


def test_attempt_that_the_deadline_cut_does_not_count(bed: Bed, ask: Ask) -> None:
    """Another failure is the first, not the second."""

    def slow(request: fo.Request) -> fo.ProviderError:
        bed.clock.advance(10)
        return silence()

    chain = bed.chain({"a": (slow, silence()), "b": "ok"}, deadline=5, bench_threshold=2)
    with pytest.raises(fo.DeadlineExceeded):
        ask(chain)
    assert (ask(chain).model, bed.benched()) == ("b/m", {})


def test_probe_that_the_deadline_cut_frees_its_place(bed: Bed, ask: Ask) -> None:
    """The model is as unproven as before: the next call is the probe."""

    def slow(request: fo.Request) -> fo.ProviderError:
        bed.clock.advance(10)
        return silence()

    bed.half_open("a/m")
    with pytest.raises(fo.DeadlineExceeded):
        ask(bed.chain({"a": slow}, deadline=5))
    assert not bed.benches.blocked("a/m", call=-1)


def test_probe_that_the_deadline_forestalls_frees_its_place(bed: Bed, ask: Ask) -> None:
    """The deadline passed before the probe's attempt could begin."""
    bed.half_open("b/m")
    chain = bed.chain({"a": dead(), "b": "no"}, deadline=5, observer=lambda event: bed.clock.advance(10))
    with pytest.raises(fo.DeadlineExceeded):
        ask(chain)
    assert (bed.asked("b"), bed.benches.blocked("b/m", call=-1)) == (0, False)


def test_probe_whose_wait_would_outlive_the_deadline_frees_its_place(bed: Bed, ask: Ask) -> None:
    """The call ends in the place of a backoff."""
    bed.half_open("a/m")
    with pytest.raises(fo.DeadlineExceeded):
        ask(bed.chain({"a": down()}, deadline=0.5))
    assert not bed.benches.blocked("a/m", call=-1)


def test_timeouts_reach_the_provider(bed: Bed, ask: Ask) -> None:
    """Each in its place, beside a deadline too."""
    for deadline, attempt in ((None, 4), (50, 4), (3, 3)):
        chain = bed.chain(
            {"a": "ok"}, connect_timeout=1, first_token_timeout=2, idle_timeout=3, attempt_timeout=4,
            deadline=deadline,
        )  # fmt: skip
        ask(chain)
        assert bed.providers["a"].requests[0].timeouts == Timeouts(1, 2, 3, attempt)


def late_text(path: str) -> str:
    """A completion came whole; a stream was stopped before its first chunk was taken."""
    return "" if "stream" in path else "late"


def test_answer_after_the_deadline_is_late_but_not_lost(bed: Bed, ask: Ask, path: str) -> None:
    """A provider that cannot be stopped answers too late: the error carries what it said."""

    def late(request: fo.Request) -> str:
        bed.clock.advance(10)
        return "late"

    with pytest.raises(fo.DeadlineExceeded) as caught:
        ask(bed.chain({"a": late}, deadline=5))
    assert (caught.value.text, bed.outcomes(), bed.events) == (late_text(path), [("a/m", "cancelled")], [])


def test_deadline_is_folded_into_the_attempts_timeout(bed: Bed, ask: Ask) -> None:
    """What is left of the deadline is what the provider may take."""

    def slow(request: fo.Request) -> fo.ProviderError:
        bed.clock.advance(3)
        return dead()

    ask(bed.chain({"a": slow, "b": "ok"}, deadline=5, attempt_timeout=4))
    limits = [bed.providers[name].requests[0].timeouts.attempt for name in "ab"]
    assert limits == [4, 2.0]


def test_deadline_without_attempt_timeout(bed: Bed, ask: Ask) -> None:
    """The deadline bounds the attempt also where nothing else does."""
    ask(bed.chain({"a": "ok"}, deadline=5, attempt_timeout=None))
    assert bed.providers["a"].requests[0].timeouts.attempt == 5.0


def test_deadline_is_caused_by_the_failure_before_it(bed: Bed, ask: Ask) -> None:
    """Whatever it cuts, what had gone wrong until then is the error's cause."""
    failure = down()

    def slow(request: fo.Request) -> fo.ProviderError:
        bed.clock.advance(10)
        return failure

    for script in (slow, failure):
        with pytest.raises(fo.DeadlineExceeded) as caught:
            ask(bed.chain({"a": script}, deadline=0.5))
        assert caught.value.__cause__ is failure


def test_wait_beyond_the_deadline_moves_on(bed: Bed, ask: Ask) -> None:
    """Where another model is there to be asked, no time is spent on a wait that cannot end well."""
    chain = bed.chain({"a": down(), "b": "ok"}, deadline=0.5)
    assert (ask(chain).model, bed.clock.sleeps) == ("b/m", [])


def test_wait_beyond_the_deadline_ends_the_call_on_the_last_entry(bed: Bed, ask: Ask) -> None:
    """Nobody is left to ask, and the wait would outlive the deadline."""
    chain = bed.chain({"a": down()}, deadline=0.5)
    with pytest.raises(fo.DeadlineExceeded):
        ask(chain)
    assert (bed.clock.sleeps, bed.benched(), bed.outcomes()) == ([], {}, [("a/m", "exhausted")])


def test_deadline_between_attempts(bed: Bed, path: str) -> None:
    """A deadline that passes in the backoff stops the call before the next attempt."""
    chain = bed.chain({"a": down()}, deadline=5)
    sleep, asleep = bed.clock.sleep, bed.clock.asleep

    def slow_sleep(seconds: float) -> None:
        bed.clock.advance(6)
        sleep(seconds)

    async def slow_asleep(seconds: float) -> None:
        bed.clock.advance(6)
        await asleep(seconds)

    bed.clock.sleep, bed.clock.asleep = slow_sleep, slow_asleep
    with pytest.raises(fo.DeadlineExceeded) as caught:
        drive(path, chain)
    assert (bed.asked("a"), type(caught.value.__cause__)) == (1, fo.ProviderError)


def test_deadline_in_a_stream_keeps_the_text(bed: Bed, streaming: str) -> None:
    """What had arrived is in the error."""

    def slow(request: fo.Request) -> list[object]:
        bed.clock.advance(3)
        return ["half ", fo.Chunk("of it"), "rest"]

    chain = bed.chain({"a": slow}, deadline=5)
    seen: list[str] = []
    with pytest.raises(fo.DeadlineExceeded) as caught:
        for_each(streaming, chain, lambda chunk: (seen.append(chunk.text), bed.clock.advance(1.5)))
    assert (caught.value.text, seen, bed.benched()) == ("half of it", ["half ", "of it"], {})


def for_each(path: str, chain: fo.Chain, use: object) -> None:
    """Consume a stream, doing something at each chunk."""
    import asyncio

    async def consume() -> None:
        async for chunk in chain.astream("hi"):
            use(chunk)

    if path == "astream":
        asyncio.run(consume())
    else:
        for chunk in chain.stream("hi"):
            use(chunk)


# Streams


def test_stream_is_lazy(bed: Bed) -> None:
    """Nothing is sent before the first next."""
    chain = bed.chain({"a": "ok"})
    chunks = chain.stream("hi")
    assert bed.asked("a") == 0
    list(chunks)
    assert bed.asked("a") == 1


def test_stream_ends_with_the_whole_response(bed: Bed, streaming: str) -> None:
    """The last chunk is done and carries the response; the texts before it are the answer."""
    done = fo.Chunk(kind="done", response=fo.Response(finish_reason="stop", usage=fo.Usage(3, 2)))
    chunks = chunks_of(streaming, bed.chain({"a": ["one ", "two", done]}))
    assert [c.kind for c in chunks] == ["text", "text", "done"]
    response = chunks[-1].response
    assert (response.text, response.finish_reason, response.usage) == ("one two", "stop", fo.Usage(3, 2))


def test_stream_fails_over_before_content(bed: Bed, streaming: str) -> None:
    """Role-only chunks, pings and blanks commit nothing."""
    script = ["", fo.Chunk(" \n"), fo.Chunk(kind="reasoning"), fo.Chunk(kind="tool"), dead()]
    chunks = chunks_of(streaming, bed.chain({"a": script, "b": "ok"}))
    assert [(c.kind, c.text) for c in chunks] == [("text", "ok"), ("done", "")]


def test_blanks_before_content_are_kept(bed: Bed, streaming: str) -> None:
    """What was held back goes with the first content, so that no character is lost."""
    chunks = chunks_of(streaming, bed.chain({"a": ["\n", " ", "ok"]}))
    assert [c.text for c in chunks] == ["\n ok", ""]


def test_blanks_before_reasoning_are_kept(bed: Bed, streaming: str) -> None:
    """Whatever kind the first content is of; blank reasoning is none."""
    script = ["\n", fo.Chunk(" ", "reasoning"), fo.Chunk("hm", "reasoning"), fo.Chunk(" ", "reasoning"), "ok"]
    chunks = chunks_of(streaming, bed.chain({"a": script}))
    assert [(c.kind, c.text) for c in chunks[:-1]] == [
        ("text", "\n"), ("reasoning", "hm"), ("reasoning", " "), ("text", "ok"),
    ]  # fmt: skip
    assert chunks[-1].response.text == "\nok"


def test_answer_of_blanks_alone_is_delivered(bed: Bed, streaming: str) -> None:
    """An answer that is nothing but blanks is still the answer."""
    chunks = chunks_of(streaming, bed.chain({"a": ["\n", " "]}))
    assert [(c.kind, c.text) for c in chunks] == [("text", "\n "), ("done", "")]


@pytest.mark.parametrize(
    "content",
    [fo.Chunk("think", "reasoning"), fo.Chunk(kind="tool", tool={"index": 0})],
    ids=["reasoning", "tool"],
)
def test_reasoning_and_tool_deltas_are_content(bed: Bed, streaming: str, content: fo.Chunk) -> None:
    """After them a failure is a failure mid-stream."""
    chain = bed.chain({"a": [content, down()], "b": "no"})
    with pytest.raises(fo.StreamInterrupted):
        chunks_of(streaming, chain)


def test_all_that_follows_the_first_content_is_handed_on(bed: Bed, streaming: str) -> None:
    """Of whatever kind, in order; what has no content is not."""
    tool = fo.Chunk(kind="tool", tool={"index": 0})
    think = fo.Chunk("think", "reasoning")
    chunks = chunks_of(streaming, bed.chain({"a": [think, tool, fo.Chunk(kind="tool"), "text", tool, think]}))
    assert chunks[:-1] == [think, tool, fo.Chunk("text"), tool, think]


def test_row_of_an_interrupted_stream_has_its_first_token(bed: Bed, streaming: str) -> None:
    """It did begin, and when is known."""

    def slow(request: fo.Request) -> list[object]:
        bed.clock.advance(2)
        return ["half", down()]

    with pytest.raises(fo.StreamInterrupted):
        chunks_of(streaming, bed.chain({"a": slow}))
    (row,) = bed.log
    assert (row.outcome, row.first_token, row.latency, row.status) == ("interrupted", 2.0, 2.0, 503)


def test_midstream_raise_counts_at_once(bed: Bed, streaming: str) -> None:
    """No retry: the failure benches, is told, and is raised with the text so far."""
    chain = bed.chain({"a": ["half ", "an", down()], "b": "no"})
    with pytest.raises(fo.StreamInterrupted) as caught:
        chunks_of(streaming, chain)
    assert (caught.value.text, caught.value.model) == ("half an", "a/m")
    assert isinstance(caught.value.__cause__, fo.ProviderError)
    assert (bed.asked("a"), bed.asked("b"), bed.benched()) == (1, 0, {"a/m": 300.0})
    assert [(e.model, e.benched, e.next_model) for e in bed.events] == [("a/m", True, "")]
    assert bed.outcomes() == [("a/m", "interrupted")]


def test_midstream_restart_uses_up_one_attempt(bed: Bed, streaming: str) -> None:
    """A restart chunk, then the whole answer from the next attempt."""
    chain = bed.chain({"a": (["half", down()], "whole answer")}, midstream="restart")
    chunks = chunks_of(streaming, chain)
    assert [(c.kind, c.text) for c in chunks] == [
        ("text", "half"), ("restart", ""), ("text", "whole"), ("text", " answer"), ("done", ""),
    ]  # fmt: skip
    assert (chunks[-1].response.text, bed.clock.sleeps, bed.events) == ("whole answer", [1.0], [])


def test_midstream_restart_moves_to_the_next_model(bed: Bed, streaming: str) -> None:
    """Attempts used up, the model is benched, the next one gives the whole answer; one restart is enough."""
    chain = bed.chain({"a": (["half", down()], down()), "b": "ok"}, midstream="restart", max_retries=2)
    chunks = chunks_of(streaming, chain)
    assert [c.kind for c in chunks] == ["text", "restart", "text", "done"]
    assert (chunks[-1].response.model, bed.benched()) == ("b/m", {"a/m": 300.0})


def test_restart_before_an_empty_answer(bed: Bed, streaming: str) -> None:
    """Also an empty answer makes the caller discard what it has."""
    chain = bed.chain({"a": (["half", down()], [])}, midstream="restart")
    assert [c.kind for c in chunks_of(streaming, chain)] == ["text", "restart", "done"]


def test_chain_as_a_provider_restarts_through(bed: Bed, streaming: str) -> None:
    """A chain inside a provider may start over: what it abandoned is no part of the answer."""
    inner = bed.chain({"a": (["half", down()], [" ", down()], "whole")}, midstream="restart")
    bed.add("inner", inner)
    chunks = chunks_of(streaming, fo.parse_chain("inner/any", **bed.world))
    assert [c.kind for c in chunks] == ["text", "restart", "text", "done"]
    assert chunks[-1].response.text == "whole"


def test_restart_before_content_is_nothing(bed: Bed, streaming: str) -> None:
    """Who has nothing yet need not discard it."""
    script = [" ", fo.Chunk(kind="restart"), "whole"]
    chunks = chunks_of(streaming, bed.chain({"a": script}))
    assert [(c.kind, c.text) for c in chunks] == [("text", "whole"), ("done", "")]


def test_content_filter_midstream_is_not_routed_around(bed: Bed, streaming: str) -> None:
    """A restart would ask another model what a moderation decision has stopped."""
    chain = bed.chain({"a": ["half", filtered()], "b": "no"}, midstream="restart")
    with pytest.raises(fo.ProviderError) as caught:
        chunks_of(streaming, chain)
    assert (caught.value.reason, bed.asked("b")) == ("content_filter", 0)


def test_iterators_without_close_are_fine(bed: Bed, streaming: str) -> None:
    """A provider's stream may be any iterator."""

    class Plain:
        keeps_time = True

        def complete(self, request: fo.Request) -> fo.Response:
            return fo.Response("x")

        def stream(self, request: fo.Request) -> object:
            return iter([fo.Chunk("ok")])

    bed.registry.register("a", Plain())
    assert chunks_of(streaming, fo.parse_chain("a/m", **bed.world))[-1].response.text == "ok"


# Events, observers, logging


def test_event_tells_the_whole_decision(bed: Bed, path: str) -> None:
    """Each field of the event, once."""
    chain = bed.chain({"a": down(), "b": "ok"}, max_retries=2, cooldown=60)
    response = drive(path, chain, "question")
    (event,) = bed.events
    assert (
        event.model, event.kind, event.attempt, event.benched, event.benched_for, event.next_model,
        event.request.model, event.request.prompt, event.at, event.call_id, event.chain, event.method,
    ) == (
        "a/m", fo.ErrorKind.TRANSIENT, 2, True, 60.0, "b/m",
        "failover", "question", bed.clock.now(), response.attempts[0].call_id, "a/m,b/m", path,
    )  # fmt: skip


def test_event_holds_the_callers_request_whole(bed: Bed, ask: Ask) -> None:
    """Its fields too; no attempt's own copy of it."""
    ask(bed.chain({"a": dead(), "b": "ok"}), "question", system="be brief", seed=3)
    assert bed.events[0].request == fo.Request("question", "failover", system="be brief", seed=3)


def test_next_of_a_best_effort_chain_is_the_very_next(bed: Bed, ask: Ask) -> None:
    """Where all were benched at the start all are asked in order, also if one is lifted meanwhile."""

    def lifts(request: fo.Request) -> fo.ProviderError:
        bed.benches.unbench("c/m")
        return dead()

    chain = bed.chain({"a": lifts, "b": "ok", "c": "no"})
    for spec in chain.specs:
        bed.benches.bench(spec)
    assert (ask(chain).model, bed.events[0].next_model) == ("b/m", "b/m")


def test_benched_until_lifted_lasts_forever(bed: Bed, ask: Ask) -> None:
    """A failure under a manual bench without an end tells infinity."""
    chain = bed.chain({"a": dead(), "b": "ok"})
    bed.benches.bench("a/m")
    bed.benches.bench("b/m")
    ask(chain)
    assert (bed.events[0].benched, bed.events[0].benched_for) == (True, float("inf"))


def test_observers_run_after_the_state_is_settled(bed: Bed, ask: Ask) -> None:
    """An observer sees the bench, before the next attempt, and may call the registry."""
    seen: list[object] = []

    def observer(event: fo.FailoverEvent) -> None:
        seen.append((bed.benches.is_benched("a/m"), bed.asked("b"), bed.benches.unbench("a/m")))

    ask(bed.chain({"a": dead(), "b": "ok"}, observer=observer))
    assert (seen, bed.benched()) == ([(True, 0, True)], {})


def test_raising_observer_is_logged_and_the_call_goes_on(
    bed: Bed, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """An observer cannot break a call."""

    def broken(event: fo.FailoverEvent) -> None:
        raise RuntimeError("observer")

    chain = bed.chain({"a": dead(), "b": "ok"}, observer=[broken, bed.events.append])
    assert (ask(chain).model, len(bed.events)) == ("b/m", 1)
    assert "the call goes on" in caplog.text


def test_decision_is_a_warning_with_its_facts(bed: Bed, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """The log record carries what an operator filters by."""
    ask(bed.chain({"a": dead(), "b": "ok"}, cooldown=60))
    (record,) = [r for r in caplog.records if r.name == "llm_failover_nb"]
    facts = {
        name: getattr(record, name)
        for name in ("model", "kind", "status", "attempt", "benched", "cooldown", "until", "next")
    }
    assert (record.levelno, facts) == (
        logging.WARNING,
        {
            "model": "a/m",
            "kind": "auth_dead",
            "status": 401,
            "attempt": 1,
            "benched": True,
            "cooldown": 60,
            "until": bed.clock.now() + timedelta(seconds=60),
            "next": "b/m",
        },
    )


def test_decision_that_nobody_observes_is_a_warning(
    bed: Bed, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """Logging is no observer: who switched those off still has it."""
    ask(bed.chain({"a": dead(), "b": "ok"}, observer=None))
    assert [(r.levelname, r.model, r.next) for r in caplog.records] == [("WARNING", "a/m", "b/m")]


def test_midstream_failure_is_a_warning_too(
    bed: Bed, streaming: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As each decision that has an event."""
    with pytest.raises(fo.StreamInterrupted):
        chunks_of(streaming, bed.chain({"a": ["half", down()], "b": "no"}))
    assert [(r.levelname, r.model, r.benched, r.next) for r in caplog.records] == [
        ("WARNING", "a/m", True, "")
    ]


def test_last_failure_has_no_next(bed: Bed, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """The event of the last entry says that nobody is left."""
    with pytest.raises(fo.AllModelsFailed):
        ask(bed.chain({"a": dead()}))
    assert (bed.events[0].next_model, bed.outcomes()) == ("", [("a/m", "exhausted")])
    assert "no model left to try" in caplog.text


def test_nobody_listening_costs_no_record(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a handler anywhere nothing is logged, and nothing lands on stderr under the cell."""
    logger = logging.getLogger("llm_failover_nb")
    made: list[object] = []
    monkeypatch.setattr(logger, "makeRecord", lambda *args, **kwargs: made.append(args))
    monkeypatch.setattr(logger, "propagate", False)
    bed.chain({"a": dead(), "b": "ok"}, observer=None).complete("hi")
    bed.chain({"c": dead(), "d": "ok"}).complete("hi")
    assert (made, len(bed.events)) == ([], 1)


def test_secrets_are_masked_in_rows_and_messages(bed: Bed, ask: Ask) -> None:
    """A provider that echoes the key does not get it into the record."""
    fo.Secret("sk-canary-0123456789")
    chain = bed.chain({"a": fo.ProviderError("bad key sk-canary-0123456789", status=401)})
    with pytest.raises(fo.AllModelsFailed) as caught:
        ask(chain)
    assert "canary" not in str(caught.value) + repr(list(bed.log))


def test_response_before_the_end_is_an_error(bed: Bed) -> None:
    """A driver that reads the response too early is told."""
    call = bed.chain({"a": "ok"})._call("hi", {}, "complete")
    with pytest.raises(RuntimeError, match="iterate its steps"):
        _ = call.response
