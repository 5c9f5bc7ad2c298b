"""What a value of the notebook is as text in a prompt: whole where it is text, summarised where it is large.

Reads values and changes none: no iterator is used up, and nothing of pandas, numpy or torch is imported.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, cast
from uuid import UUID

from llm_failover_nb.engine.secret import MASK, Secret, redact
from llm_failover_nb.engine.types import Response
from llm_failover_nb.notebook.value_tables import markdown_table, table_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUDGET", "Block", "as_json", "as_text", "full"]

BUDGET = 8_000
"""The most characters of one value: about 2,000 tokens, a quarter of the smallest context in common use
(8,192 tokens), so that a few values, the question and the answer fit."""

# What `full` writes of nested data at most; ten times what fits the largest context there is.
_ALL = 20_000_000
# Deeper data is nobody's to read, and Python's own stack ends at a thousand calls.
_DEPTH = 100
# Characters that a part of a larger value gets at least; less says nothing.
_LEAST = 24
_FIRST = 20  # values of an array
# Above this, reading a whole array for its mean would take seconds.
_MOST_MEASURED = 10_000_000
_MOST_SORTED = 100_000

# An expression that a filter can follow as it stands.
_SIMPLE = re.compile(r"\w+(?:\.\w+|\([^()]*\)|\[[^\[\]]*\])*")


class Block(str):
    """Text that stands on lines of its own, such as a table."""

    __slots__ = ()


def as_text(value: object, *, budget: int | None = BUDGET, expression: str = "") -> str:
    """The text that stands for a value in a prompt.

    A str is itself, whole: it is the user's document. ``None``, numbers and dates are what ``print`` makes
    of them. A DataFrame or Series is a Markdown table, an array its shape, type, range and first values; a
    list, dict, set or dataclass is written as JSON is, a :class:`Response` is its answer, a
    :class:`Secret` a mask.

    Args:
        value: Anything; what cannot be shown is named by its type, nothing is raised.
        budget: The most characters of what is no str; ``None`` inserts everything.
        expression: What the user wrote to get the value, for the line that says how to insert all of it.

    >>> as_text({"planet": "Mars", "moons": ["Phobos", "Deimos"]})
    '{"planet": "Mars", "moons": ["Phobos", "Deimos"]}'
    """
    try:
        return _text(value, budget, _hint(expression))
    except Exception as error:  # noqa: BLE001  # any object may raise anything from its repr
        return _unreadable(value, error)


def full(value: object) -> str:
    """The text of a value with nothing left out: the filter ``full``."""
    return as_text(value, budget=None)


def as_json(value: object, indent: int | None = None) -> str:
    """A value as JSON, whole: the filter ``json``.

    A DataFrame is a list of records, an array nested lists, a dataclass an object; NaN is null, a Secret a
    mask.

    Raises:
        TypeError: When something in it has no form in JSON.

    >>> as_json({"moons": ("Phobos", "Deimos")})
    '{"moons": ["Phobos", "Deimos"]}'
    """
    return json.dumps(_json_ready(value), ensure_ascii=False, indent=indent)


def _text(value: object, budget: int | None, hint: str) -> str:
    if isinstance(value, str) and not isinstance(value, Enum):
        return value if isinstance(value, Block) else str(value)
    if isinstance(value, Response):
        return value.text
    if isinstance(value, Secret):
        return MASK
    if (table := table_of(value)) is not None:
        return Block(markdown_table(table, budget=budget, full=hint, cell=_cell))
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_text(value, budget)
    if _is_array(value):
        return _array_text(value, budget, hint)
    if _container(value, top=True) is not None:
        return _data_text(value, budget, hint)
    return _cut_text(_plain_text(value), budget, hint)


def _hint(expression: str) -> str:
    source = " ".join(expression.split())
    if not source or len(source) > 60:
        return "{{ … | full }}"
    return f"{{{{ {source if _SIMPLE.fullmatch(source) else f'({source})'} | full }}}}"


def _unreadable(value: object, error: Exception) -> str:
    return f"({_named(value)} whose text cannot be made: {type(error).__name__})"


def _named(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def _cut_text(text: str, budget: int | None, hint: str) -> str:
    """The beginning and the end of a text, and how much is left out between them."""
    if budget is None or len(text) <= budget:
        return text
    note = f"\n… {len(text) - budget:,} characters left out; {hint} inserts all …\n"
    room = max(0, budget - len(note))
    end = room // 3
    return f"{text[: room - end]}{note}{text[len(text) - end :]}"[:budget]


# One value


def _plain_text(value: object) -> str:
    if isinstance(value, int):
        return _whole_number(value)
    if isinstance(value, BaseException):
        return _exception_text(value)
    if not _has_own_text(value):
        return _named(value)
    return str(value)


def _whole_number(value: int) -> str:
    # Python refuses to write thousands of digits in decimal.
    return str(value) if value.bit_length() < 10_000 else hex(value)


def _exception_text(error: BaseException) -> str:
    name, text = type(error).__name__, str(error)
    return redact(f"{name}: {text}" if text else name)


def _has_own_text(value: object) -> bool:
    """Whether its text says more than a type and an address."""
    kind = type(value)
    return kind.__repr__ is not object.__repr__ or kind.__str__ is not object.__str__


def _bytes_text(value: bytes | bytearray | memoryview, budget: int | None) -> str:
    # Four characters a byte at worst.
    most = len(value) if budget is None else max(0, (budget - 40) // 4)
    shown = repr(bytes(value[:most]))
    return shown if len(value) <= most else f"{shown} … {len(value) - most:,} more bytes"[:budget]


# Arrays


class _Array(Protocol):
    """What numpy, torch and their like have in common."""

    @property
    def shape(self) -> object: ...
    @property
    def dtype(self) -> object: ...
    def __getitem__(self, key: int | slice, /) -> _Array: ...
    def reshape(self, *shape: int) -> _Array: ...
    def astype(self, kind: type, /) -> _Array: ...


def _is_array(value: object) -> bool:
    if isinstance(value, type):
        return False
    shape = getattr(value, "shape", None)
    return isinstance(shape, tuple) and shape != () and hasattr(value, "dtype") and hasattr(value, "reshape")


def _array_text(value: object, budget: int | None, hint: str) -> str:
    if budget is None and hasattr(value, "tolist"):
        return _data_text(_listed(value), None, hint)
    summary = _summary(value)
    first = _first_values(value)
    size = _size(value)
    what = "values" if size <= len(first) else f"first {len(first)} of {size:,} values"
    text = f"{summary}\n{what}: {_cut(first, (budget or BUDGET) // 2)}"
    text += f"\n{hint} inserts all" if size > len(first) else ""
    return _cut_text(text, budget, hint)


def _listed(array: object) -> object:
    """The values in Python's own types."""
    # Of nanoseconds, numpy makes whole numbers.
    values = cast("_Array", array).astype(str) if _is_of_time(array) else array
    listed: object = getattr(values, "tolist", None) or getattr(values, "to_list", None)
    return cast("Callable[[], object]", listed)()


def _is_of_time(array: object) -> bool:
    return getattr(getattr(array, "dtype", None), "kind", "") in {"M", "m"}


def _summary(value: object) -> str:
    array = cast("_Array", value)
    shape = " x ".join(map(str, cast("tuple[int, ...]", array.shape)))
    measured = _measures(value)
    return f"{type(value).__name__} of shape {shape}, {array.dtype}{f', {measured}' if measured else ''}"


def _size(value: object) -> int:
    return math.prod(cast("tuple[int, ...]", cast("_Array", value).shape))


def _first_values(value: object) -> list[object]:
    array = cast("_Array", value)
    try:
        # The first of each axis, so that only the head of a large one is copied.
        head = array
        while len(cast("tuple[int, ...]", head.shape)) > 1 and _size(head[:1]) >= _FIRST:
            head = head[0]
        flat = head[:_FIRST].reshape(-1)[:_FIRST]
        return cast("list[object]", _listed(flat))
    except Exception:  # noqa: BLE001  # somebody's array, which need not do all that numpy's does
        return []


def _measures(value: object) -> str:
    """The least, the mean and the greatest value, as far as the array can say."""
    if not 0 < _size(value) <= _MOST_MEASURED:
        return ""
    numbers, lost = _finite(value)
    parts = [part for name in ("min", "mean", "max") if (part := _measure(numbers, name))]
    return ", ".join([*parts, f"{lost:,} not finite"] if lost else parts)


def _measure(numbers: object, name: str) -> str:
    try:
        measured: object = getattr(numbers, name)()
        return f"{name} {measured if _is_of_time(numbers) else _number(float(cast('float', measured)))}"
    except Exception:  # noqa: BLE001  # text, complex numbers, or an array that has no mean
        return ""


def _finite(value: object) -> tuple[object, int]:
    """A numpy array without its NaNs and infinities, and how many these were; others as they are."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray) or value.dtype.kind != "f":
        return value, 0
    finite = value[numpy.isfinite(value)].astype("float64")
    lost = int(value.size - finite.size)
    return (finite if finite.size else None), lost


def _number(value: float) -> str:
    """Ten digits: what a model can use of a float, without 0.30000000000000004."""
    exact = _exact(value)
    return exact if len(exact) <= 12 else f"{value:.10g}"


def _exact(value: float) -> str:
    return "NaN" if math.isnan(value) else float.__repr__(value)


# Lists, dicts and the like


@dataclasses.dataclass(frozen=True, slots=True)
class _Container:
    """A value that holds others: how it opens and closes, and what is in it, with its label if it has one."""

    opening: str
    closing: str
    size: int
    entries: Iterable[tuple[object, object]]
    labelled: bool = True


def _container(value: object, *, top: bool = False) -> _Container | None:
    if isinstance(value, str | bytes | bytearray | memoryview | Enum | Response | Secret):
        return None
    if isinstance(value, Mapping):
        return _Container("{", "}", len(value), cast("Mapping[object, object]", value).items())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.repr]
        return _of_object(value, names)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _of_object(value, cast("tuple[str, ...]", value._fields))
    if isinstance(value, AbstractSet) and not isinstance(value, KeysView):
        return _listing("{", "}", len(value), _in_order(value))
    if isinstance(value, Sequence | KeysView | ValuesView) or _is_pandas_index(value):
        items = cast("Sequence[object]", value)
        return _listing("[", "]", len(items), items)
    if top and not _has_own_text(value) and (names := _public_names(value)):
        return _of_object(value, names)
    return None


def _listing(opening: str, closing: str, size: int, items: Iterable[object]) -> _Container:
    return _Container(opening, closing, size, ((None, item) for item in items), labelled=False)


def _of_object(value: object, names: Sequence[str]) -> _Container:
    entries = ((name, getattr(value, name)) for name in names)
    return _Container(f"{type(value).__name__} {{", "}", len(names), entries)


def _public_names(value: object) -> list[str]:
    return [name for name in getattr(value, "__dict__", ()) if not name.startswith("_")]


def _in_order(items: AbstractSet[object]) -> Iterable[object]:
    """Sorted where that can be done, so that the same set makes the same prompt in the next kernel."""
    if len(items) <= _MOST_SORTED:
        try:
            return sorted(items)  # type: ignore[type-var]  # what has no order raises
        except Exception:  # noqa: BLE001  # somebody's comparison
            return items
    return items


def _is_pandas_index(value: object) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.Index)


def _data_text(value: object, budget: int | None, hint: str) -> str:
    room = _ALL if budget is None else budget
    whole = _whole(value, room)
    if whole is not None:
        return whole
    note = f"\n(cut; {hint} inserts all)" if budget is not None else ""
    return f"{_cut(value, max(0, room - len(note)))}{note}"[:room]


def _whole(value: object, room: int, within: tuple[int, ...] = ()) -> str | None:
    """The whole text, or ``None`` as soon as it is longer than ``room``."""
    pieces, size = [], 0
    for piece in _pieces(value, room, within):
        size += len(piece)
        if size > room:
            return None
        pieces.append(piece)
    return "".join(pieces)


def _pieces(value: object, room: int, within: tuple[int, ...]) -> Iterator[str]:
    container = _container(value, top=not within)
    if container is None:
        yield _leaf(value, room)
    elif id(value) in within or len(within) >= _DEPTH:
        yield f"{container.opening}…{container.closing}"
    else:
        yield container.opening
        for place, (label, item) in enumerate(container.entries):
            yield ", " if place else ""
            yield f"{_leaf(label, room)}: " if container.labelled else ""
            yield from _pieces(item, room, (*within, id(value)))
        yield container.closing


def _cut(value: object, room: int, within: tuple[int, ...] = ()) -> str:
    """As much of a value as fits, and the count of what does not."""
    whole = _whole(value, room, within)
    if whole is not None:
        return whole
    container = _container(value, top=not within)
    if container is None:
        return _shortened(_leaf(value, room), room)
    if id(value) in within:
        return _shortened(f"{container.opening}…{container.closing}", room)
    parts: list[str] = []
    left = room - len(f"{container.opening}, … {container.size:,} more{container.closing}")
    for label, item in container.entries:
        name = f"{_shortened(_leaf(label, _LEAST), _LEAST)}: " if container.labelled else ""
        most = left - len(name) - len(", ")
        if most < _LEAST:
            break
        # A third of what is left for each: a long one leaves room for those after it.
        part = name + _cut(item, min(most, max(_LEAST, left // 3)), (*within, id(value)))
        parts.append(part)
        left -= len(part) + len(", ")
    if container.size > len(parts):
        parts.append(f"… {container.size - len(parts):,} more")
    return _shortened(f"{container.opening}{', '.join(parts)}{container.closing}", room)


def _leaf(value: object, room: int) -> str:
    """The text of one value within others; where it is longer than ``room``, perhaps not all of it."""
    try:
        return _written(value, room)
    except Exception as error:  # noqa: BLE001  # any object may raise anything from its repr
        return _unreadable(value, error)


def _written(value: object, room: int) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Secret):
        return json.dumps(MASK)
    if isinstance(value, Response):
        return _quoted(value.text, room)
    if isinstance(value, Enum) and isinstance(value.value, str | int):
        return _written(value.value, room)
    if isinstance(value, str):
        return _quoted(value, room)
    if isinstance(value, int):
        return _whole_number(value)
    if isinstance(value, float):
        return _number(value) if room < _ALL else _exact(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_text(value, min(room, _ALL) * 4 + 40)
    if isinstance(value, BaseException):
        return _quoted(_exception_text(value), room)
    if isinstance(value, date | time | timedelta | Decimal | PurePath | UUID):
        return _quoted(str(value), room)
    if (table := table_of(value)) is not None:
        return f"({type(value).__name__} of {table.height:,} rows and {table.width:,} columns)"
    if _is_array(value):
        return f"({_summary(value)})"
    if type(value).__module__ == "numpy":
        return str(value)
    return repr(value) if _has_own_text(value) else f"({_named(value)})"


def _quoted(text: str, room: int) -> str:
    return json.dumps(str(text[: room + 1]), ensure_ascii=False)


def _shortened(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    end = '…"' if text[:1] == '"' else "…"
    return f"{text[: room - len(end)]}{end}" if room > len(end) else "…"[:room]


def _cell(value: object, room: int | None) -> tuple[str, bool]:
    """The text of a cell of a table, and whether it is cut."""
    try:
        text = _cell_text(value, room)
    except Exception as error:  # noqa: BLE001  # any object may raise anything from its repr
        text = _unreadable(value, error)
    if room is None or len(text) <= room:
        return text, False
    return f"{text[: room - 1]}…", True


def _cell_text(value: object, room: int | None) -> str:
    if isinstance(value, str) and not isinstance(value, Enum):
        return str(value if room is None else value[: room + 1])
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return _number(value) if room is not None else _exact(value)
    if isinstance(value, date | time | timedelta | Decimal | PurePath | UUID):
        return str(value)
    if _container(value) is not None:
        most = _ALL if room is None else room
        whole = _whole(value, most)
        return whole if whole is not None else f"{_cut(value, most)} …".ljust(most + 1)
    if isinstance(value, Response):
        return value.text
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, bytes | bytearray) or _is_array(value):
        return _written(value, _ALL if room is None else room)
    return _plain_text(value)


# JSON


def _json_ready(value: object) -> object:
    """The value in what JSON has."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return None  # what pandas has for a value that is missing
    if isinstance(value, str | bool | int) and not isinstance(value, Enum):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Enum):
        return _json_ready(value.value)
    if isinstance(value, Response):
        return value.text
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta | Decimal | PurePath | UUID):
        return str(value)
    if isinstance(value, BaseException):
        return _exception_text(value)
    return _json_of_many(value)


def _json_of_many(value: object) -> object:
    if (table := table_of(value)) is not None:
        return _records(table.head(range(table.width)), table.body(None, range(table.width)))
    container = _container(value)
    if container is not None and container.labelled:
        return {_json_key(label): _json_ready(item) for label, item in container.entries}
    if container is not None:
        return [_json_ready(item) for _, item in container.entries]
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _json_ready(_listed(value))
    if type(value).__name__ in {"Interval", "Period"}:
        return str(value)  # of pandas
    raise TypeError(f"{_named(value)} has no form in JSON")


def _json_key(label: object) -> str:
    ready = label if isinstance(label, str) else _json_ready(label)
    return ready if isinstance(ready, str) else json.dumps(ready, ensure_ascii=False)


def _records(head: list[object], body: list[list[object]]) -> list[dict[str, object]]:
    names: list[str] = []
    for label in head:
        name = _json_key(label) if label != "" else "index"
        # A record cannot hold a name twice.
        names.append(f"{name}_{len(names) + 1}" if name in names else name)
    return [dict(zip(names, map(_json_ready, row), strict=True)) for row in zip(*body, strict=True)]
