"""Notebooks that nobody watches: however they are run, one output a cell, and a stop where a cell fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from tests.notebook.kernel import client

LOAD = "%load_ext llm_failover_nb"
ASK = "%%llm chain=sim/503,sim/say:fine out=answer retries=1\nhi"
USE = "print(answer.text)"
FAIL = "%%llm chain=sim/auth\nhi"
AFTER = "print('after')"


def saved(folder: Path, *sources: str) -> Path:
    """A notebook of these cells, in a file."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "cells.ipynb"
    nbformat.write(notebook, path)
    return path


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """The kinds of output of each cell of code."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [[output["output_type"] for output in cell["outputs"]] for cell in cells]


def test_nbclient() -> None:
    """One output for the answer, and the next cell has it."""
    running = client(LOAD, ASK, USE)
    running.execute()

    assert kinds(running.nb) == [[], ["display_data"], ["stream"]]
    assert running.nb["cells"][2]["outputs"][0]["text"] == "fine\n"


def test_papermill(tmp_path: Path) -> None:
    """Parameters reach the prompt, and the saved notebook has the answer."""
    path = saved(tmp_path, "city = 'Rome'", LOAD, "%%llm chain=sim/echo out=answer\n{{ city }}", USE)
    run = papermill.execute_notebook(path, tmp_path / "out.ipynb", {"city": "Paris"}, progress_bar=False)

    assert run["cells"][-1]["outputs"][0]["text"] == "Paris\n"
    assert kinds(run)[-2] == ["display_data"]


def test_papermill_stops(tmp_path: Path) -> None:
    """A cell that no model answers ends the run."""
    path = saved(tmp_path, LOAD, FAIL, AFTER)
    with pytest.raises(PapermillExecutionError, match="sim/auth"):
        papermill.execute_notebook(path, tmp_path / "out.ipynb", progress_bar=False)

    assert kinds(nbformat.read(tmp_path / "out.ipynb", as_version=4))[-1] == []


def nbconvert(path: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook as ``jupyter nbconvert --execute`` does, into a page."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", str(path)]
    environment = {**os.environ, "IPYTHONDIR": str(path.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def test_nbconvert(tmp_path: Path) -> None:
    """The page has the answer and its footer, once."""
    path = saved(tmp_path, LOAD, ASK, USE)
    done = nbconvert(path)
    page = path.with_suffix(".html").read_text(encoding="utf-8")

    assert done.returncode == 0, done.stderr
    assert page.count("answered by") == 1


def test_nbconvert_stops(tmp_path: Path) -> None:
    """A cell that no model answers ends the run."""
    done = nbconvert(saved(tmp_path, LOAD, FAIL, AFTER))

    assert done.returncode != 0
    assert "sim/auth: the key was refused" in done.stderr
    assert "after" not in done.stdout


def test_nbconvert_shows_how_a_panel_stood_at_the_end(tmp_path: Path) -> None:
    """By its snapshot: in a page no kernel feeds the widget. No thread of the panel keeps the kernel."""
    path = saved(tmp_path, LOAD, "%llm panel", "import llm_failover_nb as fo; fo.bench_model('sim/503')", "1")
    done = nbconvert(path)
    page = path.with_suffix(".html").read_text(encoding="utf-8")

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "as of" in page
    assert "benched by hand until lifted" in page


def test_terminal(tmp_path: Path) -> None:
    """IPython in a terminal prints the answer and its footer, and goes on with it."""
    script = tmp_path / "cells.ipy"
    magic = "get_ipython().run_cell_magic('llm', 'chain=sim/503,sim/say:fine out=answer retries=1', 'hi')"
    script.write_text(f"{LOAD}\n{magic}\n{USE}\n%llm\n", encoding="utf-8")
    command = [sys.executable, "-m", "IPython", "--colors=NoColor", "--no-banner", str(script)]
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=120, cwd=tmp_path
    )

    assert done.stdout.startswith("fine\n")
    assert "answered by sim/say:fine after sim/503 failed" in done.stdout
    assert done.stdout.count("\nfine\n") == 1
    assert "<div" not in done.stdout
    assert "default chain" in done.stdout
