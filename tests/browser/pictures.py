"""Runs the notebooks, saves their outputs, and takes the README's pictures in real JupyterLab.

``python -m tests.browser.pictures``, after a change of what a cell looks like. Not a test.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.browser.lab import Notebook, browser_page, jupyterlab

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
QUICKSTART = NOTEBOOKS / "01_quickstart.ipynb"
CELLS = NOTEBOOKS / "02_cells.ipynb"
PANEL = NOTEBOOKS / "03_panel.ipynb"
_WIDGET = "application/vnd.jupyter.widget-view+json"
# Variables that `%llm doctor` would show, and that say more of this machine than of the package.
_OF_THIS_MACHINE = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


def save_outputs(path: Path) -> None:
    """Run a notebook in a fresh kernel and keep its outputs, without this run's times and folders."""
    notebook = nbformat.read(path, as_version=4)
    environment = {name: value for name, value in os.environ.items() if name not in _OF_THIS_MACHINE}
    NotebookClient(notebook, timeout=120, record_timing=False).execute(env=environment)
    notebook = nbformat.reads(without_folders(nbformat.writes(notebook)), as_version=4)
    drop_widgets(notebook)
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


def drop_widgets(notebook: nbformat.NotebookNode) -> None:
    """Keep no widget nor its state: a snapshot stands beside it, and it would be "model not found"."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _WIDGET not in output.get("data", {})]


def without_folders(text: str) -> str:
    """The text with the folders of whoever runs this named as everybody's: a saved output is published."""
    return text.replace(sys.prefix, "~/.venv").replace(str(Path.home()), "~")


def picture(source: Path, cell_id: str, path: Path) -> None:
    """A cell of a notebook that fails over, with its details open."""
    ids = [cell.id for cell in nbformat.read(source, as_version=4).cells]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(source, folder)
        with jupyterlab(Path(folder)) as base, browser_page(width=1000, height=1800, scale=2) as page:
            notebook = Notebook.open(page, base, source.name)
            notebook.run_all()
            cell = notebook.cell(ids.index(cell_id))
            cell.locator("details summary").click()
            page.mouse.move(0, 0)
            page.add_style_tag(content=".jp-cell-toolbar { display: none }")
            path.parent.mkdir(exist_ok=True)
            cell.screenshot(path=path)


def panel_picture(source: Path, path: Path) -> None:
    """The panel amid the outage: a call waits for a provider that is silent, another is benched."""
    ids = [cell.id for cell in nbformat.read(source, as_version=4).cells]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(source, folder)
        with jupyterlab(Path(folder)) as base, browser_page(width=1000, height=1800, scale=2) as page:
            notebook = Notebook.open(page, base, source.name)
            notebook.run(0, last=ids.index("wait"))
            panel = notebook.output(ids.index("panel")).locator(".lf-panel")
            panel.get_by_role("button", name="Cancel").wait_for()
            page.mouse.move(0, 0)
            panel.screenshot(path=path)


def main() -> None:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        save_outputs(path)
        print(f"saved {path.name}", file=sys.stderr)
    picture(QUICKSTART, "ask", NOTEBOOKS / "images" / "quickstart.png")
    picture(CELLS, "json", NOTEBOOKS / "images" / "json.png")
    panel_picture(PANEL, NOTEBOOKS / "images" / "outage.png")


if __name__ == "__main__":
    main()
