"""Cells that the kernel awaits, and those that it cannot: the same cell either way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from llm_failover_nb.notebook.awaited import AwaitedCells, why_not
from tests.notebook.kernel import Cell, Kernel

BESIDE = """\
import asyncio
async def beside():
    while True:
        await asyncio.sleep(0)
        turns.append(1)
turns = []
task = asyncio.ensure_future(beside())
"""

FORMS = pytest.mark.parametrize("how", ["", "await_cells=off"], ids=["awaited", "blocking"])


@FORMS
def test_the_kernel_serves_meanwhile(kernel: Kernel, how: str) -> None:
    """A task of the kernel's own loop goes on while an awaited cell waits for a model; else it stands."""
    kernel.run(BESIDE)
    kernel.run("""
import threading
class Gate:
    def __init__(self): self.open = threading.Event()
    def complete(self, request): raise NotImplementedError
    def stream(self, request):
        seen = len(turns)
        self.open.wait(0.3)
        yield fo.Chunk(f"{len(turns) - seen > 10}")
fo.register_provider('gate', Gate())
""")
    cell = kernel.run(f"%%llm chain=gate/x {how}\nhi")
    kernel.run("task.cancel()")

    assert cell.text.splitlines()[0] == str(how == "")


@FORMS
@pytest.mark.parametrize("options", ["", "stream=off"])
def test_either_way_gives_the_same(kernel: Kernel, how: str, options: str) -> None:
    """Answer, one output, `out=`, `_`, `Out[n]` and the cell's number in the events."""
    cell = kernel.run(f"%%llm chain=sim/503,sim/say:yes out=answer {options} {how}\nhi")
    number = next(m["content"]["execution_count"] for m in cell.messages if m["msg_type"] == "execute_input")

    assert cell.kinds == ["display_data"]
    assert "answered by sim/say:yes after sim/503 failed" in cell.text
    assert kernel.value(f"_ is answer, Out[{number}] is answer, _{number} is answer") == "(True, True, True)"
    assert kernel.value("{row.cell for row in process_log if row.outcome != 'bench'}") == f"{{'{number}'}}"


@FORMS
def test_either_way_fails_alike(kernel: Kernel, how: str) -> None:
    """A failed cell is one short error output, and its cause is kept."""
    cell = kernel.run(f"%%llm chain=sim/503,sim/auth {how}\nhi")
    cause = kernel.value("import sys; type(sys.last_value).__name__, type(sys.last_value.__cause__).__name__")

    assert cell.error_name == "CellFailed"
    assert "Traceback" not in cell.error
    assert cause == "('CellFailed', 'AllModelsFailed')"


@FORMS
@pytest.mark.parametrize("body", ["", "\n", " \n\n"])
def test_empty_cell(kernel: Kernel, how: str, body: str) -> None:
    """A cell without a prompt says what to do, in one line."""
    cell = kernel.run(f"%%llm chain=sim/echo {how}\n{body}")

    assert cell.said == "UsageError: the cell asks nothing: write the prompt in the lines below %%llm\n"


def test_first_line_alone(kernel: Kernel) -> None:
    """So does one that ends after its first line."""
    assert "write the prompt in the lines below" in kernel.run("%%llm").said


@pytest.mark.parametrize(
    ("source", "state"),
    [("%%llm", "incomplete"), ("%%llm\nhi", "incomplete"), ("%%llm\nhi\n\n", "complete")],
)
def test_a_terminal_asks_for_the_lines_below(shell: InteractiveShell, source: str, state: str) -> None:
    """Return after the first line does not run the cell; an empty line below the prompt does."""
    assert shell.check_complete(source)[0] == state


def test_the_magics_help(kernel: Kernel) -> None:
    """A question mark asks for help, not a model."""
    cell = kernel.run("%%llm?")

    assert cell.error == ""
    assert kernel.value("list(process_log)") == "[]"


def test_order_of_queued_cells(kernel: Kernel) -> None:
    """Run All keeps its order, each cell with what the one before has left."""
    cells = kernel.run_all(
        "order = []",
        "%%llm chain=sim/echo out=first\none",
        "order.append(first.text)",
        "%%llm chain=sim/echo out=second await_cells=off\n{{ first.text }} two",
        "order.append(second.text); order",
    )

    assert cells[-1].text == "['one', 'one two']"


def test_a_failed_cell_stops_the_queue(kernel: Kernel) -> None:
    """What was queued behind it is not run."""
    kernel.run("ran = []")
    # Time for the second to arrive: a kernel drops what is in its queue.
    kernel.run_all("%%llm chain=lab/silent timeout=0.5 retries=1\nhi", "ran.append(1)")

    assert kernel.value("ran") == "[]"


# Cells within cells


def within(kernel: Kernel, source: str, text: str = "inner") -> Cell:
    """A cell whose inner cell answered, whatever ran it."""
    cell = kernel.run(source)
    assert cell.error == ""
    assert kernel.value("answer.text") == repr(text)
    return cell


@pytest.fixture
def inner(kernel: Kernel) -> str:
    """A cell, in a variable of the kernel's too."""
    source = "%%llm chain=sim/echo out=answer\ninner"
    kernel.run(f"inner, answer = {source!r}, None")
    return source


@pytest.mark.parametrize("before", ["", "await __import__('asyncio').sleep(0)\n"])
def test_run_from_a_cell(kernel: Kernel, inner: str, before: str) -> None:
    """A cell run by a cell, which may itself be awaited, blocks."""
    within(kernel, f"{before}get_ipython().run_cell(inner).raise_error()")


@pytest.mark.parametrize("magic", ["capture seen", "time"])
def test_under_another_magic(kernel: Kernel, inner: str, magic: str) -> None:
    """Other people's cell magics run it as they would any other."""
    within(kernel, f"%%{magic}\n{inner}")


def test_run_of_a_notebook(kernel: Kernel, inner: str, tmp_path: Path) -> None:
    """A notebook that is run from another has its cells answered."""
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "source": inner,
    }
    path = tmp_path / "inner.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}))
    within(kernel, f"%run {path}")


def test_autoawait_off(kernel: Kernel, inner: str) -> None:
    """Where IPython awaits nothing, the cell blocks."""
    kernel.run("%autoawait off")
    try:
        within(kernel, inner)
    finally:
        kernel.run("%autoawait on")


def test_result_of_a_cell_that_a_program_runs(kernel: Kernel, inner: str) -> None:
    """Whoever runs a cell from Python finds the answer in its result."""
    kernel.run("result = get_ipython().run_cell(inner)")

    assert kernel.value("result.result is answer") == "True"


def test_settings_switch_it_off(kernel: Kernel, settings: Path) -> None:
    """The settings can keep all cells from being awaited."""
    settings.write_text("[cell]\nawait_cells = false\n", encoding="utf-8")
    kernel.run("%%llm chain=sim/echo\nhi")
    blocking = kernel.value("In[-2]")
    settings.write_text("", encoding="utf-8")
    kernel.run("%%llm chain=sim/echo\nhi")
    awaited = kernel.value("In[-2]")

    assert (blocking.startswith('"await'), awaited.startswith('"await')) == (False, True)


# Without a kernel


def test_a_terminal_awaits_nothing(shell: object) -> None:
    """There a cell runs as any other, and why is known."""
    cells = AwaitedCells(shell, lambda: True)  # type: ignore[arg-type]  # a shell

    assert cells.rewrite(["%%llm chain=a/b\n", "hi\n"]) == ["%%llm chain=a/b\n", "hi\n"]
    assert "a terminal" in why_not(shell)  # type: ignore[arg-type]  # a shell


@pytest.mark.parametrize("first", ["print(1)\n", "%%llmx\n", "%llm\n", "%%llm?\n"])
def test_other_cells_are_left_alone(shell: object, first: str) -> None:
    """Only ``%%llm`` cells are rewritten, be they empty or not."""
    assert AwaitedCells(shell, lambda: True).rewrite([first]) == [first]  # type: ignore[arg-type]  # a shell
    assert AwaitedCells(shell, lambda: True).rewrite([first, "hi\n"]) == [first, "hi\n"]  # type: ignore[arg-type]


def test_no_cell_at_all(shell: object) -> None:
    """Nothing is nothing."""
    assert AwaitedCells(shell, lambda: True).rewrite([]) == []  # type: ignore[arg-type]  # a shell
