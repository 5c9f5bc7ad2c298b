"""Secrets, and the redactor that keeps them out of every text. Nothing here reads keys."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NoReturn

from llm_failover_nb.engine.locks import new_lock

__all__ = ["MASK", "MaskingFilter", "Secret", "redact"]

MASK = "********"

# Shorter values would mask ordinary words; no provider's key is that short.
_SHORTEST_MASKED = 6

# What local servers that want no key are given for one, by their documentation: words of ordinary texts.
_PLACEHOLDERS = {"lm-studio", "not-needed", "ollama", "sk-no-key-required", "token-abc123"}

# How JSON and source texts, URLs and HTML write a character; escapes may be escaped again.
_ESCAPE = re.compile(
    r"""\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|["'/\\])"""
    r"|%[0-7][0-9a-fA-F]|(?:%[89a-fA-F][0-9a-fA-F])+"
    r"|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);"
)
_LAYERS = 4

_lock = new_lock()
_forms: tuple[str, ...] = ()  # longest first, so that no form hides a longer one


class Secret:
    """A key that shows itself to nobody who does not ask by name.

    ``repr``, ``str`` and ``format`` give a mask; pickling and copying by value are refused, so that it
    reaches neither a task graph nor a file. From its making on, :func:`redact` masks its value, and the
    value's base64, URL-encoded, JSON- and HTML-escaped forms, wherever the package hands out text.

    >>> key = Secret("sk-canary-123")
    >>> key
    Secret('********')
    >>> redact("Incorrect API key provided: sk-canary-123")
    'Incorrect API key provided: ********'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value.strip():
            raise ValueError("a secret is empty; set the variable it comes from, or leave it out")
        self._value = value
        if self.is_a_key:
            # Without blanks around it: variables often end in a newline, which whoever sends the key strips.
            _mask_from_now_on(value.strip())

    @property
    def is_a_key(self) -> bool:
        """Whether it may be a provider's key, and not what is given for one where none is wanted.

        >>> Secret("not-needed").is_a_key
        False
        """
        bare = self._value.strip()
        return len(bare) >= _SHORTEST_MASKED and bare not in _PLACEHOLDERS

    def reveal(self) -> str:
        """The value itself: for the wire only."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied; pass the name of its variable instead")


class MaskingFilter(logging.Filter):
    """Masks secrets in the records of a library that logs what it sends and receives."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


def redact(text: str) -> str:
    """``text`` with every secret made so far masked, in any of the forms in which it could come back.

    >>> redact(r"key sk\u002dcanary%2D123 refused") if Secret("sk-canary-123") else ""
    'key ******** refused'
    """
    if not _forms:
        return text
    parts: list[str] = []
    done = 0
    for start, end in sorted(_found(text, _LAYERS)):
        if start >= done:  # else it overlaps with what is masked already
            parts += (text[done:start], MASK)
        done = max(done, end)
    return "".join((*parts, text[done:])) if parts else text


def _found(text: str, layers: int) -> Iterator[tuple[int, int]]:
    """Where secrets stand in ``text``, and in what the escapes in it stand for."""
    for form in _forms:
        start = text.find(form)
        while start >= 0:
            yield start, start + len(form)
            start = text.find(form, start + 1)
    if layers and any(sign in text for sign in "\\%&"):
        plain = _Unescaped(text)
        if plain.text != text:
            yield from map(plain.origin, _found(plain.text, layers - 1))


class _Unescaped:
    """A text with one layer of its escapes undone, which knows where in it each character comes from."""

    __slots__ = ("_ends", "_escapes", "_starts", "text")

    def __init__(self, text: str) -> None:
        self._escapes: list[tuple[int, int]] = []
        # Where what each of them stands for begins and ends in the new text.
        self._starts: list[int] = []
        self._ends: list[int] = []
        parts: list[str] = []
        done = size = 0
        for match in _ESCAPE.finditer(text):
            start, end = match.span()
            meant = _meant_by(match[0])
            parts += (text[done:start], meant)
            size += start - done
            self._starts.append(size)
            size += len(meant)
            self._ends.append(size)
            self._escapes.append((start, end))
            done = end
        self.text = "".join((*parts, text[done:]))

    def origin(self, span: tuple[int, int]) -> tuple[int, int]:
        """The span of the escaped text that a span of the new one comes from."""
        first, behind = span
        return self._origin_of(first)[0], self._origin_of(behind - 1)[1]

    def _origin_of(self, position: int) -> tuple[int, int]:
        """An escape, or one character."""
        before = bisect_right(self._starts, position) - 1
        if before < 0:
            return position, position + 1
        if position < self._ends[before]:
            return self._escapes[before]
        place = self._escapes[before][1] + position - self._ends[before]
        return place, place + 1


def _meant_by(escape: str) -> str:
    if escape[0] == "&":
        return html.unescape(escape)
    if escape[0] == "%":
        return bytes.fromhex(escape.replace("%", "")).decode("utf-8", "replace")
    return chr(int(escape.lstrip("\\ux"), 16)) if escape[1] in "ux" else escape[1]


def _mask_from_now_on(value: str) -> None:
    global _forms  # noqa: PLW0603  # what redact must know of every secret, behind its lock
    with _lock:
        _forms = tuple(sorted({*_forms, *_encodings(value)}, key=len, reverse=True))


def _encodings(value: str) -> list[str]:
    """The value as it could come back where no escape hides it: plain, hexadecimal, base64 at any offset."""
    raw = value.encode("utf-8", "surrogatepass")
    # A form in a URL writes blanks so; JSON writes rare characters as two halves, bytes are read as Latin-1.
    forms = [value, value.replace(" ", "+"), json.dumps(value)[1:-1], raw.decode("latin-1")]
    forms += [raw.hex(), raw.hex().upper()]
    for offset in range(3):
        # The first and last characters of an encoding depend on the neighbours; the middle does not.
        whole = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        middle = whole[(0, 2, 3)[offset] : len(whole) - (1 if (len(raw) + offset) % 3 else 0)]
        forms += [middle, middle.replace("+", "-").replace("/", "_")]
    return [form for form in forms if len(form) >= _SHORTEST_MASKED]
