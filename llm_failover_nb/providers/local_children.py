"""The child processes that serve GGUF files: each from its start to its end. No name of a model in here.

One child a file serves the whole process. It starts with the first call, again when it has died, and ends
with the process however that ends. Its port answers only to a random key; its environment holds no keys
of yours. A forked process leaves its parent's children alone and starts its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from types import MappingProxyType
from typing import IO, TYPE_CHECKING

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.providers import local_child
from llm_failover_nb.providers.child_process import child_environment, close_stdin, first_line, kill, reap
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.openai import OpenAIDialect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CONTEXT", "START_TIMEOUT", "Child", "Children", "own_children"]

START_TIMEOUT = 60.0
"""Seconds that a model may take to load. The connect timeout, made for networks, is too short for that."""

CONTEXT = 4096
"""Tokens of prompt and answer together: what the small model still handles, in little memory."""

# What tunes OpenMP and GPU back ends; the rest of the environment stays here.
_TUNING = ("CUDA_", "GGML_", "GOMP_", "HIP_", "KMP_", "OMP_", "ROCR_", "VK_")

# llama.cpp's server hangs up a moment after a stream's end, though it promised to keep the connection: one
# in three next calls over it failed. On loopback a new connection costs nothing worth keeping one for.
_ONE_CALL_A_CONNECTION = MappingProxyType({"connection": "close"})

_LINES_SHOWN = 6


class Child:
    """One child process, from its start, on a thread of its own, to its end.

    Args:
        gguf: The file to serve.
        limit: Seconds that loading may take.
        program: What the child runs.
    """

    def __init__(
        self, gguf: Path, *, limit: float = START_TIMEOUT, program: str = local_child.__file__
    ) -> None:
        self.ready: Future[HTTPProvider] = Future()
        self.calls = 0
        self.retired = False
        self._gguf = gguf
        self._limit = limit
        self._program = program
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._ended = False
        threading.Thread(target=self._start, name="llm-failover-local", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether it could not start, or has died since."""
        if not self.ready.done():
            return False
        return self.ready.exception() is not None or self._process is None or self._process.poll() is not None

    def end(self) -> None:
        """End the process, loading or not: it has nothing to save."""
        with self._lock:
            self._ended = True
            process = self._process
        if process is not None:
            kill(process)
        if self.ready.done() and self.ready.exception() is None:
            self.ready.result().close()

    def disown(self) -> None:
        """In a forked process: let go of the parent's child without touching it."""
        if self._process is not None:
            close_stdin(self._process)  # while a copy of the pipe is open, the child sees no end of it
            self._process.poll()  # finds that this process has no such child, which settles it

    def _start(self) -> None:
        try:
            self.ready.set_result(self._serve())
        except Exception as error:  # noqa: BLE001  # handed on to every caller that waits
            self.ready.set_exception(error)

    def _serve(self) -> HTTPProvider:
        key = secrets.token_urlsafe(32)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            process = self._spawn(key, errors)
            answer, late = first_line(process, limit=self._limit)
            if not answer:
                reap(process)
                raise self._failure(process.returncode, _tail(errors), late=late)
        return HTTPProvider(
            "local",
            dialect=OpenAIDialect(),
            base_url=json.loads(answer)["base_url"],
            api_key=Secret(key),
            headers=_ONE_CALL_A_CONNECTION,
        )

    def _spawn(self, key: str, errors: IO[str]) -> subprocess.Popen[str]:
        options = {"gguf": str(self._gguf), "threads": _threads(), "context": CONTEXT}
        environment = child_environment(prefixes=_TUNING) | {local_child.KEY_VARIABLE: key}
        with self._lock:
            if self._ended:
                raise self._failure(None, "it was closed before it had started", late=False)
            # -P: the program's own folder must not shadow the standard library's modules.
            # In a session of its own, the kernel's interrupt does not reach it.
            self._process = subprocess.Popen(  # noqa: S603  # our own program, by an absolute path
                [sys.executable, "-P", self._program, json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                start_new_session=True,
            )
            return self._process

    def _failure(self, status: int | None, said: str, *, late: bool) -> ProviderError:
        what = f"did not load within {self._limit:g} s" if late else "could not be loaded"
        ended = "" if late or status is None else f" (the process ended with {status})"
        return ProviderError(
            f"{self._gguf} {what}{ended}; check the file and the free memory, or use a smaller model. "
            f"llama.cpp said:\n{said or 'nothing'}",
            kind=ErrorKind.AUTH_DEAD,
            reason="model_gone",
        )


def _threads() -> int:
    """All cores but one: with all of them a busy neighbour slows generation to a tenth."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return max(1, cores - 1)


def _tail(errors: IO[str]) -> str:
    errors.seek(0)
    return "\n".join(errors.read().splitlines()[-_LINES_SHOWN:])


class Children:
    """The children of this process, one a file, behind one lock that is never held while waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[Path, Child] = {}

    @contextlib.contextmanager
    def borrow(self, gguf: Path) -> Iterator[Child]:
        """The file's child, started if need be, and kept from ending while the block runs."""
        child = self._enter(gguf)
        try:
            yield child
        finally:
            self._leave(child)

    def end(self, ggufs: set[Path] | None = None) -> None:
        """End the children of these files, or of all, that no call needs; the others when their calls end."""
        with self._lock:
            chosen = [self._of.pop(gguf) for gguf in list(self._of) if ggufs is None or gguf in ggufs]
            idle = self._retired(chosen)
        for child in idle:
            child.end()

    def end_all(self) -> None:
        """At exit: end every child, whoever still waits for it."""
        with self._lock:
            children, self._of = list(self._of.values()), {}
        for child in children:
            child.end()

    def forget(self) -> None:
        """In a forked process: start without children; the lock may have been held by another thread."""
        children = list(self._of.values())
        self._lock, self._of = threading.Lock(), {}
        for child in children:
            child.disown()

    def _enter(self, gguf: Path) -> Child:
        with self._lock:
            over = [self._of.pop(gguf)] if gguf in self._of and self._of[gguf].is_over else []
            idle = self._retired(over)
            child = self._of.get(gguf) or self._of.setdefault(gguf, Child(gguf))
            child.calls += 1
        for dead in idle:
            dead.end()  # lets go of what the process has left here
        return child

    def _leave(self, child: Child) -> None:
        with self._lock:
            child.calls -= 1
            unneeded = child.retired and not child.calls
        if unneeded:
            child.end()

    @staticmethod
    def _retired(children: list[Child]) -> list[Child]:
        """Mark children to be ended when their last call ends; those without one are returned."""
        for child in children:
            child.retired = True
        return [child for child in children if not child.calls]


own_children = Children()
"""The process's own: that a model is loaded once is the point of it."""

atexit.register(own_children.end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=own_children.forget)
