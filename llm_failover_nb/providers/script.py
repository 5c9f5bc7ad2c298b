"""The grammar of scripts such as ``503x2+echo``, which say what each attempt meets: text in, outcomes out.

No I/O, and no wire. What the words mean stands in the table of ``sim``, which plays scripts in process;
``testing.FaultServer`` plays the same scripts over sockets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from llm_failover_nb.engine.errors import ChainSpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VOCABULARY", "Outcome", "Script", "parse_script", "words"]

_EXAMPLE = "sim/503x2+429:30+echo"
_OUTCOME = re.compile(r"(?P<word>[^:]+?)(?::(?P<argument>.+?))?(?:x(?P<count>[0-9]{1,9}))?")
_WORD = re.compile(r"\s*\S+|\s+$")
_NUMBER = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class _Argument:
    """What may follow a word's colon; ``default`` stands for one left out, ``None`` is: give one."""

    takes: Literal["nothing", "seconds", "characters", "text"] = "nothing"
    default: str | None = ""


_NOTHING = _Argument()
_RETRY_AFTER = _Argument("seconds")
_ARGUMENTS: Mapping[str, _Argument] = MappingProxyType(
    {
        "auth": _NOTHING,
        "bad": _NOTHING,
        "big": _NOTHING,
        "bomb": _NOTHING,
        "context": _NOTHING,
        "cut": _Argument("characters", "40"),
        "down": _RETRY_AFTER,
        "echo": _NOTHING,
        "empty": _NOTHING,
        "endless": _NOTHING,
        "error200": _Argument("characters", "0"),
        "filter": _NOTHING,
        "flap": _NOTHING,
        "gone": _NOTHING,
        "header": _NOTHING,
        "headers": _NOTHING,
        "html": _NOTHING,
        "line": _NOTHING,
        "long": _NOTHING,
        "malformed": _Argument("characters", "0"),
        "nochoices": _NOTHING,
        "nodone": _NOTHING,
        "noprefill": _NOTHING,
        "quota": _NOTHING,
        "reset": _Argument("characters", "0"),
        "say": _Argument("text", None),
        "short": _NOTHING,
        "silent": _NOTHING,
        "slow": _Argument("seconds", None),
        "stall": _Argument("characters", "40"),
        "timeout": _NOTHING,
        "trickle": _Argument("seconds", "1"),
        "utf8": _NOTHING,
    }
)

VOCABULARY = tuple(_ARGUMENTS)
"""Every word but the statuses, sorted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt meets.

    Args:
        word: The word, as in the table of :mod:`llm_failover_nb.providers.sim`.
        argument: What followed its colon, or the word's default.
        count: How many attempts meet it; ``None`` for one, or for all that follow where it is the last.
    """

    word: str
    argument: str = ""
    count: int | None = None

    def __str__(self) -> str:
        return f"{self.word}:{self.argument}" if self.argument else self.word

    @property
    def seconds(self) -> float:
        """The argument as a time; 0 where there is none."""
        return float(self.argument or 0)

    @property
    def characters(self) -> int:
        """The argument as a length of text; 0 where there is none."""
        return int(self.argument or 0)

    @property
    def status(self) -> int | None:
        """The HTTP status that the word is, where it is a number."""
        return int(self.word) if self.word.isdigit() else None

    def answer(self, prompt: str) -> str:
        """The text of its answer, whole."""
        return self.argument.replace("_", " ") if self.word == "say" else prompt

    def met(self, time: int) -> Outcome:
        """What it is when it is met for the ``time``-th time, from 1: itself, unless it is ``flap``."""
        if self.word != "flap":
            return self
        return _UNAVAILABLE if time % 2 else _ECHO


_ECHO = Outcome("echo")
_UNAVAILABLE = Outcome("503")


@dataclass(frozen=True, slots=True)
class Script:
    """A script as read by :func:`parse_script`."""

    outcomes: tuple[Outcome, ...]

    def outcome(self, attempt: int) -> Outcome:
        """What the ``attempt``-th attempt meets, from 1."""
        *before, last = self.outcomes
        for outcome in before:
            times = outcome.count or 1
            if attempt <= times:
                return outcome.met(attempt)
            attempt -= times
        return last.met(attempt) if last.count is None or attempt <= last.count else _ECHO


def parse_script(text: str) -> Script:
    """Read a script, such as ``503x2+echo``: the part of a spec after ``sim/``.

    Raises:
        ChainSpecError: When a part cannot be read; it names the part and the nearest known word.

    >>> script = parse_script("503x2+429:30")
    >>> [str(script.outcome(attempt)) for attempt in (1, 2, 3, 4)]
    ['503', '503', '429:30', '429:30']
    """
    return Script(tuple([_outcome(part, text) for part in text.split("+")]))


def words(text: str) -> list[str]:
    """``text`` cut before each space, as models stream it; joined, it is ``text`` again."""
    return _WORD.findall(text)


def _outcome(part: str, script: str) -> Outcome:
    found = _OUTCOME.fullmatch(part)
    if found is None:
        raise _unreadable(part, script, "an outcome is a word, then :argument and xCOUNT where wanted")
    word, argument, count = found["word"], found["argument"] or "", found["count"]
    expected = _RETRY_AFTER if _is_status(word) else _ARGUMENTS.get(word)
    if expected is None:
        raise _unreadable(part, script, _unknown(word))
    if (wrong := _wrong_argument(word, argument, expected)) is not None:
        raise _unreadable(part, script, wrong)
    if count is not None and int(count) == 0:
        raise _unreadable(part, script, "a count is 1 or more")
    return Outcome(word, argument or expected.default or "", None if count is None else int(count))


def _is_status(word: str) -> bool:
    return len(word) == 3 and word.isascii() and word.isdigit() and word[0] in "45"


def _wrong_argument(word: str, argument: str, expected: _Argument) -> str | None:
    if not argument:
        return f"{word} needs {expected.takes} after a colon" if expected.default is None else None
    match expected.takes:
        case "nothing":
            return f"{word} takes no argument"
        case "seconds" if _NUMBER.fullmatch(argument) is None:
            return f"{argument!r} is no number of seconds up to 999999, such as 30 or 0.5"
        case "characters" if _NUMBER.fullmatch(argument) is None or "." in argument:
            return f"{argument!r} is no number of characters up to 999999, such as 40"
    return None


def _unknown(word: str) -> str:
    if word.isdigit():
        return "an HTTP failure is 400 to 599; did you mean '503'?"
    known = f"the words are {', '.join(VOCABULARY)} and 400 to 599"
    nearest = get_close_matches(word, VOCABULARY, n=1, cutoff=0.4)
    return (
        f"no such outcome; did you mean {nearest[0]!r}? {known}" if nearest else f"no such outcome; {known}"
    )


def _unreadable(part: str, script: str, why: str) -> ChainSpecError:
    return ChainSpecError(f"sim/{script}: cannot read {part!r}: {why}; an example: {_EXAMPLE}")
