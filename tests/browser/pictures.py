"""Runs the notebooks, saves their outputs, and takes the README's pictures in real JupyterLab.

``python -m tests.browser.pictures``, after a change of what a cell looks like. Not a test.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.browser.lab import Notebook, browser_page, jupyterlab, notebook_of

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
    with _opened(source.name, source.read_text()) as notebook:
        notebook.run_all()
        cell = notebook.cell(ids.index(cell_id))
        cell.locator("details summary").click()
        notebook.page.mouse.move(0, 0)
        notebook.page.add_style_tag(content=".jp-cell-toolbar { display: none }")
        path.parent.mkdir(exist_ok=True)
        cell.screenshot(path=path)


def outage_picture(path: Path) -> None:
    """The panel of its notebook amid the outage: a call waits for a provider that is silent."""
    ids = [cell.id for cell in nbformat.read(PANEL, as_version=4).cells]
    with _opened(PANEL.name, PANEL.read_text()) as notebook:
        notebook.run(0, last=ids.index("wait"))
        _take(notebook, ids.index("panel"), path)


def panel_picture(path: Path) -> None:
    """The panel of a scene of its own, with models of every kind."""
    with _opened("scene.ipynb", notebook_of([*_SCENE])) as notebook:
        notebook.run(0, last=1)
        panel = notebook.output(1).locator(".lf-panel")
        notebook.run(2)
        panel.get_by_role("button", name="Bench lab/phi").click()
        panel.get_by_role("button", name="30 min").first.click()
        panel.get_by_role("button", name="Undo").wait_for()
        notebook.run(3)
        _take(notebook, 1, path)


# A rehearsal in process: each model has the seconds that its answers take, or what it raises instead.
_SCENE = (
    """
import asyncio, itertools, os
import llm_failover_nb as fo

class Rehearsed:
    def __init__(self, **models):
        self.models = {name: iter(script) for name, script in models.items()}

    async def acomplete(self, request):
        outcome = next(self.models[request.model])
        if isinstance(outcome, Exception):
            raise outcome
        await asyncio.sleep(outcome)
        return fo.Response(text="It is well.")

    async def astream(self, request):
        yield fo.Chunk(text=(await self.acomplete(request)).text)

down = fo.ProviderError("overloaded", status=503)
full = fo.ProviderError("too many requests", status=429, retry_after=90)
fo.register_provider("cloud", Rehearsed(large=itertools.repeat(down), small=[0.9, 0.7, 1.1, full]))
fo.register_provider("lab", Rehearsed(llama=[3600], phi=[0.2]))
os.environ.pop("OPENAI_API_KEY", None)
%load_ext llm_failover_nb
%llm chain prod = openai/gpt-5-mini, cloud/large, cloud/small, lab/llama, local/smollm2
%llm chain draft = lab/phi, lab/llama
%llm chain prod
""",
    "fo.panel()",
    """
prod, draft = fo.parse_chain("prod"), fo.parse_chain("draft")
for chain in (prod, prod, prod, draft):
    await chain.acomplete("How are you?")
""",
    """
call = asyncio.create_task(prod.acomplete("How are you?"))
await asyncio.wait([call], timeout=2.5)
""",
)


@contextmanager
def _opened(name: str, text: str) -> Iterator[Notebook]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(text)
        with jupyterlab(Path(folder)) as base, browser_page(width=1000, height=1800, scale=2) as page:
            yield Notebook.open(page, base, name)


def _take(notebook: Notebook, cell: int, path: Path) -> None:
    """A picture of the panel in a cell's output, once it shows a call that has run for some seconds."""
    panel = notebook.output(cell).locator(".lf-panel")
    running = panel.get_by_role("button", name="Cancel").locator("xpath=..")
    running.get_by_text(re.compile(r"\b[2-9] s")).wait_for()
    notebook.page.mouse.move(0, 0)
    panel.screenshot(path=path)


def main() -> None:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        save_outputs(path)
        print(f"saved {path.name}", file=sys.stderr)
    picture(QUICKSTART, "ask", NOTEBOOKS / "images" / "quickstart.png")
    picture(CELLS, "json", NOTEBOOKS / "images" / "json.png")
    outage_picture(NOTEBOOKS / "images" / "outage.png")
    panel_picture(NOTEBOOKS / "images" / "panel.png")


if __name__ == "__main__":
    main()
