"""``local/NAME``: a GGUF file served by llama.cpp in a child process on loopback. No wire is read in here.

A name is ``smollm2`` (the model that the package brings), one from the settings' ``[local.models]``, or
an absolute path: ``local//path/to/model.gguf``, ``local/~/model.gguf``. One child a file serves the whole
process. It starts with the first call, again when it has died, and ends with the process however that
ends. Its port answers only to a random key; its environment holds no keys of yours. A forked process
leaves its parent's children alone and starts its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import difflib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, cast

from llm_failover_nb.engine.clock import Clock, SystemClock
from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.providers import local_child, weights
from llm_failover_nb.providers.base import BaseProvider
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.openai import OpenAIDialect
from llm_failover_nb.settings import EMBEDDED_MODEL, SettingsError, load_settings, settings_path

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from llm_failover_nb.engine.types import Chunk, Request, Response

__all__ = ["CONTEXT", "START_TIMEOUT", "LocalProvider"]

START_TIMEOUT = 60.0
"""Seconds that a model may take to load. The connect timeout, made for networks, is too short for that."""

CONTEXT = 4096
"""Tokens of prompt and answer together: what the small model still handles, in little memory."""

_INSTALL_EXTRA = "pip install 'llm-failover-nb[local]'"

# What tunes OpenMP and GPU back ends; the rest of the environment stays here.
_TUNING = ("CUDA_", "GGML_", "GOMP_", "HIP_", "KMP_", "OMP_", "ROCR_", "VK_")

# llama.cpp's server hangs up a moment after a stream's end, though it promised to keep the connection: one
# in three next calls over it failed. On loopback a new connection costs nothing worth keeping one for.
_ONE_CALL_A_CONNECTION = MappingProxyType({"connection": "close"})

_LINES_SHOWN = 6
_TIME_TO_EXIT = 5.0  # seconds


class LocalProvider(BaseProvider):
    """Answers with models that run on this machine.

    ``close`` ends the children that this provider has used: at once, or when the calls that are still
    running on them are done. A later call starts them again.

    Args:
        clock: Measures how much of an attempt's time the start of a child took.

    Calls raise :class:`ProviderError`, besides what the wire raises: of kind ``auth_dead`` with reason
    ``not_installed`` (the extra or the weights are missing) or ``model_gone`` (no such name or file, or
    it does not load), and of kind ``transient`` with reason ``timeout`` when the attempt's time is over
    before the model has loaded; loading then goes on for the next call.
    """

    # The wire holds to the request's timeouts, and the wait for a child to its attempt.
    keeps_time = True

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = SystemClock() if clock is None else clock
        self._used: set[Path] = set()

    def complete(self, request: Request, /) -> Response:
        with self._child(_gguf_of(request.model)) as child:
            wire, left = self._wire(child, request)
            return wire.complete(left)

    def stream(self, request: Request, /) -> Iterator[Chunk]:
        with self._child(_gguf_of(request.model)) as child:
            wire, left = self._wire(child, request)
            yield from wire.stream(left)

    async def acomplete(self, request: Request, /) -> Response:
        with self._child(await asyncio.to_thread(_gguf_of, request.model)) as child:
            wire, left = await self._awire(child, request)
            return await wire.acomplete(left)

    async def astream(self, request: Request, /) -> AsyncIterator[Chunk]:
        with self._child(await asyncio.to_thread(_gguf_of, request.model)) as child:
            wire, left = await self._awire(child, request)
            chunks = cast("AsyncGenerator[Chunk, None]", wire.astream(left))
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    def close(self) -> None:
        _children.end(self._used)
        self._used = set()

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    @contextlib.contextmanager
    def _child(self, gguf: Path) -> Iterator[_Child]:
        self._used.add(gguf)
        with _children.borrow(gguf) as child:
            yield child

    def _wire(self, child: _Child, request: Request) -> tuple[HTTPProvider, Request]:
        began = self._clock.monotonic()
        try:
            wire = child.ready.result(request.timeouts.attempt)
        except TimeoutError:
            raise _out_of_time(request) from None
        return wire, self._left(request, since=began)

    async def _awire(self, child: _Child, request: Request) -> tuple[HTTPProvider, Request]:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(request.timeouts.attempt):
                await _done(child.ready)
        except TimeoutError:
            raise _out_of_time(request) from None
        return child.ready.result(), self._left(request, since=began)

    def _left(self, request: Request, *, since: float) -> Request:
        """The request with what the wait for the child has left of its attempt."""
        attempt = request.timeouts.attempt
        if attempt is None:
            return request
        left = max(attempt - (self._clock.monotonic() - since), 0.001)
        return replace(request, timeouts=replace(request.timeouts, attempt=left))


async def _done(future: Future[HTTPProvider]) -> None:
    """Wait for ``future`` without a thread, so that a cancelled caller leaves nothing to wait for."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and whoever waited with it
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    await done.wait()


def _gguf_of(model: str) -> Path:
    """The file behind ``local/MODEL``, looked at closely enough to say what is wrong with it."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise _gone(f"local models need the extra: run  {_INSTALL_EXTRA}", model, reason="not_installed")
    file = _embedded() if model == EMBEDDED_MODEL else _file_named(model)
    try:
        with file.open("rb") as source:
            magic = source.read(4)
    except OSError as error:
        raise _gone(f"{file} cannot be read ({error.strerror}); correct the path", model) from None
    if magic != b"GGUF":
        raise _gone(f"{file} is no GGUF file: it begins with {magic!r}; name a model in GGUF format", model)
    return file.resolve()


def _embedded() -> Path:
    found = weights.find()
    if found is None:
        raise _gone(weights.why_missing(), EMBEDDED_MODEL, reason="not_installed")
    return found


def _file_named(model: str) -> Path:
    with contextlib.suppress(RuntimeError):  # a home folder that nobody knows
        path = Path(model).expanduser()
        if path.is_absolute():
            return path
    try:
        known = load_settings().local
    except SettingsError as error:
        raise _gone(f"its file is not known, because the settings are broken: {error}", model) from None
    if model in known:
        return known[model]
    near = difflib.get_close_matches(model, [EMBEDDED_MODEL, *known], n=1)
    hint = f"did you mean local/{near[0]}? Else write" if near else "write"
    raise _gone(
        f"no local model has this name; {hint} its file's whole path (local//path/to/model.gguf), or name it "
        f"under [local.models] in {settings_path()}",
        model,
    )


def _gone(problem: str, model: str, *, reason: str = "model_gone") -> ProviderError:
    return ProviderError(f"local/{model}: {problem}", model=model, kind=ErrorKind.AUTH_DEAD, reason=reason)


def _out_of_time(request: Request) -> ProviderError:
    return ProviderError(
        f"local/{request.model}: the model was still loading after {request.timeouts.attempt:g} s "
        "(attempt_timeout, or what the deadline left); loading goes on, so try again",
        model=request.model,
        kind=ErrorKind.TRANSIENT,
        reason="timeout",
    )


class _Child:
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
            _kill(process)
        if self.ready.done() and self.ready.exception() is None:
            self.ready.result().close()

    def disown(self) -> None:
        """In a forked process: let go of the parent's child without touching it."""
        if self._process is not None:
            _close_stdin(self._process)  # while a copy of the pipe is open, the child sees no end of it
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
            answer, late = self._answer(process)
            if not answer:
                _reap(process)
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
        environment = weights.child_environment(prefixes=_TUNING) | {local_child.KEY_VARIABLE: key}
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

    def _answer(self, process: subprocess.Popen[str]) -> tuple[str, bool]:
        """The child's one line, or ``""`` when it died; and whether it was killed for being late."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        watchdog = threading.Timer(self._limit, give_up)
        watchdog.daemon = True  # an interpreter that ends does not wait for it
        watchdog.start()
        try:
            with cast("IO[str]", process.stdout) as output:
                return output.readline(), late.is_set()
        finally:
            watchdog.cancel()
            watchdog.join()

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


def _reap(process: subprocess.Popen[str]) -> None:
    """Let a process that has closed its output end by itself: its status tells why."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_TIME_TO_EXIT)
    _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    _close_stdin(process)


def _close_stdin(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # it is gone already
            process.stdin.close()


class _Children:
    """The children of this process, one a file, behind one lock that is never held while waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[Path, _Child] = {}

    @contextlib.contextmanager
    def borrow(self, gguf: Path) -> Iterator[_Child]:
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

    def _enter(self, gguf: Path) -> _Child:
        with self._lock:
            over = [self._of.pop(gguf)] if gguf in self._of and self._of[gguf].is_over else []
            idle = self._retired(over)
            child = self._of.get(gguf) or self._of.setdefault(gguf, _Child(gguf))
            child.calls += 1
        for dead in idle:
            dead.end()  # lets go of what the process has left here
        return child

    def _leave(self, child: _Child) -> None:
        with self._lock:
            child.calls -= 1
            unneeded = child.retired and not child.calls
        if unneeded:
            child.end()

    @staticmethod
    def _retired(children: list[_Child]) -> list[_Child]:
        """Mark children to be ended when their last call ends; those without one are returned."""
        for child in children:
            child.retired = True
        return [child for child in children if not child.calls]


_children = _Children()
"""The process's own: that a model is loaded once is the point of it."""

atexit.register(_children.end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_children.forget)
