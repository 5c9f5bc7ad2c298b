"""The providers known by name, and endpoints of one's own."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Request
from llm_failover_nb.providers.dialect import Dialect
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.openai import OpenAIDialect
from llm_failover_nb.providers.presets import (
    AZURE_ENDPOINT,
    PRESETS,
    WIRES,
    AzureProvider,
    at,
    endpoint,
    make,
)
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


def test_an_endpoint_of_ones_own() -> None:
    """An address and a variable are enough."""
    made = endpoint("lab", base_url="https://llm.test/v1/", key_env="LAB_KEY_NOT_SET")
    assert (made.name, made.base_url, made.missing_key) == ("lab", "https://llm.test/v1", "LAB_KEY_NOT_SET")


def test_an_unknown_wire_names_the_known_ones() -> None:
    """A wire that nobody speaks is refused with the choice there is."""
    known = "'soap' is not known; choose one of: anthropic, gemini, ollama, openai"
    with pytest.raises(ValueError, match=known):
        endpoint("lab", wire="soap", base_url="https://llm.test/v1")


# An endpoint of one's own under a preset's name


def test_a_plain_endpoint_speaks_plain_openai() -> None:
    """Nothing is known of what it refuses."""
    assert endpoint("lab", base_url="https://llm.test/v1")._dialect == OpenAIDialect()


@pytest.mark.parametrize("name", NAMES)
def test_a_presets_name_brings_its_wire(name: str) -> None:
    """On whatever host."""
    made = endpoint(name, base_url="https://llm.test/v1")
    assert (made._dialect, made.wire) == (PRESETS[name].dialect, PRESETS[name].dialect.wire)


@pytest.mark.parametrize("wire", WIRES)
def test_a_wire_that_is_given_wins(wire: str) -> None:
    """Over that of a preset."""
    assert endpoint("mistral", wire=wire, base_url="https://llm.test/v1")._dialect == WIRES[wire]


def test_a_presets_name_brings_its_headers() -> None:
    """llama.cpp elsewhere hangs up just as it does here."""
    with serving(answering(http(ANSWER))) as server:
        made = endpoint("llamacpp", base_url=server.url)
        made.complete(Request("hi", model="m"))  # type: ignore[arg-type]
        made.close()
    assert server.requests[0].headers["connection"] == "close"


def test_a_header_that_is_given_wins() -> None:
    """Whichever case its name is in, and beside it the preset's others stay."""
    made = endpoint(
        "llamacpp", base_url="http://127.0.0.1:9/v1", headers={"Connection": "keep-alive", "x": "1"}
    )
    sent = made._endpoint.headers()
    assert (sent.get_list("connection"), sent["x"]) == (["keep-alive"], "1")


HOSTED = [name for name in NAMES if PRESETS[name].key_env is not None and PRESETS[name].base_url is not None]


@pytest.mark.parametrize("name", HOSTED)
@pytest.mark.parametrize("address", ["its own", "its own, elsewhere on it", "loopback", "localhost"])
def test_a_presets_key_is_used_at_home(name: str, address: str) -> None:
    """On the preset's own host, and on this machine, where a proxy of one's own may listen."""
    own = PRESETS[name].base_url
    assert own is not None
    base_url = {
        "its own": own,
        "its own, elsewhere on it": f"{own}/beta",
        "loopback": "http://127.0.0.1:4000/v1",
        "localhost": "http://localhost:4000",
    }[address]
    assert endpoint(name, base_url=base_url).key_env == PRESETS[name].key_env


@pytest.mark.parametrize("name", [*HOSTED, "azure"])
@pytest.mark.parametrize(
    "base_url",
    [
        "https://llm.test/v1",
        "https://{own}.evil.test/v1",
        "https://evil.test/{own}",
        "https://{own}@evil.test/v1",
        "https://evil.test?{own}",
        "https://sub.{own}/v1",
    ],
)
def test_a_presets_key_goes_to_no_other_host(
    name: str, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much the address looks like home."""
    own = httpx.URL(PRESETS[name].base_url or "https://mine.openai.azure.com").host
    monkeypatch.setenv(PRESETS[name].key_env or "", KEY)
    made = endpoint(name, base_url=base_url.format(own=own))
    sent = made._endpoint.headers()
    assert (made.key_env, made.key, made.missing_key) == (None, None, None)
    assert KEY not in str(sent.multi_items())


@pytest.mark.parametrize(
    "given_key", [{"api_key": KEY}, {"key_env": "LAB_KEY"}, {"headers": {"Authorization": f"Bearer {KEY}"}}]
)
def test_a_key_that_is_given_is_the_only_one(given_key: Any) -> None:
    """The preset's variable need not be set then."""
    made = endpoint("openai", base_url="http://127.0.0.1:4000/v1", **given_key)
    assert made.key_env == given_key.get("key_env")


def test_a_bad_address_is_named_under_a_presets_name_too() -> None:
    """It is no address of anybody's."""
    with pytest.raises(ValueError, match="'no url'"):
        endpoint("openai", base_url="no url")


# What a provider tells the engine


def made_azure(monkeypatch: pytest.MonkeyPatch) -> AzureProvider:
    monkeypatch.setenv(AZURE_ENDPOINT, "https://mine.openai.azure.com")
    made = make("azure")
    assert isinstance(made, AzureProvider)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_tells_what_its_dialect_does(name: str) -> None:
    """The wire, by which its failures are classified, and what it leaves out."""
    made, dialect = make(name), PRESETS[name].dialect
    asked = Request("hi", model="gpt-4", temperature=9, seed=2**40, stop=["\n"] * 20, schema={})  # type: ignore[arg-type]
    assert (made.wire, made.dropped(asked)) == (dialect.wire, dialect.dropped(asked))


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_the_key_is_the_one_of_this_moment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the provider's making."""
    made, variable = make(name), PRESETS[name].key_env or ""
    monkeypatch.delenv(variable, raising=False)
    found = [made.key]
    for value in (KEY, KEY, f" {KEY}2 ", " "):
        monkeypatch.setenv(variable, value)
        found.append(made.key)
    assert found == [None, Secret(KEY), Secret(KEY), Secret(f"{KEY}2"), None]


def test_two_providers_of_one_key_have_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a variable or given, for themselves or by way of a header."""
    monkeypatch.setenv("LAB_KEY", KEY)
    given_keys: list[Any] = [{"api_key": KEY}, {"key_env": "LAB_KEY"}, {"headers": {"x-key": Secret(KEY)}}]
    keys = {endpoint("lab", base_url="https://llm.test", **given_key).key for given_key in given_keys}
    assert keys == {Secret(KEY)}


@pytest.mark.parametrize("placeholder", ["not-needed", "lm-studio", "EMPTY", "x"])
def test_a_placeholder_is_no_key(placeholder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that want none have it in common with each other, and nothing else."""
    monkeypatch.setenv("LAB_KEY", placeholder)
    monkeypatch.setenv(AZURE_KEY, placeholder)
    made = [
        endpoint("lab", base_url="http://127.0.0.1:9", api_key=placeholder),
        endpoint("lab", base_url="http://127.0.0.1:9", key_env="LAB_KEY"),
        made_azure(monkeypatch),
    ]
    assert [provider.key for provider in made] == [None, None, None]


def test_a_provider_without_a_key_has_none() -> None:
    """Nobody is benched for sharing it."""
    made = make("ollama")
    assert isinstance(made, HTTPProvider)
    assert made.key is None


# What is left out, on all wires

DIALECTS = {**{f"preset {name}": preset.dialect for name, preset in PRESETS.items()}, **WIRES}

MODELS = [
    *("o1", "o3", "o4-mini", "gpt-5", "gpt-5-chat-latest", "gpt-5.1", "gpt-5.6-sol", "gpt-6-luna", "gpt-4"),
    *(
        "gpt-4o",
        "openai/o3",
        "openai/gpt-4.1",
        "claude-3-5-haiku-20241022",
        "claude-opus-4-1",
        "claude-opus-4-8",
    ),
    *(
        "claude-haiku-4-5",
        "claude-mythos-preview",
        "gemini-3-pro",
        "gemma-3-27b-it",
        "grok-4",
        "grok-3",
        "m",
        "",
    ),
    *("llama-3.3-70b-versatile", "openai/gpt-oss-20b", "deepseek-chat", "mistral-large-latest", "llama3.2"),
]

NUMBERS = st.floats(-1, 3) | st.integers(-1, 3) | st.sampled_from([np.float32(0.5), np.int64(2)])

REQUESTS = st.builds(
    Request,
    st.just("hi"),
    model=st.sampled_from(MODELS),
    temperature=st.none() | NUMBERS,
    max_tokens=st.none() | st.integers(1, 9000),
    stop=st.lists(st.text(max_size=2), max_size=18) | st.just(()),
    seed=st.none() | st.integers(-(2**65), 2**65) | st.just(np.int64(2**40)),
    schema=st.none() | st.sampled_from([{}, {"type": "object"}]),
    extra=st.sampled_from(
        [
            {},
            {"reasoning_effort": "none"},
            {"reasoning_effort": "low"},
            {"thinking": {"type": "adaptive"}},
            {"top_p": 0.5},
        ]
    ),
)


def sent(dialect: Dialect, request: Request) -> dict[str, Any]:
    """The fields that are in the body of a request, by their names in it, with the values they have there."""
    body = json.loads(dialect.encode(request, stream=True)[1])
    config = body.get("generationConfig", {}) | body.get("options", {})
    schema = body.get("response_format", {}).get("json_schema", {}) | body.get("output_config", {}).get(
        "format", {}
    )
    members = {
        "temperature": ["temperature"],
        "max_tokens": ["max_tokens", "max_completion_tokens", "maxOutputTokens", "num_predict"],
        "stop": ["stop", "stop_sequences", "stopSequences"],
        "seed": ["seed", "random_seed"],
        "schema": ["responseJsonSchema", "format", "schema"],
    }
    flat = body | config | schema
    found = {name: [flat[member] for member in known if member in flat] for name, known in members.items()}
    return {name: values for name, values in found.items() if values}


def is_given(value: object) -> bool:
    return value is not None and not (isinstance(value, tuple) and not value)


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=60, deadline=None)
@given(request=REQUESTS)
def test_what_is_named_is_left_out_and_all_else_is_sent(name: str, request: Request) -> None:
    """Whatever is asked of whichever model: no field is sent to fail, and none is lost unsaid."""
    dialect = DIALECTS[name]
    fields = ("temperature", "max_tokens", "stop", "seed", "schema")
    given_fields = {field: getattr(request, field) for field in fields if is_given(getattr(request, field))}
    dropped, found = dialect.dropped(request), sent(dialect, request)
    if dialect.wire == "anthropic" and request.max_tokens is None:
        assert found.pop("max_tokens") == [4096]  # the wire demands one
    kept = {field: value for field, value in given_fields.items() if field not in dropped}
    assert set(dropped) <= given_fields.keys()
    assert found == {field: [list(value) if field == "stop" else value] for field, value in kept.items()}
