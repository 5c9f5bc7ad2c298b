"""What the known providers refuse, each rule by the model or the value that meets it."""

from __future__ import annotations

from typing import Any

import pytest

from llm_failover_nb.engine.types import Request
from llm_failover_nb.providers.presets import PRESETS

TEMPERATURE = {"temperature": 0.5}
STOP = {"stop": "END"}
SCHEMA = {"schema": {"type": "object"}}
NO_THINKING = {"extra": {"reasoning_effort": "none"}}
THINKING = {"extra": {"reasoning_effort": "high"}}


def dropped(name: str, model: str, **fields: Any) -> tuple[str, ...]:
    return PRESETS[name].dialect.dropped(Request("hi", model=model, **fields))  # type: ignore[arg-type]


# OpenAI's own models, wherever they are asked


@pytest.fixture(params=[("openai", ""), ("azure", ""), ("github", "openai/")], ids=lambda param: param[0])
def host(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Who serves them, and what it puts before their names."""
    return request.param


@pytest.mark.parametrize(
    "model",
    [
        *("o1", "o1-2024-12-17", "o1-preview", "o3", "o3-mini", "o3-pro", "o4-mini-2025-04-16"),
        *("gpt-5", "gpt-5-2025-08-07", "gpt-5-mini", "gpt-5-nano", "gpt-5-codex", "gpt-5-search-api"),
        *("gpt-5.1-chat-latest", "gpt-5.2-pro", "gpt-5.3-codex", "gpt-5.1-codex-max"),
    ],
)
@pytest.mark.parametrize("extra", [{}, NO_THINKING, THINKING])
def test_what_always_thinks_takes_no_temperature(
    host: tuple[str, str], model: str, extra: dict[str, Any]
) -> None:
    """Only their own is left, whatever effort is asked for."""
    name, prefix = host
    assert dropped(name, prefix + model, **TEMPERATURE, **extra) == ("temperature",)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo", "gpt-5-chat-latest", "o365-helper", "my-deployment"]
)
def test_what_never_thinks_takes_temperature_and_stop(host: tuple[str, str], model: str) -> None:
    """So do models of which the name tells nothing."""
    name, prefix = host
    assert dropped(name, prefix + model, **TEMPERATURE, **STOP, seed=1, max_tokens=5) == ()


@pytest.mark.parametrize(
    ("model", "unasked"),
    [
        *(("gpt-5.1", ()), ("gpt-5.2-2025-12-11", ()), ("gpt-5.4", ()), ("gpt-5.4-mini", ())),
        *(("gpt-5.5", ("temperature",)), ("gpt-5.6-luna", ("temperature",)), ("gpt-5.10", ("temperature",))),
        *(("gpt-6-sol", ("temperature",)), ("gpt-6.1-terra", ("temperature",)), ("gpt-10", ("temperature",))),
    ],
)
def test_what_need_not_think_takes_a_temperature_when_it_does_not(
    host: tuple[str, str], model: str, unasked: tuple[str, ...]
) -> None:
    """Until 5.4 it does not unless asked to; from 5.5 on it does unless asked not to."""
    name, prefix = host
    found = [dropped(name, prefix + model, **TEMPERATURE, **extra) for extra in ({}, NO_THINKING, THINKING)]
    assert found == [unasked, (), ("temperature",)]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        *(("o3", True), ("o3-2025-04-16", True), ("o3-pro", True), ("o4-mini", True), ("gpt-5", True)),
        *(("gpt-5-mini", True), ("gpt-5.4", True), ("gpt-6-astra", True), ("gpt-12", True)),
        *(("o1", False), ("o3-mini", False), ("gpt-5-chat-latest", False), ("gpt-4.1", False)),
    ],
)
def test_the_later_reasoning_models_take_no_stop_texts(
    host: tuple[str, str], model: str, expected: bool
) -> None:
    """Those before o3 still did."""
    name, prefix = host
    assert dropped(name, prefix + model, **STOP, **NO_THINKING) == ("stop",) * expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        *(("gpt-3.5-turbo", True), ("gpt-35-turbo", True), ("ft:gpt-3.5-turbo-0125:acme::1", True)),
        *(("gpt-4", True), ("gpt-4-0613", True), ("gpt-4-turbo", True), ("gpt-4o-2024-05-13", True)),
        *(("o1-mini", True), ("o1-preview", True)),
        *(("gpt-4o", False), ("gpt-4o-mini", False), ("gpt-4o-2024-08-06", False), ("gpt-4.1", False)),
        *(("ft:gpt-4o-mini:acme::1", False), ("o1", False), ("o3-mini", False), ("gpt-5-nano", False)),
    ],
)
def test_older_models_take_no_schema(host: tuple[str, str], model: str, expected: bool) -> None:
    """Structured outputs came with gpt-4o-2024-08-06."""
    name, prefix = host
    assert dropped(name, prefix + model, **SCHEMA) == ("schema",) * expected


def test_a_router_is_sent_what_was_asked_for() -> None:
    """It leaves out itself what a model refuses."""
    assert dropped("openrouter", "openai/o3", **TEMPERATURE, **STOP, **SCHEMA) == ()


@pytest.mark.parametrize(
    ("model", "member"),
    [
        ("openai/o3", "max_completion_tokens"),
        ("openai/gpt-5-mini", "max_completion_tokens"),
        ("openai/gpt-4.1", "max_tokens"),
        ("meta/llama-3.3-70b-instruct", "max_tokens"),
    ],
)
def test_github_names_the_limit_as_the_model_does(model: str, member: str) -> None:
    """OpenAI's reasoning models refuse the older name, and it hands requests on as they are."""
    asked = Request("hi", model=model, max_tokens=5)  # type: ignore[arg-type]
    assert f'"{member}":5'.encode() in PRESETS["github"].dialect.encode(asked, stream=False)[1]


# The others


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("deepseek", "deepseek-chat", True),
        ("deepseek", "deepseek-v4-flash", True),
        ("groq", "llama-3.3-70b-versatile", True),
        ("groq", "llama3-8b-8192", True),
        ("groq", "gemma2-9b-it", True),
        ("groq", "qwen/qwen3-32b", True),
        ("groq", "qwen/qwen3.6-27b", True),
        ("groq", "groq/compound-mini", True),
        ("groq", "openai/gpt-oss-120b", False),
        ("groq", "qwen/qwen3.8-27b", False),
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", False),
        ("groq", "moonshotai/kimi-k2-instruct-0905", False),
        *((name, "m", False) for name in ("mistral", "cerebras", "xai", "together", "fireworks", "vllm")),
    ],
)
def test_a_schema_is_left_out_where_it_is_refused(name: str, model: str, expected: bool) -> None:
    """By a provider, or by some of its models."""
    assert dropped(name, model, **SCHEMA) == ("schema",) * expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        *(("grok-4", True), ("grok-4-fast-reasoning", True), ("grok-4.3", True), ("grok-3-mini", True)),
        *(("grok-code-fast-1", True), ("grok-build-0.1", True), ("grok-12", True)),
        *(("grok-3", False), ("grok-2-1212", False)),
        *(("grok-4-fast-non-reasoning", False), ("grok-4.20-0309-non-reasoning", False)),
    ],
)
def test_groks_that_reason_take_no_stop_texts(model: str, expected: bool) -> None:
    """The others do, up to four."""
    assert dropped("xai", model, **STOP) == ("stop",) * expected


@pytest.mark.parametrize(
    ("name", "highest"),
    [
        *(("openai", 2), ("azure", 2), ("deepseek", 2), ("groq", 2), ("xai", 2), ("gemini", 2)),
        *(("mistral", 1.5), ("cerebras", 1.5), ("anthropic", 1)),
    ],
)
def test_each_has_its_highest_temperature(name: str, highest: float) -> None:
    """The least is 0 for all."""
    asked = (-0.1, 0, highest, highest + 0.1)
    found = ["temperature" in dropped(name, "m", temperature=value) for value in asked]
    assert found == [True, False, False, True]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        *(("openai", 4), ("azure", 4), ("groq", 4), ("cerebras", 4), ("xai", 4)),
        *(("deepseek", 16), ("gemini", 5)),
    ],
)
def test_each_takes_so_many_stop_texts(name: str, most: int) -> None:
    """One more, and all are left out."""
    found = [dropped(name, "m", stop=["END"] * count) for count in (most, most + 1)]
    assert found == [(), ("stop",)]


def test_mistral_is_not_asked_for_what_it_refuses() -> None:
    """It has its own name for the seed and no stream_options."""
    asked = Request("hi", model="m", seed=1)  # type: ignore[arg-type]
    body = PRESETS["mistral"].dialect.encode(asked, stream=True)[1]
    found = [name in body for name in (b'"random_seed":1', b'"seed"', b"stream_options")]
    assert found == [True, False, False]


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_openai_takes_the_newer_name_of_the_limit(name: str) -> None:
    """Its reasoning models refuse max_tokens."""
    asked = Request("hi", model="m", max_tokens=1)  # type: ignore[arg-type]
    assert b'"max_completion_tokens":1' in PRESETS[name].dialect.encode(asked, stream=False)[1]
