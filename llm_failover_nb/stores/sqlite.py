"""Benches in an SQLite file, shared by the processes of one machine. Rows and transactions; no rule is here.

The file is in write-ahead mode, so that a process killed at any moment leaves it whole, with everything
that it had been told was kept (https://www.sqlite.org/wal.html). A power cut may lose the last changes.

A call waits for the file a fifth of a second at most. A file that cannot be had is left alone for a second;
:meth:`SQLiteStore.changed`, off the call path, tries it again.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import TypeVar
from uuid import uuid4
from weakref import WeakSet

from llm_failover_nb.engine.clock import SystemClock
from llm_failover_nb.engine.events import logger
from llm_failover_nb.engine.locks import new_lock
from llm_failover_nb.engine.sharing import BenchRow
from llm_failover_nb.stores.errors import StoreError
from llm_failover_nb.stores.location import (
    APPLICATION_ID,
    SCHEMA,
    check_file,
    check_place,
    check_schema,
    not_ours,
)

__all__ = ["SQLiteStore"]

T = TypeVar("T")

_COLUMNS = tuple(field.name for field in fields(BenchRow))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM benches"  # noqa: S608  # the names are the row's own
_WRITE = f"INSERT OR REPLACE INTO benches VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608  # as above

# What a row may hold is checked by the file, so that no row made by hand can trip the rules. The last moment
# is that of datetime.max: a later one could not be read back.
_CREATE = (
    """CREATE TABLE benches (
        model TEXT NOT NULL PRIMARY KEY,
        version INTEGER NOT NULL UNIQUE,
        writer TEXT NOT NULL,
        fails INTEGER NOT NULL CHECK (fails >= 0),
        until INTEGER,
        manual INTEGER NOT NULL CHECK (manual IN (0, 1)),
        since INTEGER NOT NULL,
        lifted INTEGER NOT NULL,
        edited INTEGER NOT NULL,
        prober TEXT NOT NULL,
        lapses INTEGER NOT NULL,
        CHECK (typeof(model) = 'text' AND typeof(prober) = 'text'),
        CHECK (typeof(version) = 'integer' AND typeof(fails) = 'integer'),
        CHECK (until IS NULL OR typeof(until) = 'integer' AND until BETWEEN 0 AND 253402300799999999),
        CHECK (typeof(since) = 'integer' AND since BETWEEN 0 AND 253402300799999999),
        CHECK (typeof(lifted) = 'integer' AND lifted BETWEEN 0 AND 253402300799999999),
        CHECK (typeof(edited) = 'integer' AND edited BETWEEN 0 AND 253402300799999999),
        CHECK (typeof(lapses) = 'integer' AND lapses BETWEEN 0 AND 253402300799999999)
    ) WITHOUT ROWID""",
    "CREATE TABLE store (identity TEXT NOT NULL)",
)

# All of the process's, so that a fork finds none of their files open.
_stores: WeakSet[SQLiteStore] = WeakSet()


class SQLiteStore:
    """Rows of benches in a file; see :class:`llm_failover_nb.engine.sharing.BenchStore`.

    One store serves one registry. Opening a new file creates it.

    Args:
        path: The file.

    Raises:
        StoreError: When the file cannot be used: it is somebody else's, newer, unreadable, in no folder, or
            on a network file system.
    """

    patience = 0.2
    """Seconds that a change waits for the file at most."""

    glance = 0.02
    """Seconds that a look waits at most; a change may have to wait for the look."""

    pause = 1.0
    """Seconds that a file which could not be had is left alone."""

    log_bytes = 4_000_000
    """How large the write-ahead log may grow before :meth:`tidy` brings it into the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity = ""
        self._name = uuid4().hex
        self._lock = new_lock()  # held while the connection is used
        self._tidying = new_lock()  # held while another one is
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # which file it is: device and inode
        self._quiet: tuple[int, int] | None = None  # what a look was like that found nothing
        self._away = False
        self._retry = 0.0
        self._closed = False
        self._paused: list[threading.Lock] = []
        self._forkable = False
        self._inherited: sqlite3.Connection | None = None
        check_place(path)
        _stores.add(self)
        try:
            # Opening may have to wait for others that do the same; nobody's call waits for it here.
            with self._lock, _transaction(self._opened(patience=5.0), patience=5.0):
                pass
        except StoreError:
            self.close()
            raise
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(
                f"the store {path} cannot be used: {error}. Make the file and its folder writable, or choose "
                "another file"
            ) from error

    @property
    def owner(self) -> str:
        """This store in this process; a forked one is another."""
        return f"{self._name}-{os.getpid()}"

    def change(self, model: str, rule: Callable[[BenchRow], BenchRow]) -> BenchRow | None:
        """Change a model's row in one transaction; None when the file cannot be had."""
        with self._lock:
            if self._closed or self._away:
                return None
            try:
                with _transaction(self._opened(self.patience), self.patience) as connection:
                    found = connection.execute(f"{_SELECT} WHERE model = ?", (model,)).fetchone()
                    row = BenchRow(model) if found is None else _row(found)
                    new = rule(row)
                    return row if new == row else _write(connection, replace(new, writer=self.owner))
            except (sqlite3.Error, OSError) as error:
                self._lose(error)
            except UnicodeEncodeError:
                pass  # no name that a file can hold: this process alone knows it
            return None

    def changed(self, since: int) -> Sequence[BenchRow]:
        """The rows above a version; tries a file again that could not be had."""
        with self._lock:
            if self._closed or (self._away and SystemClock.monotonic() < self._retry):
                return ()
            try:
                if self._away or self._replaced():
                    self._disconnect()
                connection = self._opened(self.glance)
                rows = self._look(connection, since)
                if self._away:
                    self._return(connection)
            except (sqlite3.Error, OSError) as error:
                self._lose(error)
                return ()
            return rows

    def tidy(self) -> None:
        """Bring the write-ahead log into the file when it has grown; to be called off the call path."""
        with self._tidying:
            try:
                if self._closed or self._away or Path(f"{self.path}-wal").stat().st_size < self.log_bytes:
                    return
                with closing(_connect(self.path)) as connection:
                    # The first one writes without keeping others from theirs; the second has nothing left to
                    # write, and empties the log.
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except (sqlite3.Error, OSError):
                return  # the next look finds out what is the matter

    def close(self) -> None:
        """Close the file. Changes are then not taken any more."""
        _stores.discard(self)
        with self._lock:
            self._closed = True
            self._disconnect()

    # All below is called with the lock held

    def _opened(self, patience: float) -> sqlite3.Connection:
        """The connection, opened where it is not."""
        if self._connection is None:
            check_file(self.path)
            connection = _connect(self.path)
            try:
                self.identity = _retrying(patience, lambda: _prepare(connection, self.path))
                status = self.path.stat()
            except BaseException:
                connection.close()
                raise
            self._connection, self._file, self._quiet = connection, (status.st_dev, status.st_ino), None
        elif self._connection.in_transaction:  # whoever was in it was interrupted
            self._connection.rollback()
        return self._connection

    def _replaced(self) -> bool:
        """Whether another file is at the path now, or none: nobody else would see what is written to ours."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != self._file

    def _look(self, connection: sqlite3.Connection, since: int) -> Sequence[BenchRow]:
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        if self._quiet == (data_version, since):
            return ()
        rows = [
            _row(found)
            for found in connection.execute(f"{_SELECT} WHERE version > ? ORDER BY version", (since,))
        ]
        self._quiet = None if rows else (data_version, since)
        return rows

    def _lose(self, error: Exception) -> None:
        # The connection is closed by the next try: the last one to be closed may have to wait for the disk.
        self._retry = SystemClock.monotonic() + self.pause
        if not self._away:
            self._away = True
            logger.warning(
                "the store %s cannot be used: %s. This process goes on with the benches it knows, and tries "
                "again every second; what changes here meanwhile is shared then",
                self.path,
                error,
            )

    def _return(self, connection: sqlite3.Connection) -> None:
        # Reading is possible while another program holds the file: it is back when it can be written.
        with _transaction(connection, self.glance):
            pass
        self._away = False
        logger.warning("the store %s can be used again: benches are shared", self.path)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # Around a fork: SQLite's own record of its locks must not be in two processes
    # (https://www.sqlite.org/howtocorrupt.html, 2.6), so no file is open then.

    def before_fork(self) -> None:
        """Close the file; it is opened again when it is needed next, in both processes."""
        for lock in (self._tidying, self._lock):
            if lock.acquire(timeout=1):
                self._paused.append(lock)
        self._forkable = len(self._paused) == 2
        if self._forkable:
            self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Let the others go on."""
        while self._paused:
            self._paused.pop().release()

    def after_fork_in_child(self) -> None:
        """The locks are new ones. A file that could not be closed must not be touched here, nor be closed."""
        self._paused.clear()
        if not self._forkable:
            self._inherited, self._connection, self._closed = self._connection, None, True
            logger.warning("the process was forked while %s was in use: this one does not share", self.path)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path) -> str:
    """Bring an open file to what a store is; its identity."""
    # A commit does not wait for the disk; the log is brought into the file off the call path, by tidy().
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    if _pragma(connection, "application_id") != APPLICATION_ID:
        _create(connection, path)
    check_schema(path, _pragma(connection, "user_version"))
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"the store {path} cannot be shared: its file system has no memory that processes could share. "
            "Choose a file on a local disk"
        )
    (identity,) = connection.execute("SELECT identity FROM store").fetchone()
    return str(identity)


def _create(connection: sqlite3.Connection, path: Path) -> None:
    # In the mode with a rollback journal, which a new file is in: so the first bytes say whose it is.
    with _transaction(connection, patience=0, kind="EXCLUSIVE"):
        if _pragma(connection, "application_id") == APPLICATION_ID:
            return  # another process was first
        if _pragma(connection, "schema_version"):
            raise not_ours(path)
        for statement in _CREATE:
            connection.execute(statement)
        connection.execute("INSERT INTO store VALUES (?)", (uuid4().hex,))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


@contextmanager
def _transaction(
    connection: sqlite3.Connection, patience: float, kind: str = "IMMEDIATE"
) -> Iterator[sqlite3.Connection]:
    """Writing, alone: committed at the end, or not at all."""
    _retrying(patience, lambda: connection.execute(f"BEGIN {kind}"))
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.rollback()
        raise


def _retrying(patience: float, work: Callable[[], T]) -> T:
    """Do what another process may be in the way of.

    SQLite's own waiting sleeps up to a tenth of a second at a time: among many it lets somebody starve.
    """
    give_up = SystemClock.monotonic() + patience
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or SystemClock.monotonic() >= give_up:
                raise
        SystemClock.sleep(random.uniform(0.0002, 0.002))


def _write(connection: sqlite3.Connection, row: BenchRow) -> BenchRow:
    (last,) = connection.execute("SELECT coalesce(max(version), 0) FROM benches").fetchone()
    row = replace(row, version=last + 1)
    connection.execute(_WRITE, astuple(row))
    return row


def _row(found: Sequence[object]) -> BenchRow:
    row = BenchRow(*found)  # type: ignore[arg-type]  # the columns are the fields, and the file checks them
    return replace(row, manual=bool(row.manual))


def _before_fork() -> None:
    for store in tuple(_stores):
        store.before_fork()


def _after_fork_in_parent() -> None:
    for store in tuple(_stores):
        store.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for store in tuple(_stores):
        store.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
