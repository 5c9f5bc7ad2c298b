"""Every exception the package raises on purpose, and the kinds of failure. No logic beyond wording.

FailoverError
├── ChainSpecError      a chain or spec that cannot be read (also a ValueError)
├── ProviderError       one model failed once
├── StreamInterrupted   a stream failed after content had reached the caller
├── DeadlineExceeded    the call's own deadline passed (also a TimeoutError)
└── AllModelsFailed     no entry of the chain answered (also an ExceptionGroup)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Self

__all__ = [
    "AllModelsFailed",
    "ChainSpecError",
    "DeadlineExceeded",
    "ErrorKind",
    "FailoverError",
    "ProviderError",
    "StreamInterrupted",
]


class ErrorKind(StrEnum):
    """What a failure means for the model that gave it."""

    TRANSIENT = "transient"
    """It may work again soon: retry, then bench."""

    AUTH_DEAD = "auth_dead"
    """It will not work until somebody acts (key, billing, model gone): bench at once."""

    REQUEST_SPECIFIC = "request_specific"
    """The model is healthy, this request is not for it: next model, no bench."""

    UNKNOWN = "unknown"
    """Nothing known about it: treated like transient."""


class FailoverError(Exception):
    """Base of every exception that this package raises on purpose."""


class ChainSpecError(FailoverError, ValueError):
    """A chain or a spec cannot be read; the message names the part and the nearest known name."""


class ProviderError(FailoverError):
    """One model failed once.

    Args:
        message: What happened, in the provider's words where it gave any.
        status: HTTP status, where there was one.
        code: The provider's own error code, such as ``insufficient_quota``.
        retry_after: Seconds the provider asks to wait.
        model: The spec, or the bare model name, that failed.
        kind: What the failure means, where the raiser knows; else :func:`classify` decides.
        reason: A short category (``rate_limit``, ``timeout``, ``connection``, ``no_key``, …).
        headers: The response's headers; names compare without case.
        body: The response's body as text.

    ``rule`` is what decided kind and reason, once something has: see :class:`Verdict`.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        model: str = "",
        kind: ErrorKind | None = None,
        reason: str = "",
        headers: Mapping[str, str] | None = None,
        body: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.model = model
        self.kind = kind
        self.reason = reason
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        self.body = body
        self.rule = ""


class StreamInterrupted(FailoverError):
    """A stream failed after some of its content had reached the caller; ``text`` is that content.

    The failure itself is ``__cause__``.
    """

    def __init__(self, message: str, *, text: str = "", model: str = "") -> None:
        super().__init__(message)
        self.text = text
        self.model = model


class DeadlineExceeded(FailoverError, TimeoutError):
    """The deadline over the whole call passed; ``text`` is what a stream had delivered until then."""

    def __init__(self, message: str, *, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class AllModelsFailed(FailoverError, ExceptionGroup[Exception]):
    """No entry of the chain answered; ``exceptions`` holds the last error of each entry, in order.

    ``specs`` runs beside ``exceptions``. As an :class:`ExceptionGroup` it works with ``except*``.
    """

    specs: tuple[str, ...]

    def __new__(cls, message: str, exceptions: Sequence[Exception], specs: Sequence[str] = ()) -> Self:
        group = super().__new__(cls, message, exceptions)
        group.specs = tuple(specs)
        return group

    def __init__(
        self,
        message: str,
        exceptions: Sequence[Exception],
        specs: Sequence[str] = (),  # noqa: ARG002  # __new__ has taken it
    ) -> None:
        super().__init__(message, exceptions)

    def __str__(self) -> str:
        return self.message

    def derive(self, excs: Sequence[Exception], /) -> Self:  # type: ignore[override]  # narrower on purpose
        """Keep class, message and the specs of the exceptions that remain (``split``, ``subgroup``)."""
        left = list(zip(self.exceptions, self.specs, strict=False))
        return type(self)(self.message, excs, [_take_spec(left, error) for error in excs])


def _take_spec(left: list[tuple[Exception, str]], error: Exception) -> str:
    """The first spec left for ``error``, used up: one instance may be the failure of several entries."""
    for place, (known, spec) in enumerate(left):
        if known is error:
            del left[place]
            return spec
    return ""
