"""The rules of ``classify``, as tables: reasons, statuses, members of bodies, names of exceptions. Data only.

How an entry is added: put the real failure into the tests' corpus first and see what it is taken for. Then
add one entry, to the first of these that tells it from all others:

- ``codes``, for a code in the body, and for a finish reason; ``words``, for a sentence, where no code tells;
- ``ROLES``, a member of the body that is not looked at yet; never one that holds what the caller sent;
- ``BY_STATUS``, a status; ``TYPES``, the name of an exception's type, where there was no response.

A new reason goes into ``KINDS`` and the table in ``classify``'s docstring; into ``codes.RANK`` if a code
gives it.
"""

from __future__ import annotations

import errno

from llm_failover_nb.engine.errors import ErrorKind

__all__ = [
    "BROKEN_RESPONSES",
    "BY_STATUS",
    "BY_STATUS_FIRST",
    "DEFAULT_REASONS",
    "ENDING",
    "HINTS_OF_A_WAIT",
    "KINDS",
    "LONGEST_COOLDOWN",
    "NETWORK_ERRNOS",
    "OF_A_PAGE",
    "OF_THE_REQUEST",
    "PARAMS_OF_THE_MODEL",
    "READS_WORDS",
    "ROLES",
    "TYPES",
    "WAITING",
]

# What each reason means for the model, and the reason of a kind that came without a fitting one.
KINDS = {
    reason: kind
    for kind, reasons in {
        ErrorKind.TRANSIENT: "rate_limit overloaded server_error timeout connection malformed cut empty",
        ErrorKind.AUTH_DEAD: "quota credentials region permission model_gone no_key not_installed",
        ErrorKind.REQUEST_SPECIFIC: "context_length content_filter bad_request invalid_answer",
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
    *(f"again{how}" for how in (" in", " after", " on", " at", " until", " by", ":", " tomorrow")),
    "replenished",
)
# What ends by itself where the provider says when, and the longest wait for which a 402 is a mere cooldown.
ENDING = frozenset({"quota"})
LONGEST_COOLDOWN = 86_400.0

# What a member of a body can be, by its name in lower case without "_" and "-": a code, a status, something
# to look into, a group that is looked into when it is no text, and a few that mean themselves. Members that
# are not here are never looked at; some echo the prompt.
ROLES = {
    member: role
    for role, members in {
        "code": "code type status reason errorcode errortype finishreason stopreason nativefinishreason",
        "status": "statuscode rawstatuscode httpstatus httpcode",
        "open": "error message msg errormessage errormsg statusmsg title detail raw description "
        "errordescription",
        "group": "errors details innererror metadata promptfeedback candidates choices response stopdetails "
        "delta baseresp",
        "delay": "retrydelay estimatedtime retryafter retryafterseconds retryafterms retryin cooldownseconds "
        "resetsinseconds resetinseconds resetseconds resetsat resetat resettime quotaresetdelay",
        "headers": "headers",
        "param": "param",
        "is_byok": "isbyok",
        "refusal": "refusal blockreason",
    }.items()
    for member in members.split()
}

# What a status means alone, and those that no body overrules.
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

# Where words decide at all, the params that name the model or the key, and what is the request's own fault.
READS_WORDS = frozenset({400, 403, 404, 412, 429})
PARAMS_OF_THE_MODEL = frozenset({"model", "key", "api_key", "authorization", "quota"})
OF_THE_REQUEST = frozenset({"content_filter", "context_length", "bad_request"})
# What a page may say that somebody between here and the provider has put in its place.
OF_A_PAGE = frozenset({"region", "rate_limit", "overloaded", "server_error"})

# Names of exceptions' types: those of a response that could not be read, and what the others mean.
BROKEN_RESPONSES = frozenset({"HttpProcessingError"})
TYPES = {
    name: reason
    for reason, names in {
        "timeout": "TimeoutError TimeoutException Timeout ConnectTimeout ReadTimeout WriteTimeout "
        "PoolTimeout ServerTimeoutError ConnectTimeoutError ReadTimeoutError APITimeoutError "
        "DeadlineExceeded GatewayTimeout RequestTimeout ModelTimeoutException",
        "connection": "ConnectionError ConnectError ReadError WriteError CloseError NetworkError ProxyError "
        "RemoteProtocolError ProtocolError SSLError gaierror herror URLError APIConnectionError "
        "ClientConnectionError ClientOSError HttpProcessingError MaxRetryError NewConnectionError "
        "NameResolutionError BrokenResourceError ClosedResourceError EndOfStream ConnectionClosed "
        "EndpointConnectionError HTTPClientError TransportError",
        "cut": "StreamInterrupted IncompleteRead IncompleteReadError ClientPayloadError ChunkedEncodingError",
        "malformed": "DecodingError ContentDecodingError DecodeError ContentTypeError JSONDecodeError "
        "HTTPException APIResponseValidationError",
        # Headers and addresses that cannot be sent were wrong before the request began.
        "credentials": "LocalProtocolError InvalidHeader AuthenticationError NoCredentialsError "
        "PartialCredentialsError CredentialRetrievalError DefaultCredentialsError RefreshError "
        "UnauthorizedSSOTokenError Unauthenticated UnrecognizedClientException ExpiredTokenException",
        "permission": "PermissionDeniedError PermissionDenied AccessDeniedException",
        "model_gone": "UnsupportedProtocol InvalidURL InvalidSchema MissingSchema LocationParseError "
        "NotFoundError",
        # The SDKs' own names, where the object carries nothing else.
        "rate_limit": "RateLimitError ThrottlingException TooManyRequests ResourceExhausted",
        "overloaded": "ServiceUnavailable ServiceUnavailableError ServiceUnavailableException "
        "OverloadedError",
        "server_error": "InternalServerError InternalServerException ServerError ConflictError",
        "quota": "BudgetExceededError",
        "context_length": "ContextWindowExceededError",
        "content_filter": "ContentPolicyViolationError",
        "bad_request": "BadRequestError UnprocessableEntityError InvalidRequestError",
    }.items()
    for name in names.split()
}
NETWORK_ERRNOS = frozenset(
    getattr(errno, name)
    for name in "ECONNABORTED ECONNREFUSED ECONNRESET EHOSTUNREACH ENETDOWN ENETRESET ENETUNREACH ENOTCONN "
    "EPIPE ETIMEDOUT".split()
)
