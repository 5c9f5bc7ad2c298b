"""The quickstart notebook: found, run on a kernel of its own, told as text, opened in JupyterLab.

No arguments, exit codes or advice on what to install in here: those are the command's. Importing this
needs the extra ``lab``.
"""

from __future__ import annotations

import asyncio
import copy
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_data_dir
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.sign import NotebookNotary

from llm_failover_nb.engine.errors import FailoverError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from nbformat import NotebookNode

__all__ = [
    "NOTEBOOK",
    "QuickstartError",
    "Source",
    "find",
    "open_in_lab",
    "own_copy",
    "read",
    "run",
    "sign",
    "write",
]

NOTEBOOK = "01_quickstart.ipynb"

_PACKAGE = Path(__file__).parent
_COPIES = 999
_PROMPT = "%%llm"
_PROMPT_LINES = 5


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


def sign(file: Path) -> None:
    """Have Jupyter trust the notebook in ``file`` as one that its user ran, which it was.

    JupyterLab takes the styling out of the outputs of a notebook that it does not trust. The signature
    is kept in the user's Jupyter data folder (``jupyter --data-dir``), not in the notebook.

    Raises:
        QuickstartError: When that folder cannot be written to.
    """
    folder = Path(jupyter_data_dir())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        notary = NotebookNotary(data_dir=str(folder))  # type: ignore[no-untyped-call]  # nbformat is
        with closing(notary.store):
            # What was read back, since that is what JupyterLab will compare.
            notary.sign(read(file))  # type: ignore[no-untyped-call]  # nbformat is
    except (OSError, sqlite3.Error) as error:
        raise QuickstartError(
            f"{file.name} could not be signed in {folder} ({error}), so JupyterLab strips its styling: "
            f"run Trust Notebook from its command palette"
        ) from None


def run(notebook: NotebookNode, *, folder: Path, echo: bool = False) -> None:
    """Execute a notebook in place, on a kernel of the running interpreter.

    Args:
        notebook: Its cells get their outputs, up to the one that failed; nothing else of it changes.
        folder: The working directory of its cells.
        echo: Print each cell, when it is done, as text: its first line (of a prompt the first five) and
            what it printed or showed.

    Raises:
        QuickstartError: When a cell fails, or the kernel does not start or dies.
        KeyboardInterrupt: When it was interrupted; the kernel is stopped by then.
    """
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_OwnInterpreter())
    client = _Client(
        notebook,
        km=kernel,
        resources={"metadata": {"path": str(folder)}},
        # Widget state would be saved with the notebook, and whatever was typed into it.
        store_widget_state=False,
        # Times would make every run a change in the eyes of version control; so would the kernel's version.
        record_timing=False,
        on_cell_start=_stop_if_interrupted,
        on_cell_executed=_echo if echo else None,
    )
    metadata = copy.deepcopy(notebook.metadata)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        try:
            asyncio.run(_execute(client, kernel, said))
        except CellExecutionError as error:
            if error.ename == "KeyboardInterrupt":
                raise KeyboardInterrupt from None
            at = client.code_cells_executed
            raise QuickstartError(
                f"code cell {at} of {NOTEBOOK} failed: {error.ename}: {error.evalue}"
            ) from None
        except RuntimeError as error:
            raise QuickstartError(
                f"{NOTEBOOK} could not be run: {error}; its kernel said {_last_line(said)!r} last"
            ) from None
        finally:
            notebook.metadata = metadata


class _Client(NotebookClient):
    """Leaves SIGINT to asyncio: nbclient's own handler shuts the kernel down beneath a waiting cell."""

    @asynccontextmanager
    async def async_setup_kernel(self, **options: object) -> AsyncGenerator[None, None]:
        await self.async_start_new_kernel(**options)
        await self.async_start_new_kernel_client()
        yield


class _OwnInterpreter(KernelSpecManager):
    """Knows one kernel, the running interpreter's: an installed ``python3`` may be another environment's."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:  # noqa: ARG002  # there is one answer
        return KernelSpec(resource_dir="", **get_kernel_dict())


async def _execute(client: _Client, kernel: AsyncKernelManager, said: IO[str]) -> None:
    """Run the client's notebook, what the kernel itself logs kept in ``said``, and stop its kernel."""
    try:
        await client.async_execute(stderr=said)
    except Exception:
        _stop_if_interrupted()  # nbclient takes a cancelled cell for a dead kernel
        raise
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
        if kernel.has_kernel:
            await kernel.shutdown_kernel(now=True)


def _stop_if_interrupted(**_: object) -> None:
    """End a task that swallowed its cancellation, which is how asyncio tells it of Ctrl-C."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _last_line(said: IO[str]) -> str:
    said.seek(0)
    return (said.read().strip().splitlines() or ["nothing"])[-1]


def _echo(*, cell: NotebookNode, cell_index: int, execute_reply: object) -> None:
    """The head of a cell and what it printed or showed, as text."""
    del cell_index, execute_reply
    prompt = f"In [{cell.execution_count}]: "
    print(prompt + f"\n{'...: '.rjust(len(prompt))}".join(_head(cell.source)))
    for output in cell.outputs:
        text = _text_of(output)
        if text:
            print(text.rstrip("\n"))
    print(flush=True)


def _head(source: str) -> list[str]:
    """A cell's first line; of a prompt more, for without it the answer below means nothing."""
    lines = source.strip().splitlines()
    if not lines[0].startswith(_PROMPT):
        return lines[:1]
    return lines if len(lines) <= _PROMPT_LINES else [*lines[:_PROMPT_LINES], "…"]


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
