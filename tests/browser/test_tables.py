"""The look of a command's table, where only a browser can tell: no notebook, the HTML alone."""

from __future__ import annotations

import pytest

from llm_failover_nb.notebook import render
from tests.browser.lab import browser_page

pytestmark = pytest.mark.browser

# How far, in pixels, the name stands below its mark.
BELOW = """row => {
    const [mark, name] = [...row.querySelectorAll('td:first-child > *')].map(e => e.getBoundingClientRect());
    return name.top - mark.bottom;
}"""


@pytest.mark.parametrize("width", [1000, 520])
def test_a_mark_and_its_name_stay_in_one_line(width: int) -> None:
    """However much the other columns want."""
    rows = [render.TableRow(("awaited cells", "word " * 200, "word " * 200), "ok")]
    table = render.table_html("doctor", ("what", "found", "what to do"), rows)

    with browser_page(width=width) as page:
        page.set_content(table)

        assert page.locator(".lf-table tbody tr").evaluate(BELOW) < 0
