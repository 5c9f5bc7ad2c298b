"""What ships: the marker for type checkers, one version, one name for each thing."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files

import llm_failover_nb as fo


def test_the_package_is_typed() -> None:
    """Type checkers read our annotations (PEP 561)."""
    assert files("llm_failover_nb").joinpath("py.typed").is_file()


def test_the_version_comes_from_one_place() -> None:
    """The installed metadata is read from the package."""
    assert version("llm-failover-nb") == fo.__version__
