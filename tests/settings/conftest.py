"""Settings that are a test's own: the user's file, a project below a folder of its own, the list of trust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_failover_nb.settings import SETTINGS_VARIABLE

Write = Callable[[str], Path]


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    return tmp_path / "configuration" / "llm-failover-nb"


@pytest.fixture
def user(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the user's file."""
    file = configuration / "settings.toml"
    monkeypatch.setenv(SETTINGS_VARIABLE, str(file))
    return lambda text: _written(file, text)


@pytest.fixture
def folder(tmp_path: Path, configuration: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder, a repository, in which the notebook is."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def project(folder: Path, user: Write) -> Write:
    """Writes the project's file, beside a user's file that is not there yet."""
    return lambda text: _written(folder / "llm_failover.toml", text)


def _written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file for the test to write."""
    return tmp_path / "settings.toml"
