"""The quickstart notebook: found, run on a kernel of its own, told as text, opened in JupyterLab.

No arguments, exit codes or advice on what to install in here: those are the command's. Importing this
needs the extra ``lab``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from llm_failover_nb.engine.errors import FailoverError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbformat import NotebookNode

__all__ = ["NOTEBOOK", "QuickstartError", "Source", "find", "open_in_lab", "own_copy", "read", "run", "write"]

NOTEBOOK = "01_quickstart.ipynb"

_PACKAGE = Path(__file__).parent
_COPIES = 999


class QuickstartError(FailoverError):
    """The notebook cannot be found, copied or run to its end; the message says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the quickstart is.

    Args:
        file: The notebook.
        is_checkout: Whether it is a checkout's own, rather than the copy in an installed package.
    """

    file: Path
    is_checkout: bool


def find(package: Path = _PACKAGE) -> Source:
    """The quickstart beside the package's folder, else the one in it.

    Raises:
        QuickstartError: When it is in neither place.
    """
    for file, is_checkout in (
        (package.parent / "notebooks" / NOTEBOOK, True),
        (package / "notebooks" / NOTEBOOK, False),
    ):
        if file.is_file():
            return Source(file, is_checkout)
    raise QuickstartError(f"{NOTEBOOK} is neither beside the package nor in it ({package}): install it again")


def own_copy(source: Source, folder: Path) -> Path:
    """A quickstart that may be written to: a checkout's own, else a new copy in ``folder``.

    Raises:
        QuickstartError: When ``folder`` is full of copies.
        OSError: When it cannot be written to.
    """
    if source.is_checkout:
        return source.file
    content = source.file.read_bytes()
    for number in range(1, _COPIES + 1):
        file = folder / (NOTEBOOK if number == 1 else f"{source.file.stem}-{number}{source.file.suffix}")
        try:
            with file.open("xb") as target:  # never over what is there: it may hold somebody's work
                target.write(content)
        except FileExistsError:
            continue
        return file
    raise QuickstartError(f"{folder} is full of copies of {NOTEBOOK}: change to another folder")


def read(file: Path) -> NotebookNode:
    """The notebook in ``file``."""
    notebook: NotebookNode = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]  # nbformat is
    return notebook


def write(file: Path, notebook: NotebookNode) -> None:
    """Put the notebook into ``file``, whole or not at all."""
    beside = file.with_name(f".{file.name}.tmp")
    nbformat.write(notebook, beside)  # type: ignore[no-untyped-call]  # nbformat is
    beside.replace(file)


def run(notebook: NotebookNode, *, folder: Path, echo: bool = False) -> None:
    """Execute a notebook in place, on a kernel of the running interpreter.

    Args:
        notebook: Its cells get their outputs, up to the one that failed.
        folder: The working directory of its cells.
        echo: Print each cell, when it is done, as text: its first line and what it printed or showed.

    Raises:
        QuickstartError: When a cell fails, or the kernel does not start or dies.
        KeyboardInterrupt: When it was interrupted; the kernel is stopped by then.
    """
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_OwnInterpreter())
    client = NotebookClient(
        notebook,
        km=kernel,
        resources={"metadata": {"path": str(folder)}},
        # Widget state would be saved with the notebook, and whatever was typed into it.
        store_widget_state=False,
        on_cell_executed=_echo if echo else None,
    )
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        try:
            asyncio.run(_execute(client, kernel, said))
        except CellExecutionError as error:
            at = client.code_cells_executed
            raise QuickstartError(
                f"code cell {at} of {NOTEBOOK} failed: {error.ename}: {error.evalue}"
            ) from None
        except RuntimeError as error:
            if client.km is None:  # nbclient takes signals for itself, and its kernel away
                raise KeyboardInterrupt from None
            raise QuickstartError(
                f"{NOTEBOOK} could not be run: {error}; its kernel said {_last_line(said)!r} last"
            ) from None


class _OwnInterpreter(KernelSpecManager):
    """Knows one kernel, the running interpreter's: an installed ``python3`` may be another environment's."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:  # noqa: ARG002  # there is one answer
        return KernelSpec(resource_dir="", **get_kernel_dict())


async def _execute(client: NotebookClient, kernel: AsyncKernelManager, said: IO[str]) -> None:
    """Run the client's notebook, what the kernel itself logs kept in ``said``, and stop its kernel."""
    try:
        await client.async_execute(stderr=said)
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
        if kernel.has_kernel:
            await kernel.shutdown_kernel(now=True)


def _last_line(said: IO[str]) -> str:
    said.seek(0)
    return (said.read().strip().splitlines() or ["nothing"])[-1]


def _echo(*, cell: NotebookNode, cell_index: int, execute_reply: object) -> None:
    """A cell's first line and what it printed or showed, as text."""
    del cell_index, execute_reply
    print(f"In [{cell.execution_count}]: {cell.source.splitlines()[0]}")
    for output in cell.outputs:
        text = _text_of(output)
        if text:
            print(text.rstrip("\n"))
    print(flush=True)


def _text_of(output: NotebookNode) -> str:
    match output.output_type:
        case "stream":
            return str(output.text)
        case "error":
            return f"{output.ename}: {output.evalue}"
    return str(output.data.get("text/plain", ""))


def open_in_lab(file: Path, options: Sequence[str] = ()) -> int:
    """Become JupyterLab, so that the terminal and Ctrl-C are its own; where that is not possible, wait.

    Args:
        file: The notebook to open.
        options: JupyterLab's own, as on its command line.

    Returns:
        JupyterLab's exit code, where this process could not become it.
    """
    command = _lab_command(file, options, is_root=hasattr(os, "geteuid") and os.geteuid() == 0)
    sys.stdout.flush()
    sys.stderr.flush()
    # In both: the running interpreter, and arguments that the person at the terminal gave.
    if os.name == "posix":
        os.execv(command[0], command)  # noqa: S606
    return subprocess.call(command)  # noqa: S603


def _lab_command(file: Path, options: Sequence[str], *, is_root: bool) -> list[str]:
    root = ["--allow-root"] if is_root else []
    # Where no browser opens by itself, the address that JupyterLab prints leads to the notebook too.
    address = f"--LabApp.default_url=/lab/tree/{file.name}"
    return [sys.executable, "-m", "jupyterlab", str(file), address, *root, *options]
