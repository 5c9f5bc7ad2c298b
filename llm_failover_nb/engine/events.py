"""What is remembered and told of each decision: records, events, observers, the log. Nothing is decided here.

An :class:`AttemptRecord` is one row: an attempt, or a bench laid or lifted. A :class:`FailoverEvent` is told
to observers when a failure makes a call leave a model. The :class:`EventLog` keeps rows in columns.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import queue
import threading
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, cast

from llm_failover_nb.engine.errors import ErrorKind

if TYPE_CHECKING:
    from llm_failover_nb.engine.types import Request

from llm_failover_nb.engine.listeners import Listeners
from llm_failover_nb.engine.locks import new_lock

__all__ = [
    "AttemptRecord",
    "Block",
    "EventLog",
    "FailoverEvent",
    "Observer",
    "QueuedObserver",
    "current_cell",
    "get_failover_observer",
    "process_log",
    "queued",
    "set_failover_observer",
]

logger = logging.getLogger("llm_failover_nb")

current_cell: ContextVar[str] = ContextVar("llm_failover_nb_cell", default="")
"""The notebook cell that runs, set by the notebook layer."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class AttemptRecord(NamedTuple):
    """One row of the log: an attempt, an entry passed by, or a bench laid or lifted.

    Args:
        time: When it ended, aware UTC.
        call_id: The call, counted from 1 in the process; 0 for an operator's bench.
        cell: The notebook cell, where there is one.
        chain: The chain's specs, joined by commas.
        method: ``complete``, ``acomplete``, ``stream`` or ``astream``.
        model: The spec.
        position: Its place in the chain, from 0; None outside a call.
        attempt: The how-manieth attempt on it in this call, from 1; 0 where nothing was asked.
        outcome: ``ok retry failover exhausted skipped cancelled interrupted bench unbench``.
        kind: The :class:`ErrorKind`, empty without a failure.
        reason: Its short category; for benches who did it: ``failure``, ``answered``, ``operator``,
            ``store`` for another process.
        status: The HTTP status of a failure.
        benched: Whether the model was benched afterwards.
        benched_for: Seconds until that bench ends.
        next_model: The spec that would be tried next.
        latency: Seconds the attempt took.
        first_token: Seconds to the first content of a stream.
        input_tokens: As the provider counted.
        output_tokens: As the provider counted.
        cost: USD, as the provider said.
        error: The failure in words, secrets masked.
        note: What else is worth knowing: fields of the request that the model cannot take and that were
            left out, models benched beside it.
    """

    time: datetime
    call_id: int = 0
    cell: str = ""
    chain: str = ""
    method: str = ""
    model: str = ""
    position: int | None = None
    attempt: int = 0
    outcome: str = ""
    kind: str = ""
    reason: str = ""
    status: int | None = None
    benched: bool = False
    benched_for: float = 0.0
    next_model: str = ""
    latency: float | None = None
    first_token: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    error: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class FailoverEvent:
    """A failure made a call leave a model.

    Args:
        model: The spec that was left.
        error: Its last failure.
        kind: What the failure means.
        attempt: How many attempts were made on it.
        benched: Whether it is benched now.
        benched_for: Seconds from now to the bench's end, 0.0 when not benched.
        next_model: The spec that would be tried next at this moment, or ``""``.
        request: The caller's request; its model is ``"failover"``.
        at: When, aware UTC.
        call_id: The call, as in :class:`AttemptRecord`.
        chain: The chain's specs, joined by commas.
        method: The name of the call.
        benched_too: Further specs of the chain that were benched with it, since they use the same dead key.
    """

    model: str
    error: Exception
    kind: ErrorKind
    attempt: int
    benched: bool
    benched_for: float
    next_model: str
    request: Request
    at: datetime
    call_id: int
    chain: str
    method: str
    benched_too: tuple[str, ...] = ()


Observer = Callable[[FailoverEvent], object]


def checked_observers(observer: Observer | Sequence[Observer] | None) -> tuple[Observer, ...]:
    """One observer, several or none, as a tuple.

    Raises:
        TypeError: When one is a coroutine function, which nobody would await, or is not callable.
    """
    if observer is None:
        return ()
    observers = tuple(observer) if isinstance(observer, Sequence) else (observer,)
    for each in observers:
        if inspect.iscoroutinefunction(each) or inspect.iscoroutinefunction(getattr(each, "__call__", None)):  # noqa: B004
            raise TypeError(
                f"observer {each!r} is a coroutine function, which would never be awaited: "
                "give a plain function, or queued(observer) to move slow work to a thread"
            )
        if not callable(each):
            raise TypeError(f"observer {each!r} is not callable: it takes one FailoverEvent")
    return observers


def tell(observers: tuple[Observer, ...], event: FailoverEvent) -> None:
    """Run the observers in order; one that raises is logged, and the call goes on."""
    for observer in observers:
        try:
            observer(event)
        except Exception:
            logger.exception("the failover observer %r raised; the call goes on", observer)


class QueuedObserver:
    """Runs an observer on a thread of its own; see :func:`queued`."""

    def __init__(self, observer: Observer, *, size: int) -> None:
        (self._observer,) = checked_observers(observer)
        self._size = size
        self._events: queue.Queue[FailoverEvent | None] = queue.Queue(size)
        self._lock = new_lock()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Events that found the queue full."""

    def __call__(self, event: FailoverEvent) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                ended = threading.Event()
                # It does not hold this object, so that an observer nobody has any more ends its thread.
                self._thread = threading.Thread(
                    target=_tell_all,
                    args=(self._observer, self._events, ended),
                    name="llm-failover-observer",
                    daemon=True,
                )
                self._thread.start()
                weakref.finalize(self, _end, self._events, ended)
            try:
                self._events.put_nowait(event)
            except queue.Full:
                self.dropped += 1

    def close(self) -> None:
        """Wait until what is queued has been told, and end the thread."""
        with self._lock:
            thread, events = self._thread, self._events
            # A new queue for later events: their thread must not take the end that is meant for this one.
            self._thread, self._events = None, queue.Queue(self._size)
        if thread is not None:
            events.put(None)
            thread.join()


def _tell_all(observer: Observer, events: queue.Queue[FailoverEvent | None], ended: threading.Event) -> None:
    while not (ended.is_set() and events.empty()) and (event := events.get()) is not None:
        tell((observer,), event)


def _end(events: queue.Queue[FailoverEvent | None], ended: threading.Event) -> None:
    ended.set()
    with contextlib.suppress(queue.Full):  # then the thread is busy, and sees that it has ended
        events.put_nowait(None)


def queued(observer: Observer, *, size: int = 10_000) -> QueuedObserver:
    """An observer that returns at once and runs ``observer`` on its own thread, in order.

    Args:
        observer: Takes one :class:`FailoverEvent`; may be slow.
        size: Events that may wait; when it is full, further ones are dropped and counted in ``dropped``.
    """
    return QueuedObserver(observer, size=size)


_observer_lock = new_lock()
_observer: Observer | Sequence[Observer] | None = None


def get_failover_observer() -> Observer | Sequence[Observer] | None:
    """The observer of chains that are built without one."""
    return _observer


def set_failover_observer(observer: Observer | Sequence[Observer] | None) -> None:
    """Set the observer for chains built from now on; ``None`` switches it off.

    Raises:
        TypeError: When it is a coroutine function or not callable.
    """
    global _observer  # noqa: PLW0603  # the package's default, behind its one lock
    checked_observers(observer)
    with _observer_lock:
        _observer = observer


# The log in columns

WORDS = ("cell", "chain", "method", "model", "outcome", "kind", "reason", "next_model", "error", "note")
"""Columns of text: codes into the block's own table of words."""

NUMBERS = {
    "call_id": "q",
    "position": "h",
    "attempt": "h",
    "status": "h",
    "input_tokens": "q",
    "output_tokens": "q",
}
"""Columns of whole numbers, by array type; :data:`MISSING` stands for None."""

FLOATS = ("benched_for", "latency", "first_token", "cost")
"""Columns of float64; NaN stands for None."""

MISSING = -1
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Block:
    """Some hundred rows in columns.

    Args:
        size: How many.
        time: Microseconds since 1970 UTC, int64.
        benched: 0 or 1, int8.
        words: One int32 code a row for each column of :data:`WORDS`.
        numbers: The columns of :data:`NUMBERS`.
        floats: The columns of :data:`FLOATS`.
        table: The words that the codes stand for.
    """

    size: int
    time: array[int]
    benched: array[int]
    words: dict[str, array[int]]
    numbers: dict[str, array[int]]
    floats: dict[str, array[float]]
    table: tuple[str, ...]

    @classmethod
    def pack(cls, rows: Sequence[AttemptRecord]) -> Block:
        columns = dict(zip(AttemptRecord._fields, zip(*rows, strict=True), strict=True)) if rows else {}
        code: dict[str, int] = {}
        words = {
            name: array("i", [code.setdefault(word, len(code)) for word in columns.get(name, ())])
            for name in WORDS
        }
        numbers = {name: _whole_numbers(kind, columns.get(name, ())) for name, kind in NUMBERS.items()}
        floats = {name: _floats(columns.get(name, ())) for name in FLOATS}
        time = array("q", [(at - _EPOCH) // _MICROSECOND for at in columns.get("time", ())])
        return cls(
            len(rows), time, array("b", columns.get("benched", ())), words, numbers, floats, tuple(code)
        )

    def rows(self, start: int = 0) -> Iterator[AttemptRecord]:
        """The rows again, as they were, from number ``start`` on."""
        columns: dict[str, Iterable[object]] = {
            "time": [_EPOCH + timedelta(0, 0, at) for at in self.time[start:]],
            "benched": map(bool, self.benched[start:]),
        }
        for name, codes in self.words.items():
            columns[name] = map(self.table.__getitem__, codes[start:])
        for name, numbers in self.numbers.items():
            columns[name] = [None if n == MISSING else n for n in numbers[start:]]
        for name, floats in self.floats.items():
            columns[name] = [None if x != x else x for x in floats[start:]]
        return map(AttemptRecord._make, zip(*map(columns.__getitem__, AttemptRecord._fields), strict=True))


def _whole_numbers(kind: str, values: Sequence[int | None]) -> array[int]:
    try:
        return array(kind, [MISSING if n is None else n for n in values])
    except (TypeError, OverflowError):
        # A provider's own errors and counts may hold anything; a row that cannot be kept whole fails no call.
        return array(kind, [_fitting(kind, n) for n in values])


def _fitting(kind: str, value: object) -> int:
    """``value`` as a whole number within the range of an array of that kind, or :data:`MISSING`."""
    try:
        number = int(cast("int", value))
    except (TypeError, ValueError, OverflowError):
        return MISSING
    limit: int = 2 ** (8 * array(kind).itemsize - 1) - 1
    return max(-limit, min(number, limit))


def _floats(values: Sequence[float | None]) -> array[float]:
    try:
        return array("d", [_NAN if x is None else x for x in values])
    except (TypeError, OverflowError):
        return array("d", [x if isinstance(x, float) else _NAN for x in values])


class EventLog:
    """The last rows, in columns, bounded, safe from any thread.

    A row costs about a microsecond and some hundred bytes: it is staged as it is, and every
    ``block_rows`` rows are packed into arrays with a table of their words. The oldest block goes first.

    Args:
        max_rows: How many rows are kept; the oldest go first, and are counted in ``dropped``.

    Raises:
        ValueError: When ``max_rows`` is below 1.
    """

    block_rows = 512

    def __init__(self, *, max_rows: int = 100_000) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows={max_rows!r} is out of range: an event log keeps at least 1 row")
        self.max_rows = max_rows
        self._lock = new_lock()
        self._staged: list[AttemptRecord] = []
        self._blocks: deque[Block] = deque()
        self._packed = 0
        self._total = 0
        self._listeners = Listeners()

    def append(self, record: AttemptRecord) -> None:
        """Add a row."""
        with self._lock:
            self._staged.append(record)
            self._total += 1
            if len(self._staged) >= self.block_rows:
                self._pack()
        if self._listeners:
            self._listeners.tell()

    def listen(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have ``callback`` run after each row that is appended, on the thread that appends it.

        Args:
            callback: Must be quick, such as setting an event, since the call that is being recorded waits
                for it; it must append nothing to this log. The log's lock is free by then, so that it may
                read. What it raises is logged, and the call goes on.

        Returns:
            What takes the callback away again; to run it twice does no harm.

        >>> log, rows = EventLog(), []
        >>> stop = log.listen(lambda: rows.append(len(log)))
        >>> log.append(AttemptRecord(datetime.now(UTC)))
        >>> stop()
        >>> log.append(AttemptRecord(datetime.now(UTC)))
        >>> rows
        [1]
        """
        return self._listeners.add(callback)

    def since(self, position: int) -> tuple[list[AttemptRecord], int]:
        """The rows appended since a position, oldest first, and the position to ask from next.

        It costs in proportion to these rows, however many the log keeps, so that a reader may follow it.

        Args:
            position: How many rows had ever been appended, as this method returned it; 0 for all that are
                kept. Rows that were dropped meanwhile are left out. After :meth:`clear` positions start
                anew: one beyond the number of rows since then gives all that are there.

        >>> log = EventLog()
        >>> log.append(AttemptRecord(datetime.now(UTC), call_id=1))
        >>> rows, position = log.since(0)
        >>> [row.call_id for row in rows], position, log.since(position)
        ([1], 1, ([], 1))
        """
        with self._lock:
            total, kept = self._total, self._kept()
            wanted = min(total - position, kept) if position <= total else kept
            staged = self._staged[-wanted:] if wanted else []
            parts, missing = [], wanted - len(staged)
            for block in reversed(self._blocks):
                if missing <= 0:
                    break
                parts.append((block, max(0, block.size - missing)))
                missing -= block.size
        # What is staged goes through columns, too: a row reads the same whenever it is read.
        parts = [*reversed(parts), (Block.pack(staged), 0)]
        return [row for block, start in parts for row in block.rows(start)], total

    def __len__(self) -> int:
        with self._lock:
            return self._kept()

    @property
    def dropped(self) -> int:
        """How many rows have been dropped because the log was full."""
        with self._lock:
            return self._total - self._kept()

    def clear(self) -> None:
        """Forget all rows, and that any were dropped."""
        with self._lock:
            self._staged, self._packed, self._total = [], 0, 0
            self._blocks.clear()

    def blocks(self) -> tuple[Block, ...]:
        """All rows in columns, oldest first; the first block may hold rows beyond ``max_rows``."""
        with self._lock:
            return (*self._blocks, Block.pack(self._staged)) if self._staged else tuple(self._blocks)

    def __iter__(self) -> Iterator[AttemptRecord]:
        """The rows, oldest first."""
        blocks = self.blocks()
        surplus = sum(block.size for block in blocks) - self.max_rows
        for n, row in enumerate(row for block in blocks for row in block.rows()):
            if n >= surplus:
                yield row

    def _kept(self) -> int:
        return min(self._packed + len(self._staged), self.max_rows)

    def _pack(self) -> None:
        self._blocks.append(Block.pack(self._staged))
        self._packed += len(self._staged)
        self._staged = []
        while self._packed - self._blocks[0].size >= self.max_rows:
            self._packed -= self._blocks.popleft().size


process_log = EventLog()
"""The process's own log: the last 100,000 rows."""
