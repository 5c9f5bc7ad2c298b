"""The gemini dialect: requests to bytes, bytes to answers. What all wires share is in ``test_reader``."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Message, Request, Response, Usage
from llm_failover_nb.providers import answers
from llm_failover_nb.providers.gemini import GeminiDialect
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.presets import PRESETS, WIRES
from tests.providers.raw_server import answering, chunked, http, serving
from tests.providers.reading import array, read, refused
from tests.providers.reading import sse as events

DIALECT = GeminiDialect()


def candidate(*parts: object, finish: str | None = None, **members: object) -> dict[str, Any]:
    said: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    return {"candidates": [said if finish is None else said | {"finishReason": finish}], **members}


def answered(message: object) -> Response:
    return DIALECT.response(json.dumps(message).encode())


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
        ({"temperature": 0}, (), {"temperature": 0}),
        ({"temperature": 2.0}, (), {"temperature": 2.0}),
        ({"temperature": 2.1}, ("temperature",), {}),
        ({"temperature": -0.1}, ("temperature",), {}),
        ({"temperature": np.float32(3)}, ("temperature",), {}),
        ({"schema": {}, "model": "gemma-3-27b-it"}, ("schema",), {}),
        ({"schema": {}, "model": "models/gemma-3n-e4b-it"}, ("schema",), {}),
        (
            {"schema": {}, "model": "gemini-2.5-flash"},
            (),
            {"responseMimeType": "application/json", "responseJsonSchema": {}},
        ),
    ],
)
def test_what_the_api_would_refuse_is_left_out_and_named(
    fields: dict[str, Any], dropped: tuple[str, ...], sent: dict[str, Any]
) -> None:
    """A request fit for one model is not sent to fail at the next."""
    assert (DIALECT.dropped(Request("hi", **fields)), config(**fields)) == (dropped, sent)  # type: ignore[arg-type]


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
    expected = Response(
        text="Paris", finish_reason="MAX_TOKENS", usage=Usage(9, 4, 3, 2), reasoning="Hm", finish="length"
    )
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


def test_a_deep_function_call_is_malformed() -> None:
    """A hostile argument cannot exhaust the stack."""
    deep = '{"x":' * 5000 + "1" + "}" * 5000
    body = f'{{"candidates":[{{"content":{{"parts":[{{"functionCall":{deep}}}]}}}}]}}'.encode()
    assert refused(DIALECT, body).reason == "malformed"


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
    assert refused(DIALECT, json.dumps(candidate(finish=finish)).encode()).reason == reason


def test_a_filter_after_some_text_is_a_finish_reason() -> None:
    """The text is out: the answer says why it ends."""
    reading = read(DIALECT, events(candidate({"text": "First"}), candidate(finish="SAFETY")))
    assert (reading.answer.text, reading.answer.finish_reason) == ("First", "SAFETY")


def test_a_blocked_prompt_names_the_reason() -> None:
    """The provider's own word is in the message and the code."""
    error = refused(DIALECT, b'{"promptFeedback":{"blockReason":"BLOCKLIST"}}')
    assert (error.reason, error.code, "BLOCKLIST" in error.message) == ("content_filter", "BLOCKLIST", True)


# Errors


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
        text="a", finish_reason="STOP", usage=Usage(5), reasoning="hm", tool_calls=(call,), finish="stop"
    )


def test_the_last_usage_counts() -> None:
    """Each part reports what was counted so far; one that does not takes nothing back."""
    first, second = ({"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": n}} for n in (1, 2))
    reading = read(DIALECT, events(candidate({"text": "a"}, **first), second, candidate(finish="STOP")))
    assert reading.answer.usage == Usage(5, 2)


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
