"""The cell as a person sees it: JupyterLab in Chromium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.lab import Notebook, browser_page, jupyterlab

pytestmark = pytest.mark.browser

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"

SET_UP = """\
%load_ext llm_failover_nb
import llm_failover_nb as fo
from llm_failover_nb.testing import FaultServer
server = FaultServer().start()
fo.register_provider('srv', base_url=server.url)"""

CELLS = [
    SET_UP,
    "%%llm chain=srv/stall:30\n" + "many words to stream " * 10,
    "%llm\nprint(server.wait_closed(5), fo.list_benched())",
    "%%llm chain=srv/503,srv/auth\nhello",
    "%%llm chain=sim/say:<img_src=x_onerror=alert(1)>_**bold**\nhello",
]


def notebook_of(cells: list[str]) -> str:
    """A notebook of code cells, as a file holds it."""
    return json.dumps(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"c{number}",
                    "metadata": {},
                    "source": source,
                    "outputs": [],
                    "execution_count": None,
                }
                for number, source in enumerate(cells)
            ],
        }
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab over the quickstart and a notebook of our own."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copy(QUICKSTART, root)
    (root / "cells.ipynb").write_text(notebook_of(CELLS))
    with jupyterlab(root) as running:
        yield running


@pytest.mark.local_model
def test_quickstart_runs_and_says_who_answered(base: str) -> None:
    """Run All: the first model fails with a real 503, the local model answers, the footer says both."""
    with browser_page() as page:
        notebook = Notebook.open(page, base, QUICKSTART.name)
        notebook.run_all()
        answer = page.locator(".llm-failover", has_text="answered by").first
        footer = answer.inner_text()
        assert "answered by local/smollm2 after cloud/503 failed (overloaded, HTTP 503)" in footer
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0


def test_answer_streams_into_the_cell_and_an_interrupt_keeps_it(base: str) -> None:
    """Text stands in the cell while it still runs; the stop button ends it within half a second."""
    with browser_page() as page:
        notebook = Notebook.open(page, base, "cells.ipynb")
        notebook.run(0)
        notebook.run(1, wait=False)
        output = notebook.output(1)
        output.get_by_text("many words").first.wait_for()
        assert notebook.cell(1).locator(".jp-InputPrompt").inner_text() == "[*]:"
        started = page.evaluate("performance.now()")
        notebook.command("notebook:interrupt-kernel")
        output.get_by_text("interrupted; partial answer").first.wait_for()
        took = page.evaluate("performance.now()") - started
        notebook.wait_idle()
        assert "many words" in output.inner_text()
        assert took < 2000
        notebook.run(2)
        assert "True []" in notebook.output(2).inner_text()


def test_total_failure_is_a_short_error_output(base: str) -> None:
    """Each model with its reason and what to do; the cell has failed, without pages of traceback."""
    with browser_page() as page:
        notebook = Notebook.open(page, base, "cells.ipynb")
        notebook.run(0)
        notebook.run(3)
        shown = notebook.output(3).inner_text()
        error = page.locator("[data-mime-type='application/vnd.jupyter.stderr']").inner_text()
    assert all(spec in shown for spec in ("srv/503", "srv/auth"))
    assert "Traceback" not in error
    assert len(error.splitlines()) < 8


def test_model_output_does_not_act(base: str) -> None:
    """Script and images in an answer are text or gone; Markdown is rendered."""
    with browser_page() as page:
        alerts: list[str] = []
        page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
        notebook = Notebook.open(page, base, "cells.ipynb")
        notebook.run(0)
        notebook.run(4)
        output = notebook.output(4)
        assert (output.locator("img").count(), output.locator("strong", has_text="bold").count()) == (0, 1)
        assert alerts == []
