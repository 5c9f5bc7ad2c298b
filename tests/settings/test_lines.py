"""Where a key stands in a TOML text."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_failover_nb.settings.lines import line_of, lines_of


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", {}),
        ("a = 1\n\n# b = 2\nc = 3", {"a": 1, "c": 4}),
        ("[a]\nb = 1\n[c.d]\ne = 2", {"a": 1, "a.b": 2, "c": 3, "c.d": 3, "c.d.e": 4}),
        ("[ a . 'b' ]  # here\n c.d=1", {"a": 1, "a.b": 1, "a.b.c": 2, "a.b.c.d": 2}),
        ("a = { b = 1, c = { d = '}' } }\ne = 1", {"a": 1, "a.b": 1, "a.c": 1, "a.c.d": 1, "e": 2}),
        ('a = """\n[b]\nc = 1\n"""\nd = 1', {"a": 1, "d": 5}),
        ("a = '''\n[b]\n'''\nd = 1", {"a": 1, "d": 4}),
        ('a = """x\\""" ""\n"""\nd = 1', {"a": 1, "d": 3}),
        ('a = """"x"""""\nd = 1', {"a": 1, "d": 2}),
        ("a = [\n  'b = 1', # ]\n  [2, 3],\n]\nd = 1", {"a": 1, "d": 5}),
        ('a = "# \\" ["\nd = 1', {"a": 1, "d": 2}),
        ("a = 1979-05-27 07:32:00\nd = 1", {"a": 1, "d": 2}),
        ('"a b" = 1\n"\\u0063" = 2', {"a b": 1, "c": 2}),
        ("[[a]]\nb = 1\n[[a]]\nb = 2", {"a": 1, "a.b": 2}),
        ("a = ''\r\nd = 1\r\n", {"a": 1, "d": 2}),
    ],
)
def test_every_key_has_its_line(text: str, lines: dict[str, int]) -> None:
    """However TOML lets it be written, and whatever stands in texts."""
    tomllib.loads(text)
    assert lines_of(text) == lines


def test_the_keys_are_those_that_tomllib_reads() -> None:
    """In a real file of many kinds of values."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert sorted(set(_names(tomllib.loads(text)))) == sorted(lines_of(text))


def _names(table: dict[str, object], within: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield f"{within}{key}"
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from _names(inner, f"{within}{key}.")


def test_what_has_no_line_has_that_of_its_table() -> None:
    """And without a table, none."""
    lines = {"a": 3}
    assert (line_of("a.b.c", lines), line_of("b", lines)) == (3, None)


@pytest.mark.parametrize("text", ["=", "a", "a =", "a = [", "a = {", "a = 'x", "[" * 9])
def test_a_text_that_is_no_toml_ends_the_search(text: str) -> None:
    """Lines are no reason to fail."""
    assert set(lines_of(text)) <= {"a"}
