"""Secrets, and the redactor that keeps them out of every text. Nothing here reads keys."""

from __future__ import annotations

import base64
import json
from typing import NoReturn
from urllib.parse import quote, quote_plus

from llm_failover_nb.engine.locks import new_lock

__all__ = ["MASK", "Secret", "redact"]

MASK = "********"

# Shorter values would mask ordinary words; no provider's key is that short.
_SHORTEST_MASKED = 6

# What local servers that want no key are given for one, by their documentation: words of ordinary texts.
_PLACEHOLDERS = {"lm-studio", "not-needed", "ollama", "sk-no-key-required", "token-abc123"}

_lock = new_lock()
_forms: tuple[str, ...] = ()  # longest first, so that no form hides a longer one


class Secret:
    """A key that shows itself to nobody who does not ask by name.

    ``repr``, ``str`` and ``format`` give a mask; pickling and copying by value are refused, so that it
    reaches neither a task graph nor a file. From its making on, :func:`redact` masks its value, and the
    value's URL-encoded, base64 and JSON-escaped forms, wherever the package hands out text.

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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied; pass the name of its variable instead")


def redact(text: str) -> str:
    """``text`` with every secret made so far masked, in any of the forms in which it could come back."""
    for form in _forms:
        if form in text:
            text = text.replace(form, MASK)
    return text


def _mask_from_now_on(value: str) -> None:
    global _forms  # noqa: PLW0603  # what redact must know of every secret, behind its lock
    with _lock:
        _forms = tuple(sorted({*_forms, *_encodings(value)}, key=len, reverse=True))


def _encodings(value: str) -> list[str]:
    """The value as it could come back: plain, URL-encoded, JSON-escaped, base64 at any offset."""
    raw = value.encode()
    forms = [value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1]]
    for offset in range(3):
        # The first and last characters of an encoding depend on the neighbours; the middle does not.
        whole = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        middle = whole[(0, 2, 3)[offset] : len(whole) - (1 if (len(raw) + offset) % 3 else 0)]
        forms += [middle, middle.replace("+", "-").replace("/", "_")]
    return [form for form in forms if len(form) >= _SHORTEST_MASKED]
