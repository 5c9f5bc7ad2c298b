"""What stands at the cursor: the magic's line, the word, the part of a chain, the name within braces."""

from __future__ import annotations

import pytest

from llm_failover_nb.notebook.cursor import Place, Word, part_of, place_at


def at(text: str) -> Place | None:
    """The place of the last ``|`` in a cell."""
    before, _, after = text.rpartition("|")
    return place_at(before + after, before.count("\n"), len(before.rpartition("\n")[2]))


def word(text: str) -> tuple[str, str]:
    """What of the word at the ``|`` stands before it, and behind it."""
    place = at(text)
    assert place is not None
    return place.word.before, place.word.after


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("%%llm |", "cell"),
        ("%%llm chain=a|\nprompt", "cell"),
        ("\n\n%%llm |\nprompt", "cell"),
        ("%llm |", "line"),
        ("  %llm |", "line"),
        ("x = %llm |", "line"),
        ("x=%llm |", "line"),
        ("import os\n%llm bench |", "line"),
        ("%%time\n%llm |", "line"),
        ("%%llm\n{{ |", "template"),
        ("%%llm chain=a\nTwo {{ a }} and {{b|", "template"),
        ("%%llm\n{{\n  na|\n}}", "template"),
    ],
)
def test_a_place_of_ours(text: str, kind: str) -> None:
    """On the first line of a cell, on the line of a %llm, within braces of a prompt."""
    place = at(text)
    assert place is not None
    assert place.kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "|",
        "llm |",
        "%%llm|",
        "%%ll|m",
        "%%llmx |",
        "%%llm\n|",
        "%%llm chain=a\nchain=|",
        "%%llm\n%llm |",
        "%%llm\n{ |",
        "%%llm\n{{ a }} |",
        "%%llm\n{{ df.he|",
        '%%llm\n{{ df["na|',
        "%%llm\n{{ df | fu|",
        "%%llm raw=on\n{{ |",
        "%%llm\nprompt\n%%llm |",
        "x = 1\n%%llm |",
        "x %llm |",
        "print(|) # %llm",
        "|%llm bench",
        "%%time\n{{ |",
    ],
)
def test_a_place_of_others(text: str) -> None:
    """The body of a prompt, Python, other magics: nothing of ours belongs there."""
    assert at(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%%llm |", ("", "")),
        ("%%llm te|", ("te", "")),
        ("%%llm te|mp=0 out=x", ("te", "mp=0")),
        ("%%llm a=1 | out=x", ("", "")),
        ("%%llm |out=x", ("", "out=x")),
        ("%%llm out=x|", ("out=x", "")),
        ('%%llm chain="a, b| c" out=x', ('chain="a, b', ' c"')),
        ("%%llm chain='a, b|", ("chain='a, b", "")),
        ("""%%llm system="it's here" te|""", ("te", "")),
    ],
)
def test_the_word_at_the_cursor(text: str, expected: tuple[str, str]) -> None:
    """With both of its halves; a space within quotes is none between words."""
    assert word(text) == expected


@pytest.mark.parametrize(
    ("text", "earlier", "later"),
    [
        ("%%llm |", (), ()),
        ("%%llm a=1 b=2 | c=3", ("a=1", "b=2"), ("c=3",)),
        ("%%llm a=1 b|=2 c=3", ("a=1",), ("c=3",)),
        ('%%llm system="two words" |', ('system="two words"',), ()),
        ("x = %llm bench a/b |", ("bench", "a/b"), ()),
    ],
)
def test_the_words_around_it(text: str, earlier: tuple[str, ...], later: tuple[str, ...]) -> None:
    """They say what is given already."""
    place = at(text)
    assert place is not None
    assert (place.earlier, place.later) == (earlier, later)


@pytest.mark.parametrize(
    ("typed", "part", "others"),
    [
        (Word("chain="), "", ()),
        (Word("chain=op"), "op", ()),
        (Word("chain=a/b,op"), "op", ("a/b",)),
        (Word("chain=a/b,op", "en,c/d"), "op", ("a/b", "c/d")),
        (Word('chain="a/b, op', ' x, c/d"'), "op", ("a/b", "c/d")),
        (Word("chain=lab/x=y,op"), "op", ("lab/x=y",)),
        (Word("a/b,op"), "op", ("a/b",)),
        (Word("'a/b,op"), "op", ("a/b",)),
    ],
)
def test_the_part_of_a_chain(typed: Word, part: str, others: tuple[str, ...]) -> None:
    """What is typed of it, and the entries that the chain has besides."""
    assert part_of(typed) == (part, others)


def test_a_cursor_outside_of_the_cell_is_nowhere() -> None:
    """A front end may be ahead of what it has sent."""
    assert (place_at("%llm x", 7, 0), place_at("%llm x", -1, 0)) == (None, None)
