"""What there is to ask: each thing once, how it stands, and the nearest name for one that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llm_failover_nb.engine import builtin_providers
from llm_failover_nb.engine.bench import BenchedModel
from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.notebook.inventory import Inventory, matching, nearest, served_here
from llm_failover_nb.notebook.render import Listed, Listing
from llm_failover_nb.providers import local, weights
from llm_failover_nb.settings import Settings
from llm_failover_nb.testing import ScriptedProvider

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OTHERS = "register_provider and the settings add others"


class Keyed(ScriptedProvider):
    """A provider that was given its key as it is."""

    key = Secret("sk-canary-of-the-inventory")


class Hosted(ScriptedProvider):
    """A provider at an address, with a key that may be missing."""

    def __init__(self, base_url: str = "", key_env: str | None = None, missing: str | None = None) -> None:
        super().__init__("ok")
        self.base_url = base_url
        self.key_env = key_env
        self.missing = missing

    @property
    def missing_key(self) -> str | None:
        return self.missing


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> SpecRegistry:
    """One that knows what a test registers, and sim and local."""
    for name in {*builtin_providers} - {"sim", "local"}:
        monkeypatch.delitem(builtin_providers, name)
    return SpecRegistry()


@pytest.fixture(autouse=True)
def weights_here(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model is installed, in a folder that has no test's name in it."""
    file = tmp_path_factory.mktemp("w") / "weights.gguf"
    file.touch()
    monkeypatch.setattr(local, "extra_installed", lambda: True)
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(file))
    return file


def tables(
    registry: SpecRegistry,
    chain: str = "sim/echo",
    *,
    settings: Settings | None = None,
    benches: Sequence[BenchedModel] = (),
) -> tuple[Listing, ...]:
    return Inventory(registry, settings or Settings(), benches, NOW).tables(chain)


def lines(table: Listing) -> dict[str, Listed]:
    return {line.cells[0]: line for line in table.lines}


# Providers


@pytest.mark.parametrize(
    ("provider", "cells", "standing"),
    [
        (
            Hosted("https://llm.example.org/v1", "LAB_KEY"),
            ("llm.example.org (registered)", "LAB_KEY is set"),
            "ready",
        ),
        (
            Hosted("https://llm.example.org/v1", "LAB_KEY", "LAB_KEY"),
            ("llm.example.org (registered)", "set LAB_KEY"),
            "missing",
        ),
        (Hosted("http://127.0.0.1:8000/v1"), ("127.0.0.1:8000 (registered)", "none needed"), "unchecked"),
        (Hosted("https://me:pass@x.org"), ("x.org (registered)", "none needed"), "ready"),
        (Hosted("//[bad"), ("//[bad (registered)", "none needed"), "ready"),
        (ScriptedProvider("ok"), ("this process (registered)", "none needed"), "ready"),
        (Keyed("ok"), ("this process (registered)", "given in code"), "ready"),
        (Hosted(missing="A_URL and A_KEY"), ("not known yet (registered)", "set A_URL and A_KEY"), "missing"),
        (
            Hosted(missing="ValueError: it is late"),
            ("not known yet (registered)", "ValueError: it is late"),
            "missing",
        ),
    ],
)
def test_a_provider(
    registry: SpecRegistry, provider: ScriptedProvider, cells: tuple[str, str], standing: str
) -> None:
    """What to write, where it listens, and how its key stands."""
    registry.register("lab", provider)
    line = lines(tables(registry)[0])["lab/MODEL"]

    assert (line.cells[1:], line.standing) == (cells, standing)


def test_what_is_built_in_says_no_source(registry: SpecRegistry) -> None:
    """The simulated provider has models of its own to show."""
    assert lines(tables(registry)[0])["sim/echo"].cells == ("sim/echo", "this process", "none needed")


def test_a_server_on_this_machine_is_not_called_ready(registry: SpecRegistry) -> None:
    """Nobody has looked whether it runs; the package's own local models start theirs themselves."""
    registry.register("desk", Hosted("http://localhost:11434"))
    registry.alias("mine", "desk/x")
    registry.alias("both", "desk/x,sim/echo")
    listed = tables(registry, "desk/x,local/smollm2")

    assert Listed(("mine", "desk/x", "not checked"), "unchecked") == lines(listed[1])["mine"]
    assert lines(listed[1])["both"].standing == "ready"
    assert [line.standing for line in listed[3].lines] == ["unchecked", "ready"]
    assert [served_here(registry.provider(name)) for name in ("desk", "local", "sim")] == [True, False, False]


def test_local_models_have_a_table_of_their_own(registry: SpecRegistry) -> None:
    """So they are no provider beside the others, unless somebody has put one there."""
    before = tables(registry)[0]
    registry.register("local", ScriptedProvider("ok"))

    assert ["local/MODEL" in lines(table) for table in (before, tables(registry)[0])] == [False, True]


def test_providers_ready_to_use_stand_first(registry: SpecRegistry) -> None:
    """Then by name."""
    for name, missing in {"a": "A_KEY", "z": None, "b": "B_KEY"}.items():
        registry.register(name, Hosted(missing=missing))

    assert list(lines(tables(registry)[0])) == ["sim/echo", "z/MODEL", "a/MODEL", "b/MODEL"]


# Aliases


@pytest.fixture
def halves(registry: SpecRegistry) -> SpecRegistry:
    """One provider that is ready and two that are not."""
    registry.register("good", Hosted())
    registry.register("a", Hosted(missing="A_KEY"))
    registry.register("b", Hosted(missing="B_KEY"))
    return registry


@pytest.mark.parametrize(
    ("target", "state", "standing"),
    [
        ("good/x", "ready", "ready"),
        ("good/x,good/y", "ready", "ready"),
        ("a/x,good/y,b/z", "1 of 3 ready", "ready"),
        ("a/x", "set A_KEY", "missing"),
        ("a/x,b/y,a/z", "set A_KEY; set B_KEY", "missing"),
        (",", "names no model", "missing"),
        (
            "god/x",
            f"'god/x': unknown provider 'god'; did you mean 'good'? {OTHERS}",
            "missing",
        ),
    ],
)
def test_an_alias(halves: SpecRegistry, target: str, state: str, standing: str) -> None:
    """What it stands for, and how many of its models can be asked."""
    halves.alias("fast", target)

    assert tables(halves)[1].lines == (Listed(("fast", target, state), standing),)  # type: ignore[arg-type]


# Local models


def test_the_embedded_model(registry: SpecRegistry, weights_here: Path) -> None:
    """With its file."""
    assert tables(registry)[2].lines == (Listed(("local/smollm2", str(weights_here), "installed"), "ready"),)


def test_the_embedded_model_without_weights(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way to get them."""
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, "/nowhere")
    (line,) = tables(registry)[2].lines

    assert line == Listed(
        ("local/smollm2", "comes with the package", f"not installed: {weights.why_missing()}"), "missing"
    )


def test_a_model_of_the_settings(registry: SpecRegistry, weights_here: Path) -> None:
    """Its file is there or is not."""
    settings = Settings(local={"here": weights_here, "gone": Path("/nowhere.gguf")})
    listed = lines(tables(registry, settings=settings)[2])

    assert listed["local/here"] == Listed(("local/here", str(weights_here), "installed"), "ready")
    assert listed["local/gone"] == Listed(
        ("local/gone", "/nowhere.gguf", "no such file; correct it in the settings"), "missing"
    )


def test_local_models_without_the_extra(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """None can be asked, whatever files there are."""
    monkeypatch.setattr(local, "extra_installed", lambda: False)
    (line,) = tables(registry)[2].lines

    assert (line.cells[2], line.standing) == (
        "not installed: run  pip install 'llm-failover-nb[local]'",
        "missing",
    )


# The default chain


def test_the_chain_keeps_its_order(halves: SpecRegistry) -> None:
    """Each model with how it stands."""
    until = NOW + timedelta(minutes=4)
    benches = [BenchedModel("good/y", until, 1, False), BenchedModel("b/z", None, 1, True)]
    listed = tables(halves, "a/x,good/y,b/z,good/x,local/smollm2", benches=benches)[3].lines

    assert [(line.cells[0], line.standing) for line in listed] == [
        ("a/x", "missing"),
        ("good/y", "benched"),
        ("b/z", "missing"),
        ("good/x", "ready"),
        ("local/smollm2", "ready"),
    ]
    assert [line.cells[1] for line in listed[2:]] == [
        "set B_KEY; benched by hand until lifted",
        "ready",
        "ready",
    ]


def test_a_local_model_of_the_chain_may_be_missing(
    registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its own table says; a file that is spelled out is taken at its word."""
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, "/nowhere")
    listed = tables(registry, "local/smollm2,local//m.gguf")[3].lines

    assert [line.standing for line in listed] == ["missing", "ready"]


def test_a_chain_that_cannot_be_read_is_told(registry: SpecRegistry) -> None:
    """The rest is listed all the same."""
    (line,) = tables(registry, "smi/echo")[3].lines

    assert ("did you mean 'sim'" in line.cells[1], line.standing) == (True, "missing")


# What matches


@pytest.fixture
def all_tables(halves: SpecRegistry) -> tuple[Listing, ...]:
    halves.register("groq", Hosted("https://api.groq.com/v1", "GROQ_API_KEY"))
    halves.alias("fast", "groq/llama")
    return tables(halves, "groq/llama,good/x")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("groq", ["groq/MODEL", "fast", "groq/llama"]),
        ("GROQ", ["groq/MODEL", "fast", "groq/llama"]),
        ("api.groq", ["groq/MODEL"]),
        ("GROQ_API_KEY", ["groq/MODEL"]),
        ("fast", ["fast"]),
        ("groq/llama", ["fast", "groq/llama"]),
        ("groq/other", ["groq/MODEL", "fast", "groq/llama"]),
        ("smollm2", ["local/smollm2"]),
        ("grok", []),
        ("nobody/x", []),
    ],
)
def test_what_matches(all_tables: tuple[Listing, ...], text: str, found: list[str] | None) -> None:
    """Any part of a line, whatever its case; a spec that is not there shows its provider."""
    every = [line.cells[0] for table in all_tables for line in table.lines]
    shown = [line.cells[0] for table in matching(all_tables, text) for line in table.lines]

    assert shown == (every if found is None else found)


@pytest.mark.parametrize(
    ("text", "near"), [("grok", ["groq"]), ("Grok", ["groq"]), ("fats", ["fast"]), ("zzzz", [])]
)
def test_what_is_near(all_tables: tuple[Listing, ...], text: str, near: list[str]) -> None:
    """The names as they are written."""
    assert nearest(all_tables, text) == near
