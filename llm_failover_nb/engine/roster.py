"""Who is at work: the chains that exist and the calls that run, and how to reach a call from outside.

A call waits for a model, or for its next attempt, on some event loop or in some thread. An operator's bench
lets it leave the model that it waits for; an operator's cancel ends it. What either means for the call is
`failover.py`'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from weakref import WeakSet

from llm_failover_nb.engine.listeners import Listeners
from llm_failover_nb.engine.locks import new_lock

if TYPE_CHECKING:
    from llm_failover_nb.engine.chain import Chain
    from llm_failover_nb.engine.failover import Call

__all__ = ["Roster", "RunningCall"]


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that has begun and has not ended.

    Args:
        id: The call, as in :class:`AttemptRecord`.
        cell: The notebook cell, where there is one.
        specs: The entries of its chain.
        method: ``complete``, ``acomplete``, ``stream`` or ``astream``.
        model: The spec that it asks, or will ask again after its wait.
        attempt: The how-manieth attempt that is, from 1; 0 before the first.
        began: When the call began, aware.
        waits_until: When its backoff ends, aware; ``None`` while a model is asked.
        reachable: Whether it can be stopped at once. A synchronous call waits in a thread of its own, which
            nobody else can wake: it stops at the next chunk of its answer, or before its next attempt.
    """

    id: int
    cell: str
    specs: tuple[str, ...]
    method: str
    model: str
    attempt: int
    began: datetime
    waits_until: datetime | None
    reachable: bool


class Roster:
    """The chains that share a registry of benches, and their calls; safe from any thread."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._chains: WeakSet[Chain] = WeakSet()
        self._calls: dict[int, Call] = {}
        self.listeners = Listeners()
        """Told whenever a call takes a step or ends."""

    def chains(self) -> list[Chain]:
        """The chains that somebody still holds."""
        with self._lock:
            return list(self._chains)

    def calls(self) -> list[RunningCall]:
        """The calls that run, the oldest first."""
        return [call.standing() for call in list(self._calls.values())]

    def cancel(self, call_id: int) -> bool:
        """End a call: no failover, no bench, no event; its caller gets a ``CancelledError``.

        Returns:
            Whether there is such a call. One that is not ``reachable`` goes on for a moment.
        """
        call = self._calls.get(call_id)
        if call is None:
            return False
        call.cancel()
        return True

    # What chains, calls and benches report

    def enlist(self, chain: Chain) -> None:
        """A chain has been built; it is held weakly."""
        with self._lock:
            self._chains.add(chain)

    def begin(self, call: Call) -> None:
        """A call begins."""
        self._calls[call.id] = call  # one operation of a dict, on the path of every call: no lock

    def end(self, call: Call) -> None:
        """It has ended, however."""
        self._calls.pop(call.id, None)
        if self.listeners:
            self.listeners.tell()

    def leave(self, spec: str) -> None:
        """The operator has benched a model: calls that wait for it go on to their next, if that is live."""
        for call in list(self._calls.values()):
            call.leave(spec)
