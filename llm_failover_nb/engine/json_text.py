"""The JSON in a model's answer: the whole of its text, or the one fenced block in it. Nothing is repaired."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

__all__ = ["read_json"]

_FENCES = ("```", "~~~")

# How much of an answer a message shows.
_LONGEST_QUOTE = 60


class _Block(NamedTuple):
    """A fenced block: its text, its language in lower case, and how many lines of the answer are above it."""

    text: str
    language: str
    above: int


def read_json(text: str) -> object:
    """The JSON value that a text is, or that stands in its only fenced block.

    Of several blocks those that are marked ``json`` count, else those with no mark. As with ``json.loads``
    the last of duplicate keys wins; numbers that JSON does not have (``NaN``, ``Infinity``) are refused.

    Raises:
        ValueError: When there is no such value; it says what was wrong, where, and how the text begins.

    >>> read_json("Here you are:" + chr(10) + '```json {"a": 1} ```')
    {'a': 1}
    """
    try:
        return _loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        problem = str(error)
    blocks = _candidates(text)
    if len(blocks) > 1:
        problem = f"it has {len(blocks)} fenced blocks that may be meant"
    elif blocks:
        try:
            return _loads(blocks[0].text, above=blocks[0].above)
        except ValueError as error:
            problem = str(error)
    raise ValueError(f"the answer is no JSON: {problem}{_beginning(text)}")


def _beginning(text: str) -> str:
    if not text:
        return ""
    return f"; it begins {text[:_LONGEST_QUOTE]!r}{'…' if len(text) > _LONGEST_QUOTE else ''}"


def _loads(text: str, *, above: int = 0) -> object:
    """The value of a text with so many lines of the answer above it.

    Raises:
        ValueError: Says in a few words what is wrong, and where in the answer.
    """
    if not text.strip():
        raise ValueError("there is nothing in it")
    try:
        value: object = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        said = error.msg[:1].lower() + error.msg[1:]
        raise ValueError(f"{said}, on line {error.lineno + above}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number of JSON's")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"it holds {text[:_LONGEST_QUOTE]}, which is too large a number")
    return number


def _candidates(text: str) -> list[_Block]:
    blocks = [block for block in _blocks(text) if block.text.strip()]
    marked = [block for block in blocks if block.language == "json"]
    return marked or [block for block in blocks if not block.language]


def _blocks(text: str) -> Iterator[_Block]:
    """The fenced blocks, those on one line too; one that is not closed goes to the end.

    No line of JSON begins with a fence, so that the next one closes, whatever its length.
    """
    fence, language, above = "", "", 0
    inside: list[str] = []
    for number, line in enumerate(text.split("\n")):
        stripped = line.strip()
        if fence and stripped.startswith(fence):
            yield _Block("\n".join(inside), language, above)
            fence = ""
        elif fence:
            inside.append(line)
        elif stripped.startswith(_FENCES):
            mark = stripped[0]
            info = stripped.strip(mark).strip()
            if mark == "`" and mark in info:
                continue  # code within a sentence
            if info and stripped.endswith(mark * 3):
                marked = info[:4].lower() == "json"
                yield _Block(info[4:] if marked else info, "json" if marked else "", number)
            else:
                language = next(iter(info.lower().split()), "")
                fence, above, inside = mark * 3, number + 1, []
    if fence:
        yield _Block("\n".join(inside), language, above)
