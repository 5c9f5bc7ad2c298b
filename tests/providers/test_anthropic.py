"""The anthropic dialect: requests to bytes, bytes to answers. What all wires share is in ``test_reader``."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from llm_failover_nb.engine import builtin_providers
from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.types import Message, Request, Response, Usage
from llm_failover_nb.providers.anthropic import AnthropicDialect
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.presets import WIRES, endpoint, make
from tests.providers.raw_server import answering, chunked, http, serving
from tests.providers.reading import Message as Json
from tests.providers.reading import Reading, corpus, read, recorded, refused
from tests.providers.reading import sse as events

DIALECT = AnthropicDialect()
FAILURES = [case for case in corpus("errors") if case["wire"] == "anthropic" and case["status"] is not None]


def block(index: int = 0, **content: object) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int = 0, **said: object) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": said}


def text(piece: str) -> Json:
    return delta(type="text_delta", text=piece)


def thought(piece: str) -> Json:
    return delta(type="thinking_delta", thinking=piece)


def partial(piece: str, index: int = 0) -> Json:
    return delta(index, type="input_json_delta", partial_json=piece)


def stop(reason: str = "end_turn", **more: object) -> Json:
    return {"type": "message_delta", "delta": {"stop_reason": reason, **more}}


STOP = {"type": "message_stop"}


def streamed(*messages: Json) -> Reading:
    return read(DIALECT, events(*messages))


def completion(*content: Json, stop_reason: str | None = "end_turn", **more: object) -> bytes:
    message = {"type": "message", "role": "assistant", "content": list(content), "stop_reason": stop_reason}
    return json.dumps(message | more).encode()


def said(words: str) -> Json:
    return {"type": "text", "text": words}


# Requests


def encoded(*, stream: bool = False, **fields: Any) -> Json:
    request = Request(**{"messages": "hi", "model": "claude-3-haiku-20240307", **fields})
    return json.loads(DIALECT.encode(request, stream=stream)[1])


def dropped(**fields: Any) -> tuple[str, ...]:
    return DIALECT.dropped(Request(**{"messages": "hi", "model": "claude-3-haiku-20240307", **fields}))


def test_the_least_request_in_its_exact_bytes() -> None:
    """A bare prompt becomes model, limit, messages and the stream flag, below /v1/messages."""
    path, body = DIALECT.encode(Request("hi", model="m"), stream=False)  # type: ignore[arg-type]
    assert (path, body) == (
        "/v1/messages",
        b'{"model":"m","max_tokens":4096,"messages":[{"role":"user","content":"hi"}],"stream":false}',
    )


def test_the_key_goes_with_the_version() -> None:
    """The wire has its own header for the key, and refuses requests without a version."""
    assert DIALECT.auth("k") == {"x-api-key": "k", "anthropic-version": "2023-06-01"}


def test_every_field_has_its_place() -> None:
    """System prompt, sampling, limits and schema go where the wire has them."""
    body = encoded(
        messages=(Message("user", "a"), Message("assistant", "b")),
        system="be brief",
        temperature=0.0,
        max_tokens=5,
        stop="END",
        schema=MappingProxyType({"type": "object"}),
        model="claude-sonnet-4-5",
    )
    assert body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "system": "be brief",
        "temperature": 0.0,
        "stop_sequences": ["END"],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "stream": False,
    }


def test_a_dialect_may_have_another_limit_and_version() -> None:
    """Both are settings of the dialect; the request's own limit wins."""
    dialect = AnthropicDialect(version="2099-01-01", max_tokens=9)
    body = json.loads(dialect.encode(Request("hi", model="m"), stream=False)[1])  # type: ignore[arg-type]
    assert (dialect.auth("k")["anthropic-version"], body["max_tokens"]) == ("2099-01-01", 9)


def test_system_turns_join_the_system_prompt() -> None:
    """The wire has no system role among its turns."""
    turns = (Message("system", "b"), Message("user", "hi"), Message("system", "c"))
    body = encoded(messages=turns, system="a")
    assert (body["system"], body["messages"]) == ("a\n\nb\n\nc", [{"role": "user", "content": "hi"}])


def test_an_empty_system_prompt_is_none() -> None:
    """The wire refuses empty texts."""
    assert "system" not in encoded(system="")


def test_what_a_tool_said_is_a_users_turn() -> None:
    """The wire has two roles only."""
    assert encoded(messages=(Message("tool", "42"),))["messages"] == [{"role": "user", "content": "42"}]


def test_nothing_is_dropped_without_need() -> None:
    """What the wire takes is not named."""
    taken = {"temperature": 1, "stop": "END", "max_tokens": 1, "system": "s", "schema": {"type": "object"}}
    assert dropped(model="claude-sonnet-4-5", **taken) == ()


def test_the_seed_is_dropped() -> None:
    """The wire has none, and refuses members that it does not know."""
    assert ("seed" in encoded(seed=7), dropped(seed=7)) == (False, ("seed",))


@pytest.mark.parametrize("temperature", [-0.1, 1.5, np.float32(2)])
def test_a_temperature_outside_the_wires_range_is_dropped(temperature: float) -> None:
    """Other wires go to 2; this one ends at 1 and refuses more."""
    found = ("temperature" in encoded(temperature=temperature), dropped(temperature=temperature))
    assert found == (False, ("temperature",))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-3-5-sonnet-20241022", ()),
        ("claude-sonnet-4-20250514", ()),
        ("claude-opus-4-6", ()),
        ("claude-haiku-4-5-20251001", ()),
        ("claude-opus-latest", ()),
        ("glm-4.7", ()),
        ("claude-opus-4-7", ("temperature",)),
        ("claude-opus-4-7-20260416", ("temperature",)),
        ("anthropic.claude-opus-4.8", ("temperature",)),
        ("claude-sonnet-5", ("temperature",)),
        ("claude-haiku-5-5", ("temperature",)),
        ("claude-fable-5-1", ("temperature",)),
        ("claude-mythos-preview", ("temperature",)),
    ],
)
def test_models_without_a_temperature_are_sent_none(model: str, expected: tuple[str, ...]) -> None:
    """From version 4.7 on models refuse it; names that tell no version are believed to take it."""
    found = ("temperature" in encoded(model=model, temperature=0.5), dropped(model=model, temperature=0.5))
    assert found == (not expected, expected)


@pytest.mark.parametrize(
    ("model", "temperature", "extra", "expected"),
    [
        ("claude-opus-4-5", 0.5, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, ("temperature",)),
        ("claude-opus-4-6", 0, {"thinking": {"type": "adaptive"}}, ("temperature",)),
        ("claude-opus-4-6", 1, {"thinking": {"type": "adaptive"}}, ()),
        ("claude-opus-4-6", 0.5, {"thinking": {"type": "disabled"}}, ()),
        ("claude-3-7-sonnet-latest", 0.5, {"thinking": {"type": "enabled"}}, ("temperature",)),
        ("claude-opus-4-1", 0.5, {"top_p": 0.9}, ("temperature",)),
        ("claude-haiku-4-5", 0.5, {"top_p": 0.9}, ("temperature",)),
        ("claude-sonnet-4-20250514", 0.5, {"top_p": 0.9}, ()),
        ("claude-haiku-4-5", 0.5, {"top_k": 9}, ()),
    ],
)
def test_what_extra_asks_for_may_exclude_the_temperature(
    model: str, temperature: float, extra: Json, expected: tuple[str, ...]
) -> None:
    """Thinking does, other than at 1, and top_p for models from 4.1 on: extra is sent, and it is not."""
    fields = {"model": model, "temperature": temperature, "extra": extra}
    assert (dropped(**fields), "temperature" in encoded(**fields)) == (expected, not expected)
    assert extra.items() <= encoded(**fields).items()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-2.1", ("schema",)),
        ("claude-instant-1.2", ("schema",)),
        ("claude-3-haiku-20240307", ("schema",)),
        ("claude-3-7-sonnet-latest", ("schema",)),
        ("claude-sonnet-4-0", ("schema",)),
        ("claude-opus-4-20250514", ("schema",)),
        ("claude-opus-4-1-20250805", ()),
        ("claude-sonnet-4-5", ()),
        ("claude-haiku-4-5-20251001", ()),
        ("claude-sonnet-5", ()),
        ("claude-mythos-preview", ()),
        ("glm-4.7", ()),
    ],
)
def test_models_without_structured_outputs_are_sent_no_schema(model: str, expected: tuple[str, ...]) -> None:
    """They came with Opus 4.1 and version 4.5."""
    fields = {"model": model, "schema": {"type": "object"}}
    assert (dropped(**fields), "output_config" in encoded(**fields)) == (expected, not expected)


@pytest.mark.parametrize("stop", ["\n", ("\n", "END")])
def test_blank_stop_texts_are_left_out_with_the_others(stop: Any) -> None:
    """The wire refuses them, and what is named as left out is left out whole."""
    assert ("stop_sequences" in encoded(stop=stop), dropped(stop=stop)) == (False, ("stop",))


def test_extra_is_merged_over_everything_but_the_stream_flag() -> None:
    """Extra members win, except over the one that says how the answer is to be read."""
    body = encoded(stream=True, temperature=1, extra={"temperature": 0.5, "top_k": 3, "stream": False})
    assert (body["temperature"], body["top_k"], body["stream"]) == (0.5, 3, True)


def test_extra_output_settings_keep_the_schema() -> None:
    """The effort is asked for in the same member as the schema."""
    extra = {"output_config": {"effort": "low"}}
    body = encoded(model="claude-opus-4-6", schema={"type": "object"}, extra=extra)
    form = {"type": "json_schema", "schema": {"type": "object"}}
    assert body["output_config"] == {"format": form, "effort": "low"}


# Over real sockets


def provider(url: str) -> HTTPProvider:
    return endpoint("lab", wire="anthropic", base_url=url.removesuffix("/v1"), api_key="sk-canary")


def test_a_call_as_the_server_sees_it() -> None:
    """Method, path, key, version and body of a plain call."""
    with serving(answering(http(completion(said("hello"))))) as server:
        asked = provider(server.url)
        answer = asked.complete(Request("hi", model="m"))  # type: ignore[arg-type]
        asked.close()
        received = server.requests[0]
    assert answer.text == "hello"
    assert received.line == "POST /v1/messages HTTP/1.1"
    assert {
        "x-api-key": "sk-canary",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
    }.items() <= received.headers.items()
    assert "authorization" not in received.headers
    assert received.body == (
        b'{"model":"m","max_tokens":4096,"messages":[{"role":"user","content":"hi"}],"stream":false}'
    )


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_over_the_network(asynchronous: bool) -> None:
    """A recorded stream gives its text and its end in both call styles."""
    body = next(case["body"] for case in recorded() if case["id"] == "anthropic-text-ping")
    request = Request("hi", model="m")  # type: ignore[arg-type]

    async def collect(asked: HTTPProvider) -> list[str]:
        try:
            return [chunk.kind + chunk.text async for chunk in asked.astream(request)]
        finally:
            await asked.aclose()

    with serving(answering(chunked(body[:400], body[400:]))) as server:
        asked = provider(server.url)
        if asynchronous:
            found = asyncio.run(collect(asked))
        else:
            found = [chunk.kind + chunk.text for chunk in asked.stream(request)]
            asked.close()
        flag = server.requests[0].json["stream"]
    assert (found, flag) == (["text2", "done"], True)


def test_the_preset_has_its_address_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is known by name, to the package as to the presets."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    made = make("anthropic")
    assert (made.base_url, made.missing_key) == ("https://api.anthropic.com", "ANTHROPIC_API_KEY")


def test_the_wire_and_the_provider_are_known_by_name() -> None:
    """Endpoints of one's own may speak it, and chains may name it."""
    assert (WIRES["anthropic"], "anthropic" in builtin_providers) == (DIALECT, True)


# Answers


def test_a_completion_is_read_whole() -> None:
    """Text, thoughts, stop reason and usage of a plain answer; what is none of these says nothing."""
    body = completion(
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        said("Par"),
        said("is"),
        stop_reason="max_tokens",
        usage={"input_tokens": 9, "output_tokens": 4, "output_tokens_details": {"thinking_tokens": 2}},
    )
    expected = Response(
        text="Paris",
        finish_reason="max_tokens",
        usage=Usage(input_tokens=9, output_tokens=4, reasoning_tokens=2),
        reasoning="Hm",
        finish="length",
    )
    assert DIALECT.response(body) == expected


def test_cached_tokens_are_a_part_of_the_input() -> None:
    """The wire counts them beside it; all wires shall mean the same by the input."""
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 100,
        "output_tokens": 1,
    }
    assert DIALECT.response(completion(said("x"), usage=usage)).usage == Usage(113, 1, 100)


def test_the_tool_calls_of_a_completion_are_handed_on() -> None:
    """A call is its block as the wire has it; without a text it is an answer."""
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"x": [1]}}
    answer = DIALECT.response(completion(call, stop_reason="tool_use"))
    assert (answer.tool_calls, answer.finish_reason) == ((call,), "tool_use")


def test_a_completion_has_whole_characters() -> None:
    """Halves of characters are joined, or replaced, in every text of it."""
    call = {"type": "tool_use", "input": {"x": ["\ud83d"]}}
    answer = DIALECT.response(completion(said("\ud83d"), said("\ude00"), call))
    assert (answer.text, answer.tool_calls[0]["input"]) == ("\U0001f600", {"x": ["\ufffd"]})


@pytest.mark.parametrize("body", [b'{"content":"x"}', b'{"content":null}', b'{"content":{}}'])
def test_an_answer_without_blocks_is_malformed(body: bytes) -> None:
    """Nothing was answered, not even that nothing is to be said."""
    assert refused(DIALECT, body).reason == "malformed"


@pytest.mark.parametrize(
    "reason", ["max_tokens", "stop_sequence", "pause_turn", "model_context_window_exceeded"]
)
def test_an_empty_answer_may_be_meant(reason: str) -> None:
    """A limit or a stop text reached before the first word explains the silence."""
    assert DIALECT.response(completion(stop_reason=reason)).finish_reason == reason


# Refusals


def test_a_refusal_before_the_answer_is_the_filters() -> None:
    """It is the request's, and says in the provider's words why."""
    details = {"type": "refusal", "category": "cyber", "explanation": "Blocked by policy."}
    error = streamed(stop("refusal", stop_details=details), STOP).error
    assert error is not None
    assert (error.kind, error.reason, error.code) == (
        ErrorKind.REQUEST_SPECIFIC,
        "content_filter",
        "refusal",
    )
    assert "(Blocked by policy.)" in str(error)


def test_a_refused_completion_is_the_filters() -> None:
    """The same without a stream, where the provider gives no words."""
    failure = refused(DIALECT, completion(stop_reason="refusal", stop_details=None))
    assert (failure.reason, "began; rephrase" in str(failure)) == ("content_filter", True)


def test_a_refusal_after_some_text_is_its_finish_reason() -> None:
    """What was said stands, and the reason tells why it ends."""
    answer = streamed(text("a"), stop("refusal"), STOP).answer
    assert (answer.text, answer.finish_reason) == ("a", "refusal")


# Errors


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case["id"])
def test_a_recorded_failure_is_classified_as_labelled(case: dict[str, Any]) -> None:
    """Kind and wait of a failure come out of what the dialect makes of the response."""
    now = datetime.fromisoformat(case["now"]) if case.get("now") else None
    if case["status"] < 300:
        failure = refused(DIALECT, case["body"].encode())
    else:
        failure = DIALECT.failure(case["status"], case["headers"], case["body"])
    verdict = classify(failure, wire="anthropic", now=now)
    assert (str(verdict.kind), verdict.retry_after) == (case["expect_kind"], case["expect_retry_after_s"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        b'{"error":{"type":"overloaded_error","message":"Overloaded"}}',
        b'{"type":"overloaded_error","error":"Overloaded"}',
    ],
)
def test_an_error_needs_no_name(body: bytes) -> None:
    """As an event without one it is an error all the same."""
    assert str(read(DIALECT, b"data: " + body + b"\n\n").error) == "Overloaded"


# Streams


def test_kinds_of_chunks_are_kept_apart() -> None:
    """Thoughts, text and the events of a tool come in order, then the whole answer."""
    begun = block(2, type="tool_use", id="1", name="f", input={})
    chunks = streamed(
        block(0, type="thinking", thinking=""),
        thought("hm"),
        delta(type="signature_delta", signature="s"),
        block(1, type="text", text=""),
        text("a"),
        delta(1, type="citations_delta", citation={}),
        begun,
        partial("{}", 2),
        stop("tool_use"),
        STOP,
    ).chunks
    assert [(chunk.kind, chunk.text, chunk.tool) for chunk in chunks] == [
        ("reasoning", "hm", None),
        ("text", "a", None),
        ("tool", "", begun),
        ("tool", "", partial("{}", 2)),
        ("done", "", None),
    ]


def test_the_inputs_of_several_tools_are_put_together_apart() -> None:
    """Pieces belong to the block that they name."""
    calls = streamed(
        block(0, type="tool_use", id="1", name="f", input={}),
        block(1, type="tool_use", id="2", name="g", input={}),
        partial('{"x":', 0),
        partial('{"y":2}', 1),
        partial(' "\ud83d', 0),
        partial('\ude00"}', 0),
        stop("tool_use"),
    ).answer.tool_calls
    assert calls == (
        {"type": "tool_use", "id": "1", "name": "f", "input": {"x": "\U0001f600"}},
        {"type": "tool_use", "id": "2", "name": "g", "input": {"y": 2}},
    )


def test_an_input_that_came_with_its_block_stands() -> None:
    """Some relays send a tool call in one event."""
    calls = streamed(
        block(type="tool_use", id="1", name="f", input={"x": 1}), stop("tool_use")
    ).answer.tool_calls
    assert calls[0]["input"] == {"x": 1}


def test_an_input_cut_short_is_left_as_text() -> None:
    """The limit of tokens may end it within its JSON, and half an object is no object."""
    calls = streamed(block(type="tool_use", id="1", input={}), partial('{"x":'), stop("max_tokens")).answer
    assert calls.tool_calls[0]["input"] == '{"x":'


def test_a_tool_nested_too_deep_is_no_other_exception() -> None:
    """A hostile input cannot exhaust the stack."""
    deep = partial('{"x":' + "[" * 100_000 + "]" * 100_000 + "}")
    answer = streamed(block(type="tool_use", id="1", input={}), deep, stop("tool_use")).answer
    assert isinstance(answer.tool_calls[0]["input"], str)


def test_a_block_that_begins_with_its_text_says_it() -> None:
    """Some relays send a whole block in one event."""
    reading = streamed(block(type="thinking", thinking="hm"), block(1, type="text", text="a"), stop())
    assert (reading.said("reasoning"), reading.said()) == ("hm", "a")


def test_reports_of_usage_add_to_each_other() -> None:
    """The start counts the input, the end the output; a null takes nothing back."""
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}}
    end = stop() | {"usage": {"input_tokens": None, "output_tokens": 5}}
    assert streamed(start, text("a"), end).answer.usage == Usage(7, 5)


def test_the_terminal_event_ends_the_reading() -> None:
    """After message_stop nothing more is read, and no stop reason is needed."""
    reader = DIALECT.reader()
    reader.feed(events(text("a"), STOP))
    assert (reader.complete, reader.finished, reader.feed(events(text("b")))) == (True, True, [])


def test_a_marker_of_another_wire_proves_nothing() -> None:
    """Some relays add it, to what they cut too."""
    assert read(DIALECT, events(text("a")) + b"data: [DONE]\n\n").reason == "cut"


def test_a_ping_may_say_anything() -> None:
    """Events that bring no content are not looked into."""
    body = b"event: ping\ndata: pong\n\n" + events(text("a"), stop())
    assert read(DIALECT, body).answer.text == "a"
