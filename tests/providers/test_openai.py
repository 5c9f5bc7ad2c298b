"""The openai dialect: requests to bytes, bytes to answers, held to recorded streams however they are cut."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Chunk, Message, Request, Response, Usage
from llm_failover_nb.providers.openai import OpenAIDialect, OpenAIReader, read_response

CORPUS = Path(__file__).parents[1] / "corpus"
CASES = [json.loads(line) for line in (CORPUS / "streams.jsonl").read_text("utf-8").strip().split("\n")]
CASES = [case for case in CASES if case["wire"] == "openai"]
BODIES = {case["id"]: (CORPUS / case["file"]).read_bytes() for case in CASES}

DIALECT = OpenAIDialect()

MEMBERS = [
    *("choices", "delta", "message", "content", "error", "index", "tool_calls", "function", "arguments"),
    *("usage", "cost", "finish_reason", "reasoning", "refusal", "prompt_tokens_details", "code", "status"),
    *("type", "text", "thinking"),
]


@dataclass
class Reading:
    """What a reader made of a stream."""

    chunks: list[Chunk] = field(default_factory=list)
    error: ProviderError | None = None

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks if chunk.kind == "text")

    @property
    def answer(self) -> Response:
        assert self.error is None, self.error
        assert self.chunks[-1].response is not None
        return self.chunks[-1].response


def read(pieces: list[bytes]) -> Reading:
    """Read a stream that arrives in ``pieces``, the way the provider does."""
    reader, reading = OpenAIReader(), Reading()
    for piece in pieces:
        reading.chunks += reader.feed(piece)
        if reader.finished:
            break
    try:
        reading.chunks += reader.end()
    except ProviderError as error:
        reading.error = error
    return reading


def summary(pieces: list[bytes]) -> object:
    """All of a reading that must not depend on how the bytes were cut."""
    reading = read(pieces)
    error = reading.error and (
        str(reading.error),
        reading.error.status,
        reading.error.code,
        reading.error.body,
    )
    kinds = [(chunk.kind, chunk.text, chunk.tool) for chunk in reading.chunks]
    return kinds, error, None if reading.error else reading.answer


def events(*messages: object, done: bool = True) -> bytes:
    """An event stream of JSON messages, with its terminal marker."""
    lines = [f"data: {json.dumps(message)}\n\n" for message in messages]
    return "".join([*lines, "data: [DONE]\n\n"] if done else lines).encode()


def delta(finish: str | None = None, **said: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def cuts(body: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[a:b] for a, b in itertools.pairwise(edges)]


def expected_usage(case: dict[str, Any]) -> dict[str, int]:
    return case["expect_usage"] or {}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
@pytest.mark.parametrize("cut", ["whole", "bytewise"])
def test_recorded_stream_reads_as_labelled(case: dict[str, Any], cut: str) -> None:
    """Text, reasoning, tool calls, usage, finish reason and kind of error are those of the label."""
    body = BODIES[case["id"]]
    reading = read([body] if cut == "whole" else [body[i : i + 1] for i in range(len(body))])
    kind = str(classify(reading.error).kind) if reading.error else None
    assert reading.text == case["expect_text"]
    if case["contested"] and kind != case["expect_error_kind"]:
        assert kind == case["contested_alt"]
    else:
        assert kind == case["expect_error_kind"]
    if reading.error is not None:
        return
    answer = reading.answer
    calls = [{"id": call["id"], **call["function"]} for call in answer.tool_calls]  # type: ignore[dict-item]
    usage = {name: getattr(answer.usage, name) for name in expected_usage(case)}
    assert answer.text == case["expect_text"]
    assert answer.finish_reason == case["expect_finish_reason"]
    assert calls == case.get("expect_tool_calls", [])
    assert usage == expected_usage(case)
    if "expect_reasoning" in case:
        assert answer.reasoning.startswith(case["expect_reasoning"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_an_error_before_the_first_text_leaves_no_content(case: dict[str, Any]) -> None:
    """A stream that is labelled as failing before its text hands out no chunk at all."""
    reading = read([BODIES[case["id"]]])
    content = [chunk for chunk in reading.chunks if chunk.kind != "done"]
    assert (reading.error is not None and not content) == case["error_before_first_text"]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_stream_reads_the_same_however_it_is_cut(data: st.DataObject) -> None:
    """Where the network cuts the bytes has no influence on chunks, answer and error."""
    body = data.draw(st.sampled_from(sorted(BODIES.values())))
    ending = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", ending)
    places = data.draw(st.lists(st.integers(0, 1 << 16), max_size=20))
    assert summary(cuts(body, places)) == summary([body])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_garbage_is_a_provider_error(pieces: list[bytes]) -> None:
    """No bytes make the reader raise anything but a ProviderError."""
    assert isinstance(read([b"data: ", *pieces]).error, ProviderError)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(MEMBERS),
                inner,
                max_size=5,
            )
        ),
        max_leaves=25,
    )
)
def test_any_json_is_an_answer_or_a_provider_error(message: object) -> None:
    """Members of the wrong type raise nothing but a ProviderError, streamed or not."""
    read([events(message)])
    body = json.dumps(message).encode()
    try:
        answer: object = read_response(body)
    except ProviderError as error:
        answer = error
    assert isinstance(answer, Response | ProviderError)


# Requests


def encoded(dialect: OpenAIDialect = DIALECT, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    request = Request(**{"messages": "hi", "model": "m", **fields})
    return json.loads(dialect.encode(request, stream=stream)[1])


def test_the_least_request_holds_nothing_unasked() -> None:
    """A bare prompt becomes model, messages and the stream flag."""
    body = encoded()
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": False}


def test_the_path_is_that_of_chat_completions() -> None:
    """The path is relative to the base URL, which holds the version."""
    assert DIALECT.encode(Request("hi"), stream=False)[0] == "/chat/completions"  # type: ignore[arg-type]


def test_every_field_has_its_place() -> None:
    """System prompt, sampling, limits and schema go where the wire has them."""
    body = encoded(
        messages=(Message("user", "a"), Message("assistant", "b")),
        system="be brief",
        temperature=0.0,
        max_tokens=5,
        stop="END",
        seed=7,
        schema=MappingProxyType({"type": "object"}),
    )
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ],
        "temperature": 0.0,
        "max_tokens": 5,
        "stop": ["END"],
        "seed": 7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}},
        },
        "stream": False,
    }


def test_a_stream_asks_for_its_usage() -> None:
    """A streamed request asks for the usage chunk."""
    body = encoded(stream=True)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_extra_is_merged_over_everything_but_the_stream_flag() -> None:
    """Extra members win, except over the one that says how the answer is to be read."""
    body = encoded(temperature=1, extra={"temperature": 0.5, "top_k": 3, "stream": True})
    assert (body["temperature"], body["top_k"], body["stream"]) == (0.5, 3, False)


def test_a_dialect_may_name_members_otherwise() -> None:
    """Servers that use other names for the limit, the seed and the key get them."""
    dialect = OpenAIDialect(
        key_header="api-key",
        key_prefix="",
        max_tokens_member="max_completion_tokens",
        seed_member="random_seed",
        stream_usage=False,
    )
    body = encoded(dialect, stream=True, max_tokens=1, seed=2)
    assert dialect.auth("k") == {"api-key": "k"}
    assert {"max_completion_tokens": 1, "random_seed": 2}.items() <= body.items()
    assert "stream_options" not in body


@pytest.mark.parametrize(
    "extra", [{"x": float("nan")}, {"x": np.float32("nan")}, {"x": object()}, {"x": b"bytes"}]
)
def test_a_request_that_is_no_json_is_the_requests_own_fault(extra: dict[str, object]) -> None:
    """What cannot be encoded is no reason to bench a model."""
    with pytest.raises(ProviderError, match="cannot be written as JSON") as caught:
        encoded(extra=extra)
    assert caught.value.kind is ErrorKind.REQUEST_SPECIFIC


@pytest.mark.parametrize(
    ("given", "expected"), [(np.int64(5), 5), (np.float32(0.5), 0.5), (Fraction(1, 4), 0.25), (True, True)]
)
def test_any_number_is_a_number(given: Any, expected: float) -> None:
    """Settings that come from a NumPy array or a DataFrame are sent as what they are."""
    assert repr(encoded(max_tokens=given)["max_tokens"]) == repr(expected)


def test_a_lone_surrogate_in_the_prompt_is_replaced() -> None:
    """A prompt with half a character, as broken text files give, still goes out as UTF-8."""
    assert encoded(messages="a\ud83d!")["messages"][0]["content"] == "a?!"


# Answers


def completion(**message: object) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


def test_a_completion_is_read_whole() -> None:
    """Text, reasoning, finish reason, usage and cost of a plain completion."""
    body = {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Paris", "reasoning": "Hm"},
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "cost": 0.5,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    expected = Response(
        text="Paris",
        finish_reason="length",
        usage=Usage(9, 4, 3, 2, 0.5),
        cost=0.5,
        reasoning="Hm",
    )
    assert read_response(json.dumps(body).encode()) == expected


def test_the_tool_calls_of_a_completion_are_handed_on() -> None:
    """Tool calls keep their id, type and function."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    other = {"id": "2", "type": "function", "function": {"name": "f", "arguments": "[]"}}
    assert read_response(completion(content=None, tool_calls=[call, other])).tool_calls == (call, other)


def test_a_refusal_is_what_the_model_said() -> None:
    """A refusal is text: the caller asked, and this is the answer."""
    assert read_response(completion(content=None, refusal="I cannot.")).text == "I cannot."


def test_thoughts_in_parts_are_reasoning() -> None:
    """Content as a list of parts is split into text and thoughts."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "yes"},
    ]
    answer = read_response(completion(content=parts))
    assert (answer.text, answer.reasoning) == ("yes", "hm")


def test_a_completion_has_whole_characters() -> None:
    """Halves of characters in a completion are joined, or replaced, in every text of it."""
    call = {"id": "1", "function": {"name": "f", "arguments": "\ud83d\ude00 \ud83d"}}
    answer = read_response(completion(content="\ud83d\ude00 \ud83d", reasoning="\ude00", tool_calls=[call]))
    whole = "\U0001f600 \ufffd"
    assert (answer.text, answer.reasoning) == (whole, "\ufffd")
    assert answer.tool_calls[0]["function"] == {"name": "f", "arguments": whole}


@pytest.mark.parametrize("finish", ["null", "None", ""])
def test_a_finish_reason_that_says_null_is_none(finish: str) -> None:
    """Some servers write the missing reason as a word."""
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": finish}]}
    assert read_response(json.dumps(body).encode()).finish_reason is None


def test_a_stream_sent_unasked_is_read() -> None:
    """An event stream in answer to a plain request is put together."""
    assert read_response(events(delta(content="a"), delta("stop", content="b"))).text == "ab"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>login</html>", b'{"choices":[{"mess', b"[]", b"null", b"3", b'{"choices":[]}', b'{"id":1}'],
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    """HTML, cut JSON and JSON without choices are one transient failure."""
    with pytest.raises(ProviderError) as caught:
        read_response(body)
    assert (caught.value.reason, caught.value.kind) == ("malformed", ErrorKind.TRANSIENT)


def test_deep_json_is_malformed() -> None:
    """A hostile body cannot exhaust the stack."""
    with pytest.raises(ProviderError) as caught:
        read_response(b"[" * 200_000)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("finish", "reason"), [("stop", "empty"), ("content_filter", "content_filter"), (None, "empty")]
)
def test_an_empty_answer_is_an_error(finish: str | None, reason: str) -> None:
    """Nothing but a stop is a fault, and nothing but a filter is the filter's."""
    body = {"choices": [{"message": {"content": ""}, "finish_reason": finish}]}
    with pytest.raises(ProviderError) as caught:
        read_response(json.dumps(body).encode())
    assert caught.value.reason == reason


@pytest.mark.parametrize("finish", ["length", "tool_calls"])
def test_an_empty_answer_may_be_meant(finish: str) -> None:
    """A limit reached before the first word explains the silence."""
    body = {"choices": [{"message": {"content": ""}, "finish_reason": finish}]}
    assert read_response(json.dumps(body).encode()).finish_reason == finish


def test_reasoning_alone_is_an_answer() -> None:
    """A model that only thought did not fail."""
    assert read_response(completion(content="", reasoning_content="hm")).reasoning == "hm"


# Errors


def test_what_an_error_means_is_left_to_classify() -> None:
    """A provider's own error carries no kind."""
    with pytest.raises(ProviderError) as caught:
        read_response(b'{"error":{"message":"no","code":"insufficient_quota"}}')
    assert (caught.value.kind, caught.value.code) == (None, "insufficient_quota")


def test_an_error_inside_a_choice_is_found() -> None:
    """An error reported as a choice is an error, with the status it names."""
    body = {"choices": [{"error": {"message": "x", "code": 429}, "finish_reason": "error", "message": {}}]}
    with pytest.raises(ProviderError) as caught:
        read_response(json.dumps(body).encode())
    assert (caught.value.message, caught.value.status) == ("x", 429)


def test_the_text_before_an_error_comes_first() -> None:
    """Text and error in one read: the text is handed out, then the error is raised."""
    reading = read([events(delta(content="a"), {"error": "down"}, delta(content="b"))])
    assert (reading.text, str(reading.error)) == ("a", "down")


def test_an_endless_body_is_refused() -> None:
    """A body that is no event stream is not kept without limit."""
    reader = OpenAIReader()
    piece = b"<" + b"x" * (1 << 20)
    for _ in range(40):
        reader.feed(piece)
    assert reader.finished
    with pytest.raises(ProviderError) as caught:
        reader.end()
    assert caught.value.reason == "malformed"


def test_an_oversized_event_keeps_the_text_before_it() -> None:
    """A line over the limit is malformed, after what came before it."""
    reading = read([events(delta(content="a"), done=False) + b"data: " + b"x" * (5 << 20)])
    assert (reading.text, reading.error and reading.error.reason) == ("a", "malformed")


# Streams


def test_kinds_of_chunks_are_kept_apart() -> None:
    """Reasoning, text and tool deltas come in order, then the done chunk with all of it."""
    call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
    chunks = read(
        [
            events(
                delta(reasoning_content="hm"),
                delta(content="a"),
                delta("tool_calls", content="b", tool_calls=[call]),
            )
        ]
    ).chunks
    assert [(chunk.kind, chunk.text, chunk.tool) for chunk in chunks] == [
        ("reasoning", "hm", None),
        ("text", "a", None),
        ("text", "b", None),
        ("tool", "", call),
        ("done", "", None),
    ]


def test_tool_deltas_without_an_index_belong_to_their_id() -> None:
    """Servers that leave the index out are followed by id, and by order."""
    body = events(
        delta(tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{"}}]),
        delta(tool_calls=[{"function": {"arguments": "}"}}]),
        delta("tool_calls", tool_calls=[{"id": "2", "function": {"name": "g", "arguments": {"x": 1}}}]),
    )
    calls = read([body]).answer.tool_calls
    assert [(call["id"], call["function"]) for call in calls] == [
        ("1", {"name": "f", "arguments": "{}"}),
        ("2", {"name": "g", "arguments": '{"x":1}'}),
    ]


def test_the_last_usage_counts() -> None:
    """Of several usage reports, as some servers send with each chunk, the last one is meant."""
    body = events(
        {"usage": {"prompt_tokens": 1}}, delta("stop", content="x") | {"usage": {"prompt_tokens": 5}}
    )
    assert read([body]).answer.usage == Usage(input_tokens=5)


@pytest.mark.parametrize("member", ["content", "reasoning_content"])
def test_a_character_in_two_deltas_is_one(member: str) -> None:
    """Half a character waits for its other half, which comes with the next delta of its kind."""
    chunks = read(
        [
            events(
                delta(**{member: "Hi \ud83d"}),
                delta(tool_calls=[{"index": 0, "function": {"name": "f"}}]),
                delta(**{member: "\ude00!"}),
                delta("stop", content="."),
            )
        ]
    ).chunks
    kind = "text" if member == "content" else "reasoning"
    assert [chunk.text for chunk in chunks if chunk.kind == kind][:2] == ["Hi ", "\U0001f600!"]


def test_half_a_character_alone_is_no_chunk() -> None:
    """Nothing can be shown of it yet."""
    reader = OpenAIReader()
    assert reader.feed(events(delta(content="\ud83d"), done=False)) == []


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a\ud83d", "b"], "a\ufffdb"),
        (["a", "\ude00b"], "a\ufffdb"),
        (["\ud83d", "\ud83d", "\ude00"], "\ufffd\U0001f600"),
        (["a\ud83d"], "a\ufffd"),
    ],
)
def test_half_a_character_that_stays_alone_is_replaced(pieces: list[str], expected: str) -> None:
    """In the chunks as in the whole answer."""
    reading = read([events(*(delta(content=piece) for piece in pieces))])
    assert (reading.text, reading.answer.text) == (expected, expected)


@given(st.lists(st.text(max_size=4), max_size=6), st.booleans())
def test_no_stream_has_half_a_character(pieces: list[str], escaped: bool) -> None:
    """Cut wherever, escaped or not, the text is that of the pieces joined."""
    halves = "".join(pieces).encode("utf-16-le")
    cut = [halves[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(halves), 2)]
    said = cut if escaped else pieces
    lines = [f"data: {json.dumps(delta(content=text), ensure_ascii=escaped)}\n\n" for text in said]
    body = "".join([*lines, events(delta("length")).decode()]).encode()
    assert read([body]).answer.text == "".join(pieces)


@pytest.mark.parametrize("finish", ["null", "None", ""])
def test_a_finish_reason_that_says_null_completes_nothing(finish: str) -> None:
    """A stream that breaks off after it was cut."""
    error = read([events(delta(finish, content="x"), done=False)]).error
    assert error is not None
    assert error.reason == "cut"


def test_text_beside_something_else_is_read_with_it() -> None:
    """An event of the most common shape but for one member is not taken for one of that shape."""
    body = events(
        delta(content="a") | {"usage": {"prompt_tokens": 5}},
        {"choices": [{"index": 1, "delta": {"content": "another choice"}}]},
        delta("length", content="b"),
    )
    answer = read([body]).answer
    assert (answer.text, answer.usage.input_tokens, answer.finish_reason) == ("ab", 5, "length")


@pytest.mark.parametrize(
    "message",
    [
        delta(content="a") | {"error": "down"},
        delta(content="a") | {"errors": ["down"]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "error": {"message": "down"}}]},
    ],
)
def test_an_error_beside_a_text_is_an_error(message: dict[str, Any]) -> None:
    """Wherever in the event it stands."""
    assert str(read([events(message)]).error) == "down"


def test_a_finish_reason_makes_a_stream_complete() -> None:
    """After the finish reason the answer is whole; reading goes on for the usage."""
    reader = OpenAIReader()
    reader.feed(events(delta("stop", content="x"), done=False))
    assert (reader.complete, reader.finished) == (True, False)


def test_the_terminal_marker_ends_the_reading() -> None:
    """After [DONE] nothing more is read."""
    reader = OpenAIReader()
    reader.feed(events(delta(content="x")))
    assert (reader.finished, reader.feed(events(delta(content="y")))) == (True, [])


def test_a_cut_event_is_no_garbage() -> None:
    """JSON that ends with the stream was cut off, not malformed."""
    error = read([BODIES["eof-mid-json"]]).error
    assert error is not None
    assert error.reason == "cut"


def test_a_cut_stream_says_so() -> None:
    """Neither finish reason nor marker: the stream was cut."""
    error = read([events(delta(content="x"), done=False)]).error
    assert error is not None
    assert (error.reason, error.kind) == ("cut", ErrorKind.TRANSIENT)
