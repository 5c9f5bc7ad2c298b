"""``local/NAME``: a GGUF file served by llama.cpp in a child process on loopback.

A name is ``smollm2`` (the model that the package brings), one from the settings' ``[local.models]``, or
an absolute path: ``local//path/to/model.gguf``, ``local/~/model.gguf``. No wire is read in here, and no
process started: see ``local_children`` for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from llm_failover_nb.engine.clock import Clock, SystemClock
from llm_failover_nb.engine.errors import ChainSpecError, ErrorKind, ProviderError
from llm_failover_nb.providers import weights
from llm_failover_nb.providers.base import BaseProvider
from llm_failover_nb.providers.local_children import own_children
from llm_failover_nb.settings import (
    EMBEDDED_MODEL,
    Settings,
    SettingsError,
    load_settings,
    settings_path,
    untrusted_words,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
    from concurrent.futures import Future

    from llm_failover_nb.engine.types import Chunk, Request, Response
    from llm_failover_nb.providers.http import HTTPProvider
    from llm_failover_nb.providers.local_children import Child

__all__ = ["LocalProvider", "available", "extra_installed"]

_INSTALL_EXTRA = "pip install 'llm-failover-nb[local]'"


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

    def check(self, model: str) -> None:
        """Refuse a name that no model has, which is likely a slip; what is not installed passes.

        Settings that cannot be read pass, too: that is no slip in the name, and the call tells of it.

        Raises:
            ChainSpecError: When it is neither ``smollm2``, nor a name from the settings, nor a whole path.
        """
        if model == EMBEDDED_MODEL or _path(model) is not None:
            return
        with contextlib.suppress(SettingsError):
            settings = load_settings()
            if model not in settings.local:
                raise ChainSpecError(f"local/{model}: {_unknown(model, settings)}")

    lists_at_once = True
    """What is installed stands in the settings and on this machine."""

    def models(self) -> tuple[str, ...]:
        """The names whose files are here, the embedded model's first; none without the extra.

        Settings that cannot be read name none.
        """
        if not extra_installed():
            return ()
        named: Mapping[str, Path] = {}
        with contextlib.suppress(SettingsError):
            named = load_settings().local
        embedded = (EMBEDDED_MODEL,) if weights.find() is not None else ()
        return (*embedded, *(name for name, file in named.items() if file.is_file()))

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
        own_children.end(self._used)
        self._used = set()

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    @contextlib.contextmanager
    def _child(self, gguf: Path) -> Iterator[Child]:
        self._used.add(gguf)
        with own_children.borrow(gguf) as child:
            yield child

    def _wire(self, child: Child, request: Request) -> tuple[HTTPProvider, Request]:
        began = self._clock.monotonic()
        try:
            wire = child.ready.result(request.timeouts.attempt)
        except TimeoutError:
            raise _out_of_time(request) from None
        return wire, self._left(request, since=began)

    async def _awire(self, child: Child, request: Request) -> tuple[HTTPProvider, Request]:
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
    if not extra_installed():
        raise _not_installed(f"llama.cpp, which the extra brings, is missing: run  {_INSTALL_EXTRA}", model)
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
        # The model has been named already.
        why = weights.why_missing().replace(f"the weights of local/{EMBEDDED_MODEL}", "its weights")
        raise _not_installed(why, EMBEDDED_MODEL)
    return found


def _file_named(model: str) -> Path:
    if (path := _path(model)) is not None:
        return path
    try:
        settings = load_settings()
    except SettingsError as error:
        raise _gone(f"its file is not known, because the settings are broken: {error}", model) from None
    if model in settings.local:
        return settings.local[model]
    raise _gone(_unknown(model, settings), model)


def _path(model: str) -> Path | None:
    """The file that a name spells out, if it does."""
    with contextlib.suppress(RuntimeError):  # a home folder that nobody knows
        path = Path(model).expanduser()
        if path.is_absolute():
            return path
    return None


def _unknown(model: str, settings: Settings) -> str:
    if settings.untrusted is not None and model in settings.untrusted.models:
        return f"this model is {untrusted_words(settings.untrusted)}"
    near = difflib.get_close_matches(model, [EMBEDDED_MODEL, *settings.local], n=1)
    hint = f"did you mean local/{near[0]}? Else write" if near else "write"
    return (
        f"no local model has this name; {hint} its file's whole path (local//path/to/model.gguf), or name it "
        f"under [local.models] in {settings_path()}"
    )


def _gone(problem: str, model: str) -> ProviderError:
    text = f"local/{model}: {problem}"
    return ProviderError(text, model=model, kind=ErrorKind.AUTH_DEAD, reason="model_gone")


def _not_installed(why: str, model: str) -> ProviderError:
    """An error of this reason names the model once, then why, then after a colon what to do."""
    text = f"local/{model} is not installed, because {why}"
    return ProviderError(text, model=model, kind=ErrorKind.AUTH_DEAD, reason="not_installed")


def _out_of_time(request: Request) -> ProviderError:
    return ProviderError(
        f"local/{request.model}: the model was still loading after {request.timeouts.attempt:g} s "
        "(attempt_timeout, or what the deadline left); loading goes on, so try again",
        model=request.model,
        kind=ErrorKind.TRANSIENT,
        reason="timeout",
    )


def available() -> bool:
    """Whether ``local/smollm2`` can answer here: both the extra and the weights are installed."""
    return extra_installed() and weights.find() is not None


def extra_installed() -> bool:
    """Whether the extra ``local``, which brings llama.cpp, is installed."""
    return importlib.util.find_spec("xllamacpp") is not None
