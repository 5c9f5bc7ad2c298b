"""What is typed after ``%%llm`` and ``%llm``: read whole, or refused with a word that helps."""

from __future__ import annotations

from dataclasses import fields

import pytest

from llm_failover_nb.notebook.arguments import (
    COMMANDS,
    KEYS,
    ArgumentError,
    CellArguments,
    parse_bench,
    parse_cell,
    parse_command,
    parse_duration,
    parse_optional,
    parse_spec,
)


def refusal(line: str) -> str:
    """What is said about a first line that is refused."""
    with pytest.raises(ArgumentError) as raised:
        parse_cell(line)
    return str(raised.value)


def test_nothing_given() -> None:
    """An empty line leaves everything as it is by default, and streams."""
    expected = CellArguments(None, None, None, None, None, True)

    assert expected == parse_cell("")


def test_all_given() -> None:
    """Each key fills its field, quotes hold a value with spaces together."""
    line = 'chain=a/b,c/d system="Be brief, # please." temperature=0.5 max_tokens=20 out=answer stream=off'

    assert CellArguments("a/b,c/d", "Be brief, # please.", 0.5, 20, "answer", False) == parse_cell(line)


def test_value_with_equals() -> None:
    """Only the first ``=`` ends the key."""
    assert parse_cell("system=x=y").system == "x=y"


def test_a_row_for_each_field() -> None:
    """The table of keys and the data they fill name the same things, in the same order."""
    assert [field.name for field in fields(CellArguments)] == [key.name for key in KEYS]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_examples_can_be_typed(key: object) -> None:
    """The example that a refusal shows is itself accepted."""
    assert isinstance(parse_cell(key.example), CellArguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cain=a/b", ("'cain'", "did you mean chain?", "chain=openai/gpt-x")),
        ("tempreature=1", ("'tempreature'", "did you mean temperature?", "temperature=0.2")),
        ("zzz=1", ("'zzz'", "chain, system, temperature, max_tokens, out, stream")),
        ("--chain=a/b", ("'--chain'", "did you mean chain?")),
        ("hello", ("'hello'", "the lines below")),
        ("sim/echo", ("'sim/echo' is no key=value: write chain=sim/echo",)),
        ("openrouter/meta/llama,sim/echo", ("write chain=openrouter/meta/llama,sim/echo",)),
        ("a/b, c/d", ("'a/b,'", "write chain=a/b")),
        ("max_tokens=5 and/or", ("'and/or'", "the lines below")),
        ("chain=a/b, c/d", ("'c/d'", "write chain=a/b,c/d without a space, or quote it")),
        ("chain=a/b ,c/d", ("',c/d'", "write chain=a/b,c/d without a space")),
        ("chain=a/b , c/d", ("','", "without a space, or quote it")),
        ("system=Well, now", ("'now'", "write system=Well,now without a space, or quote it")),
        ("chain = a/b", ("'chain'", "without spaces around =")),
        ("=5", ("'=5'",)),
        ("chain=a/b chain=c/d", ("chain is given twice", "'chain=c/d'")),
        ("temperature=warm", ("temperature='warm'", "a number", "temperature=0.2")),
        ("temperature=nan", ("temperature='nan'",)),
        ("temperature=inf", ("temperature='inf'",)),
        ("temperature=-1", ("temperature='-1'", "at least 0")),
        ("max_tokens=0", ("max_tokens='0'", "at least 1")),
        ("max_tokens=1.5", ("max_tokens='1.5'", "whole number")),
        ("out=2nd", ("out='2nd'", "a Python name")),
        ("out=class", ("out='class'", "keyword")),
        ("out=a.b", ("out='a.b'", "a Python name")),
        ("stream=yes", ("stream='yes'", "on or off")),
        ("chain=", ("chain= has no value", "leave it out")),
        ('system="open', ("a quote is opened", "'system=\"open'")),
    ],
)
def test_refusals(line: str, words: tuple[str, ...]) -> None:
    """A refusal names the value, what is wrong with it, and what to write."""
    said = refusal(line)

    assert [word for word in words if word not in said] == [], said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1h30m", 5400.0),
        ("0.5h", 1800.0),
        ("300", 300.0),
        ("forever", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    """A duration is a number of seconds, or a number with a unit; forever is none."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "10x", "m", "-5", "0", "0s", "nan", "inf", "1m 30s", "9" * 400])
def test_no_durations(text: str) -> None:
    """What is no duration is named, with examples of what is one."""
    with pytest.raises(ArgumentError, match=r"10m, 2h, 1d, or forever") as raised:
        parse_duration(text)

    assert repr(text) in str(raised.value)


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
        ("qqqq", ("'qqqq'", "bench, unbench, models, events, explain, help")),
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
