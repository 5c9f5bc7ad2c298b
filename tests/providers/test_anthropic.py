"""The anthropic dialect: requests to bytes, bytes to answers, held to recorded streams however cut."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_failover_nb.engine import builtin_providers
from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Message, Request, Response, Usage
from llm_failover_nb.providers.anthropic import AnthropicDialect, AnthropicReader, read_response
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.openai import OpenAIDialect
from llm_failover_nb.providers.presets import WIRES, endpoint, make
from tests.providers.raw_server import answering, chunked, http, serving
from tests.providers.reading import (
    CORPUS,
    Reading,
    bytewise,
    check_against_label,
    cuts,
    read,
    recorded,
    summary,
)

DIALECT = AnthropicDialect()
CASES = recorded("anthropic")
FAILURES = [
    case
    for line in (CORPUS / "errors.jsonl").read_text("utf-8").strip().split("\n")
    if (case := json.loads(line))["wire"] == "anthropic" and case["status"] is not None
]

MEMBERS = [
    *("type", "index", "delta", "content_block", "message", "content", "usage", "text", "thinking", "error"),
    *("partial_json", "stop_reason", "stop_details", "explanation", "input", "input_tokens", "errors"),
    *("output_tokens_details", "output_tokens", "detail"),
]
TYPES = [
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
    *("message_stop", "ping", "error", "text", "thinking", "tool_use", "text_delta", "thinking_delta"),
    *("input_json_delta", "message"),
]


def events(*messages: dict[str, Any]) -> bytes:
    """An event stream of JSON messages, each named by its type."""
    return "".join(f"event: {m.get('type', '')}\ndata: {json.dumps(m)}\n\n" for m in messages).encode()


def block(index: int = 0, **content: object) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int = 0, **said: object) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": said}


def text(piece: str) -> dict[str, Any]:
    return delta(type="text_delta", text=piece)


def thought(piece: str) -> dict[str, Any]:
    return delta(type="thinking_delta", thinking=piece)


def partial(piece: str, index: int = 0) -> dict[str, Any]:
    return delta(index, type="input_json_delta", partial_json=piece)


def stop(reason: str = "end_turn", **more: object) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, **more}}


STOP = {"type": "message_stop"}


def streamed(*messages: dict[str, Any]) -> Reading:
    return read(DIALECT, events(*messages))


def completion(*content: dict[str, Any], stop_reason: str | None = "end_turn", **more: object) -> bytes:
    message = {"type": "message", "role": "assistant", "content": list(content), "stop_reason": stop_reason}
    return json.dumps(message | more).encode()


def said(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def failure_of(body: bytes) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read_response(body)
    return caught.value


# Recorded streams


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
@pytest.mark.parametrize("cut", ["whole", "bytewise"])
def test_recorded_stream_reads_as_labelled(case: dict[str, Any], cut: str) -> None:
    """Text, usage, stop reason and kind of error are those of the label."""
    body = case["body"]
    check_against_label(case, read(DIALECT, *([body] if cut == "whole" else bytewise(body))))


def test_the_corpus_has_all_fourteen_streams() -> None:
    """No recorded stream of the wire is left out."""
    assert len(CASES) == 14


@pytest.mark.parametrize("case", [c for c in CASES if "expect_reasoning" in c], ids=lambda case: case["id"])
def test_recorded_reasoning_is_kept_apart(case: dict[str, Any]) -> None:
    """The thoughts are those of the label, in the chunks as in the answer."""
    reading = read(DIALECT, case["body"])
    expected = case["expect_reasoning"]
    assert (reading.said("reasoning"), reading.answer.reasoning) == (expected, expected)


@pytest.mark.parametrize("case", [c for c in CASES if "expect_tool_calls" in c], ids=lambda case: case["id"])
def test_recorded_tool_calls_are_whole(case: dict[str, Any]) -> None:
    """Id, name and arguments are those of the label, where no argument text means an empty object."""
    calls = read(DIALECT, case["body"]).answer.tool_calls
    found = [{"id": call["id"], "name": call["name"], "input": call["input"]} for call in calls]
    expected = [
        {"id": call["id"], "name": call["name"], "input": json.loads(call["arguments"] or "{}")}
        for call in case["expect_tool_calls"]
    ]
    assert found == expected


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_stream_reads_the_same_however_it_is_cut(data: st.DataObject) -> None:
    """Where the network cuts the bytes has no influence on chunks, answer and error."""
    body = data.draw(st.sampled_from([case["body"] for case in CASES]))
    body = body.replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    places = data.draw(st.lists(st.integers(0, 1 << 16), max_size=20))
    assert summary(DIALECT, *cuts(body, places)) == summary(DIALECT, body)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_garbage_is_a_provider_error(pieces: list[bytes]) -> None:
    """No bytes make the reader raise anything but a ProviderError."""
    assert isinstance(read(DIALECT, b"data: ", *pieces).error, ProviderError)


@settings(max_examples=400, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(TYPES),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5)
            | st.fixed_dictionaries(
                {"type": st.sampled_from(TYPES)}, optional=dict.fromkeys(MEMBERS[1:], inner)
            )
        ),
        max_leaves=25,
    )
)
def test_any_json_is_an_answer_or_a_provider_error(message: object) -> None:
    """Members of the wrong type raise nothing but a ProviderError, streamed or not."""
    body = json.dumps(message).encode()
    read(DIALECT, b"data: " + body + b"\n\n", events(stop(), STOP))
    try:
        answer: object = read_response(body)
    except ProviderError as error:
        answer = error
    assert isinstance(answer, Response | ProviderError)


# Requests


def encoded(*, stream: bool = False, **fields: Any) -> dict[str, Any]:
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
    )
    assert body == {
        "model": "claude-3-haiku-20240307",
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
    assert dropped(**taken) == ()


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
        ("claude-opus-5-5", ("temperature",)),
    ],
)
def test_models_without_a_temperature_are_sent_none(model: str, expected: tuple[str, ...]) -> None:
    """From version 4.7 on models refuse it; names that tell no version are believed to take it."""
    found = ("temperature" in encoded(model=model, temperature=0.5), dropped(model=model, temperature=0.5))
    assert found == (not expected, expected)


def test_blank_stop_texts_are_dropped() -> None:
    """The wire refuses them; the others stay."""
    assert (encoded(stop=("\n", "END"))["stop_sequences"], dropped(stop=("\n", "END"))) == (
        ["END"],
        ("stop",),
    )


def test_no_stop_text_is_no_member() -> None:
    """When all are blank, nothing is left to send."""
    assert "stop_sequences" not in encoded(stop="\n")


def test_the_openai_wire_drops_nothing() -> None:
    """It has a place for every field."""
    request = Request("hi", temperature=2, stop="\n", seed=7, schema={})  # type: ignore[arg-type]
    assert OpenAIDialect().dropped(request) == ()


def test_extra_is_merged_over_everything_but_the_stream_flag() -> None:
    """Extra members win, except over the one that says how the answer is to be read."""
    body = encoded(stream=True, temperature=1, extra={"temperature": 0.5, "top_k": 3, "stream": False})
    assert (body["temperature"], body["top_k"], body["stream"]) == (0.5, 3, True)


def test_extra_output_settings_keep_the_schema() -> None:
    """The effort is asked for in the same member as the schema."""
    body = encoded(schema={"type": "object"}, extra={"output_config": {"effort": "low"}})
    form = {"type": "json_schema", "schema": {"type": "object"}}
    assert body["output_config"] == {"format": form, "effort": "low"}


def test_a_request_that_is_no_json_is_the_requests_own_fault() -> None:
    """What cannot be encoded is no reason to bench a model."""
    with pytest.raises(ProviderError, match="cannot be written as JSON") as caught:
        encoded(temperature=float("nan"))
    assert caught.value.kind is ErrorKind.REQUEST_SPECIFIC


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
    body = next(case["body"] for case in CASES if case["id"] == "anthropic-text-ping")
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
    assert read_response(completion(said("x"), usage=usage)).usage == Usage(113, 1, 100)


def test_the_tool_calls_of_a_completion_are_handed_on() -> None:
    """A call is its block as the wire has it; without a text it is an answer."""
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"x": [1]}}
    answer = read_response(completion(call, stop_reason="tool_use"))
    assert (answer.tool_calls, answer.finish_reason) == ((call,), "tool_use")


def test_a_completion_has_whole_characters() -> None:
    """Halves of characters are joined, or replaced, in every text of it."""
    call = {"type": "tool_use", "input": {"x": ["\ud83d"]}}
    answer = read_response(completion(said("\ud83d"), said("\ude00"), call))
    assert (answer.text, answer.tool_calls[0]["input"]) == ("\U0001f600", {"x": ["\ufffd"]})


def test_a_stream_sent_unasked_is_read() -> None:
    """An event stream in answer to a plain request is put together."""
    assert read_response(events(text("a"), text("b"), stop(), STOP)).text == "ab"


def test_a_whole_answer_to_a_stream_is_its_chunks() -> None:
    """A server that does not stream though asked to is read all the same."""
    body = completion({"type": "thinking", "thinking": "hm"}, said("a"))
    kinds = [(chunk.kind, chunk.text) for chunk in read(DIALECT, body).chunks]
    assert kinds == [("reasoning", "hm"), ("text", "a"), ("done", "")]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>login</html>", b'{"content":[{"ty', b"[]", b"null", b"3", b'{"id":1}', b'{"content":"x"}'],
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    """HTML, cut JSON and JSON without content are one transient failure."""
    failure = failure_of(body)
    assert (failure.reason, failure.kind) == ("malformed", ErrorKind.TRANSIENT)


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"content":[' + b"[" * 200_000])
def test_deep_json_is_malformed(body: bytes) -> None:
    """A hostile body cannot exhaust the stack."""
    assert failure_of(body).reason == "malformed"


@pytest.mark.parametrize(("reason", "expected"), [("end_turn", "empty"), (None, "empty")])
def test_an_empty_answer_is_an_error(reason: str | None, expected: str) -> None:
    """Nothing but the end of the turn is a fault."""
    assert failure_of(completion(stop_reason=reason)).reason == expected


@pytest.mark.parametrize(
    "reason", ["max_tokens", "stop_sequence", "pause_turn", "model_context_window_exceeded"]
)
def test_an_empty_answer_may_be_meant(reason: str) -> None:
    """A limit or a stop text reached before the first word explains the silence."""
    assert read_response(completion(stop_reason=reason)).finish_reason == reason


def test_reasoning_alone_is_an_answer() -> None:
    """A model that only thought did not fail."""
    assert read_response(completion({"type": "thinking", "thinking": "hm"})).reasoning == "hm"


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
    failure = failure_of(completion(stop_reason="refusal", stop_details=None))
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
        failure = failure_of(case["body"].encode())
    else:
        failure = DIALECT.failure(case["status"], case["headers"], case["body"])
    verdict = classify(failure, wire="anthropic", now=now)
    assert (str(verdict.kind), verdict.retry_after) == (case["expect_kind"], case["expect_retry_after_s"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        b'{"error":{"type":"overloaded_error","message":"Overloaded"}}',
        b'[{"error":{"type":"overloaded_error","message":"Overloaded"}}]',
        b'{"type":"overloaded_error","error":"Overloaded"}',
    ],
)
def test_an_error_in_a_200_is_an_error(body: bytes) -> None:
    """In each shape, as body, as answer to a stream, and as an event without a name."""
    events_of_it = read(DIALECT, b"data: " + body + b"\n\n").error
    found = [str(failure_of(body)), str(read(DIALECT, body).error), str(events_of_it)]
    assert found == ["Overloaded"] * 3


def test_an_error_that_is_flat_is_an_error() -> None:
    """Gateways have a message or a detail and nothing else."""
    assert [str(failure_of(b'{"message":"down"}')), str(failure_of(b'{"detail":"down"}'))] == ["down", "down"]


def test_what_an_error_means_is_left_to_classify() -> None:
    """A provider's own error carries no kind."""
    failure = failure_of(b'{"type":"error","error":{"type":"billing_error","message":"no"}}')
    assert (failure.kind, failure.code) == (None, "billing_error")


def test_an_error_beside_a_text_is_an_error() -> None:
    """Wherever in the event it stands."""
    assert str(streamed(text("a") | {"error": "down"}, stop()).error) == "down"


def test_the_text_before_an_error_comes_first() -> None:
    """Text and error in one read: the text is handed out, then the error is raised."""
    reading = streamed(text("a"), {"type": "error", "error": {"message": "down"}}, text("b"))
    assert (reading.said(), str(reading.error)) == ("a", "down")


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


@pytest.mark.parametrize("make", [text, thought])
def test_a_character_in_two_deltas_is_one(make: Any) -> None:
    """Half a character waits for its other half, which comes with the next delta of its kind."""
    reading = streamed(make("Hi \ud83d"), make("\ude00!"), stop("max_tokens"))
    kind = reading.chunks[0].kind
    assert [chunk.text for chunk in reading.chunks if chunk.kind == kind] == ["Hi ", "\U0001f600!"]


def test_half_a_character_that_stays_alone_is_replaced() -> None:
    """In the chunks as in the whole answer."""
    reading = streamed(text("a\ud83d"), stop())
    assert (reading.said(), reading.answer.text) == ("a\ufffd", "a\ufffd")


def test_a_stop_reason_makes_a_stream_complete() -> None:
    """After it the answer is whole; reading goes on to the terminal event."""
    reader = AnthropicReader()
    reader.feed(events(text("a"), stop()))
    assert (reader.complete, reader.finished) == (True, False)


def test_the_terminal_event_ends_the_reading() -> None:
    """After message_stop nothing more is read, and no stop reason is needed."""
    reader = AnthropicReader()
    reader.feed(events(text("a"), STOP))
    assert (reader.complete, reader.finished, reader.feed(events(text("b")))) == (True, True, [])


@pytest.mark.parametrize("more", [b"", b"data: [DONE]\n\n", b'data: {"type": "content_block_del'])
def test_a_cut_stream_says_so(more: bytes) -> None:
    """Neither stop reason nor message_stop: a marker of another wire, as relays add it, proves nothing."""
    error = read(DIALECT, events(text("a")), more).error
    assert error is not None
    assert (error.reason, error.kind) == ("cut", ErrorKind.TRANSIENT)


def test_an_event_that_is_no_json_is_malformed() -> None:
    """One that is to bring content cannot be passed over."""
    error = read(DIALECT, b"event: content_block_delta\ndata: oops\n\n", events(stop())).error
    assert error is not None
    assert error.reason == "malformed"


def test_a_ping_may_say_anything() -> None:
    """Events that bring no content are not looked into."""
    body = b"event: ping\ndata: pong\n\n" + events(text("a"), stop())
    assert read(DIALECT, body).answer.text == "a"


def test_an_endless_body_is_refused() -> None:
    """A body that is no event stream is not kept without limit."""
    reader = AnthropicReader()
    piece = b"<" + b"x" * (1 << 20)
    for _ in range(40):
        reader.feed(piece)
    assert reader.finished
    with pytest.raises(ProviderError) as caught:
        reader.end()
    assert caught.value.reason == "malformed"
