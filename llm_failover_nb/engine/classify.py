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
empty            transient        an answer that says nothing
quota            auth_dead        money or credits are used up, or a spending limit is reached
credentials      auth_dead        the key or the account is not accepted
region           auth_dead        not served from here
permission       auth_dead        the key is good, but not for this: it stays so until somebody acts
model_gone       auth_dead        no such model, or nothing at this address that could answer
no_key           auth_dead        no key is set
not_installed    auth_dead        a local model, or what runs it, is not on this machine
context_length   request_specific larger than the model takes
content_filter   request_specific refused for what it says
bad_request      request_specific refused for how it is put
invalid_answer   request_specific answered, but the chain's own check refuses the answer
benched          unknown          passed by: somebody benched it while the call ran
deadline         unknown          cut by the call's own deadline, so nothing is known of the model
unknown          unknown          nothing known about it
================ ================ =====================================================================

How it is decided: 401, 402 and 5xx by the status; the other 4xx by the codes in the body, then for 400, 403,
404, 412 and 429 by its words without what they quote, since providers echo prompts, then by the status. Codes
count as whole values. A page of HTML comes from somebody between, and knows nothing of keys and prompts.
Without a status, or with a 2xx, the body says which status it stands for; an error that does not is read like
a 400's. What is no response at all is known by the names of the exception's types, the innermost cause first.
An error that has been judged keeps its kind and reason, and the rule that gave them.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from llm_failover_nb.engine import codes, rules, words
from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.reading import NOTHING, Found, Report, causes, read, report_of, type_names
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
        lasts: Seconds until the failure ends by itself, as the provider says it, unclamped: for those that
            no retry helps, such as a monthly quota. ``None`` where it does not say.
    """

    kind: ErrorKind
    reason: str = ""
    retry_after: float | None = None
    retry_in_place: bool = True
    rule: str = ""
    lasts: float | None = None


def classify(error: BaseException, *, wire: str = "openai", now: datetime | None = None) -> Verdict:
    """Say what a failure means. Never raises.

    Args:
        error: Any exception. A :class:`ProviderError` needs no more than status, headers and body; other
            people's are read by their attributes (``status_code``, ``response``, ``body``, …) and by the
            names of their types.
        wire: The dialect that carried it: ``openai``, ``anthropic``, ``gemini`` or ``ollama``.
        now: The moment from which dates in headers count; the clock's when not given.

    >>> from llm_failover_nb.engine.errors import ProviderError
    >>> classify(ProviderError("slow down", status=429, headers={"Retry-After": "7"})).retry_after
    7.0
    """
    try:
        return _classify(error, wire, now)
    except Exception:  # noqa: BLE001  # somebody else's object may raise anything when it is read
        return Verdict(ErrorKind.UNKNOWN, "unknown", rule="unreadable")


def _classify(error: BaseException, wire: str, now: datetime | None) -> Verdict:
    report = report_of(error)
    if report is None:
        reason, rule = _by_type(error)
        return Verdict(rules.KINDS[reason], reason, None, reason != "timeout", rule)
    status = report.status
    headers = fold_headers(report.headers)
    decided = report.kind is not None and report.reason != ""
    found = NOTHING if decided or _is_server_fault(status) else read(report, headers)
    reason, rule = _decide(status, headers, found, wire)
    kind = rules.KINDS[reason]
    if report.kind is not None or (report.reason and (status is None or status < 400)):
        kind, reason, rule = _as_given(report, kind, reason, rule)
    asks = kind in rules.WAITING or reason in rules.ENDING
    wait = _wait(report, headers, found, now) if asks else None
    if rule == "status 402" and wait and wait <= rules.LONGEST_COOLDOWN:
        # It asks for a cooldown, so the account is not at its end.
        kind, reason = ErrorKind.TRANSIENT, "rate_limit"
    # A timeout that a server reports is an answer; silence is not, and stays silence.
    silent = reason == "timeout" and rule == "given" and (status is None or status < 400)
    if kind not in rules.WAITING:
        return Verdict(kind, reason, None, True, rule, wait)
    return Verdict(kind, reason, wait, not silent, rule)


# What that means


def _decide(status: int | None, headers: Mapping[str, str], found: Found, wire: str) -> tuple[str, str]:
    """The reason, and the rule that gave it."""
    if status is None or 200 <= status < 300:
        return _by_body(found, headers, wire)
    if status in rules.BY_STATUS_FIRST or _is_server_fault(status):
        if status == 401 and found.relayed:
            return "server_error", "relayed"
        if status != 402 or not any(_meaning(code, status, wire) == "quota" for code in found.codes):
            return rules.BY_STATUS.get(status, "server_error"), f"status {status}"
    return (
        _by_code(status, found, wire)
        or _by_words(status, found)
        or _by_header(status, headers)
        or _by_status(status, found)
    )


def _is_server_fault(status: int | None) -> bool:
    return status is not None and 500 <= status < 600


def _by_body(found: Found, headers: Mapping[str, str], wire: str) -> tuple[str, str]:
    """There is no status that means failure: take the one that the body stands for."""
    by_code = _by_code(None, found, wire)
    if by_code is not None and rules.KINDS[by_code[0]] is not ErrorKind.TRANSIENT:
        return by_code
    stands_for = next((number for number in found.numbers if 400 <= number < 600), None) or next(
        (codes.STANDS_FOR[code] for code in found.codes if code in codes.STANDS_FOR), None
    )
    if stands_for is not None:
        return _decide(stands_for, headers, found, wire)
    for code in found.codes:
        if (reason := codes.FINISHES.get(code)) is not None:
            return reason, f"finish {found.spelled.get(code, code)}"
    if by_code is not None:
        return by_code
    # An error that gives neither number nor code: one of a 400, if its words mean anything.
    by_words = _by_words(400, found) if found.broken == "server_error" else None
    return by_words or (found.broken, "no answer")


def _by_code(status: int | None, found: Found, wire: str) -> tuple[str, str] | None:
    allowed = codes.ALLOWED.get(status, codes.LASTING)
    best: tuple[str, str] | None = None
    for code in found.codes:
        reason = _meaning(code, status, wire)
        if reason is None or reason not in allowed:
            continue
        if reason == "credentials" and found.relayed:
            reason = "server_error"  # a router's own key at its upstream, not the caller's
        if best is None or codes.RANK[reason] < codes.RANK[best[0]]:
            best = reason, f"code {found.spelled.get(code, code)}"
    return best


def _meaning(code: str, status: int | None, wire: str) -> str | None:
    """The reason that a folded code gives."""
    reason = codes.CODES.get(code)
    if reason == "limit":
        return "rate_limit" if status in (None, 429) else "quota"
    if reason is None and wire in codes.NUMBERING_WIRES:
        return codes.VENDOR_NUMBERS.get(code)
    return reason


def _by_words(status: int, found: Found) -> tuple[str, str] | None:
    if status not in rules.READS_WORDS or not found.texts:
        return None
    said = found.words()
    if status == 429 and (match := words.LIMIT_REQUESTED.search(said)) is not None:
        limit, requested = (int(number.replace(",", "")) for number in match.groups())
        if requested > limit:
            return "context_length", "words requested more than the limit"
    # A param names the part of the request that is wrong, and what follows may be its text.
    echoes = bool(found.param) and found.param not in rules.PARAMS_OF_THE_MODEL and status == 400
    for reason, pattern in words.patterns(of_429=status == 429):
        if echoes and reason not in rules.OF_THE_REQUEST:
            continue
        if found.page and reason not in rules.OF_A_PAGE:
            continue
        if pattern.search(said) is not None:
            return reason, f"words {reason}"
    return None


def _by_header(status: int, headers: Mapping[str, str]) -> tuple[str, str] | None:
    if status == 403 and "cf-mitigated" in headers:
        return "connection", "header cf-mitigated"  # the provider never saw the request
    if status == 400 and headers.get("x-should-retry", "").strip().lower() == "true":
        return "server_error", "header x-should-retry"
    return None


def _by_status(status: int, found: Found) -> tuple[str, str]:
    of_the_request = (status == 404 and found.param and found.param not in rules.PARAMS_OF_THE_MODEL) or (
        status == 424 and "invalidrequest" in found.codes
    )
    return "bad_request" if of_the_request else rules.BY_STATUS.get(status, "unknown"), f"status {status}"


def _as_given(report: Report, kind: ErrorKind, reason: str, rule: str) -> tuple[ErrorKind, str, str]:
    """What the raiser said itself; where it left something open, what was decided, if it fits."""
    if report.kind is None:
        if report.reason in rules.KINDS and rule == "no answer":
            return rules.KINDS[report.reason], report.reason, "given"
        return kind, reason, rule
    fitting = reason if kind is report.kind else rules.DEFAULT_REASONS[report.kind]
    return report.kind, report.reason or fitting, report.rule or "given"


def _wait(report: Report, headers: Mapping[str, str], found: Found, now: datetime | None) -> float | None:
    """What the provider asks for, in seconds, from the most to the least trustworthy place."""
    if (asked := seconds_of(report.retry_after)) is not None:
        return asked
    if found is NOTHING and _may_ask(report.body):
        found = read(report, headers)
    if found is NOTHING and not headers:
        return None
    header = header_wait(headers, now) if headers else None
    said = found.words() if found.texts else ""
    wait = longer_wait(header, body_wait(found.delays, said, now))
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
    text = body.lower()
    return any(hint in text for hint in rules.HINTS_OF_A_WAIT)


# What is no response at all


def _by_type(error: BaseException) -> tuple[str, str]:
    if not isinstance(error, Exception):
        return "unknown", "cancelled"
    for one in reversed(list(causes(error))):
        for name in type_names(one):
            if (reason := rules.TYPES.get(name)) is not None:
                return reason, f"type {name}"
        number: object = getattr(one, "errno", None)
        if isinstance(number, int) and number in rules.NETWORK_ERRNOS:
            return "connection", f"errno {errno.errorcode[number]}"
    return "unknown", f"type {type(error).__name__}"
