"""The public names: which there are, where they come from, and what importing them costs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import llm_failover_nb
from llm_failover_nb.engine import builtin_providers
from llm_failover_nb.providers.presets import PRESETS

# Those of the design, and more: queued, which makes an observer, the frame of all events, explain, which says
# what a failure is, ProviderInfo, a row of Registry.providers(), the panel, the calls that run, and
# get_store, use_store's other half.
CONTRACT = """
    AllModelsFailed AttemptRecord BenchRegistry BenchedModel Chain ChainSpecError Chunk DeadlineExceeded
    ErrorKind EventLog FailoverError FailoverEvent Message Model Policy ProviderError ProviderInfo
    Registry Request Response RunningCall Secret StreamInterrupted Usage Verdict bench_model cancel_call
    classify events_frame explain failover_model get_failover_defaults get_failover_observer get_store
    is_benched list_benched list_running panel parse_chain queued register_provider set_failover_defaults
    set_failover_observer unbench_model use_store
"""


def test_the_names_are_those_of_the_design():
    """Sorted, each once."""
    assert llm_failover_nb.__all__ == sorted(set(CONTRACT.split()))


@pytest.mark.parametrize("name", llm_failover_nb.__all__)
def test_each_name_can_be_imported(name):
    """And is called what it is called."""
    assert getattr(llm_failover_nb, name).__name__ == name


def test_a_name_is_looked_up_once():
    """Then it is the module's own."""
    chain = llm_failover_nb.Chain
    assert vars(llm_failover_nb)["Chain"] is chain


def _imported_for_type_checkers():
    """What the TYPE_CHECKING block imports of the package: name -> module."""
    tree = ast.parse(inspect.getsource(llm_failover_nb))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom) and statement.module.startswith("llm_failover_nb")
        for alias in statement.names
    }


def test_type_checkers_see_the_names_that_are_imported_lazily():
    """From the same modules."""
    assert _imported_for_type_checkers() == llm_failover_nb._HOME


def test_every_lazy_name_is_public():
    """And every public name lazy."""
    assert sorted(llm_failover_nb._HOME) == llm_failover_nb.__all__


def test_dir_lists_the_public_names():
    """Before they are used, sorted."""
    listed = dir(llm_failover_nb)
    assert (set(llm_failover_nb.__all__) <= set(listed), listed) == (True, sorted(listed))


def test_an_unknown_name_is_an_attribute_error():
    """As in any module."""
    with pytest.raises(AttributeError, match="module 'llm_failover_nb' has no attribute 'Chian'"):
        llm_failover_nb.Chian  # noqa: B018


def test_the_builtin_providers_are_the_presets_and_two_more():
    """The table of names loads no provider, so it is written twice."""
    assert sorted(builtin_providers) == sorted({*PRESETS, "sim", "local"})


def _loaded_by(statement, *names):
    """Which of the modules a statement loads in a fresh interpreter."""
    script = f"import sys\n{statement}\nprint(*sorted(set({names!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(llm_failover_nb.__file__).parents[1],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.split()


HEAVY = ["IPython", "aiohttp", "httpx", "httpx_aiohttp", "ipywidgets", "matplotlib", "numpy", "pandas"]


def test_importing_the_package_loads_nothing_heavy():
    """Not even asyncio."""
    assert _loaded_by("import llm_failover_nb", *HEAVY, "asyncio") == []


def test_touching_the_chain_loads_nothing_of_others():
    """The engine is the standard library alone."""
    assert _loaded_by("import llm_failover_nb; llm_failover_nb.Chain", *HEAVY) == []


def test_touching_the_chain_reads_no_settings():
    """Nor does it load what reads them: that waits for a name to be asked for."""
    names = ["llm_failover_nb.settings", "llm_failover_nb.providers.register", "platformdirs", "tomllib"]
    assert (
        _loaded_by("import llm_failover_nb; llm_failover_nb.Chain; llm_failover_nb.Registry()", *names) == []
    )


def test_an_offline_call_loads_nothing_heavy():
    """A chain over the simulated provider needs no HTTP."""
    call = "import llm_failover_nb as fo; fo.parse_chain('sim/echo').complete('hi')"
    assert _loaded_by(call, *HEAVY) == []


def test_the_list_of_modules_would_show_a_heavy_one():
    """The three tests above look in the right place."""
    assert _loaded_by("import asyncio", "asyncio") == ["asyncio"]
