"""The numbers of a chain: what each may be, how long is waited, and the package's defaults."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from dataclasses import fields
from fractions import Fraction

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.engine.policy import (
    Policy,
    full_jitter,
    get_failover_defaults,
    set_failover_defaults,
)
from llm_failover_nb.engine.types import Timeouts

COUNTS = ["max_retries", "stream_max_retries", "bench_threshold"]
DURATIONS = ["cooldown", "max_wait", "max_bench"]
LIMITS = ["connect_timeout", "first_token_timeout", "idle_timeout", "attempt_timeout", "deadline"]


@pytest.fixture
def defaults():
    """Puts the package's defaults back."""
    before = get_failover_defaults()
    yield
    set_failover_defaults(before)


FIELDS = {field.name for field in fields(Policy) if field.init}


def test_the_defaults_are_the_documented_ones():
    """As in the design's table."""
    assert {name: getattr(Policy(), name) for name in FIELDS} == {
        "max_retries": 3, "stream_max_retries": None, "cooldown": 300.0, "bench_threshold": 1,
        "backoff": None, "max_wait": 10.0, "max_bench": 86_400.0, "connect_timeout": 5.0,
        "first_token_timeout": 120.0, "idle_timeout": 60.0, "attempt_timeout": 600.0, "deadline": None,
        "midstream": "raise", "content_filter": "stop",
    }  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [1, 2, 10**9])
def test_a_count_is_at_least_one(name, value):
    """Whole numbers from 1."""
    assert getattr(Policy(**{name: value}), name) == value


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_a_count_below_one_is_refused(name, value):
    """Raised, not clamped; the error says what is counted."""
    counted = "failures" if name == "bench_threshold" else "attempts"
    with pytest.raises(ValueError, match=f"{name}={value} is out of range: it counts {counted} and is at"):
        Policy(**{name: value})


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_that_is_nan_is_a_value_error(name):
    """As every number out of range."""
    with pytest.raises(ValueError, match=f"{name}=nan is not a number: give a whole number, at least 1"):
        Policy(**{name: math.nan})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [True, 2.0, math.inf, "3"])
def test_a_count_of_another_type_is_refused(name, value):
    """A bool is no count."""
    with pytest.raises(TypeError, match=f"{name}={value!r} is not a whole number"):
        Policy(**{name: value})


@pytest.mark.parametrize("name", ["max_retries", "bench_threshold", *DURATIONS])
def test_some_numbers_cannot_be_left_out(name):
    """None stands for no limit only where there may be none."""
    with pytest.raises(TypeError, match=f"{name}=None is not"):
        Policy(**{name: None})


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [0, 0.5, 10])
def test_a_duration_may_be_zero(name, value):
    """No bench, no wait."""
    assert getattr(Policy(**{name: value}), name) == value


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf])
def test_a_duration_out_of_range_is_refused(name, value):
    """The error names the value and the remedy."""
    with pytest.raises(ValueError, match=f"{name}={value} is out of range: give finite seconds, at least 0"):
        Policy(**{name: value})


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [None, 0.001, 10])
def test_a_limit_may_be_none(name, value):
    """None is no limit."""
    assert getattr(Policy(**{name: value}), name) == value


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [0, 0.0, -1, math.nan, math.inf, -math.inf])
def test_a_limit_out_of_range_is_refused(name, value):
    """Zero would fail every call; the error offers None."""
    with pytest.raises(ValueError, match=f"{name}={value} is out of range: give seconds above 0, or None"):
        Policy(**{name: value})


@pytest.mark.parametrize("name", [*DURATIONS, *LIMITS])
@pytest.mark.parametrize("value", [True, False, "10", [1]])
def test_seconds_of_another_type_are_refused(name, value):
    """A bool is no number of seconds."""
    with pytest.raises(TypeError, match="is not a number of seconds"):
        Policy(**{name: value})


@pytest.mark.parametrize(
    ("name", "words"), [("midstream", ("raise", "restart")), ("content_filter", ("stop", "next"))]
)
def test_a_known_word_is_taken(name, words):
    """Both of them."""
    assert [getattr(Policy(**{name: word}), name) for word in words] == list(words)


@pytest.mark.parametrize(
    ("name", "choice"), [("midstream", "'raise' or 'restart'"), ("content_filter", "'stop' or 'next'")]
)
@pytest.mark.parametrize("word", ["", "Raise", "ignore", None, True, []])
def test_an_unknown_word_is_refused(name, choice, word):
    """The error lists the known ones."""
    with pytest.raises(ValueError, match="is unknown") as caught:
        Policy(**{name: word})
    assert str(caught.value) == f"{name}={word!r} is unknown: give {choice}"


def test_a_backoff_that_is_no_function_is_refused():
    """The error says what it takes."""
    with pytest.raises(TypeError, match=r"backoff=0.5 is not callable: it takes the attempt and returns"):
        Policy(backoff=0.5)


def test_a_policy_is_frozen():
    """Chains share it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy().cooldown = 1


def test_fields_are_keyword_only():
    """Numbers in a row say nothing."""
    with pytest.raises(TypeError, match="positional"):
        Policy(3)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_policy_can_be_copied(again):
    """Whole, with what is computed from it."""
    policy = Policy(cooldown=7, attempt_timeout=9)
    back = again(policy)
    assert (back, back.timeouts) == (policy, policy.timeouts)


def test_timeouts_follow_the_limits():
    """The limits that travel with a request."""
    policy = Policy(connect_timeout=1, first_token_timeout=2, idle_timeout=3, attempt_timeout=None)
    assert policy.timeouts == Timeouts(1, 2, 3, None)


def test_timeouts_are_no_field_to_set():
    """They follow from the others."""
    assert "timeouts" not in FIELDS


@pytest.mark.parametrize(
    ("given", "stream", "attempts"),
    [
        ({}, True, 3),
        ({}, False, 3),
        ({"stream_max_retries": 1}, True, 1),
        ({"stream_max_retries": 1}, False, 3),
    ],
)
def test_streams_may_have_attempts_of_their_own(given, stream, attempts):
    """Without them, those of all calls."""
    assert Policy(**given).attempts(stream=stream) == attempts


@given(st.integers(1, 10_000))
def test_the_jitter_stays_below_its_ceiling(attempt):
    """Uniform in [0, min(0.2 * 2^(n-1), 10)], for any attempt."""
    ceiling = 10.0 if attempt > 6 else 0.2 * 2 ** (attempt - 1)
    assert 0.0 <= full_jitter(attempt) <= ceiling


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 0.2), (2, 0.4), (3, 0.8), (6, 6.4), (7, 10.0), (70, 10.0), (5_000, 10.0)]
)
def test_the_jitter_reaches_over_its_range(attempt, ceiling, monkeypatch):
    """It is drawn between nothing and the ceiling."""
    monkeypatch.setattr("random.uniform", lambda low, high: (low, high))
    assert full_jitter(attempt) == (0.0, pytest.approx(ceiling))


def test_no_backoff_means_full_jitter(monkeypatch):
    """None is the default."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    assert [Policy().wait_after(n) for n in (1, 2, 9)] == [0.2, 0.4, 10.0]


@pytest.mark.parametrize("seconds", [0, 0.0, 2, 1.5, 1e9, Fraction(1, 2)])
def test_a_backoff_of_the_users_is_asked(seconds):
    """With the attempt; any finite number is taken, uncapped."""
    asked = []
    policy = Policy(backoff=lambda attempt: asked.append(attempt) or seconds)
    assert (policy.wait_after(4), asked) == (float(seconds), [4])


@pytest.mark.parametrize("nonsense", [-1, -0.1, math.nan, math.inf, -math.inf, None, "1", 1j, [1]])
def test_a_backoff_that_returns_nonsense_is_a_value_error(nonsense):
    """The error names what came back and what should."""
    with pytest.raises(ValueError, match="it returns finite seconds, at least 0") as caught:
        Policy(backoff=lambda attempt: nonsense).wait_after(2)
    assert str(caught.value).startswith(f"backoff(2) returned {nonsense!r}: ")


def test_an_error_of_a_backoff_passes():
    """It is the user's own code."""
    with pytest.raises(ZeroDivisionError):
        Policy(backoff=lambda attempt: 1 / 0).wait_after(1)


def test_the_package_starts_with_the_plain_policy():
    """Nothing is preset beyond the documented numbers."""
    assert get_failover_defaults() == Policy()


@pytest.mark.usefixtures("defaults")
def test_defaults_are_changed_field_by_field():
    """What is not named stays as it was set before."""
    set_failover_defaults(cooldown=60)
    set_failover_defaults(max_retries=1)
    assert get_failover_defaults() == Policy(cooldown=60, max_retries=1)


@pytest.mark.usefixtures("defaults")
def test_defaults_are_replaced_whole():
    """A policy given takes the place of all."""
    set_failover_defaults(cooldown=60)
    set_failover_defaults(Policy(max_retries=2))
    assert get_failover_defaults() == Policy(max_retries=2)


@pytest.mark.usefixtures("defaults")
def test_a_policy_and_changes_together():
    """The changes win."""
    set_failover_defaults(Policy(max_retries=2, cooldown=1), cooldown=5)
    assert get_failover_defaults() == Policy(max_retries=2, cooldown=5)


@pytest.mark.usefixtures("defaults")
def test_changed_defaults_change_the_timeouts():
    """What is computed is computed anew."""
    set_failover_defaults(attempt_timeout=7)
    assert get_failover_defaults().timeouts.attempt == 7


@pytest.mark.usefixtures("defaults")
@pytest.mark.parametrize(
    ("changes", "error"),
    [({"max_retries": 0}, ValueError), ({"cooldwn": 1}, TypeError), ({"timeouts": Timeouts()}, ValueError)],
)
def test_refused_defaults_leave_the_old_ones(changes, error):
    """All or nothing."""
    set_failover_defaults(cooldown=60)
    with pytest.raises(error, match=next(iter(changes))):
        set_failover_defaults(**changes)
    assert get_failover_defaults() == Policy(cooldown=60)


def test_numpys_numbers_are_numbers():
    """A notebook's numbers often come out of an array."""
    policy = Policy(max_retries=numpy.int64(2), cooldown=numpy.float32(5), deadline=numpy.int32(9))
    assert (policy.max_retries, policy.cooldown, policy.deadline) == (2, 5.0, 9)
    with pytest.raises(ValueError, match="out of range"):
        Policy(max_retries=numpy.int64(0))
