"""The notebooks as they are saved: what somebody sees who has no kernel. That they run is nbval's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def test_every_cell_of_code_has_been_run_in_order(file: Path) -> None:
    """The numbers of the cells count up from one: the outputs are those of one whole run."""
    numbers = [cell["execution_count"] for cell in _code(file)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_no_error_is_saved_but_those_that_are_told(file: Path) -> None:
    """An error output stands only under a cell whose tag expects it."""
    failed = [cell["id"] for cell in _code(file) if _fails(cell) and "raises-exception" not in _tags(cell)]
    assert failed == []


def test_no_widget_is_saved(file: Path) -> None:
    """A widget without its kernel shows as "model not found"; its state is nobody's business."""
    kinds = {kind for cell in _code(file) for output in cell["outputs"] for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" not in kinds
    assert "widgets" not in _read(file)["metadata"]


def test_a_panel_leaves_its_snapshot(file: Path) -> None:
    """Under each cell that shows the panel stands the table that is seen without a kernel."""
    panels = [cell for cell in _code(file) if "".join(cell["source"]) == "fo.panel()"]
    assert all("data-llm-failover-snapshot" in json.dumps(cell["outputs"]) for cell in panels)


def test_the_pictures_are_there(file: Path) -> None:
    """Every picture that the text shows is a file beside the notebook."""
    prose = ["".join(cell["source"]) for cell in _read(file)["cells"] if cell["cell_type"] == "markdown"]
    named = re.findall(r"!\[[^]]*\]\(([^)]+)\)", "".join(prose))
    assert [name for name in named if not (file.parent / name).is_file()] == []


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _code(file: Path) -> Iterator[Mapping[str, Any]]:
    return (cell for cell in _read(file)["cells"] if cell["cell_type"] == "code")


def _fails(cell: Mapping[str, Any]) -> bool:
    return any(output["output_type"] == "error" for output in cell["outputs"])


def _tags(cell: Mapping[str, Any]) -> list[str]:
    return list(cell["metadata"].get("tags", []))
