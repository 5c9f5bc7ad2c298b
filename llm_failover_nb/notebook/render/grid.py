"""Tables: columns on a wide page, cards on a narrow one. No words here; the cells come as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llm_failover_nb.notebook.render.page import LONGEST_ERROR, escaped, foldable, one_line

__all__ = ["Cell", "grid", "name_cell", "text_cell"]

# A name up to this long, in characters, stands in one line however narrow the column.
_SHORT_NAME = 24


class Cell(NamedTuple):
    """A cell: its HTML, and its classes in `style.py`."""

    html: str
    kind: str = ""


def name_cell(name: str) -> Cell:
    """A name, an address or a variable: a short one is never folded, a long one between its parts."""
    line = one_line(name)
    if len(line) <= _SHORT_NAME:
        return Cell(f"<samp>{escaped(line)}</samp>", "lf-name")
    return Cell(f"<samp>{foldable(line)}</samp>", "lf-model")


def text_cell(text: str, longest: int = LONGEST_ERROR) -> Cell:
    """A sentence."""
    return Cell(escaped(one_line(text, longest)))


def grid(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table.

    Args:
        columns: The heads, which a card repeats before each of its lines but the first; without any, there
            is no line of heads.
        rows: The cells of each row, as many as there are heads.
    """
    heads = [escaped(one_line(column)) for column in columns]
    head = "".join(f"<th scope='col'>{column}</th>" for column in heads)
    thead = f"<thead><tr>{head}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{_cells(heads, row)}</tr>" for row in rows)
    return f"<div class='lf-box'><table class='lf-table'>{thead}<tbody>{body}</tbody></table></div>"


def _cells(heads: Sequence[str], row: Sequence[Cell]) -> str:
    labels = ["", *heads[1:], *[""] * len(row)]
    return "".join(_cell(cell, label) for cell, label in zip(row, labels, strict=False))


def _cell(cell: Cell, label: str) -> str:
    kind = f" class='{cell.kind}'" if cell.kind else ""
    labelled = f" data-label='{label}'" if label and cell.html else ""
    return f"<td{kind}{labelled}>{cell.html}</td>"
