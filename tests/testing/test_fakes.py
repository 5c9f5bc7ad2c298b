"""The clock that stands still and the scripted provider."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest

import llm_failover_nb.testing
from llm_failover_nb.engine.types import Chunk, Request, Response
from llm_failover_nb.testing.fakes import FakeClock, ScriptedProvider

ASK = Request("Capital of France?")


async def _collect(provider, request=ASK):
    return [chunk async for chunk in provider.astream(request)]


def _acomplete(provider, request=ASK):
    return asyncio.run(provider.acomplete(request))


def _astream(provider, request=ASK):
    return asyncio.run(_collect(provider, request))


def test_names_are_exported():
    """The package of fakes offers exactly these names, each of which loads."""
    names = ["FakeClock", "FaultServer", "ScriptedProvider"]
    assert llm_failover_nb.testing.__all__ == names
    assert [getattr(llm_failover_nb.testing, name).__name__ for name in dir(llm_failover_nb.testing)] == names


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not offered fails as in any module."""
    with pytest.raises(AttributeError, match="FakeClok"):
        llm_failover_nb.testing.FakeClok  # noqa: B018


def test_the_clock_starts_where_documented():
    """Without a start it is 2026-01-01 in UTC, and zero seconds."""
    clock = FakeClock()
    assert (clock.now(), clock.monotonic()) == (datetime(2026, 1, 1, tzinfo=UTC), 0.0)


def test_the_clock_is_in_utc():
    """A start in another zone is the same moment in UTC."""
    start = datetime(2026, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert FakeClock(start).now().isoformat() == "2026-06-01T10:00:00+00:00"


def test_a_naive_start_is_refused():
    """A start without a zone is an error that says what to do."""
    with pytest.raises(ValueError, match="2026-01-01T00:00:00 has no time zone; give it one"):
        FakeClock(datetime(2026, 1, 1))  # noqa: DTZ001


def test_advance_moves_both_times():
    """The time of day and the seconds go on together."""
    clock = FakeClock()
    clock.advance(1.5)
    clock.advance(60)
    assert (clock.now(), clock.monotonic()) == (datetime(2026, 1, 1, 0, 1, 1, 500_000, tzinfo=UTC), 61.5)


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_no_clock_goes_back(seconds):
    """A negative step, or none at all, is refused by value."""
    with pytest.raises(ValueError, match=f"cannot advance by {seconds}"):
        FakeClock().advance(seconds)


def test_sleep_is_noted_and_does_not_advance():
    """A wait is served at once, and the time stays."""
    clock = FakeClock()
    clock.sleep(3600)
    assert (clock.sleeps, clock.monotonic()) == ([3600], 0.0)


def test_asleep_lets_the_loop_go_round_once():
    """An asynchronous wait is noted, gives way to other tasks, and returns."""
    clock, order = FakeClock(), []

    async def wait():
        await clock.asleep(3600)
        order.append("woke")

    async def main():
        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        order.append("others ran")
        await task

    asyncio.run(main())
    assert (clock.sleeps, order) == ([3600], ["others ran", "woke"])


def test_the_clock_loses_nothing_across_threads():
    """Steps and waits from many threads are all there."""
    clock = FakeClock()

    def work(_):
        clock.advance(1)
        clock.sleep(2)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(800)))
    assert (clock.monotonic(), len(clock.sleeps)) == (800.0, 800)


COMPLETES = pytest.mark.parametrize(
    "complete", [ScriptedProvider.complete, _acomplete], ids=["complete", "acomplete"]
)
STREAMS = pytest.mark.parametrize(
    "stream", [lambda p, r: list(p.stream(r)), _astream], ids=["stream", "astream"]
)


@COMPLETES
def test_items_are_used_in_order_and_the_last_repeats(complete):
    """Each call takes the next item; after the last it is the last again."""
    provider = ScriptedProvider("one", Response(text="two"))
    assert [complete(provider, ASK).text for _ in range(3)] == ["one", "two", "two"]


@COMPLETES
def test_a_response_is_handed_over_as_it_is(complete):
    """A Response is the answer itself."""
    response = Response(text="Paris", finish_reason="length")
    assert complete(ScriptedProvider(response), ASK) is response


@COMPLETES
def test_an_exception_is_raised(complete):
    """An exception is the very instance that comes out."""
    error = TimeoutError("slow")
    with pytest.raises(TimeoutError) as caught:
        complete(ScriptedProvider(error), ASK)
    assert caught.value is error


@COMPLETES
def test_a_list_is_joined(complete):
    """For a completion a stream's texts are joined, its reasoning apart."""
    provider = ScriptedProvider(["Pa", Chunk("hm", kind="reasoning"), Chunk("ris")])
    assert complete(provider, ASK) == Response(text="Paris", reasoning="hm")


@COMPLETES
def test_a_done_chunk_is_the_answer(complete):
    """For a completion the response of a closing done chunk is the answer."""
    done = Response(text="Paris", finish_reason="stop")
    assert complete(ScriptedProvider(["Paris", Chunk(kind="done", response=done)]), ASK) is done


@COMPLETES
def test_an_exception_in_a_list_fails_the_completion(complete):
    """A stream that breaks is a completion that fails."""
    with pytest.raises(ConnectionError):
        complete(ScriptedProvider(["Pa", ConnectionError()]), ASK)


@COMPLETES
def test_a_callable_is_asked_with_the_request(complete):
    """A callable sees the request and gives an item."""
    assert complete(ScriptedProvider(lambda request: request.prompt.upper()), Request("abc")).text == "ABC"


@STREAMS
def test_a_text_streams_in_words(stream):
    """A str yields its words and ends without a done chunk."""
    assert stream(ScriptedProvider("It is  Paris.\n"), ASK) == [
        Chunk("It"),
        Chunk(" is"),
        Chunk("  Paris."),
        Chunk("\n"),
    ]


@STREAMS
def test_a_response_streams_with_itself_at_the_end(stream):
    """A Response yields its words and then itself, on the done chunk."""
    response = Response(text="It is")
    assert stream(ScriptedProvider(response), ASK) == [
        Chunk("It"),
        Chunk(" is"),
        Chunk(kind="done", response=response),
    ]


@STREAMS
def test_a_list_streams_as_it_stands(stream):
    """A list yields its parts; a str in it is one chunk."""
    assert stream(ScriptedProvider(["It is", Chunk("x", kind="reasoning")]), ASK) == [
        Chunk("It is"),
        Chunk("x", kind="reasoning"),
    ]


def test_an_exception_breaks_the_stream_where_it_stands():
    """What precedes an exception in a list is yielded first."""
    chunks = ScriptedProvider(["Pa", ConnectionError("gone")]).stream(ASK)
    assert next(chunks) == Chunk("Pa")
    with pytest.raises(ConnectionError, match="gone"):
        next(chunks)


def test_a_stream_is_lazy():
    """Nothing is asked before the first chunk is fetched."""
    provider = ScriptedProvider("x")
    stream = provider.stream(ASK)
    assert provider.requests == []
    list(stream)
    assert provider.requests == [ASK]


def test_all_four_calls_record_their_requests():
    """Every request is kept, whichever call brought it."""
    provider = ScriptedProvider("x")
    asked = [Request(f"{n}") for n in range(4)]
    provider.complete(asked[0])
    _acomplete(provider, asked[1])
    list(provider.stream(asked[2]))
    _astream(provider, asked[3])
    assert provider.requests == asked


def test_streams_closed_early_are_counted():
    """A stream closed before its end counts, one that was read out does not."""
    provider = ScriptedProvider("a b c")
    with closing(provider.stream(ASK)) as stream:
        next(stream)
    list(provider.stream(ASK))
    assert provider.closed == 1


def test_a_stream_that_failed_was_not_closed():
    """An exception of the script is an end, not a closing."""
    provider = ScriptedProvider(["a", ConnectionError()])
    with pytest.raises(ConnectionError):
        list(provider.stream(ASK))
    assert provider.closed == 0


def test_a_cancelled_astream_is_counted():
    """Cancelling the task that reads a stream closes it before its end."""
    provider = ScriptedProvider("a b c")

    async def main():
        task = asyncio.ensure_future(_collect(provider))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert provider.closed == 1


def test_an_empty_script_is_refused():
    """A script needs an item; the error shows how."""
    with pytest.raises(ValueError, match="script is empty; give at least one answer"):
        ScriptedProvider()


@pytest.mark.parametrize("item", [3, ValueError, ["a", 3], [Response()]])
def test_an_item_of_no_use_is_refused_at_once(item):
    """What cannot be an answer is named when the provider is made, not when it is asked."""
    with pytest.raises(TypeError, match="cannot stand in a script"):
        ScriptedProvider(item)


def test_repr_names_the_provider():
    """The repr has the name, by which tests with several tell them apart."""
    assert repr(ScriptedProvider("x", name="left")) == "ScriptedProvider('left')"


def test_threads_share_the_script():
    """Each item but the last is used exactly once, whoever calls."""
    provider = ScriptedProvider(*[f"{n}" for n in range(400)], "end")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: provider.complete(ASK).text, range(500)))
    assert sorted(answers) == sorted([*[f"{n}" for n in range(400)], *["end"] * 100])
