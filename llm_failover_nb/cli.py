"""The command ``llm-failover-nb``: arguments, exit codes, wording, and the quickstart. No failover in here.

Exit codes: 0 it worked, 1 it did not (one line on standard error says why), 2 wrong usage, 130 interrupted.
Everything heavy is imported by the command that needs it, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import llm_failover_nb
from llm_failover_nb.engine.errors import FailoverError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbformat import NotebookNode

__all__ = ["CommandError", "main"]

PROGRAM = "llm-failover-nb"
NOTEBOOK = "01_quickstart.ipynb"

_OK, _FAILED, _INTERRUPTED = 0, 1, 130

_EXAMPLES = """\
examples:
  llm-failover-nb quickstart              run the first notebook and open it in JupyterLab
  llm-failover-nb quickstart --headless   run it and print what its cells print
  llm-failover-nb local install           fetch the small model that needs no key and no network
  llm-failover-nb local path              say where its weights are
"""

_QUICKSTART = """\
examples:
  llm-failover-nb quickstart
  llm-failover-nb quickstart --headless
  llm-failover-nb quickstart -- --no-browser --port=8890
"""


class CommandError(FailoverError):
    """A command cannot do what it was asked; the message says what to do."""


class _Command(Protocol):
    def __call__(self, arguments: argparse.Namespace, /) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments, without the program's name; those of the process unless given.

    Returns:
        The exit code.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after ``--help`` and ``--version``.

    >>> main(["local", "path"])  # doctest: +SKIP
    0
    """
    arguments = _parser().parse_args(argv)
    command: _Command = arguments.command
    try:
        return command(arguments)
    except (FailoverError, OSError) as error:
        _say(str(error))
        return _FAILED
    except KeyboardInterrupt:
        _say("interrupted")
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Notebook cells that go on when a language model does not.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {llm_failover_nb.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_local(commands.add_parser("local", help="the small model that runs on this machine"))
    _add_quickstart(
        commands.add_parser(
            "quickstart",
            help="run the first notebook and open it",
            description="Run the first notebook, write it with its outputs and open it in JupyterLab.",
            epilog=_QUICKSTART,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return parser


def _add_local(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb, command, text in (
        ("install", _local_install, "fetch its weights (98 MB), check them and keep them"),
        ("path", _local_path, "print where its weights are"),
        ("remove", _local_remove, "delete the weights that install fetched"),
    ):
        verbs.add_parser(verb, help=text, description=text).set_defaults(command=command)


def _add_quickstart(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--headless",
        action="store_true",
        help="print what each cell prints; write nothing, open nothing; fails when a cell does",
    )
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="options for JupyterLab")
    parser.set_defaults(command=_quickstart, usage_error=parser.error)


def _say(line: str) -> None:
    print(f"{PROGRAM}: {line}", file=sys.stderr, flush=True)


# local


def _local_install(_: argparse.Namespace) -> int:
    from llm_failover_nb.providers import weights

    print(weights.install(_say))
    return _OK


def _local_path(_: argparse.Namespace) -> int:
    from llm_failover_nb.providers import weights

    found = weights.find()
    if found is None:
        raise CommandError(weights.why_missing())
    print(found)
    return _OK


def _local_remove(_: argparse.Namespace) -> int:
    from llm_failover_nb.providers import weights

    _say("the weights are removed" if weights.remove() else "there is nothing to remove")
    if (left := weights.find()) is not None:
        _say(f"{left} stays: it was not installed by this command")
    return _OK


# quickstart


def _quickstart(arguments: argparse.Namespace) -> int:
    if arguments.headless and arguments.options:
        arguments.usage_error("options after -- are for JupyterLab, which --headless does not start")
    _require("nbclient", "ipykernel", *(() if arguments.headless else ("jupyterlab",)))
    _ensure_model()
    return _headless() if arguments.headless else _interactive(arguments.options)


def _require(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"quickstart needs {', '.join(missing)}, not installed here: run  pip install '{PROGRAM}[lab]'"
        )


def _ensure_model() -> None:
    """The local model, where it can be had; without it the notebook runs too, and people are told."""
    from llm_failover_nb.providers import weights

    try:
        if importlib.util.find_spec("xllamacpp") is None:
            raise CommandError(f"local models need the extra: run  pip install '{PROGRAM}[local]'")
        weights.install(_say)
    except (FailoverError, OSError) as error:
        _say(f"no local model: {error}")
        _say("going on without it: sim/echo, which only repeats the prompt, will answer instead")


def _headless() -> int:
    source, is_checkout = _find_notebook()
    _run(_read(source), folder=source.parent if is_checkout else Path.cwd(), echo=True)
    return _OK


def _interactive(options: Sequence[str]) -> int:
    file = _own_copy()
    notebook = _read(file)
    _say(f"running {file}")
    try:
        _run(notebook, folder=file.parent, echo=False)
    except CommandError as error:
        # The person sees it where it happened, with the rest of the notebook around it.
        _say(str(error))
    _write(file, notebook)
    return _open(_lab_command(file, options, is_root=hasattr(os, "geteuid") and os.geteuid() == 0))


def _find_notebook() -> tuple[Path, bool]:
    """The quickstart, and whether it is a checkout's own rather than the copy in an installed package."""
    package = Path(llm_failover_nb.__file__).parent
    for file, is_checkout in (
        (package.parent / "notebooks" / NOTEBOOK, True),
        (package / "notebooks" / NOTEBOOK, False),
    ):
        if file.is_file():
            return file, is_checkout
    raise CommandError(f"{NOTEBOOK} is neither beside the package nor in it ({package}): install it again")


def _own_copy() -> Path:
    """A quickstart that may be written to: a checkout's, else a new copy in the working directory."""
    source, is_checkout = _find_notebook()
    if is_checkout:
        return source
    content = source.read_bytes()
    for number in range(1, 1000):
        file = Path.cwd() / (NOTEBOOK if number == 1 else f"{source.stem}-{number}{source.suffix}")
        try:
            with file.open("xb") as target:  # never over what is there: it may hold somebody's work
                target.write(content)
        except FileExistsError:
            continue
        return file
    raise CommandError(f"{Path.cwd()} is full of copies of {NOTEBOOK}: change to another folder")


def _read(file: Path) -> NotebookNode:
    import nbformat

    notebook: NotebookNode = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]  # nbformat is
    return notebook


def _write(file: Path, notebook: NotebookNode) -> None:
    import nbformat

    beside = file.with_name(f".{file.name}.tmp")
    nbformat.write(notebook, beside)  # type: ignore[no-untyped-call]  # nbformat is
    beside.replace(file)


def _run(notebook: NotebookNode, *, folder: Path, echo: bool) -> None:
    """Execute ``notebook`` in place, each cell echoed as text when it is done, where wanted.

    Raises:
        CommandError: When a cell fails, or its kernel does not start or dies.
        KeyboardInterrupt: When it was interrupted; the kernel is stopped by then.
    """
    import asyncio
    import tempfile

    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    kernel = _kernel()
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
            raise CommandError(
                f"code cell {at} of {NOTEBOOK} failed: {error.ename}: {error.evalue}"
            ) from None
        except RuntimeError as error:
            if client.km is None:  # nbclient takes signals for itself, and its kernel away
                raise KeyboardInterrupt from None
            said.seek(0)
            last = (said.read().strip().splitlines() or ["nothing"])[-1]
            raise CommandError(
                f"{NOTEBOOK} could not be run: {error}; its kernel said {last!r} last"
            ) from None


async def _execute(client: NotebookClient, kernel: AsyncKernelManager, said: IO[str]) -> None:
    """Run the client's notebook, what the kernel itself logs kept in ``said``, and stop its kernel."""
    try:
        await client.async_execute(stderr=said)
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
        if kernel.has_kernel:
            await kernel.shutdown_kernel(now=True)


def _kernel() -> AsyncKernelManager:
    """A kernel of the running interpreter: the installed spec ``python3`` may be another environment's."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class OwnInterpreter(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:  # noqa: ARG002  # there is one answer
            return KernelSpec(resource_dir="", **get_kernel_dict())

    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=OwnInterpreter())


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


def _lab_command(file: Path, options: Sequence[str], *, is_root: bool) -> list[str]:
    root = ["--allow-root"] if is_root else []
    # Where no browser opens by itself, the address that JupyterLab prints leads to the notebook too.
    address = f"--LabApp.default_url=/lab/tree/{file.name}"
    return [sys.executable, "-m", "jupyterlab", str(file), address, *root, *options]


def _open(command: list[str]) -> int:
    """Become JupyterLab, so that the terminal and Ctrl-C are its own; where that is not possible, wait."""
    sys.stdout.flush()
    sys.stderr.flush()
    # In both: the running interpreter, and arguments that the person at the terminal gave.
    if os.name == "posix":
        os.execv(command[0], command)  # noqa: S606
    return subprocess.call(command)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
