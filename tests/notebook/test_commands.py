"""What is typed after ``%llm``: read whole, or refused with a word that helps."""

from __future__ import annotations

import pytest

from llm_failover_nb.notebook.arguments import ArgumentError
from llm_failover_nb.notebook.commands import (
    COMMANDS,
    parse_bench,
    parse_chain_words,
    parse_command,
    parse_optional,
    parse_pairs,
    parse_spec,
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ("", ())),
        ("  ", ("", ())),
        ("bench a/b 10m", ("bench", ("a/b", "10m"))),
        ("unbench a/b", ("unbench", ("a/b",))),
        ("events", ("events", ())),
        ("models", ("models", ())),
        ("models groq", ("models", ("groq",))),
        ("explain error", ("explain", ("error",))),
    ],
)
def test_commands(line: str, expected: tuple[str, tuple[str, ...]]) -> None:
    """The first word is the subcommand, what follows is its own."""
    assert expected == parse_command(line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bnech a/b", ("'bnech'", "did you mean bench?", "%llm bench SPEC")),
        ("chain=a/b hi", ("'chain=a/b'", "%%llm", "prompt below")),
        (
            "qqqq",
            (
                "'qqqq'",
                "chain, bench, unbench, models, panel, events, explain, config, trust, doctor, nest, help",
            ),
        ),
        ("events now", ("'now'", "%llm events")),
    ],
)
def test_unknown_commands(line: str, words: tuple[str, ...]) -> None:
    """An unknown subcommand is named, with the nearest one or all of them."""
    with pytest.raises(ArgumentError) as raised:
        parse_command(line)

    assert [word for word in words if word not in str(raised.value)] == [], str(raised.value)


def test_help_names_all() -> None:
    """Every subcommand can be typed as its row says."""
    assert [c.name for c in COMMANDS] == [parse_command(f"{c.name}")[0] for c in COMMANDS]


def test_bench_until_lifted() -> None:
    """Without a duration a bench holds until lifted."""
    assert parse_bench(("a/b",)) == ("a/b", None)


def test_bench_for() -> None:
    """With one, it is in seconds."""
    assert parse_bench(("a/b", "10m")) == ("a/b", 600.0)


@pytest.mark.parametrize("words", [(), ("a/b", "10m", "now")])
def test_bench_refusals(words: tuple[str, ...]) -> None:
    """A bench without a model, or with a word too many, says what to write."""
    with pytest.raises(ArgumentError, match=r"write %llm bench SPEC \[10m"):
        parse_bench(words)


@pytest.mark.parametrize("words", [(), ("a/b", "10m")])
def test_unbench_refusals(words: tuple[str, ...]) -> None:
    """So does lifting one."""
    with pytest.raises(ArgumentError, match=r"write %llm unbench SPEC"):
        parse_spec(words)


@pytest.mark.parametrize(("words", "expected"), [((), ""), (("groq",), "groq")])
def test_one_word_that_may_be_left_out(words: tuple[str, ...], expected: str) -> None:
    """It is read where it is given."""
    assert parse_optional("models", words) == expected


def test_one_word_too_many() -> None:
    """The refusal names it and what to write."""
    with pytest.raises(ArgumentError, match=r"'b' is one word too many: write %llm explain \[NAME\]"):
        parse_optional("explain", ("a", "b"))


@pytest.mark.parametrize("example", [command.example for command in COMMANDS if command.example])
def test_examples_can_be_typed(example: str) -> None:
    """The example that the help shows is itself accepted."""
    name, words = parse_command(example.removeprefix("%llm "))

    assert name
    assert words


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("a/b,c/d", ("", "a/b,c/d")),
        ("a/b, c/d", ("", "a/b,c/d")),
        ("a/b ,c/d,", ("", "a/b,c/d")),
        ("prod = a/b,c/d", ("prod", "a/b,c/d")),
        ("prod=a/b", ("prod", "a/b")),
        ("prod= a/b , c/d", ("prod", "a/b,c/d")),
        ("prod =", ("prod", "")),
        ("sim/say:1=1", ("", "sim/say:1=1")),
        ("prod = sim/say:1=1", ("prod", "sim/say:1=1")),
    ],
)
def test_chain(line: str, expected: tuple[str, str] | None) -> None:
    """A chain is set or named, with or without spaces around its signs; nothing lists them."""
    assert expected == parse_chain_words(parse_command(f"chain {line}")[1])


@pytest.mark.parametrize(
    ("line", "words"),
    [("= a/b", "names no chain"), ("a/b c/d", "'a/b' and 'c/d' stand side by side: put a comma")],
)
def test_chain_refusals(line: str, words: str) -> None:
    """What is no chain is refused with what to write."""
    with pytest.raises(ArgumentError, match=words):
        parse_chain_words(parse_command(f"chain {line}")[1])


def test_pairs() -> None:
    """Settings are key=value words; a value may be empty, and quoted."""
    words = parse_command("config temperature=0.2 system='Be brief.' deadline=")[1]

    assert parse_pairs(words) == (("temperature", "0.2"), ("system", "Be brief."), ("deadline", ""))


@pytest.mark.parametrize("word", ["temperature", "=5"])
def test_no_pair(word: str) -> None:
    """A word that is none is named, with an example."""
    with pytest.raises(ArgumentError, match=r"is no key=value: write %llm config temperature=0\.2"):
        parse_pairs((word,))
