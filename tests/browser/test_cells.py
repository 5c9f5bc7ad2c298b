"""Cells as a person uses them in JupyterLab: stop, click meanwhile, complete, new cells below, trust."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_failover_nb.testing import FaultServer
from tests.browser.lab import Notebook, another_page, browser_page, notebook_of

pytestmark = pytest.mark.browser

SET_UP = """\
%load_ext llm_failover_nb
import ipywidgets
import llm_failover_nb as fo
from llm_failover_nb.testing import FaultServer
server = FaultServer().start()
fo.register_provider('srv', base_url=server.url)
ran = []
button, label = ipywidgets.Button(description='press'), ipywidgets.Label('not pressed')
button.on_click(lambda _: setattr(label, 'value', f'pressed after {len(ran)}'))
ipywidgets.HBox([button, label])"""

STALL, CLOSED, FAIL, SILENT, ASK, APPEND, ASK_NEXT, APPEND_NEXT, DOCTOR, CODE = range(1, 11)
CELLS = [
    SET_UP,
    "%%llm chain=srv/stall:30\n" + "many words to stream " * 10,
    "%llm\nprint(server.wait_closed(5), fo.list_benched())",
    "%%llm chain=srv/503,srv/auth\nhello",
    "%%llm chain=srv/silent\nhello",
    "%%llm chain=sim/say:one out=answer\nhello",
    "ran.append(answer.text)",
    "%%llm chain=sim/say:two out=answer\nhello",
    "ran.append(answer.text); ran",
    "%llm doctor",
    "%%llm chain=sim/say:ran.append(3) format=code\nhello",
]

# Of cells with a mark: whether the name stands below it.
BELOW = """cells => cells.map(cell => {
    const [mark, name] = ['span', 'samp'].map(tag => cell.querySelector(tag).getBoundingClientRect());
    return name.top > mark.bottom;
})"""

# Seconds. It takes a fifth of one; a plain await would notice only when something else wakes the kernel.
STOPPED_WITHIN = 1.0


@pytest.fixture(scope="module")
def notebook(lab: tuple[str, Path]) -> Iterator[Notebook]:
    """A notebook whose first cell has run; each test has cells of its own in it."""
    base, root = lab
    (root / "cells.ipynb").write_text(notebook_of(CELLS))
    with browser_page(width=1000) as page:
        opened = Notebook.open(page, base, "cells.ipynb")
        opened.run(0)
        yield opened


def interrupted(notebook: Notebook, number: int, shown: str) -> float:
    """Press the stop button; seconds until the cell says what was ``shown`` to be said then."""
    started = notebook.page.evaluate("performance.now()")
    notebook.page.locator("[data-jp-item-name='interrupt']").click()
    notebook.output(number).get_by_text(shown).first.wait_for()
    return float(notebook.page.evaluate("performance.now()") - started) / 1000


def test_interrupt_keeps_what_has_come(notebook: Notebook) -> None:
    """Text stands in the cell while it still runs; stopped, it stays, and the request is closed."""
    notebook.run(STALL, wait=False)
    notebook.output(STALL).get_by_text("many words").first.wait_for()
    assert notebook.prompt(STALL) == "[*]:"
    took = interrupted(notebook, STALL, "interrupted; partial answer")
    notebook.wait_idle()
    assert "many words" in notebook.output(STALL).inner_text()
    notebook.run(CLOSED)
    assert notebook.output(CLOSED).inner_text().splitlines()[-1].startswith("True")
    assert took < STOPPED_WITHIN


def test_a_click_is_served_while_a_model_is_silent(notebook: Notebook) -> None:
    """A widget's button acts while the cell waits; the stop button ends the wait."""
    notebook.run(SILENT, wait=False)
    notebook.output(SILENT).get_by_text("asking srv/silent").wait_for()
    notebook.output(0).get_by_role("button", name="press").click()
    notebook.output(0).get_by_text("pressed after").wait_for()
    assert notebook.prompt(SILENT) == "[*]:"
    took = interrupted(notebook, SILENT, "interrupted before an answer came")
    notebook.wait_idle()
    assert took < STOPPED_WITHIN


def test_queued_cells_run_in_order(notebook: Notebook) -> None:
    """A cell that is awaited holds up those queued after it."""
    notebook.run(ASK, last=APPEND_NEXT)
    assert notebook.output(APPEND_NEXT).inner_text().endswith("['one', 'two']")


def test_marks_stand_beside_their_names(notebook: Notebook) -> None:
    """In the narrow column of a wide table, too."""
    notebook.run(DOCTOR)
    below = notebook.output(DOCTOR).locator("td.lf-mark.lf-name").evaluate_all(BELOW)
    assert below == [False] * len(below) != []


def test_code_goes_into_a_new_cell_below(notebook: Notebook) -> None:
    """It is not run."""
    notebook.run(CODE)
    below = notebook.cell(CODE + 1)
    below.locator(".cm-line", has_text="ran.append(3)").wait_for()
    assert notebook.prompt(CODE + 1) == "[ ]:"
    assert "put into a new cell below; not run" in notebook.output(CODE).inner_text()


def test_total_failure_is_a_short_error_output(notebook: Notebook) -> None:
    """Each model with its reason and what to do; the cell has failed, without pages of traceback."""
    notebook.run(FAIL)
    shown = notebook.output(FAIL).inner_text()
    error = notebook.output(FAIL).locator("[data-mime-type='application/vnd.jupyter.stderr']").inner_text()
    assert all(spec in shown for spec in ("srv/503", "srv/auth"))
    assert "Traceback" not in error
    assert len(error.splitlines()) < 8


def test_trust_asks_in_the_page(lab: tuple[str, Path], notebook: Notebook) -> None:
    """What a project's file wants is shown, a box asks, and after a yes its provider answers."""
    base, root = lab
    with FaultServer() as server:
        project = root / "project"
        project.mkdir()
        (project / "llm_failover.toml").write_text(f'[providers.lab]\nbase_url = "{server.url}"\n')
        cells = ["%load_ext llm_failover_nb", "%%llm chain=lab/echo\nhello", "%llm trust"]
        (project / "cells.ipynb").write_text(notebook_of(cells))
        with another_page(notebook.page) as page:
            opened = Notebook.open(page, base, "project/cells.ipynb")
            opened.run(0)
            opened.run(1)
            assert "%llm trust" in opened.output(1).inner_text()
            opened.run(2, wait=False)
            box = opened.output(2).locator("input.jp-Stdin-input")
            box.fill("y")
            assert f"sends prompts to {server.url}" in opened.output(2).inner_text()
            box.press("Enter")
            opened.output(2).get_by_text("is trusted as long as it stays as it is").wait_for()
            opened.run(1)
            assert "answered by lab/echo" in opened.output(1).inner_text()
