"""Where axe-core is, which looks a page through for what keeps people out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import REQUIRE_ALL

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"


def need_axe() -> None:
    """Skip the test that runs where it is missing, or fail it where everything is required."""
    if AXE.is_file():
        return
    reason = "axe-core is not installed: npm install --no-save --prefix . axe-core@4"
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(f"{reason} ({REQUIRE_ALL}=1 allows no skips)", pytrace=False)
    pytest.skip(reason)
