"""What a person types on the first line of ``%%llm``, as frozen data. No IPython here, and nothing is run.

A key is one row of ``KEYS`` and one field of :class:`CellArguments`. Help, error messages and completion are
made from these rows. The lines of ``%llm`` are `commands.py`'s.
"""

from __future__ import annotations

import difflib
import keyword
import math
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast, get_args

from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.settings.durations import seconds_in
from llm_failover_nb.settings.types import Format

__all__ = [
    "FORMATS",
    "KEYS",
    "ArgumentError",
    "CellArguments",
    "Key",
    "nearest",
    "parse_cell",
    "parse_duration",
    "read_value",
    "words_of",
]

T = TypeVar("T")

FORMATS: tuple[Format, ...] = get_args(Format)

_SPECS = re.compile(r"[\w.-]+/[^\s,]+(?:,[\w.-]+/[^\s,]+)*,?")
_HELP_ASKED = {"help", "-h", "--help", "?"}


class ArgumentError(FailoverError, ValueError):
    """A line of a magic cannot be read; the message names the part, the nearest known one, and an example."""


@dataclass(frozen=True, slots=True)
class CellArguments:
    """The first line of a ``%%llm`` cell; ``None`` leaves the choice to the settings.

    Args:
        chain: Specs, aliases or named chains, joined by commas.
        system: The system prompt.
        temperature: Sampling temperature, as the provider scales it.
        max_tokens: The most tokens to answer with.
        stop: Texts at which the answer ends.
        seed: For providers that sample reproducibly.
        out: The name that the ``Response`` is bound to; a cell that fails leaves it unbound.
        format: How the answer is shown, and for ``json`` what it must be.
        schema: The variable that the answer's JSON is checked against, as a name or a path of attributes.
        stream: Whether the answer is shown while it comes.
        raw: Whether braces in the prompt are plain text.
        timeout: Seconds that one attempt may take.
        deadline: Seconds that the cell may take, waits included.
        midstream: What follows when a model fails amid its answer.
        retries: Attempts on one model before the next is asked.
        await_cells: Whether the kernel awaits the cell where it can.
    """

    chain: str | None = None
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    out: str | None = None
    format: Format | None = None
    schema: str | None = None
    stream: bool | None = None
    raw: bool | None = None
    timeout: float | None = None
    deadline: float | None = None
    midstream: Literal["restart", "raise"] | None = None
    retries: int | None = None
    await_cells: bool | None = None


# The values. Each reader raises a ValueError that says what the value should be.


def _text(value: str) -> str:
    return value


def _temperature(value: str) -> float:
    number = _number(value, float)
    if number is None or not 0 <= number < math.inf:
        raise ValueError("give a number, at least 0")
    return number


def _count(value: str) -> int:
    number = _whole(value)
    if number < 1:
        raise ValueError("give a whole number, at least 1")
    return number


def _whole(value: str) -> int:
    number = _number(value, int)
    if number is None:
        raise ValueError("give a whole number")
    return number


def _name(value: str) -> str:
    if not value.isidentifier():
        raise ValueError("give a Python name: letters, digits and underscores, no digit first")
    if keyword.iskeyword(value):
        raise ValueError("this is a keyword of Python; give another name")
    return value


def _variable(value: str) -> str:
    for part in value.split("."):
        _name(part)
    return value


def _seconds(value: str) -> float:
    seconds = parse_duration(value)
    if seconds is None:
        raise ValueError("give a time that ends; to have no limit of your own, leave it out")
    return seconds


def _one_of(*words: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value in words:
            return value
        near = nearest(value.lower(), words)
        raise ValueError(f"did you mean {near}?" if near else f"give {' or '.join(words)}")

    return read


def _switch(value: str) -> bool:
    return _one_of("on", "off")(value) == "on"


def _number(value: str, kind: Callable[[str], T]) -> T | None:
    try:
        return kind(value)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Key(Generic[T]):
    """One key of ``%%llm``.

    Args:
        name: As it is typed; also the field of :class:`CellArguments`.
        read: From the typed value; its ValueError says what the value should be.
        example: Of the key with a value, as it would be typed.
        help: What it does, in one line.
        setting: Where the settings hold its default; empty where they hold none.
        words: All values that it takes, where these are words.
        repeats: Whether it may be given several times, for several values.
    """

    name: str
    read: Callable[[str], T]
    example: str
    help: str
    setting: str = ""
    words: tuple[str, ...] = ()
    repeats: bool = False


_SWITCH = ("on", "off")
_MIDSTREAM = ("restart", "raise")

KEYS: tuple[Key[object], ...] = (
    Key(
        "chain",
        _text,
        "chain=openai/gpt-x,local/smollm2",
        "models in the order in which they are asked; aliases and named chains, too",
        "chain",
    ),
    Key("system", _text, 'system="Answer in one sentence."', "the system prompt", "cell.system"),
    Key("temperature", _temperature, "temperature=0.2", "sampling temperature", "cell.temperature"),
    Key("max_tokens", _count, "max_tokens=200", "the most tokens to answer with", "cell.max_tokens"),
    Key("stop", _text, "stop=END", "a text at which the answer ends; may be repeated", "cell.stop", (), True),
    Key("seed", _whole, "seed=7", "for providers that can sample the same again", "cell.seed"),
    Key("out", _name, "out=answer", "bind the Response to this name; unbound where the cell fails"),
    Key(
        "format",
        _one_of(*FORMATS),
        "format=json",
        "markdown, text, json (checked), code (goes into a new cell below, not run), html (sandboxed)",
        "cell.format",
        FORMATS,
    ),
    Key(
        "schema",
        _variable,
        "schema=Person",
        "a dict (JSON Schema) or a pydantic model of the notebook; a model whose answer does not fit is left",
    ),
    Key(
        "stream",
        _switch,
        "stream=off",
        "show the answer while it comes (on) or once it is whole (off)",
        "cell.stream",
        _SWITCH,
    ),
    Key("raw", _switch, "raw=on", "send {{ }} as it is, nothing filled in", "cell.raw", _SWITCH),
    Key(
        "timeout",
        _seconds,
        "timeout=30s",
        "the time for one attempt; then the next model",
        "policy.attempt_timeout",
    ),
    Key(
        "deadline", _seconds, "deadline=2m", "the time for the whole cell, waits included", "policy.deadline"
    ),
    Key(
        "midstream",
        _one_of(*_MIDSTREAM),
        "midstream=raise",
        "when a model fails amid its answer, restart with the next model, or raise",
        "policy.midstream",
        _MIDSTREAM,
    ),
    Key(
        "retries",
        _count,
        "retries=1",
        "attempts on one model before the next is asked",
        "policy.max_retries",
    ),
    Key(
        "await_cells",
        _switch,
        "await_cells=off",
        "off keeps the kernel to this cell until it is done",
        "cell.await_cells",
        _SWITCH,
    ),
)
"""The keys of ``%%llm``, in the order of the help."""


def parse_cell(line: str) -> CellArguments:
    """Read the first line of a ``%%llm`` cell: ``key=value`` words, quoted as in a shell.

    Raises:
        ArgumentError: When a word is no ``key=value``, a key is unknown or given twice, or a value is
            not what its key takes.

    >>> parse_cell("chain=sim/503,sim/echo temperature=0.2").temperature
    0.2
    """
    keys = {key.name: key for key in KEYS}
    values: dict[str, object] = {}
    before = ""
    for word in words_of(line):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ArgumentError(_no_pair(word, before))
        if name not in keys:
            raise ArgumentError(f"{name!r} is no key of %%llm: {_nearest_key(name)}")
        key = keys[name]
        if key.repeats:
            earlier = cast("tuple[object, ...]", values.get(name, ()))
            values[name] = (*earlier, read_value(key, value))
        elif name in values:
            raise ArgumentError(f"{name} is given twice, the second time as {word!r}: keep one of them")
        else:
            values[name] = read_value(key, value)
        before = word
    return CellArguments(**values)  # type: ignore[arg-type]  # each row of KEYS reads its own field's type


def read_value(key: Key[T], value: str) -> T:
    """A typed value as its key reads it.

    Raises:
        ArgumentError: When it is empty, or not what the key takes.
    """
    if not value.strip():
        raise ArgumentError(f"{key.name}= has no value: leave it out, or write {key.example}")
    try:
        return key.read(value)
    except ValueError as error:
        such_as = "" if str(error).endswith("?") else f", such as {key.example}"
        raise ArgumentError(f"{key.name}={value!r}: {error}{such_as}") from None


def parse_duration(text: str) -> float | None:
    """Seconds in ``90s``, ``10m``, ``1h30m``, ``2h``, ``1d`` or ``300``; ``None`` for ``forever``.

    Raises:
        ArgumentError: When it is none of these, or no time at all.

    >>> parse_duration("10m")
    600.0
    """
    if text == "forever":
        return None
    seconds = seconds_in(text)
    if seconds is None:
        raise ArgumentError(f"{text!r} is no duration: write 90s, 10m, 2h or 1d")
    if not 0 < seconds < math.inf:
        raise ArgumentError(f"{text!r} is no time that passes: write 90s, 10m, 2h or 1d")
    return seconds


def words_of(line: str) -> list[str]:
    """The words of a line, quoted as in a shell.

    Raises:
        ArgumentError: When a quote is left open.
    """
    try:
        return shlex.split(line, comments=False)
    except ValueError:
        raise ArgumentError(
            f'a quote is opened and not closed in {line.strip()!r}: write system="Answer in one sentence."'
        ) from None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like another."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def _no_pair(word: str, before: str) -> str:
    if before.endswith(",") or (before and word.startswith(",")):
        whole = f"{before.rstrip(',')},{word.strip(',')}".rstrip(",")
        return f"{word!r} is no key=value: write {whole} without a space, or quote it"
    if word in _HELP_ASKED:
        return f"{word!r} is no key=value: run %llm help in a cell of its own"
    bare = word.strip("=").lstrip("-")
    key = next((key for key in KEYS if key.name == bare), None)
    if key is not None:
        return f"{word!r} is no key=value: write {key.example}, without spaces around ="
    if not before and _SPECS.fullmatch(word):
        return f"{word!r} is no key=value: write chain={word.strip(',')}"
    return (
        f"{word!r} is no key=value: the prompt goes into the lines below, and a value with spaces into "
        'quotes, such as system="Answer in one sentence."'
    )


def _nearest_key(name: str) -> str:
    near = nearest(name.lstrip("-").lower(), (key.name for key in KEYS))
    example = next((key.example for key in KEYS if key.name == near), None)
    if example is not None:
        return f"did you mean {near}? Write {example}"
    return f"the keys are {', '.join(key.name for key in KEYS)}, such as {KEYS[0].example}"
