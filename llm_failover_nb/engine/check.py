"""A chain's own check of each answer, and the failure that it makes of one. No policy: the loop decides.

A check is a plain function of a :class:`Response`. What it returns is ignored; an exception refuses the
answer, and is that model's failure: the model is healthy, but this request is not for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Response

__all__ = ["Check", "checked_check", "refusal"]

Check = Callable[[Response], object]
"""Raises where an answer will not do."""

# Their text says all; of others the type is half of what they say.
_PLAIN = (ValueError, AssertionError)


def checked_check(check: Check | None) -> Check | None:
    """The check as it was given.

    Raises:
        TypeError: When it is a coroutine function, which nobody would await, or is not callable.
    """
    if check is None:
        return None
    if inspect.iscoroutinefunction(check) or inspect.iscoroutinefunction(getattr(check, "__call__", None)):  # noqa: B004
        raise TypeError(
            f"check={check!r} is a coroutine function, which would never be awaited, so that every answer "
            "passed: give a plain function"
        )
    if not callable(check):
        raise TypeError(
            f"check={check!r} is not callable: it takes a Response, and raises where it will not do"
        )
    return check


def refusal(error: Exception) -> ProviderError:
    """The failure of a model whose answer a check refused; one that the check made itself stays as it is."""
    if isinstance(error, ProviderError) and error.reason:
        return error
    refused = ProviderError(
        f"the answer did not pass the check: {_said(error)}",
        kind=ErrorKind.REQUEST_SPECIFIC,
        reason="invalid_answer",
    )
    refused.__cause__ = error
    return refused


def _said(error: Exception) -> str:
    name, text = type(error).__name__, str(error).strip()
    if not text:
        return name
    return text if isinstance(error, _PLAIN) else f"{name}: {text}"
