"""[chains], [cell] and [policy]: what is read, what is refused, and what the refusal says."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from llm_failover_nb.engine.chain import PolicyFields, parse_chain
from llm_failover_nb.engine.policy import Policy
from llm_failover_nb.settings import CELL_DEFAULTS, load_settings
from llm_failover_nb.settings.values import _COUNTS, _ENDLESS, _WORDS, CELL, POLICY
from tests.settings.refusals import refusal

KNOWN_POLICY = (
    "known here: max_retries, stream_max_retries, cooldown, bench_threshold, max_wait, max_bench, "
    "connect_timeout, first_token_timeout, idle_timeout, attempt_timeout, deadline, midstream, content_filter"
)
KEY = "sk-canary-0123456789abcdef"


def test_chains_are_read(file: Path) -> None:
    """As written, by name."""
    file.write_text("[chains]\nprod = ' a/b, c/d '\n'the.best' = 'a/b'")
    assert load_settings(file).chains == {"prod": "a/b, c/d", "the.best": "a/b"}


def test_every_key_of_a_cell_is_read(file: Path) -> None:
    """Each with its type."""
    file.write_text(
        "[cell]\nsystem = ' Be brief. '\ntemperature = 1\nmax_tokens = 9\nstop = ['END', '\\n']\nseed = -7\n"
        "format = 'json'\nstream = false\nraw = true\nawait_cells = false\n".replace("'\\n'", '"\\n"')
    )
    assert load_settings(file).cell == {
        "system": "Be brief.", "temperature": 1.0, "max_tokens": 9, "stop": ("END", "\n"), "seed": -7,
        "format": "json", "stream": False, "raw": True, "await_cells": False,
    }  # fmt: skip


def test_one_stop_is_a_list_of_one(file: Path) -> None:
    """A text will do."""
    file.write_text("[cell]\nstop = 'END'")
    assert load_settings(file).cell["stop"] == ("END",)


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("max_retries = 1", "max_retries", 1),
        ("stream_max_retries = 'none'", "stream_max_retries", None),
        ("cooldown = 0", "cooldown", 0),
        ("cooldown = '2m'", "cooldown", 120.0),
        ("max_wait = '90s'", "max_wait", 90.0),
        ("max_bench = '1h30m'", "max_bench", 5400.0),
        ("deadline = ' 300 '", "deadline", 300.0),
        ("deadline = 0.5", "deadline", 0.5),
        ("idle_timeout = 'none'", "idle_timeout", None),
        ("midstream = 'restart'", "midstream", "restart"),
        ("content_filter = 'next'", "content_filter", "next"),
    ],
)
def test_a_field_of_the_policy_is_read(file: Path, written: str, field: str, value: object) -> None:
    """Seconds as numbers or durations, and no limit as a word."""
    file.write_text(f"[policy]\n{written}")
    assert load_settings(file).policy == {field: value}


def test_the_policy_fits_a_chain(file: Path) -> None:
    """As its options."""
    file.write_text("[policy]\ncooldown = '2m'\ndeadline = 'none'")
    policy = load_settings(file).policy
    assert parse_chain("sim/echo", **policy).complete("hi").text == "hi"


SAID = {
    "[chains]\n'a/b' = 'c/d'": (2, "'a/b' is no name for a chain: give it one without slash, comma or space"),
    "[chains]\nprod = ''": (2, "chains.prod is a text that is not empty, not ''; write prod = \"…\""),
    "chains = 'a/b'": (1, "chains is a table, not 'a/b'; write [chains] and its keys below it"),
    "[chains]\nx = 'a/b'\n[aliases]\nx = 'a/b'": (
        2, "'x' is an alias and a chain; rename one of the two, or delete it",
    ),
    "[cell]\ntemprature = 1": (2, "the key cell.temprature is not known; did you mean temperature?"),
    "cell = { stream = true,\n format = 'mardown' }".replace("\n", ""): (
        1, "cell.format 'mardown' is not known; did you mean markdown?",
    ),
    "cell.format = 'pdf'": (
        1, "cell.format 'pdf' is not known; choose one of: markdown, text, json, code, html",
    ),
    "[cell]\ntemperature = -1": (
        2, "cell.temperature is a number, at least 0, not -1; write temperature = 0.2",
    ),
    "[cell]\ntemperature = nan": (
        2, "cell.temperature is a number, at least 0, not nan; write temperature = 0.2",
    ),
    "[cell]\ntemperature = true": (
        2, "cell.temperature is a number, at least 0, not True; write temperature = 0.2",
    ),
    "[cell]\nmax_tokens = 0": (
        2, "cell.max_tokens is a whole number, at least 1, not 0; write max_tokens = 400",
    ),
    "[cell]\nseed = 1.5": (2, "cell.seed is a whole number, not 1.5; write seed = 7"),
    "[cell]\nstop = []": (
        2, "cell.stop is a text or a list of texts, none of them empty, not []; write stop = [\"END\"]",
    ),
    "[cell]\nstop = ['']": (
        2, "cell.stop is a text or a list of texts, none of them empty, not ['']; write stop = [\"END\"]",
    ),
    "[cell]\nstream = 'on'": (2, "cell.stream is true or false, not 'on'; write stream = true"),
    "[cell]\nsystem = '''\n[policy]\n'''\n[policy]\nzzz = 1": (
        6,
        f"the key policy.zzz is not known; {KNOWN_POLICY}",
    ),
    "[policy]\nbackoff = 1": (2, f"the key policy.backoff is not known; {KNOWN_POLICY}"),
    "[policy]\ncooldwon = 1": (2, "the key policy.cooldwon is not known; did you mean cooldown?"),
    "[policy]\nmax_retries = 0": (
        2, "policy.max_retries 0 is out of range: it counts attempts and is at least 1",
    ),
    "[policy]\nmax_retries = '3'": (2, "policy.max_retries '3' is not a whole number"),
    "policy.bench_threshold = true": (1, "policy.bench_threshold True is not a whole number"),
    "[policy]\ncooldown = -1": (
        2, "policy.cooldown -1 is out of range: give finite seconds, at least 0",
    ),
    "[policy]\ncooldown = 'none'": (
        2, "policy.cooldown 'none' is no duration; write 90, \"90s\" or \"1h30m\"",
    ),
    "[policy]\ndeadline = 'soon'": (
        2, "policy.deadline 'soon' is no duration; write 90, \"90s\" or \"1h30m\", or \"none\" for no limit",
    ),
    "[policy]\ndeadline = '0s'": (
        2, "policy.deadline '0s' is out of range: give seconds above 0, or \"none\" for no limit",
    ),
    "[policy]\nidle_timeout = [1]": (2, "policy.idle_timeout [1] is not a number of seconds"),
    "[policy]\nmidstream = 'restrat'": (2, "policy.midstream 'restrat' is not known; did you mean restart?"),
}  # fmt: skip


@pytest.mark.parametrize("text", SAID)
def test_a_refusal_names_file_line_value_and_remedy(file: Path, text: str) -> None:
    """As everywhere in the file."""
    line, problem = SAID[text]
    error = refusal(file, text)
    assert (str(error), error.line) == (f"{file}, line {line}: {problem}", line)


@pytest.mark.parametrize(
    "line",
    ["cell.temperature", "cell.max_tokens", "cell.stop.x", "cell.format", "cell.stream", "cell.seed",
     "policy.max_retries", "policy.cooldown", "policy.midstream"],
)  # fmt: skip
def test_a_key_in_the_wrong_place_is_not_shown(file: Path, line: str) -> None:
    """Whatever takes no text."""
    assert KEY not in str(refusal(file, f"{line} = '{KEY}'"))


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("a = " + "[" * 4000, "its tables and lists are nested too deeply to be read", None),
        ("chain = 'a/b'\nx = " + "9" * 5000, "this is no TOML", None),
        ("chain = 'a/b'\n\nx = [1,", "this is no TOML", 3),
    ],
)
def test_what_tomllib_stumbles_over_is_told(file: Path, text: str, said: str, line: int | None) -> None:
    """Whichever error it raises."""
    error = refusal(file, text)
    assert (said in str(error), error.line) == (True, line)


def test_a_home_that_nobody_has_is_told(file: Path) -> None:
    """With its line."""
    error = refusal(file, "[local.models]\nq = '~nobody-of-that-name/q.gguf'")
    assert (error.line, "is in a home folder that is not known" in str(error)) == (2, True)


def test_the_keys_of_a_cell_are_those_that_have_defaults() -> None:
    """Each has a reader."""
    assert list(CELL) == list(CELL_DEFAULTS)


def test_the_keys_of_the_policy_are_those_of_the_engine() -> None:
    """All but the backoff, which is a function."""
    assert {*POLICY, "backoff"} == set(PolicyFields.__annotations__)


def test_what_may_be_none_or_a_word_is_what_the_engine_says() -> None:
    """The reader writes both down once more."""
    hints = get_type_hints(Policy)
    endless = {name for name in POLICY if type(None) in get_args(hints[name])}
    words = {name: get_args(hints[name]) for name in POLICY if str in map(type, get_args(hints[name]))}
    counts = {name for name in POLICY if int in (hints[name], *get_args(hints[name]))}
    assert (endless, words, counts) == (set(_ENDLESS), _WORDS, set(_COUNTS))
