"""What a value is as text in a prompt: to the letter, as a table, summarised, masked; never an exception."""

from __future__ import annotations

import collections
import dataclasses
import enum
import itertools
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_failover_nb.engine.secret import MASK, Secret
from llm_failover_nb.engine.types import Response
from llm_failover_nb.notebook.values import BUDGET, as_json, as_text, full

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals()
)
KEYS = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.tuples(st.integers())
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(KEYS, inner)
        | st.tuples(inner, inner)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
    ),
)


class Planet:
    """An object with the repr that every object has."""

    def __init__(self) -> None:
        self.name = "Mars"
        self._hidden = 1


class Bare:
    __slots__ = ()


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@dataclasses.dataclass
class Moon:
    name: str
    radius: float
    key: str = dataclasses.field(default="hidden", repr=False)


class Point(NamedTuple):
    x: int
    y: int


class Colour(enum.Enum):
    RED = "red"


# One value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("to the\nletter", "to the\nletter"),
        (None, "None"),
        (True, "True"),
        (7, "7"),
        (0.1 + 0.2, "0.30000000000000004"),
        (float("nan"), "nan"),
        (1 + 2j, "(1+2j)"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02 03:04:00+00:00"),
        (Decimal("1.10"), "1.10"),
        (Path("a/b.csv"), "a/b.csv"),
        (Colour.RED, "Colour.RED"),
        (b"\x00abc", r"b'\x00abc'"),
        (bytearray(b"abc"), "b'abc'"),
        (memoryview(b"abc"), "b'abc'"),
        (ValueError("too far"), "ValueError: too far"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Response(text="The answer.", model="a/x"), "The answer."),
        (Planet(), 'Planet {"name": "Mars"}'),
        (Bare(), "a Bare"),
        (Secret("sk-canary-values-0"), MASK),
        (object(), "an object"),
        (Broken(), "(a Broken whose text cannot be made: RuntimeError)"),
        (Moon("Phobos", 11.1), 'Moon {"name": "Phobos", "radius": 11.1}'),
        (np.float64(0.5), "0.5"),
        (np.int64(7), "7"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.array(3.5), "3.5"),
        (pd.Timestamp("2026-01-02"), "2026-01-02 00:00:00"),
        (pd.NaT, "NaT"),
        (pd.NA, "<NA>"),
        (re.compile("a+"), "re.compile('a+')"),
        (int, "<class 'int'>"),
    ],
)
def test_one_value(value: object, expected: str) -> None:
    """What `print` would make of it, or what says more."""
    assert expected == as_text(value)


def test_text_is_whole() -> None:
    """It is the user's document, whatever its length."""
    assert as_text("x" * 100_000) == "x" * 100_000


def test_a_number_of_thousands_of_digits() -> None:
    """Python refuses to write it in decimal."""
    assert as_text(10**5000).startswith("0x")


def test_an_exception_shows_no_key() -> None:
    """What it says of one is masked."""
    key = Secret("sk-canary-values-1")

    assert f"ValueError: refused {MASK}" == as_text(ValueError(f"refused {key.reveal()}"))


def test_a_long_object_loses_its_middle() -> None:
    """Both ends stay, and the count of what does not."""
    text = as_text(SimpleNamespace(long="x" * 20_000), expression="it")

    assert len(text) <= BUDGET
    assert text.startswith("namespace(long='xxx")
    assert re.search(r"\n… 12,0\d\d characters left out; {{ it \| full }} inserts all …\n", text)
    assert text.endswith("xxx')")


def test_long_bytes() -> None:
    """The first of them, and how many more there are."""
    text = as_text(b"\x00" * 1_000_000)

    assert len(text) <= BUDGET
    assert text.endswith("' … 998,010 more bytes")


@pytest.mark.parametrize(
    "wrap",
    [lambda key: key, lambda key: [key], lambda key: {"k": (key,)}, lambda key: SimpleNamespace(k=key)],
)
def test_a_key_is_masked(wrap: Callable[[Secret], object]) -> None:
    """Alone and wherever it is inside."""
    held = wrap(Secret("sk-canary-values-2"))

    for text in (as_text(held), full(held)):
        assert (MASK in text, "canary" in text) == (True, False)


# Lists, dicts and the like


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "[]"),
        ({}, "{}"),
        ([1, None, True, 'a\n"b" ü', 0.1 + 0.2], '[1, null, true, "a\\n\\"b\\" ü", 0.3]'),
        ((1, (2,)), "[1, [2]]"),
        ({8, 1}, "{1, 8}"),
        ({"a": {1: None}, None: [], (1, 2): 0}, '{"a": {1: null}, null: [], (1, 2): 0}'),
        ({"b": 1, "a": 2}.keys(), '["b", "a"]'),
        ({"b": 1}.values(), "[1]"),
        (MappingProxyType({"a": 1}), '{"a": 1}'),
        (collections.Counter("aab"), '{"a": 2, "b": 1}'),
        (collections.deque([1, 2]), "[1, 2]"),
        (Point(1, 2), 'Point {"x": 1, "y": 2}'),
        (range(3), "[0, 1, 2]"),
        ([float("nan"), float("inf")], "[NaN, inf]"),
        (
            [date(2026, 1, 2), timedelta(seconds=1), Path("a"), Colour.RED],
            '["2026-01-02", "0:00:01", "a", "red"]',
        ),
        ([b"ab", ValueError("no"), Response(text="yes")], '[b\'ab\', "ValueError: no", "yes"]'),
        ([Planet(), Broken()], "[(a Planet), (a Broken whose text cannot be made: RuntimeError)]"),
        (
            [np.int64(1), np.zeros((2, 3))],
            "[1, (ndarray of shape 2 x 3, float64, min 0.0, mean 0.0, max 0.0)]",
        ),
        ([pd.DataFrame({"a": [1]})], "[(DataFrame of 1 rows and 1 columns)]"),
        (pd.Index(["a", "b"]), '["a", "b"]'),
    ],
)
def test_data(value: object, expected: str) -> None:
    """Written much as JSON is."""
    assert expected == as_text(value)


def test_a_long_list() -> None:
    """The first items, the count of the others, and what to write for all."""
    text = as_text(list(range(10_000)), budget=100, expression="numbers")

    assert text.startswith("[0, 1, 2, 3, ")
    assert re.search(r", … 9,9\d\d more\]\n\(cut; {{ numbers \| full }} inserts all\)$", text)
    assert len(text) <= 100


def test_a_long_part_leaves_room_for_the_others() -> None:
    """It is cut to a third, and what comes after it is there."""
    text = as_text({"text": "x" * 50_000, "title": "Mars", "year": 1877})

    assert '…", "title": "Mars", "year": 1877}' in text
    assert 2_000 < len(text) <= BUDGET


def test_a_dict_that_just_fits_is_whole() -> None:
    """Nothing is cut that need not be."""
    value = {"a": "x" * 7_000, "b": 1}

    assert json.dumps(value) == as_text(value)


def test_data_that_holds_itself() -> None:
    """Once is enough."""
    value: list[object] = [1]
    value.append(value)

    assert "[1, […]]" == as_text(value) == full(value)
    value.append("x" * 10_000)
    assert as_text(value).startswith("[1, […], ")


def test_very_deep_data() -> None:
    """Depth is no reason to fail."""
    value: list[object] = []
    for _ in range(100_000):
        value = [value]

    assert as_text(value).startswith("[[[[")
    del value


def test_a_large_set_costs_little() -> None:
    """Only what is shown is written."""
    assert "more}" in as_text(set(range(200_000)))


def test_an_iterator_is_not_used_up() -> None:
    """It is the user's, who may still need what it holds."""
    numbers = itertools.count()
    as_text(numbers)
    as_text([numbers])

    assert next(numbers) == 0


@settings(deadline=None)  # a busy machine is no failure
@given(DATA)
def test_nested_data_never_fails(value: object) -> None:
    """Whatever it holds, it has a text, within the budget unless it is text itself."""
    text = as_text(value)

    assert isinstance(value, str) or len(text) <= BUDGET


@settings(deadline=None)  # a busy machine is no failure
@given(DATA, st.integers(60, 400))
def test_nested_data_keeps_to_any_budget(value: object, budget: int) -> None:
    """A small one too."""
    assert isinstance(value, str) or len(as_text(value, budget=budget)) <= budget


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.text() | st.integers() | st.none() | st.booleans()) | st.dictionaries(st.text(), st.text())
)
def test_what_is_json_is_written_as_json(value: object) -> None:
    """A model reads what a program could."""
    assert value == json.loads(full(value))


# Tables


def test_a_frame() -> None:
    """A Markdown table in GitHub's form; a plain range of an index says nothing and is not there."""
    frame = pd.DataFrame(
        {
            "number": [1.5, 1 / 3, None],
            "text": ["a|b", "c\nd\r\ne", None],
            "when": pd.to_datetime(["2026-01-02", None, "2026-01-03"]),
            "kind": pd.Categorical(["x", "y", None]),
            "flag": [True, False, None],
        }
    )

    assert as_text(frame) == (
        "| number | text | when | kind | flag |\n"
        "| --- | --- | --- | --- | --- |\n"
        r"| 1.5 | a\|b | 2026-01-02 | x | True |" + "\n"
        r"| 0.3333333333 | c\nd\ne | NaT | y | False |" + "\n"
        "| NaN | NaN | 2026-01-03 | NaN | None |"
    )


def test_the_time_of_day_stays_where_one_row_has_it() -> None:
    """All rows of a column look alike."""
    frame = pd.DataFrame({"when": pd.to_datetime(["2026-01-02 00:00", "2026-01-02 10:30"])})

    assert "| 2026-01-02 00:00:00 |\n| 2026-01-02 10:30:00 |" in as_text(frame)


@pytest.mark.parametrize(
    ("index", "head", "first"),
    [
        (pd.RangeIndex(2), "| n |", "| 1 |"),
        (pd.RangeIndex(2, name="day"), "| day | n |", "| 0 | 1 |"),
        (pd.RangeIndex(5, 7), "|  | n |", "| 5 | 1 |"),
        (pd.Index(["a", "b"]), "|  | n |", "| a | 1 |"),
        (pd.Index([0, 0], name="day"), "| day | n |", "| 0 | 1 |"),
        (pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None]), "| k |  | n |", "| a | 1 | 1 |"),
        (pd.to_datetime(["2026-01-02", "2026-01-03"]), "|  | n |", "| 2026-01-02 | 1 |"),
        (pd.CategoricalIndex(["x", "y"]), "|  | n |", "| x | 1 |"),
        (pd.period_range("2026-01", periods=2, freq="M"), "|  | n |", "| 2026-01 | 1 |"),
    ],
)
def test_an_index(index: pd.Index, head: str, first: str) -> None:
    """It is there unless it is a plain range, one column a level."""
    lines = as_text(pd.DataFrame({"n": [1, 2]}, index=index)).splitlines()

    assert (head, first) == (lines[0], lines[2])


def test_columns_of_any_kind() -> None:
    """Names given twice, several levels, numbers."""
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    levels = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b|c", 2)]))

    assert as_text(twice) == "| a | a |\n| --- | --- |\n| 1 | 2 |"
    assert as_text(levels).splitlines()[0] == r"| a / 1 | b\|c / 2 |"
    assert as_text(pd.DataFrame([[3, 4]])).splitlines()[0] == "| 0 | 1 |"


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (pd.DataFrame(), "a table of 0 rows and no columns"),
        (pd.DataFrame(index=[1, 2]), "a table of 2 rows and no columns"),
        (pd.DataFrame({"a": []}), "| a |\n| --- |\n\n0 rows"),
        (pd.Series([], dtype=float), "| value |\n| --- |\n\n0 rows"),
    ],
)
def test_empty_tables(frame: object, expected: str) -> None:
    """What there is of them is said."""
    assert expected == as_text(frame) == full(frame)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pd.Series([1, 2], name="n"), "| n |\n| --- |\n| 1 |\n| 2 |"),
        (pd.Series([1]), "| value |\n| --- |\n| 1 |"),
        (pd.Series({"a": 1}), "|  | value |\n| --- | --- |\n| a | 1 |"),
        (pd.Series([1], name=("a", 2)), "| a / 2 |\n| --- |\n| 1 |"),
    ],
)
def test_a_series(series: object, expected: str) -> None:
    """A table of one column."""
    assert expected == as_text(series)


def test_cells_that_hold_anything() -> None:
    """Lists, keys, and objects without a text; each in little room."""
    frame = pd.DataFrame(
        {
            "x": [
                [1, None],
                Secret("sk-canary-values-3"),
                Broken(),
                {"a": list(range(1_000))},
                "y" * 1_000,
                Planet(),
                Response(text="yes"),
                b"ab",
                ValueError("no"),
            ]
        }
    )
    lines = as_text(frame).splitlines()
    cells = [line[2:-2] for line in lines[2:-2]]

    assert cells[:3] == ["[1, null]", MASK, "(a Broken whose text cannot be made: RuntimeError)"]
    assert cells[4:] == ["y" * 79 + "…", "a Planet", "yes", "b'ab'", "ValueError: no"]
    assert all(len(cell) <= 80 for cell in cells)
    assert lines[-1] == "long cells are cut; {{ … | full }} inserts all"


def test_rows_are_left_out_of_the_middle() -> None:
    """With a mark in their place and a line that says how many are shown."""
    text = as_text(pd.DataFrame({"n": range(1_000)}), expression="df")
    lines = text.splitlines()

    assert [lines[n] for n in (2, 31, 32, 33, 62)] == (["| 0 |", "| 29 |", "| … |", "| 970 |", "| 999 |"])
    assert lines[-1] == "60 of 1,000 rows; {{ df | full }} inserts all"


def test_columns_are_left_out_of_the_middle() -> None:
    """With a mark in their place; the index stays."""
    frame = pd.DataFrame([range(100)], index=["row"], columns=[f"c{n}" for n in range(100)])
    lines = as_text(frame).splitlines()

    assert "|  | c0 |" in lines[0]
    assert "| c9 | … | c90 |" in lines[0]
    assert lines[1].count("---") == 22
    assert "| row | 0 |" in lines[2]
    assert lines[-1] == "20 of 100 columns; {{ … | full }} inserts all"


@pytest.mark.parametrize("budget", [500, 1_000, BUDGET])
def test_a_wide_and_long_frame_keeps_to_the_budget(budget: int) -> None:
    """Rows go first, then columns."""
    frame = pd.DataFrame([["x" * 100] * 50] * 1_000)
    text = as_text(frame, budget=budget)

    assert len(text) <= budget
    assert re.search(r"\n\n\d+ of 1,000 rows, \d+ of 50 columns; {{ … \| full }} inserts all$", text)


def test_a_table_for_which_there_is_no_room() -> None:
    """Its size remains."""
    frame = pd.DataFrame([["x" * 100] * 50] * 1_000)

    assert as_text(frame, budget=200) == "a table of 1,000 rows and 50 columns; {{ … | full }} inserts it"


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(0, 80), st.integers(1, 40), st.integers(0, 120), st.integers(200, 3_000))
def test_any_frame_keeps_to_the_budget(rows: int, columns: int, length: int, budget: int) -> None:
    """Whatever its shape; every line of the table has the same cells."""
    text = as_text(pd.DataFrame([["x" * length] * columns] * rows, columns=range(columns)), budget=budget)

    assert len(text) <= budget
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) <= 1


def test_full_inserts_the_whole_frame() -> None:
    """All rows, columns and digits."""
    frame = pd.DataFrame({f"c{n}": [1 / 3, *range(199)] for n in range(30)})
    lines = full(frame).splitlines()

    assert len(lines) == 202
    assert lines[2].count(repr(1 / 3)) == 30
    assert "…" not in full(pd.DataFrame({"x": ["y" * 10_000]}))


def test_a_frame_of_a_million_rows_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more values are made into text than are looked at."""
    made = []

    class Counted:
        def __str__(self) -> str:
            made.append(1)
            return "x"

    value = Counted()
    frame = pd.DataFrame(
        {"a": np.arange(1_000_000), "b": pd.Series([value], dtype=object).repeat(1_000_000).array}
    )
    text = as_text(frame)

    assert "60 of 1,000,000 rows" in text
    assert len(made) == 60


def test_a_frame_of_polars() -> None:
    """What it offers is enough; the library is not needed."""
    frame = _polars(pd.DataFrame({"a": range(100), "b": ["x|y"] * 100}))

    assert r"| 99 | x\|y |" in as_text(frame)
    assert "60 of 100 rows; " in as_text(frame)
    assert len(full(frame).splitlines()) == 102
    assert json.loads(as_json(frame))[0] == {"a": 0, "b": "x|y"}


def _polars(frame: pd.DataFrame) -> object:
    """A stand-in with what is used of a polars DataFrame, under its name."""

    class DataFrame:
        columns = tuple(frame.columns)
        height = len(frame)

        def row(self, index: int) -> tuple[object, ...]:
            return tuple(frame.iloc[index].tolist())

        def rows(self) -> list[tuple[object, ...]]:
            return [self.row(index) for index in range(self.height)]

    DataFrame.__module__ = "polars.dataframe.frame"
    return DataFrame()


# Arrays


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (
            np.arange(6).reshape(2, 3),
            "ndarray of shape 2 x 3, int64, min 0.0, mean 2.5, max 5.0\nvalues: [0, 1, 2, 3, 4, 5]",
        ),
        (
            np.array([1.0, np.nan, np.inf]),
            "ndarray of shape 3, float64, min 1.0, mean 1.0, max 1.0, 2 not finite\nvalues: [1.0, NaN, inf]",
        ),
        (np.array([np.nan]), "ndarray of shape 1, float64, 1 not finite\nvalues: [NaN]"),
        (np.array(["a", "b"]), 'ndarray of shape 2, <U1\nvalues: ["a", "b"]'),
        (np.array([]), "ndarray of shape 0, float64\nvalues: []"),
        (
            np.array([True, False]),
            "ndarray of shape 2, bool, min 0.0, mean 0.5, max 1.0\nvalues: [true, false]",
        ),
        (
            np.array(["2026-01-02"], dtype="M8[ns]"),
            (
                "ndarray of shape 1, datetime64[ns], min 2026-01-02T00:00:00.000000000, "
                'max 2026-01-02T00:00:00.000000000\nvalues: ["2026-01-02T00:00:00.000000000"]'
            ),
        ),
    ],
)
def test_a_small_array(array: object, expected: str) -> None:
    """Its shape, its type, its range, and all that is in it."""
    assert expected == as_text(array)


def test_a_large_array() -> None:
    """Its first values, and what to write for all."""
    lines = as_text(np.arange(10_000.0).reshape(10, 10, 100), expression="x").splitlines()

    assert lines[0] == "ndarray of shape 10 x 10 x 100, float64, min 0.0, mean 4999.5, max 9999.0"
    assert lines[1].startswith("first 20 of 10,000 values: [0.0, 1.0, ")
    assert lines[2] == "{{ x | full }} inserts all"
    assert full(np.arange(10_000)).count(",") + 1 == 10_000


def test_an_array_of_another_library() -> None:
    """Whatever has a shape, a type and can be reshaped; what it cannot do is left out."""

    class Tensor:
        dtype = "torch.int64"
        shape = (2, 2)

        def __getitem__(self, key: object) -> Tensor:
            return self

        def reshape(self, *shape: int) -> Tensor:
            return self

        def tolist(self) -> list[int]:
            return [1, 2, 3, 4]

        def min(self) -> int:
            return 1

        def max(self) -> int:
            return 4

        def mean(self) -> float:
            raise RuntimeError("mean(): could not infer output dtype")

    assert as_text(Tensor()) == "Tensor of shape 2 x 2, torch.int64, min 1.0, max 4.0\nvalues: [1, 2, 3, 4]"


def test_an_array_that_cannot_be_read() -> None:
    """Its shape and type are said all the same."""
    array = SimpleNamespace(shape=(3,), dtype="strange", reshape=None)

    assert as_text(array) == (
        "SimpleNamespace of shape 3, strange\nfirst 0 of 3 values: []\n{{ … | full }} inserts all"
    )


# JSON


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": (1, None), 2: {3}}, {"a": [1, None], "2": [3]}),
        ([float("nan"), float("inf"), 0.5], [None, None, 0.5]),
        ([date(2026, 1, 2), Path("a"), Colour.RED, Decimal("1.1")], ["2026-01-02", "a", "red", "1.1"]),
        (Moon("Phobos", 11.1), {"name": "Phobos", "radius": 11.1}),
        (np.array([[1, 2]]), [[1, 2]]),
        ({np.int64(1): np.float64(0.5)}, {"1": 0.5}),
        (np.array(["2026-01-02"], dtype="M8[ns]"), ["2026-01-02T00:00:00.000000000"]),
        (pd.Series({"x": 1}), [{"index": "x", "value": 1}]),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), [{"a": 1, "a_2": 2}]),
        ([pd.NA, pd.NaT, pd.Period("2026-01")], [None, None, "2026-01"]),
        (
            [Secret("sk-canary-values-4"), ValueError("no"), Response(text="yes")],
            [MASK, "ValueError: no", "yes"],
        ),
    ],
)
def test_json(value: object, expected: object) -> None:
    """Whole, and valid: NaN is null."""
    assert expected == json.loads(as_json(value))


def test_json_keeps_letters_and_takes_an_indent() -> None:
    """A model reads ü better than its escape."""
    assert as_json({"a": "ü"}, indent=2) == '{\n  "a": "ü"\n}'


@pytest.mark.parametrize("value", [object(), [Bare()], b"x"])
def test_what_has_no_form_in_json(value: object) -> None:
    """The error names it."""
    with pytest.raises(TypeError, match=r"has no form in JSON$"):
        as_json(value)
