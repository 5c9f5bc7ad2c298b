"""A model's bench as a row that processes share, and how two versions of it become one. No store is in here.

A :class:`BenchRegistry` that shares its benches reads from its own memory, as one that does not. Each change
is one transaction of the store: it reads the row, takes over what others changed, applies the rule, and
writes. Where the store cannot be had, the change is made in memory alone, and :func:`merged` brings both
together later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["EPOCH", "TICK", "BenchRow", "BenchStore", "merged", "microseconds", "moment"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class BenchRow:
    """What a store keeps of one model. Times are whole microseconds since 1970 UTC.

    Args:
        model: The spec.
        version: The store's number of the change that wrote it, rising from row to row; 0: never written.
        writer: The owner of the registry that wrote it.
        fails: Failures without a success between them.
        until: The end of the bench that was laid last; None: there is none.
        manual: Whether the operator laid it.
        since: When a bench was laid last; later than any ``since`` and ``edited`` that its writer knew.
        lifted: When the operator lifted last.
        edited: When the operator benched or lifted last; later than what its writer knew, likewise.
        prober: ``owner:call`` of the call that probes, empty when there is none.
        lapses: When its place lapses.
    """

    model: str
    version: int = 0
    writer: str = ""
    fails: int = 0
    until: int | None = None
    manual: bool = False
    since: int = 0
    lifted: int = 0
    edited: int = 0
    prober: str = ""
    lapses: int = 0


class BenchStore(Protocol):
    """Where several processes keep their rows. It orders changes and knows no rule.

    Neither method raises because of the store, nor takes longer than a bounded part of a second.
    """

    @property
    def owner(self) -> str:
        """This process, as no other is called, in rows that it writes."""
        ...

    @property
    def identity(self) -> str:
        """Which store it is: a new one at the old address is another."""
        ...

    def change(self, model: str, rule: Callable[[BenchRow], BenchRow]) -> BenchRow | None:
        """Change a row in one transaction, which no other process's change overlaps.

        Args:
            model: The spec.
            rule: Takes the row as it is, blank where there is none, and gives it as it shall be. It is called
                once at most.

        Returns:
            The row as it is kept; None when the store cannot be had, whether ``rule`` was called or not.
        """
        ...

    def changed(self, since: int) -> Sequence[BenchRow]:
        """The rows whose version is above ``since``, oldest first; none when the store cannot be had."""
        ...


def microseconds(at: datetime) -> int:
    """A moment as rows hold it."""
    return (at - EPOCH) // TICK


def moment(at: int) -> datetime:
    """And back."""
    return EPOCH + at * TICK


def merged(base: BenchRow, mine: BenchRow, theirs: BenchRow, now: int) -> BenchRow:
    """One row from two that were changed apart.

    What only one side changed is taken from it. Where both did: failures add up; the operator's later word
    holds, so that what was laid before it is gone; of two benches that were laid after it, the one by hand
    stands, or else the one that ends later.

    Args:
        base: The row from which both started.
        mine: With the changes of this process that could not be stored.
        theirs: As the store has it.
        now: Which benches have run out.
    """
    edited = max(mine.edited, theirs.edited)
    bench = mine if _bench(theirs) == _bench(base) else theirs
    if bench is theirs and _bench(mine) != _bench(base):
        bench = _standing([theirs, mine], edited, now) or theirs
    gone = bench.until is None or bench.since < edited
    probe = mine if (theirs.prober, theirs.lapses) == (base.prober, base.lapses) else theirs
    return replace(
        theirs,
        fails=_failures(base.fails, mine.fails, theirs.fails),
        until=None if gone else bench.until,
        manual=bench.manual and not gone,
        since=max(mine.since, theirs.since),
        lifted=max(mine.lifted, theirs.lifted),
        edited=edited,
        prober=probe.prober,
        lapses=probe.lapses,
    )


def _bench(row: BenchRow) -> tuple[int | None, bool, int]:
    return row.until, row.manual, row.since


def _standing(rows: Sequence[BenchRow], edited: int, now: int) -> BenchRow | None:
    """Whose bench stands; None when neither does."""
    laid = [row for row in rows if row.until is not None and row.since >= edited]
    live = [row for row in laid if (row.until or 0) >= now] or laid
    by_hand = [row for row in live if row.manual]
    return max(by_hand or live, key=lambda row: row.until or 0, default=None)


def _failures(base: int, mine: int, theirs: int) -> int:
    """Both sides' failures since ``base``; a side that is below it has seen a success, and began anew."""
    kept = base if mine >= base and theirs >= base else 0
    return kept + sum(side - base if side >= base else side for side in (mine, theirs))
