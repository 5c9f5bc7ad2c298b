"""What is typed after ``%%llm``: read whole, or refused with a word that helps."""

from __future__ import annotations

from dataclasses import fields

import pytest

from llm_failover_nb.notebook.arguments import (
    KEYS,
    ArgumentError,
    CellArguments,
    parse_cell,
    parse_duration,
)


def refusal(line: str) -> str:
    """What is said about a first line that is refused."""
    with pytest.raises(ArgumentError) as raised:
        parse_cell(line)
    return str(raised.value)


def test_nothing_given() -> None:
    """An empty line leaves every choice to the settings."""
    assert [None] * len(KEYS) == [getattr(parse_cell(""), key.name) for key in KEYS]


def test_all_given() -> None:
    """Each key fills its field, quotes hold a value with spaces together."""
    line = (
        'chain=a/b,c/d system="Be brief, # please." temperature=0.5 max_tokens=20 stop=END stop="# " seed=7 '
        "out=answer format=json schema=shapes.Person stream=off raw=on timeout=30s deadline=2m "
        "midstream=raise retries=1 await_cells=off"
    )
    expected = CellArguments(
        chain="a/b,c/d",
        system="Be brief, # please.",
        temperature=0.5,
        max_tokens=20,
        stop=("END", "# "),
        seed=7,
        out="answer",
        format="json",
        schema="shapes.Person",
        stream=False,
        raw=True,
        timeout=30.0,
        deadline=120.0,
        midstream="raise",
        retries=1,
        await_cells=False,
    )

    assert expected == parse_cell(line)


def test_value_with_equals() -> None:
    """Only the first ``=`` ends the key."""
    assert parse_cell("system=x=y").system == "x=y"


def test_a_question_ends_the_refusal() -> None:
    """A near value needs no example."""
    with pytest.raises(ArgumentError, match=r"did you mean json\?$"):
        parse_cell("format=jsn")


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
        ("zzz=1", ("'zzz'", "chain, system, temperature, max_tokens, stop, seed, out, format")),
        ("format=markdwon", ("format='markdwon'", "did you mean markdown?")),
        ("format=pdf", ("format='pdf'", "markdown or text or json or code or html")),
        ("midstream=restrat", ("did you mean restart?",)),
        ("stream=onn", ("did you mean on?",)),
        ("seed=x", ("seed='x'", "whole number", "seed=7")),
        ("retries=0", ("retries='0'", "at least 1")),
        ("timeout=soon", ("timeout='soon'", "write 90s, 10m", "timeout=30s")),
        ("deadline=0", ("deadline='0'", "no time that passes")),
        ("deadline=forever", ("deadline='forever'", "a time that ends")),
        ("schema=a.1", ("schema='a.1'", "a Python name")),
        ("help", ("run %llm help",)),
        ("chain=a/b --help", ("run %llm help",)),
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
    with pytest.raises(ArgumentError, match=r"write 90s, 10m, 2h or 1d") as raised:
        parse_duration(text)

    assert repr(text) in str(raised.value)
