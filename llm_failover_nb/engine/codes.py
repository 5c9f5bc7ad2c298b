"""What the codes in an error's body mean, as tables. Whole codes only; sentences are ``words``'s.

Codes are compared whole, in lower case, without "_" and "-", and without a last "error" or "exception".
Vendors build them alike, so most are put together here from what is at fault and what is wrong with it. To
add one, put the word where it belongs, so that the next vendor's is known as well; what is like no other is
spelled out. ``STANDS_FOR`` and ``FINISHES`` are written as they are compared, without "_".
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = [
    "ALLOWED",
    "CODES",
    "FINISHES",
    "LASTING",
    "NUMBERING_WIRES",
    "RANK",
    "STANDS_FOR",
    "VENDOR_NUMBERS",
    "folded",
]


def folded(code: str) -> str:
    """A code as it is compared.

    >>> folded("Insufficient-Quota"), folded("RATE_LIMIT_ERROR"), folded("ThrottlingException")
    ('insufficientquota', 'ratelimit', 'throttling')
    """
    whole = code.strip().lower().replace("_", "").replace("-", "")
    return whole.removesuffix("exception").removesuffix("error")


def _each(first: str, then: str) -> Iterator[str]:
    """Every code made of one of the first words and one of the others."""
    return (f"{one}_{other}" for one in first.split() for other in then.split())


_LACKING = "insufficient not_enough no out_of lack_of"
_MONEY = "balance credit credits funds points credit_balance account_balance prepaid_balance user_balance"
_SPENT = "insufficient not_enough exhausted depleted exceeded used_up too_low overdue expired"
_CAPS = (
    "budget spend_limit spending_limit spend_cap spending_cap billing_limit billing_hard_limit credit_limit "
    "credits_limit project_spend_limit organization_spend_limit organization_usage_limit "
    "enforced_spend_limit workspace_budget key_limit monthly_limit monthly_quota"
)
_QUOTAS = "quota usage_limit daily_limit weekly_limit daily_quota token_quota request_quota usage_quota"
_REACHED = "exceeded reached exhausted hit used_up"
_KEYS = (
    "api_key access_key access_token auth_token api_token client_token_id secret_id credential credentials"
)
_WRONG = "invalid incorrect wrong missing no bad expired revoked disabled unknown malformed"
_WRONGLY = (
    "invalid incorrect missing not_found expired revoked disabled deleted required failed blocked leaked"
)
_OWNERS = "account user organization consumer team project"
_CLOSED = "deactivated disabled suspended restricted banned blocked terminated"
_MODELS = "model model_id model_name deployment engine"
_NOT_THERE = (
    "not_found not_available unavailable not_exist not_exists does_not_exist not_supported unsupported "
    "not_deployed not_active not_open decommissioned deprecated retired removed discontinued"
)
_PLACES = "country region location territory country_region_territory"
_PARTS = "context prompt input request payload message messages body text"
_CONTEXTS = "context context_length context_window model_context_window context_size max_context"
_CONTENTS = "content prompt input output text image moderation input_text output_text input_image"
_REFUSED = "filter filtered blocked flagged rejected sensitive risk_detection sensitive_content_detected"

# "limit" is a limit of requests on a 429, and one of money or of a month elsewhere.
_TABLE = {
    "quota": (
        *_each(_LACKING, f"{_MONEY} quota user_quota"),
        *_each(_MONEY, _SPENT),
        *_each(_CAPS, _REACHED),
        *"billing billing_not_active billing_disabled billing_required payment_required".split(),
        *"arrearage account_arrearage account_arrears account_overdue exceeded_current_quota".split(),
        *"allocation_quota.free_tier_only free_quota_exhausted free_tier_exhausted".split(),
        *"trial_expired subscription_expired subscription_required credit_limit".split(),
        *"customer_verification_required".split(),
    ),
    "limit": (*_each(_QUOTAS, _REACHED),),
    "credentials": (
        *_each(_WRONG, _KEYS),
        *_each(_KEYS, _WRONGLY),
        *_each(_OWNERS, _CLOSED),
        *_each("auth authentication login signature", "failed failure fail expired invalid required"),
        *"auth authentication unauthenticated unauthorized unauthorised not_authenticated".split(),
        *"invalid_auth invalid_authentication bad_auth incomplete_signature invalid_signature".split(),
        *"signature_does_not_match invalid_token token_invalid token_expired expired_token".split(),
        *"expired_key key_expired token_not_found_in_db authentication_token_expired".split(),
        *"missing_authentication_token unrecognized_client request_expired access_terminated".split(),
        *"account_state_invalid consumer_invalid".split(),
    ),
    "permission": (
        *"access_denied no_access not_authorized insufficient_permissions model_access_denied".split(),
        *"key_model_access_denied service_disabled iam_permission_denied opt_in_required".split(),
        *"api_key_service_blocked api_key_ip_address_blocked api_key_http_referrer_blocked".split(),
        *"ip_not_authorized ip_not_allowed ip_address_blocked access_token_scope_insufficient".split(),
        *"model_permission_blocked_org model_permission_blocked_project model_terms_required".split(),
        *"mismatched_organization invalid_organization authentication_type_disabled".split(),
    ),
    "region": (
        *_each("unsupported restricted", _PLACES),
        *_each(_PLACES, "not_supported unsupported not_available restricted"),
    ),
    "model_gone": (
        *_each(_MODELS, _NOT_THERE),
        *_each("invalid unknown unsupported unavailable no_such missing", _MODELS),
        *"endpoint_not_found invalid_endpoint_or_model.not_found".split(),
    ),
    "context_length": (
        *_each(_CONTEXTS, "exceeded overflow"),
        *_each(_PARTS, "too_long too_large"),
        *"exceed_context_size tokens_limit_reached token_limit_exceeded max_tokens_exceeded".split(),
        *"request_entity_too_large".split(),
    ),
    "content_filter": (
        *_each(_CONTENTS, _REFUSED),
        *_each("content policy content_policy safety moderation", "violation"),
        *"content_moderation responsible_ai_policy_violation invalid_prompt prohibited_content".split(),
        *"data_inspection_failed guardrail_intervened cyber_policy censorship_blocked".split(),
    ),
    "bad_request": "previous_response_not_found tool_use_failed json_validate_failed".split(),
    "rate_limit": (
        *_each("rate_limit user_rate_limit request_limit concurrency_limit", "exceeded reached"),
        *"rate_limit rate_limited too_many_requests throttle throttled throttling slow_down".split(),
        *"service_quota_exceeded".split(),
    ),
    "overloaded": (
        *_each("server engine model", "overloaded is_overloaded busy"),
        *"overloaded no_capacity insufficient_capacity capacity_exceeded queue_exceeded".split(),
        *"model_capacity_exhausted service_tier_capacity_exceeded service_unavailable".split(),
        *"model_not_ready system_busy".split(),
    ),
    "server_error": "server_error internal_server_error internal_failure".split(),
}
CODES = {folded(code): reason for reason, codes in _TABLE.items() for code in codes}

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

# What codes may say under a status: vendors put any type on a 429, so only money, size and capacity make it
# another thing; on a status that is not here, whatever lasts.
_EVERY = frozenset(RANK)
LASTING = _EVERY - {"rate_limit", "overloaded", "server_error"}
ALLOWED = {
    **dict.fromkeys((None, 400, 403, 404), _EVERY),
    402: frozenset({"quota"}),
    429: frozenset({"quota", "context_length", "overloaded"}),
}
