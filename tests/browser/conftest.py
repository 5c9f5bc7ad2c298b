"""What the tests in JupyterLab share: a server of their own for each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.lab import jupyterlab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """JupyterLab over a folder of our own: its address, and the folder."""
    root = tmp_path_factory.mktemp("lab")
    with jupyterlab(root) as base:
        yield base, root
