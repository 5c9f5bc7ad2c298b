"""The background loop, how work on it is cancelled and closed, and the calls made of the other pair."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import subprocess
import sys
import threading
from contextlib import aclosing, closing

import pytest

from llm_failover_nb.engine import portal as module
from llm_failover_nb.engine.portal import AsyncFromSync, Portal, SyncFromAsync, calls_of, in_thread
from llm_failover_nb.engine.timekeeper import Timed
from llm_failover_nb.engine.types import Chunk, Request, Response

ASK = Request("hi", "model")
PATIENCE = 10  # seconds until a test that hangs fails


@pytest.fixture
def portal():
    one = Portal()
    yield one
    one.close()


@pytest.fixture
def process_portal(monkeypatch):
    """A portal in the place of the process's own."""
    one = Portal()
    monkeypatch.setattr(module, "portal", one)
    yield one
    one.close()


class SyncOnly:
    """Answers synchronously; notes what became of its streams."""

    def __init__(self):
        self.closed = threading.Event()

    def complete(self, request):
        return Response(f"{request.prompt} from {threading.current_thread().name}")

    def stream(self, request):
        try:
            yield Chunk("a")
            yield Chunk("b")
        finally:
            self.closed.set()


class AsyncOnly:
    """Answers asynchronously; notes what became of its streams."""

    def __init__(self):
        self.closed = threading.Event()

    async def acomplete(self, request):
        return Response(f"{request.prompt} from {threading.current_thread().name}")

    async def astream(self, request):
        try:
            yield Chunk("a")
            yield Chunk("b")
        finally:
            self.closed.set()


class Both(SyncOnly, AsyncOnly):
    """Has all four calls."""


async def _collect(chunks):
    async with aclosing(chunks):
        return [chunk.text async for chunk in chunks]


async def _thread_name():
    return threading.current_thread().name


async def _forever(began, ended):
    try:
        began.set()
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        ended.set()
        raise


def _interrupt_when_waiting(monkeypatch, began):
    """Let the wait for a result on this thread be interrupted, once the work has begun."""
    result = concurrent.futures.Future.result

    def interrupted(future, timeout=None):
        if threading.current_thread() is not threading.main_thread():
            return result(future, timeout)
        assert began.wait(PATIENCE)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(concurrent.futures.Future, "result", interrupted)


# Running


def test_work_runs_on_the_portals_thread(portal):
    """And its result comes back."""
    assert portal.run(_thread_name()) == "llm-failover-portal"


def test_one_loop_serves_all_calls(portal):
    """It is started once."""

    async def loop():
        return asyncio.get_running_loop()

    assert portal.run(loop()) is portal.run(loop())


def test_an_error_comes_back(portal):
    """As it was raised there."""

    async def fails():
        raise LookupError("no such model")

    with pytest.raises(LookupError, match="no such model"):
        portal.run(fails())


def test_many_threads_start_one_loop(portal):
    """First use may come from anywhere at once."""
    start, loops = threading.Barrier(8), []

    async def loop():
        return asyncio.get_running_loop()

    def use():
        start.wait()
        loops.append(portal.run(loop()))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in loops}) == 1


def test_an_interrupt_cancels_the_work(portal, monkeypatch):
    """The request must not go on at the provider when the user has left."""
    began, ended = threading.Event(), threading.Event()
    portal.run(_thread_name())
    _interrupt_when_waiting(monkeypatch, began)
    with pytest.raises(KeyboardInterrupt):
        portal.run(_forever(began, ended))
    assert ended.wait(PATIENCE)


def test_work_is_awaited_on_another_loop(portal):
    """What runs on the portal is the answer of whoever awaits it elsewhere."""
    assert asyncio.run(portal.arun(_thread_name())) == "llm-failover-portal"


def test_an_awaited_error_comes_back(portal):
    """The failure is raised where it is awaited."""

    async def fails():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(portal.arun(fails()))


def test_who_awaits_is_cancelled_and_so_is_the_work(portal):
    """Nothing goes on at the provider once nobody waits for it."""
    began, ended = threading.Event(), threading.Event()

    async def waits():
        waiting = asyncio.ensure_future(portal.arun(_forever(began, ended)))
        await asyncio.to_thread(began.wait, PATIENCE)
        waiting.cancel()
        await waiting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(waits())
    assert ended.wait(10)


def test_a_failure_after_the_cancellation_is_quiet(portal, caplog):
    """Nobody is left to be told of it."""
    began, go, ended = threading.Event(), threading.Event(), threading.Event()

    async def fails_late():
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            go.wait(10)
            ended.set()
            raise ValueError("late") from None

    async def waits():
        waiting = asyncio.ensure_future(portal.arun(fails_late()))
        await asyncio.to_thread(began.wait, PATIENCE)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go.set()

    asyncio.run(waits())
    assert ended.wait(10)
    portal.close()
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


def test_the_other_loop_wakes_meanwhile(portal):
    """A kernel acts on an interrupt only when its loop does."""
    release = threading.Event()

    async def waits():
        loop, turns = asyncio.get_running_loop(), 0
        select = loop._selector.select

        def counted(timeout=None):
            nonlocal turns
            turns += 1
            if turns == 5:
                release.set()
            return select(timeout)

        loop._selector.select = counted

        async def released():
            await asyncio.to_thread(release.wait, PATIENCE)
            return turns

        return await portal.arun(released())

    assert asyncio.run(waits()) >= 5


def test_a_refused_call_leaves_nothing_unawaited(portal):
    """On its own loop the portal would wait for itself, awaited or not."""

    async def calls_again():
        return await portal.arun(_thread_name())

    with pytest.raises(RuntimeError, match="own event loop"):
        portal.run(calls_again())


def test_a_call_on_its_own_loop_is_refused(portal):
    """It would wait for itself; the error names what to use."""

    async def calls_again():
        return portal.run(_thread_name())

    with pytest.raises(RuntimeError, match="would wait for itself; use acomplete or astream there"):
        portal.run(calls_again())


def test_a_call_on_another_loop_is_served(portal):
    """A notebook's cell runs on a loop of its own."""

    async def calls():
        return portal.run(_thread_name())

    assert asyncio.run(calls()) == "llm-failover-portal"


def test_a_loop_that_cannot_start_is_an_error(portal, monkeypatch):
    """Not a wait for ever; the next call tries again."""

    def exhausted():
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.events, "new_event_loop", exhausted)
        with pytest.raises(OSError, match="Too many open files"):
            portal.run(_thread_name())
    assert portal.run(_thread_name()) == "llm-failover-portal"


def test_an_error_after_the_start_is_the_threads_own(portal, monkeypatch):
    """Nobody waits for it any more; it is reported as any thread's."""
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_type))

    async def breaks(started):
        started.set_result((asyncio.get_running_loop(), asyncio.Event()))
        raise LookupError

    started = concurrent.futures.Future()
    monkeypatch.setattr(module, "_serve", breaks)
    thread = threading.Thread(target=module._host, args=(started,))
    thread.start()
    thread.join(PATIENCE)
    assert reported == [LookupError]


# Closing


def test_close_ends_the_thread(portal):
    """Nothing of it is left."""
    portal.run(_thread_name())
    thread = portal._thread
    portal.close()
    assert not thread.is_alive()


def test_close_without_use_does_nothing(portal):
    """Once or twice."""
    portal.close()
    portal.close()
    assert portal._thread is None


def test_close_cancels_what_still_runs(portal):
    """Whoever waits for it hears so."""
    began, ended, met = threading.Event(), threading.Event(), []

    def wait():
        try:
            portal.run(_forever(began, ended))
        except concurrent.futures.CancelledError as error:
            met.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    assert began.wait(PATIENCE)
    portal.close()
    thread.join(PATIENCE)
    assert (met, ended.is_set()) == ([concurrent.futures.CancelledError], True)


def test_a_patched_asyncio_run_closes_as_well(portal, monkeypatch):
    """What nest_asyncio puts in the place of asyncio.run closes nothing, so it is not used."""
    monkeypatch.setattr(asyncio, "run", lambda main: asyncio.new_event_loop().run_until_complete(main))
    closed = threading.Event()

    async def connections():
        try:
            yield
        finally:
            closed.set()

    kept = connections()

    async def connect():  # a generator belongs to the loop on which it is first asked
        await anext(kept)

    portal.run(connect())
    portal.close()

    assert closed.is_set()


def test_it_starts_again_after_close(portal):
    """On a new loop."""
    portal.run(_thread_name())
    portal.close()
    assert portal.run(_thread_name()) == "llm-failover-portal"


FORKED = """
import os, sys, threading
from llm_failover_nb.engine.portal import portal

async def where():
    return os.getpid(), threading.current_thread().name

first = portal.run(where())
close_first = sys.argv[1] == "close"
child = os.fork()
if child == 0:
    if close_first:
        portal.close()
    ok = portal.run(where()) == (os.getpid(), "llm-failover-portal") and os.getpid() != first[0]
    portal.close()
    os._exit(0 if ok else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert portal.run(where()) == first
sys.exit(code)
"""


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="needs os.fork")
@pytest.mark.parametrize("first", ["run", "close"])
def test_a_forked_child_gets_its_own(first):
    """The parent's thread is not there; its loop is left to it."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, first],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_process_ends_with_a_portal_in_use():
    """It is closed at exit, without a word."""
    script = (
        "from llm_failover_nb.engine.portal import portal\nasync def f(): return 5\nprint(portal.run(f()))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")


# Iterating


def test_items_come_in_order(portal):
    """Each fetched on the loop."""

    async def items():
        for n in range(3):
            yield n, await _thread_name()

    assert list(portal.iterate(items())) == [(n, "llm-failover-portal") for n in range(3)]


def test_an_error_between_items_comes_through(portal):
    """After what came before it."""

    async def items():
        yield 1
        raise LookupError("cut")

    with closing(portal.iterate(items())) as iterator:
        assert next(iterator) == 1
        with pytest.raises(LookupError, match="cut"):
            next(iterator)


def test_closing_closes_there(portal):
    """The provider's stream ends on the loop that it ran on."""
    where = []

    async def items():
        try:
            yield 1
            yield 2
        finally:
            where.append(await _thread_name())

    iterator = portal.iterate(items())
    assert next(iterator) == 1
    iterator.close()
    assert where == ["llm-failover-portal"]


def test_an_interrupt_between_items_ends_the_stream(portal, monkeypatch):
    """The item that was awaited is cancelled, the stream closed."""
    began, ended = threading.Event(), threading.Event()

    async def items():
        yield 1
        await _forever(began, ended)

    iterator = portal.iterate(items())
    assert next(iterator) == 1
    _interrupt_when_waiting(monkeypatch, began)
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert ended.wait(PATIENCE)


def test_an_iterator_without_close_is_no_matter(portal):
    """A provider may write its own."""

    class Items:
        def __init__(self):
            self.left = [2, 1]

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    assert list(portal.iterate(Items())) == [1, 2]


def test_closing_after_the_portal_has_gone_is_quiet(portal):
    """The iterator went with the loop."""
    ended = threading.Event()

    async def items():
        try:
            yield 1
        finally:
            ended.set()

    iterator = portal.iterate(items())
    next(iterator)
    portal.close()
    assert ended.is_set()
    iterator.close()


def test_closing_on_the_portals_own_loop_is_quiet(portal):
    """A generator collected there cannot wait for itself; it does not complain either."""

    async def items():
        yield 1

    iterator = portal.iterate(items())
    next(iterator)

    async def close():
        iterator.close()
        return "closed"

    assert portal.run(close()) == "closed"


# The four calls of a provider


def _four(calls):
    """What each of the four calls gives."""
    return (
        calls.complete(ASK).text,
        asyncio.run(_await(calls.acomplete(ASK))).text,
        [chunk.text for chunk in calls.stream(ASK)],
        asyncio.run(_collect(calls.astream(ASK))),
    )


async def _await(awaitable):
    return await awaitable


def test_a_synchronous_provider_has_all_four():
    """The asynchronous ones run in threads."""
    complete, acomplete, chunks, achunks = _four(calls_of(SyncOnly()))
    assert (complete, chunks, achunks) == ("hi from MainThread", ["a", "b"], ["a", "b"])
    assert acomplete.startswith("hi from llm-failover-step")


@pytest.mark.usefixtures("process_portal")
def test_an_asynchronous_provider_has_all_four():
    """The synchronous ones run on the portal."""
    assert _four(calls_of(AsyncOnly())) == (
        "hi from llm-failover-portal", "hi from MainThread", ["a", "b"], ["a", "b"],
    )  # fmt: skip


def test_a_provider_with_both_is_asked_directly():
    """Neither thread nor portal comes between."""
    assert _four(calls_of(Both())) == (
        "hi from MainThread", "hi from MainThread", ["a", "b"], ["a", "b"],
    )  # fmt: skip


def test_a_provider_that_keeps_time_is_left_alone():
    """Its own methods are the calls."""
    provider = Both()
    provider.keeps_time = True
    calls = calls_of(provider)
    assert calls == (provider.complete, provider.acomplete, provider.stream, provider.astream)


@pytest.mark.parametrize("provider", [SyncOnly(), AsyncOnly(), Both()], ids=["sync", "async", "both"])
def test_a_provider_that_keeps_no_time_is_timed(provider):
    """Its asynchronous calls are held to the request's timeouts."""
    assert isinstance(calls_of(provider).acomplete.__self__, Timed)


class _CompleteOnly:
    def complete(self, request):
        """Half a pair."""


class _NotCallable:
    complete = stream = "text"


@pytest.mark.parametrize("provider", [object(), None, _CompleteOnly(), _NotCallable()])
def test_what_has_neither_pair_is_no_provider(provider):
    """The error names the type and the calls."""
    with pytest.raises(TypeError, match=r"is no provider: it needs complete\(request\)") as caught:
        calls_of(provider)
    assert str(caught.value).startswith(type(provider).__name__)


def test_half_a_pair_beside_a_whole_one_does_not_count():
    """The missing call is made from the other pair."""
    provider = AsyncOnly()
    provider.complete = lambda request: Response("half")
    assert isinstance(calls_of(provider).stream.__self__, SyncFromAsync)


# Streams in threads


def test_a_stream_that_connects_at_once_does_so_in_a_thread():
    """A provider may send the request in the call itself: the loop must not wait for it."""
    where = []

    class Eager:
        def complete(self, request):
            """Not asked here."""

        def stream(self, request):
            where.append(threading.current_thread() is threading.main_thread())
            return iter([Chunk("a")])

    assert asyncio.run(_collect(AsyncFromSync(Eager()).astream(ASK))) == ["a"]
    assert where == [False]


def test_steps_see_the_callers_context():
    """What the notebook sets for a cell is seen in the thread."""
    cell = contextvars.ContextVar("cell", default="")

    class Reads(SyncOnly):
        def stream(self, request):
            yield Chunk(cell.get())

    async def read():
        cell.set("cell-1")
        return await _collect(AsyncFromSync(Reads()).astream(ASK))

    assert asyncio.run(read()) == ["cell-1"]


def test_an_error_of_a_step_comes_through():
    """And the stream is closed."""
    provider = SyncOnly()

    def stream(request):
        yield Chunk("a")
        raise LookupError("cut")

    provider.stream = stream
    with pytest.raises(LookupError, match="cut"):
        asyncio.run(_collect(AsyncFromSync(provider).astream(ASK)))


class Held(AsyncFromSync):
    """Keeps its generator, so that being collected does not close it."""

    def _opened(self, request):
        self.held = super()._opened(request)
        return self.held


def test_leaving_between_steps_closes_the_stream():
    """At once: no thread is in it."""
    provider = SyncOnly()

    async def leave():
        stream = Held(provider)
        async with aclosing(stream.astream(ASK)) as chunks:
            first = await anext(chunks)
        return first.text, provider.closed.is_set()

    assert asyncio.run(leave()) == ("a", True)


class Blocked:
    """Streams ``a``, waits in the next step until it is let go, then gives one more chunk or fails."""

    def __init__(self, *, fails=False):
        self.inside, self.go, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.fails = fails

    def complete(self, request):
        """Not asked here."""

    def stream(self, request):
        try:
            yield Chunk("a")
            self.inside.set()
            assert self.go.wait(PATIENCE)
            if self.fails:
                raise LookupError("cut")
            yield Chunk("b")
            raise AssertionError("nobody asked for this")
        finally:
            self.closed.set()


async def _cancelled_in_a_step(provider, stream):
    """Cancel a reader while a thread is in the stream; whether it was closed by then."""
    reader = asyncio.ensure_future(_collect(stream.astream(ASK)))
    await asyncio.to_thread(provider.inside.wait, PATIENCE)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    return provider.closed.is_set()


@pytest.mark.parametrize("fails", [False, True], ids=["answers", "fails"])
def test_a_reader_cancelled_in_a_step_goes_on_and_the_stream_is_closed_after_it(fails):
    """A running generator cannot be closed: it is when the thread leaves it."""
    provider, complaints = Blocked(fails=fails), []
    stream = Held(provider)

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        closed_early = await _cancelled_in_a_step(provider, stream)
        provider.go.set()
        return closed_early, await asyncio.to_thread(provider.closed.wait, PATIENCE)

    assert (asyncio.run(run()), complaints) == ((False, True), [])


def test_a_stream_abandoned_with_its_loop_is_closed():
    """The loop ends while the thread is still in the step."""
    provider = Blocked()

    async def run():
        closed_early = await _cancelled_in_a_step(provider, AsyncFromSync(provider))
        asyncio.get_running_loop().call_soon(provider.go.set)
        return closed_early

    assert (asyncio.run(run()), provider.closed.wait(PATIENCE)) == (False, True)


def test_a_completion_in_a_thread_leaves_its_canceller_free():
    """The caller goes on at once; the thread ends what it is in."""
    go, inside = threading.Event(), threading.Event()

    class Slow(SyncOnly):
        def complete(self, request):
            inside.set()
            assert go.wait(PATIENCE)
            return Response("late")

    async def run():
        call = asyncio.ensure_future(AsyncFromSync(Slow()).acomplete(ASK))
        await asyncio.to_thread(inside.wait, PATIENCE)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        free = not go.is_set()
        go.set()
        return free

    assert asyncio.run(run())


@pytest.mark.usefixtures("process_portal")
def test_closing_a_synchronous_stream_closes_the_asynchronous_one():
    """On the portal's loop."""
    provider = AsyncOnly()
    with closing(SyncFromAsync(provider).stream(ASK)) as chunks:
        first = next(chunks).text
    assert (first, provider.closed.is_set()) == ("a", True)


def test_stop_iteration_of_a_provider_is_an_error():
    """In a thread it must not be lost, and keep the caller waiting."""

    class Exhausted(SyncOnly):
        def complete(self, request):
            raise StopIteration

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        asyncio.run(calls_of(Exhausted()).acomplete(ASK))


def test_silent_providers_do_not_hold_up_others():
    """Each step has a thread of its own: a hundred that wait leave room for one that answers."""
    released = threading.Event()

    class Silent(SyncOnly):
        def complete(self, request):
            released.wait(30)
            return Response("late")

    async def run():
        waiting = [asyncio.ensure_future(calls_of(Silent()).acomplete(ASK)) for _ in range(100)]
        await asyncio.sleep(0)
        answer = (await calls_of(SyncOnly()).acomplete(ASK)).text
        released.set()
        return answer, {response.text for response in await asyncio.gather(*waiting)}

    answer, late = asyncio.run(run())
    assert answer.startswith("hi from llm-failover-step")
    assert late == {"late"}


def test_a_step_whose_loop_is_gone_ends_quietly():
    """The thread of an abandoned call has nobody to tell."""
    released, ended = threading.Event(), threading.Event()

    class Slow(SyncOnly):
        def complete(self, request):
            released.wait(30)
            ended.set()
            return Response("late")

    async def abandon():
        task = asyncio.ensure_future(calls_of(Slow()).acomplete(ASK))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(abandon())
    released.set()
    assert ended.wait(30)
    for thread in threading.enumerate():
        if thread.name == "llm-failover-step":
            thread.join(30)


def test_a_step_nobody_waits_for_any_more_settles_nothing():
    """Its caller was cancelled, the loop goes on: the late answer is dropped without a word."""
    released = threading.Event()

    async def run():
        step = in_thread(released.wait, 30)
        step.cancel()
        released.set()
        for thread in threading.enumerate():
            if thread.name == "llm-failover-step":
                thread.join(30)
        await in_thread(str)  # what the first thread told the loop has been heard by now
        return step.cancelled()

    assert asyncio.run(run())
