"""DataFrames and Series, of pandas and polars, as Markdown tables. Neither library is imported here.

Only the rows and columns that are shown are read: a frame of a million rows costs what its head costs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cell", "Table", "markdown_table", "table_of"]

# Rows and columns to start from; more would say little about a frame and crowd the prompt out.
_ROWS = 60
_COLUMNS = 20
_FEW_ROWS = 10
_FEW_COLUMNS = 4
_LEAST_ROWS = 2
# Characters of a cell.
_CELL = 80

Cell = Callable[[object, int | None], tuple[str, bool]]
"""The text of a value, in at most so many characters (``None``: in full), and whether it is cut."""

_MIDNIGHT = re.compile(r"\d{4}-\d\d-\d\d 00:00:00")


class Table(Protocol):
    """What a table of any library is read through; positions count from 0."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    def head(self, columns: Sequence[int]) -> list[object]:
        """The labels of these columns, those of the index included."""
        ...

    def body(self, rows: Sequence[int] | None, columns: Sequence[int]) -> list[list[object]]:
        """The values column by column, those of the index first; all rows where ``rows`` is None."""
        ...


@dataclass(frozen=True, slots=True)
class _Pandas:
    frame: pd.DataFrame

    @property
    def height(self) -> int:
        return self.frame.shape[0]

    @property
    def width(self) -> int:
        return self.frame.shape[1]

    def head(self, columns: Sequence[int]) -> list[object]:
        names = list(self.frame.index.names) if self._shows_index else []
        labels = self.frame.columns.take(list(columns)).tolist()
        return [*("" if name is None else name for name in names), *map(_label, labels)]

    def body(self, rows: Sequence[int] | None, columns: Sequence[int]) -> list[list[object]]:
        index = self.frame.index if rows is None else self.frame.index.take(list(rows))
        levels = [index.get_level_values(level).tolist() for level in range(index.nlevels)]
        series = (self.frame.iloc[:, column] for column in columns)
        taken = (one if rows is None else one.iloc[list(rows)] for one in series)
        return [*(levels if self._shows_index else []), *(one.tolist() for one in taken)]

    @property
    def _shows_index(self) -> bool:
        """A plain range says no more than the order of the rows, unless it has a name."""
        index = self.frame.index
        plain = type(index).__name__ == "RangeIndex" and index.name is None
        return not (plain and (len(index) == 0 or (index[0] == 0 and index[-1] == len(index) - 1)))


class _PolarsFrame(Protocol):
    @property
    def columns(self) -> list[str]: ...
    @property
    def height(self) -> int: ...
    def row(self, index: int) -> tuple[object, ...]: ...
    def rows(self) -> list[tuple[object, ...]]: ...


@dataclass(frozen=True, slots=True)
class _Polars:
    frame: _PolarsFrame

    @property
    def height(self) -> int:
        return self.frame.height

    @property
    def width(self) -> int:
        return len(self.frame.columns)

    def head(self, columns: Sequence[int]) -> list[object]:
        names = self.frame.columns
        return [names[column] for column in columns]

    def body(self, rows: Sequence[int] | None, columns: Sequence[int]) -> list[list[object]]:
        taken = self.frame.rows() if rows is None else [self.frame.row(row) for row in rows]
        return [[row[column] for row in taken] for column in columns]


def table_of(value: object) -> Table | None:
    """The value as a table; ``None`` where it is neither a DataFrame nor a Series."""
    # Without the library in sys.modules, no value can be its.
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        if isinstance(value, pandas.DataFrame):
            return _Pandas(cast("pd.DataFrame", value))
        if isinstance(value, pandas.Series):
            series = cast("pd.Series[str]", value)
            return _Pandas(series.to_frame("value" if series.name is None else series.name))
    if type(value).__module__.partition(".")[0] == "polars" and type(value).__name__ == "DataFrame":
        return _Polars(cast("_PolarsFrame", value))
    return None


def markdown_table(table: Table, *, budget: int | None, full: str, cell: Cell) -> str:
    """A Markdown table in GitHub's form.

    Args:
        table: What is shown.
        budget: The most characters; ``None`` shows everything. Rows and columns are left out of the
            middle, with an ``…`` in their place, and a line below says how many are shown.
        full: What the user writes to insert everything.
        cell: Makes the text of one value.
    """
    height, width = table.height, table.width
    if not width:
        return f"a table of {_many(height, 'row')} and no columns"
    if budget is None:
        everything = _Grid(table, list(range(width)), None, cell)
        return everything.text(height, width, full)
    grid = _Grid(table, _ends(width, _COLUMNS), _ends(height, _ROWS), cell)
    rows, columns = min(height, _ROWS), min(width, _COLUMNS)
    text = grid.text(rows, columns, full)
    while len(text) > budget and (rows > _LEAST_ROWS or columns > 1):
        rows, columns = _smaller(rows, columns)
        text = grid.text(rows, columns, full)
    if len(text) <= budget:
        return text
    return f"a table of {_many(height, 'row')} and {_many(width, 'column')}; {full} inserts it"[:budget]


class _Grid:
    """The cells of a table that may be shown, as text; :meth:`text` draws those that fit."""

    def __init__(self, table: Table, columns: list[int], rows: list[int] | None, cell: Cell) -> None:
        room = None if rows is None else _CELL
        self._height, self._width = table.height, table.width
        head = [cell(label, room) for label in table.head(columns)]
        body = [[cell(value, room) for value in column] for column in table.body(rows, columns)]
        self._cut = any(cut for column in (head, *body) for _, cut in column)
        self._head = [_escaped(text) for text, _ in head]
        self._body = [_without_midnight([_escaped(text) for text, _ in column]) for column in body]
        self._index = len(head) - len(columns)

    def text(self, rows: int, columns: int, full: str) -> str:
        """The first and last ``rows`` and ``columns``, and a line about those left out."""
        taken = _ends(len(self._head) - self._index, columns)
        places = [*range(self._index), *(place + self._index for place in taken)]
        column_gap = self._index + _half(columns) if columns < self._width else None
        row_gap = _half(rows) if rows < self._height else None
        lines = [[self._head[place] for place in places], ["---"] * len(places)]
        shown = _ends(len(self._body[0]), rows)
        lines += [[self._body[place][row] for place in places] for row in shown]
        if row_gap is not None:
            lines.insert(row_gap + 2, ["…"] * len(places))
        if column_gap is not None:
            for line in lines:
                line.insert(column_gap, "---" if line[0] == "---" else "…")
        drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        note = self._note(rows, columns, full)
        return f"{drawn}\n\n{note}" if note else drawn

    def _note(self, rows: int, columns: int, full: str) -> str:
        shown = [f"{rows:,} of {_many(self._height, 'row')}"] if rows < self._height else []
        if columns < self._width:
            shown.append(f"{columns:,} of {_many(self._width, 'column')}")
        if shown:
            return f"{', '.join(shown)}; {full} inserts all"
        if self._cut:
            return f"long cells are cut; {full} inserts all"
        return "" if self._height else "0 rows"


def _smaller(rows: int, columns: int) -> tuple[int, int]:
    """Rows go first, but neither to nothing while there are many of the other."""
    if rows > _FEW_ROWS or columns <= _FEW_COLUMNS:
        if rows > _LEAST_ROWS:
            return max(_LEAST_ROWS, rows * 3 // 4), columns
        return rows, max(1, columns * 3 // 4)
    return rows, max(_FEW_COLUMNS, columns * 3 // 4)


def _ends(size: int, most: int) -> list[int]:
    """The first and the last positions of so many, at most ``most``."""
    if size <= most:
        return list(range(size))
    return [*range(_half(most)), *range(size - most + _half(most), size)]


def _half(count: int) -> int:
    return (count + 1) // 2


def _label(label: object) -> object:
    """The levels of a column's label as one text."""
    return " / ".join(map(str, label)) if isinstance(label, tuple) else label


def _escaped(text: str) -> str:
    """Fit for a cell, which a pipe or the end of a line would end."""
    return text.replace("|", "\\|").replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "\\n")


def _without_midnight(cells: list[str]) -> list[str]:
    """Dates without their time of day, where no row has another than midnight."""
    times = [cell for cell in cells if cell != "NaT"]
    if times and all(map(_MIDNIGHT.fullmatch, times)):
        return [cell.removesuffix(" 00:00:00") for cell in cells]
    return cells


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
