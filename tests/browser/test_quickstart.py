"""The quickstart as a person sees it: JupyterLab in Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.lab import Notebook, browser_page, jupyterlab

pytestmark = pytest.mark.browser

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab over the quickstart."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copy(QUICKSTART, root)
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
