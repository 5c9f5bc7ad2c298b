"""An answer or a part of one, and the footer: who gave it, after whom, in what time, at what cost."""

from __future__ import annotations

from collections.abc import Sequence

from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.types import Response
from llm_failover_nb.notebook.prices import cost_of, is_free
from llm_failover_nb.notebook.render.formats import (
    body_html,
    body_text,
    markdown_body,
    thought_html,
)
from llm_failover_nb.notebook.render.page import (
    escaped,
    failed_note,
    joined,
    note_html,
    one_line,
    whole_page,
)
from llm_failover_nb.notebook.render.rows import (
    Row,
    although_benched,
    failed_rows,
    is_missing,
    left_count,
    marked_benched,
    not_asked,
    row_text,
    rows_table,
)
from llm_failover_nb.notebook.render.words import (
    duration,
    length_words,
    money_words,
    one_and_another,
)
from llm_failover_nb.settings.types import Format

__all__ = [
    "answer_html",
    "answer_text",
    "interrupted_words",
    "partial_body",
    "partial_html",
    "partial_text",
    "response_html",
    "response_text",
]

# Why an answer ends before its end, by the word common to all wires.
_CUT_SHORT = {
    "length": "cut short by the limit of tokens",
    "content_filter": "cut short by the content filter",
    "tool_calls": "ended to call a tool, which nothing here does",
}


def answer_html(
    response: Response,
    *,
    passed: Sequence[Row] = (),
    note: str = "",
    format: Format = "markdown",  # noqa: A002  # the cell's own key
    code: str = "",
    placed: bool = False,
) -> str:
    """An answer, and below it who gave it, who failed and why, how long it took and what it cost.

    Args:
        response: The answer.
        passed: As :func:`passed_rows` gives them.
        note: One line to stand before the footer.
        format: How to show it: laid out, as it came, as JSON, as code, or as a page of HTML in a frame that
            runs nothing and fetches nothing.
        code: The code in the answer, for ``format="code"``; the whole text unless given.
        placed: Whether that code was put into a new cell.
    """
    thought = thought_html(response.reasoning, length_words(response.reasoning))
    return whole_page(
        thought,
        body_html(response.text, format, code=code, placed=placed),
        note_html(note),
        _footer_html(response, passed),
    )


def answer_text(
    response: Response,
    *,
    passed: Sequence[Row] = (),
    note: str = "",
    format: Format = "markdown",  # noqa: A002  # likewise
    code: str = "",
    placed: bool = False,
) -> str:
    """:func:`answer_html` for a terminal; thinking is only counted, and HTML stays its source."""
    lines = [body_text(response.text, format, code=code, placed=placed), ""]
    if note:
        lines.append(one_line(note))
    return joined([*lines, *_footer_text(response, passed)])


def response_html(response: Response) -> str:
    """A ``Response`` as the value of a cell: as safe as the output of a cell that asked for it.

    Args:
        response: Of any origin; keys in it are masked.
    """
    return redact(answer_html(response))


def response_text(response: Response) -> str:
    """:func:`response_html` for a terminal."""
    return redact(answer_text(response))


def partial_html(text: str, what: str, *, note: str = "", reasoning: str = "") -> str:
    """The part of an answer that came before ``what`` happened, such as ``interrupted; partial answer``.

    Args:
        text: What had come.
        what: Why no more came.
        note: One line to stand below.
        reasoning: What had come of the model's thinking.
    """
    return whole_page(partial_body(text, reasoning), failed_note(what), note_html(note))


def partial_text(text: str, what: str, *, note: str = "", reasoning: str = "") -> str:
    """:func:`partial_html` for a terminal."""
    thought = f"   {_thought_words(reasoning)}" if reasoning.strip() else ""
    return joined(filter(None, (text, f"-- {one_line(what)}", thought, one_line(note))))


def partial_body(text: str, reasoning: str = "") -> str:
    """What had come of an answer, laid out; nothing where nothing had."""
    thought = thought_html(reasoning, length_words(reasoning))
    return thought + (markdown_body(text) if text.strip() else "")


def interrupted_words(*, partial: bool, out: bool) -> str:
    """What an interrupted cell says.

    Args:
        partial: Whether some of an answer had come.
        out: Whether the cell has ``out=``, which would have been bound to the whole one.
    """
    what = "interrupted; partial answer" if partial else "interrupted before an answer came"
    return f"{what}; out= stays unbound" if out else what


# The footer


def _footer_html(response: Response, passed: Sequence[Row]) -> str:
    failed, left_out = marked_benched(failed_rows(response.attempts), passed), not_asked(passed)
    badge = "<span class='lf-badge'>fallback</span> " if failed or left_out else ""
    after = escaped(_after(response.model, failed, passed))
    who = f"<p>{badge}answered by <b>{escaped(one_line(response.model))}</b>{after}</p>"
    stats = "".join(f"<span>{escaped(part)}</span> " for part in _stats(response))
    details = _details(failed, left_out)
    return f"<div class='lf-foot lf-small mathjax_ignore'>{who}<p class='lf-stats'>{stats}</p>{details}</div>"


def _footer_text(response: Response, passed: Sequence[Row]) -> list[str]:
    failed, left_out = marked_benched(failed_rows(response.attempts), passed), not_asked(passed)
    fallback = "fallback: " if failed or left_out else ""
    who = f"answered by {one_line(response.model)}{_after(response.model, failed, passed)}"
    stats = _stats(response)
    if response.reasoning.strip():
        stats.append(_thought_words(response.reasoning))
    rows = [f"   {row_text(row)}" for row in (*failed, *left_out)]
    return [f"-- {fallback}{who}", f"   {' · '.join(stats)}", *rows]


def _thought_words(reasoning: str) -> str:
    return f"thinking left out: {length_words(reasoning)}"


def _after(answering: str, failed: Sequence[Row], passed: Sequence[Row]) -> str:
    """Why it was this model and no earlier one."""
    forced = [row for row in passed if row.model == answering and row.asked and row.benched]
    although = f"; {although_benched(forced[0])}" if forced else ""
    return _before(failed, not_asked(passed)) + although


def _before(failed: Sequence[Row], left_out: Sequence[Row]) -> str:
    """What became of the earlier models."""
    if len(failed) + len(left_out) > 3:
        return f" after {left_count(failed, left_out)}"
    missing = [row for row in failed if is_missing(row)]
    names = [f"{one_line(row.model)} failed ({row.why})" for row in failed if row not in missing]
    names += [f"{one_line(row.model)} was passed by ({row.why})" for row in left_out]
    after = f" after {one_and_another(names)}" if names else ""
    return after + "".join(f"; {one_line(row.model)} is {row.why}: {row.error}" for row in missing)


def _stats(response: Response) -> list[str]:
    parts = []
    if response.first_token is not None:
        parts.append(f"first token {duration(response.first_token)}")
    if response.latency is not None:
        parts.append(f"{duration(response.latency)} in all")
    usage = response.usage
    if usage.input_tokens is not None or usage.output_tokens is not None:
        parts.append(f"tokens: {_tokens(usage.input_tokens)} in, {_tokens(usage.output_tokens)} out")
    if (why := _CUT_SHORT.get(response.finish or response.finish_reason or "")) is not None:
        parts.append(why)
    notes = [one_line(record.note) for record in response.attempts if record.outcome == "ok" and record.note]
    return [*parts, _cost(response), *notes]


def _cost(response: Response) -> str:
    if is_free(response.model):
        return "free"
    cost = cost_of(response)
    if cost is None:
        return "cost ?"
    said = response.cost is not None or response.usage.cost is not None
    return f"cost {'' if said else 'about '}{money_words(cost)}"


def _tokens(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _details(failed: Sequence[Row], passed: Sequence[Row]) -> str:
    if not failed and not passed:
        return ""
    table = rows_table((*failed, *passed), "then")
    return f"<details><summary>{left_count(failed, passed)}</summary>{table}</details>"
