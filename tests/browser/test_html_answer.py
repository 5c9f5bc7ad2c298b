"""Outputs in a browser: a model's HTML does nothing, and an answer that streams does not flicker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import Notebook, browser_page, jupyterlab
from tests.browser.test_quickstart import notebook_of

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

FRAMED = 'display(bundle(render.answer_html(Response(PAGE), format="html"), PAGE), raw=True)'
PLAIN = "HTML(PAGE)"
STREAM = "%%llm chain=slow/first,slow/second\nhello"

# What would reach out by itself, each by a path of its own; then what does when it is clicked. `AT` is where.
HOSTILE = """
<!doctype html><html manifest="AT/manifest"><head>
<base href="AT/base/">
<meta http-equiv="refresh" content="0;url=AT/refresh">
<LINK rel="preconnect" href="AT"><link
rel="dns-prefetch" href="AT"><link/rel="stylesheet" href="AT/css">
<link rel="prefetch" href="AT/prefetch"><link rel="preload" as="image" href="AT/preload">
<link rel="modulepreload" href="AT/module"><link rel="icon" href="AT/icon">
<style>@import "AT/import"; @font-face {font-family: x; src: url(AT/font)}
body {font-family: x; background: url(AT/background)}</style>
<script type="speculationrules">{"prefetch": [{"source": "list", "urls": ["AT/speculation"]}]}</script>
<script src="AT/script"></script><script>fetch("AT/fetch")</script></head>
<body background="AT/body" onload="fetch('AT/onload')">
<noscript><link rel="preconnect" href="AT"><img src="AT/noscript"></noscript>
<div><template shadowrootmode="open"><link rel="stylesheet" href="AT/shadow"></template></div>
<img src="AT/image"><img src="x" onerror="fetch('AT/onerror')"><img srcset="AT/srcset 1x">
<img attributionsrc="AT/attribution"><picture><source srcset="AT/picture"><img></picture>
<svg><image href="AT/svg" /><use href="AT/use#x" /><style>@import "AT/svgstyle";</style></svg>
<math><annotation-xml encoding="text/html"><p><link rel="preconnect" href="AT"></p></annotation-xml>
</math>
<video src="AT/video" poster="AT/poster" autoplay></video><audio src="AT/audio" autoplay></audio>
<iframe src="AT/iframe"></iframe>
<iframe srcdoc="&lt;link rel=preconnect href='AT'>&lt;script>fetch('AT/srcdoc')&lt;/script>"></iframe>
<object data="AT/object"></object><embed src="AT/embed">
<input type="image" src="AT/input"><details open ontoggle="fetch('AT/toggle')"></details>
<p>the end of the page</p>
<a target="_top" href="AT/top">x</a> <a href="AT/popup">x</a>
<a target="_parent" href="AT/parent">x</a> <a download href="AT/load">x</a>
<form action="AT/form"><button>x</button></form>
<a target="_self" href="javascript:fetch('AT/javascript')">x</a>
<a target="_self" ping="AT/ping" href="AT/self">x</a>
</body></html>
"""

# What the same page does in JupyterLab when nobody keeps it in.
ACTS = {"/image", "/onerror", "/css", "/import", "/iframe", "/script", "/video"}

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


class Listener:
    """Notes every connection, and the path of every request."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.connections = 0
        self._changed = threading.Condition()
        self._paths: set[str] = set()

    @property
    def paths(self) -> set[str]:
        with self._changed:
            return set(self._paths)

    def note(self, path: str) -> None:
        with self._changed:
            self._paths.add(path)
            self._changed.notify_all()

    def wait_for(self, paths: set[str]) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: paths <= self._paths, timeout=30)


@contextmanager
def listening() -> Iterator[Listener]:
    """A server on loopback that has nothing to give."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.note(self.path)
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815  # the name that the base class looks for

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> Any:
            request = super().get_request()
            listener.connections += 1
            return request

    server = Server(("127.0.0.1", 0), Handler)
    listener = Listener(server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """JupyterLab over a notebook of our own."""
    root = tmp_path_factory.mktemp("lab")
    (root / "cells.ipynb").write_text(notebook_of([SET_UP, FRAMED, PLAIN, STREAM]))
    with jupyterlab(root) as running:
        yield running, root


def test_html_answer_does_nothing(lab: tuple[str, Path]) -> None:
    """A hostile page in its frame runs nothing, fetches nothing, connects to nobody; no click leads out.

    The same page then stands in the notebook as it is, where it acts: by then the framed one would have, too.
    """
    base, root = lab
    with listening() as framed, listening() as plain, browser_page() as page:
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

        (root / "page.html").write_text(HOSTILE.replace("AT", plain.url))
        notebook.run(0)
        page.evaluate(RUN_UNWATCHED, 2)
        assert plain.wait_for(ACTS)
        assert (framed.paths, framed.connections) == (set(), 0)


def test_streaming_output_never_collapses(lab: tuple[str, Path]) -> None:
    """Through thinking, a restart and the last form, there is no frame in which the output has no height."""
    base, root = lab
    (root / "page.html").write_text("")
    with browser_page() as page:
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
