"""What a failure means: any exception in, a :class:`Verdict` out. No I/O, no state, no policy, no wording.

A verdict has one of these reasons, and the reason fixes the kind:

================ ================ =====================================================================
reason           kind             what happened
================ ================ =====================================================================
rate_limit       transient        too many requests or tokens for now
overloaded       transient        no capacity at the provider
server_error     transient        the provider's own fault
timeout          transient        nothing came in time
connection       transient        name, route, TLS, or a peer that hung up
malformed        transient        an answer that is none
cut              transient        an answer without its end
quota            auth_dead        money or credits are used up, or a spending limit is reached
credentials      auth_dead        the key or the account is not accepted
region           auth_dead        not served from here
permission       auth_dead        the key is good, but not for this: it stays so until somebody acts
model_gone       auth_dead        no such model, or nothing at this address that could answer
no_key           auth_dead        no key is set
context_length   request_specific larger than the model takes
content_filter   request_specific refused for what it says
bad_request      request_specific refused for how it is put
unknown          unknown          nothing known about it
================ ================ =====================================================================

How it is decided: 401, 402 and 5xx by the status; the other 4xx by the codes in the body, then for 400, 403,
404, 412 and 429 by its words without what they quote, since providers echo prompts, then by the status. Codes
count as whole values. Without a status, or with a 2xx, the body says which status it stands for. What is no
response at all is known by the names of the exception's types, the innermost cause first.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.waits import (
    body_wait,
    fold_headers,
    header_wait,
    longer_wait,
    reset_wait,
    seconds_of,
)

__all__ = ["Verdict", "classify"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one failure means.

    Args:
        kind: What it means for the model.
        reason: Its category, one of the table in this module's docstring.
        retry_after: Seconds that the provider asks to wait, as it says them, unclamped; ``None`` where it
            does not, or where waiting would not help.
        retry_in_place: Whether trying the same model again at once has a chance; not so after silence.
        rule: What decided, for people: ``status 503``, ``code insufficient_quota``, ``words quota``.
    """

    kind: ErrorKind
    reason: str = ""
    retry_after: float | None = None
    retry_in_place: bool = True
    rule: str = ""


def classify(error: BaseException, *, wire: str = "openai", now: datetime | None = None) -> Verdict:
    """Say what a failure means. Never raises.

    Args:
        error: Any exception. A :class:`ProviderError` needs no more than status, headers and body; other
            people's are read by their attributes (``status_code``, ``response``, ``body``, …) and by the
            names of their types.
        wire: The dialect that carried it: ``openai``, ``anthropic``, ``gemini`` or ``ollama``.
        now: The moment from which dates in headers count; the clock's when not given.

    >>> classify(ProviderError("slow down", status=429, headers={"Retry-After": "7"})).retry_after
    7.0
    """
    try:
        return _classify(error, wire, now)
    except Exception:  # noqa: BLE001  # somebody else's object may raise anything when it is read
        return Verdict(ErrorKind.UNKNOWN, "unknown", rule="unreadable")


def _classify(error: BaseException, wire: str, now: datetime | None) -> Verdict:
    report = _report_of(error)
    if report is None:
        reason, rule = _by_type(error)
        return Verdict(_KINDS[reason], reason, None, reason != "timeout", rule)
    status = report.status
    headers = fold_headers(report.headers)
    decided = report.kind is not None and report.reason != ""
    found = _NOTHING if decided or _is_server_fault(status) else _read(report, headers)
    reason, rule = _decide(status, headers, found, wire)
    kind = _KINDS[reason]
    if report.kind is not None or (report.reason and (status is None or status < 400)):
        kind, reason, rule = _as_given(report, kind, reason, rule)
    wait = _wait(report, headers, found, now) if kind in _WAITING or rule == "status 402" else None
    if rule == "status 402" and wait:
        # It asks for a cooldown, so the account is not at its end.
        kind, reason = ErrorKind.TRANSIENT, "rate_limit"
    # A timeout that a server reports is an answer; silence is not, and stays silence.
    silent = reason == "timeout" and rule == "given" and (status is None or status < 400)
    return Verdict(kind, reason, wait, not silent, rule)


# What the failure says of itself


class _Report(NamedTuple):
    """The parts of an exception that tell of a response."""

    status: int | None
    headers: object = None
    body: object = None
    code: object = None
    retry_after: object = None
    text: str = ""
    kind: ErrorKind | None = None
    reason: str = ""


def _report_of(error: BaseException) -> _Report | None:
    """The outermost report among the error and its causes; ``None`` when there was no response."""
    if not isinstance(error, Exception):
        return None
    for one in _causes(error):
        report = _own(one) if isinstance(one, ProviderError) else _foreign(one)
        if report is not None:
            return report
    return None


def _own(error: ProviderError) -> _Report | None:
    claimed: object = error.status  # a claim of somebody else's code, as is all that it carries
    status = claimed if isinstance(claimed, int) else None
    if status is None and not (error.kind or error.reason or error.body or error.code or error.headers):
        return None
    return _Report(
        status,
        error.headers,
        error.body,
        error.code,
        error.retry_after,
        str(error.message),
        error.kind,
        error.reason,
    )


def _foreign(error: BaseException) -> _Report | None:
    if any(name in _BROKEN_RESPONSES for name in _names(error.__cause__)):
        return None  # aiohttp gives a response that cannot be read a made-up status
    response = _get(error, "response")
    body = _get(error, "body")
    status = next(
        (value for value in _statuses(error, response) if isinstance(value, int) and 100 <= value < 600), None
    )
    if status is None and not isinstance(body, dict):
        return None
    if body is None:
        details = _get(error, "details")
        body = details if isinstance(details, dict) else _get(response, "text")
    headers = _get(error, "headers") or _get(response, "headers")
    return _Report(status, headers, body, _get(error, "code"), _get(error, "retry_after"), _message(error))


def _statuses(error: BaseException, response: object) -> Iterator[object]:
    for name in ("status_code", "status", "code"):
        yield _get(error, name)
    yield _get(response, "status_code")


def _get(thing: object, name: str) -> object:
    """An attribute of somebody else's object; some raise more than AttributeError when asked."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001  # a property may raise anything, and then it says nothing
        return None


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # the same for __str__
        return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, outermost first; bounded, since causes may form a ring."""
    for _ in range(_DEEPEST_CAUSE):
        if error is None:
            return
        yield error
        error = error.__cause__


# What its body says


class _Found:
    """What reading a body has found so far."""

    __slots__ = ("_words", "broken", "buckets", "codes", "delays", "numbers", "param", "relayed", "texts")

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.numbers: list[int] = []
        self.texts: list[str] = []
        self.delays: list[object] = []
        self.buckets: object = None
        self.param = ""
        self.relayed = False
        self.broken = "malformed"
        self._words: str | None = None

    def words(self) -> str:
        """The texts in lower case, without what they quote, as far as they are looked at."""
        if self._words is None:
            whole = "\n".join(self.texts[:_MOST_TEXTS])[:_LONGEST_READ].replace("\u2019", "'")
            self._words = _QUOTED.sub(_unless_prose, whole)[:_LONGEST_WORDS].lower()
        return self._words


_NOTHING = _Found()


def _read(report: _Report, headers: Mapping[str, str]) -> _Found:
    """Everything in a report that says what it means, leniently: see the corpus of real bodies."""
    found = _Found()
    _see_code(found, report.code)
    _see_code(found, headers.get("x-amzn-errortype", "").split(":")[0])
    body = report.body
    if isinstance(body, bytes | bytearray):
        body = bytes(body[:_LONGEST_BODY]).decode("utf-8", "replace")
    if isinstance(body, str):
        body = body[:_LONGEST_BODY].lstrip("\ufeff \t\r\n")
    if body:
        _walk(found, body)
    elif report.text:
        found.texts.append(report.text[:_LONGEST_READ])
    if not body and report.status is None:
        found.broken = "unknown"  # nothing came that could be malformed
    return found


def _walk(found: _Found, body: object) -> None:
    """Visit the body's members that errors are made of, breadth first, so that the outer ones come first."""
    nodes: list[tuple[object, int]] = [(body, 0 if isinstance(body, str) else 1)]
    for node, nested in nodes:  # grows while it is walked
        if isinstance(node, dict):
            for key, value in node.items():
                if (role := _ROLES.get(key)) is not None and value is not None:
                    _see(found, role, key, value, nodes, nested)
        elif isinstance(node, list | tuple):
            nodes.extend((item, nested) for item in node[:_MOST_ITEMS])
        elif isinstance(node, str):
            inside = list(_inside(found, node, nested))
            nodes.extend((item, nested + 1) for item in inside)
            if not inside:
                found.texts.append(node[:_LONGEST_READ])
        if len(nodes) > _MOST_NODES:
            del nodes[_MOST_NODES:]


def _see(
    found: _Found, role: str, key: str, value: object, nodes: list[tuple[object, int]], nested: int
) -> None:
    if role == "code" and not isinstance(value, dict | list):
        _see_code(found, value)
    elif role == "open" or role == "code" or (role == "group" and isinstance(value, dict | list)):
        nodes.append((value, nested))
    elif role == "delay":
        seconds = seconds_of(value)
        found.delays.append(seconds / 1000 if key.endswith("ms") and seconds is not None else seconds)
    elif role == "headers":
        found.buckets = found.buckets or value
    elif role == "param":
        found.param = found.param or str(value)[:_LONGEST_CODE]
    elif role == "is_byok":
        found.relayed = found.relayed or value is False
    elif role == "refusal":
        found.codes.append("refusal")


def _see_code(found: _Found, value: object) -> None:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_CODE:
        code = value.strip().lower().rpartition("#")[2].replace("_", "").replace("-", "")
        found.codes.append(code.removesuffix("exception").removesuffix("error"))
        if len(code) == 3 and code.isdecimal():
            found.numbers.append(int(code))
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1_000_000:
        found.codes.append(str(value))
        found.numbers.append(int(value))


def _inside(found: _Found, text: str, nested: int) -> Iterator[object]:
    """The JSON that a text is, or the lines or the tail of it are; nothing when it is just text."""
    if nested > _DEEPEST_JSON:
        return
    text = text.strip()
    if text[:1] in _JSON_STARTS:
        value = _json(text)
        if value is not None:
            yield value
            return
        if nested == 0 and text[0] != '"':
            found.broken = "cut"
    if nested == 0:
        lines = (line.strip().removeprefix("data:").strip() for line in _first_lines(text))
        yield from (value for line in lines if line[:1] == "{" and (value := _json(line)) is not None)
    elif not found.param and (value := _relayed_json(text)) is not None:
        yield value


def _first_lines(text: str) -> list[str]:
    return text[:_LONGEST_READ].splitlines()[:_MOST_ITEMS]


def _relayed_json(text: str) -> object:
    """The JSON in ``SomeError: ProviderError - {…}``; a quote before it makes it an echo of the prompt."""
    before, brace, _ = text.partition("{")
    if not brace or before.rstrip()[-1:] not in (":", "-") or not _QUOTES.isdisjoint(before):
        return None
    return _json(text[len(before) :])


def _json(text: str) -> object:
    """The value that a text begins with; ``None`` when it is not JSON."""
    try:
        value: object = _decode(text)[0]
    except (ValueError, RecursionError):
        return None
    return value


# What that means


def _decide(status: int | None, headers: Mapping[str, str], found: _Found, wire: str) -> tuple[str, str]:
    """The reason, and the rule that gave it."""
    if status is None or 200 <= status < 300:
        return _by_body(found, headers, wire)
    if status in _BY_STATUS_FIRST or _is_server_fault(status):
        if status == 401 and found.relayed:
            return "server_error", "relayed"
        if status != 402 or not any(_CODES.get(code) == "quota" for code in found.codes):
            return _BY_STATUS.get(status, "server_error"), f"status {status}"
    return (
        _by_code(status, found, wire)
        or _by_words(status, found)
        or _by_header(status, headers)
        or _by_status(status, found)
    )


def _by_body(found: _Found, headers: Mapping[str, str], wire: str) -> tuple[str, str]:
    """There is no status that means failure: take the one that the body stands for."""
    by_code = _by_code(None, found, wire)
    if by_code is not None and _KINDS[by_code[0]] is not ErrorKind.TRANSIENT:
        return by_code
    stands_for = next((number for number in found.numbers if 400 <= number < 600), None) or next(
        (_STANDS_FOR[code] for code in found.codes if code in _STANDS_FOR), None
    )
    if stands_for is not None:
        return _decide(stands_for, headers, found, wire)
    for code in found.codes:
        if (reason := _FINISHES.get(code)) is not None:
            return reason, f"finish {code}"
    if by_code is not None:
        return by_code
    if found.texts and found.broken == "malformed":
        return "server_error", "error without a status"
    return found.broken, "no answer"


def _by_code(status: int | None, found: _Found, wire: str) -> tuple[str, str] | None:
    allowed = _ALLOWED.get(status, _LASTING)
    best: tuple[str, str] | None = None
    for code in found.codes:
        reason = _CODES.get(code) or (_VENDOR_NUMBERS.get(code) if wire in _NUMBERING_WIRES else None)
        if reason is None or reason not in allowed:
            continue
        if reason == "credentials" and found.relayed:
            reason = "server_error"  # a router's own key at its upstream, not the caller's
        if best is None or _RANK[reason] < _RANK[best[0]]:
            best = reason, f"code {code}"
    return best


def _by_words(status: int, found: _Found) -> tuple[str, str] | None:
    if status not in _READS_WORDS or not found.texts:
        return None
    words = found.words()
    if status == 429 and (match := _LIMIT_REQUESTED.search(words)) is not None:
        limit, requested = (int(number.replace(",", "")) for number in match.groups())
        if requested > limit:
            return "context_length", "words requested more than the limit"
    # A param names the part of the request that is wrong, and what follows may be its text.
    echoes = bool(found.param) and found.param not in _PARAMS_OF_THE_MODEL and status == 400
    for reason, pattern in _WORDS_OF_429 if status == 429 else _WORDS:
        if not (echoes and reason not in _OF_THE_REQUEST) and pattern.search(words) is not None:
            return reason, f"words {reason}"
    return None


def _by_header(status: int, headers: Mapping[str, str]) -> tuple[str, str] | None:
    if status == 403 and "cf-mitigated" in headers:
        return "connection", "header cf-mitigated"  # the provider never saw the request
    if status == 400 and headers.get("x-should-retry", "").strip().lower() == "true":
        return "server_error", "header x-should-retry"
    return None


def _by_status(status: int, found: _Found) -> tuple[str, str]:
    of_the_request = (status == 404 and found.param and found.param not in _PARAMS_OF_THE_MODEL) or (
        status == 424 and "invalidrequest" in found.codes
    )
    return "bad_request" if of_the_request else _BY_STATUS.get(status, "unknown"), f"status {status}"


def _as_given(report: _Report, kind: ErrorKind, reason: str, rule: str) -> tuple[ErrorKind, str, str]:
    """What the raiser said itself; where it left something open, what was decided, if it fits."""
    if report.kind is None:
        if report.reason in _KINDS and (rule in _VAGUE or reason == "unknown"):
            return _KINDS[report.reason], report.reason, "given"
        return kind, reason, rule
    fitting = reason if kind is report.kind else _DEFAULT_REASONS[report.kind]
    return report.kind, report.reason or fitting, "given"


def _wait(report: _Report, headers: Mapping[str, str], found: _Found, now: datetime | None) -> float | None:
    """What the provider asks for, in seconds, from the most to the least trustworthy place."""
    if (asked := seconds_of(report.retry_after)) is not None:
        return asked
    if found is _NOTHING and _may_ask(report.body):
        found = _read(report, headers)
    header = header_wait(headers, now) if headers else None
    words = found.words() if found.texts else ""
    wait = longer_wait(header, body_wait(found.delays, words))
    if wait is None and headers:
        wait = reset_wait(headers, now)
    if wait is None and found.buckets is not None:
        inner = fold_headers(found.buckets)
        wait = header_wait(inner, now)
        wait = reset_wait(inner, now) if wait is None else wait
    return wait


def _may_ask(body: object) -> bool:
    """Whether a body is worth reading for a wait alone."""
    if not isinstance(body, str):
        return bool(body)
    return any(hint in body for hint in _HINTS_OF_A_WAIT)


# What is no response at all


def _by_type(error: BaseException) -> tuple[str, str]:
    if not isinstance(error, Exception):
        return "unknown", "cancelled"
    for one in reversed(list(_causes(error))):
        for name in _names(one):
            if (reason := _TYPES.get(name)) is not None:
                return reason, f"type {name}"
        number: object = getattr(one, "errno", None)
        if isinstance(number, int) and number in _NETWORK_ERRNOS:
            return "connection", f"errno {errno.errorcode[number]}"
    return "unknown", f"type {type(error).__name__}"


def _names(error: BaseException | None) -> Iterator[str]:
    return (cls.__name__ for cls in type(error).__mro__)


def _is_server_fault(status: int | None) -> bool:
    return status is not None and 500 <= status < 600


def _unless_prose(quoted: re.Match[str]) -> str:
    """A quoted name stays, since sentences are built around it; what has words in it is somebody's text."""
    text = quoted.group()
    return text if len(text) <= _LONGEST_NAME and text.count(" ") < 2 else "''"


# The words of the rules. Everything below is data.

_KINDS = {
    reason: kind
    for kind, reasons in {
        ErrorKind.TRANSIENT: "rate_limit overloaded server_error timeout connection malformed cut",
        ErrorKind.AUTH_DEAD: "quota credentials region permission model_gone no_key",
        ErrorKind.REQUEST_SPECIFIC: "context_length content_filter bad_request",
        ErrorKind.UNKNOWN: "unknown",
    }.items()
    for reason in reasons.split()
}
_DEFAULT_REASONS = {
    ErrorKind.TRANSIENT: "server_error",
    ErrorKind.AUTH_DEAD: "credentials",
    ErrorKind.REQUEST_SPECIFIC: "bad_request",
    ErrorKind.UNKNOWN: "unknown",
}
_WAITING = frozenset({ErrorKind.TRANSIENT, ErrorKind.UNKNOWN})
_VAGUE = frozenset({"error without a status", "no answer"})

_DEEPEST_CAUSE = 10
_DEEPEST_JSON = 3
_MOST_NODES = 200
_MOST_ITEMS = 20
_MOST_TEXTS = 8
_LONGEST_BODY = 4 << 20
_LONGEST_READ = 1 << 16
_LONGEST_WORDS = 1 << 13
_LONGEST_CODE = 100
_LONGEST_NAME = 60

_decode = json.JSONDecoder(strict=False).raw_decode
_JSON_STARTS = frozenset('{["')
_QUOTES = frozenset("\"'`\u201c\u2018")
_HINTS_OF_A_WAIT = ("etry", "again in", "again after", "estimated_time", "wait")

# What a member of a body can be: a code, something to look into, a group that is looked into when it is no
# text, and a few that mean themselves. Members that are not here are never looked at; some echo the prompt.
_ROLES = {
    member: role
    for role, members in {
        "code": "code Code type __type status reason error_code errorCode error_type status_code "
        "raw_status_code http_status finishReason finish_reason stop_reason native_finish_reason",
        "open": "error Error message Message msg error_message errorMessage detail raw description",
        "group": "errors details innererror inner_error metadata promptFeedback candidates choices response "
        "stop_details delta",
        "delay": "retryDelay estimated_time retry_after retryAfter retry_after_seconds retry_after_ms",
        "headers": "headers",
        "param": "param",
        "is_byok": "is_byok",
        "refusal": "refusal blockReason",
    }.items()
    for member in members.split()
}

# Codes are compared whole, in lower case, without "_" and "-", and without a last "error" or "exception".
_CODES = {
    code.replace("_", "").removesuffix("error"): reason
    for reason, codes in {
        "quota": "insufficient_quota insufficient_balance insufficient_credit insufficient_credits "
        "insufficient_funds insufficient_user_quota credit_balance_exhausted credit_balance_too_low "
        "credit_limit credit_limit_exceeded credits_exhausted no_credits out_of_credits "
        "billing_hard_limit_reached billing_limit_reached billing_not_active billing_disabled billing "
        "project_spend_limit_exceeded organization_spend_limit_exceeded organization_usage_limit_exceeded "
        "enforced_spend_limit_reached spend_limit_exceeded spend_limit_reached spending_limit_reached "
        "budget_exceeded payment_required arrearage account_overdue exceeded_current_quota "
        "monthly_limit_exceeded allocation_quota.free_tier_only",
        "credentials": "invalid_api_key api_key_invalid incorrect_api_key wrong_api_key missing_api_key "
        "no_api_key api_key_missing api_key_not_found api_key_expired api_key_disabled api_key_revoked "
        "authentication authentication_failed invalid_authentication unauthorized unauthenticated "
        "invalid_token token_expired expired_token invalid_client_token_id token_not_found_in_db "
        "access_token_expired unrecognized_client invalid_signature incomplete_signature "
        "missing_authentication_token account_deactivated account_disabled account_suspended "
        "account_state_invalid organization_restricted user_deactivated consumer_suspended consumer_invalid "
        "access_terminated",
        "permission": "access_denied service_disabled insufficient_permissions api_key_service_blocked "
        "api_key_ip_address_blocked api_key_http_referrer_blocked iam_permission_denied ip_not_authorized "
        "ip_not_allowed model_permission_blocked_org model_permission_blocked_project model_terms_required "
        "access_token_scope_insufficient mismatched_organization invalid_organization",
        "region": "unsupported_country_region_territory unsupported_country unsupported_region "
        "unsupported_location region_not_supported country_not_supported location_not_supported",
        "model_gone": "model_not_found model_not_available model_not_exist model_does_not_exist "
        "model_decommissioned model_deprecated model_retired model_removed model_not_supported "
        "invalid_model invalid_model_name unknown_model unsupported_model unavailable_model no_such_model "
        "deployment_not_found invalid_endpoint_or_model.not_found",
        "context_length": "context_length_exceeded context_window_exceeded exceed_context_size "
        "context_too_long request_too_large payload_too_large prompt_too_long input_too_long "
        "tokens_limit_reached max_tokens_exceeded",
        "content_filter": "content_filter content_filtered responsible_ai_policy_violation "
        "content_policy_violation invalid_prompt data_inspection_failed moderation_blocked "
        "content_moderation content_blocked guardrail_intervened prohibited_content",
        "bad_request": "previous_response_not_found tool_use_failed json_validate_failed",
        "rate_limit": "rate_limit rate_limited rate_limit_exceeded rate_limit_reached too_many_requests "
        "throttling throttled throttling.rate_quota request_limit_exceeded service_quota_exceeded",
        "overloaded": "overloaded server_is_overloaded no_capacity model_capacity_exhausted "
        "service_tier_capacity_exceeded capacity_exceeded service_unavailable model_not_ready server_busy",
        "server_error": "server_error internal_server_error internal_failure",
    }.items()
    for code in codes.split()
}
# Vendors that number their errors (Zhipu, Mistral) speak these wires.
_NUMBERING_WIRES = frozenset({"openai", "anthropic"})
_VENDOR_NUMBERS = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1110", "1112"), "credentials"),
    "1113": "quota",
    **dict.fromkeys(("1211", "1500"), "model_gone"),
    "1301": "content_filter",
}
# Codes too general to decide on their own; they stand in for a status where there is none.
_STANDS_FOR = {
    code: status
    for status, codes in {
        400: "invalidrequest invalidargument invalidparameter badrequest failedprecondition outofrange "
        "validation",
        403: "permission permissiondenied forbidden",
        404: "notfound",
        409: "aborted conflict",
        429: "resourceexhausted",
        499: "cancelled",
        500: "api internal",
        503: "unavailable",
        504: "timeout deadlineexceeded",
    }.items()
    for code in codes.split()
}
# Why a model stopped, where the stop itself is the failure.
_FINISHES = {
    **dict.fromkeys(
        ("refusal", "safety", "recitation", "blocklist", "spii", "imagesafety", "language"), "content_filter"
    ),
    **dict.fromkeys(("maxtokens", "length"), "bad_request"),
}
# Where several codes apply, the one that explains the others.
_RANK = {
    reason: rank
    for rank, reason in enumerate(
        "content_filter quota credentials region model_gone context_length permission bad_request "
        "rate_limit overloaded server_error".split()
    )
}

_BY_STATUS = {
    **dict.fromkeys((400, 406, 411, 413, 414, 415, 422, 431, 501), "bad_request"),
    **dict.fromkeys((401, 407), "credentials"),
    402: "quota",
    403: "permission",
    **dict.fromkeys((404, 405, 410), "model_gone"),
    **dict.fromkeys((408, 504, 522, 524), "timeout"),
    **dict.fromkeys((409, 424, 425, 499), "server_error"),
    413: "context_length",
    429: "rate_limit",
    451: "region",
    **dict.fromkeys((498, 503, 529), "overloaded"),
}
_BY_STATUS_FIRST = frozenset({401, 402, 408, 409, 425, 499})
_EVERY = frozenset(_RANK)
_LASTING = _EVERY - {"rate_limit", "overloaded", "server_error"}
_ALLOWED = {
    **dict.fromkeys((None, 400, 403, 404), _EVERY),
    402: frozenset({"quota"}),
    # Vendors put any type on a 429; only money, size and capacity make it another thing.
    429: frozenset({"quota", "context_length", "overloaded"}),
}

_READS_WORDS = frozenset({400, 403, 404, 412, 429})
_PARAMS_OF_THE_MODEL = frozenset({"model", "key", "api_key", "authorization", "quota"})
_OF_THE_REQUEST = frozenset({"content_filter", "context_length", "bad_request"})
_QUOTED = re.compile(
    r"""
      " [^"]*+ (?: " | \Z )
    | ` [^`]*+ (?: ` | \Z )
    | \u201c [^\u201d]*+ (?: \u201d | \Z )
    | (?<!\w) ['\u2018] (?: [^'] | (?<=\w)'(?=\w) )*+ (?: ' | \Z )   # an apostrophe is no quote
    """,
    re.VERBOSE,
)
_LIMIT_REQUESTED = re.compile(
    r"\blimit:? (\d[\d,]{0,14})(?:, used:? \d[\d,]{0,14})?[,;]? {1,2}requested:? (\d[\d,]{0,14})"
)
_KEY = (
    r"(?:(?:api|access|secret|subscription)[ _-]?key"
    r"|(?:api|auth|access|bearer|security)[ _-]token|authorization header)"
)
_OWNER = r"\b(?:account|organi[sz]ation|consumer|team)"
_PLACE = r"(?:country|region|location|territory)"
_MODEL = r"\bmodels?[ /:]{0,2}(?:\S{1,120} )?"
_OUT_OF_MONEY = (
    r"insufficient (?:account )?(?:balance|credits?|funds)",
    r"balance is (?:too low|insufficient|exhausted)",
    r"(?:no|used all|out of|not enough) (?:available |remaining )?(?:credits|funds)",
    r"余额不足|欠费",
)


def _rules(*rules: tuple[str, tuple[str, ...]]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((reason, re.compile("|".join(alternatives))) for reason, alternatives in rules)


# Searched in this order, in lower case. Every repeat has a bound: the text may be anybody's.
_WORDS = _rules(
    (
        "quota",
        (
            *_OUT_OF_MONEY,
            r"insufficient quota|key limit exceeded|spend(?:ing)? limit|will regain access",
            r"(?:billing|budget|credit)(?: hard)? limit (?:has been |was |is )?(?:reached|exceeded)",
            r"(?:purchase|buy) (?:more )?credits|top up your|past invoices|please recharge",
            r"payment (?:is )?required|requires billing|requires an? \w{1,20} (?:subscription|plan)\b",
        ),
    ),
    (
        "credentials",
        (
            rf"{_OWNER}\b[^.\n]{{0,60}}\b(?:suspended|deactivated|disabled|restricted|banned|terminated)\b",
            rf"{_KEY}\b[^.\n]{{0,40}}\b(?:not valid|invalid|not found|expired|leaked|revoked)\b",
            rf"{_KEY}\b[^.\n]{{0,40}}\b(?:disabled|missing|incorrect|required)\b",
            rf"\b(?:invalid|incorrect|wrong|missing|expired|no)(?: or \w{{1,20}})? {_KEY}\b",
        ),
    ),
    (
        "content_filter",
        (
            r"content (?:filter|management polic|polic|moderation|violat)|usage (?:guideline|polic)",
            r"inappropriate content|safety (?:system|check|filter|polic)|requires moderation",
            r"\b(?:input|prompt|content|output) (?:was |is |has been )?(?:flagged|blocked)",
            r"敏感|不安全",
        ),
    ),
    (
        "context_length",
        (
            r"\bcontext (?:length|window|size)|\b(?:prompt|input|request) (?:is )?too (?:long|large)",
            r"too many (?:input )?tokens|reduce the length|payload size exceeds",
            r"token count (?:\(\d{1,12}\) )?exceeds",
        ),
    ),
    (
        "region",
        (
            rf"\b{_PLACE} (?:is |are )?(?:not supported|unsupported|not available)",
            rf"not (?:available|supported) in (?:your|this) {_PLACE}",
        ),
    ),
    (
        "model_gone",
        (
            rf"{_MODEL}(?:does not|doesn't|not) exist",
            rf"{_MODEL}(?:is |was |could )?not (?:be )?found",
            rf"{_MODEL}(?:is|was|has been) (?:decommissioned|deprecated|retired|removed|no longer \w)",
            rf"{_MODEL}is not (?:supported|available)(?=[.!]|\s*$)",
            r"\b(?:invalid|unknown|no such|unrecognized) model(?: name| id)?\b(?! \w{1,30}:)",
            r"\bnot a valid model|model identifier is invalid|not work with the specified model",
            r"non-serverless model|on-demand throughput|end of life|no models? loaded|模型不存在",
        ),
    ),
    ("rate_limit", (r"\brate limit (?:exceeded|reached)|too many requests|secondary rate limit",)),
    ("server_error", (r"degraded function|temporarily unavailable|server is busy",)),
    (
        "bad_request",
        (
            r"\b(?:response|file|thread|assistant|batch|conversation|item|vector store)s? with id\b",
            r"\bno (?:such )?(?:file|thread|assistant|batch|response) (?:object|found)",
            r"\bfile not found: file",
        ),
    ),
)
_WORDS_OF_429 = _rules(
    ("context_length", (r"\b(?:request|input|prompt) (?:is )?too (?:large|long)",)),
    ("quota", (*_OUT_OF_MONEY, r"monthly spending limit", r"\blimit: 0(?![\d.]\d)")),
    ("overloaded", (r"overloaded|capacity|high demand|not ready",)),
)

_BROKEN_RESPONSES = frozenset({"HttpProcessingError"})
_TYPES = {
    name: reason
    for reason, names in {
        "timeout": "TimeoutError TimeoutException Timeout ConnectTimeout ReadTimeout WriteTimeout "
        "PoolTimeout ServerTimeoutError ConnectTimeoutError ReadTimeoutError APITimeoutError",
        "connection": "ConnectionError ConnectError ReadError WriteError CloseError NetworkError ProxyError "
        "RemoteProtocolError ProtocolError SSLError gaierror herror URLError APIConnectionError "
        "ClientConnectionError ClientOSError HttpProcessingError",
        "cut": "StreamInterrupted IncompleteRead IncompleteReadError ClientPayloadError ChunkedEncodingError",
        "malformed": "DecodingError ContentDecodingError ContentTypeError JSONDecodeError HTTPException",
        # Headers and addresses that cannot be sent were wrong before the request began.
        "credentials": "LocalProtocolError",
        "model_gone": "UnsupportedProtocol InvalidURL InvalidSchema MissingSchema",
    }.items()
    for name in names.split()
}
_NETWORK_ERRNOS = frozenset(
    getattr(errno, name)
    for name in "ECONNABORTED ECONNREFUSED ECONNRESET EHOSTUNREACH ENETDOWN ENETRESET ENETUNREACH ENOTCONN "
    "EPIPE ETIMEDOUT".split()
)
