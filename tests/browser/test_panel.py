"""The panel in JupyterLab: clicks and keys while a notebook works, and what everybody sees of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.browser.lab import TIMEOUT_MS, Notebook, another_page, browser_page, notebook_of
from tests.browser.panel_in_lab import bench_button, panel_below, row

pytestmark = pytest.mark.browser

SET_UP = """\
%load_ext llm_failover_nb
import os, threading, time
import ipywidgets
import llm_failover_nb as fo
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.testing import FaultServer

class Gate:
    '''Answers once there is a file.'''
    def complete(self, request):
        while not os.path.exists('open'):
            time.sleep(0.01)
        return fo.Response('through the gate')
    def stream(self, request):
        yield fo.Chunk(self.complete(request).text)

server = FaultServer().start()
fo.register_provider('srv', base_url=server.url)
process_registry.register('gate', Gate())
%llm chain work = srv/silent,sim/echo
%llm chain order = sim/say:a,sim/say:b,sim/say:c
%llm chain passing = gate/x,sim/echo"""

PANEL, AGAIN, BOXED, SILENT, GATED, THREAD = range(1, 7)
CELLS = [
    SET_UP,
    "p = fo.panel()\np",
    "fo.panel()",
    "ipywidgets.VBox([fo.panel(), ipywidgets.Label('beside it')])",
    "%%llm chain=work\nwho waits?",
    "%%llm chain=passing await_cells=off\nwho waits?",
    "threading.Thread(target=fo.bench_model, args=['sim/echo']).start()\nGate().complete(None)",
]

# A model, a reason, a chain and an error that are HTML; then the same where it acts.
IMAGE = "<img src=x onerror=window.pwned=1>"
BOLD = "<b onmouseover=window.pwned=1>never"
HOSTILE = f"""\
def fail(*_):
    raise RuntimeError('{BOLD}')

class Hostile:
    def complete(self, request):
        raise fo.ProviderError('{BOLD}', reason='{BOLD}')
    stream = complete

process_registry.register('evil', Hostile())
process_registry.alias('<u>chain', 'evil/{IMAGE},sim/echo')
p._desk._operations.lift = fail"""
ASK_HOSTILE = "%%llm chain=<u>chain\nwho answers?"
ACT = f"from IPython.display import HTML\nHTML('{IMAGE}')"

# From one notebook state to the same: nothing benched, the gate shut.
ANEW = """\
for bench in fo.list_benched(): fo.unbench_model(bench.model)
if os.path.exists('open'): os.remove('open')
get_ipython().run_line_magic('llm', 'chain order = sim/say:a,sim/say:b,sim/say:c')
p._desk.trouble = ''"""

BENCHED = "[bench.model for bench in fo.list_benched()]"

# Milliseconds between the next click and the moment at which an element says something, both in the page.
MEASURE = """(element, text) => {
    let clicked;
    document.addEventListener('click', () => { clicked = performance.now() }, { capture: true, once: true });
    window.took.push(new Promise(resolve => {
        const look = () => {
            if (clicked === undefined || !element.textContent.includes(text)) return;
            observer.disconnect();
            resolve(performance.now() - clicked);
        };
        const observer = new MutationObserver(look);
        observer.observe(element, { childList: true, subtree: true, characterData: true });
    }));
}"""

STALE = re.compile(
    r"^The kernel has been restarted \(or there is none\): this is how things stood at \d\d:\d\d:\d\d\. "
    r"Run the cell again\.$"
)

AS_OF = re.compile(r"^Models as of 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC")

# It takes a tenth of this.
WITHIN_MS = 500


@pytest.fixture(scope="module")
def opened(lab: tuple[str, Path]) -> Iterator[Notebook]:
    """A notebook whose panels are shown."""
    base, root = lab
    (root / "panel.ipynb").write_text(notebook_of(CELLS))
    with browser_page(height=1400) as page:
        opened = Notebook.open(page, base, "panel.ipynb")
        opened.run(0, last=BOXED)
        yield opened


@pytest.fixture
def notebook(opened: Notebook) -> Notebook:
    """That notebook, in which nothing is benched and nothing runs."""
    opened.execute(ANEW)
    expect(panel(opened).get_by_role("button", name="Lift all")).to_be_hidden()
    return opened


@pytest.fixture(scope="module")
def others(opened: Notebook) -> Iterator[BrowserContext]:
    """Where other notebooks are opened: a browser that knows nothing of the first."""
    with another_page(opened.page) as page:
        yield page.context


@pytest.fixture
def page(others: BrowserContext) -> Iterator[Page]:
    """A test's own page for a notebook of its own."""
    page = others.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    yield page
    page.close()


def panel(notebook: Notebook, cell: int = PANEL) -> Locator:
    """The panel below a cell."""
    return panel_below(notebook, cell)


def measure(button: Locator, *effects: tuple[Locator, str]) -> float:
    """Milliseconds from a click on the button to the last of its effects."""
    button.page.evaluate("() => { window.took = [] }")
    for element, text in effects:
        element.evaluate(MEASURE, text)
    button.click()
    return float(button.page.evaluate("async () => Math.max(...await Promise.all(window.took))"))


def quickest(once: Callable[[], float]) -> float:
    """The first that is quick enough, or the quickest of some: others use the machine, too."""
    took = math.inf
    for _ in range(5):
        took = min(took, once())
        if took < WITHIN_MS:
            break
    return took


def sources(notebook: Notebook) -> list[tuple[str, str]]:
    """Each cell's prompt and first line: none was run, removed, moved or added where they are the same."""
    cells = notebook.page.locator(".jp-Notebook .jp-Cell")
    return [
        (
            cells.nth(number).locator(".jp-InputPrompt").inner_text(),
            cells.nth(number).locator(".cm-line").first.inner_text(),
        )
        for number in range(cells.count())
    ]


def focused(page: Page) -> str:
    """The name of what has the focus."""
    return str(page.evaluate("document.activeElement.getAttribute('aria-label')"))


def tab_to(page: Page, name: str) -> None:
    """Press Tab until a control has the focus."""
    for _ in range(60):
        if focused(page) == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {name!r}")


def wait_for_silence(notebook: Notebook) -> None:
    """A cell waits for a server that says nothing, and the panel shows it."""
    notebook.run(SILENT, wait=False)
    notebook.output(SILENT).get_by_text("asking srv/silent").wait_for()
    panel(notebook).locator(".lf-running [aria-current]", has_text="srv/silent").wait_for()


def cancel(notebook: Notebook) -> Locator:
    """The button that cancels the call of the cell that runs."""
    return panel(notebook).get_by_role("button", name=re.compile(r"^Cancel the call of cell \d+$"))


def snapshot(notebook: Notebook, cell: int = PANEL) -> Locator:
    """What stands below a panel for those who have no kernel."""
    return notebook.output(cell).locator("[data-llm-failover-snapshot]")


def open_another(page: Page, lab: tuple[str, Path], name: str, *cells: str) -> Notebook:
    """A notebook with a panel and a kernel of its own, which a test may restart, leave or soil."""
    base, root = lab
    (root / name).write_text(notebook_of([*CELLS[: PANEL + 1], *cells]))
    notebook = Notebook.open(page, base, name)
    notebook.run(0, last=PANEL)
    expect(panel(notebook)).to_be_visible()
    return notebook


def open_without_kernel(notebook: Notebook) -> None:
    """Save it, leave its kernel, and load it anew where there is none to be had."""

    def refuse(route: Route) -> None:
        """Sessions may be listed, and none is begun."""
        if route.request.method == "POST":
            route.abort()
        else:
            route.fallback()

    notebook.save()
    notebook.shut_down()
    notebook.page.route("**/api/sessions?*", refuse)
    notebook.page.reload()


# While an awaited cell runs


def test_bench_moves_the_waiting_call_on(notebook: Notebook) -> None:
    """The next model answers, the row says so, and Python knows, all within half a second."""

    def once() -> float:
        notebook.execute(ANEW)
        wait_for_silence(notebook)
        took = measure(
            bench_button(panel(notebook), "srv/silent"),
            (notebook.output(SILENT), "answered by sim/echo"),
            (row(panel(notebook), "srv/silent"), "by hand"),
        )
        notebook.wait_idle()
        return took

    assert quickest(once) < WITHIN_MS
    assert notebook.value(BENCHED) == ["srv/silent"]


def test_lift_while_a_call_waits(notebook: Notebook) -> None:
    """A bench is gone in the panel and in Python while the cell goes on waiting."""

    def once() -> float:
        notebook.execute("fo.bench_model('sim/echo')")
        wait_for_silence(notebook)
        echo = row(panel(notebook), "sim/echo")
        took = measure(echo.get_by_role("button", name="Lift"), (echo.locator(".lf-state"), "Ready"))
        assert notebook.prompt(SILENT) == "[*]:"
        cancel(notebook).click()
        notebook.wait_idle()
        return took

    assert quickest(once) < WITHIN_MS
    assert notebook.value(BENCHED) == []


def test_cancel_ends_the_call(notebook: Notebook) -> None:
    """The cell says so, the call is gone from the panel, and nobody is benched."""

    def once() -> float:
        wait_for_silence(notebook)
        took = measure(cancel(notebook), (notebook.output(SILENT), "interrupted"))
        notebook.wait_idle()
        return took

    assert quickest(once) < WITHIN_MS
    expect(panel(notebook).locator(".lf-running")).to_be_hidden()
    assert notebook.value(BENCHED) == []


# While a synchronous cell runs


def test_edit_waits_for_a_synchronous_cell(lab: tuple[str, Path], notebook: Notebook) -> None:
    """The display is live meanwhile; the edit is marked as pending, and done once the cell has ended."""
    shown = panel(notebook)
    notebook.run(GATED, wait=False)
    shown.locator(".lf-running [aria-current]", has_text="gate/x").wait_for()
    bench_button(shown, "sim/echo").click()
    expect(shown.locator(".lf-status")).to_contain_text("the edit waits for the running cell")
    expect(row(shown, "sim/echo").locator(".lf-detail")).to_have_text("pending")
    (lab[1] / "open").touch()
    expect(row(shown, "sim/echo").locator(".lf-state")).to_contain_text("by hand")
    expect(notebook.output(GATED)).to_contain_text("through the gate")


def test_bench_of_a_thread_is_shown_meanwhile(lab: tuple[str, Path], notebook: Notebook) -> None:
    """What a thread does is in the panel while a synchronous cell keeps the kernel busy."""
    notebook.run(THREAD, wait=False)
    expect(row(panel(notebook), "sim/echo").locator(".lf-state")).to_contain_text("by hand")
    assert notebook.prompt(THREAD) == "[*]:"
    (lab[1] / "open").touch()
    notebook.wait_idle()


# Keys


def test_keys_alone_bench_a_model(notebook: Notebook) -> None:
    """Tab to the button, Enter, Tab to the time, Enter; the notebook's own keys do nothing meanwhile."""
    page, shown = notebook.page, panel(notebook)
    before = sources(notebook)
    shown.locator(".lf-frame").focus()
    tab_to(page, "Bench sim/echo")
    page.keyboard.press("Enter")
    tab_to(page, "5 min: bench sim/echo")
    page.keyboard.press("Enter")
    expect(row(shown, "sim/echo").locator(".lf-state")).to_contain_text("by hand")
    assert focused(page) == "Lift sim/echo"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert focused(page) == "Extend the bench of sim/echo"
    assert sources(notebook) == before
    assert notebook.value(BENCHED) == ["sim/echo"]


def test_command_mode_takes_no_keys(notebook: Notebook) -> None:
    """What deletes, cuts, adds, moves or runs a cell elsewhere does nothing in the panel."""
    page, shown = notebook.page, panel(notebook)
    before = sources(notebook)
    shown.get_by_role("button", name="Bench sim/echo", exact=True).focus()
    for key in ("d", "d", "x", "a", "b", "m", "ArrowUp", "j", "Shift+Enter", "Shift+M"):
        page.keyboard.press(key)
    assert sources(notebook) == before


def test_alt_and_an_arrow_reorder_a_chain(notebook: Notebook) -> None:
    """The focus stays with the entry that was moved, and the kernel has the new order."""
    page = notebook.page
    order = panel(notebook).locator("details", has_text="order")
    if order.get_attribute("open") is None:
        order.locator("summary").click()
    order.get_by_role("button", name="Move sim/say:c up in order").focus()
    page.keyboard.press("Alt+ArrowUp")
    expect(order.locator(".lf-spec")).to_have_text(["sim/say:a", "sim/say:c", "sim/say:b"])
    assert focused(page) == "Move sim/say:c up in order"
    assert notebook.value("process_registry.aliases()['order']") == "sim/say:a,sim/say:c,sim/say:b"


def test_focus_survives_an_update(notebook: Notebook) -> None:
    """A row that is drawn anew above it takes nothing away."""
    page, shown = notebook.page, panel(notebook)
    shown.get_by_role("button", name="Bench sim/say:b", exact=True).focus()
    notebook.execute("fo.bench_model('sim/say:a'); fo.bench_model('srv/silent')")
    expect(shown.locator("header")).to_contain_text("2 benched")
    assert focused(page) == "Bench sim/say:b"


# Several panels


def test_every_panel_shows_the_same(notebook: Notebook) -> None:
    """Two cells, and one within a layout of ipywidgets, after a click in one."""
    bench_button(panel(notebook, AGAIN), "sim/echo").click()
    for cell in (PANEL, AGAIN, BOXED):
        expect(row(panel(notebook, cell), "sim/echo").locator(".lf-state")).to_contain_text("by hand")
    expect(notebook.output(BOXED)).to_contain_text("beside it")


# What goes wrong


def test_exception_of_an_edit_is_shown(notebook: Notebook) -> None:
    """It does not vanish, as what a widget's callback raises would; the next edit does it better."""
    shown = panel(notebook)
    notebook.execute("p._desk.carry_out, kept = None, p._desk.carry_out")
    bench_button(shown, "sim/echo").click()
    status = shown.locator(".lf-status")
    expect(status).to_contain_text("an edit failed in the panel itself: TypeError")
    notebook.execute("p._desk.carry_out = kept")
    bench_button(shown, "sim/echo").click()
    expect(status).to_contain_text("sim/echo is benched by hand")


# When nobody is home


def test_live_panel_hides_its_snapshot(notebook: Notebook) -> None:
    """Nobody sees everything twice."""
    expect(panel(notebook)).to_be_visible()
    expect(snapshot(notebook)).to_be_attached()
    expect(snapshot(notebook)).to_be_hidden()


def test_panel_is_stale_after_a_restart(page: Page, lab: tuple[str, Path]) -> None:
    """It says so, and as of when it speaks; nothing in it can be edited; no cell was run again."""
    notebook = open_another(page, lab, "restarted.ipynb")
    shown = panel(notebook)
    bench_button(shown, "sim/echo").click()
    expect(row(shown, "sim/echo").locator(".lf-state")).to_contain_text("by hand")
    expect(shown.locator("[data-edit]:disabled")).to_have_count(0)
    before = sources(notebook)
    notebook.restart()
    expect(shown.locator(".lf-banner")).to_have_text(STALE)
    expect(row(shown, "sim/echo").locator(".lf-state")).to_contain_text("by hand")
    assert shown.locator("[data-edit]").count() > 10
    expect(shown.locator("[data-edit]:enabled")).to_have_count(0)
    assert sources(notebook) == before


def test_snapshot_stands_without_a_kernel(page: Page, lab: tuple[str, Path]) -> None:
    """A saved notebook, opened where no kernel is, shows the last state and its time."""
    notebook = open_another(page, lab, "left.ipynb")
    bench_button(panel(notebook), "sim/echo").click()
    expect(snapshot(notebook)).to_contain_text("benched by hand until")
    open_without_kernel(notebook)
    kept = snapshot(notebook)
    expect(kept).to_be_visible()
    expect(kept).to_contain_text(AS_OF)
    expect(kept.locator("tr", has_text="sim/echo").first).to_contain_text("benched by hand until")
    expect(panel(notebook)).to_have_count(0)


# What others wrote


def test_texts_of_others_stay_texts(page: Page, lab: tuple[str, Path]) -> None:
    """A model, a chain, a reason and an error that are HTML are read as they are, live and reopened.

    The same text as an HTML output then acts: by then the panel's would have, too.
    """
    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url.rpartition("/")[2]))
    notebook = open_another(page, lab, "hostile.ipynb", HOSTILE, ASK_HOSTILE, ACT)
    notebook.run(PANEL + 1, last=PANEL + 2)
    shown, kept = panel(notebook), snapshot(notebook)
    model = row(shown, f"evil/{IMAGE}")
    expect(model.locator(".lf-why")).to_contain_text("failed")
    model.get_by_role("button", name="Lift").click()
    expect(shown.locator(".lf-status")).to_contain_text(BOLD)
    for text in (IMAGE, BOLD, "<u>chain"):
        expect(shown).to_contain_text(text)
        expect(kept).to_contain_text(text)
    assert shown.locator("img, b, u").count() == 0
    assert notebook.page.evaluate("window.pwned") is None
    assert "x" not in asked_for

    notebook.run(PANEL + 3)
    page.wait_for_function("window.pwned === 1")
    assert "x" in asked_for
    notebook.command("notebook:clear-cell-output")
    page.wait_for_function("() => !document.querySelector('.jp-OutputArea img[src=x]')")
    asked_for.clear()
    open_without_kernel(notebook)
    expect(kept).to_be_visible()
    expect(kept).to_contain_text(BOLD)
    assert kept.locator("img, u, [onmouseover]").count() == 0
    assert page.evaluate("window.pwned") is None
    assert "x" not in asked_for
