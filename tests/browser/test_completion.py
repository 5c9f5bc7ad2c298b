"""Completion as a person sees it: Tab in the first line of a ``%%llm`` cell, in JupyterLab."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.lab import Notebook, browser_page, jupyterlab, notebook_of

pytestmark = pytest.mark.browser

SET_UP = """\
%load_ext llm_failover_nb
import llm_failover_nb as fo
from llm_failover_nb.testing import FaultServer
server = FaultServer().start()
fo.register_provider('srv', base_url=server.url)
fo.bench_model('srv/echo')
"""

# In one line, and not cut off by the list's edge.
WHOLE = """state => {
    const [inner, outer] = [state, state.closest('.jp-Completer')].map(e => e.getBoundingClientRect());
    return inner.right <= outer.right && inner.height < 1.5 * parseFloat(getComputedStyle(state).lineHeight);
}"""

CELLS = [SET_UP, "%%llm chain=sim/503,srv/\nhello"]


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab over a notebook whose second cell is being written."""
    root = tmp_path_factory.mktemp("lab")
    (root / "cells.ipynb").write_text(notebook_of(CELLS))
    with jupyterlab(root) as running:
        yield running


def tab_until(page: Page, name: str) -> None:
    """Ask for completions until the provider's own list, which is fetched meanwhile, is among them."""
    names = page.locator(".jp-Completer .jp-Completer-match")
    for _ in range(100):
        page.keyboard.press("Tab")
        names.first.wait_for()
        if name in names.all_inner_texts():
            return
        page.keyboard.press("Escape")
        names.first.wait_for(state="hidden")
    raise AssertionError(f"no completion was {name}")


def test_tab_shows_the_models_and_which_is_benched(base: str) -> None:
    """The names of the server's list, no files; taking one keeps the rest of the chain."""
    with browser_page() as page:
        notebook = Notebook.open(page, base, "cells.ipynb")
        notebook.run(0)
        line = notebook.cell(1).locator(".cm-line").first
        line.click()
        page.keyboard.press("End")
        tab_until(page, "silent")
        states = page.locator(".jp-Completer .jp-Completer-typeExtended")
        names = page.locator(".jp-Completer .jp-Completer-match").all_inner_texts()
        assert names == ["503x2+echo", "429:5", "silent", "cut:40", "echo"]
        assert states.all_inner_texts()[-1].split() == ["benched", "until", "lifted"]
        assert states.last.evaluate(WHOLE)
        page.keyboard.type("si")
        page.keyboard.press("Enter")
        line.filter(has_text="%%llm chain=sim/503,srv/silent").wait_for()
