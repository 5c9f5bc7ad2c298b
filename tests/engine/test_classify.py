"""What failures mean: the corpus of real ones, the rules one by one, and whatever else may come."""

from __future__ import annotations

import asyncio
import builtins
import errno
import json
import math
import socket
import ssl
import time
import urllib.error
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import httpx
import pytest
from aiohttp.http_exceptions import BadStatusLine
from hypothesis import given, settings
from hypothesis import strategies as st

import llm_failover_nb.engine.classify as classify_module
from llm_failover_nb.engine.classify import Verdict, classify
from llm_failover_nb.engine.codes import _TABLE, CODES, FINISHES, STANDS_FOR, folded
from llm_failover_nb.engine.errors import DeadlineExceeded, ErrorKind, ProviderError, StreamInterrupted
from llm_failover_nb.engine.rules import KINDS
from llm_failover_nb.engine.waits import body_wait, fold_headers, header_wait, reset_wait, seconds_of

TRANSIENT, AUTH_DEAD = ErrorKind.TRANSIENT, ErrorKind.AUTH_DEAD
REQUEST_SPECIFIC, UNKNOWN = ErrorKind.REQUEST_SPECIFIC, ErrorKind.UNKNOWN

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
CORPUS = Path(__file__).parent.parent / "corpus"
CASES, OWN = (
    [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]
    for name in ("errors.jsonl", "own_errors.jsonl")
)
RESPONSES = [case for case in CASES if case["status"] is not None]
FAILURES = [case for case in CASES if case["status"] is None]

CAUSES: dict[str, BaseException] = {
    "socket.gaierror: [Errno -2] Name or service not known": socket.gaierror(-2, "Name or service not known"),
    "socket.gaierror: [Errno -3] Temporary failure in name resolution": socket.gaierror(-3, "Temporary"),
    "ConnectionRefusedError: [Errno 111] Connection refused": ConnectionRefusedError(111, "refused"),
    "OSError: [Errno 113] No route to host": OSError(113, "No route to host"),
    "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
    "self-signed certificate": ssl.SSLCertVerificationError(1, "certificate verify failed"),
    "ConnectionResetError: [Errno 104] Connection reset by peer": ConnectionResetError(104, "reset"),
}


def answered(status: int | None, body: object = "", *, headers: Any = None, **told: Any) -> ProviderError:
    """A provider's answer; a body that is not text is sent as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    return ProviderError("it failed", status=status, headers=headers, body=text, **told)


def said(message: str, **members: object) -> str:
    return json.dumps({"error": {"message": message, **members}})


def raised(error: BaseException, cause: BaseException | None) -> BaseException:
    error.__cause__ = cause
    return error


def limited(message: str = "Rate limit reached", **headers: str) -> float | None:
    """The wait read from a 429 at noon; ``_`` in a header's name stands for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(answered(429, said(message), headers=named), now=NOON).retry_after


# The corpus


def fits(case: dict[str, Any], verdict: Verdict) -> bool:
    if case["contested"] and verdict.kind != case["expect_kind"]:
        return case["contested_alt"].startswith(verdict.kind.value)
    if case["contested"] and case["contested_alt"] in ("null", "0", "clamp to 1 day"):
        return verdict.kind == case["expect_kind"]
    wait, expected = verdict.retry_after, case["expect_retry_after_s"]
    if wait is None or expected is None:
        return verdict.kind == case["expect_kind"] and wait is expected
    return verdict.kind == case["expect_kind"] and abs(wait - expected) <= max(1, expected / 100)


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: case["id"])
def test_corpus_response(case: dict[str, Any]) -> None:
    """A real response means what its label says, and asks for the wait that its label says."""
    error = ProviderError("", status=case["status"], headers=case["headers"], body=case["body"])
    now = datetime.fromisoformat(case["now"]) if "now" in case else None
    verdict = classify(error, wire=case["wire"], now=now)
    assert fits(case, verdict), verdict


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case["id"])
def test_corpus_transport(case: dict[str, Any]) -> None:
    """A real failure of the transport means what its label says."""
    module, _, name = case["exception"].rpartition(".")
    made: dict[str, BaseException] = {
        "asyncio.CancelledError": asyncio.CancelledError(),
        "OSError": OSError(errno.EMFILE, "Too many open files"),
    }
    error = made.get(case["exception"]) or getattr(httpx, name)(case["note"])
    verdict = classify(raised(error, CAUSES[case["cause"]] if case["cause"] else None))
    assert fits(case, verdict), verdict
    assert module in ("httpx", "asyncio", "")


def of_types(names: list[str]) -> type[BaseException]:
    """An exception's type and its bases, by their names; what Python has is Python's own."""
    made: type[BaseException] = Exception
    for name in reversed(names):
        known = getattr(builtins, name, None)
        own = isinstance(known, type) and issubclass(known, made)
        made = known if own else type(name, (made,), {})
    return made


def replayed(case: dict[str, Any]) -> BaseException:
    """The failure of a case."""
    if "exception_types" not in case:
        return ProviderError("", status=case["status"], headers=case["headers"], body=case["body"])
    kind = of_types(case["exception_types"])
    error = kind.__new__(kind)
    for name, value in case.get("attributes", {}).items():
        setattr(error, name, value)
    return error


def near(wait: float | None, expected: float | None) -> bool:
    if wait is None or expected is None:
        return wait is expected
    return abs(wait - expected) <= max(1, expected / 100)


@pytest.mark.parametrize("case", OWN, ids=lambda case: case["id"])
def test_own_corpus(case: dict[str, Any]) -> None:
    """What was found elsewhere means what its label says: kind, reason, wait, and when it ends by itself."""
    now = datetime.fromisoformat(case["now"]) if "now" in case else None
    verdict = classify(replayed(case), wire=case["wire"], now=now)
    if verdict.kind != case["expect_kind"]:
        assert verdict.kind in case.get("contested_alt", "").split("; "), verdict
        return
    assert verdict.reason in case["expect_reason"].split("|"), verdict
    assert near(verdict.retry_after, case["expect_retry_after_s"]), verdict
    assert near(verdict.lasts, case["expect_lasts_s"]), verdict


def test_corpus_tolerates_few_departures() -> None:
    """Beside one contested case, everything is as labelled, the contested cases included."""
    verdicts = {
        case["id"]: classify(
            ProviderError("", status=case["status"], headers=case["headers"], body=case["body"]),
            wire=case["wire"],
        ).kind
        for case in RESPONSES
    }
    departures = [case["id"] for case in RESPONSES if verdicts[case["id"]] != case["expect_kind"]]
    assert departures == ["cohere-498-blocked"]


# Statuses


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (302, UNKNOWN, "unknown"),
        (400, REQUEST_SPECIFIC, "bad_request"),
        (401, AUTH_DEAD, "credentials"),
        (402, AUTH_DEAD, "quota"),
        (403, AUTH_DEAD, "permission"),
        (404, AUTH_DEAD, "model_gone"),
        (405, AUTH_DEAD, "model_gone"),
        (407, AUTH_DEAD, "credentials"),
        (408, TRANSIENT, "timeout"),
        (410, AUTH_DEAD, "model_gone"),
        (412, UNKNOWN, "unknown"),
        (413, REQUEST_SPECIFIC, "context_length"),
        (422, REQUEST_SPECIFIC, "bad_request"),
        (424, TRANSIENT, "server_error"),
        (429, TRANSIENT, "rate_limit"),
        (451, AUTH_DEAD, "region"),
        (500, TRANSIENT, "server_error"),
        (503, TRANSIENT, "overloaded"),
        (504, TRANSIENT, "timeout"),
        (529, TRANSIENT, "overloaded"),
        (600, UNKNOWN, "unknown"),
        (-1, UNKNOWN, "unknown"),
        (200, TRANSIENT, "malformed"),
    ],
)
def test_bare_status(status: int, kind: ErrorKind, reason: str) -> None:
    """A status without a body decides alone."""
    verdict = classify(answered(status))
    assert (verdict.kind, verdict.reason) == (kind, reason)


@pytest.mark.parametrize("status", [500, 502, 503, 599])
def test_server_fault_is_not_overruled(status: int) -> None:
    """A 5xx stays transient whatever code comes with it."""
    assert classify(answered(status, said("", code="insufficient_quota"))).kind == TRANSIENT


def test_401_is_not_overruled() -> None:
    """A 401 is a dead key even when its type speaks of rate limits."""
    assert classify(answered(401, said("", type="rate_limit_error"))).kind == AUTH_DEAD


def test_401_of_a_router_at_its_upstream() -> None:
    """A router's own key at its upstream is not the caller's key."""
    body = {"error": {"message": "Provider returned error", "metadata": {"is_byok": False}}}
    assert classify(answered(401, body)).kind == TRANSIENT


def test_400_relayed_about_the_key_of_a_router() -> None:
    """The same upstream complaint in a 400 is not the caller's key either."""
    raw = json.dumps({"error": {"type": "authentication_error"}})
    body = {"error": {"message": "Provider returned error", "metadata": {"is_byok": False, "raw": raw}}}
    assert classify(answered(400, body)).kind == TRANSIENT


def test_402_with_a_billing_code_ignores_a_cooldown() -> None:
    """An exact billing code says that waiting does not help."""
    verdict = classify(answered(402, said("", code="insufficient_credits"), headers={"retry-after": "5"}))
    assert (verdict.kind, verdict.retry_after) == (AUTH_DEAD, None)


def test_402_with_a_billing_code_is_about_money() -> None:
    """Whatever other code comes with it."""
    verdict = classify(answered(402, said("", type="invalid_prompt", code="insufficient_credits")))
    assert verdict.reason == "quota"


def test_402_with_a_cooldown() -> None:
    """A 402 that names a wait is a limit that passes."""
    verdict = classify(answered(402, headers={"Retry-After": "5"}))
    assert (verdict.kind, verdict.reason, verdict.retry_after) == (TRANSIENT, "rate_limit", 5.0)


def test_404_about_a_part_of_the_request() -> None:
    """A 404 whose param is not the model is about something that the request names."""
    verdict = classify(answered(404, said("No such thing", param="file_id")))
    assert verdict.kind == REQUEST_SPECIFIC


def test_404_about_a_file_in_words() -> None:
    """The same, where only the words say it."""
    assert classify(answered(404, said("No such File object: file-1"))).kind == REQUEST_SPECIFIC


def test_424_of_the_request() -> None:
    """A 424 typed as the request's fault is the request's."""
    assert classify(answered(424, said("", type="invalid_request_error"))).kind == REQUEST_SPECIFIC


def test_403_challenge() -> None:
    """A challenge page came from the edge; the provider never saw the request."""
    verdict = classify(answered(403, "<html>", headers={"CF-Mitigated": "challenge"}))
    assert (verdict.kind, verdict.reason) == (TRANSIENT, "connection")


def test_429_challenge() -> None:
    """On another status than 403 the edge says no more than the status does."""
    assert classify(answered(429, headers={"CF-Mitigated": "challenge"})).reason == "rate_limit"


@pytest.mark.parametrize(("status", "reason"), [(400, "server_error"), (429, "rate_limit")])
def test_response_that_asks_to_be_retried(status: int, reason: str) -> None:
    """A 400 that asks for it is no fault of the request's; a status that says as much itself decides."""
    assert classify(answered(status, headers={"X-Should-Retry": "true"})).reason == reason


# Codes


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, "INSUFFICIENT_QUOTA", "quota"),
        (400, "insufficient-balance", "quota"),
        (400, "InvalidApiKey", "credentials"),
        (400, "ThrottlingException", "rate_limit"),
        (400, "com.example.service#ThrottlingException", "rate_limit"),
        (400, "AccessDeniedException", "permission"),
        (400, "ModelNotFoundError", "model_gone"),
        (403, "unsupported_country_region_territory", "region"),
        (403, "content_policy_violation", "content_filter"),
        (404, "DeploymentNotFound", "model_gone"),
        (422, "model_not_found", "model_gone"),
        (422, "rate_limit_exceeded", "bad_request"),
        (429, "billing_hard_limit_reached", "quota"),
        (429, "model_not_found", "rate_limit"),
        (429, "queue_exceeded", "overloaded"),
        (429, "token_quota_exceeded", "rate_limit"),
        (400, "my_insufficient_quota_field", "bad_request"),
        (403, "NOT_ENOUGH_BALANCE", "quota"),
        (403, "quota_exceeded", "quota"),
        (429, "quota_exceeded", "rate_limit"),
        (None, "quota_exceeded", "rate_limit"),
        (400, "Throttling.RateQuota", "rate_limit"),
        (403, "team-blocked:spending-limit-reached", "quota"),
        (400, "gpt-4.1", "bad_request"),
    ],
)
def test_code(status: int, code: str, reason: str) -> None:
    """Codes count as whole values, in any spelling, and only where they may decide."""
    assert classify(answered(status, said("", code=code))).reason == reason


def test_no_code_has_two_meanings() -> None:
    """Codes are put together from words, and no two reasons make the same."""
    made = [(folded(code), reason) for reason, codes in _TABLE.items() for code in codes]
    assert dict(made) == CODES
    assert len({reason for _, reason in made}) == len(_TABLE)
    assert len(dict(made)) == len(set(made))
    assert CODES.keys().isdisjoint({*STANDS_FOR, *FINISHES})


@pytest.mark.parametrize("number", [1002, "1002"])
def test_status_in_a_body_is_no_vendors_number(number: object) -> None:
    """A member that holds a status holds no code."""
    told = {"base_resp": {"status_code": number, "status_msg": "slow"}}
    assert classify(answered(400, told)).reason == "bad_request"


def test_code_of_the_error() -> None:
    """The code that the raiser read from the body counts as one of the body."""
    assert classify(answered(429, code="insufficient_quota")).kind == AUTH_DEAD


def test_code_in_a_header() -> None:
    """AWS names the error in a header."""
    error = answered(400, headers={"X-Amzn-ErrorType": "ExpiredTokenException:http://example.org/"})
    assert classify(error).reason == "credentials"


def test_code_that_explains_the_others() -> None:
    """Of several codes the one that explains the others decides, wherever it stands."""
    body = said("", type="rate_limit_error", details={"error_code": "spend_limit_reached"})
    assert classify(answered(400, body)).reason == "quota"


@pytest.mark.parametrize(("wire", "kind"), [("openai", AUTH_DEAD), ("gemini", REQUEST_SPECIFIC)])
def test_numbered_code(wire: str, kind: ErrorKind) -> None:
    """A vendor's number counts on the wires that such vendors speak."""
    assert classify(answered(400, said("", code="1211")), wire=wire).kind == kind


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        '\ufeff {"error":{"code":"invalid_api_key"}}',
        '[{"error":{"code":"invalid_api_key"}}]',
        '{"code":"invalid_api_key","message":"no"}',
        '{"detail":{"code":"invalid_api_key"}}',
        '{"detail":[{"type":"invalid_api_key"}]}',
        '{"errors":[{"code":"invalid_api_key"}]}',
        '{"error":{"code":"x\ny","type":"invalid_api_key"}}',
        json.dumps('{"error":{"code":"invalid_api_key"}}'),
        said('{"error":{"code":"invalid_api_key"}}'),
        said(said(said('{"error":{"code":"invalid_api_key"}}'))),
        said('RateLimitError: OpenAIException - {"error":{"code":"invalid_api_key"}} Model=x'),
        'data: {"error":{"code":"invalid_api_key"}}\n\ndata: [DONE]\n\n',
        'upstream said: {"error":{"code":"invalid_api_key"}}',
        '401 {"error":{"code":"invalid_api_key"}}',
        said('litellm.APIError - 401 {"error":{"code":"invalid_api_key"}}'),
        '{"error":{"innererror":{"code":"invalid_api_key"}}}',
    ],
)
def test_body_is_read_leniently(body: str) -> None:
    """A code is found in every wrapping that gateways put around it."""
    assert classify(answered(400, body)).reason == "credentials"


@pytest.mark.parametrize(
    "body",
    [
        said(said(said(said(said("x", code="invalid_api_key"))))),
        said('got: "{"error":{"code":"invalid_api_key"}}"'),
        said('got: {"error":{"code":"invalid_api_key"}}', param="messages"),
        said('my prompt {"error":{"code":"invalid_api_key"}}'),
        said('expected an array, got: {"error":{"code":"invalid_api_key"}}'),
        'input: {"error":{"code":"invalid_api_key"}}',
        said("got: {not json}"),
        said('value of "a": {"error":{"code":"invalid_api_key"}}'),
        said("", input={"code": "invalid_api_key"}),
        said("", failed_generation="invalid_api_key"),
        said("", metadata="invalid_api_key"),
        said("", code=True),
        said("", code="x" * 200),
        '{"error":{"code":null,"type":[]}}',
    ],
)
def test_body_that_only_mentions_a_code(body: str) -> None:
    """What is too deep, quoted, or the prompt's own text decides nothing."""
    assert classify(answered(400, body)).reason == "bad_request"


def test_body_without_end() -> None:
    """A body is looked into only so far, breadth first: what stands outside counts."""
    deep = {"errors": [{"errors": [{"errors": [{"code": "insufficient_quota"}] * 20}] * 20}] * 20}
    assert classify(answered(400, {"error": deep, "code": "invalid_api_key"})).reason == "credentials"
    assert classify(answered(400, {"error": {"errors": [deep] * 20}})).reason == "bad_request"


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_body_as_bytes(kind: type[bytes | bytearray]) -> None:
    """Bytes are read as UTF-8, broken ones included."""
    error = answered(400)
    body = b'\xef\xbb\xbf{"error":{"message":"\xff","code":"invalid_api_key"}}'
    error.body = kind(body)  # type: ignore[assignment]  # on purpose
    assert classify(error).reason == "credentials"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"code": 429}}, "rate_limit"),
        ({"error": {"code": "503"}}, "overloaded"),
        ({"error": {"code": 401, "type": "server_error"}}, "credentials"),
        ({"error": {"code": 400, "message": "Your credit balance is too low"}}, "quota"),
        ({"error": {"type": "authentication_error"}}, "credentials"),
        ({"error": {"type": "invalid_request_error"}}, "bad_request"),
        ({"error": {"type": "overloaded_error"}}, "overloaded"),
        ({"error": {"status": "UNAVAILABLE"}}, "overloaded"),
        ({"error": "upstream timeout"}, "server_error"),
        ({"candidates": [{"finishReason": "SAFETY"}]}, "content_filter"),
        ({"promptFeedback": {"blockReason": "OTHER"}}, "content_filter"),
        ({"choices": [{"message": {"refusal": "I cannot"}}]}, "content_filter"),
        ({"choices": [{"message": {"refusal": None}, "finish_reason": "stop"}]}, "malformed"),
        ({"choices": [{"finish_reason": "length"}]}, "bad_request"),
        ({"stop_reason": "model_context_window_exceeded"}, "context_length"),
        ({"error": "Insufficient balance"}, "quota"),
        ({"detail": "the context length is exceeded"}, "context_length"),
        ('{"message": {"content": "He"}}\n{"error": {"code": "insufficient_quota"}}\n', "quota"),
        ({"choices": [{"message": {"content": "Your API key is invalid"}}]}, "malformed"),
        ('{"choices": [{"message": {"content": "The capi', "cut"),
        ("<html>", "malformed"),
        ("<html>The server is busy", "malformed"),
        ("Your credit balance is too low", "malformed"),
    ],
)
def test_success_that_is_none(body: object, reason: str) -> None:
    """With a 200, and in a stream without a status, the body says what it stands for."""
    assert classify(answered(200, body)).reason == reason
    assert classify(answered(None, body)).reason == reason


# Words

SPENT = (
    "You have no credits",
    "There are no remaining funds",
    "Your balance is negative",
    "The team's budget has been reached",
    "No credits left here",
    "You ran out of points",
    "insufficient quota",
    "Your free trial has ended",
    "You have reached your usage limit for this cycle",
    "Account balance is $0.0",
    "Key limit exceeded",
    "Raise your spending limit",
    "You will regain access later",
    "Please purchase more credits",
    "Please top up your wallet",
    "Please recharge",
    "Payment required",
    "This method requires billing",
    "It requires a paid plan",
    "只有免费额度已用完",
    "余额不足",
    "账户欠费",
    "请先充值",
    "配额已用尽",
)
FILTERED = (
    "It violates the usage guidelines",
    "The request was considered high risk",
    "It was flagged as potentially harmful",
    "This is inappropriate content",
    "gpt-x requires moderation",
    "Blocked by the safety system",
    "包含敏感词",
    "不安全的内容",
    "内容违规",
    "违禁词",
    "未通过内容审核",
    "内容安全检测",
    "内容不合规",
)


@pytest.mark.parametrize(
    ("status", "words", "reason"),
    [
        *((403, words, "quota") for words in SPENT),
        (400, "Your credit balance is too low", "quota"),
        (400, "thinking budget exceeded", "bad_request"),
        (400, "the token budget is exhausted", "bad_request"),
        (400, "No credits were charged for it", "bad_request"),
        (400, "Signature expired: it is now earlier than it was", "credentials"),
        (400, "It does not match the signature you provided", "credentials"),
        (400, "An API key is required", "credentials"),
        (400, "令牌已过期", "credentials"),
        (400, "无效的令牌", "credentials"),
        *((403, words, "content_filter") for words in FILTERED),
        (400, "Please reduce the length of the prompt", "context_length"),
        (400, "It is longer than the model allows", "context_length"),
        (403, "该地区不支持", "region"),
        (400, "The model is no longer served", "model_gone"),
        (400, "This has reached the end of its life", "model_gone"),
        (400, "Unable to access non-serverless model foo", "model_gone"),
        (400, "模型 foo 不存在", "model_gone"),
        (400, "分组 default 下无可用渠道", "model_gone"),
        (400, "You do not have permission to perform this action", "permission"),
        (400, "User is not authorized to invoke it", "permission"),
        (400, "该令牌无权访问", "permission"),
        (403, "Rate limit exceeded", "rate_limit"),
        (403, "Too many requests", "rate_limit"),
        (400, "Too many tokens, please wait before trying again.", "rate_limit"),
        (400, "Too many tokens per day. Please come back tomorrow", "rate_limit"),
        (400, "too many tokens: it cannot exceed 4081. Try using a shorter prompt", "context_length"),
        (403, "You are being rate limited", "rate_limit"),
        (403, "触发限流", "rate_limit"),
        (403, "并发数过高", "rate_limit"),
        (403, "server busy", "server_error"),
        (403, "系统繁忙", "server_error"),
        (403, "请稍后再试", "server_error"),
        (404, "Response with id resp_1 is unknown", "bad_request"),
        (404, "No thread found", "bad_request"),
        (404, "File not found: file-1", "bad_request"),
        (400, "API key expired. Please renew the API key.", "credentials"),
        (400, "This organization has been disabled.", "credentials"),
        (400, "The input token count (1200000) exceeds the maximum", "context_length"),
        (400, "User location is not supported for the API use.", "region"),
        (400, "Model Not Exist", "model_gone"),
        (400, "foo/bar is not a valid model ID", "model_gone"),
        (400, "Web search options not supported with this model.", "bad_request"),
        (400, "This model does not support effort level 'xhigh'.", "bad_request"),
        (400, "Could not find the tool", "bad_request"),
        (400, "The tool 'get model' was not found", "bad_request"),
        (403, "Your input was flagged. No credits were charged.", "content_filter"),
        (403, "Your account was suspended for breaking our usage policies", "credentials"),
        (403, "You have exceeded a secondary rate limit", "rate_limit"),
        (412, "Account a-7 is suspended", "credentials"),
        (422, "Your credit balance is too low", "bad_request"),
        (429, "You have no credits remaining", "quota"),
        (429, "Your prepayment credits are depleted. Please go to AI Studio to manage billing.", "quota"),
        (429, "Your project has exceeded its spending cap.", "quota"),
        (429, "add 10 credits to unlock 1000 requests a day", "rate_limit"),
        (429, "Limit 6000, Requested 8000.", "context_length"),
        (429, "Limit 6,000, Used 5,000, Requested 8,000.", "context_length"),
        (429, "Limit 6000, Used 5000, Requested 2000.", "rate_limit"),
        (429, "Limit 6000, Used 5000, Requested 6000.", "rate_limit"),
        (429, "The model is overloaded", "overloaded"),
        (429, "We see high traffic", "overloaded"),
        (429, "The endpoint is not ready", "overloaded"),
        (429, "no credits", "quota"),
        (429, "余额不足", "quota"),
        (429, "账户欠费", "quota"),
        (429, "请充值", "quota"),
        (429, "Rate limit reached. Buy credits to raise your limit", "rate_limit"),
        (429, "You exceeded your current quota, check your plan and billing details", "rate_limit"),
    ],
)
def test_words(status: int, words: str, reason: str) -> None:
    """Free text decides last, and only on the statuses where it must."""
    assert classify(answered(status, said(words))).reason == reason
    assert classify(answered(status, words)).reason == reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "bad_request"), (403, "permission"), (404, "model_gone"), (429, "rate_limit")],
)
def test_words_of_a_page(status: int, reason: str) -> None:
    """A page that somebody puts into the provider's place says nothing of the account or the prompt."""
    page = (
        "<html><h1>Your account is suspended, credits exhausted, content filter, prompt too long</h1></html>"
    )
    assert classify(answered(status, page)).reason == reason


def test_words_of_a_page_about_the_place() -> None:
    """Where it is from, a page does know."""
    page = "<html>The owner has banned the country your IP address is in</html>"
    assert classify(answered(403, page)).reason == "region"


@pytest.mark.parametrize("quotes", ["''", '""', "``", "\u201c\u201d", "\u2018\u2019", "'", '"'])
def test_words_that_are_quoted(quotes: str) -> None:
    """Prose in quotes is an echo of the prompt, also where the quote is cut off."""
    echo = f"bad value: {quotes[0]}please don't say invalid api key{quotes[1:]}"
    assert classify(answered(400, said(echo))).reason == "bad_request"


def test_words_around_a_quoted_name() -> None:
    """A quoted name stays part of its sentence; an apostrophe is no quote."""
    words = "You can't: model 'llama 9' does not exist, don't ask"
    assert classify(answered(400, said(words))).reason == "model_gone"


def test_words_after_a_param() -> None:
    """Where param names a part of the request, the text may be that part."""
    assert classify(answered(400, said("invalid api key", param="messages"))).reason == "bad_request"


def test_words_of_the_error_itself() -> None:
    """Without a body the message stands in for it."""
    assert classify(ProviderError("Insufficient balance", status=403)).reason == "quota"
    assert classify(ProviderError(said("", code="insufficient_quota"), status=429)).reason == "quota"


# What the raiser knows


def test_given_kind_is_kept() -> None:
    """A kind that the raiser gives is kept with its reason, and the wait is still read."""
    error = answered(401, kind=TRANSIENT, reason="odd", headers={"retry-after": "3"})
    assert classify(error) == Verdict(TRANSIENT, "odd", 3.0, True, "given")


def test_given_kind_without_a_reason() -> None:
    """A reason that was left open is the one decided, where it fits the kind, else the kind's own."""
    fitting = classify(answered(429, kind=TRANSIENT)).reason
    default = classify(answered(429, kind=AUTH_DEAD)).reason
    assert (fitting, default) == ("rate_limit", "credentials")


def test_given_reason_has_a_kind() -> None:
    """A reason of the list, with nothing else known, brings its kind."""
    verdict = classify(ProviderError("no key", reason="no_key"))
    assert (verdict.kind, verdict.reason) == (AUTH_DEAD, "no_key")


def test_given_reason_does_not_overrule_a_body() -> None:
    """A reason without a kind gives way to a code."""
    error = answered(200, said("", code="insufficient_quota"), reason="cut")
    assert classify(error).reason == "quota"


def test_given_reason_that_is_nobodys() -> None:
    """A reason outside the list says nothing of the kind."""
    assert classify(ProviderError("passed by", reason="odd")).kind == UNKNOWN


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("empty", TRANSIENT), ("not_installed", AUTH_DEAD), ("benched", UNKNOWN), ("deadline", UNKNOWN)],
)
def test_reason_that_only_the_package_gives(reason: str, kind: ErrorKind) -> None:
    """What no provider says, but the package itself, has its kind as well."""
    assert classify(ProviderError("it failed", reason=reason)).kind == kind


def test_every_reason_is_explained() -> None:
    """The docstring's table is the list of reasons, each with its kind."""
    told = [line.split()[:2] for line in (classify_module.__doc__ or "").splitlines() if " " * 3 in line]
    assert {row[0]: row[1] for row in told if row[0] != "reason"} == KINDS


def test_given_wait_alone() -> None:
    """A wait is kept where nothing else is known."""
    assert classify(ProviderError("not now", retry_after=5)).retry_after == 5.0


def test_given_wait_wins() -> None:
    """The raiser's wait outranks the headers; one that is no wait does not."""
    headers = {"retry-after": "9"}
    waits = [classify(answered(429, headers=headers, retry_after=w)).retry_after for w in (2, math.nan, -1)]
    assert waits == [2.0, 9.0, 9.0]


@pytest.mark.parametrize("kind", [AUTH_DEAD, REQUEST_SPECIFIC])
def test_no_wait_where_waiting_does_not_help(kind: ErrorKind) -> None:
    """A wait beside a failure that lasts is not passed on."""
    assert classify(answered(429, kind=kind, retry_after=3)).retry_after is None


# What has been judged


def judged(error: ProviderError, verdict: Verdict) -> ProviderError:
    """The error as the engine leaves it."""
    error.kind, error.reason, error.rule = verdict.kind, verdict.reason, verdict.rule
    return error


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: case["id"])
def test_judged_error_keeps_its_verdict(case: dict[str, Any]) -> None:
    """Asked again, the same is said of an error, the rule and the wait included."""
    error = ProviderError("", status=case["status"], headers=case["headers"], body=case["body"])
    verdict = classify(error, wire=case["wire"], now=NOON)
    assert classify(judged(error, verdict), wire=case["wire"], now=NOON) == verdict


def test_judged_error_keeps_a_wait_said_in_other_words() -> None:
    """However a body asks to wait, it does so the second time, too."""
    error = answered(429, said("Your limit RESETS IN 2 hours"))
    verdict = classify(error)
    assert (verdict.retry_after, classify(judged(error, verdict))) == (7200.0, verdict)


# Retrying in place


@pytest.mark.parametrize(
    ("error", "in_place"),
    [
        (answered(408), True),
        (answered(504), True),
        (answered(503), True),
        (answered(None, said("", type="timeout_error")), True),
        (answered(None, kind=TRANSIENT, reason="timeout"), False),
        (answered(200, kind=TRANSIENT, reason="timeout"), False),
        (answered(504, kind=TRANSIENT, reason="timeout"), True),
        (httpx.ConnectTimeout(""), False),
        (httpx.ReadTimeout(""), False),
        (httpx.PoolTimeout(""), False),
        (TimeoutError(), False),
        (DeadlineExceeded(""), False),
        (httpx.ReadError(""), True),
    ],
)
def test_retry_in_place(error: Exception, in_place: bool) -> None:
    """Silence is not asked again at once; an answer that speaks of a timeout is."""
    assert classify(error).retry_in_place == in_place


# Other people's exceptions


def test_httpx_status_error() -> None:
    """An httpx error is read from its response."""
    request = httpx.Request("POST", "http://127.0.0.1/")
    response = httpx.Response(429, headers={"Retry-After": "4"}, text=said("slow"), request=request)
    verdict = classify(httpx.HTTPStatusError("", request=request, response=response))
    assert (verdict.reason, verdict.retry_after) == ("rate_limit", 4.0)


def test_httpx_status_error_of_an_unread_stream() -> None:
    """A response that was not read refuses its text, and the status decides."""
    request = httpx.Request("POST", "http://127.0.0.1/")
    response = httpx.Response(404, stream=httpx.ByteStream(b""), request=request)
    assert classify(httpx.HTTPStatusError("", request=request, response=response)).reason == "model_gone"


def test_sdk_error_with_a_body() -> None:
    """An SDK's error carries the body as a dict, also without a status."""

    class APIError(Exception):
        body: ClassVar = {"message": "no", "code": "insufficient_quota"}

    class APIStatusError(APIError):
        status_code = 429

    assert [classify(error()).reason for error in (APIError, APIStatusError)] == ["quota", "quota"]


def test_error_with_details() -> None:
    """A dict of details is a body; a status that is a word is none."""

    class ClientError(Exception):
        code, status = 400, "INVALID_ARGUMENT"
        details: ClassVar = {"error": {"details": [{"reason": "API_KEY_INVALID"}]}}

    assert classify(ClientError()).reason == "credentials"


def test_botocore_error() -> None:
    """A response that is a dict holds status, headers and body in one."""

    class ClientError(Exception):
        response: ClassVar = {
            "Error": {"Code": "ThrottlingException", "Message": "Too many tokens"},
            "ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "4"}},
        }

    assert (classify(ClientError()).reason, classify(ClientError()).retry_after) == ("rate_limit", 4.0)


def test_status_as_a_text() -> None:
    """Three digits are a status also where they come as a text."""
    error = KeyError("x")
    error.status_code = "404"  # type: ignore[attr-defined]  # on purpose
    assert classify(error).reason == "model_gone"


def test_urllib_error() -> None:
    """The standard library's own error has code and headers."""
    headers = Message()
    headers["Retry-After"] = "6"
    with urllib.error.HTTPError("http://127.0.0.1/", 503, "busy", headers, None) as error:
        assert classify(error).retry_after == 6.0


def test_error_whose_attributes_raise() -> None:
    """What cannot be read is not there."""

    class Shy(Exception):
        status_code = 404

        @property
        def body(self) -> str:
            raise RuntimeError("closed")

        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert classify(Shy()).reason == "model_gone"


def test_error_that_cannot_be_read() -> None:
    """An object that breaks while it is read leaves a failure of which nothing is known."""

    class Headers(dict[str, str]):
        def items(self) -> Any:
            raise RuntimeError("gone")

    assert classify(answered(503, headers=Headers(a="b"))).rule == "unreadable"


def test_wrapped_response() -> None:
    """A response is found behind the error that it caused."""
    error = raised(StreamInterrupted("cut", text="a"), answered(429, headers={"retry-after": "8"}))
    assert classify(error).retry_after == 8.0


def test_cancellation_is_not_its_cause() -> None:
    """A cancelled call says nothing of the model, whatever went before."""
    assert classify(raised(asyncio.CancelledError(), answered(429))) == Verdict(
        UNKNOWN, "unknown", rule="cancelled"
    )


def test_causes_in_a_ring() -> None:
    """Causes that cause each other come to an end."""
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert classify(first).kind == UNKNOWN


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection"),
        (OSError(errno.ENETUNREACH, "unreachable"), "connection"),
        (OSError(errno.EMFILE, "files"), "unknown"),
        (PermissionError(), "unknown"),
        (ssl.SSLCertVerificationError(), "connection"),
        (socket.gaierror(), "connection"),
        (asyncio.IncompleteReadError(b"", 1), "cut"),
        (json.JSONDecodeError("", "", 0), "malformed"),
        (aiohttp.ServerTimeoutError(), "timeout"),
        (aiohttp.ServerDisconnectedError(), "connection"),
        (aiohttp.ClientPayloadError(), "cut"),
        (StreamInterrupted("cut"), "cut"),
        (ProviderError("nothing more"), "unknown"),
        (KeyError("x"), "unknown"),
        (KeyboardInterrupt(), "unknown"),
        (asyncio.CancelledError(), "unknown"),
    ],
)
def test_type(error: BaseException, reason: str) -> None:
    """What is no response is known by its type."""
    assert classify(error).reason == reason


def test_innermost_cause_decides() -> None:
    """A refused connection that arrives as a timeout is no silence."""
    refused = aiohttp.ClientConnectionError()
    verdict = classify(raised(httpx.ConnectTimeout(""), raised(refused, ConnectionRefusedError())))
    assert (verdict.reason, verdict.retry_in_place) == ("connection", True)


def test_response_that_is_not_http() -> None:
    """The status that aiohttp makes up for a garbage status line is not the provider's."""
    info: Any = None
    error = raised(aiohttp.ClientResponseError(info, (), status=400), BadStatusLine("garbage"))
    assert classify(error).reason == "connection"


# Waits


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "1m30s"}, 90.0),
        ({"retry_after": "Thu, 15 Jan 2026 12:00:45 GMT"}, 45.0),
        ({"retry_after": "Thursday, 15-Jan-26 12:00:45 GMT"}, 45.0),
        ({"retry_after": "Thu Jan 15 12:00:45 2026"}, 45.0),
        ({"retry_after": "2026-01-15T12:00:45Z"}, 45.0),
        ({"retry_after": "Thu, 15 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"retry_after_ms": "1500", "x_ms_retry_after_ms": "1", "retry_after": "9"}, 1.5),
        ({"retry_after_ms": "nan", "x_ms_retry_after_ms": "2500", "retry_after": "9"}, 2.5),
        ({"retry_after_ms": "-1", "retry_after": "9"}, 9.0),
        ({"retry_after_ms": "1e400", "retry_after": "9"}, 9.0),
        *(({"retry_after": text}, None) for text in ("", "nan", "inf", "-5", "soon", "1_0", "1e400")),
        ({"retry_after": "9" * 400}, None),
        ({"retry_after": "x" * 400}, None),
        ({"retry_after": "Thu, 99 Jan 2026 99:00:00 GMT"}, None),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1m2.5s"}, 62.5),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1768478445"}, 45.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1768478445000"}, 45.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "2026-01-15T12:00:30Z"}, 30.0),
        ({"x_ratelimit_remaining": "3", "x_ratelimit_reset": "30"}, None),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "never"}, None),
        ({"a_ratelimit_unified_status": "rejected", "a_ratelimit_unified_reset": "30"}, 30.0),
        ({"x_rate_limit_remaining": "0", "x_rate_limit_reset": "30"}, 30.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset_after": "30"}, 30.0),
        ({"RateLimit": '"min";r=9;t=50, "day";r=0;t=30'}, 30.0),
        ({"RateLimit": "limit=100, remaining=0, reset=30"}, 30.0),
        ({"RateLimit": '"day";r=10;t=30'}, None),
    ],
)
def test_wait_in_headers(headers: dict[str, str], wait: float | None) -> None:
    """The headers are read in their order of trust, and garbage falls through."""
    assert limited(**headers) == wait


def test_wait_until_the_latest_reset() -> None:
    """Of several exhausted buckets the one that fills last decides."""
    spent = {f"x-ratelimit-remaining-{name}": "0" for name in "ab"}
    resets = {"x-ratelimit-reset-a": "1s", "x-ratelimit-reset-b": "9s"}
    assert reset_wait({**spent, **resets}) == 9.0


def test_wait_until_a_date_without_a_clock() -> None:
    """Without a moment to count from, the clock's is taken; a naive one counts as UTC."""
    assert header_wait({"retry-after": "Thu, 15 Jan 2015 12:00:00 GMT"}) == 0.0
    assert header_wait({"retry-after": "Thu, 15 Jan 2026 12:00:45 GMT"}, NOON.replace(tzinfo=None)) == 45.0


@pytest.mark.parametrize(
    ("words", "wait"),
    [
        ("Please try again in 1h53m56.832s.", 6836.832),
        ("Please retry after 2 minutes.", 120.0),
        ("try again in 1 hour and 5 minutes", 3900.0),
        ("Your quota will reset. It resets in 2 hours", 7200.0),
        ("Please wait 47 seconds before retrying", 47.0),
        ("retry in 500ms", 0.5),
        ("try again in about 30 milliseconds", 0.03),
        ("Retry-After: 30", 30.0),
        ("try again in 1 day", 86400.0),
        ("retry in 5s, or try again in 9s", 9.0),
        ("Limit is 100 requests per 60 seconds", None),
        ("try again in 5 attempts", None),
        ("Please try again later", None),
        ("got 'please do try again in 5s'", None),
        ("You will regain access on 2026-01-16 at 00:00 UTC.", 43200.0),
        ("Your limit resets at 2026-01-15T12:00:30Z.", 30.0),
        ("resets at 2026-01-15 14:00:00+01:00", 3600.0),
        ("Limit resets at: '2026-01-15T12:00:01.5+0000'", 1.5),
        ("quota resets 2026-01-15 13:00 (UTC)", 3600.0),
        ("available again after 2026-01-15, 13:00 GMT", 3600.0),
        ("try again at 2026-01-15 12:10:00 +0000 UTC", 600.0),
        ("Daily limit. It resets at 00:00 UTC", 43200.0),
        ("resets daily at midnight UTC", 43200.0),
        ("try again tomorrow at 09:00 UTC", 75600.0),
        ("try again tomorrow at 13:00 UTC", 90000.0),
        ("resets at 9:00 UTC", 75600.0),
        ("resets at 23:00 -05:00", 57600.0),
        ("resets at 01:00+09:00", 14400.0),
        ("You will regain access in 3 days", 259200.0),
        ("Quota will be replenished in 12:34:56.", 45296.0),
        ("try again after 12:34:56", None),
        ("resets at 2026-01-15T13:00:00", None),
        ("resets on 2026-02-01", None),
        ("resets at 2026-01-16 00:00 UTC+8", None),
        ("resets at 2026-01-16 00:00 UTC +08:00", None),
        ("resets at 8pm (America/New_York)", None),
        ("resets at 2026-99-99T00:00:00Z", None),
        ("resets at 99:99 UTC", None),
        ("resets at 10:00 +99:99", None),
        ("resets at 2026-01-15T11:00:00Z", None),
        ("This model was retired on 2026-02-01 at 00:00 UTC", None),
    ],
)
def test_wait_in_words(words: str, wait: float | None) -> None:
    """A sentence that asks to wait is read, with its moments; the length of a window is not a wait."""
    assert limited(words) == (None if wait is None else pytest.approx(wait))
    assert classify(answered(503, said(words)), now=NOON).retry_after == limited(words)


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        ({"error": "loading", "estimated_time": 20.5}, 20.5),
        ({"error": {"details": [{"retryDelay": "37s"}], "message": "retry in 99s"}}, 37.0),
        ({"error": {"details": [{"retryDelay": {"seconds": "3", "nanos": 500_000_000}}]}}, 3.5),
        ({"retry_after_ms": 1500, "message": ""}, 1.5),
        ({"retry_after_ms": "x", "message": ""}, None),
        ({"retry_after": True}, None),
        ({"error": {"metadata": {"headers": {"Retry-After": "4"}}}, "retry_after": None}, 4.0),
        ({"error": "down"}, None),
        ({"error": {"resets_at": 1768478445, "resets_in_seconds": 45}}, 45.0),
        ({"error": {"resets_at": 1768000000, "resets_in_seconds": 45}}, 45.0),
        ({"error": {"resets_at": "2026-01-15T12:00:45Z"}}, 45.0),
        ({"error": {"code": "model_cooldown", "reset_time": "1m", "reset_seconds": 60}}, 60.0),
        ({"error": {"resets_at": 1768000000}}, 0.0),
    ],
)
def test_wait_in_a_body(body: object, wait: float | None) -> None:
    """Members that name a wait are read, on a 5xx as on a 429."""
    assert classify(answered(429, body), now=NOON).retry_after == wait
    if wait != 4.0:  # headers inside a body are those of a rate limit
        assert classify(answered(503, body), now=NOON).retry_after == wait


def test_wait_in_a_body_that_is_a_dict() -> None:
    """A 5xx whose body is already read is looked into as well."""

    class APIStatusError(Exception):
        status_code = 503
        body: ClassVar = {"retry_after": 3}

    assert classify(APIStatusError()).retry_after == 3.0


def spent(status: int = 429, message: str = "Quota", **told: Any) -> Verdict:
    """The verdict on an account whose quota is used up, at noon."""
    return classify(answered(status, said(message, code="insufficient_quota"), **told), now=NOON)


@pytest.mark.parametrize(
    ("told", "lasts"),
    [
        ({}, None),
        ({"headers": {"retry-after": "7200"}}, 7200.0),
        ({"retry_after": 3600}, 3600.0),
        ({"message": "You will regain access on 2026-02-01 at 00:00 UTC."}, 1425600.0),
        ({"message": "try again in 2h", "headers": {"retry-after": "1"}}, 7200.0),
        ({"headers": {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2026-01-16T00:00:00Z"}}, 43200.0),
        ({"headers": {"x-ratelimit-remaining": "9", "x-ratelimit-reset": "2026-01-16T00:00:00Z"}}, None),
        ({"status": 402, "message": "Your limit resets on 2026-02-01 at 00:00 UTC."}, 1425600.0),
        ({"status": 403, "message": "The month is spent, it resets in 3 days"}, 259200.0),
    ],
)
def test_quota_that_ends_by_itself(told: dict[str, Any], lasts: float | None) -> None:
    """A used-up quota asks for no retry, and lasts for as long as the provider says."""
    verdict = spent(**told)
    assert (verdict.kind, verdict.reason, verdict.retry_after, verdict.lasts) == (
        AUTH_DEAD, "quota", None, lasts,
    )  # fmt: skip


def test_402_of_a_month_is_no_cooldown() -> None:
    """A 402 that asks to wait for longer than a day is an account at its end."""
    verdict = classify(answered(402, "The limit resets on 2026-02-01 at 00:00 UTC."), now=NOON)
    assert (verdict.kind, verdict.lasts) == (AUTH_DEAD, 1425600.0)


def test_dead_key_does_not_end_by_itself() -> None:
    """What a dead key's response asks to wait is no promise of a living one."""
    assert classify(answered(401, headers={"retry-after": "30"})).lasts is None


def test_limit_of_nothing_does_not_end() -> None:
    """A model that the plan has no quota for is not there after the wait that is asked for, either."""
    verdict = classify(answered(429, said("Quota exceeded, limit: 0. Please retry in 24s")))
    assert (verdict.kind, verdict.reason, verdict.lasts) == (AUTH_DEAD, "permission", None)


@pytest.mark.parametrize(("header", "wait"), [("8", 64627.2), ("64000", 64000.0)])
def test_wait_of_the_body_is_much_longer(header: str, wait: float) -> None:
    """A body that asks for much longer than the header speaks of the bucket that counts."""
    assert limited("Please try again in 17h57m7.2s.", retry_after=header) == wait


@pytest.mark.parametrize(
    "value", [None, math.nan, math.inf, -1, 10**400, True, [], "x", {"seconds": "x"}, {"seconds": 1.8e308}]
)
def test_no_seconds(value: object) -> None:
    """What is no wait gives none."""
    assert seconds_of(value) is None


def test_seconds_that_overflow_together() -> None:
    """Two finite numbers whose sum is not finite are no wait."""
    assert seconds_of({"seconds": 1.7976931348623157e308, "nanos": 1.7976931348623157e308}) is None


def test_first_readable_delay() -> None:
    """Delays that cannot be read are passed over."""
    assert body_wait([None, "x", "2s"], "") == 2.0


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "5", "Other": "x"},
        [("RETRY-AFTER", "5")],
        [(b"retry-after", b"5"), "odd", (1, 2, 3), (None, None)],
        httpx.Headers({"retry-after": "5"}),
        {"retry-after": 5},
    ],
)
def test_headers_of_any_make(headers: object) -> None:
    """Names compare without case, whatever holds them."""
    assert dict(fold_headers(headers)) == {"retry-after": "5"}


def test_headers_that_are_none() -> None:
    """What cannot be headers has none."""
    assert fold_headers(7) == {}


# Anything at all

texts = st.text(max_size=60) | st.sampled_from(
    [
        *("retry in 5s", "1e999", "NaN", "limit: 0", "'" * 9, "{" * 9, "2026-01-15T12:00:00Z", "9" * 20),
        *(
            "resets at 9:30 UTC",
            "try again on 0001-01-01 at 0:00 +23:59",
            "try again tomorrow at midnight UTC",
        ),
    ]
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "code", "message", "details", "retryDelay", "headers", "param", "refusal"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
header_names = st.sampled_from(
    ["Retry-After", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-remaining", "X-Amzn-ErrorType"]
)
statuses = st.none() | st.integers() | st.integers(100, 600) | st.sampled_from([200, 400, 402, 404, 429, 503])
bodies = texts | trees.map(json.dumps) | trees | st.binary(max_size=40)
errors = st.builds(
    lambda status, headers, body, told: (
        answered(status, "", headers=headers, **told)
        if body is None
        else _with_body(answered(status, "", headers=headers, **told), body)
    ),
    statuses,
    st.dictionaries(header_names | texts, texts | st.just("0"), max_size=5)
    | st.lists(st.tuples(header_names, texts), max_size=3),
    bodies,
    st.fixed_dictionaries(
        {},
        optional={
            "kind": st.sampled_from(ErrorKind),
            "reason": texts | st.sampled_from(sorted(KINDS)),
            "code": texts,
            "retry_after": st.floats(),
        },
    ),
)


def _with_body(error: ProviderError, body: Any) -> ProviderError:
    error.body = body
    return error


@given(error=errors, wire=st.sampled_from(["openai", "anthropic", "gemini", "ollama"]), now=st.datetimes())
@settings(max_examples=120, deadline=None)
def test_anything_is_classified(error: ProviderError, wire: str, now: datetime) -> None:
    """Whatever comes, there is a verdict, and its wait is a wait."""
    verdict = classify(error, wire=wire, now=now)
    assert verdict.rule != "unreadable"
    assert verdict.retry_after is None or (math.isfinite(verdict.retry_after) and verdict.retry_after >= 0)
    told = (error.status, error.headers, error.body, error.code, error.retry_after, error.kind, error.reason)
    assert classify(judged(error, verdict), wire=wire, now=now) == verdict, told


@given(
    kind=st.sampled_from([ValueError, OSError, ConnectionError, TimeoutError, KeyboardInterrupt, KeyError]),
    arguments=st.lists(trees, max_size=3),
    carried=st.dictionaries(st.sampled_from(["status_code", "code", "status", "body", "headers"]), trees),
)
@settings(max_examples=200, deadline=None)
def test_any_exception_is_classified(
    kind: type[BaseException], arguments: list[Any], carried: dict[str, Any]
) -> None:
    """Any exception with any attributes has a verdict whose reason has the verdict's kind."""
    error = kind(*arguments)
    for name, value in carried.items():
        setattr(error, name, value)
    verdict = classify(error)
    assert verdict.rule != "unreadable"
    assert verdict.kind == KINDS[verdict.reason]


# What does not change a verdict

ANSWERED = [case for case in (*RESPONSES, *OWN) if case["status"] is not None]
# Bodies that are one JSON value, without JSON in their texts, which may be nested only so deep.
PLAIN = [
    case
    for case in ANSWERED
    for body in [case["body"].strip("\ufeff \r\n")]
    if body[:1] in ("{", "[") and body[-1:] in ("}", "]") and '\\"' not in body and "}\n{" not in body
]


def verdict_of(case: dict[str, Any], **changed: Any) -> Verdict:
    """The verdict on a case with other headers or another body."""
    told = {"headers": case["headers"], "body": case["body"]} | changed
    error = _with_body(ProviderError("", status=case["status"], headers=told["headers"]), told["body"])
    return classify(error, wire=case["wire"], now=NOON)


@given(case=st.sampled_from(ANSWERED), random=st.randoms())
@settings(max_examples=120, deadline=None)
def test_order_and_case_of_headers(case: dict[str, Any], random: Any) -> None:
    """Headers mean the same in any order and any case, as a mapping or as pairs."""
    named = [(random.choice((n.lower(), n.upper(), n.title())), v) for n, v in case["headers"].items()]
    random.shuffle(named)
    assert verdict_of(case, headers=dict(named)) == verdict_of(case)
    assert verdict_of(case, headers=[(n.encode(), v.encode()) for n, v in named]) == verdict_of(case)


@given(case=st.sampled_from(ANSWERED), kind=st.sampled_from(["text/html", "application/octet-stream", ""]))
@settings(max_examples=200, deadline=None)
def test_content_type(case: dict[str, Any], kind: str) -> None:
    """The content type decides nothing."""
    assert verdict_of(case, headers=case["headers"] | {"content-type": kind}) == verdict_of(case)


WRAPPINGS: dict[str, Any] = {
    "list": lambda body: f"[{body}]",
    "detail": lambda body: f'{{"detail": {body}}}',
    "string": json.dumps,
    "blanks": lambda body: f"\r\n {body}\n",
    "bom": lambda body: f"\ufeff{body}",
    "bytes": lambda body: body.encode(),
    "read": json.loads,
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_wrapped_body(wrap: Any) -> None:
    """What a gateway puts around a body changes nothing, for no case there is."""
    bodies = {case["id"]: wrap(case["body"].lstrip("\ufeff")) for case in PLAIN}
    assert [c["id"] for c in PLAIN if verdict_of(c, body=bodies[c["id"]]) != verdict_of(c)] == []


@given(
    case=st.sampled_from(PLAIN),
    wraps=st.lists(st.sampled_from(["list", "detail", "string", "blanks"]), max_size=3),
    last=st.sampled_from(["blanks", "bom", "bytes", "read"]),
)
@settings(max_examples=120, deadline=None)
def test_body_wrapped_again_and_again(case: dict[str, Any], wraps: list[str], last: str) -> None:
    """Nor do several around each other, up to three texts deep."""
    body = case["body"].lstrip("\ufeff")
    for wrap in (*wraps, last):
        body = WRAPPINGS[wrap](body)
    assert verdict_of(case, body=body) == verdict_of(case), body


PROMPTS = (
    "please explain 429 too many requests",
    "why is my credit balance too low and my quota exceeded",
    "invalid api key, insufficient_quota, account suspended",
    "this model's maximum context length is exceeded, the prompt is too long",
    "the model gpt-x does not exist, please try again in 999 hours",
    "you will regain access on 2030-01-01 at 00:00 UTC",
    "content policy violation in your country, which is not supported",
    '{"error": {"code": "invalid_api_key"}}',
)
ECHOES = ('. Your prompt was: "{}"', ". Input: {}", ". Received: {}", ", got: {}", ". Near `{}`", ". “{}”")


def sentence_in(body: Any) -> tuple[Any, Any] | None:
    """Where a body keeps its first sentence, if it has one that quotes nothing: the object and the key."""
    if isinstance(body, dict):
        for key in ("message", "detail", "error", "msg", "error_msg"):
            if isinstance(text := body.get(key), str) and " " in text and not set(text) & set("\"'`“<{「"):
                return body, key
    inner = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return next((found for one in inner if (found := sentence_in(one)) is not None), None)


SPEAKING = [case for case in PLAIN if sentence_in(json.loads(case["body"].lstrip("\ufeff"))) is not None]


@given(case=st.sampled_from(SPEAKING), prompt=st.sampled_from(PROMPTS), echo=st.sampled_from(ECHOES))
@settings(max_examples=120, deadline=None)
def test_echoed_prompt(case: dict[str, Any], prompt: str, echo: str) -> None:
    """A prompt that is repeated behind the provider's sentence decides nothing."""
    body = json.loads(case["body"].lstrip("\ufeff"))
    holder, key = sentence_in(body) or ({}, "")
    holder[key] = holder[key].rstrip(".! ") + echo.format(prompt)
    assert verdict_of(case, body=json.dumps(body)) == verdict_of(case), holder[key]


MEBIBYTE = 1 << 20
HOSTILE = (
    *("'a ", "' ", "a'", '"a b c ', "api key ", "account ", "model/", "limit 1 ", "9", " ", "\n"),
    *("try again in 1s ", "try again in ", "retry 1m", "[", '{"error":', '{"error":"', '{"a":1}x\n', "x: {"),
    *(
        "resets at 2026-01-01 ",
        "resets at midnight ",
        "resets daily at ",
        "resets:::",
        "resets at 11:11:11.1",
    ),
    *("credits ", "credits a b c d ", "exceeded a b c d ", "the balance is ", "over ", "got: ", "余额", "「"),
    *("models 'a' ", "deployment/", "context ", "country ", "r=0;", "a.b:c.", "maximum ", "“", "input: "),
)


@pytest.mark.parametrize("status", [400, 429, 503, 200, None])
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_body_is_read_in_time(status: int | None, piece: str) -> None:
    """A mebibyte of the worst text takes well under a second."""
    body = (piece * MEBIBYTE)[:MEBIBYTE]
    began = time.process_time()
    for text in (body, said(body[: MEBIBYTE // 2]), json.dumps({"errors": [{"detail": body[:50_000]}] * 20})):
        classify(answered(status, text))
    assert time.process_time() - began < 1.0
