"""Runs the notebooks, saves their outputs, and takes the README's pictures in real JupyterLab.

``python -m tests.browser.pictures``, after a change of what a cell looks like. Not a test.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.browser.lab import Notebook, browser_page, jupyterlab

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
QUICKSTART = NOTEBOOKS / "01_quickstart.ipynb"
ASK = 5  # the cell that fails over, counted with the texts


def save_outputs(path: Path) -> None:
    """Run a notebook in a fresh kernel and keep its outputs, without this run's clock times."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, record_timing=False).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


def picture_of_the_failover(path: Path) -> None:
    """The cell of the quickstart whose first model is down, with its details open."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(QUICKSTART, folder)
        with jupyterlab(Path(folder)) as base, browser_page(width=1000, height=1800, scale=2) as page:
            notebook = Notebook.open(page, base, QUICKSTART.name)
            notebook.run_all()
            cell = notebook.cell(ASK)
            cell.locator("details summary").click()
            page.mouse.move(0, 0)
            path.parent.mkdir(exist_ok=True)
            cell.screenshot(path=path)


def main() -> None:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        save_outputs(path)
        print(f"saved {path.name}", file=sys.stderr)
    picture_of_the_failover(NOTEBOOKS / "images" / "quickstart.png")


if __name__ == "__main__":
    main()
