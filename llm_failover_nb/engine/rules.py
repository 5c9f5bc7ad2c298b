"""The rules of ``classify``, as tables. Data only: what they mean together is decided there.

How an entry is added: put the real failure into ``tests/corpus`` first and see what it is taken for. Then add
one entry, to the first of these that tells it from all others:

- ``CODES``, a code in the body, at its reason: lower case, ``_`` for ``-``, without a last ``exception``;
- ``VENDOR_NUMBERS``, where a vendor numbers its errors; ``STANDS_FOR``, a code too general to decide alone;
  ``FINISHES``, why a model stopped. These are written as they are compared, without ``_``;
- ``ROLES``, a member of the body that is not looked at yet; never one that holds what the caller sent;
- ``WORDS``, or ``WORDS_OF_429``: in lower case, every repeat bounded, and so narrow that nothing else in the
  corpus is caught. The first match wins, so the order counts;
- ``BY_STATUS``, a status; ``TYPES``, the name of an exception's type, where there was no response.

A new reason goes into ``KINDS`` and the table in ``classify``'s docstring; into ``RANK`` if a code gives it.
"""

from __future__ import annotations

import errno
import re

from llm_failover_nb.engine.errors import ErrorKind

__all__ = [
    "ALLOWED",
    "BROKEN_RESPONSES",
    "BY_STATUS",
    "BY_STATUS_FIRST",
    "CODES",
    "DEFAULT_REASONS",
    "FINISHES",
    "HINTS_OF_A_WAIT",
    "KINDS",
    "LASTING",
    "LIMIT_REQUESTED",
    "NETWORK_ERRNOS",
    "NUMBERING_WIRES",
    "OF_THE_REQUEST",
    "PARAMS_OF_THE_MODEL",
    "RANK",
    "READS_WORDS",
    "ROLES",
    "STANDS_FOR",
    "TYPES",
    "VENDOR_NUMBERS",
    "WAITING",
    "WORDS",
    "WORDS_OF_429",
]

# What each reason means for the model, and the reason of a kind that came without a fitting one.
KINDS = {
    reason: kind
    for kind, reasons in {
        ErrorKind.TRANSIENT: "rate_limit overloaded server_error timeout connection malformed cut empty",
        ErrorKind.AUTH_DEAD: "quota credentials region permission model_gone no_key not_installed",
        ErrorKind.REQUEST_SPECIFIC: "context_length content_filter bad_request",
        ErrorKind.UNKNOWN: "unknown benched deadline",
    }.items()
    for reason in reasons.split()
}
DEFAULT_REASONS = {
    ErrorKind.TRANSIENT: "server_error",
    ErrorKind.AUTH_DEAD: "credentials",
    ErrorKind.REQUEST_SPECIFIC: "bad_request",
    ErrorKind.UNKNOWN: "unknown",
}
# The kinds that waiting may help, and the pieces of text of which each body that asks to wait has one.
WAITING = frozenset({ErrorKind.TRANSIENT, ErrorKind.UNKNOWN})
HINTS_OF_A_WAIT = (
    *("retry", "reset", "wait", "estimated_time", "available ", "regain", "renew", "refresh", "restored"),
    *(
        "again in",
        "again after",
        "again on",
        "again at",
        "again until",
        "again by",
        "again:",
        "again tomorrow",
    ),
)
# What ends by itself where the provider says when, and the longest wait for which a 402 is a mere cooldown.
ENDING = frozenset({"quota"})
LONGEST_COOLDOWN = 86_400.0

# What a member of a body can be: a code, something to look into, a group that is looked into when it is no
# text, and a few that mean themselves. Members that are not here are never looked at; some echo the prompt.
ROLES = {
    member: role
    for role, members in {
        "code": "code Code type __type status reason error_code errorCode error_type status_code "
        "raw_status_code http_status finishReason finish_reason stop_reason native_finish_reason",
        "open": "error Error message Message msg error_message errorMessage detail raw description",
        "group": "errors details innererror inner_error metadata promptFeedback candidates choices response "
        "stop_details delta",
        "delay": "retryDelay estimated_time retry_after retryAfter retry_after_seconds retry_after_ms "
        "resets_in_seconds resets_at reset_at resetsAt resetAt",
        "headers": "headers",
        "param": "param",
        "is_byok": "is_byok",
        "refusal": "refusal blockReason",
    }.items()
    for member in members.split()
}

# Codes are compared whole, in lower case, without "_" and "-", and without a last "error" or "exception".
CODES = {
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
NUMBERING_WIRES = frozenset({"openai", "anthropic"})
VENDOR_NUMBERS = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1110", "1112"), "credentials"),
    "1113": "quota",
    **dict.fromkeys(("1211", "1500"), "model_gone"),
    "1301": "content_filter",
}
# Codes too general to decide on their own; they stand in for a status where there is none.
STANDS_FOR = {
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
FINISHES = {
    **dict.fromkeys(
        ("refusal", "safety", "recitation", "blocklist", "spii", "imagesafety", "language"), "content_filter"
    ),
    **dict.fromkeys(("maxtokens", "length"), "bad_request"),
}
# Where several codes apply, the one that explains the others.
RANK = {
    reason: rank
    for rank, reason in enumerate(
        "content_filter quota credentials region model_gone context_length permission bad_request "
        "rate_limit overloaded server_error".split()
    )
}

BY_STATUS = {
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
BY_STATUS_FIRST = frozenset({401, 402, 408, 409, 425, 499})
_EVERY = frozenset(RANK)
LASTING = _EVERY - {"rate_limit", "overloaded", "server_error"}
ALLOWED = {
    **dict.fromkeys((None, 400, 403, 404), _EVERY),
    402: frozenset({"quota"}),
    # Vendors put any type on a 429; only money, size and capacity make it another thing.
    429: frozenset({"quota", "context_length", "overloaded"}),
}

READS_WORDS = frozenset({400, 403, 404, 412, 429})
PARAMS_OF_THE_MODEL = frozenset({"model", "key", "api_key", "authorization", "quota"})
OF_THE_REQUEST = frozenset({"content_filter", "context_length", "bad_request"})
LIMIT_REQUESTED = re.compile(
    r"\blimit:? (\d[\d,]{0,14})(?:, used:? \d[\d,]{0,14})?[,;]? {1,2}requested:? (\d[\d,]{0,14})"
)
_KEY = (
    r"(?:(?:api|access|secret|subscription)[ _-]?key"
    r"|(?:api|auth|access|bearer|security)[ _-]token|authorization header)"
)
_OWNER = r"\b(?:account|organi[sz]ation|consumer|team)"
_PLACE = r"(?:country|region|location|territory)"
_MODEL = r"\bmodels?(?:[ /:]{1,2}(?:'[^'\n]{1,80}'|\S{1,120}))? "
_OUT_OF_MONEY = (
    r"insufficient (?:account )?(?:balance|credits?|funds)",
    r"balance is (?:too low|insufficient|exhausted)",
    r"(?:no|used all|out of|not enough) (?:available |remaining )?(?:credits|funds)",
    r"余额不足|欠费",
)


def _compiled(*rules: tuple[str, tuple[str, ...]]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((reason, re.compile("|".join(alternatives))) for reason, alternatives in rules)


# Searched in this order, in lower case. Every repeat has a bound: the text may be anybody's.
WORDS = _compiled(
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
WORDS_OF_429 = _compiled(
    ("context_length", (r"\b(?:request|input|prompt) (?:is )?too (?:large|long)",)),
    # A limit of nothing: no plan of the account's has this model, and no wait will change that.
    ("permission", (r"\blimit: 0(?![\d.]\d)",)),
    ("quota", (*_OUT_OF_MONEY, r"monthly spending limit")),
    ("overloaded", (r"overloaded|capacity|high demand|not ready",)),
)

BROKEN_RESPONSES = frozenset({"HttpProcessingError"})
TYPES = {
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
NETWORK_ERRNOS = frozenset(
    getattr(errno, name)
    for name in "ECONNABORTED ECONNREFUSED ECONNRESET EHOSTUNREACH ENETDOWN ENETRESET ENETUNREACH ENOTCONN "
    "EPIPE ETIMEDOUT".split()
)
