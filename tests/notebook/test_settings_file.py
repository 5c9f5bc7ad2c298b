"""The settings' providers in a registry, beside what the session has registered."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from llm_failover_nb.engine.bench import BenchRegistry
from llm_failover_nb.engine.chain import parse_chain
from llm_failover_nb.engine.events import EventLog
from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.notebook.settings_file import SettingsFile
from llm_failover_nb.settings import SETTINGS_VARIABLE, Settings, load_settings
from llm_failover_nb.testing import FaultServer, ScriptedProvider

Write = Callable[[str], Settings]


@pytest.fixture
def registry() -> SpecRegistry:
    return SpecRegistry()


@pytest.fixture
def file(registry: SpecRegistry) -> SettingsFile:
    return SettingsFile(registry)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the settings file, and reads it."""
    path = tmp_path / "settings.toml"
    monkeypatch.setenv(SETTINGS_VARIABLE, str(path))

    def write(text: str) -> Settings:
        path.write_text(text, encoding="utf-8")
        return load_settings()

    return write


def at(url: str, name: str = "lab") -> str:
    return f"[providers.{name}]\nbase_url = '{url}'\n"


def address(registry: SpecRegistry, name: str = "lab") -> str:
    """Where a provider listens."""
    return next(info.base_url for info in registry.providers() if info.name == name)


def test_an_entry_that_changed_is_made_anew(file: SettingsFile, registry: SpecRegistry, write: Write) -> None:
    """When it is next asked for."""
    file.follow(write(at("http://127.0.0.1:1/v1")))
    registry.provider("lab")
    file.follow(write(at("http://127.0.0.1:2/v1")))

    assert address(registry) == "http://127.0.0.1:2/v1"


def test_an_entry_that_is_as_it_was_is_kept(file: SettingsFile, registry: SpecRegistry, write: Write) -> None:
    """So that its connections are used by the next cell, too, although it has moved within the file."""
    file.follow(write(at("http://127.0.0.1:1/v1")))
    before = registry.provider("lab")
    file.follow(write("chain = 'lab/x'\n" + at("http://127.0.0.1:1/v1")))

    assert registry.provider("lab") is before


def test_a_builtin_name_goes_where_the_file_says_and_comes_back(
    file: SettingsFile, registry: SpecRegistry, write: Write
) -> None:
    """Also one that was made before the file named it."""
    home = address(registry, "ollama")
    file.follow(write(at("http://127.0.0.1:2", "ollama")))
    elsewhere = address(registry, "ollama")
    file.follow(write(""))

    assert (elsewhere, address(registry, "ollama")) == ("http://127.0.0.1:2", home)


def test_a_registered_provider_stays(file: SettingsFile, registry: SpecRegistry, write: Write) -> None:
    """The session's own is not the file's."""
    provider = ScriptedProvider("ok")
    registry.register("lab", provider)
    file.follow(write(at("http://127.0.0.1:1/v1")))
    file.follow(write(""))

    assert registry.provider("lab") is provider


def test_a_stream_outlives_the_change_of_its_entry(
    file: SettingsFile, registry: SpecRegistry, write: Write
) -> None:
    """Nothing in use is closed; the next chain goes to the new address."""
    with FaultServer() as old, FaultServer() as new:
        file.follow(write(at(old.url)))
        chain = parse_chain("lab/echo", registry=registry, benches=BenchRegistry(), log=EventLog())
        with closing(chain.stream("one two three four")) as chunks:  # type: ignore[type-var]  # a generator
            first = next(chunks).text
            file.follow(write(at(new.url)))
            rest = "".join(chunk.text for chunk in chunks)
        again = parse_chain("lab/echo", registry=registry, benches=BenchRegistry(), log=EventLog())
        with chain, again:
            again.complete("hi")

    assert (first + rest, len(old.requests), len(new.requests)) == ("one two three four", 1, 1)
