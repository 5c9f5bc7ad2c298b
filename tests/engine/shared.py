"""A store in memory, and two registries that share one and are driven like a single one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import llm_failover_nb as fo
from llm_failover_nb.engine.sharing import BenchRow, BenchStore
from llm_failover_nb.testing import FakeClock


@dataclass
class Rows:
    """What all stores at one address hold."""

    identity: str = "first"
    rows: dict[str, BenchRow] = field(default_factory=dict)
    version: int = 0


class MemoryStore:
    """One process's access to rows, which can be taken away from it."""

    def __init__(self, rows: Rows, owner: str) -> None:
        self.kept = rows
        self.owner = owner
        self.away = False
        self.before_commit: Callable[[], object] = lambda: None
        self.after_commit: Callable[[], object] = lambda: None
        self.changes = 0
        self.looks: list[int] = []

    @property
    def identity(self) -> str:
        return self.kept.identity

    def change(self, model: str, rule: Callable[[BenchRow], BenchRow]) -> BenchRow | None:
        if self.away:
            return None
        self.changes += 1
        row = self.kept.rows.get(model, BenchRow(model))
        new = rule(row)
        self.before_commit()
        if new != row:
            self.kept.version += 1
            new = replace(new, version=self.kept.version, writer=self.owner)
            self.kept.rows[model] = new
        self.after_commit()
        return None if self.away else new

    def changed(self, since: int) -> list[BenchRow]:
        self.looks.append(since)
        if self.away:
            return []
        newer = [row for row in self.kept.rows.values() if row.version > since]
        return sorted(newer, key=lambda row: row.version)


class Pair:
    """Two registries on one store, which take turns: each pulls after every change of either.

    A call belongs to one of them, by its number; what an operator does goes to each in turn.
    """

    def __init__(self, stores: tuple[BenchStore, BenchStore], clock: FakeClock) -> None:
        self.registries = tuple(fo.BenchRegistry(clock=clock) for _ in stores)
        self._turn = 0
        for registry, store in zip(self.registries, stores, strict=True):
            registry.share(store)

    def __getattr__(self, name: str) -> Callable[..., object]:
        def ask(spec: str, *args: int, **options: object) -> object:
            self._turn += not args
            registry = self.registries[(args[0] if args else self._turn) % 2]
            answer = getattr(registry, name)(spec, *args, **options)
            for each in self.registries:
                each.pull()
            return answer

        return ask

    def is_benched(self, spec: str) -> bool:
        one, other = (registry.is_benched(spec) for registry in self.registries)
        assert one == other
        return one

    def list(self) -> list[fo.BenchedModel]:
        one, other = (registry.list() for registry in self.registries)
        assert one == other
        return one
