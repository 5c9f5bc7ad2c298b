"""The one reader, on every wire: recorded streams, however they are cut, and what all answers share."""

from __future__ import annotations

import gc
import json
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Request, Response
from llm_failover_nb.providers.reader import Reader
from tests.providers.reading import (
    SPEAKERS,
    Reading,
    Speaker,
    bytewise,
    cuts,
    failures_in_a_200,
    read,
    recorded,
    refused,
    summary,
)

RECORDED = recorded()
FAILURES = failures_in_a_200()


@pytest.fixture(params=SPEAKERS)
def wire(request: pytest.FixtureRequest) -> Speaker:
    return SPEAKERS[request.param]


# Recorded streams


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["id"])
@pytest.mark.parametrize("cut", ["whole", "bytewise", "as labelled"])
def test_a_recorded_stream_reads_as_labelled(case: dict[str, Any], cut: str) -> None:
    """Text, reasoning, tool calls, usage, finish reason and kind of error are those of the label."""
    body = case["body"]
    pieces = {
        "whole": [body],
        "bytewise": bytewise(body),
        "as labelled": cuts(body, case.get("split_at", [])),
    }
    reading = read(SPEAKERS[case["wire"]].dialect, *pieces[cut])
    kind = reading.kind(case["wire"])
    assert reading.said() == case["expect_text"]
    assert kind == case["expect_error_kind"] or (case["contested"] and kind == case["contested_alt"])
    if reading.error is None:
        assert_answer_as_labelled(case, reading)
    elif "expect_retry_after_s" in case:
        assert classify(reading.error, wire=case["wire"]).retry_after == case["expect_retry_after_s"]


def assert_answer_as_labelled(case: dict[str, Any], reading: Reading) -> None:
    answer, usage = reading.answer, case["expect_usage"] or {}
    assert answer.text == case["expect_text"]
    assert answer.finish_reason == case["expect_finish_reason"]
    assert {name: getattr(answer.usage, name) for name in usage} == usage
    assert list(map(called, answer.tool_calls)) == list(map(labelled, case.get("expect_tool_calls", [])))
    # Of the longest, the label has the beginning only.
    assert answer.reasoning.startswith(case.get("expect_reasoning", ""))
    assert reading.said("reasoning") == answer.reasoning


def called(call: Any) -> dict[str, Any]:
    """A tool call as the labels have it, whatever its wire."""
    match call:
        case {"functionCall": {"name": name, "args": arguments}}:
            return {"id": None, "name": name, "arguments": arguments}
        case {"id": identity, "function": {"name": name, "arguments": arguments}}:
            return {"id": identity, "name": name, "arguments": json.loads(arguments or "{}")}
    return {"id": call["id"], "name": call["name"], "arguments": call["input"]}


def labelled(call: dict[str, Any]) -> dict[str, Any]:
    return call | {"arguments": json.loads(call["arguments"] or "{}")}


def test_no_recorded_stream_is_left_out() -> None:
    """The tests over them are not empty, and one says where to cut."""
    found = Counter(case["wire"] for case in RECORDED)
    assert found == {"openai": 38, "anthropic": 14, "gemini": 6, "ollama": 9}
    assert sum("split_at" in case for case in RECORDED) == 1


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["id"])
def test_an_error_before_the_first_text_leaves_no_content(case: dict[str, Any]) -> None:
    """A stream that is labelled as failing before its text hands out no chunk at all."""
    reading = read(SPEAKERS[case["wire"]].dialect, case["body"])
    content = [chunk for chunk in reading.chunks if chunk.kind != "done"]
    assert (reading.error is not None and not content) == case["error_before_first_text"]


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_stream_reads_the_same_however_it_is_cut(data: st.DataObject) -> None:
    """Where the network cuts the bytes has no influence on chunks, answer and error."""
    case = data.draw(st.sampled_from(RECORDED))
    wire = SPEAKERS[case["wire"]]
    body = case["body"].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    body = body.replace(b"\n", data.draw(st.sampled_from(wire.endings)))
    places = data.draw(st.lists(st.integers(0, 1 << 16), max_size=20))
    assert summary(wire.dialect, *cuts(body, places)) == summary(wire.dialect, body)


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case["id"])
def test_a_failure_in_a_200_is_of_the_kind_of_its_label(case: dict[str, Any]) -> None:
    """Refused, blocked, filtered or empty: an answer that is none is classified as labelled."""
    try:
        SPEAKERS[case["wire"]].dialect.response(case["body"].encode())
    except ProviderError as failure:
        kind = str(classify(failure, wire=case["wire"]).kind)
    else:
        kind = "success"
    assert kind == case["expect_kind"] or (case["contested"] and case["contested_alt"].startswith(kind))


# Anything may come


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(sorted(SPEAKERS)),
    st.sampled_from([b"data: ", b"[", b"{", b"", b"\xef\xbb\xbf{"]),
    st.lists(st.binary(max_size=40), max_size=8),
)
def test_garbage_is_a_provider_error(name: str, begin: bytes, pieces: list[bytes]) -> None:
    """No bytes make the reader raise anything but a ProviderError."""
    assert isinstance(read(SPEAKERS[name].dialect, begin, *pieces).error, ProviderError)


def messages(wire: Speaker) -> st.SearchStrategy[Any]:
    """JSON of the words that mean something to a wire's reader."""
    words = st.sampled_from(wire.words.split())
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | words,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(words, inner, max_size=5)
            | st.builds(lambda rest, kind: {**rest, "type": kind}, st.dictionaries(words, inner), words)
        ),
        max_leaves=25,
    )


@pytest.mark.parametrize("name", SPEAKERS)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_json_is_an_answer_or_a_provider_error(name: str, data: st.DataObject) -> None:
    """Members of the wrong type raise nothing but a ProviderError, streamed or not."""
    wire = SPEAKERS[name]
    body = json.dumps(data.draw(messages(wire))).encode()
    read(wire.dialect, {"ollama": b""}.get(name, b"data: ") + body + b"\n\n", wire.answer("a"))
    read(wire.dialect, b"[" + body + b"]")
    try:
        answer: object = wire.dialect.response(body)
    except ProviderError as error:
        answer = error
    assert isinstance(answer, Response | ProviderError)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>login</html>", b"[3]", b"null", b"3", b'"x"', b'{"id":1}', b"{" * 9999, b"[" * 200_000],
)
def test_what_is_no_answer_is_malformed(wire: Speaker, body: bytes) -> None:
    """Login pages, JSON of something else and JSON that would exhaust the stack are one transient failure."""
    error = refused(wire.dialect, body)
    assert (error.reason, error.kind) == ("malformed", ErrorKind.TRANSIENT)


def test_a_whole_answer_that_was_cut_is_malformed(wire: Speaker) -> None:
    """Half of its JSON is none."""
    assert refused(wire.dialect, wire.body("hello", wire.stop)[:-20]).reason == "malformed"


@pytest.mark.parametrize("body", [b"<html>login</html>", b'"x"', b"[3]"])
def test_a_stream_that_is_none_is_malformed(wire: Speaker, body: bytes) -> None:
    """What answers in the place of a stream is not taken for a cut one."""
    assert read(wire.dialect, body).reason == "malformed"


def test_a_body_without_an_end_is_refused(wire: Speaker) -> None:
    """What is no stream is not kept without limit."""
    reader = wire.dialect.reader()
    for _ in range(40):
        reader.feed(b"<" + b"x" * (1 << 20))
    assert reader.finished
    with pytest.raises(ProviderError, match="it has no end") as caught:
        reader.end()
    assert caught.value.reason == "malformed"


def test_a_message_without_an_end_keeps_the_text_before_it(wire: Speaker) -> None:
    """One over the limit is malformed, after what came before it."""
    body = wire.stream(*wire.said("a")).removesuffix(b"\n]") + b',data: {"x":"'
    reading = read(wire.dialect, body, b"x" * (5 << 20))
    assert (reading.said(), reading.reason) == ("a", "malformed")


def test_a_message_that_is_no_json_is_malformed(wire: Speaker) -> None:
    """After the text before it: what it was to bring cannot be passed over."""
    end = {"[": b",{x}]", "{": b"oops\n", "d": b"data: oops\n\n", "e": b"data: oops\n\n"}
    body = wire.stream(*wire.said("a")).removesuffix(b"\n]")
    reading = read(wire.dialect, body + end[body.decode()[0]])
    assert (reading.said(), reading.reason) == ("a", "malformed")


# Whole answers and streams are taken for each other


def test_a_stream_sent_unasked_is_read(wire: Speaker) -> None:
    """One in answer to a plain request is put together."""
    assert wire.dialect.response(b"\xef\xbb\xbf\r\n" + wire.answer("a", "b")).text == "ab"


def test_garbage_at_the_end_of_a_stream_sent_unasked_is_malformed(wire: Speaker) -> None:
    """As it would be in a stream that was asked for: the blank lines behind it say that it came whole."""
    end = {"[": b"{x}]", "{": b"oops\n", "d": b"data: oops\n\n", "e": b"data: oops\n\n"}
    body = wire.stream(*wire.said("a")).removesuffix(b"\n]")
    error = refused(wire.dialect, body + (b"," if body[:1] == b"[" else b"") + end[body.decode()[0]])
    assert error.reason == "malformed"


def test_a_whole_answer_to_a_stream_is_its_chunks(wire: Speaker) -> None:
    """A server that does not stream though asked to is read all the same."""
    chunks = read(wire.dialect, wire.body("hello", wire.stop)).chunks
    assert [(chunk.kind, chunk.text) for chunk in chunks] == [("text", "hello"), ("done", "")]


# Finish reasons

WORDS = {
    "openai": {
        "stop": "stop",
        "eos": "stop",
        "eos_token": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "model_length": "length",
        "tool_calls": "tool_calls",
        "function_call": "tool_calls",
        "content_filter": "content_filter",
        "sensitive": "content_filter",
    },
    "anthropic": {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
        "pause_turn": "other",
        "compaction": "other",
    },
    "gemini": {
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "SAFETY": "content_filter",
        "RECITATION": "content_filter",
        "LANGUAGE": "content_filter",
        "BLOCKLIST": "content_filter",
        "PROHIBITED_CONTENT": "content_filter",
        "SPII": "content_filter",
        "IMAGE_SAFETY": "content_filter",
        "IMAGE_PROHIBITED_CONTENT": "content_filter",
        "IMAGE_RECITATION": "content_filter",
        "OTHER": "other",
        "MALFORMED_FUNCTION_CALL": "other",
        "UNEXPECTED_TOOL_CALL": "other",
    },
    "ollama": {"stop": "stop", "length": "length", "load": "other", "unload": "other"},
}


@pytest.mark.parametrize("word", ["error", "aborted", "network_error", "TIMEOUT"])
def test_a_finish_reason_of_failure_is_no_end(wire: Speaker, word: str) -> None:
    """Half an answer is never handed over as a whole one, streamed or not, on any wire."""
    reading = read(wire.dialect, wire.answer("a", finish=word))
    whole = refused(wire.dialect, wire.body("a", word))
    assert [classify(error).kind for error in (reading.error, whole) if error] == [ErrorKind.TRANSIENT] * 2
    assert reading.said() == "a"


def test_a_failure_behind_the_finish_reason_takes_nothing_away(wire: Speaker) -> None:
    """The answer was whole when it came."""
    answer = read(wire.dialect, wire.stream(*wire.said("a"), wire.end(wire.stop), {"error": "x"})).answer
    assert (answer.text, answer.finish_reason) == ("a", wire.stop)


def test_a_finish_reason_that_text_follows_is_none() -> None:
    """Relays that write one into every message do not say with it that the answer is whole."""
    wire = SPEAKERS["gemini"]
    messages = [*wire.said("a"), wire.end(wire.stop), *wire.said("b"), wire.end(wire.stop)]
    reading = read(wire.dialect, wire.stream(*messages, {"error": {"code": 503, "message": "x"}}))
    assert (reading.said(), reading.error and reading.error.status) == ("ab", 503)


def test_the_error_that_comes_after_its_finish_reason_is_told() -> None:
    """It says more than the reason did."""
    wire = SPEAKERS["openai"]
    error = {"error": {"code": 429, "message": "slow down"}}
    reading = read(wire.dialect, wire.stream(*wire.said("a"), wire.end("error"), error))
    assert (str(reading.error), reading.said()) == ("slow down", "a")


def test_a_finish_reason_of_failure_takes_a_good_one_back() -> None:
    """The last word counts, and the error behind it is told."""
    wire = SPEAKERS["openai"]
    error = {"error": {"code": 429, "message": "slow down"}}
    reading = read(wire.dialect, wire.stream(*wire.said("a"), wire.end("stop"), wire.end("error"), error))
    assert (str(reading.error), reading.said()) == ("slow down", "a")


@pytest.mark.parametrize("finish", ["stop", "error"])
def test_a_broken_connection_does_no_harm_behind_a_good_finish_alone(finish: str) -> None:
    """The provider asks the reader whether what came is whole."""
    wire = SPEAKERS["openai"]
    reader = wire.dialect.reader()
    reader.feed(wire.stream(*wire.said("a"), wire.end(finish)))
    assert reader.complete == (finish == "stop")


@pytest.mark.parametrize(
    ("name", "word", "expected"),
    [(name, word, common) for name, words in WORDS.items() for word, common in words.items()],
)
def test_a_finish_reason_has_a_common_word(name: str, word: str, expected: str) -> None:
    """Beside the wire's own, on all three paths by which an answer is read."""
    wire = SPEAKERS[name]
    answers = [
        wire.dialect.response(wire.body("a", word)),
        read(wire.dialect, wire.answer("a", finish=word)).answer,
        wire.dialect.response(wire.answer("a", finish=word)),
    ]
    assert [(answer.finish_reason, answer.finish) for answer in answers] == [(word, expected)] * 3


def test_no_finish_reason_is_no_word(wire: Speaker) -> None:
    """A whole answer need not say why it ended."""
    answer = wire.dialect.response(wire.body("a", None))
    assert (answer.finish_reason, answer.finish) == (None, "")


def test_an_empty_answer_is_an_error(wire: Speaker) -> None:
    """Nothing but the end of it is a fault, streamed or not."""
    found = [refused(wire.dialect, wire.body("", wire.stop)).reason, read(wire.dialect, wire.answer()).reason]
    assert found == ["empty", "empty"]


def test_reasoning_alone_is_an_answer(wire: Speaker) -> None:
    """A model that only thought did not fail."""
    answer = read(wire.dialect, wire.stream(wire.thought("hm"), wire.end(wire.stop))).answer
    assert (answer.text, answer.reasoning) == ("", "hm")


# Errors


def test_what_an_error_means_is_left_to_classify(wire: Speaker) -> None:
    """A provider's own error carries no kind."""
    error = refused(wire.dialect, b'{"error":{"message":"no","code":"insufficient_quota"}}')
    assert (error.kind, error.code, error.message) == (None, "insufficient_quota", "no")


@pytest.mark.parametrize(
    "body",
    [b'{"error":"no"}', b'{"message":"no"}', b'{"detail":"no"}', b'{"errors":["no"]}', b'[{"error":"no"}]'],
)
def test_an_error_in_a_200_is_an_error(wire: Speaker, body: bytes) -> None:
    """In whatever shape the provider, or a proxy before it, has it; as answer to a stream, too."""
    found = [str(refused(wire.dialect, body)), str(read(wire.dialect, body).error)]
    assert found == ["no", "no"]


def test_the_text_before_an_error_comes_first(wire: Speaker) -> None:
    """Text and error in one read: the text is handed out, then the error is raised."""
    reading = read(wire.dialect, wire.stream(*wire.said("a"), {"error": {"message": "down"}}, wire.text("b")))
    assert (reading.said(), str(reading.error)) == ("a", "down")


def test_an_error_beside_a_text_is_an_error(wire: Speaker) -> None:
    """Wherever in the message it stands."""
    body = wire.stream(wire.text("a") | {"error": "down"}, wire.end(wire.stop))
    assert str(read(wire.dialect, body).error) == "down"


# Streams


def test_an_answer_is_what_its_chunks_say(wire: Speaker) -> None:
    """Thoughts and text in order, and all of them in the last chunk."""
    reading = read(wire.dialect, wire.stream(wire.thought("hm"), *wire.said("a", "b"), wire.end(wire.stop)))
    chunks = [(chunk.kind, chunk.text) for chunk in reading.chunks]
    assert chunks == [("reasoning", "hm"), ("text", "a"), ("text", "b"), ("done", "")]
    assert (reading.answer.reasoning, reading.answer.text) == ("hm", "ab")


def test_a_finish_reason_makes_an_answer_complete(wire: Speaker) -> None:
    """A connection that breaks after it does no harm."""
    reader = wire.dialect.reader()
    reader.feed(wire.stream(*wire.said("a")).removesuffix(b"\n]"))
    before = reader.complete
    reader.feed(b"," * (wire.stream().startswith(b"[")) + wire.answer("b").removeprefix(b"["))
    assert (before, reader.complete) == (False, True)


def test_a_stream_without_its_end_was_cut(wire: Speaker) -> None:
    """The text is handed out, and the failure says how much of it there was."""
    reading = read(wire.dialect, wire.stream(*wire.said("a", "bc")))
    assert (reading.said(), reading.reason) == ("abc", "cut")
    assert "after 3 characters of text" in str(reading.error)


def test_a_message_cut_short_is_no_garbage(wire: Speaker) -> None:
    """JSON that ends with the stream was cut off, not malformed."""
    reading = read(wire.dialect, wire.answer("a").removesuffix(b"\n]").rstrip()[:-3])
    assert (reading.said(), reading.reason) == ("a", "cut")


@pytest.mark.parametrize("kind", ["text", "reasoning"])
def test_a_character_in_two_pieces_is_one(wire: Speaker, kind: str) -> None:
    """Half a character waits for its other half, which comes with the next piece of its kind."""
    say, other = (wire.text, wire.thought) if kind == "text" else (wire.thought, wire.text)
    body = wire.stream(say("Hi \ud83d"), other("."), say("\ude00!"), wire.end(wire.stop))
    found = [chunk.text for chunk in read(wire.dialect, body).chunks if chunk.kind == kind]
    assert found == ["Hi ", "\U0001f600!"]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a\ud83d", "b"], "a\ufffdb"),
        (["a", "\ude00b"], "a\ufffdb"),
        (["\ud83d", "\ud83d", "\ude00"], "\ufffd\U0001f600"),
        (["a\ud83d"], "a\ufffd"),
    ],
)
def test_half_a_character_that_stays_alone_is_replaced(
    wire: Speaker, pieces: list[str], expected: str
) -> None:
    """In the chunks as in the whole answer, streamed or not."""
    reading = read(wire.dialect, wire.answer(*pieces))
    whole = wire.dialect.response(wire.body("".join(pieces), wire.stop))
    assert [reading.said(), reading.answer.text, whole.text] == [expected] * 3


# What a reader leaves behind


class Watched(Reader):
    """A reader that can be referred to weakly."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("how", ["error", "no JSON", "cut", "empty", "no end", "login page"])
def test_a_reader_that_failed_is_freed_at_once(wire: Speaker, how: str) -> None:
    """With all that it has read, and without the help of the garbage collector."""
    said = wire.stream(*wire.said("a")).removesuffix(b"\n]")
    between = b"," if said[:1] == b"[" else b"" if said[:1] == b"{" else b"data: "
    body = {
        "error": wire.stream(*wire.said("a"), {"error": "down"}),
        "no JSON": said + between + b"{x}\n\n",
        "cut": wire.stream(*wire.said("a")),
        "empty": wire.answer(),
        "no end": b"<" + b"x" * (33 << 20),
        "login page": b"<html>",
    }[how]
    reader = Watched(wire.dialect.reader()._wire)  # type: ignore[attr-defined]
    gone = weakref.ref(reader)
    reader.feed(body)
    try:
        reader.end()
    except ProviderError:
        pass
    else:
        pytest.fail("it did not fail")
    del reader
    assert gone() is None


def test_a_failure_is_raised_without_what_it_came_from() -> None:
    """The frames of that would keep what was read before it."""
    error = read(SPEAKERS["openai"].dialect, b"data: oops\n\n").error
    assert error is not None
    assert error.__context__ is None


# Requests


def test_a_request_that_is_no_json_is_the_requests_own_fault(wire: Speaker) -> None:
    """What cannot be encoded is no reason to bench a model."""
    request = Request("hi", model="m", extra={"x": object()})  # type: ignore[arg-type]
    with pytest.raises(ProviderError, match="cannot be written as JSON") as caught:
        wire.dialect.encode(request, stream=False)
    assert caught.value.kind is ErrorKind.REQUEST_SPECIFIC


def test_a_dialect_goes_by_the_name_of_its_wire() -> None:
    """By which its failures are classified."""
    assert {name: SPEAKERS[name].dialect.wire for name in WORDS} == {name: name for name in WORDS}
