"""Why no model answered: in the cell, and in the lines of its error output.

A front end shows both, one below the other. So the lines of the error output say of each model what happened,
why, and what to do next, as nbclient and a terminal need it; the cell's own output says what they leave out:
what had come of an answer, what was tried how often, and until when each model is benched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from llm_failover_nb.engine.errors import (
    AllModelsFailed,
    DeadlineExceeded,
    FailoverError,
    ProviderError,
    StreamInterrupted,
)
from llm_failover_nb.engine.events import AttemptRecord
from llm_failover_nb.notebook.render.answer import partial_body
from llm_failover_nb.notebook.render.page import (
    LONGEST_ERROR,
    failed_note,
    joined,
    note_html,
    one_line,
    small,
    whole_page,
)
from llm_failover_nb.notebook.render.rows import (
    Row,
    failed_rows,
    marked_benched,
    missing_words,
    not_asked,
    notes_of,
    row_text,
    rows_table,
    said_of,
)
from llm_failover_nb.notebook.render.words import (
    REASONS,
    UNKNOWN_REASON,
    bench_after,
    counted,
    is_not_installed,
    reason_words,
)

__all__ = [
    "failure_html",
    "failure_lines",
    "failure_text",
]

# What an unreachable provider's error advises; the remedy that stands beside it says that and more.
_ADVICE_SAID = "; check the network and base_url"

# How the package's own errors advise, at their end; a server's words are not taken for ours.
_ADVICE = re.compile(
    r"(.*); ((?:add|ask|check|copy|correct|give|install|look|raise|reword|rephrase|set|try|use)\b.*)",
    re.DOTALL,
)

# How a spec's missing key is told by the engine; what follows is the variable.
_NO_KEY_SAID = "no key: set "

# So many models are named in a headline, each with its bench.
_NAMED = 3


def failure_html(
    error: FailoverError,
    *,
    text: str = "",
    passed: Sequence[Row] = (),
    attempts: Sequence[AttemptRecord] = (),
    note: str = "",
    reasoning: str = "",
) -> str:
    """That no model answered, and what was tried; the error output below it says why, and what to do.

    Args:
        error: What the call ended with.
        text: The part of an answer that had come.
        passed: As :func:`passed_rows` gives them.
        attempts: The call's records.
        note: One line to stand below.
        reasoning: What had come of a model's thinking.
    """
    rows = _tried_rows(passed, attempts)
    table = f"<details><summary>what was tried</summary>{rows_table(rows, 'then')}</details>" if rows else ""
    return whole_page(
        partial_body(text, reasoning),
        failed_note(_said_in_short(error, passed)),
        small(table) if table else "",
        note_html(note),
    )


def failure_text(
    error: FailoverError,
    *,
    text: str = "",
    passed: Sequence[Row] = (),
    attempts: Sequence[AttemptRecord] = (),
    note: str = "",
    reasoning: str = "",  # noqa: ARG001  # thinking is not for a terminal; the call is the same for both
) -> str:
    """:func:`failure_html` for a terminal."""
    tried = [_tried_text(row) for row in _tried_rows(passed, attempts) if row.attempts]
    return joined(filter(None, [text, _said_in_short(error, passed), *tried, one_line(note)]))


def failure_lines(
    error: FailoverError, *, passed: Sequence[Row] = (), attempts: Sequence[AttemptRecord] = ()
) -> list[str]:
    """A failure in a line of its own and a line a model: what, why, what next.

    Args:
        error: What the call ended with.
        passed: As :func:`passed_rows` gives them.
        attempts: The call's records, for their notes and benches.
    """
    return [
        _headline(error, passed),
        *(f"  {row_text(row)}" for row in _failure_rows(error, passed, attempts)),
    ]


def _headline(error: FailoverError, passed: Sequence[Row]) -> str:
    said = str(error)
    if isinstance(error, AllModelsFailed):
        said = _none_has_a_key(error) or f"{error.message.partition(chr(10))[0]}{_all_benched(error, passed)}"
    return f"{type(error).__name__}: {one_line(said, 2 * LONGEST_ERROR)}"


def _all_benched(error: FailoverError, passed: Sequence[Row]) -> str:
    """That all were benched, until when, and which were asked in spite of it; empty where it is not so."""
    asked = [row for row in _failure_rows(error, passed) if row.asked]
    if not asked or not all(row.benched for row in asked):
        return ""
    named = [f"{one_line(row.model)} {row.bench.removeprefix('benched ')}" for row in asked[:_NAMED]]
    more = [f"{len(asked) - _NAMED} more"] if len(asked) > _NAMED else []
    return f"; all were benched and asked anyway: {'; '.join(named + more)}"


def _none_has_a_key(error: AllModelsFailed) -> str:
    """Nobody failed where nobody could be asked: what to say of that; empty where somebody was."""
    causes = [cause for cause in error.exceptions if isinstance(cause, ProviderError)]
    if len(causes) < len(error.exceptions) or any(cause.reason != "no_key" for cause in causes):
        return ""
    said = dict.fromkeys(cause.message for cause in causes)
    variables = [one.removeprefix(_NO_KEY_SAID) for one in said if one.startswith(_NO_KEY_SAID)]
    what = "no model could be asked: none has a key"
    return f"{what}; set {' or '.join(variables)}" if variables else what


def _said_in_short(error: FailoverError, passed: Sequence[Row]) -> str:
    """What the cell says; the error's own name and message stand in the error output below it."""
    match error:
        case AllModelsFailed():
            return _none_has_a_key(error) or _counted_failures(error, passed)
        case DeadlineExceeded():
            return "the deadline passed before the answer was whole"
        case StreamInterrupted():
            return "the answer broke off"
        case ProviderError():
            return f"{error.model or 'the model'} did not answer: {reason_words(error.reason, error.status)}"
    return f"{type(error).__name__}: {error}"


def _counted_failures(error: AllModelsFailed, passed: Sequence[Row]) -> str:
    asked = [row.asked for row in _failure_rows(error, passed)]
    left_out = f", {asked.count(False)} passed by" if not all(asked) else ""
    return f"no model answered: {asked.count(True)} failed{left_out}{_all_benched(error, passed)}"


def _tried_rows(passed: Sequence[Row], attempts: Sequence[AttemptRecord]) -> list[Row]:
    tried = marked_benched(failed_rows(attempts), passed)
    known = {row.model for row in tried}
    return [*tried, *(row for row in not_asked(passed) if row.model not in known)] if tried else []


def _tried_text(row: Row) -> str:
    facts = filter(None, (counted(row.attempts, "attempt"), one_line(row.note), one_line(row.then)))
    return f"  {one_line(row.model)}: {'; '.join(facts)}"


def _failure_rows(
    error: FailoverError, passed: Sequence[Row], attempts: Sequence[AttemptRecord] = ()
) -> list[Row]:
    notes = notes_of(attempts)
    last = {record.model: record for record in attempts}
    return [
        replace(_with_bench(row, last.get(row.model)), note=notes.get(row.model, ""))
        for row in _unnoted_rows(error, passed)
    ]


def _with_bench(row: Row, last: AttemptRecord | None) -> Row:
    """Of a model that had been benched before, until when it is now."""
    if last is None or not (row.benched and last.benched):
        return row
    return replace(row, then=f"now {bench_after(last, None)}; {row.then}")


def _unnoted_rows(error: FailoverError, passed: Sequence[Row]) -> list[Row]:
    if isinstance(error, AllModelsFailed):
        asked = [_error_row(spec, e) for spec, e in zip(error.specs, error.exceptions, strict=False)]
        known = {row.model for row in asked}
        left_out = [row for row in not_asked(passed) if row.model not in known]
        return [*marked_benched(asked, passed), *left_out]
    if isinstance(error, ProviderError):
        return [*marked_benched([_error_row(error.model, error)], passed)]
    return []


def _error_row(spec: str, error: Exception) -> Row:
    if not isinstance(error, ProviderError):
        words, remedy = UNKNOWN_REASON
        return Row(spec, words, one_line(f"{type(error).__name__}: {error}"), then=remedy)
    _, remedy = REASONS.get(error.reason, UNKNOWN_REASON)
    if is_not_installed(error):
        why, remedy = missing_words(spec, error.message)
        return Row(spec, why, then=remedy)
    said, remedy = _advised(said_of(spec, error.message.removesuffix(_ADVICE_SAID)), error, remedy)
    if error.reason in {"no_key", "benched"}:
        return Row(spec, said.removeprefix("passed by: "), then=remedy, asked=False)
    return Row(spec, reason_words(error.reason, error.status), said, then=remedy)


def _advised(said: str, error: ProviderError, remedy: str) -> tuple[str, str]:
    """What an error says, and what to do: its own advice where it is ours, so that none is doubled."""
    if said.startswith(_NO_KEY_SAID):
        return said, "then run the cell again"
    if not error.body and (parts := _ADVICE.fullmatch(said)):
        return parts[1], parts[2]
    return said, remedy
