"""The one output of a cell while the answer comes, on a clock that stands still."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.events import FailoverEvent, current_cell
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Chunk, Request
from llm_failover_nb.notebook.live import Live, bundle, in_a_thread
from llm_failover_nb.testing import FakeClock


class Recorded:
    """A screen that keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Mapping[str, str]] = []

    def show(self, data: Mapping[str, str], /) -> None:
        self.shown.append(data)

    @property
    def texts(self) -> list[str]:
        return [data["text/plain"] for data in self.shown]


@pytest.fixture
def screen() -> Recorded:
    return Recorded()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Timers:
    """What was put off: fired by hand, or by a second of the clock in steps of a millisecond."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._due: dict[Timers.One, float] = {}

    class One:
        """One timer."""

        def __init__(self, timers: Timers, action: Callable[[], None]) -> None:
            self.timers, self.action = timers, action

        def cancel(self) -> None:
            self.timers._due.pop(self, None)

    def __call__(self, seconds: float, action: Callable[[], None]) -> Timers.One:
        one = Timers.One(self, action)
        self._due[one] = self._clock.monotonic() + seconds
        return one

    @property
    def waiting(self) -> int:
        return len(self._due)

    def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)
        for one, due in list(self._due.items()):
            if due <= self._clock.monotonic():
                del self._due[one]
                one.action()


@pytest.fixture
def timers(clock: FakeClock) -> Timers:
    return Timers(clock)


@pytest.fixture
def live(screen: Recorded, clock: FakeClock, timers: Timers) -> Live:
    return Live(screen, watched=True, clock=clock, later=timers)


def left(model: str, following: str) -> FailoverEvent:
    """The event of a model that was left for another."""
    error = ProviderError("down", status=503)
    return FailoverEvent(
        model, error, ErrorKind.TRANSIENT, 1, True, 300.0, following, Request("hi"),
        datetime(2026, 1, 1, tzinfo=UTC), 1, "a/x,b/y", "stream",
    )  # fmt: skip


def test_left_because_it_is_not_installed(live: Live, screen: Recorded) -> None:
    """A model that is missing is not said to have failed."""
    event = left("local/smollm2", "b/y")
    live.left(replace(event, error=ProviderError("x", reason="not_installed")))

    assert screen.texts == ["local/smollm2 is not installed; asking b/y …"]


def test_begins_with_what_is_waited_for(live: Live, screen: Recorded) -> None:
    """Before the first word, the output says what is being waited for."""
    live.begin("asking a/x …")

    assert screen.texts == ["asking a/x …"]


def test_first_word_is_shown_at_once(live: Live, screen: Recorded) -> None:
    """The first text replaces that, however soon it comes."""
    live.begin("asking a/x …")
    live.feed(Chunk("Hel"))

    assert screen.texts[-1] == "Hel"


def test_twenty_updates_a_second(live: Live, screen: Recorded, timers: Timers) -> None:
    """A thousand chunks in a second are twenty updates."""
    for _ in range(1000):
        live.feed(Chunk("x"))
        timers.advance(0.001)

    assert len(screen.shown) in range(18, 22)


def test_stalled_stream_has_shown_all_it_brought(live: Live, screen: Recorded, timers: Timers) -> None:
    """What came too soon after an update is shown when the interval is over, though nothing more comes."""
    for word in ("Hel", "lo ", "there"):
        live.feed(Chunk(word))
    assert screen.texts == ["Hel"]
    timers.advance(0.06)

    assert (screen.texts, timers.waiting) == (["Hel", "Hello there"], 0)


def test_nothing_comes_after_the_last_output(live: Live, screen: Recorded, timers: Timers) -> None:
    """The final output cancels what was put off, and what had already been due shows nothing."""
    live.feed(Chunk("Hel"))
    live.feed(Chunk("lo"))
    live.finish("<p>Hello</p>", "Hello")
    assert timers.waiting == 0
    live._catch_up()

    assert screen.texts == ["Hel", "Hello"]


def test_timer_is_a_thread_in_the_cells_context() -> None:
    """A kernel finds the cell that an output belongs to in the context."""
    token = current_cell.set("7")
    seen, done = [], threading.Event()
    try:
        in_a_thread(0, lambda: (seen.append(current_cell.get()), done.set()))
        assert done.wait(5)
    finally:
        current_cell.reset(token)

    assert seen == ["7"]


def test_long_texts_are_updated_less(live: Live, screen: Recorded, timers: Timers) -> None:
    """Each update sends all of the text, so a long one is sent more rarely."""
    live.feed(Chunk("x" * 200_000))
    for _ in range(1000):
        timers.advance(0.001)
        live.feed(Chunk("x"))

    assert len(screen.shown) < 5


def test_text_is_escaped_and_not_laid_out(live: Live, screen: Recorded) -> None:
    """While it streams, the answer is text."""
    live.feed(Chunk("**<script>**"))

    assert "**&lt;script&gt;**" in screen.shown[-1]["text/html"]


def test_left_model_is_named(live: Live, screen: Recorded) -> None:
    """When a model is left, the output says so while the next one is asked."""
    live.begin("asking a/x …")
    live.left(left("a/x", "b/y"))

    assert screen.texts[-1] == "a/x failed; asking b/y …"


def test_abandoned_text_is_marked(live: Live, screen: Recorded) -> None:
    """What a failed model had said is struck and called abandoned."""
    live.feed(Chunk("Hel"))
    live.left(left("a/x", "b/y"))

    assert screen.texts[-1] == "[abandoned] Hel\na/x failed; starting over with the next model, b/y …"
    assert "<del>Hel</del>" in screen.shown[-1]["text/html"]


def test_restart_marks_too(live: Live, screen: Recorded) -> None:
    """A restart without a change of model marks the text as well."""
    live.feed(Chunk("Hel"))
    live.feed(Chunk(kind="restart"))

    assert screen.texts[-1] == "[abandoned] Hel\nstarting over with the next model …"


def test_new_text_replaces_the_abandoned(live: Live, screen: Recorded, timers: Timers) -> None:
    """The next model's text stands alone."""
    live.feed(Chunk("Hel"))
    live.left(left("a/x", "b/y"))
    live.feed(Chunk(kind="restart"))
    live.feed(Chunk("Good day"))
    timers.advance(1)

    assert screen.texts[-1] == "Good day"


def test_last_model_abandons_nothing(live: Live, screen: Recorded) -> None:
    """With no model to follow, what has come stays."""
    live.feed(Chunk("Hel"))
    live.left(left("b/y", ""))

    assert (live.partial, screen.texts) == ("Hel", ["Hel"])


def test_partial_falls_back_to_the_abandoned(live: Live) -> None:
    """Until another model says something, what the failed one said is all there is."""
    live.feed(Chunk("Hel"))
    live.left(left("a/x", "b/y"))

    assert live.partial == "Hel"


def test_reasoning_is_not_the_answer(live: Live) -> None:
    """Thinking is kept apart from the answer."""
    live.feed(Chunk("hmm", "reasoning"))
    live.feed(Chunk("Paris"))

    assert (live.partial, live.reasoning) == ("Paris", "hmm")


def test_reasoning_is_counted_in_words(live: Live, screen: Recorded, timers: Timers) -> None:
    """However its words are cut into chunks, and in place of what was waited for."""
    live.begin("asking a/x …")
    for piece in ("Let", " me th", "ink a", "bout it", "\n", ""):
        live.feed(Chunk(piece, "reasoning"))
    timers.advance(1)

    assert screen.texts[-1] == "thinking … 5 words"


def test_reasoning_without_spaces_is_counted_in_characters(live: Live, screen: Recorded) -> None:
    """Where words are not set apart, their number says nothing."""
    live.feed(Chunk("首先我们需要考虑法国的首都是哪里这个问题", "reasoning"))

    assert screen.texts == ["thinking … 20 characters"]


def test_reasoning_is_shown_by_its_end(live: Live, screen: Recorded, timers: Timers) -> None:
    """An update stays small however much thinking there is."""
    for number in range(2000):
        live.feed(Chunk(f"step {number}, ", "reasoning"))
    timers.advance(1)
    shown = screen.shown[-1]["text/html"]

    assert "step 1999," in shown
    assert "step 1000," not in shown
    assert len(shown) < 4000


def test_reasoning_gives_way_to_the_answer(live: Live, screen: Recorded, timers: Timers) -> None:
    """With the first word of the answer only the length of the thinking stays above it."""
    live.feed(Chunk("let me think", "reasoning"))
    live.feed(Chunk("Paris"))
    timers.advance(1)

    assert screen.texts[-1] == "Paris"
    assert "let me think" not in screen.shown[-1]["text/html"]
    assert "thinking, 3 words" in screen.shown[-1]["text/html"]


def test_reasoning_of_a_model_that_was_left(live: Live, screen: Recorded) -> None:
    """It goes with the model."""
    live.feed(Chunk("hmm", "reasoning"))
    live.left(left("a/x", "b/y"))

    assert (live.reasoning, screen.texts[-1]) == ("", "a/x failed; asking b/y …")


def test_updates_are_small(live: Live, screen: Recorded) -> None:
    """The style that every update repeats is a short one."""
    live.feed(Chunk("x"))

    assert len(screen.shown[-1]["text/html"]) < 3000


def test_finish_replaces_everything(live: Live, screen: Recorded) -> None:
    """The last output is the one that is given."""
    live.feed(Chunk("Hel"))
    live.finish("<p>Hello</p>", "Hello")

    assert screen.shown[-1] == {"text/html": "<p>Hello</p>", "text/plain": "Hello"}


def test_unwatched_is_one_output(screen: Recorded) -> None:
    """Where nobody watches there is one output, the last."""
    live = Live(screen, watched=False, clock=FakeClock())
    live.begin("asking a/x …")
    live.feed(Chunk("Hel"))
    live.left(left("a/x", "b/y"))
    live.finish("<p>Hello</p>", "Hello")

    assert screen.texts == ["Hello"]


def test_keys_are_masked() -> None:
    """No key is saved with the notebook, whoever wrote it."""
    key = Secret("sk-canary-1234509876").reveal()

    assert bundle(f"<p>{key}</p>", key) == {"text/html": "<p>********</p>", "text/plain": "********"}
