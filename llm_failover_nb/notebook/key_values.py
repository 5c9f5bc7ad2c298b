"""What makes the value of a variable no key, in words that say nothing of the value. Pure functions of text.

Providers' keys are single words of printable ASCII, and travel in a header. Only what can be none is told:
how a provider's own keys look is the provider's to change.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Trouble", "trouble_with"]

_QUOTES = ('"', "'", "`")
_PLACEHOLDER = re.compile(
    r"<.*>|\[.*\]|(?:.*[\W_])?your[\W_].*|.*\.\.\..*|.*x{6}.*|change.?me", re.IGNORECASE
)


class Trouble(NamedTuple):
    """What is wrong, to follow the word "it", and what to do."""

    what: str
    remedy: str


def trouble_with(value: str, variable: str) -> Trouble | None:
    """What makes ``value`` no key; ``None`` where it may be one.

    Args:
        value: What the variable holds, without the blanks around it, which are never sent.
        variable: The variable's name, which is sometimes found in its own value.

    >>> trouble_with("'sk-canary'", "LAB_KEY").remedy
    'set it without the quotes'
    >>> trouble_with("sk-canary", "LAB_KEY")
    """
    if value.startswith(_QUOTES) and value.endswith(_QUOTES):
        return Trouble("stands in quotes, which are sent as a part of it", "set it without the quotes")
    if value.startswith("$") or value in (variable, f"%{variable}%"):
        return Trouble("is the name of a variable and not its value", "set the key itself")
    if value.lower().startswith("bearer "):
        return Trouble("begins with Bearer, which is sent before it anyway", "set the key alone")
    if "://" in value:
        return Trouble("is an address", "set the key, and write the address as base_url in the settings")
    if _PLACEHOLDER.fullmatch(value):
        return Trouble("looks like the placeholder of an example", "set the key itself")
    if any(sign.isspace() for sign in value):
        return Trouble("holds a blank or a line break, which no key does", "copy the key anew")
    if not (value.isascii() and value.isprintable()):
        return Trouble("holds a character that no header can carry", "copy the key anew")
    return None
