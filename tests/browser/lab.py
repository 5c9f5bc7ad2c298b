"""JupyterLab on loopback, driven in Chromium: what the browser tests and the picture script share.

No network beyond loopback, no configuration of the user's: every folder is a temporary one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from playwright.sync_api import Locator, Page, expect, sync_playwright

TOKEN = "loopback-only"
TIMEOUT_MS = 60_000

# Without these, Chromium looks for its makers' servers at every start.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

_IDLE = """() => {
    const widget = window.jupyterapp && window.jupyterapp.shell.currentWidget;
    const session = widget && widget.sessionContext && widget.sessionContext.session;
    const kernel = session && session.kernel;
    return kernel && kernel.connectionStatus === 'connected' && kernel.status === 'idle'
        && ![...document.querySelectorAll('.jp-InputPrompt')].some(e => e.textContent.includes('[*]'));
}"""

_KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"

_EXECUTE = f"""async code => {{
    const future = {_KERNEL}.requestExecute({{ code, store_history: false }});
    let printed = '', error = '';
    future.onIOPub = ({{ header, content }}) => {{
        if (header.msg_type === 'stream') printed += content.text;
        if (header.msg_type === 'error') error = content.traceback.join('\\n');
    }};
    await future.done;
    return [printed, error];
}}"""

_TRUSTED = "() => window.jupyterapp.shell.currentWidget.content.widgets.every(cell => cell.model.trusted)"


def chromium() -> str | None:
    """The program, where there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def jupyterlab(root: Path, *, theme: Literal["Light", "Dark"] = "Light") -> Iterator[str]:
    """A server over the notebooks in ``root``; gives its base URL."""
    port = _free_port()
    home = root / ".jupyter"
    settings = home / "overrides"
    settings.mkdir(parents=True)
    overrides = {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/apputils-extension:themes": {"theme": f"JupyterLab {theme}"},
        # Every cell really in the page.
        "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    }
    (settings / "overrides.json").write_text(json.dumps(overrides))
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={TOKEN}",
        f"--LabApp.app_settings_dir={settings}",
        f"--LabServerApp.app_settings_dir={settings}",
        f"--LabApp.user_settings_dir={home / 'user'}",
        f"--LabApp.workspaces_dir={home / 'workspaces'}",
    ]
    folders = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
    environment = os.environ | {f"JUPYTER_{name}_DIR": str(home / folder) for name, folder in folders.items()}
    environment |= {"IPYTHONDIR": str(home / "ipython"), "XDG_CONFIG_HOME": str(home / "xdg")}
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            base = f"http://127.0.0.1:{port}"
            _wait_until_up(base, server, home / "lab.log")
            yield base
        finally:
            server.terminate()
            server.wait(30)


def data_folder(root: Path) -> Path:
    """Where the JupyterLab over ``root`` keeps which notebooks it trusts."""
    return root / ".jupyter" / "data"


@contextmanager
def browser_page(*, width: int = 1280, height: int = 900, scale: float = 1.0) -> Iterator[Page]:
    """A page of a fresh Chromium, ``scale`` device pixels to a CSS pixel."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), headless=True, args=_FLAGS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
            page.set_default_timeout(TIMEOUT_MS)
            expect.set_options(timeout=TIMEOUT_MS)
            yield page
        finally:
            browser.close()


@contextmanager
def another_page(page: Page) -> Iterator[Page]:
    """A page of the same Chromium, which knows nothing of the first."""
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(viewport=page.viewport_size)
    try:
        another = context.new_page()
        another.set_default_timeout(TIMEOUT_MS)
        yield another
    finally:
        context.close()


@dataclass(frozen=True)
class Notebook:
    """An open notebook."""

    page: Page

    @classmethod
    def open(cls, page: Page, base: str, name: str) -> Notebook:
        page.goto(cls.address(base, name))
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        notebook = cls(page)
        notebook.wait_idle()
        return notebook

    @staticmethod
    def address(base: str, name: str) -> str:
        return f"{base}/doc/tree/{name}?token={TOKEN}"

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def output(self, number: int) -> Locator:
        return self.cell(number).locator(".jp-OutputArea").first

    def command(self, name: str) -> None:
        self.page.evaluate("name => { window.jupyterapp.commands.execute(name) }", name)

    def save(self) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def is_trusted(self) -> bool:
        """Whether its outputs are shown as if they had been made here and now."""
        return bool(self.page.evaluate(_TRUSTED))

    def prompt(self, number: int) -> str:
        """``[ ]:`` of a cell that has not run, ``[*]:`` of one that runs."""
        return self.cell(number).locator(".jp-InputPrompt").inner_text()

    def run(self, number: int, *, last: int | None = None, wait: bool = True) -> None:
        """Run a cell, or all from it to ``last``, which are queued at once."""
        self.page.evaluate(
            """([number, last]) => {
                const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.activeCellIndex = number;
                notebook.deselectAll();
                if (last > number) notebook.extendContiguousSelectionTo(last);
                window.jupyterapp.commands.execute('notebook:run-cell');
            }""",
            [number, last or number],
        )
        self.page.wait_for_selector(
            f".jp-Notebook .jp-Cell >> nth={last or number} >> .jp-InputPrompt:not(:text-is('[ ]:'))"
        )
        if wait:
            self.wait_idle()

    def run_all(self) -> None:
        last = self.page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")
        self.command("notebook:run-all-cells")
        self.page.wait_for_function("e => /[0-9]/.test(e.textContent)", arg=last.element_handle())
        self.wait_idle()

    def wait_idle(self) -> None:
        self.page.wait_for_function(_IDLE)

    def execute(self, source: str) -> str:
        """Run source that belongs to no cell; what it printed.

        Raises:
            AssertionError: When it raised, with the error.
        """
        printed, error = self.page.evaluate(_EXECUTE, source)
        assert not error, error
        return str(printed)

    def value(self, expression: str) -> Any:
        """What an expression is in the kernel, by way of JSON."""
        return json.loads(self.execute(f"import json; print(json.dumps({expression}))"))

    def restart(self) -> None:
        """Another kernel in the place of this one; no cell is run."""
        self.page.evaluate(f"async () => {{ await {_KERNEL}.restart() }}")
        self.wait_idle()

    def shut_down(self) -> None:
        """No kernel any more."""
        self.page.evaluate(
            "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown() }"
        )


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(base: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until it answers; each refused connection is a short wait of its own by the transport's retry."""
    for _ in range(300):
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=3)) as client:
                client.get(f"{base}/api", params={"token": TOKEN}).raise_for_status()
            return
        except httpx.TransportError:
            if server.poll() is not None:
                break
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")
