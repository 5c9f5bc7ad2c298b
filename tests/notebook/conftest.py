"""A real kernel with the magics loaded, one for each module, and a shell without one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from llm_failover_nb.engine.chain import list_benched, unbench_model
from llm_failover_nb.notebook import magic
from llm_failover_nb.testing import FaultServer
from tests.notebook.kernel import Kernel

SETUP = """\
%load_ext llm_failover_nb
import llm_failover_nb as fo
from llm_failover_nb.engine.bench import process_benches
from llm_failover_nb.engine.events import process_log
fo.set_failover_defaults(backoff=lambda attempt: 0.0)
"""

FRESH = """\
for bench in fo.list_benched():
    fo.unbench_model(bench.model)
process_log.clear()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(scope="module")
def running(server: FaultServer) -> Iterator[Kernel]:
    """One kernel for the module; starting one takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_FAILOVER_NB_WEIGHTS", os.devnull + "/none")
        patch.delenv("OPENAI_API_KEY", raising=False)
        with Kernel() as kernel:
            kernel.run(SETUP)
            kernel.run(f"fo.register_provider('lab', base_url={server.url!r})")
            yield kernel


@pytest.fixture
def kernel(running: Kernel, server: FaultServer) -> Kernel:
    """The kernel, with no bench and an empty log."""
    server.reset()
    assert running.run(FRESH).error == ""
    return running


@pytest.fixture
def settings(kernel: Kernel, tmp_path: Path) -> Iterator[Path]:
    """The kernel's settings file, for a test to write."""
    file = tmp_path / "settings.toml"
    kernel.run("import os; before = os.environ['LLM_FAILOVER_NB_SETTINGS']")
    kernel.run(f"os.environ['LLM_FAILOVER_NB_SETTINGS'] = {str(file)!r}")
    yield file
    kernel.run("os.environ['LLM_FAILOVER_NB_SETTINGS'] = before")
    kernel.run("%llm")


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """A shell without a front end that could replace an output."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    magic.load(shell)
    yield shell
    for bench in list_benched():
        unbench_model(bench.model)
    magic.unload(shell)
    shell.history_manager.end_session()  # type: ignore[union-attr, no-untyped-call]  # IPython's
    InteractiveShell.clear_instance()
