"""``%llm nest``: lets other people's ``asyncio.run`` work in a cell, by nest_asyncio2. Ours needs none.

A kernel runs its cells inside a running event loop, in which ``asyncio.run`` refuses to start another. The
patch changes asyncio for the whole process and cannot be taken back, so it is made only when it is asked for,
and never over another one. What the doctor says of loops is asked here, too. Nothing is shown here.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Protocol, cast

from llm_failover_nb.engine.errors import FailoverError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["NestError", "kind_of", "nest", "patched_by", "running_loop"]

_OURS, _ARCHIVED = "nest_asyncio2", "nest_asyncio"
_MARK = "_nest_patched"  # left by both, on the class of a loop and on asyncio
_INSTEAD = "await the coroutine in the cell instead of giving it to asyncio.run"


class NestError(FailoverError):
    """The running loop cannot be patched, or not by us; the message says why, and what to do."""


class _Patcher(Protocol):
    """What is used of nest_asyncio2."""

    def apply(self, loop: asyncio.AbstractEventLoop, *, error_on_mispatched: bool) -> None: ...


def nest(shell: InteractiveShell) -> str:
    """Patch the running loop so that ``asyncio.run`` and ``run_until_complete`` work in a cell.

    Args:
        shell: The shell whose cells they are to work in.

    Returns:
        What was done, or why nothing had to be.

    Raises:
        NestError: When the loop is uvloop's or another that is not asyncio's own, when another package has
            patched it, or when nest_asyncio2 is not installed.
    """
    loop = running_loop()
    if loop is None:
        return _none_runs(shell)
    by = patched_by(loop)
    if by == _OURS:
        return "done already: nest_asyncio2 has patched the loop, so asyncio.run works in a cell"
    if by is not None:
        raise NestError(_refused(by))
    if not isinstance(loop, asyncio.BaseEventLoop):
        # Only those run their callbacks in Python, where it can be done anew; uvloop's is C.
        raise NestError(
            f"the event loop of this kernel is {kind_of(loop)}'s, which cannot be patched: {_INSTEAD}, or "
            "restart the kernel on asyncio's own loop"
        )
    _patcher().apply(loop, error_on_mispatched=True)
    return (
        "nest_asyncio2 has patched the loop, until the kernel restarts: asyncio.run works in a cell now; "
        "%%llm needed none of it, and goes on as before"
    )


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that this is called in; ``None`` where none runs, as in a terminal."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def patched_by(loop: asyncio.AbstractEventLoop) -> str | None:
    """The module that has made ``loop`` take nested runs; ``None`` for none.

    One that has patched asyncio alone counts, but for nest_asyncio2, which goes on from there.
    """
    if hasattr(loop, _MARK):
        return _module_of(type(loop).run_until_complete)
    by = _module_of(asyncio.run) if hasattr(asyncio, _MARK) else _OURS
    return None if by == _OURS else by


def kind_of(loop: asyncio.AbstractEventLoop) -> str:
    """The package that a loop's class comes from, such as ``asyncio`` or ``uvloop``."""
    return type(loop).__module__.partition(".")[0]


def _none_runs(shell: InteractiveShell) -> str:
    where = "a terminal" if getattr(shell, "kernel", None) is None else "this kernel"
    return f"nothing to do: in {where} no event loop runs while a cell does, so asyncio.run works as it is"


def _refused(by: str) -> str:
    patched = (
        f"{by} has patched the loop already, and a second patch over it breaks both: nothing was changed"
    )
    if by == _ARCHIVED:
        return (
            f"{patched}. It is archived, and after it queued cells never run on ipykernel 7.1 and later: "
            "restart the kernel, leave nest_asyncio.apply() out and run  %llm nest  in its place"
        )
    return f"{patched}. If asyncio.run fails all the same, restart the kernel and run  %llm nest  first"


def _patcher() -> _Patcher:
    try:
        # By name, for it is an extra: whoever never asks for it need not have it.
        return cast("_Patcher", importlib.import_module(_OURS))
    except ImportError:
        raise NestError(
            "nest_asyncio2, which patches the loop, is not installed: run  "
            "%pip install 'llm-failover-nb[nest]'  and then  %llm nest  again"
        ) from None


def _module_of(function: object) -> str:
    return str(getattr(function, "__module__", None) or "something unknown")
