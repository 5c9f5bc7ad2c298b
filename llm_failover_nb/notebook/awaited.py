"""Lets a kernel await ``%%llm`` cells: an input transformer, and when it applies. Nothing is asked here.

While a cell is awaited, the kernel answers other messages: a click in a panel takes effect while the cell
waits for a model. IPython does not await what a magic returns, so the cell's source is rewritten before it
runs, into a call that is awaited at the top level. Everywhere else a cell is an ordinary one that blocks.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["AwaitedCells", "why_not"]

# From here on ipykernel serves messages while a cell awaits. Before 7.0 they wait for its end; from 7.0 to
# 7.3 a subshell serves them, whether the cell awaits or not. Measured for each of these versions.
_SERVES_MEANWHILE = (7, 4)

# Through these, IPython comes to its transformers.
_TRANSFORMING = {"rewrite", "transform_cell", "do_token_transforms"}

_FIRST_LINE = re.compile(r"%%llm(?=\s|$)(.*)")
_SWITCHED_OFF = re.compile(r"(?:^|\s)await_cells=[\"']?off\b")


def why_not(shell: InteractiveShell) -> str:
    """Why this shell cannot await cells, in a few words; empty where it can."""
    if getattr(shell, "kernel", None) is None:
        return "no kernel: a terminal runs one thing at a time"
    try:
        installed = version("ipykernel")
    except PackageNotFoundError:
        return "the kernel is not ipykernel"
    if tuple(map(int, installed.split(".")[:2])) < _SERVES_MEANWHILE:
        return f"awaiting gains nothing on ipykernel {installed}; from 7.4 on it does"
    if not shell.autoawait:
        return "%autoawait is off"
    if str(shell.loop_runner) != "asyncio":
        return f"%autoawait uses {shell.loop_runner} in place of asyncio"
    return ""


class AwaitedCells:
    """The rewriting of one shell's ``%%llm`` cells. It keeps no state.

    Args:
        shell: The shell.
        wanted: Whether the settings leave cells to be awaited; asked for each ``%%llm`` cell.
    """

    def __init__(self, shell: InteractiveShell, wanted: Callable[[], bool]) -> None:
        self._shell = shell
        self._wanted = wanted

    def install(self) -> None:
        """Begin to rewrite."""
        self._shell.input_transformers_cleanup.append(self.rewrite)

    def uninstall(self) -> None:
        """Leave cells alone again."""
        self._shell.input_transformers_cleanup.remove(self.rewrite)

    def rewrite(self, lines: list[str]) -> list[str]:
        """A ``%%llm`` cell as Python; other cells as they are.

        An empty one is rewritten everywhere: IPython would refuse it in words that help nobody.
        """
        found = _FIRST_LINE.match(lines[0]) if lines else None
        if found is None:
            return lines
        line, body = found[1].strip(), "".join(lines[1:])
        magic, given = "get_ipython().find_cell_magic('llm')", f"({line!r}, {body!r})\n"
        if _asked_by_a_kernel(inspect.currentframe()) and self._can_await(line):
            return [f"await {magic}.awaited{given}"]
        return lines if body else [magic + given]

    # A terminal asks for the next line while a cell magic has none below it; it would ask this, too, and be
    # told that the cell is whole. What has side effects it does not ask.
    vars(rewrite)["has_side_effects"] = True

    def _can_await(self, line: str) -> bool:
        # In a subshell, which has a thread of its own, an interrupt cancels nothing.
        in_main_thread = threading.current_thread() is threading.main_thread()
        return in_main_thread and not (_SWITCHED_OFF.search(line) or why_not(self._shell)) and self._wanted()


def _asked_by_a_kernel(frame: FrameType | None) -> bool:
    """Whether a cell is transformed for the kernel, which awaits, and not for a cell that is running.

    A cell within a cell, as of ``%%time``, ``%%capture`` or ``%run other.ipynb``, is run by code that cannot
    await it; nothing but the caller tells the two apart.
    """
    while frame is not None and frame.f_code.co_name in _TRANSFORMING:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "do_execute"
