"""What is installed, and that the lists say what the project asks for."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from llm_failover_nb.notebook import packages

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def split(requirements: list[str]) -> dict[str, str]:
    """Names and their least versions."""
    return dict(requirement.split(">=") for requirement in requirements if "[" not in requirement)


def test_required_packages() -> None:
    """They are those of the project, each from the same version on."""
    assert {one.name: one.least for one in packages.REQUIRED} == split(PROJECT["dependencies"])


def test_optional_packages() -> None:
    """Each that names an extra is in it, from the same version on."""
    extras = PROJECT["optional-dependencies"]
    for package in (one for one in packages.OPTIONAL if one.extra):
        assert split(extras[package.extra])[package.name] == package.least


def test_installed_version() -> None:
    """A package is found by its name and by that of its module; one that is absent is none."""
    assert re.match(r"\d+\.\d+", packages.installed("httpx-aiohttp") or "")
    assert packages.installed("httpx_aiohttp") == packages.installed("httpx-aiohttp")
    assert packages.installed("no-such-package-here") is None


def test_loaded_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what the module says that was imported, if it was and says something."""
    odd = ModuleType("odd_one")
    monkeypatch.setitem(sys.modules, "odd_one", odd)

    assert packages.loaded("odd-one") is None
    vars(odd)["__version__"] = "1.2"
    assert packages.loaded("odd-one") == "1.2"
    assert packages.loaded("no-such-package-here") is None
    assert packages.loaded("ipython") == packages.installed("ipython")


@pytest.mark.parametrize(
    ("version", "least", "expected"),
    [
        ("7.4.0", "7.4", True),
        ("7.10", "7.4", True),
        ("7.3.9", "7.4", False),
        ("8.0.0a1", "7.4", True),
        ("unknown", "1", False),
        ("1", "", True),
    ],
)
def test_is_from(version: str, least: str, expected: bool) -> None:
    """Versions are compared by their numbers."""
    assert packages.is_from(version, least) is expected
