"""What a person types after ``%%llm`` and ``%llm``, as frozen data. No IPython here, and nothing is run.

A key of ``%%llm`` is one row of ``KEYS`` and one field of :class:`CellArguments`; a subcommand of ``%llm``
is one row of ``COMMANDS``. Help and error messages are made from these rows.
"""

from __future__ import annotations

import difflib
import keyword
import math
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from llm_failover_nb.engine.errors import FailoverError

__all__ = [
    "COMMANDS",
    "KEYS",
    "ArgumentError",
    "CellArguments",
    "Command",
    "Key",
    "parse_bench",
    "parse_cell",
    "parse_command",
    "parse_duration",
    "parse_optional",
    "parse_spec",
]

T = TypeVar("T")

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_SPECS = re.compile(r"[\w.-]+/[^\s,]+(?:,[\w.-]+/[^\s,]+)*,?")
_SECONDS = re.compile(r"\d+(?:\.\d+)?")


class ArgumentError(FailoverError, ValueError):
    """A line of a magic cannot be read; the message names the part, the nearest known one, and an example."""


@dataclass(frozen=True, slots=True)
class CellArguments:
    """The first line of a ``%%llm`` cell.

    Args:
        chain: Specs joined by commas; ``None`` leaves the choice to the settings.
        system: The system prompt.
        temperature: Sampling temperature, as the provider scales it.
        max_tokens: The most tokens to answer with.
        out: The name that the ``Response`` is bound to; a cell that fails leaves it unbound.
        stream: Whether the answer is shown while it comes.
    """

    chain: str | None = None
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    out: str | None = None
    stream: bool = True


# The values. Each reader raises a ValueError that says what the value should be.


def _text(value: str) -> str:
    return value


def _temperature(value: str) -> float:
    number = _number(value, float)
    if number is None or not 0 <= number < math.inf:
        raise ValueError("give a number, at least 0")
    return number


def _max_tokens(value: str) -> int:
    number = _number(value, int)
    if number is None or number < 1:
        raise ValueError("give a whole number, at least 1")
    return number


def _name(value: str) -> str:
    if not value.isidentifier():
        raise ValueError("give a Python name: letters, digits and underscores, no digit first")
    if keyword.iskeyword(value):
        raise ValueError("this is a keyword of Python; give another name")
    return value


def _switch(value: str) -> bool:
    if value not in {"on", "off"}:
        raise ValueError("give on or off")
    return value == "on"


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
    """

    name: str
    read: Callable[[str], T]
    example: str
    help: str


KEYS: tuple[Key[object], ...] = (
    Key("chain", _text, "chain=openai/gpt-x,local/smollm2", "models in the order in which they are asked"),
    Key("system", _text, 'system="Answer in one sentence."', "the system prompt"),
    Key("temperature", _temperature, "temperature=0.2", "sampling temperature"),
    Key("max_tokens", _max_tokens, "max_tokens=200", "the most tokens to answer with"),
    Key("out", _name, "out=answer", "bind the Response to this name; unbound where the cell fails"),
    Key("stream", _switch, "stream=off", "show the answer while it comes (on) or once it is whole (off)"),
)
"""The keys of ``%%llm``, in the order of the help."""


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand of ``%llm``.

    Args:
        name: As it is typed; empty for ``%llm`` alone.
        usage: What follows the name.
        help: What it does, in one line.
    """

    name: str
    usage: str
    help: str

    @property
    def typed(self) -> str:
        """The whole line, as it is typed."""
        return " ".join(filter(None, ("%llm", self.name, self.usage)))


COMMANDS: tuple[Command, ...] = (
    Command("", "", "the default chain and the benches"),
    Command("bench", "SPEC [10m|2h|1d|forever]", "pass a model by, for that long or until lifted"),
    Command("unbench", "SPEC", "lift a bench"),
    Command("models", "[TEXT]", "the providers, aliases and models there are, or those that match"),
    Command("events", "", "every attempt and bench change, as a DataFrame"),
    Command("explain", "[NAME]", "what failed last, or the exception in a variable, and what to do"),
    Command("help", "", "this list"),
)
"""The subcommands of ``%llm``, in the order of the help."""


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
    for word in _words(line):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ArgumentError(_no_pair(word, before))
        if name not in keys:
            raise ArgumentError(f"unknown key {name!r} in {word!r}: {_nearest_key(name)}")
        if name in values:
            raise ArgumentError(f"{name} is given twice, the second time as {word!r}: keep one of them")
        values[name] = _value(keys[name], value)
        before = word
    return CellArguments(**values)  # type: ignore[arg-type]  # each row of KEYS reads its own field's type


def parse_command(line: str) -> tuple[str, tuple[str, ...]]:
    """Read the line of ``%llm``: the subcommand, empty where there is none, and the words after it.

    Raises:
        ArgumentError: When the subcommand is unknown, or has words after it and takes none.

    >>> parse_command("bench openai/gpt-x 10m")
    ('bench', ('openai/gpt-x', '10m'))
    """
    words = _words(line)
    if not words:
        return "", ()
    name, *rest = words
    command = next((command for command in COMMANDS if command.name == name), None)
    if command is None:
        raise ArgumentError(f"unknown subcommand {name!r}: {_nearest_command(name)}")
    if rest and not command.usage:
        raise ArgumentError(f"{rest[0]!r} is one word too many: write {command.typed}")
    return name, tuple(rest)


def parse_bench(words: tuple[str, ...]) -> tuple[str, float | None]:
    """The spec and the seconds of ``%llm bench``; ``None`` seconds is until lifted.

    Raises:
        ArgumentError: When the spec is missing, the duration cannot be read, or more follows.
    """
    spec, *rest = _some(words, "bench", most=2)
    return spec, parse_duration(rest[0]) if rest else None


def parse_spec(words: tuple[str, ...]) -> str:
    """The spec of ``%llm unbench``.

    Raises:
        ArgumentError: When it is missing, or more follows.
    """
    return _some(words, "unbench", most=1)[0]


def parse_optional(name: str, words: tuple[str, ...]) -> str:
    """The one word that may follow the subcommand ``name``; empty where there is none.

    Raises:
        ArgumentError: When more follow.
    """
    return "".join(_at_most(1, words, name))


def parse_duration(text: str) -> float | None:
    """Seconds in ``90s``, ``10m``, ``1h30m``, ``2h``, ``1d`` or ``300``; ``None`` for ``forever``.

    Raises:
        ArgumentError: When it is none of these, or no time at all.

    >>> parse_duration("10m")
    600.0
    """
    if text == "forever":
        return None
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    else:
        raise ArgumentError(f"{text!r} is no duration: write 90s, 10m, 2h, 1d, or forever")
    if not 0 < seconds < math.inf:
        raise ArgumentError(f"{text!r} benches for no time: write 90s, 10m, 2h, 1d, or forever")
    return seconds


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=False)
    except ValueError:
        raise ArgumentError(
            f'a quote is opened and not closed in {line.strip()!r}: write system="Answer in one sentence."'
        ) from None


def _value(key: Key[object], value: str) -> object:
    if not value.strip():
        raise ArgumentError(f"{key.name}= has no value: leave it out, or write {key.example}")
    try:
        return key.read(value)
    except ValueError as error:
        raise ArgumentError(f"{key.name}={value!r}: {error}, such as {key.example}") from None


def _no_pair(word: str, before: str) -> str:
    if before.endswith(",") or (before and word.startswith(",")):
        whole = f"{before.rstrip(',')},{word.strip(',')}".rstrip(",")
        return f"{word!r} is no key=value: write {whole} without a space, or quote it"
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
    near = _nearest(name.lstrip("-").lower(), (key.name for key in KEYS))
    example = next((key.example for key in KEYS if key.name == near), None)
    if example is not None:
        return f"did you mean {near}? Write {example}"
    return f"known keys are {', '.join(key.name for key in KEYS)}, such as {KEYS[0].example}"


def _nearest_command(name: str) -> str:
    key, equals, _ = name.partition("=")
    if equals and any(known.name == key for known in KEYS):
        return f"{key}= belongs to a cell that begins with %%llm and has the prompt below"
    near = _nearest(name.lower(), (command.name for command in COMMANDS if command.name))
    typed = next((command.typed for command in COMMANDS if command.name == near), None)
    if typed is not None:
        return f"did you mean {near}? Write {typed}"
    known = ", ".join(command.name for command in COMMANDS if command.name)
    return f"known are {known}. To ask a model, begin the cell with %%llm and put the prompt below"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def _some(words: tuple[str, ...], name: str, *, most: int) -> tuple[str, ...]:
    if not words:
        raise ArgumentError(f"%llm {name} names no model: write {_typed(name)}")
    return _at_most(most, words, name)


def _at_most(most: int, words: tuple[str, ...], name: str) -> tuple[str, ...]:
    if len(words) > most:
        raise ArgumentError(f"{words[most]!r} is one word too many: write {_typed(name)}")
    return words


def _typed(name: str) -> str:
    return next(command.typed for command in COMMANDS if command.name == name)
