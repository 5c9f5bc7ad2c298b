"""The grammar of scripts: what each attempt meets, and what cannot be read."""

from __future__ import annotations

import pytest

from llm_failover_nb.engine.errors import ChainSpecError
from llm_failover_nb.providers.script import VOCABULARY, Outcome, parse_script, words


@pytest.mark.parametrize(
    ("script", "met"),
    [
        ("echo", ["echo", "echo"]),
        ("down", ["down", "down", "down"]),
        ("429:30", ["429:30", "429:30"]),
        ("503x2", ["503", "503", "echo", "echo"]),
        ("503x2+429:1+echo", ["503", "503", "429:1", "echo", "echo"]),
        ("500+401", ["500", "401", "401"]),
        ("429:0.5x2+say:ok", ["429:0.5", "429:0.5", "say:ok", "say:ok"]),
        ("cut", ["cut:40", "cut:40"]),
        ("say:max", ["say:max"]),
        ("error200x1", ["error200:0", "echo"]),
        ("flap", ["503", "echo", "503", "echo", "503"]),
        ("flapx3", ["503", "echo", "503", "echo", "echo"]),
        ("flapx2+401", ["503", "echo", "401", "401"]),
        ("401+flap", ["401", "503", "echo", "503"]),
        ("trickle", ["trickle:1"]),
    ],
)
def test_a_script_gives_each_attempt_its_outcome(script, met):
    """Counts are used up, the last outcome repeats, and answers follow a last count."""
    read = parse_script(script)
    assert [str(read.outcome(n)) for n in range(1, len(met) + 1)] == met


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("dwon+echo", ["sim/dwon+echo", "'dwon'", "did you mean 'down'?"]),
        ("503+ech", ["'ech'", "did you mean 'echo'?"]),
        ("qqqqq", ["'qqqqq'", "the words are auth, bad, big"]),
        ("", ["cannot read ''", "an outcome is a word"]),
        ("503++echo", ["cannot read ''"]),
        ("200", ["'200'", "400 to 599", "did you mean '503'?"]),
        ("5033", ["'5033'", "400 to 599"]),
        ("503x0", ["'503x0'", "a count is 1 or more"]),
        ("429:soon", ["'429:soon'", "'soon' is no number of seconds"]),
        ("slow:-1", ["'-1' is no number of seconds"]),
        ("slow:nan", ["'nan' is no number of seconds"]),
        ("slow:12345678", ["up to 999999"]),
        ("cut:1.5", ["'1.5' is no number of characters"]),
        ("echo:3", ["echo takes no argument"]),
        ("slow", ["slow needs seconds after a colon"]),
        ("say", ["say needs text after a colon"]),
        ("503:", ["cannot read '503:'"]),
        ("٤٠٤", ["cannot read '٤٠٤'"]),
    ],
)
def test_a_script_that_cannot_be_read_is_refused(model, parts):
    """The error names the script, the bad part, what is known, and gives an example."""
    with pytest.raises(ChainSpecError) as caught:
        parse_script(model)
    assert [part for part in [*parts, "sim/503x2+429:30+echo"] if part not in str(caught.value)] == []


@pytest.mark.parametrize("text", ["", " ", "a", " a  b\n\nc \n", "ä\u2028b", "\n a"])
def test_words_lose_nothing(text):
    """Joined again, the words are the text."""
    assert "".join(words(text)) == text


def test_an_outcome_reads_back():
    """An outcome's text is the part of the script that it came from."""
    assert str(Outcome("429", "30")) == "429:30"


def test_the_vocabulary_is_sorted():
    """So that messages list it in an order to look things up in."""
    assert list(VOCABULARY) == sorted(VOCABULARY)
