"""What a cell shows, as HTML and as plain text: pure functions of data. No IPython, no state, no decision.

What models and providers wrote is untrusted: a front end runs what it finds in a fresh output. An answer
passes `markdown.py`; every other text is escaped. All of them pass `text.py`'s ``plain``, on the way into
HTML and into plain text alike. Only the markup in this module is ours.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Literal

from llm_failover_nb.engine.bench import BenchedModel
from llm_failover_nb.engine.errors import AllModelsFailed, FailoverError, ProviderError
from llm_failover_nb.engine.events import AttemptRecord, FailoverEvent
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.types import Response
from llm_failover_nb.notebook.markdown import markdown_html, reaches_out
from llm_failover_nb.notebook.text import plain

__all__ = [
    "HelpPart",
    "Listed",
    "Listing",
    "Row",
    "Standing",
    "answer_html",
    "answer_text",
    "bench_words",
    "explained_html",
    "explained_text",
    "failed_rows",
    "failure_html",
    "failure_lines",
    "failure_text",
    "help_html",
    "help_text",
    "interrupted_words",
    "left_words",
    "listing_html",
    "listing_text",
    "live_html",
    "live_text",
    "partial_html",
    "partial_text",
    "passed_rows",
    "status_html",
    "status_text",
]

# An error's text in a table; a provider may send pages.
_LONGEST_ERROR = 300

# A name up to this long, in characters, stands in one line however narrow the column.
_SHORT_NAME = 24

# The parts of names, addresses and variables, each with the sign that ends it.
_PARTS = re.compile(r"[^/._-]*[/._-]+|[^/._-]+")

# They reverse the order of what follows on a line: fit to forge names.
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# These cost nothing, so that no price could apply.
_FREE = ("local/", "sim/")

# finish reason -> why an answer ends before its end.
_CUT_SHORT = {
    "length": "cut short by the limit of tokens",
    "max_tokens": "cut short by the limit of tokens",
    "content_filter": "cut short by the content filter",
}

# reason -> what happened, and what a person can do.
_REASONS = {
    "rate_limit": ("too many requests for now", "wait a little, or add a model to the chain"),
    "overloaded": ("overloaded", "try again in a few minutes, or add a model to the chain"),
    "server_error": ("the provider's own error", "try again in a few minutes, or add a model to the chain"),
    "timeout": ("no answer in time", "try again, or ask for less; is the server still starting?"),
    "connection": ("no connection", "check the network, base_url, and that the server runs"),
    "malformed": ("an answer that cannot be read", "try again; does this address speak the wire it should?"),
    "cut": ("the answer broke off", "try again, or add a model to the chain"),
    "quota": ("the account is used up", "add credit or raise the limit at the provider"),
    "credentials": ("the key was refused", "check the key, and set it anew"),
    "region": ("not served from here", "use a model that is served where you are"),
    "permission": ("the key may not use it", "ask for access at the provider, or use another model"),
    "model_gone": ("no such model", "check the model's name, and base_url where the provider is your own"),
    "not_installed": ("not installed", "install it, and run the cell again"),
    "no_key": ("no key", "set the variable and run the cell again"),
    "context_length": ("the prompt is too long for it", "shorten it, or add a model with more context"),
    "content_filter": ("refused by its content filter", "reword the prompt, or ask another model on purpose"),
    "bad_request": ("the request was refused", "change the parameter or the prompt that it names"),
    "benched": ("benched", "%llm unbench lifts it"),
    "deadline": ("cut by the deadline", "give a longer deadline"),
}
# What an unreachable provider's error advises, too: in a failure's table the remedy stands beside it.
_ADVICE_SAID = "; check the network and base_url"

# How a spec's missing key is told by the engine; what follows is the variable.
_NO_KEY_SAID = "no key: set "

_ALTHOUGH_BENCHED = "asked although benched: nothing else was left"

_UNKNOWN_REASON = ("failed", "read what it says, or add a model to the chain")

# What a state looks like, beside its words: shapes that every font has, so no pause sign.
_READY, _NO_KEY, _BENCHED = "●", "○", "■"
_MARKS = {"ready": _READY, "missing": _NO_KEY, "benched": _BENCHED}

_STYLE = """<style>
.llm-failover{--lf-ink:var(--jp-content-font-color1,currentColor);
--lf-line:var(--jp-border-color2,color-mix(in srgb,var(--lf-ink) 25%,transparent));
--lf-soft:var(--jp-layout-color2,color-mix(in srgb,var(--lf-ink) 7%,transparent));
color:var(--lf-ink);overflow-wrap:anywhere;max-width:100%;padding:0 var(--jp-code-padding,5px)}
.llm-failover .lf-small{font-size:.86em;line-height:1.5;
color:color-mix(in srgb,var(--lf-ink) 78%,transparent)}
.llm-failover .lf-small p{margin:0}
.llm-failover .lf-small b{font-weight:600}
.llm-failover .lf-foot{border-top:1px solid var(--lf-line);margin-top:.7em;padding-top:.35em}
.llm-failover .lf-stats span+span::before{content:"\\00b7";padding:0 .5em 0 .25em}
.llm-failover .lf-note{border-left:3px solid var(--jp-warn-color1,#b26a00);padding:.1em .7em;margin:.5em 0}
.llm-failover .lf-failed{border-left-color:var(--jp-error-color1,#c62828)}
.llm-failover details{margin:.2em 0 0}
.llm-failover summary{cursor:pointer;width:fit-content}
.llm-failover .lf-scroll{overflow-x:auto;margin:.4em 0}
.llm-failover .lf-scroll+p{margin-top:.8em}
.llm-failover .lf-table{border-collapse:collapse;table-layout:auto;width:100%;margin:0;
font-size:1em;line-height:1.45;color:inherit}
.llm-failover .lf-table tbody tr:nth-child(n){background:none}
.llm-failover .lf-table th,.llm-failover .lf-table td{text-align:left;vertical-align:top;white-space:normal;
padding:.3em .8em .3em 0;border:0;border-bottom:1px solid var(--lf-line);background:none}
.llm-failover .lf-table .lf-model{min-width:9em}
.llm-failover .lf-table th{font-weight:600;white-space:nowrap}
.llm-failover .lf-table .lf-state{padding-left:1.3em;text-indent:-1.3em}
.llm-failover .lf-table .lf-state span{display:inline-block;width:1em;text-indent:0}
.llm-failover .lf-table .lf-typed{width:45%}
.llm-failover .lf-table .lf-typed samp{white-space:pre}
.llm-failover samp{font-family:var(--jp-code-font-family,monospace);font-size:.94em;white-space:pre-wrap}
.llm-failover .lf-table .lf-name samp{white-space:nowrap}
.llm-failover .lf-answer{overflow-x:auto;overflow-y:hidden}
.llm-failover .lf-answer>:first-child{margin-top:.2em}
.llm-failover .lf-answer>:last-child{margin-bottom:0}
.llm-failover .lf-answer code{background:var(--lf-soft);padding:.1em .25em}
.llm-failover .lf-answer pre{background:var(--lf-soft);padding:.6em .8em;overflow-x:auto}
.llm-failover .lf-answer pre code{padding:0;background:none;white-space:pre}
.llm-failover .lf-live{white-space:pre-wrap;font-family:inherit;font-size:inherit;background:none;
color:inherit;margin:0;padding:0}
.llm-failover del{opacity:.75}
</style>"""


# Data


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
    """

    model: str
    why: str
    error: str = ""
    attempts: int = 0
    then: str = ""
    asked: bool = True
    benched: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an entry of the chain stands now.

    Args:
        model: The spec.
        bench: Its live bench.
        missing_key: The variable to set before it can be asked.
    """

    model: str
    bench: BenchedModel | None = None
    missing_key: str | None = None


@dataclass(frozen=True, slots=True)
class HelpPart:
    """A part of the help.

    Args:
        title: What is typed and what for, in one line.
        rows: Each thing to type, and what it does.
    """

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """One thing that can be asked.

    Args:
        cells: What to write and where it is, in the order of the listing's columns; last, how it stands.
        standing: Whether it can be asked now, lacks something, or is benched.
    """

    cells: tuple[str, ...]
    standing: Literal["ready", "missing", "benched"]


@dataclass(frozen=True, slots=True)
class Listing:
    """A table of what can be asked.

    Args:
        title: What is listed, in a word or two.
        columns: The heads of the columns.
        lines: Its lines, in order.
    """

    title: str
    columns: tuple[str, ...]
    lines: tuple[Listed, ...]


def failed_rows(attempts: Sequence[AttemptRecord], zone: tzinfo | None = None) -> tuple[Row, ...]:
    """One row an entry that was asked and left, in order, from the records of a call.

    Args:
        attempts: As in ``Response.attempts``.
        zone: For times of day; the machine's own unless given.
    """
    rows = []
    for position in dict.fromkeys(record.position for record in attempts):
        asked = [record for record in attempts if record.position == position and record.attempt]
        if asked and asked[-1].outcome != "ok":
            row = _failed_row(asked[-1], len(asked), zone)
            rows.append(replace(row, note=_notes(asked).get(row.model, "")))
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
        if any(record.attempt for record in records):
            if spec in benches:
                rows.append(Row(spec, _ALTHOUGH_BENCHED, benched=True))
            continue
        if any(record.reason == "no_key" for record in records):
            rows.append(Row(spec, _line(records[-1].error), asked=False))
        elif spec in benches:
            why = bench_words(benches[spec], now, zone)
            then = f"%llm unbench {spec} lifts it"
            rows.append(Row(spec, why, then=then, asked=False, benched=True))
        elif records:
            rows.append(Row(spec, "benched while the call ran", asked=False))
        else:
            rows.append(Row(spec, "its bench ran out, and another call is trying it", asked=False))
    return tuple(rows)


# An answer


def answer_html(response: Response, *, passed: Sequence[Row] = (), note: str = "") -> str:
    """An answer, and below it who gave it, who failed and why, how long it took and what it cost.

    Args:
        response: The answer.
        passed: As :func:`passed_rows` gives them.
        note: One line to stand before the footer.
    """
    failed, left_out = _marked(failed_rows(response.attempts), passed), _not_asked(passed)
    stats = "".join(f"<span>{_escaped(part)}</span> " for part in _stats(response))
    footer = f"<p>{_who_html(response, failed, passed)}</p><p class='lf-stats'>{stats}</p>"
    return _page(
        _answer(response.text),
        _note_html(note),
        f"<div class='lf-foot lf-small mathjax_ignore'>{footer}{_details(failed, left_out)}</div>",
    )


def answer_text(response: Response, *, passed: Sequence[Row] = (), note: str = "") -> str:
    """:func:`answer_html` for a terminal."""
    failed, left_out = _marked(failed_rows(response.attempts), passed), _not_asked(passed)
    lines = [response.text or "(the answer has no text)", ""]
    if note:
        lines.append(_line(note))
    lines += [f"-- {_who(response, failed, passed)}", f"   {' · '.join(_stats(response))}"]
    lines += [f"   {_row_text(row)}" for row in (*failed, *left_out)]
    return _joined(lines)


def partial_html(text: str, what: str, *, note: str = "") -> str:
    """The part of an answer that came before ``what`` happened, such as ``interrupted; partial answer``."""
    return _page(_answer(text) if text.strip() else "", _failed_note(what), _note_html(note))


def partial_text(text: str, what: str, *, note: str = "") -> str:
    """:func:`partial_html` for a terminal."""
    return _joined(filter(None, (text, f"-- {_line(what)}", _line(note))))


def interrupted_words(*, partial: bool, out: bool) -> str:
    """What an interrupted cell says.

    Args:
        partial: Whether some of an answer had come.
        out: Whether the cell has ``out=``, which would have been bound to the whole one.
    """
    what = "interrupted; partial answer" if partial else "interrupted before an answer came"
    return f"{what}; out= stays unbound" if out else what


# A failure


def failure_html(
    error: FailoverError,
    *,
    text: str = "",
    passed: Sequence[Row] = (),
    attempts: Sequence[AttemptRecord] = (),
    note: str = "",
) -> str:
    """Why no model answered: one row a model, with its reason and what to do.

    Args:
        error: What the call ended with.
        text: The part of an answer that had come.
        passed: As :func:`passed_rows` gives them.
        attempts: The call's records, for their notes.
        note: One line to stand below.
    """
    rows = _failure_rows(error, passed, attempts)
    table = _table(rows, "what to do") if rows else ""
    return _page(
        _answer(text) if text.strip() else "",
        _failed_note(_said_in_short(error, passed)),
        f"<div class='lf-small mathjax_ignore'>{table}</div>" if table else "",
        _note_html(note),
    )


def failure_text(
    error: FailoverError,
    *,
    text: str = "",
    passed: Sequence[Row] = (),
    attempts: Sequence[AttemptRecord] = (),
    note: str = "",
) -> str:
    """:func:`failure_html` for a terminal."""
    lines = [text, _said_in_short(error, passed), *_failure_table(error, passed, attempts), _line(note)]
    return _joined(filter(None, lines))


def failure_lines(
    error: FailoverError, *, passed: Sequence[Row] = (), attempts: Sequence[AttemptRecord] = ()
) -> list[str]:
    """A failure in a line of its own and a line a model: what a traceback would bury."""
    return [_headline(error), *_failure_table(error, passed, attempts)]


# While it runs


def left_words(event: FailoverEvent) -> str:
    """That a model was left, as long as the next one has not said anything."""
    return f"{event.model} {'is not installed' if _is_not_installed(event.error) else 'failed'}"


def live_html(text: str, *, abandoned: str = "", doing: str = "") -> str:
    """An answer that is still coming; cheap, since it is made many times a second.

    Args:
        text: What has come.
        abandoned: What had come from a model that failed; nothing replaces it yet.
        doing: What is being waited for.
    """
    parts = []
    if abandoned:
        parts.append(f"<div class='lf-live mathjax_ignore'><del>{_escaped(abandoned)}</del></div>")
    if text:
        parts.append(f"<div class='lf-live mathjax_ignore'>{_escaped(text)}</div>")
    if doing:
        parts.append(f"<p class='lf-small mathjax_ignore'>{_escaped(_line(doing))}</p>")
    return _page(*parts)


def live_text(text: str, *, abandoned: str = "", doing: str = "") -> str:
    """:func:`live_html` for a terminal."""
    mark = f"[abandoned] {abandoned}" if abandoned else ""
    return _joined(filter(None, (mark, text, _line(doing))))


# The status


def status_html(
    title: str, entries: Sequence[Standing], others: Sequence[BenchedModel], now: datetime, *, hint: str = ""
) -> str:
    """The default chain in its order, where each entry stands, and benches of models outside of it.

    Args:
        title: Which chain this is.
        entries: Its entries.
        others: Live benches of other models.
        now: The moment that the benches are measured from, aware.
        hint: What to do next, in one line.
    """
    rows = "".join(
        f"<tr><td>{place}</td><td class='lf-model'><samp>{_escaped(_line(model))}</samp></td>"
        f"<td class='lf-state'><span>{mark}</span> {_escaped(state)}</td></tr>"
        for place, model, mark, state in _status_rows(entries, others, now)
    )
    return _page(
        f"<div class='lf-small mathjax_ignore'><p><b>{_escaped(_line(title))}</b></p>"
        "<div class='lf-scroll'><table class='lf-table'><thead><tr><th scope='col'>place</th>"
        "<th scope='col'>model</th><th scope='col'>state</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
        f"<p>{_escaped(_line(hint))}</p></div>"
    )


def status_text(
    title: str, entries: Sequence[Standing], others: Sequence[BenchedModel], now: datetime, *, hint: str = ""
) -> str:
    """:func:`status_html` for a terminal."""
    rows = [
        f"  {place:>3} {mark} {_line(model)}: {state}"
        for place, model, mark, state in _status_rows(entries, others, now)
    ]
    return _joined(filter(None, [_line(title), *rows, _line(hint)]))


def bench_words(bench: BenchedModel, now: datetime, zone: tzinfo | None = None) -> str:
    """A bench in words, such as ``benched until 14:05:10, 4 min left``."""
    by = " by hand" if bench.manual else ""
    if bench.until is None:
        return f"benched{by} until lifted"
    left = (bench.until - now).total_seconds()
    return f"benched{by} until {_time(bench.until, now, zone)}, {_duration(left)} left"


# The help


def help_html(parts: Sequence[HelpPart], *, hint: str = "") -> str:
    """What can be typed, and what it does.

    Args:
        parts: The help's parts, in order.
        hint: One line to stand at the end.
    """
    tables = "".join(
        f"<p><b>{_escaped(part.title)}</b></p><div class='lf-scroll'><table class='lf-table'><tbody>"
        + "".join(
            f"<tr><td class='lf-typed'><samp>{_escaped(typed)}</samp></td><td>{_escaped(does)}</td></tr>"
            for typed, does in part.rows
        )
        + "</tbody></table></div>"
        for part in parts
    )
    return _page(f"<div class='lf-small mathjax_ignore'>{tables}<p>{_escaped(hint)}</p></div>")


def help_text(parts: Sequence[HelpPart], *, hint: str = "") -> str:
    """:func:`help_html` for a terminal."""
    width = max(len(typed) for part in parts for typed, _ in part.rows)
    blocks = [
        "\n".join([part.title, *(f"  {typed:<{width}}  {does}" for typed, does in part.rows)])
        for part in parts
    ]
    return plain("\n\n".join(filter(None, [*blocks, hint])))


# What there is to ask


def listing_html(listings: Sequence[Listing], *, hint: str = "") -> str:
    """What there is to ask, a table a kind, each line with a mark of whether it can be asked now.

    Args:
        listings: The tables, in order; those without a line are left out.
        hint: One line to stand at the end.
    """
    tables = "".join(_listing(listing) for listing in listings if listing.lines)
    return _page(f"<div class='lf-small mathjax_ignore'>{tables}<p>{_escaped(_line(hint))}</p></div>")


def listing_text(listings: Sequence[Listing], *, hint: str = "") -> str:
    """:func:`listing_html` for a terminal."""
    blocks = ["\n".join(_listing_lines(listing)) for listing in listings if listing.lines]
    return plain("\n\n".join(filter(None, [*blocks, _line(hint)])))


# Failures explained


def explained_html(title: str, rows: Sequence[Row]) -> str:
    """What each failure was and what to do, in the look of a failure's own table.

    Args:
        title: Whose failures these are.
        rows: One a failure: ``why`` is what it was, ``then`` what to do.
    """
    head = f"<p><b>{_escaped(_line(title))}</b></p>"
    return _page(f"<div class='lf-small mathjax_ignore'>{head}{_table(rows, 'what to do')}</div>")


def explained_text(title: str, rows: Sequence[Row]) -> str:
    """:func:`explained_html` for a terminal: two lines a failure."""
    whole = 2 * _LONGEST_ERROR  # it quotes an error among other words
    explained = [
        (f"{_line(row.model)}: {_line(row.why, whole)}", f"  {_line(row.then, whole)}") for row in rows
    ]
    return _joined([_line(title), *(line for lines in explained for line in lines)])


# Texts of others


def _line(text: str, longest: int = _LONGEST_ERROR) -> str:
    """A name or a message in one line that cannot pretend to be anything else, secrets masked."""
    line = " ".join(_DIRECTIONS.sub("", plain(redact(text))).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _escaped(text: str) -> str:
    return html.escape(plain(text), quote=True)


def _joined(lines: Iterable[str]) -> str:
    return plain("\n".join(lines))


def _page(*parts: str) -> str:
    return f"<div class='llm-failover'>{_STYLE}{''.join(parts)}</div>"


def _answer(text: str) -> str:
    body = markdown_html(text) if text.strip() else "<p>(the answer has no text)</p>"
    kind = "lf-answer mathjax_ignore" if reaches_out(body) else "lf-answer"
    return f"<div class='{kind}'>{body}</div>"


def _note_html(note: str) -> str:
    return f"<p class='lf-note lf-small'>{_escaped(_line(note))}</p>" if note else ""


def _failed_note(what: str) -> str:
    return f"<p class='lf-note lf-failed mathjax_ignore'>{_escaped(_line(what))}</p>"


# The footer's words


def _who(response: Response, failed: Sequence[Row], passed: Sequence[Row]) -> str:
    return f"answered by {_line(response.model)}{_after(response.model, failed, passed)}"


def _who_html(response: Response, failed: Sequence[Row], passed: Sequence[Row]) -> str:
    after = _after(response.model, failed, passed)
    return f"answered by <b>{_escaped(_line(response.model))}</b>{_escaped(after)}"


def _after(answering: str, failed: Sequence[Row], passed: Sequence[Row]) -> str:
    """Why it was this model and no earlier one."""
    forced = any(row.model == answering and row.asked and row.benched for row in passed)
    although = f"; {_ALTHOUGH_BENCHED}" if forced else ""
    return _before(failed, _not_asked(passed)) + although


def _before(failed: Sequence[Row], left_out: Sequence[Row]) -> str:
    """What became of the earlier models."""
    if len(failed) + len(left_out) > 3:
        return f" after {_count(len(failed), 'model')} failed and {len(left_out)} passed by"
    missing = [row for row in failed if _is_missing(row)]
    names = [f"{_line(row.model)} failed ({row.why})" for row in failed if row not in missing]
    names += [f"{_line(row.model)} was passed by ({row.why})" for row in left_out]
    after = f" after {_listed(names)}" if names else ""
    return after + "".join(f"; {_line(row.model)} is {row.why}: {row.error}" for row in missing)


def _not_asked(passed: Sequence[Row]) -> tuple[Row, ...]:
    return tuple(row for row in passed if not row.asked)


def _marked(rows: Iterable[Row], passed: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, those of models that were asked although they were benched marked as such."""
    benched = {row.model for row in passed if row.benched}
    return tuple(replace(row, benched=row.asked and row.model in benched) for row in rows)


def _stats(response: Response) -> list[str]:
    parts = []
    if response.first_token is not None:
        parts.append(f"first token {_duration(response.first_token)}")
    if response.latency is not None:
        parts.append(f"{_duration(response.latency)} in all")
    usage = response.usage
    if usage.input_tokens is not None or usage.output_tokens is not None:
        parts.append(f"tokens: {_tokens(usage.input_tokens)} in, {_tokens(usage.output_tokens)} out")
    if (why := _CUT_SHORT.get(response.finish_reason or "")) is not None:
        parts.append(why)
    notes = [_line(record.note) for record in response.attempts if record.outcome == "ok" and record.note]
    return [*parts, _cost(response), *notes]


def _cost(response: Response) -> str:
    if response.cost is not None:
        return f"cost {response.cost:.2g} USD"
    return "free" if response.model.startswith(_FREE) else "cost ?"


def _tokens(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _details(failed: Sequence[Row], passed: Sequence[Row]) -> str:
    if not failed and not passed:
        return ""
    parts = [f"{_count(len(failed), 'model')} failed"] if failed else []
    parts += [f"{_count(len(passed), 'model')} passed by"] if passed else []
    return f"<details><summary>{' and '.join(parts)}</summary>{_table((*failed, *passed), 'then')}</details>"


def _table(rows: Iterable[Row], then: str) -> str:
    body = "".join(
        f"<tr><td class='lf-model'><samp>{_escaped(_line(row.model))}</samp></td><td>{_why_html(row)}</td>"
        f"<td>{_escaped(_line(row.then))}</td></tr>"
        for row in rows
    )
    return (
        "<div class='lf-scroll'><table class='lf-table'><thead><tr><th scope='col'>model</th>"
        f"<th scope='col'>why</th><th scope='col'>{then}</th></tr></thead><tbody>{body}</tbody></table></div>"
    )


def _why_html(row: Row) -> str:
    times = f", {_count(row.attempts, 'attempt')}" if row.attempts else ""
    said = f"<br><samp>{_escaped(row.error)}</samp>" if _says_more(row) else ""
    although = f"<br>{_ALTHOUGH_BENCHED}" if row.asked and row.benched else ""
    note = f"<br>{_escaped(_line(row.note))}" if row.note else ""
    return f"{_escaped(row.why)}{times}{said}{although}{note}"


def _row_text(row: Row) -> str:
    times = f", {_count(row.attempts, 'attempt')}" if row.attempts else ""
    said = f": {row.error}" if _says_more(row) else ""
    how = "" if row.asked else "passed by, "
    although = f"; {_ALTHOUGH_BENCHED}" if row.asked and row.benched else ""
    note = f"; {_line(row.note)}" if row.note else ""
    then = f"; {_line(row.then)}" if row.then else ""
    return plain(f"{_line(row.model)}: {how}{row.why}{times}{said}{although}{note}{then}")


def _says_more(row: Row) -> bool:
    return bool(row.error) and row.error not in row.why


def _failed_row(last: AttemptRecord, attempts: int, zone: tzinfo | None) -> Row:
    then = _bench_after(last, zone)
    if last.reason == "not_installed":
        why, remedy = _missing(last.model, last.error)
        return Row(last.model, why, remedy, then=then)
    why = _reason(last.reason, last.status)
    return Row(last.model, why, _said(last.model, last.error), attempts, then)


def _notes(records: Iterable[AttemptRecord]) -> dict[str, str]:
    """What the records note of each model, each thing once."""
    parts: dict[str, dict[str, None]] = {}
    for record in records:
        parts.setdefault(record.model, {}).update(dict.fromkeys(filter(None, record.note.split("; "))))
    return {model: "; ".join(noted) for model, noted in parts.items()}


def _said(spec: str, text: str) -> str:
    """What an error says, without the name that stands before it in the row."""
    return _line(text).removeprefix(f"{_line(spec)}: ")


def _missing(spec: str, text: str) -> tuple[str, str]:
    """Why a model is not installed, in words that follow its name, and what to do."""
    words, remedy = _REASONS["not_installed"]
    said, colon, advice = _line(text).rpartition(": ")
    start = f"{_line(spec)} is "
    if colon and said.startswith(start + words):
        return said.removeprefix(start), advice
    return words, _said(spec, text) or remedy


def _is_missing(row: Row) -> bool:
    return row.why.startswith(_REASONS["not_installed"][0])


def _is_not_installed(error: Exception) -> bool:
    return isinstance(error, ProviderError) and error.reason == "not_installed"


def _reason(reason: str, status: int | None) -> str:
    words, _ = _REASONS.get(reason, _UNKNOWN_REASON)
    return f"{words}, HTTP {status}" if status is not None else words


def _bench_after(record: AttemptRecord, zone: tzinfo | None) -> str:
    if not record.benched:
        return "not benched"
    if math.isinf(record.benched_for):
        return "benched until lifted"
    until = record.time + timedelta(seconds=record.benched_for)
    return f"benched for {_duration(record.benched_for)}, until {_time(until, record.time, zone)}"


# A failure's words


def _headline(error: FailoverError) -> str:
    said = str(error)
    if isinstance(error, AllModelsFailed):
        said = _none_has_a_key(error) or error.message.partition("\n")[0]
    return f"{type(error).__name__}: {_line(said)}"


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
    """Above the table; the error's own name and message stand in the error output below it."""
    if not isinstance(error, AllModelsFailed):
        return _headline(error)
    if unasked := _none_has_a_key(error):
        return unasked
    asked = [row.asked for row in _failure_rows(error, passed)]
    left_out = f", {asked.count(False)} passed by" if not all(asked) else ""
    return f"no model answered: {asked.count(True)} failed{left_out}"


def _failure_table(
    error: FailoverError, passed: Sequence[Row], attempts: Sequence[AttemptRecord]
) -> list[str]:
    return [f"  {_row_text(row)}" for row in _failure_rows(error, passed, attempts)]


def _failure_rows(
    error: FailoverError, passed: Sequence[Row], attempts: Sequence[AttemptRecord] = ()
) -> list[Row]:
    notes = _notes(attempts)
    return [replace(row, note=notes.get(row.model, "")) for row in _unnoted_rows(error, passed)]


def _unnoted_rows(error: FailoverError, passed: Sequence[Row]) -> list[Row]:
    if isinstance(error, AllModelsFailed):
        asked = [_error_row(spec, e) for spec, e in zip(error.specs, error.exceptions, strict=False)]
        known = {row.model for row in asked}
        left_out = [row for row in _not_asked(passed) if row.model not in known]
        return [*_marked(asked, passed), *left_out]
    if isinstance(error, ProviderError):
        return [*_marked([_error_row(error.model, error)], passed)]
    return []


def _error_row(spec: str, error: Exception) -> Row:
    if not isinstance(error, ProviderError):
        words, remedy = _UNKNOWN_REASON
        return Row(spec, words, _line(f"{type(error).__name__}: {error}"), then=remedy)
    _, remedy = _REASONS.get(error.reason, _UNKNOWN_REASON)
    if _is_not_installed(error):
        why, remedy = _missing(spec, error.message)
        return Row(spec, why, then=remedy)
    said = _said(spec, error.message.removesuffix(_ADVICE_SAID))
    if error.reason in {"no_key", "benched"}:
        return Row(spec, said.removeprefix("passed by: "), then=remedy, asked=False)
    return Row(spec, _reason(error.reason, error.status), said, then=remedy)


# The listing's cells


def _listing(listing: Listing) -> str:
    head = "".join(f"<th scope='col'>{_escaped(column)}</th>" for column in listing.columns)
    body = "".join(_listing_row(line) for line in listing.lines)
    return (
        f"<p><b>{_escaped(_line(listing.title))}</b></p><div class='lf-scroll'><table class='lf-table'>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _listing_row(line: Listed) -> str:
    name, *others = line.cells[:-1]
    short = len(name) <= _SHORT_NAME
    kind, shown = ("lf-name", _escaped(_line(name))) if short else ("lf-model", _foldable(name))
    cells = f"<td class='{kind}'><samp>{shown}</samp></td>"
    cells += "".join(f"<td class='lf-model'><samp>{_foldable(other)}</samp></td>" for other in others)
    state = f"<span>{_MARKS[line.standing]}</span> {_foldable(line.cells[-1])}"
    return f"<tr>{cells}<td class='lf-state'>{state}</td></tr>"


def _foldable(text: str) -> str:
    """A name, an address or a variable, which a narrow column folds between its parts rather than within."""
    return "<wbr>".join(map(_escaped, _PARTS.findall(_line(text))))


def _listing_lines(listing: Listing) -> list[str]:
    named = [[_line(cell) for cell in line.cells[:-1]] for line in listing.lines]
    widths = [max(map(len, column)) for column in zip(*named, strict=True)]
    return [
        _line(listing.title),
        *(
            "  ".join(
                [
                    f"  {_MARKS[line.standing]}",
                    *(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)),
                    _line(line.cells[-1]),
                ]
            )
            for line, cells in zip(listing.lines, named, strict=True)
        ),
    ]


# The status's words


def _status_rows(
    entries: Sequence[Standing], others: Sequence[BenchedModel], now: datetime
) -> list[tuple[str, str, str, str]]:
    """Place, model, mark and state; a model outside of the chain has no place in it."""
    rows = [(str(place), entry.model, *_state(entry, now)) for place, entry in enumerate(entries, 1)]
    return rows + [
        ("-", bench.model, _BENCHED, f"{bench_words(bench, now)}; not in this chain") for bench in others
    ]


def _state(entry: Standing, now: datetime) -> tuple[str, str]:
    bench = bench_words(entry.bench, now) if entry.bench is not None else ""
    if entry.missing_key is not None:
        return _NO_KEY, "; ".join(filter(None, (f"no key: set {entry.missing_key}", bench)))
    return (_BENCHED, bench) if bench else (_READY, "ready")


# Numbers


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 0.0095 else "under 0.01 s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5_970:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def _time(moment: datetime, now: datetime, zone: tzinfo | None) -> str:
    """A time of day, with its date where it is not soon."""
    soon = abs(moment - now) < timedelta(hours=18)
    return f"{moment.astimezone(zone):{'%H:%M:%S' if soon else '%Y-%m-%d %H:%M'}}"
