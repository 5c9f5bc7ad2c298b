"""Benches in an SQLite file: what the file is, and that nothing done to it fails a call."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

import llm_failover_nb as fo
from llm_failover_nb.engine.sharing import BenchRow
from llm_failover_nb.stores.errors import StoreError
from llm_failover_nb.stores.location import APPLICATION_ID, SCHEMA
from llm_failover_nb.stores.sqlite import SQLiteStore, _create
from llm_failover_nb.testing import FakeClock
from tests.engine.shared import Pair
from tests.engine.test_bench_machine import BenchMachine, in_threads

M = "a/m"
Open = Callable[..., SQLiteStore]


class Shared:
    """A registry on a file, with a clock of its own."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store
        self.clock = FakeClock()
        self.benches = fo.BenchRegistry(clock=self.clock)
        self.benches.share(store)

    def fail(self) -> None:
        """Count a failure that benches nobody."""
        began = self.benches.admit(M, 1, lapse=60)
        self.benches.failed(M, 1, began, threshold=10**9, for_=60)

    def kept(self) -> int | None:
        """How many failures the file has, seen by somebody else."""
        with closing(sqlite3.connect(self.store.path)) as other:
            found = other.execute("SELECT fails FROM benches WHERE model = ?", (M,)).fetchone()
        return found and found[0]


@pytest.fixture
def shared(opened: Open) -> Shared:
    """A registry on a file; a lost file is tried again with the next look."""
    store = opened()
    store.pause = 0.0
    return Shared(store)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# The rules


class SQLiteMachine(BenchMachine):
    """Two registries on one file keep to the rules of a single one, once both have pulled."""

    def registry(self) -> Pair:
        self.ending = ExitStack()
        path = Path(self.ending.enter_context(TemporaryDirectory())) / "shared.db"
        stores = (SQLiteStore(path), SQLiteStore(path))
        for store in stores:
            self.ending.callback(store.close)
        return Pair(stores, self.clock)

    def teardown(self) -> None:
        if hasattr(self, "ending"):
            self.ending.close()


SQLiteMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestSQLiteMachine = SQLiteMachine.TestCase


def test_a_row_comes_back_as_it_was(opened: Open) -> None:
    """Every field of it."""
    row = BenchRow("ä/😀", 1, "", 3, 253402300799999999, True, 5, 6, 7, "one:1", 8)
    kept = opened().change(row.model, lambda _: row)
    assert kept == BenchRow(row.model, 1, kept.writer, *[getattr(row, name) for name in row.__slots__[3:]])
    assert opened().changed(0) == [kept]


def test_only_what_is_new_is_given(opened: Open) -> None:
    """Oldest first."""
    store, other = opened(), opened()
    for model in ("b/m", "a/m", "c/m"):
        other.change(model, lambda row: BenchRow(row.model, fails=1))
    assert [row.model for row in store.changed(1)] == ["a/m", "c/m"]
    assert store.changed(3) == []
    other.change("b/m", lambda row: BenchRow(row.model, fails=2))
    assert [(row.model, row.version) for row in store.changed(3)] == [("b/m", 4)]
    assert (store.changed(4), len(store.changed(0))) == ([], 3)


def test_what_is_as_it_was_is_not_written(opened: Open) -> None:
    """So that nobody else has to look at it."""
    store = opened()
    store.change(M, lambda row: BenchRow(row.model, fails=1))
    assert store.change(M, lambda row: row).version == 1
    assert store.change("b/m", lambda row: row) == BenchRow("b/m")
    assert len(store.changed(0)) == 1


def test_threads_lose_nothing(shared: Shared) -> None:
    """Sixteen of one process, through one connection."""
    in_threads(lambda number: [shared.fail() for _ in range(20)])
    assert shared.kept() == 320


# The file


def test_the_file_says_what_it_is(opened: Open) -> None:
    """In its first bytes, from the moment it exists."""
    path = opened().path
    header = path.read_bytes()[:100]
    assert (int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big")) == (
        APPLICATION_ID,
        SCHEMA,
    )


def test_an_empty_file_becomes_a_store(opened: Open, tmp_path: Path) -> None:
    """There is nothing in it that could be somebody's."""
    (tmp_path / "shared.db").touch()
    assert opened().changed(0) == []


def refusal(path: Path) -> str:
    """Why the file is refused, which is left as it is."""
    before = path.read_bytes()
    with pytest.raises(StoreError) as refused:
        SQLiteStore(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    return str(refused.value)


@pytest.mark.parametrize("content", [b"x", b"a,b\n1,2\n" * 100, b"SQLite format 3\x00", b"\x00" * 4096])
def test_somebodys_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever it is."""
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    assert "is no store of llm-failover-nb, and was left as it is" in refusal(path)


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_somebodys_database_is_refused(tmp_path: Path, mode: str) -> None:
    """Though SQLite could open it."""
    path = tmp_path / "mine.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute(f"PRAGMA journal_mode = {mode}")
        theirs.execute("CREATE TABLE mine (precious TEXT)")
    assert "is no store of llm-failover-nb" in refusal(path)


def test_who_comes_second_creates_nothing(opened: Open) -> None:
    """Two processes found no file, and one was first: what it has written stays."""
    store = opened()
    store.change(M, lambda row: BenchRow(row.model, fails=1))
    with closing(sqlite3.connect(store.path, isolation_level=None)) as second:
        _create(second, store.path)
    assert len(store.changed(0)) == 1


def test_somebody_else_may_come_first(tmp_path: Path) -> None:
    """The file was empty when it was looked at, and is a database of theirs now."""
    with closing(sqlite3.connect(tmp_path / "mine.db", isolation_level=None)) as theirs:
        theirs.execute("CREATE TABLE mine (precious TEXT)")
        with pytest.raises(StoreError, match="is no store of llm-failover-nb"):
            _create(theirs, tmp_path / "mine.db")
        assert theirs.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    path = tmp_path / "newer.db"
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA journal_mode = DELETE")
        newer.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    assert f"newer version of llm-failover-nb (schema {SCHEMA + 1}, this one knows {SCHEMA}): upgrade" in (
        refusal(path)
    )


def test_a_store_in_use_that_grows_newer_is_refused(opened: Open, tmp_path: Path) -> None:
    """Its first bytes are still the old ones: the new ones are in the log beside it."""
    path = opened().path
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        with pytest.raises(StoreError, match="newer version"):
            SQLiteStore(path)


def test_a_missing_folder_and_a_folder_are_refused(tmp_path: Path) -> None:
    """Nothing is created."""
    with pytest.raises(StoreError, match=f"there is no folder {tmp_path}/none. Create it"):
        SQLiteStore(tmp_path / "none" / "a.db")
    with pytest.raises(StoreError, match="is a folder: give the name of a file in it"):
        SQLiteStore(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_used_from_the_start_is_refused(opened: Open, tmp_path: Path) -> None:
    """A damaged one: the error says why and what to do."""
    path = opened().path
    opened().close()
    content = path.read_bytes()
    (tmp_path / "bad.db").write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.raises(StoreError, match=r"bad.db cannot be used: .*malformed.*choose another file"):
        SQLiteStore(tmp_path / "bad.db")


@pytest.mark.parametrize(
    "change",
    [
        "fails = -1",
        "fails = 'three'",
        "until = 'tomorrow'",
        "until = 253402300800000000",
        "since = NULL",
        "manual = 2",
        "prober = x'00'",
    ],
)
def test_rows_made_by_hand_are_checked_by_the_file(shared: Shared, change: str) -> None:
    """What could trip the rules does not get in."""
    shared.fail()
    with closing(sqlite3.connect(shared.store.path)) as other, pytest.raises(sqlite3.IntegrityError):
        other.execute(f"UPDATE benches SET {change}")


def test_the_log_beside_the_file_is_kept_short(shared: Shared) -> None:
    """It is brought into the file off the call path, and only when it has grown."""
    log = Path(f"{shared.store.path}-wal")
    shared.fail()
    shared.store.tidy()
    assert log.stat().st_size > 0
    shared.store.log_bytes = 1
    shared.store.tidy()
    assert (log.stat().st_size, shared.kept()) == (0, 1)


# What may happen to it


def test_a_locked_file_delays_a_call_once(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    """A fifth of a second; then the process goes on by itself, and shares when it can."""
    shared.store.pause = 60
    with closing(sqlite3.connect(shared.store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.perf_counter()
        shared.fail()
        waited = time.perf_counter() - began
        for _ in range(100):
            shared.fail()
            shared.benches.pull()
        assert time.perf_counter() - began - waited < waited
        assert shared.benches._states[M].fails == 101
        other.execute("ROLLBACK")
    assert SQLiteStore.patience <= waited < 5
    (lost,) = warnings(caplog)
    assert "cannot be used: database is locked. This process goes on with the benches it knows" in lost
    shared.store._retry = 0.0
    shared.benches.pull()
    assert (shared.kept(), warnings(caplog)[1:]) == (
        101,
        [f"the store {shared.store.path} can be used again: benches are shared"],
    )


def test_a_file_that_is_still_locked_is_no_news(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    """The loss is said once, however often it is tried."""
    shared.store.patience = 0.0
    with closing(sqlite3.connect(shared.store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            shared.fail()
            shared.benches.pull()
    assert len(warnings(caplog)) == 1
    shared.benches.pull()
    assert (shared.kept(), len(warnings(caplog))) == (5, 2)


def test_a_full_disk_fails_no_call(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    """What does not fit is shared when it does."""
    shared.store._connection.execute("PRAGMA max_page_count = 1")
    for n in range(500):
        shared.benches.bench(f"a/{n}", for_=60)
        if shared.store._away:
            break
    assert ("full" in warnings(caplog)[0], len(shared.benches.list())) == (True, n + 1)
    shared.benches.pull()  # a new connection knows no such limit
    assert len(shared.store.changed(0)) == n + 1


def test_a_damaged_file_fails_no_call(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    """And once somebody has removed it, a new one is told everything."""
    shared.fail()
    shared.store.log_bytes = 1
    shared.store.tidy()
    size = shared.store.path.stat().st_size
    with shared.store.path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (size - 100))
    shared.store._connection.execute("PRAGMA shrink_memory")
    with closing(sqlite3.connect(shared.store.path)) as other, pytest.raises(sqlite3.DatabaseError):
        other.execute("CREATE TABLE t (t)")
    shared.fail()
    shared.benches.pull()
    shared.fail()
    assert shared.benches._states[M].fails == 3
    for part in shared.store.path.parent.glob("shared.db*"):
        part.unlink()
    shared.benches.pull()
    assert shared.kept() == 3
    assert ["can be used again" in message for message in warnings(caplog)] == [False, True]


def test_a_file_that_was_deleted_is_made_anew(shared: Shared, opened: Open) -> None:
    """With what its users know; nobody writes to a file that nobody else can find."""
    other = Shared(opened())
    other.benches.bench("a/other")
    shared.fail()
    shared.benches.bench("a/mine")
    for part in shared.store.path.parent.glob("shared.db*"):
        part.unlink()
    shared.benches.pull()
    other.benches.pull()
    shared.benches.pull()
    assert [b.model for b in shared.benches.list()] == ["a/mine", "a/other"]
    assert [b.model for b in other.benches.list()] == ["a/mine", "a/other"]
    assert shared.kept() == 1


def test_a_file_that_somebody_put_in_its_place_is_left_alone(
    shared: Shared, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused as at the start, but fails no call."""
    (tmp_path / "theirs.txt").write_bytes(b"precious")
    (tmp_path / "theirs.txt").rename(shared.store.path)
    shared.benches.pull()
    shared.fail()
    assert (shared.store.path.read_bytes(), shared.benches._states[M].fails) == (b"precious", 1)
    assert "is no store of llm-failover-nb" in warnings(caplog)[0]


def test_an_interrupted_change_holds_nobody_up(shared: Shared, opened: Open) -> None:
    """Wherever the interrupt came: the transaction is gone with the next look at the latest."""

    def interrupted(row: BenchRow) -> BenchRow:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shared.store.change(M, interrupted)
    other = Shared(opened())
    other.fail()
    shared.store._connection.execute("BEGIN IMMEDIATE")  # as if it had come right after this
    shared.benches.pull()
    other.fail()
    assert shared.kept() == 2


def test_a_name_that_no_file_can_hold_stays_in_the_process(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a surrogate pair is in no UTF-8; the others are shared."""
    shared.benches.bench("a/\ud800")
    shared.fail()
    shared.benches.pull()
    assert (shared.benches.is_benched("a/\ud800"), shared.kept(), warnings(caplog)) == (True, 1, [])


def test_a_closed_store_takes_nothing(shared: Shared) -> None:
    """And fails nothing."""
    shared.fail()
    shared.store.close()
    shared.fail()
    shared.benches.pull()
    shared.store.tidy()
    assert (shared.benches._states[M].fails, shared.kept()) == (2, 1)


# Forks


def test_no_file_is_open_over_a_fork(shared: Shared) -> None:
    """It is closed before, and opened with the next change."""
    shared.fail()
    shared.store.before_fork()
    assert shared.store._connection is None
    shared.store.after_fork_in_parent()
    shared.fail()
    assert shared.kept() == 2


def test_a_child_does_not_touch_a_file_that_stayed_open(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread of the parent's held it for too long: SQLite's locks would be those of two processes."""
    shared.fail()
    connection = shared.store._connection
    shared.store.after_fork_in_child()
    shared.fail()
    assert (shared.benches._states[M].fails, shared.kept()) == (2, 1)
    assert "this one does not share" in warnings(caplog)[0]
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_is_somebody_else(opened: Open) -> None:
    """Its calls have the same numbers as its parent's, its probes are others."""
    store = opened()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, store.owner.encode())
        os._exit(0)
    os.waitpid(child, 0)
    with open(reader, "rb") as answer:
        os.close(writer)
        assert answer.read().decode() not in ("", store.owner)
