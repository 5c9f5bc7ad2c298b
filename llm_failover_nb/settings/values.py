"""Single values: what each kind of setting takes, and what is said of one that does not fit.

Pure functions of a dotted name and a value. They know neither file nor line: who calls them adds both.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import get_args

from llm_failover_nb.engine.policy import Policy
from llm_failover_nb.settings.durations import seconds_in
from llm_failover_nb.settings.types import CellValue, Format

__all__ = [
    "CELL",
    "HIDDEN",
    "POLICY",
    "Misfit",
    "choice",
    "filled",
    "key_of",
    "may_be_a_key",
    "names_a_chain",
    "shown",
    "switch",
]

HIDDEN = "(not shown here, in case it is a key)"

# What is longer may be a key; what looks like a host and a path is none.
_LONGEST_SHOWN = 20
_ADDRESS = re.compile(
    r"(?:\w{1,10}://)?(?:[\w-]{1,30}(?:\.[\w-]{1,30}){1,5}|localhost)(?::\d{1,5})?(?:/[\w.-]{1,20}){0,5}/?"
)

_NO_LIMIT = "none"  # TOML has no null


class Misfit(ValueError):
    """A value does not fit its name.

    Args:
        name: The dotted name of the setting.
        problem: What is wrong, and what to do.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name = name
        self.problem = problem


def may_be_a_key(value: object) -> bool:
    """Whether a value is long and does not look like an address."""
    return len(repr(value)) > _LONGEST_SHOWN and not (isinstance(value, str) and _ADDRESS.fullmatch(value))


def shown(value: object) -> str:
    """A value as a message shows it; not where it may be a key that stands in the wrong place.

    >>> shown("opnai"), shown(3), shown("sk-0123456789abcdefghijklmn")
    ("'opnai'", '3', 'what stands there (not shown here, in case it is a key)')
    """
    return f"what stands there {HIDDEN}" if may_be_a_key(value) else repr(value)


def key_of(name: str) -> str:
    """The last part of a dotted name."""
    return name.rpartition(".")[2]


def filled(name: str, value: object) -> str:
    """A text that is not empty, without blanks around it."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise Misfit(name, f'{name} is a text that is not empty, not {shown(value)}; write {key_of(name)} = "…"')


def switch(name: str, value: object) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise Misfit(name, f"{name} is true or false, not {shown(value)}; write {key_of(name)} = true")


def choice(name: str, value: object, words: Sequence[str]) -> str:
    """One of the words."""
    word = filled(name, value)
    if word in words:
        return word
    near = difflib.get_close_matches(word.lower(), words, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of: {', '.join(words)}"
    raise Misfit(name, f"{name} {shown(word)} is not known; {hint}")


def names_a_chain(name: str, key: str, what: str) -> None:
    """Refuse what cannot stand in a chain for something else."""
    if not key or set(key) & set("/, \t\n"):
        raise Misfit(name, f"{key!r} is no name for {what}: give it one without slash, comma or space")


# [cell]


def _temperature(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    raise Misfit(name, f"{name} is a number, at least 0, not {shown(value)}; write {key_of(name)} = 0.2")


def _max_tokens(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise Misfit(
        name, f"{name} is a whole number, at least 1, not {shown(value)}; write {key_of(name)} = 400"
    )


def _seed(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Misfit(name, f"{name} is a whole number, not {shown(value)}; write {key_of(name)} = 7")


def _stop(name: str, value: object) -> tuple[str, ...]:
    """One text or several, as they are: a line break may be one."""
    texts = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if texts and all(isinstance(text, str) and text for text in texts):
        return texts
    raise Misfit(
        name,
        f"{name} is a text or a list of texts, none of them empty, not {shown(value)}; "
        f'write {key_of(name)} = ["END"]',
    )


def _format(name: str, value: object) -> str:
    return choice(name, value, get_args(Format))


CELL: Mapping[str, Callable[[str, object], CellValue]] = {
    "system": filled,
    "temperature": _temperature,
    "max_tokens": _max_tokens,
    "stop": _stop,
    "seed": _seed,
    "format": _format,
    "stream": switch,
    "raw": switch,
    "await_cells": switch,
}
"""What reads each key of ``[cell]``: from its dotted name and what stands there."""


# [policy]

_WORDS = {"midstream": ("raise", "restart"), "content_filter": ("stop", "next")}
_COUNTS = ("max_retries", "stream_max_retries", "bench_threshold")
_ENDLESS = (
    "stream_max_retries", "connect_timeout", "first_token_timeout", "idle_timeout", "attempt_timeout",
    "deadline",
)  # fmt: skip


def _policy(name: str, value: object) -> object:
    field = key_of(name)
    if field in _WORDS:
        return choice(name, value, _WORDS[field])
    number = _number(name, value)
    try:
        Policy(**{field: number})  # type: ignore[arg-type]  # it says itself what is wrong with the number
    except (TypeError, ValueError) as error:
        said = str(error).replace(f"{field}={number!r}", f"{name} {shown(value)}", 1)
        raise Misfit(name, said.replace("None for no limit", f'"{_NO_LIMIT}" for no limit')) from None
    return number


def _number(name: str, value: object) -> object:
    """What a number may be written as; what it is not is for the policy to say."""
    field = key_of(name)
    if not isinstance(value, str):
        return value
    if field in _ENDLESS and value.strip() == _NO_LIMIT:
        return None
    if field in _COUNTS:
        return value
    if (seconds := seconds_in(value.strip())) is None:
        endless = f', or "{_NO_LIMIT}" for no limit' if field in _ENDLESS else ""
        raise Misfit(name, f'{name} {shown(value)} is no duration; write 90, "90s" or "1h30m"{endless}')
    return seconds


POLICY: Mapping[str, Callable[[str, object], object]] = {
    field.name: _policy for field in fields(Policy) if field.init and field.name != "backoff"
}
"""What reads each key of ``[policy]``, likewise."""
