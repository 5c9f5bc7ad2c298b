"""A process that shares benches and does as it is told: ``python -m tests.stores.worker FILE``.

A line of JSON, ``[what, *arguments]``, is asked on its standard input; a line of JSON answers it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import llm_failover_nb as fo
from llm_failover_nb.stores.lookout import Lookout
from llm_failover_nb.stores.sqlite import SQLiteStore


class Worker:
    """What can be asked."""

    def __init__(self, path: str) -> None:
        self.benches = fo.BenchRegistry()
        self.lookout = Lookout(self.benches, SQLiteStore(Path(path)))

    def bench(self, spec: str, seconds: float | None) -> None:
        self.benches.bench(spec, for_=seconds)

    def unbench(self, spec: str) -> bool:
        return self.benches.unbench(spec)

    def fail(self, specs: list[str], times: int, threshold: int, seconds: float) -> None:
        for _ in range(times):
            for spec in specs:
                began = self.benches.admit(spec, 1, lapse=60, force=True)
                self.benches.failed(spec, 1, began, threshold=threshold, for_=seconds)

    def probe(self, specs: list[str]) -> list[bool]:
        """Whether it is let through to each."""
        return [bool(self.benches.admit(spec, 1, lapse=60)) for spec in specs]

    def quarrel(self, spec: str, times: int) -> None:
        """All that can happen to a model, by turns."""
        for n in range(times):
            if n % 5 == 0:
                self.benches.bench(spec, for_=60)
            elif n % 5 == 1:
                self.benches.unbench(spec)
            elif began := self.benches.admit(spec, n, lapse=60, force=n % 2 == 0):
                if n % 5 == 2:
                    self.benches.succeeded(spec, n, began)
                else:
                    self.benches.failed(spec, n, began, threshold=2, for_=1e-6)

    def saw(self, spec: str, benched: bool) -> float:
        """When it saw that a model is, or is not, benched."""
        wait_for(lambda: self.benches.is_benched(spec) == benched)
        return time.time()

    def settled(self) -> bool:
        """Once everything it did is in the store."""
        wait_for(lambda: not self.benches._unsaved)
        self.benches.pull()
        return True

    def states(self) -> dict[str, list[object]]:
        return {
            spec: [s.fails, str(s.until), s.manual, str(s.laid_at), str(s.edited_at)]
            for spec, s in sorted(self.benches._states.items())
        }

    def count_up(self, spec: str) -> None:
        """Count failures until killed, and say each one that the store has acknowledged."""
        for n in range(1, 1_000_000):
            self.fail([spec], 1, 10**9, 60)
            if spec not in self.benches._unsaved:
                os.write(1, b"%d\n" % n)

    def fork(self, spec: str) -> list[object]:
        """Whether a forked process sees a bench of its parent, and lays one of its own."""
        self.benches.bench(f"{spec}/of-parent")
        child = os.fork()
        if not child:
            try:
                seen = self.benches.is_benched(f"{spec}/of-parent")
                self.benches.bench(f"{spec}/of-child")
                wait_for(lambda: self.benches.is_benched(f"{spec}/of-others"))
                os._exit(0 if seen and not self.benches._unsaved else 1)
            except BaseException:  # noqa: BLE001  # nothing of the parent's may run in the child
                os._exit(2)
        wait_for(lambda: self.benches.is_benched(f"{spec}/of-child"))
        self.benches.bench(f"{spec}/of-others")
        _, status = os.waitpid(child, 0)
        return [os.waitstatus_to_exitcode(status), sorted(b.model for b in self.benches.list())]


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.001)


def main() -> None:
    worker = Worker(sys.argv[1])
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(worker, what)(*arguments)), flush=True)
    worker.lookout.close()


if __name__ == "__main__":
    main()
