"""What the fault server writes on each wire: answers, streams, errors, lists, as the real ones do."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.providers.presets import WIRES
from llm_failover_nb.providers.script import parse_script
from llm_failover_nb.testing import FaultServer
from tests.testing.asking import PROMPT, ask, wire_request

CORPUS = Path(__file__).parents[1] / "corpus" / "errors.jsonl"
REAL = {case["id"]: case for case in map(json.loads, CORPUS.read_text("utf-8").splitlines())}

SSE = "?alt=sse"

every_wire = pytest.mark.parametrize("wire", WIRES)
every_kind = pytest.mark.parametrize("stream", [False, True], ids=["completion", "stream"])


def read(wire, response):
    """What our own reader makes of a response."""
    if response.status_code != 200:
        raise WIRES[wire].failure(response.status_code, response.headers, response.text)
    reader = WIRES[wire].reader()
    reader.feed(response.content)
    return reader.end()[-1].response


def failure(wire, response):
    """The error that our own reader finds in a response."""
    with pytest.raises(ProviderError) as caught:
        read(wire, response)
    return caught.value


def lines(response):
    """The data of each event, or each line, as JSON."""
    return [
        json.loads(line.removeprefix("data: "))
        for line in response.text.splitlines()
        if line.startswith(("data: {", "{"))
    ]


def codes(value):
    """The codes in the body of an error, by the member they stand in."""
    if isinstance(value, list):
        return [code for item in value for code in codes(item)]
    if not isinstance(value, dict):
        return []
    members = ("code", "type", "status", "reason", "blockReason")
    own = [(name, value[name]) for name in members if value.get(name) is not None]
    return sorted(own, key=str) + [code for item in value.values() for code in codes(item)]


# Answers


def test_anthropic_completes(server):
    """A message with one block of text, a stop reason and the tokens."""
    assert ask(server, "anthropic", "echo").json() == {
        "id": "msg_simulated",
        "type": "message",
        "role": "assistant",
        "model": "echo",
        "content": [{"type": "text", "text": PROMPT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 11},
    }


def test_gemini_completes(server):
    """One candidate with one part, a finish reason and the tokens."""
    assert ask(server, "gemini", "echo").json() == {
        "candidates": [
            {"content": {"parts": [{"text": PROMPT}], "role": "model"}, "index": 0, "finishReason": "STOP"}
        ],
        "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 11, "totalTokenCount": 22},
        "modelVersion": "echo",
        "responseId": "simulated",
    }


def test_ollama_completes(server):
    """One object, done, with the counts beside the message."""
    answer = ask(server, "ollama", "echo").json()
    assert {name: answer[name] for name in ("model", "message", "done", "done_reason")} == {
        "model": "echo",
        "message": {"role": "assistant", "content": PROMPT},
        "done": True,
        "done_reason": "stop",
    }
    assert (answer["prompt_eval_count"], answer["eval_count"]) == (11, 11)


def test_anthropic_streams_named_events(server):
    """Each event is named by its type; a ping is among them."""
    response = ask(server, "anthropic", "say:two_words", stream=True)
    names = [line.removeprefix("event: ") for line in response.text.splitlines() if line.startswith("event")]
    assert names == [
        *("message_start", "content_block_start", "ping"),
        *("content_block_delta", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert [event["type"] for event in lines(response)] == names


def test_gemini_streams_events_where_they_are_asked_for(server):
    """With ``alt=sse`` each part is an event; the last one has the finish reason, and nothing follows it."""
    response = ask(server, "gemini", "say:two_words", stream=True, query=SSE)
    candidates = [part["candidates"][0] for part in lines(response)]
    assert response.headers["content-type"] == "text/event-stream"
    assert [candidate["content"]["parts"][0]["text"] for candidate in candidates] == ["two", " words", ""]
    assert [candidate.get("finishReason") for candidate in candidates] == [None, None, "STOP"]


def test_gemini_streams_an_array_otherwise(server):
    """Without, the whole stream is one JSON array."""
    response = ask(server, "gemini", "say:two_words", stream=True)
    texts = [part["candidates"][0]["content"]["parts"][0]["text"] for part in response.json()]
    assert (response.headers["content-type"], texts) == ("application/json", ["", "two", " words", ""])


@pytest.mark.parametrize("stream", [True, None])
def test_ollama_streams_unless_it_is_told_not_to(server, stream):
    """A line of JSON a word, then one that is done; also where ``stream`` is left out."""
    path, content = wire_request("ollama", "say:two_words", stream, [("user", "x")])
    content = {name: value for name, value in content.items() if value is not None}
    response = httpx.post(server.base_url("ollama") + path, json=content, trust_env=False)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert [(line["message"]["content"], line["done"]) for line in lines(response)] == [
        ("two", False),
        (" words", False),
        ("", True),
    ]


@every_wire
@pytest.mark.parametrize("query", ["", SSE])
def test_a_stream_reads_as_the_answer(server, wire, query):
    """Our reader finds the text, the finish reason, and the tokens where the wire tells them unasked."""
    answer = read(wire, ask(server, wire, "echo", stream=True, query=query if wire == "gemini" else ""))
    tokens = (answer.usage.input_tokens, answer.usage.output_tokens)
    reasons = {"openai": "stop", "anthropic": "end_turn", "gemini": "STOP", "ollama": "stop"}
    assert (answer.text, answer.finish_reason) == (PROMPT, reasons[wire])
    assert tokens == ((None, None) if wire == "openai" else (11, 11))


@every_wire
@every_kind
def test_any_text_survives(server, wire, stream):
    """The text comes back letter by letter, line separators and halves of characters included."""
    prompt = "Grüße\u2028 aus 東京 \x85 \n\n 😀 ok"
    assert read(wire, ask(server, wire, "echo", stream=stream, prompt=prompt)).text == prompt


@every_wire
def test_half_a_character_does_not_stop_the_server(server, wire):
    """JSON can hold what UTF-8 cannot; the answer has something in its place."""
    content = json.dumps(wire_request(wire, "echo", False, [("user", "a\ud83d")])[1])
    path, _ = wire_request(wire, "echo", False, [])
    response = httpx.post(server.base_url(wire) + path, content=content, trust_env=False)
    assert read(wire, response).text == "a?"


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        ("openai", {"messages": [{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]}),
        ("anthropic", {"messages": [{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]}),
        ("gemini", {"contents": [{"parts": [{"text": "in "}, {"text": "parts"}, {"inlineData": {}}]}]}),
        ("gemini", {"contents": ["odd", {"role": "user", "parts": [{"text": "in parts"}]}, {"parts": "x"}]}),
    ],
)
def test_a_prompt_may_come_in_parts(server, wire, content):
    """Other people's clients send lists of parts; what has no text is passed over."""
    path, usual = wire_request(wire, "echo", False, [])
    response = httpx.post(server.base_url(wire) + path, json=usual | content, trust_env=False)
    assert read(wire, response).text in {"in parts", "x"}


# Errors


@pytest.mark.parametrize(
    ("wire", "model", "real"),
    [
        ("openai", "auth", "openai-401-invalid-api-key"),
        ("openai", "quota", "openai-429-insufficient-quota"),
        ("openai", "429", "openai-429-rpm-20s-billing-link"),
        ("openai", "context", "openai-400-context-length"),
        ("openai", "filter", "azure-400-content-filter"),
        ("anthropic", "auth", "anthropic-401-oauth-expired"),
        ("anthropic", "quota", "anthropic-400-credit-balance"),
        ("anthropic", "filter", "anthropic-400-content-filter"),
        ("anthropic", "bad", "anthropic-400-max-tokens-over"),
        ("anthropic", "gone", "anthropic-404-model"),
        ("anthropic", "409", "anthropic-409-conflict"),
        ("anthropic", "413", "anthropic-413-too-large"),
        ("anthropic", "429", "anthropic-429-itpm-headers"),
        ("anthropic", "500", "request-id-429"),
        ("anthropic", "504", "anthropic-504-timeout"),
        ("anthropic", "down", "anthropic-529-overloaded"),
        ("gemini", "auth", "gemini-400-api-key-not-found"),
        ("gemini", "bad", "gemini-400-bare"),
        ("gemini", "gone", "gemini-404-model"),
        ("gemini", "429:37", "gemini-429-per-minute-37s"),
        ("gemini", "499", "gemini-499-cancelled"),
        ("gemini", "500", "gemini-500-internal"),
        ("gemini", "down", "gemini-503-overloaded"),
        ("gemini", "504", "gemini-504-deadline"),
        ("gemini", "filter", "gemini-200-prompt-blocked"),
        ("ollama", "auth", "ollama-401-cloud"),
        ("ollama", "context", "ollama-400-context"),
        ("ollama", "gone", "ollama-404-try-pulling"),
        ("ollama", "429", "ollama-429-session-limit"),
        ("ollama", "500", "ollama-500-runner-stopped"),
        ("ollama", "down", "ollama-503-busy"),
    ],
)
def test_an_error_is_like_a_real_one(server, wire, model, real):
    """It has the status and the codes of one that was seen, where it was seen."""
    response = ask(server, wire, model)
    expected = codes(json.loads(REAL[real]["body"]))
    if real == "azure-400-content-filter":
        expected = [code for code in expected if code[0] == "code" and "Policy" not in code[1]]
        assert set(expected) <= set(codes(response.json()))
    else:
        assert codes(response.json()) == expected
    assert response.status_code == REAL[real]["status"]


@every_wire
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        *[("auth", "credentials"), ("bad", "bad_request"), ("context", "context_length")],
        *[("down", "overloaded"), ("filter", "content_filter"), ("gone", "model_gone"), ("quota", "quota")],
        *[("400", "bad_request"), ("401", "credentials"), ("402", "quota"), ("403", "permission")],
        *[("404", "model_gone"), ("408", "timeout"), ("418", "unknown"), ("429", "rate_limit")],
        *[("500", "server_error"), ("503", "overloaded"), ("504", "timeout"), ("599", "server_error")],
    ],
)
@every_kind
def test_an_error_is_known_for_what_it_is(server, wire, model, reason, stream):
    """On each wire an error has the reason that its word promises, for a stream as for a completion."""
    error = failure(wire, ask(server, wire, model, stream=stream))
    assert (classify(error, wire=wire).reason, "simulated" in error.body or wire == "gemini") == (
        reason,
        True,
    )


@every_wire
def test_a_wait_is_asked_for(server, wire):
    """In a header, or in the body where the wire has it there."""
    response = ask(server, wire, "429:30")
    assert classify(failure(wire, response), wire=wire).retry_after == 30
    assert ("retry-after" in response.headers) == (wire != "gemini")


@every_wire
def test_without_a_wait_none_is_asked_for(server, wire):
    """A bare status says nothing of when."""
    response = ask(server, wire, "429")
    assert classify(failure(wire, response), wire=wire).retry_after is None
    assert "retry-after" not in response.headers


@every_wire
@every_kind
def test_a_trailing_assistant_turn_may_be_refused(server, wire, stream):
    """The same model answers when the last word is the user's."""
    prefilled = [("user", "Who?"), ("assistant", "It is")]
    refused = ask(server, wire, "noprefill", stream=stream, turns=prefilled)
    answered = ask(server, wire, "noprefill", stream=stream, turns=[*prefilled, ("user", "Go on")])
    assert refused.status_code == 400
    assert "must end with a user message" in failure(wire, refused).message
    assert read(wire, answered).text == "Go on"


@pytest.mark.parametrize("query", ["", SSE])
def test_gemini_refuses_a_prompt_in_a_stream(server, query):
    """The refusal is the only part, framed as the stream would have been."""
    error = failure("gemini", ask(server, "gemini", "filter", stream=True, query=query))
    assert (error.reason, error.code) == ("content_filter", "PROHIBITED_CONTENT")


# Broken answers


@pytest.mark.parametrize(
    ("wire", "member"),
    [("openai", "choices"), ("anthropic", "content"), ("gemini", "candidates"), ("ollama", "message")],
)
def test_an_answer_may_have_no_choices(server, wire, member):
    """What holds the answer is there, and empty."""
    assert not ask(server, wire, "nochoices").json()[member]


@every_wire
@pytest.mark.parametrize("query", ["", SSE])
def test_a_stream_may_have_no_choices(server, wire, query):
    """Nothing is said in it, on any wire."""
    response = ask(server, wire, "nochoices", stream=True, query=query if wire == "gemini" else "")
    assert failure(wire, response).reason in {"cut", "empty"}


@pytest.mark.parametrize(
    ("wire", "query", "whole", "without"),
    [
        ("openai", "", b"data: [DONE]\n\n", b'"finish_reason": "stop"}]}\n\n'),
        ("anthropic", "", b'data: {"type": "message_stop"}\n\n', b'"output_tokens": 2}}\n\n'),
        ("gemini", "", b"\n]", b'"responseId": "simulated"}\n'),
        ("gemini", SSE, b'"responseId": "simulated"}\n\n', b'"responseId": "simulated"}'),
        ("ollama", "", b'"eval_duration": 1}\n', b'"eval_duration": 1}'),
    ],
)
def test_a_stream_may_lack_its_marker(server, wire, query, whole, without):
    """Its terminal marker, or the nearest thing to one, is what it ends without."""
    ends = [
        ask(server, wire, model, stream=True, query=query, prompt="two words").content
        for model in ("echo", "nodone")
    ]
    assert [end[-len(expected) :] for end, expected in zip(ends, (whole, without), strict=True)] == [
        whole,
        without,
    ]


@every_wire
@pytest.mark.parametrize(("model", "text"), [("error200", ""), ("error200:7", PROMPT[:7])])
def test_an_error_may_come_inside_a_stream(server, wire, model, text):
    """It is the last of its events, in the form that the wire has for it."""
    response = ask(server, wire, model, stream=True, query=SSE if wire == "gemini" else "")
    reader = WIRES[wire].reader()
    said = "".join(chunk.text for chunk in reader.feed(response.content))
    with pytest.raises(ProviderError) as caught:
        reader.end()
    assert (said, "error" in caught.value.body) == (text, True)


def test_gemini_may_break_an_array(server):
    """A part that is no JSON stands among the others of an array."""
    response = ask(server, "gemini", "malformed:7", stream=True)
    with pytest.raises(json.JSONDecodeError):
        response.json()
    assert failure("gemini", response).reason in {"cut", "malformed"}


# Keys, names, lists


@pytest.mark.parametrize(
    ("wire", "headers", "query"),
    [
        ("openai", {"Authorization": "Bearer right"}, ""),
        ("anthropic", {"x-api-key": "right"}, ""),
        ("gemini", {"x-goog-api-key": "right"}, ""),
        ("gemini", {}, "?key=right"),
        ("ollama", {"Authorization": "Bearer right"}, ""),
    ],
)
def test_a_key_is_demanded_as_the_wire_carries_it(wire, headers, query):
    """The right key opens; without it, or with another, the wire's own error says so."""
    wrong = {name: value.replace("right", "wrong") for name, value in headers.items()}
    with FaultServer(key="right") as server:
        assert ask(server, wire, "echo", headers=headers, query=query).status_code == 200
        refused = [
            ask(server, wire, "echo", headers=wrong, query=query.replace("right", "wrong")),
            ask(server, wire, "echo"),
        ]
    for response in refused:
        assert classify(failure(wire, response), wire=wire).reason == "credentials"


@every_wire
def test_a_name_that_is_no_script_is_no_model_of_the_wire(server, wire):
    """The error is the wire's, and says which part cannot be read."""
    error = failure(wire, ask(server, wire, "dwon+echo"))
    assert (error.status, classify(error, wire=wire).reason, "'dwon'" in error.message) == (
        404,
        "model_gone",
        True,
    )


@pytest.mark.parametrize(
    "name", ["503x1+429:1+say:a%2Fb", "503x1%2B429%3A1%2Bsay%3Aa%2Fb", "503x1+429:1+say:a/b"]
)
@pytest.mark.parametrize("collection", ["models", "tunedModels"])
def test_gemini_has_the_model_in_its_path(server, name, collection):
    """A script is read from a path, percent-encoded or not."""
    url = f"{server.base_url('gemini')}/{collection}/{name}:generateContent"
    statuses = [httpx.post(url, json={}, trust_env=False).status_code for _ in range(3)]
    assert (statuses, server.requests[0].model) == ([503, 429, 200], "503x1+429:1+say:a/b")


@pytest.mark.parametrize(
    ("wire", "path", "names"),
    [
        ("openai", "/models", lambda body: [model["id"] for model in body["data"]]),
        ("anthropic", "/v1/models", lambda body: [model["id"] for model in body["data"]]),
        ("gemini", "/models", lambda body: [model["name"] for model in body["models"]]),
        ("ollama", "/api/tags", lambda body: [model["model"] for model in body["models"]]),
    ],
)
def test_models_are_listed(server, wire, path, names):
    """Clients that ask for a list when they start get a short one, of scripts that work."""
    response = httpx.get(server.base_url(wire) + path, trust_env=False)
    listed = [name.removeprefix("models/") for name in names(response.json())]
    assert [str(parse_script(name).outcome(1)) for name in listed] == [
        "echo",
        "503",
        "429:5",
        "silent",
        "cut:40",
    ]
    assert [asked.outcome for asked in server.requests] == ["listed"]


def test_ollama_tells_a_version(server):
    """Its clients ask for one."""
    assert "version" in httpx.get(server.base_url("ollama") + "/api/version", trust_env=False).json()
