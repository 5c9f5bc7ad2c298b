"""The gemini dialect: requests to bytes, bytes to answers, held to recorded streams however they are cut."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Message, Request, Response, Usage
from llm_failover_nb.providers import answers
from llm_failover_nb.providers.gemini import GeminiDialect
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.presets import PRESETS, WIRES
from tests.providers.raw_server import answering, chunked, http, serving
from tests.providers.reading import (
    bytewise,
    check_against_label,
    cuts,
    failures_in_a_200,
    read,
    recorded,
    summary,
)

DIALECT = GeminiDialect()
CASES = recorded("gemini")
FAILURES = failures_in_a_200("gemini")

MEMBERS = [
    *("candidates", "content", "parts", "text", "thought", "functionCall", "finishReason", "index", "error"),
    *("errors", "message", "detail", "promptFeedback", "blockReason", "usageMetadata", "promptTokenCount"),
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5),
    max_leaves=25,
)


def candidate(*parts: object, finish: str | None = None, **members: object) -> dict[str, Any]:
    said: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    return {"candidates": [said if finish is None else said | {"finishReason": finish}], **members}


def events(*messages: object) -> bytes:
    return "".join(f"data: {json.dumps(message)}\r\n\r\n" for message in messages).encode()


def array(*messages: object) -> bytes:
    return json.dumps(messages, indent=2).encode()


def answered(message: object) -> Response:
    return DIALECT.response(json.dumps(message).encode())


def refused(body: bytes) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        DIALECT.response(body)
    return caught.value


# Recorded streams


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
@pytest.mark.parametrize("cut", ["whole", "bytewise"])
def test_recorded_stream_reads_as_labelled(case: dict[str, Any], cut: str) -> None:
    """Text, tool calls, usage, finish reason and kind of error are those of the label."""
    reading = read(DIALECT, *([case["body"]] if cut == "whole" else bytewise(case["body"])))
    check_against_label(case, reading)
    if reading.error is None:
        calls = [call["functionCall"] for call in reading.answer.tool_calls]
        expected = [(call["name"], json.loads(call["arguments"])) for call in case["expect_tool_calls"]]
        assert [(call["name"], call["args"]) for call in calls] == expected  # type: ignore[index]


def test_there_are_recorded_streams() -> None:
    """The tests over them are not empty."""
    assert len(CASES) == 6


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_stream_reads_the_same_however_it_is_cut(data: st.DataObject) -> None:
    """Where the network cuts the bytes has no influence on chunks, answer and error."""
    body = data.draw(st.sampled_from([case["body"] for case in CASES]))
    places = data.draw(st.lists(st.integers(0, 1 << 16), max_size=20))
    assert summary(DIALECT, *cuts(body, places)) == summary(DIALECT, body)


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case["id"])
def test_a_failure_in_a_200_is_of_the_kind_of_its_label(case: dict[str, Any]) -> None:
    """Blocked, filtered or empty: an answer that is none is classified as labelled."""
    assert str(classify(refused(case["body"].encode()), wire="gemini").kind) == case["expect_kind"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"data: ", b"[", b"{", b""]), st.lists(st.binary(max_size=40), max_size=8))
def test_garbage_is_a_provider_error(begin: bytes, pieces: list[bytes]) -> None:
    """No bytes make the reader raise anything but a ProviderError."""
    assert isinstance(read(DIALECT, begin, *pieces).error, ProviderError)


@settings(max_examples=300, deadline=None)
@given(ANY_JSON)
def test_any_json_is_an_answer_or_a_provider_error(message: object) -> None:
    """Members of the wrong type raise nothing but a ProviderError, streamed or not."""
    read(DIALECT, events(message))
    read(DIALECT, array(message))
    try:
        answer: object = answered(message)
    except ProviderError as error:
        answer = error
    assert isinstance(answer, Response | ProviderError)


# Requests


def encoded(**fields: Any) -> tuple[str, str]:
    path, body = DIALECT.encode(Request(**{"messages": "hi", "model": "m", **fields}), stream=False)
    return path, body.decode()


def config(**fields: Any) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(encoded(**fields)[1]).get("generationConfig", {})
    return sent


def test_the_least_request_holds_nothing_unasked() -> None:
    """A bare prompt becomes contents alone: the model is named in the path."""
    expected = '{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}'
    assert encoded(model="gemini-2.5-flash") == ("/models/gemini-2.5-flash:generateContent", expected)


def test_a_stream_differs_by_its_path() -> None:
    """Server-sent events are asked for: the array needs more to be read."""
    whole, streamed = (DIALECT.encode(Request("hi", model="m"), stream=stream) for stream in (False, True))  # type: ignore[arg-type]
    assert streamed == ("/models/m:streamGenerateContent?alt=sse", whole[1])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("models/m", "/models/m"),
        ("tunedModels/mine-1", "/tunedModels/mine-1"),
        ("../../v1/x", "/models/..%2F..%2Fv1%2Fx"),
        ("models/../x", "/models/..%2Fx"),
        ("m?key=1#x", "/models/m%3Fkey%3D1%23x"),
        ("m\u00fc \ud83d", "/models/m%C3%BC%20%3F"),
    ],
)
def test_the_models_name_is_quoted(model: str, expected: str) -> None:
    """No name reaches another path, and a resource's full name is taken as it is."""
    assert encoded(model=model)[0] == f"{expected}:generateContent"


def test_every_field_has_its_place() -> None:
    """System prompt, sampling, limits and schema go where the wire has them."""
    _, body = encoded(
        messages=(Message("user", "a"), Message("assistant", "b"), Message("user", "c")),
        system="be brief",
        temperature=0.0,
        max_tokens=5,
        stop="END",
        seed=7,
        schema=MappingProxyType({"type": "object"}),
    )
    assert body == (
        '{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"b"}]},'
        '{"role":"user","parts":[{"text":"c"}]}],"systemInstruction":{"parts":[{"text":"be brief"}]},'
        '"generationConfig":{"temperature":0.0,"maxOutputTokens":5,"stopSequences":["END"],"seed":7,'
        '"responseMimeType":"application/json","responseJsonSchema":{"type":"object"}}}'
    )


def test_system_turns_join_the_instruction() -> None:
    """The API refuses them among the contents."""
    body = json.loads(encoded(messages=(Message("system", "b"), Message("user", "c")), system="a")[1])
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "c"}]}],
        "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]},
    }


def test_extra_is_merged_over_everything() -> None:
    """Extra members win; those of the generation config join the others there."""
    extra = {"generationConfig": {"temperature": 1, "topK": 3}, "safetySettings": []}
    body = json.loads(encoded(temperature=0.5, max_tokens=5, extra=extra)[1])
    assert (body["generationConfig"], body["safetySettings"]) == (
        {"temperature": 1, "maxOutputTokens": 5, "topK": 3},
        [],
    )


@pytest.mark.parametrize(
    ("fields", "dropped", "sent"),
    [
        ({"stop": tuple("abcde")}, (), {"stopSequences": list("abcde")}),
        ({"stop": tuple("abcdef")}, ("stop",), {}),
        ({"seed": 2**31 - 1}, (), {"seed": 2**31 - 1}),
        ({"seed": 2**31}, ("seed",), {}),
        ({"seed": -(2**31) - 1, "stop": tuple("abcdef")}, ("stop", "seed"), {}),
        ({"seed": np.int64(2**40)}, ("seed",), {}),
        ({"temperature": 1.0}, (), {"temperature": 1.0}),
    ],
)
def test_what_the_api_would_refuse_is_left_out_and_named(
    fields: dict[str, Any], dropped: tuple[str, ...], sent: dict[str, Any]
) -> None:
    """A request fit for one model is not sent to fail at the next."""
    assert (DIALECT.dropped(Request("hi", **fields)), config(**fields)) == (dropped, sent)  # type: ignore[arg-type]


def test_a_request_that_is_no_json_is_the_requests_own_fault() -> None:
    """What cannot be encoded is no reason to bench a model."""
    with pytest.raises(ProviderError, match="cannot be written as JSON") as caught:
        encoded(temperature=float("nan"))
    assert caught.value.kind is ErrorKind.REQUEST_SPECIFIC


# Answers


def test_a_completion_is_read_whole() -> None:
    """Text, thoughts, finish reason and usage of a plain completion."""
    message = candidate(
        {"text": "Hm", "thought": True},
        {"text": "Pa"},
        {"text": "ris"},
        finish="MAX_TOKENS",
        usageMetadata={
            "promptTokenCount": 9,
            "candidatesTokenCount": 4,
            "cachedContentTokenCount": 3,
            "thoughtsTokenCount": 2,
        },
    )
    expected = Response(text="Paris", finish_reason="MAX_TOKENS", usage=Usage(9, 4, 3, 2), reasoning="Hm")
    assert answered(message) == expected


def test_a_function_call_is_handed_on_with_its_signature() -> None:
    """The part is as the wire gives it: its signature has to go back with it."""
    part = {"functionCall": {"name": "f", "args": {"x": [1]}}, "thoughtSignature": "abc"}
    assert answered(candidate(part, finish="STOP")).tool_calls == (part,)


def test_a_completion_has_whole_characters() -> None:
    """Halves of characters are joined, or replaced, in every text of it."""
    half, whole = "\ud83d\ude00 \ud83d", "\U0001f600 \ufffd"
    call = {"functionCall": {"name": "f", "args": {"x": [half]}}}
    answer = answered(candidate({"text": half}, {"text": half, "thought": True}, call))
    assert (answer.text, answer.reasoning) == (whole, whole)
    assert answer.tool_calls == ({"functionCall": {"name": "f", "args": {"x": [whole]}}},)


def test_other_candidates_are_ignored() -> None:
    """They are alternatives that nobody asked for."""
    other = {"content": {"parts": [{"text": "b"}]}, "index": 1}
    assert answered({"candidates": [other, *candidate({"text": "a"})["candidates"]]}).text == "a"


@pytest.mark.parametrize("body", [events, array])
def test_a_stream_sent_unasked_is_read(body: Any) -> None:
    """Either form of a stream in answer to a plain request is put together."""
    assert (
        DIALECT.response(body(candidate({"text": "a"}), candidate({"text": "b"}, finish="STOP"))).text == "ab"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>login</html>",
        b'{"candidates":[{"con',
        b"null",
        b"3",
        b'"x"',
        b'{"id":1}',
        b"[1]",
        b"{" * 9999,
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    """HTML, cut JSON and JSON without the members of an answer are one transient failure."""
    error = refused(body)
    assert (error.reason, error.kind) == ("malformed", ErrorKind.TRANSIENT)


def test_a_deep_function_call_is_malformed() -> None:
    """A hostile argument cannot exhaust the stack."""
    deep = '{"x":' * 5000 + "1" + "}" * 5000
    body = f'{{"candidates":[{{"content":{{"parts":[{{"functionCall":{deep}}}]}}}}]}}'.encode()
    assert refused(body).reason == "malformed"


def test_a_function_call_too_deep_to_be_looked_through_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be read, but not be written again."""

    def write(value: object) -> str:
        raise RecursionError

    monkeypatch.setattr(answers, "_as_it_came", write)
    call = {"functionCall": {"name": "f", "args": {}}}
    reading = read(DIALECT, events(candidate({"text": "a"}), candidate(call, finish="STOP")))
    assert (reading.said(), reading.reason) == ("a", "malformed")


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("STOP", "empty"),
        ("OTHER", "empty"),
        ("FINISH_REASON_UNSPECIFIED", "empty"),
        ("SAFETY", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("MAX_TOKENS", "bad_request"),
    ],
)
def test_an_empty_answer_is_an_error(finish: str, reason: str) -> None:
    """Whose fault it is, the finish reason says."""
    assert refused(json.dumps(candidate(finish=finish)).encode()).reason == reason


def test_thoughts_alone_are_an_answer() -> None:
    """A model that only thought did not fail."""
    assert answered(candidate({"text": "hm", "thought": True}, finish="MAX_TOKENS")).reasoning == "hm"


def test_a_filter_after_some_text_is_a_finish_reason() -> None:
    """The text is out: the answer says why it ends."""
    reading = read(DIALECT, events(candidate({"text": "First"}), candidate(finish="SAFETY")))
    assert (reading.answer.text, reading.answer.finish_reason) == ("First", "SAFETY")


def test_a_blocked_prompt_names_the_reason() -> None:
    """The provider's own word is in the message and the code."""
    error = refused(b'{"promptFeedback":{"blockReason":"BLOCKLIST"}}')
    assert (error.reason, error.code, "BLOCKLIST" in error.message) == ("content_filter", "BLOCKLIST", True)


# Errors


def test_what_an_error_means_is_left_to_classify() -> None:
    """A provider's own error carries no kind."""
    error = refused(b'[{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}]')
    assert (error.kind, error.status, error.message) == (None, 429, "slow down")


@pytest.mark.parametrize("body", [events, array])
def test_the_text_before_an_error_comes_first(body: Any) -> None:
    """Text and error in one read: the text is handed out, then the error is raised."""
    reading = read(
        DIALECT, body(candidate({"text": "a"}), {"error": {"message": "down"}}, candidate({"text": "b"}))
    )
    assert (reading.said(), str(reading.error)) == ("a", "down")


def test_an_error_event_is_an_error() -> None:
    """Whatever its data, plain text too."""
    assert str(read(DIALECT, b"event: error\ndata: overloaded\n\n").error) == "overloaded"


def test_a_plain_error_body_for_a_stream_is_an_error() -> None:
    """Answered without a stream, and with a status of success."""
    reading = read(DIALECT, b'{\n "error": {\n  "code": 503,\n  "message": "overloaded"\n }\n}\n')
    assert (str(reading.error), reading.error and reading.error.status) == ("overloaded", 503)


# Streams


@pytest.mark.parametrize("body", [events, array])
def test_kinds_of_chunks_are_kept_apart(body: Any) -> None:
    """Thoughts, text and calls come in order, then the done chunk with all of it."""
    call = {"functionCall": {"name": "f", "args": {}}}
    reading = read(
        DIALECT,
        body(
            candidate({"text": "hm", "thought": True}, {"text": "a"}),
            candidate(call, finish="STOP"),
            {"usageMetadata": {"promptTokenCount": 5}},
        ),
    )
    assert [(chunk.kind, chunk.text, chunk.tool) for chunk in reading.chunks] == [
        ("reasoning", "hm", None),
        ("text", "a", None),
        ("tool", "", call),
        ("done", "", None),
    ]
    assert reading.answer == Response(
        text="a", finish_reason="STOP", usage=Usage(5), reasoning="hm", tool_calls=(call,)
    )


def test_the_last_usage_counts() -> None:
    """Each part reports what was counted so far; one that does not takes nothing back."""
    first, second = ({"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": n}} for n in (1, 2))
    reading = read(DIALECT, events(candidate({"text": "a"}, **first), second, candidate(finish="STOP")))
    assert reading.answer.usage == Usage(5, 2)


def test_a_whole_answer_in_place_of_a_stream_is_taken_as_one() -> None:
    """A relay that does not stream gives the chunks of a stream all the same."""
    reading = read(DIALECT, json.dumps(candidate({"text": "a"}, finish="STOP")).encode())
    assert [(chunk.kind, chunk.text) for chunk in reading.chunks] == [("text", "a"), ("done", "")]


@pytest.mark.parametrize(
    "body",
    [
        events(candidate({"text": "a"})),
        events(candidate({"text": "a"})) + b"data: [DONE]\n\n",
        events(candidate({"text": "a"})) + b'data: {"candidates":[{"finishRea',
        array(candidate({"text": "a"})),
        array(candidate({"text": "a"}), candidate({"text": "b"}, finish="STOP"))[:-60],
    ],
)
def test_only_a_finish_reason_makes_a_stream_complete(body: bytes) -> None:
    """The wire has no other marker: one that a relay adds, or the array's end, proves nothing."""
    reading = read(DIALECT, body)
    assert (reading.said(), reading.reason) == ("a", "cut")


def test_a_connection_may_break_after_the_finish_reason() -> None:
    """The array's own end is not waited for."""
    reader = DIALECT.reader()
    reader.feed(array(candidate({"text": "a"}, finish="STOP"))[:-1])
    assert (reader.complete, reader.finished, len(reader.end())) == (True, False, 1)


def test_a_character_in_two_parts_is_one() -> None:
    """Half a character waits for its other half."""
    reading = read(
        DIALECT, events(candidate({"text": "Hi \ud83d"}), candidate({"text": "\ude00!"}, finish="STOP"))
    )
    assert [chunk.text for chunk in reading.chunks] == ["Hi ", "\U0001f600!", ""]


def test_an_element_of_the_array_that_is_no_json_is_malformed() -> None:
    """After the text before it."""
    reading = read(DIALECT, array(candidate({"text": "a"}))[:-2] + b",{x}]")
    assert (reading.said(), reading.reason) == ("a", "malformed")


# Over a socket


def test_a_call_sends_these_bytes() -> None:
    """Path, key and body of a plain call, and the answer to it."""
    body = json.dumps(candidate({"text": "hello"}, finish="STOP")).encode()
    with serving(answering(http(body))) as server:
        provider = HTTPProvider("g", dialect=DIALECT, base_url=server.url, api_key=Secret("k-canary-gemini"))
        answer = provider.complete(Request("hi", model="a/b"))  # type: ignore[arg-type]
        provider.close()
    (sent,) = server.requests
    assert (answer.text, sent.line) == ("hello", "POST /v1/models/a%2Fb:generateContent HTTP/1.1")
    assert sent.body == b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}'
    assert (sent.headers["x-goog-api-key"], sent.headers.get("authorization")) == ("k-canary-gemini", None)


def test_a_stream_is_asked_for_and_read() -> None:
    """The query of the stream goes out, and its events come in."""
    pieces = (events(candidate({"text": "a"})), events(candidate({"text": "b"}, finish="STOP")))
    with serving(answering(chunked(*pieces))) as server:
        provider = HTTPProvider("g", dialect=DIALECT, base_url=server.url)
        texts = [chunk.text for chunk in provider.stream(Request("hi", model="m"))]  # type: ignore[arg-type]
        provider.close()
    assert server.requests[0].line == "POST /v1/models/m:streamGenerateContent?alt=sse HTTP/1.1"
    assert texts == ["a", "b", ""]


def test_a_refusal_keeps_its_status() -> None:
    """An error comes with status and body, for classify."""
    body = '{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}'
    error = DIALECT.failure(400, {}, body)
    assert (error.status, error.message, error.body) == (400, "API key not valid", body)


def test_the_preset_speaks_this_wire() -> None:
    """As Google documents it, and under the name that an endpoint of one's own can give."""
    preset = PRESETS["gemini"]
    address = "https://generativelanguage.googleapis.com/v1beta"
    assert (preset.base_url, preset.key_env) == (address, "GEMINI_API_KEY")
    assert preset.dialect == WIRES["gemini"] == DIALECT
