"""What the policy loop hands to a driver: an attempt to make, or a wait. The loop itself is `failover.py`'s.

A driver enters a step, does what it says, and leaves it; leaving is the verdict: answered, failed, cancelled.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from llm_failover_nb.engine.check import refusal
from llm_failover_nb.engine.classify import Verdict
from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Chunk, Request, Response, Usage

if TYPE_CHECKING:
    from llm_failover_nb.engine.failover import Call
    from llm_failover_nb.engine.portal import Calls

__all__ = ["Attempt", "Step", "Wait"]


class Wait:
    """A step: wait ``seconds``. It ends early when the operator benches the model that is waited for."""

    __slots__ = ("_call", "began", "committed", "seconds")

    def __init__(self, call: Call, seconds: float) -> None:
        self._call = call
        self.began = call.setup.clock.monotonic()
        self.committed = False
        self.seconds = seconds

    def __enter__(self) -> None:
        self._call.entered(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._call.left(error):
            return True
        if error is not None:
            self._call.release()
        return False


class Attempt:
    """A step: ask ``calls`` for ``request``, and set ``response`` or pass each chunk through ``accept``.

    A whole answer is then shown to the chain's check with ``examine``; at a stream's end ``finish`` does so.
    """

    __slots__ = (
        "_call", "began", "calls", "committed", "error", "first_token", "held", "number", "parts",
        "refusal", "request", "response", "start",
    )  # fmt: skip

    def __init__(self, call: Call, calls: Calls, request: Request, number: int, began: int) -> None:
        self._call = call
        self.calls = calls
        self.request = request
        self.number = number
        self.began = began
        self.response: Response | None = None
        self.error: Exception | None = None
        self.refusal: Verdict | None = None
        self.committed = False
        self.first_token: float | None = None
        self.parts: list[str] = []
        self.held: list[str] = []
        self.start = call.setup.clock.monotonic()

    def __enter__(self) -> None:
        self._call.entered(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._call.left(error):
            self._call.withdraw(self)
            return True
        if error is None:
            self.error = self._misfit()
            if self.error is None and self._call.has_deadline:
                self.error = self._lateness()
            if self.error is None:
                self._call.answered(self)
            return False
        if not isinstance(error, Exception) or isinstance(error, concurrent.futures.CancelledError):
            self._call.cancelled(self)
            return False
        self.error = error
        return True

    def accept(self, chunk: Chunk) -> Sequence[Chunk]:
        """What to hand on for a chunk of the provider's: nothing before the first content.

        Raises:
            TimeoutError: When the call's deadline has passed; leaving the step makes that the outcome.
            CancelledError: When somebody has cancelled the call.
        """
        if self._call.cancelling:
            raise self._call.cancellation()
        if self._call.has_deadline and self._call.late():
            raise TimeoutError("the deadline passed while the stream ran")
        if self.committed and chunk.kind == "text":
            self.parts.append(chunk.text)
            return (chunk,)
        if chunk.kind == "done":
            self.response = chunk.response
            return ()
        if chunk.kind == "restart":
            # The provider is a chain itself, and has failed over.
            self.parts.clear()
            self.held.clear()
            return (chunk,) if self.committed else ()
        if chunk.kind == "text":
            self.held.append(chunk.text)
            if not chunk.text.strip():
                return ()  # blanks commit nothing; they go with the first content
            chunk = self._release()
        elif not (chunk.text or chunk.tool):
            return ()
        if self.committed:
            return (chunk,)
        return self._commit(chunk) if chunk.text.strip() or chunk.tool else ()

    def finish(self) -> Sequence[Chunk]:
        """What is left to hand on when the provider's stream has ended.

        Raises:
            ProviderError: As :meth:`examine`; an answer of blanks alone has not reached the caller by then.
        """
        blanks = self._release() if any(self.held) else None
        self.examine()
        if self.committed:
            return ()
        return self._call.restart() if blanks is None else self._commit(blanks)

    def examine(self) -> None:
        """Show the whole answer to the chain's check, if it has one.

        Raises:
            ProviderError: What the check said against it; leaving the step makes that the outcome.
        """
        setup = self._call.setup
        if setup.check is None or self._misfit() is not None or self._call.late():
            return
        try:
            setup.check(self._call.answer(self, setup.clock.monotonic()))
        except concurrent.futures.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # somebody else's function; whatever it raises is a no
            refused = refusal(error)
            self.refusal = Verdict(ErrorKind.REQUEST_SPECIFIC, refused.reason, rule="check")
            raise refused  # noqa: B904  # it has its cause

    def _release(self) -> Chunk:
        text = "".join(self.held)
        self.held.clear()
        self.parts.append(text)
        return Chunk(text)

    def _commit(self, chunk: Chunk) -> Sequence[Chunk]:
        self.committed = True
        self.first_token = self._call.setup.clock.monotonic()
        self._call.saw_content()
        blanks = (self._release(),) if self.held else ()
        return (*self._call.restart(), *blanks, chunk)

    @property
    def text(self) -> str:
        """What has come of the answer."""
        return "".join(self.parts) or (self.response.text if self.response is not None else "")

    def _lateness(self) -> TimeoutError | None:
        if self._call.late():
            return TimeoutError("the answer came after the deadline")
        return None

    def _misfit(self) -> ProviderError | None:
        """The failure of a provider that returned what is no answer; a stream need not say ``done``."""
        answer: object = self.response  # a claim of somebody else's code
        if isinstance(answer, Response) and isinstance(answer.usage, Usage) and isinstance(answer.text, str):
            return None
        if answer is None and self._call.streams:
            return None
        what = f"{type(answer).__name__!r} instead of a Response"
        if isinstance(answer, Response):
            held = f"{type(answer.text).__name__} and {type(answer.usage).__name__}"
            what = f"a Response that holds {held} instead of str and Usage"
        return ProviderError(
            f"the provider returned {what}",
            kind=ErrorKind.UNKNOWN,
            reason="malformed",
        )


Step = Attempt | Wait
