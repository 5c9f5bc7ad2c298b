"""How a chain behaves: one frozen set of numbers, the package's defaults, the backoff. No decisions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Integral, Real  # numpy's numbers count
from typing import Any, Literal

from llm_failover_nb.engine.locks import new_lock
from llm_failover_nb.engine.types import Timeouts

__all__ = ["Backoff", "Policy", "full_jitter", "get_failover_defaults", "set_failover_defaults"]

Backoff = Callable[[int], float]
"""Seconds to wait after the n-th attempt, from 1, on one model."""

_BACKOFF_BASE = 0.2
_BACKOFF_CAP = 10.0


def full_jitter(attempt: int) -> float:
    """Seconds to wait after ``attempt``: uniform in [0, min(0.2 · 2^(attempt-1), 10)].

    Source: "full jitter" of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    ceiling = min(math.ldexp(_BACKOFF_BASE, min(attempt, 64) - 1), _BACKOFF_CAP)
    return random.uniform(0.0, ceiling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a chain retries, benches and gives up. All times are seconds; ``None`` is no limit.

    Args:
        max_retries: Attempts on one model before the next is asked, at least 1.
        stream_max_retries: The same for streams; ``None`` means ``max_retries``.
        cooldown: How long a model is benched; 0 benches nobody.
        bench_threshold: Consecutive failures that bench a model, at least 1.
        backoff: Seconds to wait after attempt n; ``None`` means :func:`full_jitter`.
        max_wait: The longest ``Retry-After`` waited for in place; a longer one benches the model instead.
        max_bench: The longest bench that a ``Retry-After`` can lay.
        connect_timeout: Until a connection stands.
        first_token_timeout: Until a stream brings content.
        idle_timeout: Between two reads of a stream after that.
        attempt_timeout: For one attempt as a whole.
        deadline: For the call as a whole, waits included; a passed one raises ``DeadlineExceeded``.
        midstream: After content has reached the caller, ``raise`` a ``StreamInterrupted``, or ``restart``:
            a ``restart`` chunk, then the whole answer from the next attempt.
        content_filter: On a moderation decision, ``stop`` and raise it, or ask the ``next`` model.

    Raises:
        ValueError: When a number is out of range or not a number, or a word is unknown.
        TypeError: When a value has the wrong type.

    >>> Policy(max_retries=0)
    Traceback (most recent call last):
        ...
    ValueError: max_retries=0 is out of range: it counts attempts and is at least 1
    """

    max_retries: int = 3
    stream_max_retries: int | None = None
    cooldown: float = 300.0
    bench_threshold: int = 1
    backoff: Backoff | None = None
    max_wait: float = 10.0
    max_bench: float = 86_400.0
    connect_timeout: float | None = 5.0
    first_token_timeout: float | None = 120.0
    idle_timeout: float | None = 60.0
    attempt_timeout: float | None = 600.0
    deadline: float | None = None
    midstream: Literal["raise", "restart"] = "raise"
    content_filter: Literal["stop", "next"] = "stop"
    timeouts: Timeouts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_count("max_retries", self.max_retries)
        if self.stream_max_retries is not None:
            _check_count("stream_max_retries", self.stream_max_retries)
        _check_count("bench_threshold", self.bench_threshold)
        for name in ("cooldown", "max_wait", "max_bench"):
            _check_seconds(name, getattr(self, name))
        for name in ("connect_timeout", "first_token_timeout", "idle_timeout", "attempt_timeout", "deadline"):
            if (seconds := getattr(self, name)) is not None:
                _check_seconds(name, seconds, positive=True)
        _check_word("midstream", self.midstream, ("raise", "restart"))
        _check_word("content_filter", self.content_filter, ("stop", "next"))
        if self.backoff is not None and not callable(self.backoff):
            raise TypeError(
                f"backoff={self.backoff!r} is not callable: it takes the attempt and returns seconds"
            )
        timeouts = Timeouts(
            self.connect_timeout, self.first_token_timeout, self.idle_timeout, self.attempt_timeout
        )
        object.__setattr__(self, "timeouts", timeouts)

    def attempts(self, *, stream: bool) -> int:
        """Attempts on one model for this kind of call."""
        if stream and self.stream_max_retries is not None:
            return self.stream_max_retries
        return self.max_retries

    def wait_after(self, attempt: int) -> float:
        """Seconds of backoff after ``attempt``.

        Raises:
            ValueError: When a backoff of the user's returns what is no waiting time.
        """
        if self.backoff is None:
            return full_jitter(attempt)
        seconds: object = self.backoff(attempt)
        if not isinstance(seconds, Real) or not 0 <= float(seconds) < math.inf:
            raise ValueError(
                f"backoff({attempt}) returned {seconds!r}: it returns finite seconds, at least 0"
            )
        return float(seconds)


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        if isinstance(value, Real) and math.isnan(value):
            raise ValueError(f"{name}={value!r} is not a number: give a whole number, at least 1")
        raise TypeError(f"{name}={value!r} is not a whole number")
    if int(value) < 1:
        what = "attempts" if name.endswith("max_retries") else "failures"
        raise ValueError(f"{name}={value!r} is out of range: it counts {what} and is at least 1")


def _check_seconds(name: str, value: object, *, positive: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} is not a number of seconds")
    if not math.isfinite(value) or float(value) < 0 or (positive and value == 0):
        remedy = "seconds above 0, or None for no limit" if positive else "finite seconds, at least 0"
        raise ValueError(f"{name}={value!r} is out of range: give {remedy}")


def _check_word(name: str, value: object, words: tuple[str, ...]) -> None:
    if value not in words:
        raise ValueError(f"{name}={value!r} is unknown: give {' or '.join(map(repr, words))}")


_lock = new_lock()
_defaults = Policy()


def get_failover_defaults() -> Policy:
    """The policy of chains that are built without one."""
    return _defaults


def set_failover_defaults(policy: Policy | None = None, /, **changes: Any) -> None:
    """Set the policy for chains built from now on; chains that exist keep theirs.

    Args:
        policy: The new defaults; without it, the present ones.
        **changes: Fields of :class:`Policy` to change in it.

    >>> set_failover_defaults(cooldown=60)
    >>> get_failover_defaults().cooldown
    60
    >>> set_failover_defaults(Policy())
    """
    global _defaults  # noqa: PLW0603  # the package's defaults, behind their one lock
    with _lock:
        _defaults = replace(policy or _defaults, **changes)
