"""Processes that share a file, and a store in a file of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import llm_failover_nb as fo
from llm_failover_nb.stores.sqlite import SQLiteStore


class Process:
    """A worker in a process of its own."""

    def __init__(self, path: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.stores.worker", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(fo.__file__).parents[1],
        )

    def say(self, what: str, *arguments: object) -> None:
        """Ask without waiting for the answer."""
        self._child.stdin.write(json.dumps([what, *arguments]) + "\n")
        self._child.stdin.flush()

    def hear(self) -> Any:
        """The next answer."""
        line = self._child.stdout.readline()
        assert line, "the process has ended"
        return json.loads(line)

    def ask(self, what: str, *arguments: object) -> Any:
        """Ask, and wait for the answer."""
        self.say(what, *arguments)
        return self.hear()

    def kill(self) -> list[str]:
        """End it with SIGKILL; what it had still said."""
        self._child.kill()
        said = self._child.stdout.read().splitlines(keepends=True)
        self._child.wait()
        return said

    def close(self) -> None:
        """Let it end by itself, and see that it does so in order."""
        killed = self._child.returncode is not None
        self._child.stdin.close()
        self._child.stdout.close()
        assert self._child.wait(30) == 0 or killed


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[[int], list[Process]]]:
    """Starts so many processes that share one file."""
    with ExitStack() as stack:

        def start(count: int) -> list[Process]:
            started = [Process(tmp_path / "shared.db") for _ in range(count)]
            for process in started:
                stack.callback(process.close)
            assert [process.hear() for process in started] == ["ready"] * count
            return started

        yield start


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SQLiteStore]]:
    """Opens a store in the test's own folder; it is closed with the test."""
    with ExitStack() as stack:

        def open_one(name: str = "shared.db") -> SQLiteStore:
            store = SQLiteStore(tmp_path / name)
            stack.callback(store.close)
            return store

        yield open_one
