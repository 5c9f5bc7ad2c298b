"""Models that did not answer, one row each, as data, as a table and as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from llm_failover_nb.engine.bench import BenchedModel
from llm_failover_nb.engine.events import AttemptRecord
from llm_failover_nb.notebook.render.grid import Cell, grid, name_cell, text_cell
from llm_failover_nb.notebook.render.page import escaped, one_line
from llm_failover_nb.notebook.render.words import REASONS, bench_after, bench_words, counted, reason_words
from llm_failover_nb.notebook.text import plain

__all__ = [
    "Row",
    "although_benched",
    "failed_rows",
    "is_missing",
    "left_count",
    "marked_benched",
    "missing_words",
    "not_asked",
    "notes_of",
    "passed_rows",
    "row_text",
    "rows_table",
    "said_of",
]


@dataclass(frozen=True, slots=True)
class Row:
    """A model that did not answer, for a table.

    Args:
        model: The spec.
        why: What happened, in words.
        error: What the provider said, in one line.
        attempts: How often it was asked.
        then: What followed for the model, or what a person can do.
        asked: Whether it was asked at all; else it was passed by.
        benched: Whether it was benched when the call began: asked all the same, it was best effort.
        note: What else is worth knowing, such as what it was asked without.
        bench: The bench of then, in words.
    """

    model: str
    why: str
    error: str = ""
    attempts: int = 0
    then: str = ""
    asked: bool = True
    benched: bool = False
    note: str = ""
    bench: str = ""


def failed_rows(attempts: Sequence[AttemptRecord], zone: tzinfo | None = None) -> tuple[Row, ...]:
    """One row an entry that was asked and left, in order, from the records of a call.

    Args:
        attempts: As in ``Response.attempts``.
        zone: For times of day; the machine's own unless given.
    """
    rows = []
    for position in dict.fromkeys(record.position for record in attempts):
        asked = [record for record in attempts if record.position == position and _was_heard(record)]
        if asked and asked[-1].outcome != "ok":
            row = _failed_row(asked[-1], len(asked), zone)
            rows.append(replace(row, note=notes_of(asked).get(row.model, "")))
    return tuple(rows)


def passed_rows(
    specs: Sequence[str],
    attempts: Sequence[AttemptRecord],
    benched: Sequence[BenchedModel],
    now: datetime,
    zone: tzinfo | None = None,
) -> tuple[Row, ...]:
    """One row an entry that stood before the answering one and was not asked, in order.

    An entry that was asked although it was benched has a row, too, the answering one included.

    Args:
        specs: The chain's entries.
        attempts: As in ``Response.attempts``; without an answer, all entries are looked at.
        benched: The benches as they were when the call began.
        now: When it began, aware.
        zone: For times of day; the machine's own unless given.
    """
    answered = [record.position for record in attempts if record.outcome == "ok"]
    end = answered[-1] if answered and answered[-1] is not None else len(specs)
    last = end + 1 if answered else end
    benches = {bench.model: bench for bench in benched}
    rows = []
    for position, spec in enumerate(specs[:last]):
        records = [record for record in attempts if record.position == position]
        bench = bench_words(benches[spec], now, zone) if spec in benches else ""
        if any(map(_was_heard, records)):
            if bench:
                rows.append(Row(spec, bench, benched=True, bench=bench))
            continue
        if any(record.reason == "no_key" for record in records):
            rows.append(Row(spec, one_line(records[-1].error), asked=False))
        elif bench:
            then = f"%llm unbench {spec} lifts it"
            rows.append(Row(spec, bench, then=then, asked=False, benched=True, bench=bench))
        elif any(record.attempt for record in records):
            rows.append(Row(spec, "benched by hand while it was asked", asked=False))
        elif records:
            rows.append(Row(spec, "benched while the call ran", asked=False))
        else:
            rows.append(Row(spec, "its bench ran out, and another call is trying it", asked=False))
    return tuple(rows)


def _was_heard(record: AttemptRecord) -> bool:
    """Whether an attempt came to its own end: not where the operator benched the model meanwhile."""
    return bool(record.attempt) and record.outcome != "skipped"


def not_asked(passed: Sequence[Row]) -> tuple[Row, ...]:
    return tuple(row for row in passed if not row.asked)


def marked_benched(rows: Iterable[Row], passed: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, those of models that were asked although they were benched marked as such."""
    benches = {row.model: row.bench for row in passed if row.benched}
    return tuple(
        replace(row, benched=True, bench=benches[row.model]) if row.asked and row.model in benches else row
        for row in rows
    )


def although_benched(row: Row) -> str:
    """That a model was asked in spite of its bench, and why."""
    return f"asked although {one_line(row.bench) or 'benched'}: nothing else was left"


def left_count(failed: Sequence[Row], left_out: Sequence[Row]) -> str:
    """How many failed and how many were not asked, as far as there were any."""
    parts = [f"{counted(len(failed), 'model')} failed"] if failed else []
    if left_out:
        parts.append(
            f"{counted(len(left_out), 'model')} passed by" if not failed else f"{len(left_out)} passed by"
        )
    return " and ".join(parts)


def notes_of(records: Iterable[AttemptRecord]) -> dict[str, str]:
    """What the records note of each model, each thing once."""
    parts: dict[str, dict[str, None]] = {}
    for record in records:
        parts.setdefault(record.model, {}).update(dict.fromkeys(filter(None, record.note.split("; "))))
    return {model: "; ".join(noted) for model, noted in parts.items()}


def said_of(spec: str, text: str) -> str:
    """What an error says, without the name that stands before it in the row."""
    return one_line(text).removeprefix(f"{one_line(spec)}: ")


def missing_words(spec: str, text: str) -> tuple[str, str]:
    """Why a model is not installed, in words that follow its name, and what to do."""
    words, remedy = REASONS["not_installed"]
    said, colon, advice = one_line(text).rpartition(": ")
    start = f"{one_line(spec)} is "
    if colon and said.startswith(start + words):
        return said.removeprefix(start), advice
    return words, said_of(spec, text) or remedy


def is_missing(row: Row) -> bool:
    return row.why.startswith(REASONS["not_installed"][0])


def _failed_row(last: AttemptRecord, attempts: int, zone: tzinfo | None) -> Row:
    then = bench_after(last, zone)
    if last.reason == "not_installed":
        why, remedy = missing_words(last.model, last.error)
        return Row(last.model, why, remedy, then=then)
    why = reason_words(last.reason, last.status)
    return Row(last.model, why, said_of(last.model, last.error), attempts, then)


def rows_table(rows: Iterable[Row], then: str) -> str:
    """Models that did not answer, as a table.

    Args:
        rows: One a model.
        then: What stands in the last column.
    """
    return grid(
        ("model", "why", then),
        ((name_cell(row.model), Cell(_why_html(row)), text_cell(row.then)) for row in rows),
    )


def _why_html(row: Row) -> str:
    times = f", {counted(row.attempts, 'attempt')}" if row.attempts else ""
    said = f"<br><samp class='lf-said'>{escaped(error)}</samp>" if (error := _beyond(row)) else ""
    although = f"<br>{escaped(although_benched(row))}" if row.asked and row.benched else ""
    note = f"<br>{escaped(one_line(row.note))}" if row.note else ""
    return f"{escaped(row.why)}{times}{said}{although}{note}"


def row_text(row: Row) -> str:
    times = f", {counted(row.attempts, 'attempt')}" if row.attempts else ""
    said = f": {error}" if (error := _beyond(row)) else ""
    how = "" if row.asked else "passed by, "
    although = f"; {although_benched(row)}" if row.asked and row.benched else ""
    note = f"; {one_line(row.note)}" if row.note else ""
    then = f"; {one_line(row.then)}" if row.then else ""
    return plain(f"{one_line(row.model)}: {how}{row.why}{times}{said}{although}{note}{then}")


def _beyond(row: Row) -> str:
    """What the error says that the row's own words do not."""
    return "" if row.error in row.why else row.error.removeprefix(f"{row.why}: ")
