"""The providers known by name, and endpoints of one's own."""

from __future__ import annotations

import dataclasses
import json

import httpx
import pytest

from llm_failover_nb.engine.types import Request
from llm_failover_nb.providers.presets import AZURE_ENDPOINT, PRESETS, endpoint, make

NAMES = [
    *("azure", "cerebras", "deepseek", "fireworks", "github", "groq", "huggingface", "llamacpp", "lmstudio"),
    *("mistral", "nvidia", "openai", "openrouter", "perplexity", "together", "vllm", "xai"),
]
LOCAL = {"llamacpp", "lmstudio", "vllm"}


def test_the_presets_are_those_of_the_contract() -> None:
    """No name is missing and none is new."""
    assert sorted(PRESETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_makes_a_provider(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every preset has a usable address, and says which variable is missing."""
    monkeypatch.setenv(AZURE_ENDPOINT, "https://mine.openai.azure.com/")
    preset = PRESETS[name]
    if preset.key_env is not None:
        monkeypatch.delenv(preset.key_env, raising=False)
    made = make(name)
    expected = preset.base_url or "https://mine.openai.azure.com/openai/v1"
    assert (made.name, made.base_url, made.missing_key) == (name, expected, preset.key_env)


@pytest.mark.parametrize("name", NAMES)
def test_only_local_servers_go_without_key_and_encryption(name: str) -> None:
    """A remote provider has a key and https; a local one neither, and stays on this machine."""
    preset = PRESETS[name]
    url = httpx.URL(preset.base_url or "https://mine.openai.azure.com")
    local = (preset.key_env is None, url.scheme == "http", url.host == "127.0.0.1")
    assert local == (name in LOCAL,) * 3


def test_a_preset_is_frozen() -> None:
    """Nobody redirects a known provider by assignment."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["openai"].base_url = "https://evil.test"  # type: ignore[misc]


def test_an_unknown_preset_is_a_key_error() -> None:
    """Whoever asks decides what an unknown name means."""
    with pytest.raises(KeyError):
        make("nobody")


@pytest.mark.parametrize("address", ["", "  "])
def test_azure_without_its_endpoint_says_what_to_set(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure has an address for each customer."""
    monkeypatch.setenv(AZURE_ENDPOINT, address)
    with pytest.raises(ValueError, match="set AZURE_OPENAI_ENDPOINT"):
        make("azure")


def test_an_azure_endpoint_with_its_path_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address as the portal shows it works too."""
    monkeypatch.setenv(AZURE_ENDPOINT, "https://mine.openai.azure.com/openai/v1/")
    assert make("azure").base_url == "https://mine.openai.azure.com/openai/v1"


def test_azure_takes_its_key_in_its_own_header() -> None:
    """Azure's keys are no bearer tokens."""
    assert PRESETS["azure"].dialect.auth("k") == {"api-key": "k"}


def test_mistral_is_not_sent_what_it_refuses() -> None:
    """Mistral has its own name for the seed and no stream_options."""
    asked = Request("hi", model="m", seed=1)  # type: ignore[arg-type]
    body = json.loads(PRESETS["mistral"].dialect.encode(asked, stream=True)[1])
    assert (body["random_seed"], "seed" in body, "stream_options" in body) == (1, False, False)


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_openai_takes_the_newer_name_of_the_limit(name: str) -> None:
    """OpenAI's reasoning models refuse max_tokens."""
    asked = Request("hi", model="m", max_tokens=1)  # type: ignore[arg-type]
    assert json.loads(PRESETS[name].dialect.encode(asked, stream=False)[1])["max_completion_tokens"] == 1


def test_an_endpoint_of_ones_own() -> None:
    """An address and a variable are enough."""
    made = endpoint("lab", base_url="https://llm.test/v1/", key_env="LAB_KEY_NOT_SET")
    assert (made.name, made.base_url, made.missing_key) == ("lab", "https://llm.test/v1", "LAB_KEY_NOT_SET")


def test_an_unknown_wire_names_the_known_ones() -> None:
    """A wire that nobody speaks is refused with the choice there is."""
    with pytest.raises(ValueError, match="'soap' is not known; choose one of: openai"):
        endpoint("lab", wire="soap", base_url="https://llm.test/v1")
