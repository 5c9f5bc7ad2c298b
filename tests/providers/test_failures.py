"""The error that a body tells of: message, status and code, in whatever shape providers give them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.providers.failures import mended, read_failure


@pytest.mark.parametrize(
    ("body", "message", "status", "code"),
    [
        ('{"error":{"message":"slow down","type":"t","code":"c"}}', "slow down", None, "c"),
        ('{"error":{"message":"bad","code":400}}', "bad", 400, None),
        ('{"error":{"message":"bad","code":"503"}}', "bad", 503, None),
        ('\ufeff[{"error":{"code":429,"message":"m","status":"EXHAUSTED"}}]', "m", 429, "EXHAUSTED"),
        ('{"message":"flat","type":"x"}', "flat", None, "x"),
        ('{"detail":"why"}', "why", None, None),
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
