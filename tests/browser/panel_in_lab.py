"""Where things are in a panel that JupyterLab shows."""

from __future__ import annotations

from playwright.sync_api import Locator

from tests.browser.lab import Notebook

__all__ = ["bench_button", "panel_below", "row"]


def panel_below(notebook: Notebook, cell: int) -> Locator:
    """The panel below a cell."""
    return notebook.output(cell).locator(".lf-panel")


def row(panel: Locator, spec: str) -> Locator:
    """One model's row."""
    return panel.locator("tbody").filter(has=panel.page.locator(f"bdi[title='{spec}']"))


def bench_button(panel: Locator, spec: str, time: str = "5 min") -> Locator:
    """The button that benches a model, with its choice of times opened."""
    panel.get_by_role("button", name=f"Bench {spec}", exact=True).click()
    return panel.get_by_role("button", name=f"{time}: bench {spec}", exact=True)
