"""What stands at the cursor of a cell: the line of which magic, which word of it, which part of the word.

Pure functions of text. What could be written there is ``completion``'s to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Place", "Word", "part_of", "place_at"]

_CELL = re.compile(r"%%llm[ \t]+")
# At the beginning of a line, or as what is assigned: `benches = %llm bench a/b`.
_LINE = re.compile(r"(?:^|=)[ \t]*%llm[ \t]+")
_OPEN = "{{"
_CLOSED = "}}"
# A name by itself: no attribute, and nothing within a text.
_NAME = re.compile(r"(?<![\w.\"'])(\w*)$")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line, as it is typed; a space within quotes is no end of it.

    Args:
        before: What of it stands before the cursor.
        after: What of it stands behind the cursor.
    """

    before: str = ""
    after: str = ""

    @property
    def key(self) -> str:
        """What stands before its first ``=``; empty where it has none."""
        key, equals, _ = self.before.lstrip("\"'").partition("=")
        return key if equals else ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cursor is.

    Args:
        kind: On the first line of a ``%%llm`` cell, on that of a ``%llm``, or within a ``{{ }}`` of a prompt.
        word: The word at the cursor; within ``{{ }}`` the name.
        earlier: The words before it, on the magic's line.
        later: The words behind it.
    """

    kind: Literal["cell", "line", "template"]
    word: Word
    earlier: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


def place_at(text: str, line: int, column: int) -> Place | None:
    """The place of the cursor in a cell; ``None`` where it is none of ours.

    Args:
        text: All of the cell.
        line: The cursor's line, from 0.
        column: Characters before it on that line.

    >>> place_at("%%llm chain=a,b te", 0, 18)
    Place(kind='cell', word=Word(before='te', after=''), earlier=('chain=a,b',), later=())
    """
    if "%llm" not in text:  # nearly every cell
        return None
    lines = text.split("\n")
    if not 0 <= line < len(lines):
        return None
    first = next((number for number, each in enumerate(lines) if each.strip()), 0)
    if lines[first].startswith("%%llm"):
        if line > first:
            return _in_template("\n".join((*lines[first + 1 : line], lines[line][:column])), lines[first])
        begin = _CELL.match(lines[line]) if line == first else None
        return _on_line("cell", lines[line], column, begin)
    return _on_line("line", lines[line], column, _LINE.search(lines[line]))


def part_of(word: Word) -> tuple[str, tuple[str, ...]]:
    """The part at the cursor of a list joined by commas, up to the cursor; and the list's other parts.

    >>> part_of(Word("chain=a,b,op", "x,c"))
    ('op', ('a', 'b', 'c'))
    """
    *before, part = _value(word.before).split(",")
    _, *after = word.after.rstrip("\"'").split(",")
    others = (each.strip() for each in (*before, *after))
    return part.lstrip(), tuple(filter(None, others))


def _value(text: str) -> str:
    """The value of a ``key=value``, or all of another word, without the quote that opens it."""
    bare = text.lstrip("\"'")
    _, equals, value = bare.partition("=")
    return value.lstrip("\"'") if equals else bare


def _on_line(
    kind: Literal["cell", "line"], line: str, column: int, begin: re.Match[str] | None
) -> Place | None:
    if begin is None or column < begin.end():
        return None
    words = _spans(line, begin.end())
    at = next(((start, end) for start, end in words if start <= column <= end), (column, column))
    return Place(
        kind,
        Word(line[at[0] : column], line[column : at[1]]),
        earlier=tuple(line[start:end] for start, end in words if end < column and end <= at[0]),
        later=tuple(line[start:end] for start, end in words if start > column),
    )


def _spans(line: str, start: int) -> list[tuple[int, int]]:
    """Where each word begins and ends; a quote that nobody closes goes on to the end of the line."""
    spans: list[tuple[int, int]] = []
    begin: int | None = None
    quote = ""
    for position in range(start, len(line)):
        char = line[position]
        if not quote and char.isspace():
            if begin is not None:
                spans.append((begin, position))
            begin = None
            continue
        begin = position if begin is None else begin
        if char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
    return [*spans, (begin, len(line))] if begin is not None else spans


def _in_template(before: str, first_line: str) -> Place | None:
    _, opened, expression = before.rpartition(_OPEN)
    if not opened or _CLOSED in expression or "raw=on" in first_line.split():
        return None
    name = _NAME.search(expression)
    if name is None or expression[: name.start()].rstrip().endswith("|"):  # what follows is a filter
        return None
    return Place("template", Word(name[1]))
