"""Rows and the log that keeps them, events and the observers that are told of them."""

from __future__ import annotations

import functools
import gc
import logging
import math
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.events import (
    AttemptRecord,
    Block,
    EventLog,
    FailoverEvent,
    checked_observers,
    current_cell,
    get_failover_observer,
    process_log,
    queued,
    set_failover_observer,
    tell,
)
from llm_failover_nb.engine.types import Request

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

FULL = AttemptRecord(
    NOON, 7, "cell-1", "lab/a,lab/b", "astream", "lab/a", 0, 2, "failover", "transient", "overloaded", 503,
    True, 299.5, "lab/b", 1.25, 0.5, 11, 22, 0.003, "Service Unavailable",
)  # fmt: skip


def row(n):
    return AttemptRecord(NOON, n)


def event(n=1):
    return FailoverEvent(
        "lab/a", ValueError("no"), ErrorKind.UNKNOWN, 1, False, 0.0, "lab/b",
        Request("hi", "failover"), NOON, n, "lab/a,lab/b", "complete",
    )  # fmt: skip


def small_log(*, max_rows=100_000, block_rows=4):
    log = EventLog(max_rows=max_rows)
    log.block_rows = block_rows
    return log


def call_ids(log):
    return [each.call_id for each in log]


@pytest.fixture
def default_observer():
    """Puts back the package's observer."""
    before = get_failover_observer()
    yield
    set_failover_observer(before)


# Rows


def test_a_record_needs_its_time_alone():
    """Everything else has a value that stands for nothing."""
    assert AttemptRecord(NOON)[1:] == (
        0, "", "", "", "", None, 0, "", "", "", None, False, 0.0, "", None, None, None, None, None, "", "",
    )  # fmt: skip


def test_an_event_cannot_be_changed():
    """What observers are told is the same for all of them."""
    with pytest.raises(AttributeError):
        event().model = "lab/b"


def test_no_cell_runs_by_default():
    """Outside a notebook the cell is empty."""
    assert current_cell.get() == ""


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("record", [FULL, AttemptRecord(NOON)], ids=["full", "bare"])
def test_rows_come_back_as_they_went_in(record, count):
    """Staged or packed, a row is the same again, None included."""
    log = small_log()
    for _ in range(count):
        log.append(record)
    assert list(log) == [record] * count


texts = st.text(max_size=5)
records = st.fixed_dictionaries(
    {
        "time": st.datetimes(timezones=st.just(UTC)),
        "call_id": st.integers(0, 2**63 - 1),
        "cell": texts,
        "error": texts,
        "position": st.none() | st.integers(0, 2**15 - 1),
        "status": st.none() | st.integers(0, 999),
        "benched": st.booleans(),
        "benched_for": st.floats(0),
        "latency": st.none() | st.floats(allow_nan=False),
        "input_tokens": st.none() | st.integers(0, 2**63 - 1),
    }
).map(lambda columns: AttemptRecord(**columns))


@given(st.lists(records, max_size=6))
def test_packing_keeps_any_rows(rows):
    """Columns hold microseconds, words and numbers without loss."""
    assert list(Block.pack(rows).rows()) == rows


def test_nan_comes_back_as_none():
    """In a column of floats NaN stands for None."""
    log = EventLog()
    log.append(FULL._replace(latency=math.nan, cost=math.inf))
    assert [(each.latency, each.cost) for each in log] == [(None, math.inf)]


def test_a_time_comes_back_in_utc():
    """The moment is kept, its zone is not."""
    log = EventLog()
    log.append(AttemptRecord(NOON.astimezone(timezone(timedelta(hours=5)))))
    assert [each.time.isoformat() for each in log] == ["2026-01-01T12:00:00+00:00"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("UNAVAILABLE", None), ("503", 503), (503.0, 503), (10**6, 2**15 - 1), (-(10**6), 1 - 2**15),
     (math.nan, None), (math.inf, None), ([], None)],
)  # fmt: skip
def test_a_status_of_any_kind_fails_no_call(given, kept):
    """A foreign error's status may be anything: it is kept where it fits, and the row beside it too."""
    log = small_log(block_rows=2)
    log.append(FULL._replace(status=given))
    log.append(FULL)
    assert [each.status for each in log] == [kept, 503]


def test_a_cost_that_is_no_number_fails_no_call():
    """It is left out; the rows beside it keep theirs."""
    log = small_log(block_rows=2)
    log.append(FULL._replace(cost="a cent"))
    log.append(FULL)
    assert [each.cost for each in log] == [None, 0.003]


def test_no_rows_are_an_empty_block():
    """An empty block has all its columns."""
    block = Block.pack([])
    assert (block.size, len(block.time), block.table, list(block.rows())) == (0, 0, (), [])


def test_a_block_keeps_each_word_once():
    """The codes of a column point into the block's table."""
    block = Block.pack([FULL, FULL])
    assert [block.table[code] for code in block.words["model"]] == ["lab/a", "lab/a"]
    assert len(block.table) == len(set(block.table))


# The log


def test_blocks_hold_packed_and_staged_rows():
    """Full blocks come first, then what is not packed yet."""
    log = small_log()
    for n in range(6):
        log.append(row(n))
    assert [(block.size, list(block.numbers["call_id"])) for block in log.blocks()] == [
        (4, [0, 1, 2, 3]),
        (2, [4, 5]),
    ]


def test_blocks_without_staged_rows_are_the_packed_ones():
    """Nothing empty is added."""
    log = small_log(block_rows=2)
    log.append(row(1))
    log.append(row(2))
    assert [block.size for block in log.blocks()] == [2]


def test_an_empty_log_has_nothing():
    """No rows, no blocks, none dropped."""
    log = EventLog()
    assert (len(log), list(log), log.blocks(), log.dropped) == (0, [], (), 0)


@pytest.mark.parametrize("max_rows", [1, 3, 4, 5, 8, 10])
@pytest.mark.parametrize("count", [1, 4, 9, 23])
def test_the_oldest_rows_go_first(max_rows, count):
    """A full log keeps exactly the last rows, and counts the others."""
    log = small_log(max_rows=max_rows)
    for n in range(count):
        log.append(row(n))
    kept = list(range(count))[-max_rows:]
    assert (call_ids(log), len(log), log.dropped) == (kept, len(kept), count - len(kept))


def test_old_blocks_are_let_go():
    """What is held stays within one block of the bound and what is staged."""
    log = small_log(max_rows=10)
    for n in range(1_000):
        log.append(row(n))
    assert sum(block.size for block in log.blocks()) <= 10 + 2 * log.block_rows


def test_clear_forgets_all_rows():
    """Also that any were dropped; the log goes on."""
    log = small_log(max_rows=3)
    for n in range(9):
        log.append(row(n))
    log.clear()
    log.append(row(9))
    assert (call_ids(log), log.dropped) == ([9], 0)


@given(st.lists(records, max_size=9), st.integers(0, 9))
def test_a_block_gives_its_rows_from_a_place_on(rows, start):
    """As a list sliced there would."""
    assert list(Block.pack(rows).rows(start)) == rows[start:]


# Following the log


@pytest.mark.parametrize("max_rows", [1, 3, 4, 5, 8, 100])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 9])
def test_a_follower_sees_each_row_once(step, max_rows):
    """In order, as many as were appended since it looked last; those that were dropped are left out."""
    log, position, expected = small_log(max_rows=max_rows), 0, []
    for first in range(0, 40, step):
        for n in range(first, first + step):
            log.append(row(n))
        rows, position = log.since(position)
        expected = list(range(first, first + step))[-max_rows:]
        assert ([each.call_id for each in rows], position) == (expected, first + step)


@pytest.mark.parametrize("position", range(24))
def test_rows_since_any_position(position):
    """Staged, packed, or some of each: the last rows, as many as came after it."""
    log = small_log(max_rows=10)
    for n in range(23):
        log.append(row(n))
    rows, after = log.since(position)
    assert ([each.call_id for each in rows], after) == (list(range(max(position, 13), 23)), 23)


def test_nothing_new_is_no_row():
    """A reader that is up to date stays where it is."""
    log = small_log()
    log.append(row(1))
    assert log.since(1) == ([], 1)


def test_rows_since_the_beginning_are_those_of_the_log():
    """A row reads the same, staged or packed."""
    log = small_log()
    for record in [FULL, FULL._replace(latency=math.nan, status="503"), AttemptRecord(NOON)] * 3:
        log.append(record)
    assert log.since(0) == (list(log), 9)


def test_positions_start_anew_when_the_log_is_cleared():
    """A position beyond the rows since then gives all of them."""
    log = small_log()
    for n in range(9):
        log.append(row(n))
    _, position = log.since(0)
    log.clear()
    log.append(row(9))
    rows, after = log.since(position)
    assert ([each.call_id for each in rows], after) == ([9], 1)


def test_following_a_full_log_unpacks_the_new_rows_alone(monkeypatch):
    """What it costs does not grow with what the log keeps."""
    log, unpacked = small_log(block_rows=512), []
    for n in range(2_000):
        log.append(row(n))
    rows = Block.rows

    def counted(block, start=0):
        unpacked.append(block.size - start)
        return rows(block, start)

    monkeypatch.setattr(Block, "rows", counted)
    assert len(log.since(1_990)[0]) == sum(unpacked) == 10


def test_a_listener_runs_after_each_row():
    """By then the row can be read, and the lock is free."""
    log, seen = small_log(block_rows=2), []
    log.listen(lambda: seen.append(log.since(0)[1]))
    for n in range(3):
        log.append(row(n))
    assert seen == [1, 2, 3]


def test_a_listener_that_was_taken_away_hears_nothing():
    """The others still do; to take it away twice does no harm."""
    log, heard = EventLog(), []
    stop, _ = log.listen(lambda: heard.append("first")), log.listen(lambda: heard.append("second"))
    stop()
    stop()
    log.append(row(1))
    assert heard == ["second"]


def test_one_function_may_listen_twice():
    """To take one away leaves the other."""
    log, heard = EventLog(), []

    def hear():
        heard.append(1)

    stop, _ = log.listen(hear), log.listen(hear)
    stop()
    log.append(row(1))
    assert heard == [1]


def test_a_listener_that_raises_fails_no_call(caplog):
    """It is logged, the row is there, and the next listener is run."""
    log, heard = EventLog(), []

    def broken():
        raise ValueError("no screen")

    log.listen(broken)
    log.listen(lambda: heard.append(1))
    with caplog.at_level(logging.ERROR, logger="llm_failover_nb"):
        log.append(row(1))
    assert (call_ids(log), heard) == ([1], [1])
    assert "broken" in caplog.text
    assert "no screen" in caplog.text


@pytest.mark.parametrize("max_rows", [0, -1])
def test_a_log_of_no_rows_is_refused(max_rows):
    """The error names the value and the least."""
    with pytest.raises(ValueError, match=f"max_rows={max_rows} is out of range: .* at least 1 row"):
        EventLog(max_rows=max_rows)


def test_the_process_keeps_the_last_hundred_thousand():
    """As the design says."""
    assert process_log.max_rows == 100_000


def test_sixteen_threads_lose_nothing():
    """Each row appended from any thread is there once, in its thread's order."""
    log, per_thread = small_log(block_rows=7), 500
    start = threading.Barrier(16)

    def append(thread):
        start.wait()
        for n in range(per_thread):
            log.append(AttemptRecord(NOON, n, model=str(thread)))

    threads = [threading.Thread(target=append, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = list(log)
    assert {thread: [each.call_id for each in rows if each.model == str(thread)] for thread in range(16)} == {
        thread: list(range(per_thread)) for thread in range(16)
    }


# Observers


def test_no_observer_is_none():
    """None is nobody to tell."""
    assert checked_observers(None) == ()


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: [f], lambda f: (f,)], ids=["one", "list", "tuple"])
def test_observers_are_a_tuple(wrap):
    """One observer or a sequence of them."""
    assert checked_observers(wrap(print)) == (print,)


async def _coroutine_function(event):
    """Would never be awaited."""


class _AsyncCall:
    async def __call__(self, event):
        """Would never be awaited."""


@pytest.mark.parametrize(
    "observer",
    [_coroutine_function, functools.partial(_coroutine_function), _AsyncCall(), [print, _coroutine_function]],
    ids=["function", "partial", "object", "second"],
)
def test_a_coroutine_function_is_refused(observer):
    """The error says what to do instead."""
    with pytest.raises(TypeError, match=r"never be awaited: give a plain function, or queued"):
        checked_observers(observer)


@pytest.mark.parametrize(("observer", "named"), [(5, "5"), ([print, None], "None"), ("ab", "'a'")])
def test_what_cannot_be_called_is_refused(observer, named):
    """The error names it."""
    with pytest.raises(TypeError, match=f"observer {named} is not callable: it takes one FailoverEvent"):
        checked_observers(observer)


def test_observers_are_told_in_order():
    """All of them, with the event itself."""
    told, one = [], event()
    tell((lambda e: told.append(("first", e)), lambda e: told.append(("second", e))), one)
    assert told == [("first", one), ("second", one)]


def test_an_observer_that_raises_is_logged_and_the_next_is_told(caplog):
    """A call does not fail because somebody watches it."""
    told = []

    def broken(event):
        raise RuntimeError("broken observer")

    with caplog.at_level(logging.ERROR, "llm_failover_nb"):
        tell((broken, told.append), one := event())
    assert told == [one]
    assert [(r.levelname, r.exc_info[0]) for r in caplog.records] == [("ERROR", RuntimeError)]
    assert "broken" in caplog.text


def test_an_interrupt_in_an_observer_passes():
    """Ctrl-C is the user's."""

    def interrupted(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell((interrupted,), event())


def test_a_queued_observer_runs_on_its_own_thread():
    """It is told everything in order, elsewhere; close waits for it."""
    told = []
    observer = queued(lambda e: told.append((e.call_id, threading.current_thread().name)))
    for n in range(3):
        observer(event(n))
    observer.close()
    assert told == [(n, "llm-failover-observer") for n in range(3)]


def test_a_closed_queued_observer_has_no_thread_left():
    """Close joins it."""
    threads = []
    observer = queued(lambda e: threads.append(threading.current_thread()))
    observer(event())
    observer.close()
    assert [thread.is_alive() for thread in threads] == [False]


def test_events_that_find_the_queue_full_are_dropped_and_counted():
    """A slow observer costs events, never time."""
    told, busy, go = [], threading.Event(), threading.Event()

    def slow(event):
        busy.set()
        go.wait(10)
        told.append(event.call_id)

    observer = queued(slow, size=2)
    observer(event(1))
    assert busy.wait(10)
    for n in (2, 3, 4, 5):
        observer(event(n))
    dropped = observer.dropped
    go.set()
    observer.close()
    assert (told, dropped) == ([1, 2, 3], 2)


def test_a_queued_observer_starts_again_after_close():
    """Closing is not for ever."""
    told = []
    observer = queued(lambda e: told.append(e.call_id))
    observer(event(1))
    observer.close()
    observer(event(2))
    observer.close()
    assert told == [1, 2]


def test_closing_a_queued_observer_that_was_never_told_does_nothing():
    """There is no thread to end, once or twice."""
    observer = queued(print)
    observer.close()
    observer.close()
    assert observer.dropped == 0


def test_an_event_during_close_has_a_thread_of_its_own():
    """What comes while the last events are told does not take the end of their thread."""
    told, busy, go = [], threading.Event(), threading.Event()

    def slow(event):
        if event.call_id == 1:
            busy.set()
            go.wait(10)
        told.append(event.call_id)

    observer = queued(slow)
    observer(event(1))
    assert busy.wait(10)
    closing = threading.Thread(target=observer.close)
    closing.start()
    while observer._thread is not None:
        pass
    observer(event(2))
    observer.close()
    go.set()
    closing.join(10)
    assert (told, closing.is_alive()) == ([2, 1], False)


def test_a_queued_observer_that_raises_goes_on(caplog):
    """The next event is told all the same."""
    told = []

    def broken(event):
        told.append(event.call_id)
        raise RuntimeError("broken observer")

    observer = queued(broken)
    with caplog.at_level(logging.ERROR, "llm_failover_nb"):
        observer(event(1))
        observer(event(2))
        observer.close()
    assert (told, len(caplog.records)) == ([1, 2], 2)


def test_queued_refuses_a_coroutine_function():
    """As everywhere."""
    with pytest.raises(TypeError, match="never be awaited"):
        queued(_coroutine_function)


@pytest.mark.usefixtures("default_observer")
def test_the_default_observer_is_what_was_set():
    """Set, read, switched off."""
    set_failover_observer(print)
    seen = get_failover_observer()
    set_failover_observer(None)
    assert (seen, get_failover_observer()) == (print, None)


@pytest.mark.usefixtures("default_observer")
def test_a_refused_default_observer_leaves_the_old_one():
    """Checking comes first."""
    set_failover_observer(print)
    with pytest.raises(TypeError, match="never be awaited"):
        set_failover_observer(_coroutine_function)
    assert get_failover_observer() is print


def test_there_is_no_observer_by_default():
    """Nobody is told unasked."""
    assert get_failover_observer() is None


def test_a_queued_observer_nobody_holds_ends_its_thread():
    """A cell that is run again makes another; the first one's thread must not stay."""
    before = set(threading.enumerate())
    seen = []
    observer = queued(seen.append)
    observer("event")
    (thread,) = set(threading.enumerate()) - before
    del observer
    gc.collect()
    thread.join(30)
    assert (thread.is_alive(), seen) == (False, ["event"])


def test_a_full_queued_observer_nobody_holds_ends_its_thread():
    """Also when there is no room to tell it."""
    before = set(threading.enumerate())
    entered, release, seen = threading.Event(), threading.Event(), []

    def slow(event):
        entered.set()
        release.wait(30)
        seen.append(event)

    observer = queued(slow, size=1)
    observer(1)
    assert entered.wait(30)
    observer(2)
    (thread,) = set(threading.enumerate()) - before
    del observer
    gc.collect()
    release.set()
    thread.join(30)
    assert (thread.is_alive(), seen) == (False, [1, 2])
