"""Which packages are installed, and whether they are what this one needs. Nothing is imported to tell.

The lists say what the package's metadata says too, which is not read: in a checkout it may be of another day.
A test holds them to ``pyproject.toml``.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from typing import NamedTuple

__all__ = ["OPTIONAL", "REQUIRED", "Package", "installed", "is_from", "loaded"]


class Package(NamedTuple):
    """A package of the index.

    Args:
        name: As pip knows it.
        least: The first version that will do; empty where any does.
        extra: The extra of ours that brings it, if one does.
        use: What it is good for, in a few words.
    """

    name: str
    least: str = ""
    extra: str = ""
    use: str = ""


REQUIRED = (
    Package("aiohttp", "3.12"),
    Package("h11", "0.14"),
    Package("httpcore", "1"),
    Package("httpx", "0.28"),
    Package("httpx-aiohttp", "0.2"),
    Package("ipython", "8.20"),
    Package("jinja2", "3.1.5"),
    Package("jsonschema", "4.20"),
    Package("markdown-it-py", "3"),
    Package("nh3", "0.2.18"),
    Package("platformdirs", "4"),
    Package("pygments", "2.14"),
)
"""What no cell runs without."""

OPTIONAL = (
    Package("ipykernel", "6.29", "lab", "notebooks"),
    Package("jupyterlab", "4.2", "lab", "JupyterLab"),
    Package("pandas", "2.2", "frames", "%llm events as a DataFrame"),
    Package("genai-prices", "0.1", "cost", "what an answer costs"),
    Package("anywidget", "0.9.13", "panel", "%llm panel"),
    Package("ipywidgets", "8.1", "panel", "%llm panel"),
    Package("nest-asyncio2", "1.7", "nest", "%llm nest"),
    Package("xllamacpp", "2026.1", "local", "models on this machine"),
    # Brought by nobody of ours, and often the reason for something.
    *map(Package, ("nest-asyncio", "uvloop")),
)
"""What adds to a notebook, or has a say in how it runs."""

_MODULES = {"ipython": "IPython", "markdown-it-py": "markdown_it"}  # where the name is another


def installed(package: str) -> str | None:
    """The version of a package, also by its module's name; ``None`` where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def loaded(package: str) -> str | None:
    """The version that this process has imported; ``None`` where it has not, or the module does not say."""
    module = sys.modules.get(_MODULES.get(package, package.replace("-", "_")))
    version = vars(module).get("__version__") if module is not None else None
    return version if isinstance(version, str) else None


def is_from(version: str, least: str) -> bool:
    """Whether a version is ``least`` or a later one, by the numbers that both begin with.

    >>> is_from("8.20.0rc1", "8.20"), is_from("8.9", "8.20"), is_from("1.0", "")
    (True, False, True)
    """
    return _numbers(version) >= _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    start = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, start[0].split("."))) if start else ()
