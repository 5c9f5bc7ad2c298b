"""Where each key of a TOML text stands: tomllib reads the values and keeps no lines.

Pure, and for texts that tomllib has accepted: what it would refuse is not looked for here.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from typing import cast

__all__ = ["line_of", "lines_of"]

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*")
_PARTS = re.compile(_PART)
# A text of several lines may end in one or two quotes of its own.
_TEXT = re.compile(
    r'''"""(?:\\.|[^\\])*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:\'{0,2})|"(?:\\.|[^"\\])*"|'[^']*\'''', re.DOTALL
)
_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_OPENING, _CLOSING = re.compile(r"\[+[ \t]*"), re.compile(r"[ \t]*\]+")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_BETWEEN_PAIRS = re.compile(r"(?:[\s,]|#[^\n]*)*")  # with the line breaks of TOML 1.1
_ARRAY_PLAIN = re.compile(r"""[^\[\]"'#]+""")

_Name = tuple[str, ...]


def lines_of(text: str) -> dict[str, int]:
    """The line, from 1, on which each dotted name is first set; tables, and what they stand in, too.

    >>> lines_of('[cell]\\ntemperature = 0.2')
    {'cell': 1, 'cell.temperature': 2}
    """
    return _Scan(text).lines


def line_of(name: str, lines: dict[str, int]) -> int | None:
    """The line of a dotted name, or else that of what it stands in."""
    while name and name not in lines:
        name = name.rpartition(".")[0]
    return lines.get(name)


class _Scan:
    """One pass over the text; ``_at`` is how far it has come."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.lines: dict[str, int] = {}
        with contextlib.suppress(ValueError, IndexError, RecursionError):  # lines are no reason to fail
            self._statements()

    def _statements(self) -> None:
        table: _Name = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> _Name:
        self._skip(_OPENING)
        table = self._key(())
        self._skip(_CLOSING)
        return table

    def _pair(self, table: _Name) -> None:
        name = self._key(table)
        self._skip(_EQUALS)
        self._value(name)

    def _key(self, within: _Name) -> _Name:
        line = self._text.count("\n", 0, self._at) + 1
        for part in _PARTS.findall(self._skip(_KEY)):
            within = (*within, _bare(part))
            self.lines.setdefault(".".join(within), line)
        return within

    def _value(self, name: _Name) -> None:
        first = self._text[self._at]
        if first == "{":
            self._inline_table(name)
        elif first == "[":
            self._array()
        else:
            self._skip(_TEXT if first in "\"'" else _SCALAR)

    def _inline_table(self, name: _Name) -> None:
        self._at += 1
        self._skip(_BETWEEN_PAIRS)
        while self._text[self._at] != "}":
            self._pair(name)
            self._skip(_BETWEEN_PAIRS)
        self._at += 1

    def _array(self) -> None:
        """To its end; what stands in an array has no name of its own."""
        depth = 0
        while True:
            first = self._text[self._at]
            if first in "[]":
                depth += 1 if first == "[" else -1
                self._at += 1
                if not depth:
                    return
            else:
                self._skip(_TEXT if first in "\"'" else _BLANK if first == "#" else _ARRAY_PLAIN)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"no TOML at character {self._at}")
        self._at = match.end()
        return match[0]


def _bare(part: str) -> str:
    """A part of a key without the quotes that it may stand in."""
    return cast("str", tomllib.loads(f"key = {part}")["key"]) if part[0] in "\"'" else part
