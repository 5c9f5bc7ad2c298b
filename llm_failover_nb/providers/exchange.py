"""One exchange with a provider: how long its parts may take, and what it means when one fails.

It keeps the time and speaks in ``ProviderError``; it reads and sends nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from llm_failover_nb.engine.clock import SystemClock
from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.providers.transport_errors import TIMEOUT, Meaning, is_connecting, meaning_of

if TYPE_CHECKING:
    from types import TracebackType

    from llm_failover_nb.engine.types import Request

__all__ = ["Exchange"]

_now = SystemClock.monotonic

# Seconds that the page of an error may take: its status is known, and the next attempt waits for it.
_ERROR_PAGE = 5.0


class Exchange:
    """One exchange: how long its parts may take, and, as a context manager, what its failures mean.

    Args:
        host: Who is asked, for messages.
        request: Whose ``timeouts`` hold, all in seconds from now.
        stream: The answer is a stream, so that the limit of its first token holds too.

    Raises:
        ProviderError: On leaving the context with a failure of the network, whatever library it came from.
    """

    __slots__ = ("_end", "_first_token", "_host", "_limits", "_model", "_streamed", "answered", "content")

    def __init__(self, host: str, request: Request, *, stream: bool = False) -> None:
        now = _now()
        self._host = host
        self._model = request.model
        self._limits = limits = request.timeouts
        self._streamed = stream
        self._end = None if limits.attempt is None else now + limits.attempt
        self._first_token = None if limits.first_token is None or not stream else now + limits.first_token
        self.answered = False  # the response's head is here
        self.content = False  # and something that was said

    def begun(self, status: int) -> None:
        """The response's head is here, with this status."""
        self.answered = True
        if status >= 300:
            end = _now() + _ERROR_PAGE
            self._end = end if self._end is None else min(self._end, end)

    def until(self) -> float | None:
        """When the next read from the network must be done, on the monotonic clock.

        Raises:
            TimeoutError: When that has passed: a client whose reads cannot be limited may not notice.
        """
        now = _now()
        if not self.content:
            limit = self._first_token
        else:
            limit = None if self._limits.idle is None else now + self._limits.idle
        if self._end is not None and (limit is None or self._end < limit):
            limit = self._end
        if limit is not None and now >= limit:
            raise TimeoutError
        return limit

    def left(self) -> float | None:
        """Seconds until then."""
        until = self.until()
        return None if until is None else until - _now()

    def limits_of_a_transport(self) -> dict[str, float | None]:
        """What the package's own transports are told; all in seconds."""
        # "pool" is how aiohttp's transport calls all of connecting, the name look-up included; the pools
        # themselves are unbounded. Everything else is limited by what is left, read by read.
        return {"connect": self._limits.connect, "pool": self._limits.connect}

    def limits_of_a_client(self) -> dict[str, float | None]:
        """The longest any read may take, for a client whose reads cannot be limited one by one."""
        limits = self._limits
        longest = limits.attempt
        if self._streamed and limits.first_token is not None and limits.idle is not None:
            reads = max(limits.first_token, limits.idle)
            longest = reads if longest is None else min(reads, longest)
        return {"connect": limits.connect, "read": longest, "write": longest, "pool": longest}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if not isinstance(error, Exception):
            # A cancellation or an interrupt, as it is, but without the frames below: they hold the request,
            # and with it the key.
            error.__context__ = None
            raise error.with_traceback(None) from None
        if isinstance(error, ProviderError):
            # Without the frames in which it was found: they hold what was read, perhaps a key sent back.
            raise error.with_traceback(None) from None
        if (meaning := meaning_of(error, answered=self.answered)) is not None:
            failure = self._failure(meaning, error)
            # Without its cause: the frames below hold the request, and with it the key. So do aiohttp's own
            # errors, which must not stay a local of this frame either.
            error.__cause__ = error.__context__ = error.__traceback__ = None
            del error
            raise failure from None

    def _failure(self, meaning: Meaning, error: Exception) -> ProviderError:
        overrun = self._overrun(error) if meaning is TIMEOUT else None
        text = overrun or meaning.text(self._host, error)
        return ProviderError(text, kind=meaning.kind, reason=meaning.reason, model=self._model)

    def _overrun(self, error: Exception) -> str | None:
        """Which limit was passed, and how long it is; ``None`` when it is none of the request's."""
        limits, host = self._limits, self._host
        now = _now() + 0.001  # timers are that coarse
        if self._end is not None and now >= self._end:
            return f"{host} was not done within {limits.attempt:.4g} s (attempt_timeout)"
        if self._first_token is not None and not self.content and now >= self._first_token:
            return f"no first token from {host} within {limits.first_token:.4g} s (first_token_timeout)"
        if limits.connect is not None and not self.answered and is_connecting(error):
            return f"no connection to {host} within {limits.connect:.4g} s (connect_timeout)"
        if self.content and limits.idle is not None:
            return f"{host} was silent for {limits.idle:.4g} s (idle_timeout)"
        return None
