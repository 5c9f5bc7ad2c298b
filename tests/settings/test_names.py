"""Aliases and named chains of the settings, in plain Python."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import llm_failover_nb as fo
from llm_failover_nb.engine.chain import process_registry
from tests.settings.conftest import Write


@pytest.fixture
def written(user: Write, project: Write) -> None:
    """A user's alias, and a project's chain that uses it."""
    user("[aliases]\nfast = 'sim/echo'")
    project("[chains]\nprod = 'sim/down, fast'")


@pytest.fixture
def no_benches() -> Iterator[None]:
    yield
    for bench in fo.list_benched():
        fo.unbench_model(bench.model)


@pytest.mark.usefixtures("written")
def test_a_chain_takes_their_names() -> None:
    """Wherever it is built."""
    built = (fo.Chain("fast"), fo.parse_chain("prod"), fo.failover_model(["prod", "fast"]))
    assert [chain.specs for chain in built] == [
        ("sim/echo",), ("sim/down", "sim/echo"), ("sim/down", "sim/echo", "sim/echo"),
    ]  # fmt: skip


@pytest.mark.usefixtures("written", "no_benches")
def test_a_bench_takes_their_names() -> None:
    """For all that a name stands for."""
    fo.bench_model("prod", for_=60)
    assert (fo.is_benched("fast"), [b.model for b in fo.list_benched()]) == (True, ["sim/down", "sim/echo"])


@pytest.mark.usefixtures("written")
def test_an_alias_of_the_process_wins() -> None:
    """Until it is forgotten."""
    process_registry.alias("fast", "sim/say:hi")
    try:
        specs = fo.Chain("fast").specs
    finally:
        process_registry.unalias("fast")
    assert (specs, fo.Chain("fast").specs) == (("sim/say:hi",), ("sim/echo",))


@pytest.mark.usefixtures("written")
def test_a_misspelt_name_names_the_nearest() -> None:
    """Among those of the settings."""
    with pytest.raises(fo.ChainSpecError, match="did you mean 'prod'"):
        fo.Chain("prdo")


def test_settings_that_cannot_be_used_are_told(user: Write) -> None:
    """By name, file and line, where a name is asked for; never for a spec that is known."""
    fo.Chain("sim/echo")
    file = user("zzz = 1")
    with pytest.raises(fo.FailoverError, match=f"{file}, line 1"):
        fo.Chain("fast")
    assert fo.Chain("sim/echo").specs == ("sim/echo",)
