"""Layers: which value wins, where it came from, and the list of all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llm_failover_nb.engine.policy import Policy, get_failover_defaults, set_failover_defaults
from llm_failover_nb.engine.secret import MASK, Secret
from llm_failover_nb.settings import (
    Origin,
    ProviderSettings,
    Settings,
    config_values,
    load_settings,
    trust,
)
from llm_failover_nb.settings.layers import CELL_POLICY
from tests.settings.conftest import Write

KEY = "sk-canary-0123456789abcdef"


def test_the_project_wins_value_by_value(user: Write, project: Write) -> None:
    """What it leaves open is the user's."""
    user(
        "chain = 'u/x'\n[aliases]\na = 'u/a'\nb = 'u/b'\n[cell]\nseed = 1\nraw = true\n[policy]\ncooldown = 1"
    )
    project("chain = 'p/x'\n[aliases]\nb = 'p/b'\n[cell]\nseed = 2\n[policy]\nmax_wait = 2")
    settings = load_settings()
    assert (settings.chain, settings.aliases, settings.cell, settings.policy) == (
        "p/x",
        {"a": "u/a", "b": "p/b"},
        {"seed": 2, "raw": True},
        {"cooldown": 1, "max_wait": 2},
    )


def test_each_value_says_where_it_comes_from(user: Write, project: Write) -> None:
    """Layer, file and line."""
    mine = user("chain = 'u/x'\n[cell]\nseed = 1")
    theirs = project("\n[chains]\nprod = 'p/x'\n[cell]\nseed = 2")
    assert load_settings().origins == {
        "chain": Origin("user", mine, 1),
        "chains.prod": Origin("project", theirs, 3),
        "cell.seed": Origin("project", theirs, 5),
    }


def test_a_value_that_the_project_sets_to_the_default_is_set(user: Write, project: Write) -> None:
    """It wins over the user's all the same."""
    user("[cell]\nstream = false\nformat = 'json'")
    project("[cell]\nstream = true")
    assert load_settings().cell == {"stream": True, "format": "json"}


@pytest.mark.parametrize(("mine", "theirs"), [("aliases", "chains"), ("chains", "aliases")])
def test_a_name_is_an_alias_or_a_chain(user: Write, project: Write, mine: str, theirs: str) -> None:
    """The project's meaning replaces the user's, whichever table either stands in."""
    user(f"[{mine}]\nfast = 'u/x'\nslow = 'u/y'")
    project(f"[{theirs}]\nfast = 'p/x'")
    settings = load_settings()
    assert (getattr(settings, mine), getattr(settings, theirs), sorted(settings.origins)) == (
        {"slow": "u/y"}, {"fast": "p/x"}, sorted([f"{mine}.slow", f"{theirs}.fast"]),
    )  # fmt: skip


def test_a_providers_entry_is_replaced_whole(user: Write, project: Write) -> None:
    """The user's key is not sent to the host that another file names."""
    user("[providers.lab]\nbase_url = 'https://user.test'\nkey_env = 'LAB_KEY'")
    file = project("[providers.lab]\nbase_url = 'https://project.test'")
    trust.accept(file, file.read_bytes())
    assert load_settings().providers == {"lab": ProviderSettings("https://project.test")}


def test_a_file_that_is_given_is_read_alone(project: Write, tmp_path: Path) -> None:
    """No project beside it."""
    project("chain = 'p/x'")
    assert load_settings(tmp_path / "none.toml") == Settings(path=tmp_path / "none.toml")


def test_the_path_is_the_users(user: Write, project: Write) -> None:
    """The project's has its own name."""
    mine, theirs = user(""), project("")
    assert (load_settings().path, load_settings().project) == (mine, theirs)


# The list of all


def test_the_list_has_every_setting_in_a_fixed_order() -> None:
    """Names of a table by the alphabet, defaults included."""
    names = Settings(
        chains={"z": "a/b", "y": "a/b"}, aliases={"x": "a/b"}, local={"q": Path("q.gguf")},
        providers={"lab": ProviderSettings("https://lab.test")},
    )  # fmt: skip
    assert [name for name, _, _ in config_values(names)] == [
        "chain", "chains.y", "chains.z", "aliases.x", "cell.system", "cell.temperature", "cell.max_tokens",
        "cell.stop", "cell.seed", "cell.format", "cell.stream", "cell.raw", "cell.await_cells",
        "policy.max_retries", "policy.stream_max_retries", "policy.cooldown", "policy.bench_threshold",
        "policy.max_wait", "policy.max_bench", "policy.connect_timeout", "policy.first_token_timeout",
        "policy.idle_timeout", "policy.attempt_timeout", "policy.deadline", "policy.midstream",
        "policy.content_filter", "local.models.q", "providers.lab",
    ]  # fmt: skip


def value(settings: Settings, name: str) -> str:
    return next(shown for known, shown, _ in config_values(settings) if known == name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("chain", "not set"), ("cell.temperature", "not set"), ("cell.stop", "not set"),
        ("cell.format", "markdown"), ("cell.stream", "on"), ("cell.raw", "off"), ("policy.max_retries", "3"),
        ("policy.stream_max_retries", "as max_retries"), ("policy.cooldown", "300"),
        ("policy.deadline", "no limit"), ("policy.midstream", "restart"),
    ],
)  # fmt: skip
def test_a_default_is_shown(name: str, shown: str) -> None:
    """In words where it is no value."""
    assert value(Settings(), name) == shown


def test_what_is_set_is_shown(user: Write, folder: Path) -> None:
    """With its origin."""
    file = user(
        "chain = 'openai/gpt-4o-mini-2024-07-18, local/smollm2'\n[cell]\nstop = ['END', \"\\n\"]\n"
        "temperature = 0.25\nsystem = '''Answer in\none sentence.'''\n[policy]\nidle_timeout = 'none'\n"
        "[providers.lab]\nbase_url = 'https://lab.test/v1?team=1'\nkey_env = 'LAB_KEY'\nwire = 'ollama'\n"
    )
    settings = load_settings()
    listed = {name: (shown, origin.line) for name, shown, origin in config_values(settings) if origin.path}
    assert listed == {
        "chain": ("openai/gpt-4o-mini-2024-07-18, local/smollm2", 1),
        "cell.stop": ("'END', '\\n'", 3),
        "cell.temperature": ("0.25", 4),
        "cell.system": ("Answer in one sentence.", 5),
        "policy.idle_timeout": ("no limit", 8),
        "providers.lab": ("https://lab.test/v1?…, ollama, key from LAB_KEY", 9),
    }
    assert settings.path == file


@pytest.mark.parametrize("name", ["chain", "chains.x", "aliases.x", "cell.system", "cell.stop"])
def test_what_could_be_a_key_is_not_shown(user: Write, folder: Path, name: str) -> None:
    """Wherever a text may stand."""
    user(f"{name} = 'with {KEY}, and words'")
    assert KEY not in value(load_settings(), name)


def test_a_key_that_is_known_is_not_shown() -> None:
    """However short it is."""
    Secret("fox-17-lab")
    assert value(Settings(chain="a/fox-17-lab"), "chain") == f"a/{MASK}"


def test_defaults_that_the_notebook_has_set_are_its_own() -> None:
    """Those of set_failover_defaults."""
    before = get_failover_defaults()
    try:
        set_failover_defaults(Policy(), cooldown=60)
        listed = {name: (shown, origin.layer) for name, shown, origin in config_values(Settings())}
    finally:
        set_failover_defaults(before)
    assert (listed["policy.cooldown"], listed["policy.max_wait"]) == (("60", "notebook"), ("10", "default"))


def test_a_cells_own_defaults_are_of_the_policy() -> None:
    """Names and values that it takes."""
    assert replace(Policy(), **CELL_POLICY) != Policy()  # type: ignore[arg-type]  # by name
