"""The event log as a DataFrame: values, order, and dtypes that do not depend on them."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from llm_failover_nb import events_frame as public_events_frame
from llm_failover_nb.engine.bench import BenchRegistry
from llm_failover_nb.engine.chain import parse_chain
from llm_failover_nb.engine.events import AttemptRecord, EventLog
from llm_failover_nb.notebook.frames import events_frame

START = datetime(2026, 1, 1, tzinfo=UTC)
FULL = AttemptRecord(
    START, 7, "3", "a/b,c/d", "stream", "a/b", 0, 2, "failover", "transient", "overloaded", 503,
    True, 300.0, "c/d", 0.25, 0.125, 11, 22, 0.5, "it broke",
)  # fmt: skip
BARE = AttemptRecord(START + timedelta(microseconds=1), model="a/b", outcome="unbench", reason="operator")


def log_of(*records: AttemptRecord, max_rows: int = 1000) -> EventLog:
    """A log that holds these rows."""
    log = EventLog(max_rows=max_rows)
    for record in records:
        log.append(record)
    return log


def numbered(count: int, **options: int) -> EventLog:
    """A log of rows that are told apart by their call."""
    return log_of(*(AttemptRecord(START, n, outcome="ok", cell=str(n)) for n in range(count)), **options)


def test_columns() -> None:
    """The columns are the record's fields, in their order, but for the note."""
    assert [name for name in AttemptRecord._fields if name != "note"] == list(
        events_frame(EventLog()).columns
    )


def test_dtypes() -> None:
    """The dtypes are those that the documentation promises."""
    expected = {
        "time": "datetime64[us, UTC]", "call_id": "int64", "cell": "string", "chain": "string",
        "method": "category", "model": "string", "position": "Int64", "attempt": "int64",
        "outcome": "category", "kind": "category", "reason": "string", "status": "Int64", "benched": "bool",
        "benched_for": "float64", "next_model": "string", "latency": "float64", "first_token": "float64",
        "input_tokens": "Int64", "output_tokens": "Int64", "cost": "float64", "error": "string",
    }  # fmt: skip

    assert expected == {name: str(dtype) for name, dtype in events_frame(log_of(FULL)).dtypes.items()}


@pytest.mark.parametrize("log", [log_of(FULL), log_of(BARE), numbered(700)], ids=["full", "bare", "blocks"])
def test_empty_has_the_same_dtypes(log: EventLog) -> None:
    """An empty frame and a filled one have equal dtypes, categories included."""
    assert events_frame(EventLog()).dtypes.to_dict() == events_frame(log).dtypes.to_dict()


def test_concat_keeps_dtypes() -> None:
    """Frames put together keep their dtypes, an empty one among them."""
    frames = [events_frame(log_of(*rows)) for rows in ((FULL,), (), (BARE,))]

    assert frames[0].dtypes.to_dict() == pd.concat(frames, ignore_index=True).dtypes.to_dict()


def test_values() -> None:
    """A row's values are the record's."""
    row = events_frame(log_of(FULL)).iloc[0].to_dict()

    assert FULL._asdict() == {"note": "", **row, "time": row["time"].to_pydatetime()}


def test_missing_values() -> None:
    """What a record does not say is missing in numbers, and empty in text."""
    row = events_frame(log_of(BARE)).iloc[0]
    missing = [name for name in row.index if pd.isna(row[name])]
    empty = [name for name in row.index if name not in missing and row[name] == ""]

    assert missing == [
        *("position", "status", "latency", "first_token", "input_tokens", "output_tokens", "cost")
    ]
    assert empty == ["cell", "chain", "method", "kind", "next_model", "error"]


def test_order_over_blocks() -> None:
    """Rows keep their order and their words over packed and staged blocks."""
    frame = events_frame(numbered(1300, max_rows=2000))

    assert [(n, str(n)) for n in range(1300)] == list(zip(frame["call_id"], frame["cell"], strict=True))


def test_trims_the_oldest_block() -> None:
    """As many rows as the log keeps, the newest, though its oldest block holds more."""
    log = numbered(1100, max_rows=600)
    frame = events_frame(log)

    assert list(range(500, 1100)) == list(frame["call_id"])
    assert len(log) == len(frame)


def test_index_counts_from_zero() -> None:
    """A trimmed frame is numbered anew."""
    assert list(range(600)) == list(events_frame(numbered(1100, max_rows=600)).index)


def test_unknown_outcome_is_kept() -> None:
    """A word that the engine does not use is a category after the others, not lost."""
    frame = events_frame(log_of(AttemptRecord(START, outcome="odd"), FULL))

    assert list(frame["outcome"]) == ["odd", "failover"]


def test_endless_bench() -> None:
    """A bench until lifted lasts infinitely long."""
    log = EventLog()
    BenchRegistry(log=log).bench("a/b")

    assert [math.inf] == list(events_frame(log)["benched_for"])


def test_frame_can_be_written_to() -> None:
    """The frame is the user's own: writing to it works, and the log does not see it."""
    log = log_of(FULL, BARE)
    frame = events_frame(log)
    for name in ("time", "call_id", "latency", "benched", "status", "model"):
        frame.loc[0, name] = frame.loc[1, name]

    assert list(log) == [FULL, BARE]


def test_no_column_shadows_an_attribute() -> None:
    """Each column but those of plain words can be reached as an attribute."""
    assert [name for name in AttemptRecord._fields if hasattr(pd.DataFrame, name)] == []


def test_process_log_by_default() -> None:
    """Without a log, the process's own is shown; the public name is the same function."""
    parse_chain("sim/echo").complete("hi")

    assert tuple(public_events_frame().iloc[-1][["model", "outcome"]]) == ("sim/echo", "ok")


def test_half_a_character() -> None:
    """A row that holds no UTF-8 is shown and saved like the others, half a character marked."""
    frame = events_frame(log_of(FULL._replace(model="a/\ud83d", error="\ud83d\ude00 \udfff", kind="\ud83d")))

    assert tuple(frame.loc[0, ["model", "error", "kind"]]) == ("a/\ufffd", "\U0001f600 \ufffd", "\ufffd")
    assert "\ufffd" in frame.to_html().encode().decode()


def test_without_pandas() -> None:
    """Where pandas is missing, the error says what to install."""
    code = "import sys; sys.modules['pandas'] = None; from llm_failover_nb import events_frame"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "pip install 'llm-failover-nb[frames]'" in done.stderr
