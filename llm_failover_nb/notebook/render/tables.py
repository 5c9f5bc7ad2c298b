"""What a command shows: the chain's status, what there is to ask, the help, failures explained, any table.

Rows may have a mark, always beside words that say the same; a legend below says what the marks stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from llm_failover_nb.engine.bench import BenchedModel
from llm_failover_nb.notebook.render.grid import Cell, grid, name_cell, text_cell
from llm_failover_nb.notebook.render.page import (
    LONGEST_ERROR,
    escaped,
    foldable,
    joined,
    one_line,
    small,
    whole_page,
)
from llm_failover_nb.notebook.render.rows import Row, rows_table
from llm_failover_nb.notebook.render.words import bench_words
from llm_failover_nb.notebook.text import plain

__all__ = [
    "HelpPart",
    "Listed",
    "Listing",
    "Mark",
    "Standing",
    "Standings",
    "TableRow",
    "explained_html",
    "explained_text",
    "help_html",
    "help_text",
    "listing_html",
    "listing_text",
    "status_html",
    "status_text",
    "table_html",
    "table_text",
]

Mark = Literal["", "ok", "attention", "missing"]
"""How a row of a table stands; ``""`` where there is nothing to say of it."""

Standings = Literal["ready", "unchecked", "missing", "benched"]
"""How something that can be asked stands; ``unchecked`` is what nobody has looked for."""

# What a state looks like and what it is called: shapes that every font has, so no pause sign.
_MARKS: Mapping[str, tuple[str, str]] = {
    "ready": ("●", "ready"),
    "ok": ("●", "in order"),
    "unchecked": ("◇", "ready if its server runs, which is not checked"),
    "attention": ("▲", "look at this"),
    "missing": ("○", "something is missing"),
    "benched": ("■", "benched"),
}

# A column of text is no wider than this, so that one long cell does not push all others away.
_WIDEST = 40

# What we found ourselves, such as the versions of all packages, is not cut as an error of others is.
_LONGEST_FOUND = 4 * LONGEST_ERROR


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an entry of the chain stands now.

    Args:
        model: The spec.
        bench: Its live bench.
        missing_key: The variable to set before it can be asked.
        unchecked: Whether it is served on this machine by a program of its own, which may not be running.
    """

    model: str
    bench: BenchedModel | None = None
    missing_key: str | None = None
    unchecked: bool = False


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
        standing: Whether it can be asked now, can if its own server runs, lacks something, or is benched.
    """

    cells: tuple[str, ...]
    standing: Standings


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


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table.

    Args:
        cells: Its texts, in the order of the columns; the first is a name.
        mark: How it stands.
    """

    cells: tuple[str, ...]
    mark: Mark = ""


# Any table


def table_html(title: str, columns: Sequence[str], rows: Sequence[TableRow], *, hint: str = "") -> str:
    """A table.

    Args:
        title: What it shows, in a few words.
        columns: The heads.
        rows: Its rows, in order; their marks stand before their first cell.
        hint: One line to stand at the end.
    """
    cells = [
        [
            _marked(row.mark, name_cell(row.cells[0])),
            *(text_cell(text, _LONGEST_FOUND) for text in row.cells[1:]),
        ]
        for row in rows
    ]
    legend = _legend_html(row.mark for row in rows)
    return whole_page(small(_title(title), grid(columns, cells), legend, _hint(hint)))


def table_text(title: str, columns: Sequence[str], rows: Sequence[TableRow], *, hint: str = "") -> str:
    """:func:`table_html` for a terminal."""
    signs = [_sign(row.mark) for row in rows]
    lines = _aligned([("", columns), *zip(signs, (row.cells for row in rows), strict=True)])
    legend = _legend_text(row.mark for row in rows)
    return joined(filter(None, [one_line(title), *lines, legend, one_line(hint)]))


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
    rows = _status_rows(entries, others, now)
    cells = [
        (Cell(place, "lf-place"), name_cell(model), _marked(mark, text_cell(state)))
        for place, model, mark, state in rows
    ]
    table = grid(("place", "model", "state"), cells)
    return whole_page(small(_title(title), table, _hint(hint)))


def status_text(
    title: str, entries: Sequence[Standing], others: Sequence[BenchedModel], now: datetime, *, hint: str = ""
) -> str:
    """:func:`status_html` for a terminal."""
    rows = [
        f"  {place:>3} {_sign(mark)} {one_line(model)}: {state}"
        for place, model, mark, state in _status_rows(entries, others, now)
    ]
    return joined(filter(None, [one_line(title), *rows, one_line(hint)]))


# The help


def help_html(parts: Sequence[HelpPart], *, hint: str = "") -> str:
    """What can be typed, and what it does.

    Args:
        parts: The help's parts, in order.
        hint: One line to stand at the end.
    """
    tables = "".join(_title(part.title) + grid((), map(_help_row, part.rows)) for part in parts)
    return whole_page(small(tables, _hint(hint)))


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
    shown = [listing for listing in listings if listing.lines]
    tables = "".join(
        _title(listing.title) + grid(listing.columns, map(_listing_row, listing.lines)) for listing in shown
    )
    legend = _legend_html(line.standing for listing in shown for line in listing.lines)
    return whole_page(small(tables, legend, _hint(hint)))


def listing_text(listings: Sequence[Listing], *, hint: str = "") -> str:
    """:func:`listing_html` for a terminal."""
    shown = [listing for listing in listings if listing.lines]
    blocks = ["\n".join([one_line(listing.title), *_listing_lines(listing)]) for listing in shown]
    legend = _legend_text(line.standing for listing in shown for line in listing.lines)
    return plain("\n\n".join(filter(None, [*blocks, "\n".join(filter(None, (legend, one_line(hint))))])))


# Failures explained


def explained_html(title: str, rows: Sequence[Row]) -> str:
    """What each failure was and what to do, in the look of a failure's own table.

    Args:
        title: Whose failures these are.
        rows: One a failure: ``why`` is what it was, ``then`` what to do.
    """
    return whole_page(small(_title(title), rows_table(rows, "what to do")))


def explained_text(title: str, rows: Sequence[Row]) -> str:
    """:func:`explained_html` for a terminal: two lines a failure."""
    whole = 2 * LONGEST_ERROR  # it quotes an error among other words
    explained = [
        (f"{one_line(row.model)}: {one_line(row.why, whole)}", f"  {one_line(row.then, whole)}")
        for row in rows
    ]
    return joined([one_line(title), *(line for lines in explained for line in lines)])


# Marks


def _sign(mark: str) -> str:
    return _MARKS[mark][0] if mark else " "


def _marked(mark: str, cell: Cell) -> Cell:
    """The cell with its row's mark before it."""
    if not mark:
        return cell
    return Cell(f"<span>{_sign(mark)}</span> {cell.html}", f"lf-mark {cell.kind}".rstrip())


def _legend(marks: Iterable[str]) -> list[str]:
    """What the marks that are there stand for, in a fixed order."""
    used = set(marks)
    return [f"{sign} {words}" for mark, (sign, words) in _MARKS.items() if mark in used]


def _legend_html(marks: Iterable[str]) -> str:
    legend = "".join(f"<span>{words}</span> " for words in _legend(marks))
    return f"<p class='lf-legend'>{legend}</p>" if legend else ""


def _legend_text(marks: Iterable[str]) -> str:
    return "   ".join(_legend(marks))


# Rows


def _title(title: str) -> str:
    return f"<p><b>{escaped(one_line(title))}</b></p>"


def _hint(hint: str) -> str:
    return f"<p>{escaped(one_line(hint))}</p>" if hint else ""


def _help_row(row: tuple[str, str]) -> tuple[Cell, Cell]:
    typed, does = row
    return Cell(f"<samp>{escaped(typed)}</samp>", "lf-typed"), Cell(escaped(does))


def _listing_row(line: Listed) -> list[Cell]:
    name, *others = line.cells[:-1]
    state = Cell(foldable(line.cells[-1]))
    return [
        name_cell(name),
        *(Cell(f"<samp>{foldable(other)}</samp>", "lf-model") for other in others),
        _marked(line.standing, state),
    ]


def _listing_lines(listing: Listing) -> list[str]:
    return _aligned([(_sign(line.standing), line.cells) for line in listing.lines])


def _aligned(rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Lines in columns, each with its mark; the last column, and what is too long, is as long as it is."""
    texts = [[one_line(cell, _LONGEST_FOUND) for cell in cells] for _, cells in rows]
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            [
                f"  {mark:1}",
                *(f"{cell:<{width}}" for cell, width in zip(cells[:-1], widths[:-1], strict=True)),
                cells[-1],
            ]
        ).rstrip()
        for (mark, _), cells in zip(rows, texts, strict=True)
    ]


def _status_rows(
    entries: Sequence[Standing], others: Sequence[BenchedModel], now: datetime
) -> list[tuple[str, str, str, str]]:
    """Place, model, mark and state; a model outside of the chain has no place in it."""
    rows = [(str(place), entry.model, *_state(entry, now)) for place, entry in enumerate(entries, 1)]
    return rows + [
        ("-", bench.model, "benched", f"{bench_words(bench, now)}; not in this chain") for bench in others
    ]


def _state(entry: Standing, now: datetime) -> tuple[str, str]:
    bench = bench_words(entry.bench, now) if entry.bench is not None else ""
    if entry.missing_key is not None:
        return "missing", "; ".join(filter(None, (f"no key: set {entry.missing_key}", bench)))
    if bench:
        return "benched", bench
    if entry.unchecked:
        return "unchecked", "not checked: whether its server runs is seen when it is asked"
    return "ready", "ready"
