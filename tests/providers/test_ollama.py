"""The ollama dialect: requests to bytes, bytes to answers. What all wires share is in ``test_reader``."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from llm_failover_nb.engine.types import Message, Request, Response, Usage
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.ollama import OllamaDialect
from llm_failover_nb.providers.presets import PRESETS, WIRES, make
from tests.providers.raw_server import answering, chunked, http, serving
from tests.providers.reading import ndjson as lines
from tests.providers.reading import read, refused

DIALECT = OllamaDialect()


def said(content: str = "", **members: object) -> dict[str, object]:
    return {"model": "m", "message": {"role": "assistant", "content": content, **members}, "done": False}


def done(reason: str = "stop", **members: object) -> dict[str, object]:
    return said() | {"done": True, "done_reason": reason, **members}


def answered(message: object) -> Response:
    return DIALECT.response(json.dumps(message).encode())


# Requests


def encoded(*, stream: bool = False, **fields: Any) -> tuple[str, str]:
    path, body = DIALECT.encode(Request(**{"messages": "hi", "model": "m", **fields}), stream=stream)
    return path, body.decode()


@pytest.mark.parametrize(("stream", "flag"), [(False, "false"), (True, "true")])
def test_the_least_request_holds_nothing_unasked(stream: bool, flag: str) -> None:
    """A bare prompt becomes model, messages and the stream flag, which is never left to the default."""
    expected = f'{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"stream":{flag}}}'
    assert encoded(stream=stream) == ("/api/chat", expected)


def test_every_field_has_its_place() -> None:
    """System prompt, sampling, limits and schema go where the wire has them."""
    _, body = encoded(
        messages=(Message("user", "a"), Message("assistant", "b")),
        system="be brief",
        temperature=0.0,
        max_tokens=5,
        stop="END",
        seed=np.int64(7),
        schema=MappingProxyType({"type": "object"}),
    )
    assert body == (
        '{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"a"},'
        '{"role":"assistant","content":"b"}],"options":{"temperature":0.0,"num_predict":5,"stop":["END"],'
        '"seed":7},"format":{"type":"object"},"stream":false}'
    )


def test_extra_is_merged_over_everything_but_the_stream_flag() -> None:
    """Extra members win, except over the one that says how the answer is read; options join the others."""
    extra = {"options": {"temperature": 1, "num_ctx": 8192}, "keep_alive": 0, "stream": True}
    body = json.loads(encoded(temperature=0.5, seed=1, extra=extra)[1])
    assert (body["options"], body["keep_alive"], body["stream"]) == (
        {"temperature": 1, "seed": 1, "num_ctx": 8192},
        0,
        False,
    )


def test_nothing_is_dropped() -> None:
    """The wire takes every field of a request."""
    assert DIALECT.dropped(Request("hi", seed=2**40, stop=tuple("abcdefgh"), schema={})) == ()  # type: ignore[arg-type]


def test_a_key_goes_as_a_bearer() -> None:
    """The cloud wants one."""
    assert DIALECT.auth("k") == {"authorization": "Bearer k"}


# Answers


def test_a_completion_is_read_whole() -> None:
    """Text, thoughts, finish reason and usage of a plain completion."""
    message = said("Paris", thinking="Hm") | {
        "done": True,
        "done_reason": "length",
        "prompt_eval_count": 9,
        "eval_count": 4,
    }
    expected = Response(
        text="Paris", finish_reason="length", usage=Usage(9, 4), reasoning="Hm", finish="length"
    )
    assert answered(message) == expected


def test_an_answer_of_generate_is_read() -> None:
    """The other endpoint has its text, and its thoughts, beside the rest."""
    message = {"response": "Paris", "thinking": "Hm", "done": True, "done_reason": "stop"}
    expected = Response(text="Paris", finish_reason="stop", reasoning="Hm", finish="stop")
    assert answered(message) == expected


def test_a_tool_call_is_handed_on_in_whole_characters() -> None:
    """As the wire gives it: its arguments are an object."""
    message = said(tool_calls=[{"function": {"name": "f", "arguments": {"x": "\ud83d\ude00 \ud83d"}}}])
    expected = {"function": {"name": "f", "arguments": {"x": "\U0001f600 \ufffd"}}}
    assert answered(message | {"done": True}).tool_calls == (expected,)


def test_a_completion_has_whole_characters() -> None:
    """Halves of characters are joined, or replaced."""
    answer = answered(said("\ud83d\ude00 \ud83d", thinking="\ude00") | {"done": True})
    assert (answer.text, answer.reasoning) == ("\U0001f600 \ufffd", "\ufffd")


@pytest.mark.parametrize("body", [b"\xc2\xa0{\n}", b"\xc2\xa0{\n{", b"{\n{\n}"])
def test_what_only_looks_like_lines_is_malformed(body: bytes) -> None:
    """A blank that is none of JSON's, and an object without its end, begin no stream of answers."""
    assert refused(DIALECT, body).reason == "malformed"


def test_an_object_whose_end_did_not_come_was_cut() -> None:
    """Its first line may be the beginning of an object over several."""
    assert refused(DIALECT, b"{\n{").reason == "cut"


@pytest.mark.parametrize("body", [b"\xc2\xa0{\n}", b"[]", b"data: {}\n\n"])
def test_a_stream_that_is_none_of_this_wire_is_malformed(body: bytes) -> None:
    """Those of other wires are not taken for a cut answer."""
    assert read(DIALECT, body).reason == "malformed"


def test_an_object_over_several_lines_is_a_whole_answer() -> None:
    """As a relay writes it that indents its JSON."""
    body = json.dumps(said("a") | {"done": True}, indent=2).encode()
    assert DIALECT.response(body).text == "a"


@pytest.mark.parametrize("finish", ["length", "load", "unload"])
def test_an_empty_answer_may_be_meant(finish: str) -> None:
    """A limit reached before the first word, or a model that was only loaded, explains the silence."""
    assert answered(done(finish)).finish_reason == finish


def test_a_completion_that_is_not_done_was_cut() -> None:
    """The first line of a stream sent unasked is a whole object, and says itself that more was to come."""
    assert refused(DIALECT, json.dumps(said("Hel")).encode()).reason == "cut"


# Streams


def test_kinds_of_chunks_are_kept_apart() -> None:
    """Thoughts, text and calls come in order, then the done chunk with all of it."""
    call = {"function": {"name": "f", "arguments": {}}}
    reading = read(
        DIALECT,
        lines(
            said(thinking="hm"), said("a"), said(tool_calls=[call]), done(prompt_eval_count=5, eval_count=2)
        ),
    )
    assert [(chunk.kind, chunk.text, chunk.tool) for chunk in reading.chunks] == [
        ("reasoning", "hm", None),
        ("text", "a", None),
        ("tool", "", call),
        ("done", "", None),
    ]
    assert reading.answer == Response(
        text="a", finish_reason="stop", usage=Usage(5, 2), reasoning="hm", tool_calls=(call,), finish="stop"
    )


def test_the_last_line_ends_the_reading() -> None:
    """After "done" nothing more is read."""
    reader = DIALECT.reader()
    reader.feed(lines(said("x"), done()))
    assert (reader.complete, reader.finished, reader.feed(lines(said("y")))) == (True, True, [])


def test_done_needs_no_reason() -> None:
    """Older servers give none."""
    reading = read(DIALECT, lines(said("x"), said() | {"done": True}))
    assert (reading.answer.text, reading.answer.finish_reason) == ("x", None)


@pytest.mark.parametrize(
    "rest",
    [b"", b'{"done":tr', lines(said("") | {"done": False, "done_reason": "stop"}), lines({"done": "true"})],
)
def test_a_stream_without_its_last_line_was_cut(rest: bytes) -> None:
    """Only "done": true makes an answer whole."""
    reading = read(DIALECT, lines(said("x")) + rest)
    assert (reading.said(), reading.reason) == ("x", "cut")


def test_line_separators_in_a_text_end_no_line() -> None:
    """U+2028 and U+0085 are legal inside JSON."""
    body = json.dumps(said("a\u2028b\u0085c"), ensure_ascii=False).encode() + b"\n" + lines(done())
    assert read(DIALECT, body).answer.text == "a\u2028b\u0085c"


# Over a socket


def test_a_call_sends_these_bytes() -> None:
    """Path and body of a plain call without a key, and the answer to it."""
    with serving(answering(http(json.dumps(said("hello") | {"done": True}).encode()))) as server:
        provider = HTTPProvider("o", dialect=DIALECT, base_url=server.url.removesuffix("/v1"))
        answer = provider.complete(Request("hi", model="a/b:7b"))  # type: ignore[arg-type]
        provider.close()
    (sent,) = server.requests
    assert (answer.text, sent.line) == ("hello", "POST /api/chat HTTP/1.1")
    assert sent.body == b'{"model":"a/b:7b","messages":[{"role":"user","content":"hi"}],"stream":false}'
    assert "authorization" not in sent.headers


def test_a_stream_is_asked_for_and_read() -> None:
    """The flag of the stream goes out, and its lines come in."""
    with serving(answering(chunked(lines(said("a")), lines(said("b"), done())))) as server:
        provider = HTTPProvider("o", dialect=DIALECT, base_url=server.url)
        texts = [chunk.text for chunk in provider.stream(Request("hi", model="m"))]  # type: ignore[arg-type]
        provider.close()
    assert (server.requests[0].json["stream"], texts) == (True, ["a", "b", ""])


def test_a_refusal_keeps_its_status() -> None:
    """An error comes with status and body, for classify."""
    body = '{"error":"model \\"x\\" not found, try pulling it first"}'
    error = DIALECT.failure(404, {}, body)
    assert (error.status, error.message, error.body) == (
        404,
        'model "x" not found, try pulling it first',
        body,
    )


def test_the_preset_speaks_this_wire() -> None:
    """On this machine, without a key, and under the name that an endpoint of one's own can give."""
    preset = PRESETS["ollama"]
    assert (preset.base_url, preset.key_env) == ("http://127.0.0.1:11434", None)
    assert preset.dialect == WIRES["ollama"] == DIALECT


def test_the_address_the_server_binds_to_is_none_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """OLLAMA_HOST redirects nothing: it is often 0.0.0.0, and a server elsewhere is registered by name."""
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:9")
    assert make("ollama").base_url == "http://127.0.0.1:11434"
