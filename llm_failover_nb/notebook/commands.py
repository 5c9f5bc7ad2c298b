"""What a person types after ``%llm``, as data: the subcommands and their words. Nothing is run here.

A subcommand is one row of ``COMMANDS``. Help, error messages and completion are made from these rows; what
a subcommand does is `control.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_failover_nb.notebook.arguments import KEYS, ArgumentError, nearest, parse_duration, words_of

__all__ = [
    "COMMANDS",
    "Command",
    "Pair",
    "parse_bench",
    "parse_chain_words",
    "parse_command",
    "parse_optional",
    "parse_pairs",
    "parse_spec",
]


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand of ``%llm``.

    Args:
        name: As it is typed; empty for ``%llm`` alone.
        usage: What follows the name.
        help: What it does, in one line.
        example: A whole line, as it would be typed; empty where the name alone is one.
    """

    name: str
    usage: str
    help: str
    example: str = ""

    @property
    def typed(self) -> str:
        """The whole line, as it is typed."""
        return " ".join(filter(None, ("%llm", self.name, self.usage)))


COMMANDS: tuple[Command, ...] = (
    Command("", "", "the default chain and the benches"),
    Command(
        "chain",
        "[SPECS | NAME = SPECS]",
        "set the chain of cells that name none, or name a chain; alone, list them",
        "%llm chain prod = openai/gpt-x,local/smollm2",
    ),
    Command(
        "bench",
        "SPEC [10m|2h|1d|forever]",
        "pass a model by, for that long or until lifted; a call that awaits it goes on to the next",
        "%llm bench openai/gpt-x 10m",
    ),
    Command("unbench", "SPEC", "lift a bench", "%llm unbench openai/gpt-x"),
    Command(
        "models",
        "[TEXT]",
        "the providers, aliases and models there are, or those that match",
        "%llm models groq",
    ),
    Command("panel", "", "a live panel: models, benches and chains, to see and to change while a cell waits"),
    Command("events", "", "every attempt and bench change, as a DataFrame"),
    Command(
        "explain",
        "[NAME]",
        "what failed last, or the exception in a variable: which rule decided, and what to do",
        "%llm explain error",
    ),
    Command(
        "config",
        "[KEY=VALUE …]",
        "each setting and where it comes from; with KEY=VALUE, set it for this notebook, KEY= takes it back",
        "%llm config temperature=0.2 deadline=2m",
    ),
    Command("trust", "[withdraw]", "see what the project's settings file wants beyond chains, and allow it"),
    Command("doctor", "", "kernel, loop, keys, local model and versions, with a remedy for what is amiss"),
    Command("nest", "", "let other people's asyncio.run work in this notebook"),
    Command("help", "", "this list"),
)
"""The subcommands of ``%llm``, in the order of the help."""

Pair = tuple[str, str]
"""A name and its value, as they are typed on both sides of ``=``."""


def parse_command(line: str) -> tuple[str, tuple[str, ...]]:
    """Read the line of ``%llm``: the subcommand, empty where there is none, and the words after it.

    Raises:
        ArgumentError: When the subcommand is unknown, or has words after it and takes none.

    >>> parse_command("bench openai/gpt-x 10m")
    ('bench', ('openai/gpt-x', '10m'))
    """
    words = words_of(line)
    if not words:
        return "", ()
    name, *rest = words
    command = next((command for command in COMMANDS if command.name == name), None)
    if command is None:
        raise ArgumentError(f"{name!r} is no subcommand of %llm: {_nearest_command(name)}")
    if rest and not command.usage:
        raise ArgumentError(f"{rest[0]!r} is one word too many: write {command.typed}")
    return name, tuple(rest)


def parse_bench(words: tuple[str, ...]) -> tuple[str, float | None]:
    """The spec and the seconds of ``%llm bench``; ``None`` seconds is until lifted.

    Raises:
        ArgumentError: When the spec is missing, the duration cannot be read, or more follows.
    """
    spec, *rest = _some(words, "bench", most=2)
    try:
        return spec, parse_duration(rest[0]) if rest else None
    except ArgumentError as error:
        raise ArgumentError(f"{error}, or forever") from None


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


def parse_chain_words(words: tuple[str, ...]) -> Pair | None:
    """What ``%llm chain`` names: a name (empty for the default chain) and specs; ``None`` to list them.

    Specs may be written with spaces after their commas. No specs after ``=`` take the name back.

    Raises:
        ArgumentError: When ``=`` has no name before it.

    >>> parse_chain_words(("prod", "=", "a/b,", "c/d"))
    ('prod', 'a/b,c/d')
    """
    if not words:
        return None
    before, equals, after = " ".join(words).partition("=")
    # A spec may hold the sign itself.
    if not equals or "/" in before:
        return "", _joined(words)
    if not before.strip():
        raise ArgumentError(f"{' '.join(words)!r} names no chain: write {_example('chain')}")
    return before.strip(), _joined(tuple(after.split()))


def parse_pairs(words: tuple[str, ...]) -> tuple[Pair, ...]:
    """The ``key=value`` words of ``%llm config``.

    Raises:
        ArgumentError: When a word is no ``key=value``.
    """
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ArgumentError(
                f"{word!r} is no key=value: write {_example('config')}, without spaces around ="
            )
        pairs.append((name, value))
    return tuple(pairs)


def _joined(words: tuple[str, ...]) -> str:
    """Specs that were typed with spaces around their commas, in one word."""
    parts = " ".join(words).split(",")
    if crooked := [part for part in parts if len(part.split()) > 1]:
        first, second, *_ = crooked[0].split()
        raise ArgumentError(f"{first!r} and {second!r} stand side by side: put a comma between them")
    return ",".join(filter(None, map(str.strip, parts)))


def _nearest_command(name: str) -> str:
    key, equals, _ = name.partition("=")
    if equals and any(known.name == key for known in KEYS):
        return f"{key}= belongs to a cell that begins with %%llm and has the prompt below"
    near = nearest(name.lower(), (command.name for command in COMMANDS if command.name))
    typed = next((command.typed for command in COMMANDS if command.name == near), None)
    if typed is not None:
        return f"did you mean {near}? Write {typed}"
    known = ", ".join(command.name for command in COMMANDS if command.name)
    return f"known are {known}. To ask a model, begin the cell with %%llm and put the prompt below"


def _some(words: tuple[str, ...], name: str, *, most: int) -> tuple[str, ...]:
    if not words:
        raise ArgumentError(f"%llm {name} names no model: write {_typed(name)}")
    return _at_most(most, words, name)


def _at_most(most: int, words: tuple[str, ...], name: str) -> tuple[str, ...]:
    if len(words) > most:
        raise ArgumentError(f"{words[most]!r} is one word too many: write {_typed(name)}")
    return words


def _typed(name: str) -> str:
    return _command(name).typed


def _example(name: str) -> str:
    return _command(name).example


def _command(name: str) -> Command:
    return next(command for command in COMMANDS if command.name == name)
