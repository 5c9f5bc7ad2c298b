"""The error that a body tells of: message, status and code, in whatever shape providers give them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.providers.failures import (
    broken_off,
    failure_beside,
    failure_flat,
    failure_unframed,
    filtered,
    mended,
    read_failure,
)


@pytest.mark.parametrize(
    ("body", "message", "status", "code"),
    [
        ('{"error":{"message":"slow down","type":"t","code":"c"}}', "slow down", None, "c"),
        ('{"error":{"message":"bad","code":400}}', "bad", 400, None),
        ('{"error":{"message":"bad","code":"503"}}', "bad", 503, None),
        ('\ufeff[{"error":{"code":429,"message":"m","status":"EXHAUSTED"}}]', "m", 429, "EXHAUSTED"),
        ('{"message":"flat","type":"x"}', "flat", None, "x"),
        ('{"detail":"why"}', "why", None, None),
        ('{"statusCode":401,"message":"why"}', "why", 401, None),
        ('{"detail":[{"msg":"field required"}]}', "field required", None, None),
        ('{"errors":["one","two"]}', "one", None, None),
        ('"bare"', "bare", None, None),
        ("not JSON", "not JSON", None, None),
        (
            '{"error":{"message":"{\\"error\\":{\\"message\\":\\"inner\\",\\"code\\":\\"k\\"}}"}}',
            "inner",
            None,
            "k",
        ),
        ("", "an error without a text", None, None),
    ],
)
def test_an_error_is_read_in_any_shape(body: str, message: str, status: int | None, code: str | None) -> None:
    """Message, status and code are found wherever providers put them."""
    error = read_failure(body)
    assert (error.message, error.status, error.code) == (message, status, code)


def test_the_status_of_the_response_wins() -> None:
    """An HTTP error keeps its own status and headers, whatever its body says."""
    error = read_failure('{"error":{"code":400}}', status=503, headers={"retry-after": "1"})
    assert (error.status, error.headers["retry-after"], error.message) == (503, "1", '{"error":{"code":400}}')


def test_an_html_error_page_is_named_by_its_title() -> None:
    """The page of a proxy is not poured into the message."""
    error = read_failure("<html><head><title>502 Bad Gateway</title></head></html>", status=502)
    assert error.message == "HTTP 502: an HTML page, '502 Bad Gateway'"


def test_an_error_without_a_text_is_named_by_its_status() -> None:
    """An empty body leaves the status to speak."""
    assert read_failure("", status=503).message == "HTTP 503"


def test_halves_of_characters_leave_no_error() -> None:
    """What no terminal and no page can show is not in message, code and body."""
    error = read_failure(json.dumps({"error": {"message": "no \ud83d", "code": "\ude00x"}}))
    assert (error.message, error.code) == ("no \ufffd", "\ufffdx")


def test_a_body_with_a_half_of_a_character_can_be_written() -> None:
    """A body that was put together from JSON already decoded is mended, too."""
    assert read_failure("no \ud83d\ude00 \ud83d").body == "no \U0001f600 \ufffd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("h\u00e9 \U0001f600", "h\u00e9 \U0001f600"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\ud83d", "\ufffd"),
        ("\ude00a", "\ufffda"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
    ],
)
def test_halves_are_joined_or_replaced(text: str, expected: str) -> None:
    """Two that belong together are one character; one alone is the replacement character."""
    assert mended(text) == expected


@given(st.text())
def test_whole_characters_are_left_alone(text: str) -> None:
    """Whatever text it is."""
    assert mended(text) == text


@pytest.mark.parametrize(
    "finish",
    "error ERROR network_error abort aborted cancelled userCanceled failed model_failure interrupted timeout "
    "timed-out insufficient_system_resource server_overloaded connection_lost rate_limited shutdown".split(),
)
def test_words_of_failure_are_known_without_a_list(finish: str) -> None:
    """Each vendor has its own, and they share a few stems."""
    failure = broken_off(finish)
    assert failure is not None
    assert classify(failure).kind == "transient"


@pytest.mark.parametrize(
    "finish",
    "stop eos end_turn COMPLETE length max_tokens MAX_TOKENS model_length model_context_window_exceeded "
    "tool_calls tool_use stop_sequence pause_turn compaction load unload OTHER done incomplete "
    "content_filter SAFETY sensitive ERROR_TOXIC".split(),
)
def test_other_words_are_no_failure(finish: str) -> None:
    """Good ends, limits and filters, and what nobody knows."""
    assert broken_off(finish) is None


def test_a_word_that_is_a_code_means_what_the_code_means() -> None:
    """An account that runs dry within an answer is dry for the next one too."""
    failure = broken_off("insufficient_balance")
    assert failure is not None
    assert classify(failure).kind == "auth_dead"


@pytest.mark.parametrize(
    "finish", "content_filter SAFETY sensitive ERROR_TOXIC guardrail_intervened output_blocked".split()
)
def test_words_of_filters_are_known_without_a_list(finish: str) -> None:
    """The same for the words of a content filter."""
    assert filtered(finish)


@pytest.mark.parametrize("code", [0, 200, "0", "ok", "success", None, True])
def test_a_message_beside_a_code_of_success_is_no_error(code: object) -> None:
    """Relays write one into every event."""
    assert failure_flat({"code": code, "msg": "x"}, "") is None


@pytest.mark.parametrize("code", [401, "401", -1, 1113, "InvalidKey"])
def test_a_message_beside_a_code_of_failure_is_an_error(code: object) -> None:
    """It has no member that is called an error."""
    message = {"code": code, "msg": "no"}
    failure = failure_flat(message, json.dumps(message))
    assert failure is not None
    assert failure.message == "no"


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (1002, "transient", "rate_limit"),
        (1004, "auth_dead", "credentials"),
        (1008, "auth_dead", "quota"),
        (1001, "transient", "timeout"),
        (1000, "transient", "server_error"),
        (1027, "request_specific", "content_filter"),
        (2013, "request_specific", "bad_request"),
        (503, "transient", "overloaded"),
    ],
)
def test_a_number_of_minimax_means_what_its_page_says(number: int, kind: str, reason: str) -> None:
    """Zhipu gives some of these numbers another meaning, so they may not be left to the classifier."""
    failure = failure_beside({"base_resp": {"status_code": number, "status_msg": "no"}}, "{}")
    assert failure is not None
    verdict = classify(failure)
    assert (verdict.kind, verdict.reason) == (kind, reason)


def test_a_number_without_a_text_is_named() -> None:
    """The message says at least which it was."""
    failure = failure_beside({"base_resp": {"status_code": 1013, "status_msg": ""}}, "{}")
    assert str(failure) == "an error without a text, number 1013"


@pytest.mark.parametrize(
    "beside",
    [
        {"base_resp": {"status_code": 0, "status_msg": "success"}},
        {"x_groq": {"id": "req_01"}},
        {"x_groq": {"error": None}},
        {"metadata": {"error": "the caller's own word"}},
        {"usage": {"status_code": 7}},
    ],
)
def test_what_stands_beside_an_answer_is_mostly_no_error(beside: dict[str, object]) -> None:
    """Success, ids, and what the caller may have sent."""
    assert failure_beside(beside, "{}") is None


@pytest.mark.parametrize(
    "text",
    [
        '{"error":"no"}',
        '[{"error":{"message":"no"}}]',
        '{"code":500,"message":"no"}',
        '{"statusCode":403,"message":"no"}',
        '{"status":"failed","detail":"no"}',
    ],
)
def test_json_past_the_framing_may_be_an_error(text: str) -> None:
    """It has an error, or is one with a code."""
    failure = failure_unframed(text)
    assert failure is not None
    assert failure.message == "no"


@pytest.mark.parametrize(
    "text", ['{"x":1}', '{"message":"pong"}', '{"code":200,"message":"ok"}', '{"code":500}', "[1]", "[x", "{"]
)
def test_json_past_the_framing_mostly_says_nothing(text: str) -> None:
    """The standard passes over it."""
    assert failure_unframed(text) is None


@pytest.mark.parametrize("kind", ["error", "response.failed", "stream_error", "run.cancelled"])
def test_an_event_may_be_a_failure_by_its_type(kind: str) -> None:
    """Its error stands where events of that kind have it."""
    message = {"type": kind, "response": {"error": {"code": "server_error", "message": "x"}}}
    failure = failure_flat(message, json.dumps(message))
    assert failure is not None
    assert (failure.message, failure.code) == ("x", "server_error")


@pytest.mark.parametrize("kind", ["response.completed", "error_rate", "failover", None, 7])
def test_other_types_of_events_are_no_failure(kind: object) -> None:
    """They only look like one."""
    assert failure_flat({"type": kind}, "") is None
