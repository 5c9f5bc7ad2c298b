"""A page that reaches out in every way that we know of, and a server on loopback that notes who comes.

What the tests of outputs share; no test here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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

# What only Markdown has.
HOSTILE_MARKDOWN = r"""
![x](AT/markdown) [x][1] <AT/auto> [x](javascript:fetch('AT/link'))

$\style{background: url(AT/math)}{x}$ $\href{AT/href}{x}$

[1]: AT/reference
"""

# What the page does by itself in JupyterLab when nobody keeps it in.
ACTS = {"/image", "/css", "/import", "/iframe", "/script", "/video"}
MARKDOWN_ACTS = {"/markdown", "/image", "/css", "/import", "/iframe", "/script"}


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
