"""The settings file's aliases in a registry, beside those of the session."""

from __future__ import annotations

import pytest

from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.notebook.aliases import FileAliases


@pytest.fixture
def registry() -> SpecRegistry:
    return SpecRegistry()


@pytest.fixture
def file(registry: SpecRegistry) -> FileAliases:
    return FileAliases(registry)


def test_new_ones_come(file: FileAliases, registry: SpecRegistry) -> None:
    """What the file says, the registry knows."""
    file.follow({"fast": "a/x"})

    assert registry.aliases() == {"fast": "a/x"}


def test_changed_ones_change(file: FileAliases, registry: SpecRegistry) -> None:
    """A new target in the file is the alias's target."""
    file.follow({"fast": "a/x"})
    file.follow({"fast": "b/y"})

    assert registry.aliases() == {"fast": "b/y"}


def test_gone_ones_go(file: FileAliases, registry: SpecRegistry) -> None:
    """What is deleted from the file is deleted from the registry, the rest stays."""
    file.follow({"fast": "a/x", "slow": "b/y"})
    file.follow({"slow": "b/y"})

    assert registry.aliases() == {"slow": "b/y"}


def test_gone_ones_can_come_back(file: FileAliases, registry: SpecRegistry) -> None:
    """An alias that was deleted can be written again."""
    file.follow({"fast": "a/x"})
    file.follow({})
    file.follow({"fast": "b/y"})

    assert registry.aliases() == {"fast": "b/y"}


@pytest.mark.parametrize("following", [{"fast": "a/x"}, {"fast": "c/z"}, {}])
def test_the_sessions_own_stays(file: FileAliases, registry: SpecRegistry, following: dict[str, str]) -> None:
    """An alias that the session has set anew is not the file's any more, whatever the file does."""
    file.follow({"fast": "a/x"})
    registry.alias("fast", "b/y")
    file.follow(following)

    assert registry.aliases() == {"fast": "b/y"}


def test_the_sessions_own_was_first(file: FileAliases, registry: SpecRegistry) -> None:
    """An alias of the session's that the file names as well is the session's."""
    registry.alias("fast", "b/y")
    file.follow({"fast": "a/x"})
    file.follow({})

    assert registry.aliases() == {"fast": "b/y"}


def test_what_the_session_removed_stays_away(file: FileAliases, registry: SpecRegistry) -> None:
    """An alias that the session has removed does not come back with the next cell."""
    file.follow({"fast": "a/x"})
    registry.unalias("fast")
    file.follow({"fast": "a/x"})

    assert registry.aliases() == {}
