"""The limits of providers that keep none themselves: which one ends a call, and which calls go on."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.timekeeper import Timed, timeout_error
from llm_failover_nb.engine.types import Chunk, Request, Response, Timeouts

TINY = 0.02  # seconds
LONG = 60.0  # seconds that no test waits for


def ask(**limits):
    return Request("hi", timeouts=Timeouts(**limits))


class Silent:
    """Gives its items, then nothing for ever; notes whether it was cancelled and closed."""

    def __init__(self, *items):
        self.items = items
        self.closed = False

    async def acomplete(self, request):
        try:
            await asyncio.Event().wait()
        finally:
            self.closed = True

    async def astream(self, request):
        try:
            for item in self.items:
                yield item
            await asyncio.Event().wait()
        finally:
            self.closed = True


class Answers:
    """Answers at once."""

    async def acomplete(self, request):
        return Response("ok")

    async def astream(self, request):
        for text in ("", "o", "k"):
            yield Chunk(text)


class Fails:
    """Raises a TimeoutError of its own."""

    async def acomplete(self, request):
        await asyncio.sleep(0)
        raise TimeoutError("its own")

    async def astream(self, request):
        yield Chunk("a")
        await asyncio.sleep(0)
        raise TimeoutError("its own")


async def collect(provider, request, into):
    async with aclosing(Timed(provider).astream(request)) as chunks:
        async for chunk in chunks:
            into.append(chunk)


def streamed(provider, request):
    """What a stream that fails gave until then, and how it failed."""
    got = []
    with pytest.raises(ProviderError) as caught:
        asyncio.run(collect(provider, request, got))
    return got, str(caught.value)


def test_a_timeout_is_transient_and_names_the_setting():
    """The engine needs no guess, the reader knows what to change."""
    error = timeout_error("no answer", 1.5, "attempt_timeout")
    assert (str(error), error.kind, error.reason) == (
        "no answer within 1.5 s (attempt_timeout)", ErrorKind.TRANSIENT, "timeout",
    )  # fmt: skip


def test_a_timeout_is_not_retried_in_place():
    """A silent provider stays silent."""
    assert not classify(timeout_error("no answer", 1.5, "attempt_timeout")).retry_in_place


def test_a_completion_ends_with_its_attempt():
    """The provider is cancelled, not left waiting."""
    provider = Silent()
    with pytest.raises(ProviderError, match=r"^no answer within 0.02 s \(attempt_timeout\)$"):
        asyncio.run(Timed(provider).acomplete(ask(attempt=TINY)))
    assert provider.closed


def test_the_error_hides_the_cancellation_behind_it():
    """What is shown is the limit that passed."""
    with pytest.raises(ProviderError) as caught:
        asyncio.run(Timed(Silent()).acomplete(ask(attempt=TINY)))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "limits", [{}, {"attempt": LONG, "first_token": LONG, "idle": LONG}], ids=["none", "long"]
)
def test_an_answer_in_time_is_left_alone(limits):
    """With limits or without."""
    got = []
    asyncio.run(collect(Answers(), ask(**limits), got))
    answer = asyncio.run(Timed(Answers()).acomplete(ask(**limits)))
    assert (answer.text, [chunk.text for chunk in got]) == ("ok", ["", "o", "k"])


def test_only_the_attempt_limits_a_completion():
    """The others are for streams: the silent provider waits on, until somebody cancels."""

    async def run():
        provider = Silent()
        call = asyncio.ensure_future(Timed(provider).acomplete(ask(first_token=TINY / 20, idle=TINY / 20)))
        await asyncio.wait([call], timeout=TINY)
        waiting = not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return waiting

    assert asyncio.run(run())


def test_a_completions_own_timeout_error_passes():
    """It is the provider's, with the provider's words."""
    with pytest.raises(TimeoutError, match=r"^its own$"):
        asyncio.run(Timed(Fails()).acomplete(ask(attempt=LONG)))


def test_a_streams_own_timeout_error_passes():
    """After what came before it."""
    got = []
    with pytest.raises(TimeoutError, match=r"^its own$"):
        asyncio.run(collect(Fails(), ask(attempt=LONG, first_token=LONG, idle=LONG), got))
    assert got == [Chunk("a")]


def test_a_stream_without_a_first_token_ends():
    """And is closed."""
    provider = Silent()
    assert streamed(provider, ask(first_token=TINY, attempt=LONG)) == (
        [], "no first token within 0.02 s (first_token_timeout)",
    )  # fmt: skip
    assert provider.closed


def test_chunks_without_content_are_no_first_token():
    """A role or a ping does not stop that clock."""
    pings = [Chunk(), Chunk(kind="tool")]
    assert streamed(Silent(*pings), ask(first_token=TINY, idle=LONG)) == (
        pings, "no first token within 0.02 s (first_token_timeout)",
    )  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [Chunk("a"), Chunk("a", "reasoning"), Chunk(kind="tool", tool={"index": 0})],
    ids=["text", "reasoning", "tool"],
)
def test_after_content_silence_is_idleness(content):
    """Content of any kind ends the wait for the first token."""
    assert streamed(Silent(content), ask(first_token=LONG, idle=TINY)) == (
        [content], "nothing more within 0.02 s (idle_timeout)",
    )  # fmt: skip


@pytest.mark.parametrize("items", [[], [Chunk("a")], [Chunk("a"), Chunk("b")]], ids=["none", "one", "two"])
def test_a_stream_ends_with_its_attempt(items):
    """Before content and after it, whichever limit comes first."""
    assert streamed(Silent(*items), ask(first_token=LONG, idle=LONG, attempt=TINY)) == (
        items, "no whole answer within 0.02 s (attempt_timeout)",
    )  # fmt: skip


def test_the_attempt_is_named_where_two_limits_are_equal():
    """One cause, always the same."""
    assert streamed(Silent(), ask(first_token=TINY, attempt=TINY))[1].endswith("(attempt_timeout)")


def test_each_chunk_starts_the_idle_time_anew():
    """A slow stream that goes on is not idle, though it takes longer than the limit."""

    class Drips:
        async def astream(self, request):
            for _ in range(8):
                await asyncio.sleep(TINY)
                yield Chunk("a")

    got = []
    asyncio.run(collect(Drips(), ask(first_token=LONG, idle=TINY * 6), got))
    assert len(got) == 8


@pytest.mark.parametrize("limits", [{"idle": TINY}, {"idle": TINY, "first_token": TINY}])
def test_a_consumer_that_is_slow_between_chunks_is_not_timed_out(limits):
    """Its own time is not the model's silence, and no limit cancels it."""

    async def run():
        got = []
        async with aclosing(Timed(Answers()).astream(ask(**limits, attempt=LONG))) as chunks:
            async for chunk in chunks:
                got.append(chunk.text)
                if chunk.text:
                    await asyncio.sleep(TINY * 2)
        return got

    assert asyncio.run(run()) == ["", "o", "k"]


def test_leaving_a_stream_closes_the_providers():
    """Between two chunks."""

    async def run():
        provider = Silent(Chunk("a"))
        async with aclosing(Timed(provider).astream(ask(idle=LONG))) as chunks:
            await anext(chunks)
        return provider.closed

    assert asyncio.run(run())


def test_a_cancelled_reader_is_cancelled():
    """Not timed out: the cancellation is the caller's."""

    async def run():
        provider = Silent(Chunk("a"))
        chunks = Timed(provider).astream(ask(idle=LONG, attempt=LONG))
        await anext(chunks)
        reader = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        return provider.closed

    assert asyncio.run(run())


def test_an_iterator_without_close_is_no_matter():
    """A provider may write its own."""

    class Items:
        def __init__(self):
            self.left = [Chunk("b"), Chunk("a")]

        def astream(self, request):
            return self

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    async def run():
        return [chunk.text async for chunk in Timed(Items()).astream(ask())]

    assert asyncio.run(run()) == ["a", "b"]


def test_blanks_are_no_first_token():
    """As for the engine: a provider that sends nothing but blanks is silent."""

    class Blanks:
        async def acomplete(self, request):
            return Response("")

        async def astream(self, request):
            while True:
                await asyncio.sleep(0)
                yield Chunk(" ")

    with pytest.raises(ProviderError, match="no first token"):
        asyncio.run(collect(Blanks(), ask(first_token=TINY, idle=LONG), []))
