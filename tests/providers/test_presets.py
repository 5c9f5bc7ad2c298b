"""The providers known by name, and endpoints of one's own."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import traceback
from collections.abc import Callable, Coroutine

import httpx
import pytest

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Request
from llm_failover_nb.providers.presets import AZURE_ENDPOINT, PRESETS, AzureProvider, at, endpoint, make
from tests.providers.raw_server import ANSWER, answering, http, serving

KEY = "sk-canary-of-presets"

NAMES = [
    *("anthropic", "azure", "cerebras", "deepseek", "fireworks", "gemini", "github", "groq", "huggingface"),
    *("llamacpp", "lmstudio", "mistral", "nvidia", "ollama", "openai", "openrouter", "perplexity"),
    *("together", "vllm", "xai"),
]
LOCAL = {"llamacpp", "lmstudio", "ollama", "vllm"}


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


AZURE_KEY = "AZURE_OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({}, f"{AZURE_ENDPOINT} and {AZURE_KEY}"),
        ({AZURE_ENDPOINT: "  ", AZURE_KEY: "k"}, AZURE_ENDPOINT),
        ({AZURE_ENDPOINT: "https://mine.openai.azure.com"}, AZURE_KEY),
        ({AZURE_ENDPOINT: "https://mine.openai.azure.com", AZURE_KEY: "k"}, None),
    ],
)
def test_azure_names_every_variable_that_is_missing(
    variables: dict[str, str], missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure has an address for each customer; a chain leaves it out where that is not set."""
    for name in (AZURE_ENDPOINT, AZURE_KEY):
        monkeypatch.delenv(name, raising=False)
    made = make("azure")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert made.missing_key == missing


def azure_error() -> tuple[ErrorKind | None, str, str]:
    with pytest.raises(ProviderError) as caught:
        make("azure").complete(Request("hi", model="m"))  # type: ignore[arg-type]
    return caught.value.kind, caught.value.reason, caught.value.message


def test_azure_without_its_endpoint_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked all the same, it is the entry that fails, not the chain."""
    monkeypatch.delenv(AZURE_ENDPOINT, raising=False)
    kind, reason, message = azure_error()
    assert (kind, reason, "set AZURE_OPENAI_ENDPOINT" in message) == (ErrorKind.AUTH_DEAD, "no_key", True)


def test_an_azure_endpoint_that_is_no_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable that holds it."""
    monkeypatch.setenv(AZURE_ENDPOINT, "mine.openai.azure.com")
    kind, reason, message = azure_error()
    assert (kind, reason) == (ErrorKind.AUTH_DEAD, "bad_request")
    assert "'mine.openai.azure.com/openai/v1'" in message
    assert "correct AZURE_OPENAI_ENDPOINT" in message


def calls(provider: AzureProvider) -> list[Callable[[Request], object]]:
    """Its four calls, each to its end."""

    async def collect(request: Request) -> object:
        return [chunk async for chunk in provider.astream(request)]

    return [
        provider.complete,
        lambda request: asyncio.run(closing(provider, provider.acomplete(request))),
        lambda request: list(provider.stream(request)),
        lambda request: asyncio.run(closing(provider, collect(request))),
    ]


async def closing(provider: AzureProvider, work: Coroutine[object, object, object]) -> object:
    try:
        return await work
    finally:
        await provider.aclose()


def test_azure_reads_its_address_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """All four calls go to the address of the moment, below the path of the v1 API."""
    monkeypatch.setenv(AZURE_KEY, "k")
    made = make("azure")
    made.close()  # nothing is open yet
    asked = Request("hi", model="m")  # type: ignore[arg-type]
    lines: list[str] = []
    for position in range(4):
        with serving(answering(http(ANSWER))) as server:
            monkeypatch.setenv(AZURE_ENDPOINT, server.url.removesuffix("/v1"))
            calls(made)[position](asked)
            lines += [request.line for request in server.requests]
            made.close()
    assert lines == ["POST /openai/v1/chat/completions HTTP/1.1"] * 4


def test_azure_keeps_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as its address stays the same."""
    monkeypatch.setenv(AZURE_KEY, "k")
    made = make("azure")
    asked = Request("hi", model="m")  # type: ignore[arg-type]
    with serving(answering(http(ANSWER))) as server:
        monkeypatch.setenv(AZURE_ENDPOINT, server.url.removesuffix("/v1"))
        for _ in range(2):
            made.complete(asked)
        made.close()
        assert (len(server.requests), server.connections) == (2, 1)


def test_llamacpp_is_asked_over_a_new_connection_each_time() -> None:
    """Its server hangs up on connections that it promised to keep."""
    with serving(answering(http(ANSWER))) as server:
        preset = dataclasses.replace(PRESETS["llamacpp"], base_url=server.url)
        made = at(server.url, "llamacpp", preset)
        made.complete(Request("hi", model="m"))  # type: ignore[arg-type]
        made.close()
        assert server.requests[0].headers["connection"] == "close"


def test_a_key_given_beside_an_unknown_wire_is_not_shown() -> None:
    """Not even by a traceback with all local variables."""
    with pytest.raises(ValueError, match="soap") as caught:
        endpoint("lab", wire="soap", base_url="https://llm.test/v1", api_key=KEY, headers={"api-key": KEY})
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert KEY not in "".join(shown.format())


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
    known = "'soap' is not known; choose one of: anthropic, gemini, ollama, openai"
    with pytest.raises(ValueError, match=known):
        endpoint("lab", wire="soap", base_url="https://llm.test/v1")
