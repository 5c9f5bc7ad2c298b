"""Outputs in a browser: what models wrote does nothing, and an answer that streams does not flicker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbformat.sign import NotebookNotary
from playwright.sync_api import Locator, Page

from tests.browser.hostile import ACTS, HOSTILE, HOSTILE_MARKDOWN, MARKDOWN_ACTS, listening
from tests.browser.lab import Notebook, another_page, browser_page, data_folder, notebook_of

pytestmark = pytest.mark.browser

SET_UP = """\
%load_ext llm_failover_nb
import time
from IPython.display import HTML, display
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.types import Chunk, Response
from llm_failover_nb.notebook import render
from llm_failover_nb.notebook.live import bundle

class Slow:
    def complete(self, request):
        return Response("unused")

    def stream(self, request):
        time.sleep(0.2)
        for number in range(40):
            time.sleep(0.01)
            yield Chunk(f"thought {number}, ", "reasoning")
        for number in range(60):
            time.sleep(0.01)
            yield Chunk(f"word {number} of {request.model}\\n\\n" )
            if request.model == "first" and number == 30:
                raise ProviderError("gone", reason="connection")

process_registry.register("slow", Slow())
PAGE = open("page.html").read()
"""

SAYS = """\
import json
MARKDOWN = open("page.md").read()

class Says:
    def complete(self, request):
        return Response("unused")

    def stream(self, request):
        if request.model.startswith("fails"):
            raise ProviderError(PAGE, reason="overloaded")
        answers = {"json": json.dumps({PAGE: PAGE}), "code": f"```python\\npage = \'\'\'{PAGE}\'\'\'\\n```"}
        text = answers.get(request.model, MARKDOWN + PAGE)
        yield Chunk(PAGE, "reasoning")
        yield Chunk(text)
        yield Chunk("", "done", response=Response(text, reasoning=PAGE))

process_registry.register("says", Says())
"""

# A model whose name is an image.
IMAGE = "says/fails<img/src=AT/name>"

ASK = [
    "%%llm chain=says/x\nhello",
    "%%llm chain=says/x format=text\nhello",
    "%%llm chain=says/json format=json\nhello",
    "%%llm chain=says/x format=html\nhello",
    f"%%llm chain={IMAGE},says/x out=answer\nhello",
    "answer",
    "%llm explain",
    f"%llm chain {IMAGE},says/x",
    f"%llm bench {IMAGE}",
    "%llm",
    "%%llm chain=says/code format=code\nhello",
    f"%%llm chain={IMAGE}\nhello",
]
# Which outputs show the page as a text, thinking and errors included; which the name; which the page framed.
# At 11 is the new cell with the code.
PAGES = {0, 1, 2, 3, 4, 5, 6, 10, 12}
NAMES = {4, 5, 6, 7, 8, 9, 12}
FRAME = 3

FRAMED = 'display(bundle(render.answer_html(Response(PAGE), format="html"), PAGE), raw=True)'
PLAIN = "HTML(PAGE)"
STREAM = "%%llm chain=slow/first,slow/second\nhello"

# What acts may take JupyterLab's page along: nothing in it is waited for.
RUN_UNWATCHED = """cell => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = cell;
    notebook.deselectAll();
    window.jupyterapp.commands.execute('notebook:run-cell');
}"""

WATCH = """cell => {
    const cells = document.querySelectorAll('.jp-Notebook .jp-Cell');
    const area = cells[cell].querySelector('.jp-Cell-outputArea');
    window.heights = [];
    const sample = () => {
        window.heights.push(area.getBoundingClientRect().height);
        window.sampling = requestAnimationFrame(sample);
    };
    sample();
    window.seen = new Set();
    const look = () => {
        if (area.textContent.includes('thinking …')) window.seen.add('thinking');
        if (area.querySelector('del')) window.seen.add('struck');
    };
    new MutationObserver(look).observe(area, { childList: true, subtree: true, characterData: true });
}"""


@pytest.fixture(scope="module")
def lab(lab: tuple[str, Path]) -> tuple[str, Path]:
    """JupyterLab over a notebook of our own."""
    (lab[1] / "cells.ipynb").write_text(notebook_of([SET_UP, FRAMED, PLAIN, STREAM]))
    return lab


@pytest.fixture(scope="module")
def chromium_page() -> Iterator[Page]:
    """What keeps one Chromium running for all of them."""
    with browser_page() as page:
        yield page


@pytest.fixture
def page(chromium_page: Page) -> Iterator[Page]:
    """A test's own page."""
    with another_page(chromium_page) as page:
        yield page


def outputs_of(notebook: Notebook) -> list[str]:
    """The text of each output of `ASK`, whether it is seen or folded."""
    return [notebook.output(number).text_content() or "" for number in range(1, len(ASK) + 2)]


def framed_page(around: Page | Locator) -> Locator:
    """The end of the page that stands in a frame."""
    frame = around.frame_locator(".lf-frame iframe").frame_locator("iframe")
    return frame.get_by_text("the end of the page")


def save_plain(root: Path, url: str) -> None:
    """A notebook with the hostile text as an output of IPython's ``Markdown``, trusted."""
    data = {"text/markdown": (HOSTILE_MARKDOWN + HOSTILE).replace("AT", url)}
    output = nbformat.v4.new_output("display_data", data)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])])
    notary = NotebookNotary(data_dir=str(data_folder(root)))
    notary.sign(notebook)
    notary.store.close()
    nbformat.write(notebook, root / "plain.ipynb")


def open_exported(page: Page, path: Path) -> None:
    """nbconvert's HTML of a notebook. Its own scripts come from other hosts, which are left out."""
    html, _ = HTMLExporter().from_filename(str(path))
    exported = path.with_suffix(".html")
    exported.write_text(html)
    page.route(lambda url: not url.startswith(("http://127.0.0.1:", "file:")), lambda route: route.abort())
    page.goto(exported.as_uri(), wait_until="commit")
    page.unroute_all()


def test_html_answer_does_nothing(lab: tuple[str, Path], page: Page) -> None:
    """A hostile page in its frame runs nothing, fetches nothing, connects to nobody; no click leads out.

    The same page then stands in the notebook as it is, where it acts: by then the framed one would have, too.
    """
    base, root = lab
    with listening() as framed, listening() as plain:
        (root / "page.html").write_text(HOSTILE.replace("AT", framed.url))
        notebook = Notebook.open(page, base, "cells.ipynb")
        notebook.run(0)
        notebook.run(1)
        inner = notebook.output(1).frame_locator("iframe").frame_locator("iframe")
        inner.get_by_text("the end of the page").wait_for()
        address, pages = page.url, len(page.context.pages)
        links = inner.locator("a, x-a, button").all()
        for link in links:
            link.click()
        assert len(links) == 7
        assert inner.get_by_text("the end of the page").is_visible()
        assert (page.url, len(page.context.pages)) == (address, pages)

        # Without the refresh, which would take the page away before the rest of it has acted.
        acting = HOSTILE.replace('http-equiv="refresh"', "")
        (root / "page.html").write_text(acting.replace("AT", plain.url))
        notebook.run(0)
        page.evaluate(RUN_UNWATCHED, 2)
        assert plain.wait_for(ACTS)
        assert (framed.paths, framed.connections) == (set(), 0)


def test_untrusted_texts_do_nothing(lab: tuple[str, Path], page: Page) -> None:
    """Answers in every format, a model's name, an error: run, opened again, and in nbconvert's HTML.

    The same text through plain ``Markdown`` then acts, opened in JupyterLab and in nbconvert's HTML.
    """
    base, root = lab
    with listening() as kept, listening() as plain:
        (root / "page.html").write_text(HOSTILE.replace("AT", kept.url))
        (root / "page.md").write_text(HOSTILE_MARKDOWN.replace("AT", kept.url))
        asked = [source.replace("AT", kept.url) for source in ASK]
        (root / "asked.ipynb").write_text(notebook_of([SET_UP + SAYS, *asked]))
        notebook = Notebook.open(page, base, "asked.ipynb")
        notebook.run_all()
        notebook.save()
        shown = outputs_of(notebook)
        assert {number for number, text in enumerate(shown) if "<html manifest=" in text} == PAGES
        assert {number for number, text in enumerate(shown) if "<img/src=" in text} == NAMES

        again = Notebook.open(page, base, "asked.ipynb")
        assert again.is_trusted()
        assert outputs_of(again) == shown
        framed_page(again.output(FRAME + 1)).wait_for()
        open_exported(page, root / "asked.ipynb")
        framed_page(page).wait_for()

        save_plain(root, f"{plain.url}/lab")
        page.goto(Notebook.address(base, "plain.ipynb"), wait_until="commit")
        assert plain.wait_for({f"/lab{path}" for path in MARKDOWN_ACTS})
        save_plain(root, f"{plain.url}/export")
        open_exported(page, root / "plain.ipynb")
        assert plain.wait_for({f"/export{path}" for path in MARKDOWN_ACTS})
        assert (kept.paths, kept.connections) == (set(), 0)


def test_streaming_output_never_collapses(lab: tuple[str, Path], page: Page) -> None:
    """Through thinking, a restart and the last form, there is no frame in which the output has no height."""
    base, root = lab
    (root / "page.html").write_text("")
    notebook = Notebook.open(page, base, "cells.ipynb")
    notebook.run(0)
    page.evaluate(WATCH, 3)
    notebook.run(3, wait=False)
    output = notebook.output(3)
    output.get_by_text("answered by").wait_for()
    seen = page.evaluate("() => { cancelAnimationFrame(window.sampling); return [...window.seen] }")
    heights = page.evaluate("window.heights")
    assert output.locator("del").count() == 0
    assert "word 59 of second" in output.inner_text()
    assert "of first" not in output.inner_text()

    shown = heights[next(number for number, height in enumerate(heights) if height) :]
    assert {"thinking", "struck"} == set(seen)
    assert len(shown) > 30
    assert min(shown) > 25  # one line has 30; an output with nothing in it has 20 pixels
