"""A clock that never waits and a provider that answers from a script, for tests. No sockets, no wire.

The provider that fails like a real one is ``sim/…``; the server that does is :class:`FaultServer`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from llm_failover_nb.engine.types import Chunk, Request, Response
from llm_failover_nb.providers.script import words

__all__ = ["Answer", "FakeClock", "Scripted", "ScriptedProvider"]

Answer = Response | str | BaseException | Sequence[Chunk | str | BaseException]
"""What one call of a :class:`ScriptedProvider` gives."""

Scripted = Answer | Callable[[Request], Answer]
"""An item of its script."""

_START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is told to go on, and that serves every wait at once.

    Args:
        start: The time of day to begin at, aware.

    Raises:
        ValueError: When ``start`` has no time zone.

    >>> clock = FakeClock()
    >>> clock.sleep(2.5)
    >>> clock.advance(60)
    >>> clock.sleeps, clock.now().isoformat()
    ([2.5], '2026-01-01T00:01:00+00:00')
    """

    def __init__(self, start: datetime = _START) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start {start.isoformat()} has no time zone; give it one, such as tzinfo=UTC")
        self.sleeps: list[float] = []
        """Every wait that was asked for, in seconds, in order."""
        self._start = start.astimezone(UTC)
        self._elapsed = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Seconds that the clock was advanced by since it was made."""
        with self._lock:
            return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass.

        Raises:
            ValueError: When ``seconds`` is negative or not a number: no clock goes back.
        """
        if not seconds >= 0:
            raise ValueError(f"the clock cannot advance by {seconds!r} s; give 0 or more")
        with self._lock:
            self._elapsed += seconds

    def sleep(self, seconds: float, /) -> None:
        """Note the wait and return at once; the time stays."""
        with self._lock:
            self.sleeps.append(seconds)

    async def asleep(self, seconds: float, /) -> None:
        """Note the wait and let the loop go round once; the time stays."""
        self.sleep(seconds)
        await asyncio.sleep(0)


class ScriptedProvider:
    """A provider that gives what it was told to, one item a call, the last again and again.

    Args:
        script: What each call gives. A ``str`` or a :class:`Response` is an answer; an exception is
            raised; a list of ``str``, :class:`Chunk` and exceptions is a stream, in which an exception
            is raised where it stands (``complete`` joins its texts); a callable is asked with the
            request and gives any of these.
        name: Shown in the ``repr``.

    Raises:
        ValueError: When the script is empty.
        TypeError: When an item is none of the above.

    >>> provider = ScriptedProvider(TimeoutError("slow"), "Paris")
    >>> provider.complete(Request("Capital of France?"))
    Traceback (most recent call last):
    TimeoutError: slow
    >>> provider.complete(Request("Capital of France?")).text
    'Paris'
    """

    def __init__(self, *script: Scripted, name: str = "scripted") -> None:
        if not script:
            raise ValueError("the script is empty; give at least one answer, such as ScriptedProvider('ok')")
        for item in script:
            _check(item)
        self.name = name
        self.requests: list[Request] = []
        """Every request it was asked, in order."""
        self.closed = 0
        """How many streams were closed or cancelled before their end."""
        self._script = script
        self._lock = threading.Lock()

    def complete(self, request: Request, /) -> Response:
        return _whole(self._answer(request))

    async def acomplete(self, request: Request, /) -> Response:
        answer = self._answer(request)
        await asyncio.sleep(0)
        return _whole(answer)

    def stream(self, request: Request, /) -> Iterator[Chunk]:
        with self._counting_closes():
            yield from _chunks(self._answer(request))

    async def astream(self, request: Request, /) -> AsyncIterator[Chunk]:
        with self._counting_closes():
            for chunk in _chunks(self._answer(request)):
                await asyncio.sleep(0)
                yield chunk

    def __repr__(self) -> str:
        return f"ScriptedProvider({self.name!r})"

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            item = self._script[min(len(self.requests), len(self._script) - 1)]
            self.requests.append(request)
        # Outside the lock: a callable may block, or ask this provider again.
        return item(request) if callable(item) else item

    @contextmanager
    def _counting_closes(self) -> Iterator[None]:
        try:
            yield
        except (GeneratorExit, asyncio.CancelledError):
            with self._lock:
                self.closed += 1
            raise


def _check(item: object) -> None:
    if callable(item) and not isinstance(item, type):
        return
    parts = item if isinstance(item, Sequence) and not isinstance(item, str) else (item,)
    allowed = (str, BaseException, Chunk if parts is item else Response)
    for part in parts:
        if not isinstance(part, allowed):
            raise TypeError(
                f"{part!r} cannot stand in a script; give a str, a Response, an exception instance, "
                "a list of str, Chunk and exceptions, or a callable that takes the request"
            )


def _whole(answer: Answer) -> Response:
    match answer:
        case Response():
            return answer
        case str():
            return Response(text=answer)
    chunks = list(_chunks(answer))
    if chunks and (response := chunks[-1].response) is not None:
        return response
    return Response(text=_joined(chunks, "text"), reasoning=_joined(chunks, "reasoning"))


def _joined(chunks: Sequence[Chunk], kind: str) -> str:
    return "".join(chunk.text for chunk in chunks if chunk.kind == kind)


def _chunks(answer: Answer) -> Iterator[Chunk]:
    match answer:
        case BaseException():
            raise answer
        case str():
            yield from map(Chunk, words(answer))
        case Response():
            yield from map(Chunk, words(answer.text))
            yield Chunk(kind="done", response=answer)
        case _:
            yield from map(_chunk, answer)


def _chunk(part: Chunk | str | BaseException) -> Chunk:
    if isinstance(part, BaseException):
        raise part
    return Chunk(part) if isinstance(part, str) else part
