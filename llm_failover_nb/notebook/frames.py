"""The event log as a DataFrame: ``events_frame``. The only module that knows pandas; nothing is decided here.

Column by column from the log's own arrays, never row by row. Dtypes do not depend on what is in the log,
so that an empty frame, a full one and both put together have the same: words of a closed list are
categories, all other text is ``string``, and what may be missing is a nullable ``Int64`` or a NaN.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.events import MISSING, NUMBERS, WORDS, AttemptRecord, Block, EventLog, process_log
from llm_failover_nb.notebook.text import well_formed

try:
    import numpy as np
    import pandas as pd
except ImportError as error:
    raise ImportError(
        "a DataFrame needs pandas, which is not installed: pip install 'llm-failover-nb[frames]'"
    ) from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["events_frame"]

# The closed lists, in the order in which a reader expects them.
_CLOSED = {
    "method": ("", "complete", "acomplete", "stream", "astream"),
    "outcome": (
        *("ok", "retry", "failover", "exhausted", "skipped", "cancelled", "interrupted"),
        *("bench", "unbench"),
    ),
    "kind": ("", *(kind.value for kind in ErrorKind)),
}
_NULLABLE = ("position", "status", "input_tokens", "output_tokens")
_WHOLE = ("call_id", "attempt")
_FLOATS = ("benched_for", "latency", "first_token", "cost")

# A record's note is for the footer of a cell; the frame has the columns of its documented schema.
_COLUMNS = tuple(name for name in AttemptRecord._fields if name != "note")

# Held in Python whether or not pyarrow is there, so that the dtype is the same everywhere.
_TEXT = pd.StringDtype("python")


def events_frame(log: EventLog | None = None) -> pd.DataFrame:
    """One row an attempt, an entry passed by, or a bench laid or lifted; oldest first.

    Args:
        log: The log to show; the process's own unless given.

    Returns:
        A frame with the columns of :class:`~llm_failover_nb.engine.events.AttemptRecord`, in that order but
        without ``note``, and with the same dtypes whatever is in them: ``time`` is
        ``datetime64[us, UTC]``; ``call_id`` and ``attempt`` are ``int64``; ``position``, ``status`` and
        the tokens are ``Int64``; ``benched`` is ``bool``; seconds (``benched_for``, ``latency``,
        ``first_token``) and ``cost`` (USD) are ``float64``; ``method``, ``outcome``
        and ``kind`` are categories; other text is ``string``, empty where there is none.

    >>> events_frame(EventLog()).empty
    True
    """
    log = process_log if log is None else log
    blocks = log.blocks()
    # The oldest block may hold rows beyond what the log keeps.
    surplus = max(0, sum(block.size for block in blocks) - log.max_rows)
    columns = {**_numbers(blocks, surplus), **_words(blocks, surplus)}
    return pd.DataFrame({name: columns[name] for name in _COLUMNS}, copy=False)


def _numbers(blocks: Sequence[Block], surplus: int) -> dict[str, object]:
    time = _joined((b.time for b in blocks), "int64")[surplus:]
    columns: dict[str, object] = {
        "time": pd.DatetimeIndex(time.view("M8[us]"), tz="UTC"),
        "benched": _joined((b.benched for b in blocks), "int8")[surplus:].view(np.bool_),
    }
    for name in _FLOATS:
        columns[name] = _joined((b.floats[name] for b in blocks), "float64")[surplus:]
    for name in _WHOLE:
        columns[name] = _integers(name, blocks)[surplus:]
    for name in _NULLABLE:
        numbers = _integers(name, blocks)[surplus:]
        columns[name] = pd.arrays.IntegerArray(numbers, numbers == MISSING)
    return columns


def _integers(name: str, blocks: Sequence[Block]) -> NDArray[np.int64]:
    return _joined((b.numbers[name] for b in blocks), NUMBERS[name]).astype("int64", copy=False)


def _words(blocks: Sequence[Block], surplus: int) -> dict[str, object]:
    """The columns of text; each block has its own table of words, here they become one."""
    code: dict[str, int] = {}
    tables = [[code.setdefault(word, len(code)) for word in block.table] for block in blocks]
    shared = np.array([c for table in tables for c in table], dtype="int32")
    # Where each row's table begins in `shared`.
    lengths = np.array([len(table) for table in tables], dtype="int32")
    starts = np.repeat(np.cumsum(lengths, dtype="int32") - lengths, [block.size for block in blocks])
    # What is no UTF-8 could be neither shown nor saved. The None keeps numpy from guessing a type.
    words = np.array([*map(well_formed, code), None], dtype=object)[:-1]
    columns: dict[str, object] = {}
    for name in filter(_COLUMNS.__contains__, WORDS):
        codes = shared[(_joined((b.words[name] for b in blocks), "int32") + starts)[surplus:]]
        closed = name in _CLOSED
        columns[name] = _category(name, codes, words) if closed else pd.array(words[codes], dtype=_TEXT)
    return columns


def _category(name: str, codes: NDArray[np.int32], words: NDArray[np.object_]) -> pd.Categorical[str]:
    known = _CLOSED[name]
    # A log may have been given a word that the engine does not use; it is kept, after the others.
    used = words[np.flatnonzero(np.bincount(codes, minlength=len(words)))]
    categories = [*known, *sorted({*used} - {*known})]
    place = {word: i for i, word in enumerate(categories)}
    places = np.array([place.get(word, MISSING) for word in words], dtype=np.int32)
    return pd.Categorical.from_codes(places[codes], categories=pd.Index(categories), validate=False)


def _joined(columns: Iterable[array[int] | array[float]], dtype: str) -> NDArray[Any]:
    """The blocks' arrays as one that can be written to."""
    return np.frombuffer(bytearray().join(columns), dtype=dtype)
