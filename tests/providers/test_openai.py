"""The openai dialect: requests to bytes, bytes to answers. What all wires share is in ``test_reader``."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Message, Request, Response, Usage
from llm_failover_nb.providers.openai import OpenAIDialect, Refusal
from tests.providers.reading import Message as Json
from tests.providers.reading import Reading, read, refused, sse

DIALECT = OpenAIDialect()


def events(*messages: Json, done: bool = True) -> bytes:
    """An event stream of JSON messages, with its terminal marker."""
    return sse(*messages) + b"data: [DONE]\n\n" * done


def delta(finish: str | None = None, **said: object) -> Json:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def streamed(*messages: Json, done: bool = True) -> Reading:
    return read(DIALECT, events(*messages, done=done))


def answered(message: object) -> Response:
    return DIALECT.response(json.dumps(message).encode())


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
        completion_tokens=re.compile("m"),
        seed_member="random_seed",
        stream_usage=False,
    )
    body = encoded(dialect, stream=True, max_tokens=1, seed=2)
    assert dialect.auth("k") == {"api-key": "k"}
    assert {"max_completion_tokens": 1, "random_seed": 2}.items() <= body.items()
    assert "stream_options" not in body


def dropped(dialect: OpenAIDialect, **fields: Any) -> tuple[str, ...]:
    return dialect.dropped(Request(**{"messages": "hi", "model": "m", **fields}))


EVERYTHING = {"temperature": 1, "max_tokens": 5, "stop": "END", "seed": 7, "schema": {"type": "object"}}


def test_a_server_of_ones_own_is_sent_everything() -> None:
    """What it refuses is not known."""
    fields = EVERYTHING | {"temperature": 9, "stop": ["\n"] * 9}
    assert (dropped(DIALECT, **fields), len(encoded(**fields))) == ((), 8)


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_no_model_takes_is_left_out(name: str) -> None:
    """Of all fields one, and nothing beside it."""
    dialect = OpenAIDialect(never=frozenset({name}))
    assert dropped(dialect, **EVERYTHING) == (name,)
    member = {"schema": "response_format"}.get(name, name)
    assert encoded(**EVERYTHING).keys() - encoded(dialect, **EVERYTHING).keys() == {member}


def test_what_was_not_given_is_not_dropped() -> None:
    """The note in the record names what was asked for."""
    assert dropped(OpenAIDialect(never=frozenset(EVERYTHING))) == ()


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(-0.1, True), (0, False), (1.5, False), (1.6, True), (np.float32(2), True), (np.int64(1), False)],
)
def test_a_temperature_out_of_range_is_left_out(temperature: Any, expected: bool) -> None:
    """Both ends of the range are in it."""
    dialect = OpenAIDialect(temperatures=(0.0, 1.5))
    assert ("temperature" not in encoded(dialect, temperature=temperature)) == expected
    assert dropped(dialect, temperature=temperature) == ("temperature",) * expected


@pytest.mark.parametrize(("stops", "expected"), [(4, ()), (5, ("stop",))])
def test_too_many_stop_texts_are_left_out(stops: int, expected: tuple[str, ...]) -> None:
    """All of them: which ones matter is not known."""
    dialect = OpenAIDialect(most_stops=4)
    assert dropped(dialect, stop=["END"] * stops) == expected
    assert ("stop" in encoded(dialect, stop=["END"] * stops)) == (not expected)


THINKS = re.compile("thinker")


@pytest.mark.parametrize(
    ("model", "effort", "asked", "expected"),
    [
        ("thinker-2", None, None, True),
        ("thinker-2", None, "none", True),
        ("a-thinker", None, None, False),
        ("thinker-2", "none", None, False),
        ("thinker-2", "none", "low", True),
        ("thinker-2", "medium", None, True),
        ("thinker-2", "medium", "none", False),
    ],
)
def test_a_refusal_is_of_some_models_and_some_efforts(
    model: str, effort: str | None, asked: str | None, expected: bool
) -> None:
    """A model that may think or not takes the field as long as it does not."""
    dialect = OpenAIDialect(refusals=(Refusal(frozenset({"temperature"}), THINKS, effort),))
    extra = {} if asked is None else {"reasoning_effort": asked}
    body = encoded(dialect, model=model, temperature=1, seed=7, extra=extra)
    assert ("temperature" not in body, body["seed"]) == (expected, 7)


def test_the_limit_has_its_newer_name_for_some_models() -> None:
    """They refuse the older one."""
    dialect = OpenAIDialect(completion_tokens=THINKS)
    assert encoded(dialect, model="thinker", max_tokens=5)["max_completion_tokens"] == 5
    assert encoded(dialect, model="talker", max_tokens=5)["max_tokens"] == 5


def test_what_extra_says_is_sent_as_it_is() -> None:
    """Also where it is a field that is left out."""
    dialect = OpenAIDialect(never=frozenset({"temperature"}))
    assert encoded(dialect, temperature=0, extra={"temperature": 1})["temperature"] == 1


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


def completion(finish: str | None = "stop", **message: object) -> Json:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def test_a_completion_is_read_whole() -> None:
    """Text, reasoning, finish reason, usage and cost of a plain completion."""
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "cost": 0.5,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    expected = Response(
        text="Paris",
        finish_reason="length",
        usage=Usage(9, 4, 3, 2, 0.5),
        cost=0.5,
        reasoning="Hm",
        finish="length",
    )
    assert answered(completion("length", content="Paris", reasoning="Hm") | {"usage": usage}) == expected


def test_the_tool_calls_of_a_completion_are_handed_on() -> None:
    """Tool calls keep their id, type and function."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    other = {"id": "2", "type": "function", "function": {"name": "f", "arguments": "[]"}}
    assert answered(completion(content=None, tool_calls=[call, other])).tool_calls == (call, other)


def test_tool_calls_without_an_id_are_as_many_as_there_are() -> None:
    """In a completion each is whole: none is taken for a piece of the one before."""
    call = {"function": {"name": "f", "arguments": "{}"}}
    assert len(answered(completion(content=None, tool_calls=[call, call])).tool_calls) == 2


def test_a_refusal_is_what_the_model_said() -> None:
    """A refusal is text: the caller asked, and this is the answer."""
    assert answered(completion(content=None, refusal="I cannot.")).text == "I cannot."


def test_thoughts_in_parts_are_reasoning() -> None:
    """Content as a list of parts is split into text and thoughts."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "yes"},
    ]
    answer = answered(completion(content=parts))
    assert (answer.text, answer.reasoning) == ("yes", "hm")


def test_a_completion_has_whole_characters() -> None:
    """Halves of characters in a completion are joined, or replaced, in every text of it."""
    call = {"id": "1", "function": {"name": "f", "arguments": "\ud83d\ude00 \ud83d"}}
    answer = answered(completion(content="\ud83d\ude00 \ud83d", reasoning="\ude00", tool_calls=[call]))
    whole = "\U0001f600 \ufffd"
    assert (answer.text, answer.reasoning) == (whole, "\ufffd")
    assert answer.tool_calls[0]["function"] == {"name": "f", "arguments": whole}


@pytest.mark.parametrize("finish", ["null", "None", ""])
def test_a_finish_reason_that_says_null_is_none(finish: str) -> None:
    """Some servers write the missing reason as a word."""
    answer = answered(completion(finish, content="x"))
    assert (answer.finish_reason, answer.finish) == (None, "")


@pytest.mark.parametrize("body", [b"[]", b'{"choices":[]}', b'{"choices":[{"message":"hi"}]}'])
def test_an_answer_without_a_choice_is_malformed(body: bytes) -> None:
    """Nothing was answered, not even that nothing is to be said."""
    assert refused(DIALECT, body).reason == "malformed"


def test_an_empty_answer_for_a_filter_is_the_filters() -> None:
    """What it left is nothing, and asking again leaves nothing again."""
    error = refused(DIALECT, json.dumps(completion("content_filter", content="")).encode())
    assert (error.reason, error.kind) == ("content_filter", ErrorKind.REQUEST_SPECIFIC)


@pytest.mark.parametrize("finish", ["length", "model_length", "tool_calls", "function_call"])
def test_an_empty_answer_may_be_meant(finish: str) -> None:
    """A limit reached before the first word explains the silence."""
    assert answered(completion(finish, content="")).finish_reason == finish


# Errors


def test_an_error_inside_a_choice_is_found() -> None:
    """An error reported as a choice is an error, with the status it names."""
    body = {"choices": [{"error": {"message": "x", "code": 429}, "finish_reason": "error", "message": {}}]}
    error = refused(DIALECT, json.dumps(body).encode())
    assert (error.message, error.status) == ("x", 429)


@pytest.mark.parametrize("finish", ["error", "insufficient_system_resource", "abort", "userCancelled"])
def test_an_answer_that_broke_off_is_no_answer(finish: str) -> None:
    """Half of it is never handed over as a whole one, streamed or not."""
    whole = refused(DIALECT, json.dumps(completion(finish, content="half")).encode())
    reading = streamed(delta(content="half"), delta(finish))
    said = f"the provider broke the answer off (finish reason {finish!r}); ask again, or ask another model"
    assert (str(whole), str(reading.error), reading.said()) == (said, said, "half")


@pytest.mark.parametrize("member", ["delta", "message"])
def test_an_error_inside_a_delta_is_found(member: str) -> None:
    """Or inside a message: gateways put it there."""
    choice = {"index": 0, member: {"content": "", "error": {"code": 500, "message": "boom"}}}
    reading = streamed(delta(content="a"), {"choices": [choice]})
    assert (str(reading.error), reading.said()) == ("boom", "a")


def test_a_finish_reason_that_is_an_object_is_read_by_its_type() -> None:
    """SGLang's own servers say with it what the model stopped at."""
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": {"type": "abort", "message": "x"}}]}
    reading = streamed(delta(content="half"), last)
    assert reading.said() == "half"
    assert "'abort'" in str(reading.error)


# Streams


def test_kinds_of_chunks_are_kept_apart() -> None:
    """Reasoning, text and tool deltas come in order, then the done chunk with all of it."""
    call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
    chunks = streamed(
        delta(reasoning_content="hm"),
        delta(content="a"),
        delta("tool_calls", content="b", tool_calls=[call]),
    ).chunks
    assert [(chunk.kind, chunk.text, chunk.tool) for chunk in chunks] == [
        ("reasoning", "hm", None),
        ("text", "a", None),
        ("text", "b", None),
        ("tool", "", call),
        ("done", "", None),
    ]


def call_delta(call: str | None, name: str | None, arguments: str) -> Json:
    """A delta of the tool call at index 0."""
    function = {"name": name, "arguments": arguments}
    return delta(tool_calls=[{"index": 0, "id": call, "function": function}])


@pytest.mark.parametrize(
    ("deltas", "arguments"),
    [
        ([("a", "f", "1"), ("b", "f", "2")], ["1", "2"]),
        ([("a", "f", "1"), ("b", "g", "["), (None, None, "2]"), ("a", "f", "0")], ["10", "[2]"]),
        ([("a", "f", "["), ("a", "f", "1]")], ["[1]"]),
        ([("a", "f", "["), ("b", None, "1]")], ["[1]"]),
        ([(None, "f", "["), ("a", "f", "1]")], ["[1]"]),
        ([("a", "f", "["), (None, "f", "1]")], ["[1]"]),
        ([(None, "f", "1"), (None, "g", "["), (None, None, "]")], ["1", "[]"]),
        ([("a", None, ""), (None, "f", "1")], ["1"]),
        ([("a", "f", ""), (None, "g", "1")], ["1"]),
    ],
)
def test_at_one_index_a_header_with_another_id_or_name_begins_another_call(
    deltas: list[tuple[str | None, str | None, str]], arguments: list[str]
) -> None:
    """A header that is repeated, or an id made up anew for each delta, does not."""
    calls = streamed(*(call_delta(*one) for one in deltas), delta("tool_calls")).answer.tool_calls
    assert [call["function"]["arguments"] for call in calls] == arguments


def test_the_calls_of_a_completion_are_apart_whatever_their_index() -> None:
    """Each is whole."""
    calls = [{"index": 0, "function": {"name": "f", "arguments": "{}"}}] * 2
    assert len(answered(completion(content=None, tool_calls=calls)).tool_calls) == 2


def test_a_function_call_beside_tool_calls_is_not_told_twice() -> None:
    """Relays write both, for old clients and new ones."""
    function = {"name": "f", "arguments": "{}"}
    said = completion(content=None, tool_calls=[{"id": "1", "function": function}], function_call=function)
    assert len(answered(said).tool_calls) == 1


def test_the_usage_that_groq_alone_has_is_found() -> None:
    """It stands beside the choices in an object of Groq's."""
    last = delta("stop") | {"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}}
    assert streamed(delta(content="a"), last).answer.usage == Usage(3, 1)


def test_tool_deltas_without_an_index_belong_to_their_id() -> None:
    """Servers that leave the index out are followed by id, and by order."""
    calls = streamed(
        delta(tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{"}}]),
        delta(tool_calls=[{"function": {"arguments": "}"}}]),
        delta("tool_calls", tool_calls=[{"id": "2", "function": {"name": "g", "arguments": {"x": 1}}}]),
    ).answer.tool_calls
    assert [(call["id"], call["function"]) for call in calls] == [
        ("1", {"name": "f", "arguments": "{}"}),
        ("2", {"name": "g", "arguments": '{"x":1}'}),
    ]


def test_the_last_usage_counts() -> None:
    """Of several usage reports, as some servers send with each chunk, the last one is meant."""
    last = delta("stop", content="x") | {"usage": {"prompt_tokens": 5}}
    assert streamed({"usage": {"prompt_tokens": 1}}, last).answer.usage == Usage(input_tokens=5)


def test_half_a_character_alone_is_no_chunk() -> None:
    """Nothing can be shown of it yet."""
    reader = DIALECT.reader()
    assert reader.feed(events(delta(content="\ud83d"), done=False)) == []


@given(st.lists(st.text(max_size=4), max_size=6), st.booleans())
def test_no_stream_has_half_a_character(pieces: list[str], escaped: bool) -> None:
    """Cut wherever, escaped or not, the text is that of the pieces joined."""
    halves = "".join(pieces).encode("utf-16-le")
    cut = [halves[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(halves), 2)]
    said = cut if escaped else pieces
    lines = [f"data: {json.dumps(delta(content=text), ensure_ascii=escaped)}\n\n" for text in said]
    body = "".join([*lines, events(delta("length")).decode()]).encode()
    assert read(DIALECT, body).answer.text == "".join(pieces)


@pytest.mark.parametrize("finish", ["null", "None", ""])
def test_a_finish_reason_that_says_null_completes_nothing(finish: str) -> None:
    """A stream that breaks off after it was cut."""
    assert streamed(delta(finish, content="x"), done=False).reason == "cut"


def test_text_beside_something_else_is_read_with_it() -> None:
    """An event of the most common shape but for one member is not taken for one of that shape."""
    answer = streamed(
        delta(content="a") | {"usage": {"prompt_tokens": 5}},
        {"choices": [{"index": 1, "delta": {"content": "another choice"}}]},
        delta("length", content="b"),
    ).answer
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
    assert str(streamed(message).error) == "down"


def test_a_finish_reason_makes_a_stream_complete() -> None:
    """After the finish reason the answer is whole; reading goes on for the usage."""
    reader = DIALECT.reader()
    reader.feed(events(delta("stop", content="x"), done=False))
    assert (reader.complete, reader.finished) == (True, False)


def test_the_terminal_marker_ends_the_reading() -> None:
    """After [DONE] nothing more is read."""
    reader = DIALECT.reader()
    reader.feed(events(delta(content="x")))
    assert (reader.finished, reader.feed(events(delta(content="y")))) == (True, [])


def test_a_chunk_alone_is_a_cut_stream() -> None:
    """Whole answers have a message; a delta without a finish reason is what came before the cut."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}]}
    assert refused(DIALECT, json.dumps(chunk).encode()).reason == "cut"
