"""What tests of the quickstart share: notebooks to run in place of the real one, and what was saved."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["NOTEBOOK", "outputs", "write_notebook"]

NOTEBOOK = "01_quickstart.ipynb"


def write_notebook(file: Path, *cells: str) -> Path:
    """A notebook of a heading and these code cells."""
    code = [
        {"cell_type": "code", "id": f"c{number}", "metadata": {}, "source": source, "outputs": []}
        | {"execution_count": None}
        for number, source in enumerate(cells)
    ]
    prose = {"cell_type": "markdown", "id": "prose", "metadata": {}, "source": "# Title"}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [prose, *code]}))
    return file


def outputs(file: Path) -> list[list[str]]:
    """The kinds of output that each code cell of the saved notebook has."""
    cells = json.loads(file.read_text())["cells"]
    return [
        [item["output_type"] for item in cell["outputs"]] for cell in cells if cell["cell_type"] == "code"
    ]
