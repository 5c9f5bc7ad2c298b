"""The one output of a cell, from its first word to its last form. What it looks like is `render`'s to say.

While the answer comes, the output is replaced in place, at most twenty times a second. What came too soon
after an update is shown by a timer when the interval is over, so that a stream that stalls has shown all it
brought; the last output ends the timer. Where nobody watches, there is one output, at the end.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Protocol

from IPython.display import display, update_display

from llm_failover_nb.engine.clock import Clock, SystemClock
from llm_failover_nb.engine.events import FailoverEvent
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.types import Chunk
from llm_failover_nb.notebook import render

__all__ = ["CellScreen", "Live", "Screen", "bundle"]

_INTERVAL = 0.05

# Each update sends the whole text: beyond this length they become rarer in proportion.
_LONG_TEXT = 20_000

# Of thinking, so many characters from its end are sent: about three lines.
_THOUGHT_SHOWN = 400


class Screen(Protocol):
    """Where a cell's output is shown."""

    def show(self, data: Mapping[str, str], /) -> None:
        """Show a MIME bundle, in the place of the one before it."""
        ...


class CellScreen:
    """The output area of the running cell."""

    def __init__(self) -> None:
        self._id = f"llm-failover-{uuid.uuid4().hex}"
        self._shown = False

    def show(self, data: Mapping[str, str], /) -> None:
        if self._shown:
            update_display(data, raw=True, display_id=self._id)  # type: ignore[no-untyped-call]  # IPython's
        else:
            display(data, raw=True, display_id=self._id)  # type: ignore[no-untyped-call]  # IPython's
            self._shown = True


class Timer(Protocol):
    """Something that will be done later, unless it is cancelled."""

    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]
"""Does something after so many seconds, on a thread of its own."""


def in_a_thread(seconds: float, action: Callable[[], None]) -> Timer:
    """:data:`Later`, within the present context: a kernel finds the cell of an output there."""
    timer = threading.Timer(seconds, copy_context().run, (action,))
    timer.daemon = True
    timer.start()
    return timer


class _Thought:
    """A model's thinking: counted as it comes, since it may be long, and shown by its end."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._words = 0
        self._characters = 0
        self._within_a_word = False

    def add(self, text: str) -> None:
        if not text:
            return
        self._parts.append(text)
        self._characters += len(text)
        goes_on = self._within_a_word and not text[0].isspace()
        self._words += len(text.split()) - goes_on
        self._within_a_word = not text[-1].isspace()

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def length(self) -> str:
        """In words; empty while there is nothing."""
        return render.words_or_characters(self._words, self._characters) if self._words else ""

    @property
    def end(self) -> str:
        """The last lines that fit on the screen's own few."""
        end = ""
        for part in reversed(self._parts):
            if len(end) >= _THOUGHT_SHOWN:
                break
            end = part + end
        return end[-_THOUGHT_SHOWN:].strip()


class Live:
    """Shows an answer while it comes.

    Args:
        screen: Where.
        watched: Whether to show anything before the end.
        clock: Tells when the next update is due.
        later: Shows what came too soon after the last update.
    """

    def __init__(
        self, screen: Screen, *, watched: bool, clock: Clock | None = None, later: Later = in_a_thread
    ) -> None:
        self._screen = screen
        self._watched = watched
        self._clock = clock or SystemClock()
        self._later = later
        self._lock = threading.RLock()
        self._timer: Timer | None = None
        self._parts: list[str] = []
        self._length = 0
        self._thought = _Thought()
        self._abandoned = ""
        self._doing = ""
        self._updated = -math.inf

    @property
    def partial(self) -> str:
        """What has come of the answer; from a model that failed, where no other has said anything."""
        return self._text or self._abandoned

    @property
    def reasoning(self) -> str:
        """What has come of the thinking of the model that is being heard."""
        return self._thought.text

    def begin(self, doing: str) -> None:
        """Say what is being waited for."""
        self._doing = doing
        self._show()

    def left(self, event: FailoverEvent) -> None:
        """Say that a model was left; what it had said is marked until other text replaces it.

        An observer of the chain: a ``restart`` chunk comes only with the text that follows it.
        """
        if event.next_model:
            self._abandon()
            left = render.left_words(event)
            self._doing = f"{left}; asking {event.next_model} …"
            if self._abandoned:
                self._doing = f"{left}; starting over with the next model, {event.next_model} …"
            self._show()

    def feed(self, chunk: Chunk) -> None:
        """Take a chunk of the stream."""
        if chunk.kind == "restart":
            self._abandon()
            self._doing = "starting over with the next model …"
            self._show()
        elif chunk.kind == "text":
            self._add(chunk.text)
        elif chunk.kind == "reasoning":
            self._think(chunk.text)

    def finish(self, html: str, text: str) -> None:
        """Replace all that was shown by the cell's final output."""
        with self._lock:
            self._watched = False
            if self._timer is not None:
                self._timer.cancel()
            self._screen.show(bundle(html, text))

    @property
    def _text(self) -> str:
        return "".join(self._parts)

    def _add(self, text: str) -> None:
        with self._lock:
            self._parts.append(text)
            self._length += len(text)
            self._abandoned = self._doing = ""
            self._show_soon()

    def _think(self, text: str) -> None:
        with self._lock:
            self._thought.add(text)
            self._doing = ""
            self._show_soon()

    def _show_soon(self) -> None:
        """At once, or when the interval since the last update is over."""
        if not self._watched or self._timer is not None:
            return
        interval = _INTERVAL * max(1.0, self._length / _LONG_TEXT)
        early = self._updated + interval - self._clock.monotonic()
        if early <= 0:
            self._catch_up()
        else:
            self._timer = self._later(early, self._catch_up)

    def _catch_up(self) -> None:
        with self._lock:
            self._timer = None
            self._updated = self._clock.monotonic()
            self._show()

    def _abandon(self) -> None:
        with self._lock:
            self._abandoned = self.partial
            self._parts, self._length = [], 0
            self._thought = _Thought()

    def _show(self) -> None:
        """Now, whatever the interval: models are left a few times in a call, not many times a second."""
        with self._lock:
            if not self._watched:
                return
            text, abandoned, doing = self._text, self._abandoned, self._doing
            thought, thinking = self._thought.length, self._thought.end
            self._screen.show(
                bundle(
                    render.live_html(
                        text, abandoned=abandoned, doing=doing, thought=thought, thinking=thinking
                    ),
                    render.live_text(text, abandoned=abandoned, doing=doing, thought=thought),
                )
            )


def bundle(html: str, text: str) -> dict[str, str]:
    """The MIME bundle of an output, secrets masked: outputs are saved with the notebook."""
    return {"text/html": redact(html), "text/plain": redact(text)}
