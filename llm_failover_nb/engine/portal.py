"""The bridge between synchronous and asynchronous work: one background event loop, and threads the other way.

Nothing here knows about models beyond the shape of a provider's four calls.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, NamedTuple, TypeVar, cast

from llm_failover_nb.engine.locks import new_lock
from llm_failover_nb.engine.timekeeper import Timed
from llm_failover_nb.engine.types import AsyncProvider, Chunk, Provider, Request, Response, SyncProvider

__all__ = ["AsyncFromSync", "Calls", "Portal", "SyncFromAsync", "calls_of", "in_thread", "portal"]

T = TypeVar("T")

# Seconds between two looks of a loop that waits for the portal: well under what an interrupt may take.
_WAKE = 0.05


class Portal:
    """An event loop in a daemon thread, started on first use and again after a fork, stopped at exit."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Event | None = None
        self._pid = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the loop and wait for it; an interrupt here cancels it there.

        Raises:
            RuntimeError: When called on the portal's own loop, which would wait for itself.
        """
        future = self._submit(work)
        try:
            return future.result()
        except BaseException:
            # Without this the request goes on at the provider, and is billed.
            future.cancel()
            raise

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """:meth:`run`, awaited on another loop; a cancelled caller cancels it on the portal.

        The other loop wakes some times a second meanwhile: a kernel acts on an interrupt only when its loop
        does.
        """
        future = self._submit(work)
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(_retrieve)
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=_WAKE)
            return waiting.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, chunks: AsyncIterator[T]) -> Iterator[T]:
        """The items of ``chunks``, each fetched on the loop; closing this closes it there."""
        try:
            while True:
                try:
                    yield self.run(_next(chunks))
                except StopAsyncIteration:
                    return
        finally:
            if (aclose := getattr(chunks, "aclose", None)) is not None:
                with contextlib.suppress(RuntimeError):  # the loop is gone, and the iterator with it
                    self.run(aclose())

    def close(self) -> None:
        """Stop the loop, closing what still runs on it, and wait for its thread."""
        with self._lock:
            loop, thread, stopped = self._loop, self._thread, self._stopped
            self._loop = self._thread = self._stopped = None
        if loop is None or thread is None or stopped is None or self._pid != os.getpid():
            return
        loop.call_soon_threadsafe(stopped.set)
        thread.join(timeout=5)

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        wrapped = _cancellable(work)
        try:
            if threading.current_thread() is self._thread:
                raise RuntimeError(
                    "a synchronous call was made on the package's own event loop, where it would wait for "
                    "itself; use acomplete or astream there"
                )
            return asyncio.run_coroutine_threadsafe(wrapped, self._running_loop())
        except BaseException:
            wrapped.close()
            work.close()
            raise

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
                self._thread = threading.Thread(
                    target=_host, args=(started,), name="llm-failover-portal", daemon=True
                )
                self._thread.start()
                self._loop, self._stopped = started.result()
                self._pid = os.getpid()
                atexit.unregister(self.close)
                atexit.register(self.close)
            return self._loop


def _host(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    serving = _serve(started)
    try:
        # Not asyncio.run, which nest_asyncio and nest_asyncio2 replace with one that closes neither the loop
        # nor the connections that go with it.
        with asyncio.Runner() as runner:
            runner.run(serving)
    except Exception as error:
        serving.close()
        # No loop, for want of file descriptors say: whoever waits for it must hear of it.
        if started.done():
            raise
        started.set_exception(error)


async def _serve(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    stop = asyncio.Event()
    started.set_result((asyncio.get_running_loop(), stop))
    await stop.wait()


async def _cancellable(work: Coroutine[Any, Any, T]) -> T:
    """``work``, of whose failure nobody hears once it has been cancelled: the loop would report it."""
    try:
        return await work
    except Exception:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        raise


def _retrieve(done: asyncio.Future[Any]) -> None:
    """Ask for a failure that nobody waits for any more, or the loop would report it as never retrieved."""
    if not done.cancelled():
        done.exception()


async def _next(chunks: AsyncIterator[T]) -> T:
    return await anext(chunks)


portal = Portal()
"""The process's own."""


class Calls(NamedTuple):
    """A provider's four calls, whichever pair it came with."""

    complete: Callable[[Request], Response]
    acomplete: Callable[[Request], Awaitable[Response]]
    stream: Callable[[Request], Iterator[Chunk]]
    astream: Callable[[Request], AsyncIterator[Chunk]]


def calls_of(provider: Provider) -> Calls:
    """The four calls of any provider object; a missing pair is made from the other.

    A provider that holds to ``request.timeouts`` itself says so with an attribute ``keeps_time = True``;
    the asynchronous calls of others are held to them from outside.

    Raises:
        TypeError: When the object has neither pair.
    """
    has_sync = _has(provider, "complete", "stream")
    has_async = _has(provider, "acomplete", "astream")
    if not (has_sync or has_async):
        raise TypeError(
            f"{type(provider).__name__} is no provider: it needs complete(request) and stream(request), "
            "or acomplete(request) and astream(request)"
        )
    twin = cast("AsyncProvider", provider) if has_async else AsyncFromSync(cast("SyncProvider", provider))
    twin = twin if getattr(provider, "keeps_time", False) else Timed(twin)
    sync = cast("SyncProvider", provider) if has_sync else SyncFromAsync(twin)
    return Calls(sync.complete, twin.acomplete, sync.stream, twin.astream)


def _has(provider: object, *names: str) -> bool:
    return all(callable(getattr(provider, name, None)) for name in names)


class SyncFromAsync:
    """The synchronous pair of an asynchronous provider, run on the portal."""

    def __init__(self, provider: AsyncProvider) -> None:
        self._provider = provider

    def complete(self, request: Request, /) -> Response:
        return portal.run(self._provider.acomplete(request))

    def stream(self, request: Request, /) -> Iterator[Chunk]:
        return portal.iterate(self._provider.astream(request))


class AsyncFromSync:
    """The asynchronous pair of a synchronous provider, each step in a thread.

    A cancelled caller goes on at once; the thread ends the step it is in, then closes the stream.
    """

    def __init__(self, provider: SyncProvider) -> None:
        self._provider = provider

    async def acomplete(self, request: Request, /) -> Response:
        return await in_thread(self._provider.complete, request)

    async def astream(self, request: Request, /) -> AsyncIterator[Chunk]:
        chunks = self._opened(request)
        step = in_thread(next, chunks, None)
        try:
            while (chunk := await asyncio.shield(step)) is not None:
                yield chunk
                step = in_thread(next, chunks, None)
        finally:
            _close_after(step, chunks)

    def _opened(self, request: Request) -> Generator[Chunk, None, None]:
        # A provider may connect in the call itself; this way that happens in the first step's thread.
        yield from self._provider.stream(request)


def in_thread(work: Callable[..., T], *args: object) -> asyncio.Future[T]:
    """``work(*args)`` on a daemon thread of its own, within the present context.

    The loop's own pool would not do: it is small, so that silent providers would hold up others', and it
    is waited for at exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: object) -> None:
        if not future.done():  # it may have been cancelled meanwhile
            setter(value)

    def run() -> None:
        try:
            outcome: tuple[Callable[[Any], None], object] = (future.set_result, work(*args))
        except StopIteration:
            # No future can hold one; in a synchronous call it would end somebody's loop in silence.
            outcome = (future.set_exception, RuntimeError(f"{work!r} raised StopIteration"))
        except BaseException as error:  # noqa: BLE001  # raised where the future is awaited
            outcome = (future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it whoever waited
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=copy_context().run, args=(run,), name="llm-failover-step", daemon=True).start()
    return future


def _close_after(step: asyncio.Future[Chunk | None], chunks: Generator[Chunk, None, None]) -> None:
    """Close a generator, but not while a thread is in it: one that runs cannot be closed."""

    def ended(done: asyncio.Future[Chunk | None]) -> None:
        done.exception()  # asked for, or the loop would report it as never retrieved
        chunks.close()

    if step.done():
        chunks.close()
    else:
        step.add_done_callback(ended)
