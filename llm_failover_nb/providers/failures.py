"""The error that a provider's body tells of, in whatever shape: read leniently, for every wire.

Pure: no I/O, and no verdict. The error leaves with the status, code and body it came with, and
``engine.classify`` reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.secret import redact

__all__ = [
    "broken_off",
    "failure_beside",
    "failure_flat",
    "failure_told",
    "failure_unframed",
    "filtered",
    "mended",
    "read_failure",
]

_TITLE = 200  # characters of an HTML page's title that an error message quotes
_MESSAGE = 1000  # characters of the provider's own message
_DEPTH = 6  # layers of objects and of texts that are JSON again

_decode = json.JSONDecoder().decode

# Vendors have dozens of words for why a model stopped, and each year brings more. Those for a filter and
# those for a failure say what they are in a few stems; a word that has none of these is believed to be good.
_FILTER = re.compile(r"filter|sensitive|safe|moderat|refus|prohibit|block|guardrail|toxic|flagged|policy")
_FAILURE = re.compile(
    r"error|fail|abort|cancel|interrupt|exception|crash|killed|time.?out|timed.?out|unavailable|overload|busy"
    r"|network|connect|insufficient|resource|quota|rate.?limit|throttl|preempt|evict|shut.?down"
)

_EVENT_OF_FAILURE = re.compile(r"(?:^|[._])(?:error|failed|failure|aborted|cancelled)$")

# MiniMax numbers its errors, and says so in a 200; these are the statuses that others have for the same, by
# its page "Error Codes". Any other number is a fault of the server, as its 1000, 1024 and 1033 are.
_STATUS_OF = MappingProxyType(
    {
        **dict.fromkeys((1004, 2049), 401),
        1008: 402,
        1001: 504,
        **dict.fromkeys((1002, 1039, 1041, 2045, 2056), 429),
        **dict.fromkeys((1042, 2013), 400),
    }
)
_FILTERED = frozenset({1026, 1027})

_CODES = ("code", "status", "status_code", "statusCode")
_SUCCESS = frozenset({"", "ok", "success", "succeeded"})


def mended(text: str) -> str:
    """``text`` with halves of characters, as JSON's escapes can hold them, joined, or replaced by U+FFFD.

    >>> mended("\\ud83d\\ude00") == "\\U0001f600", mended("\\ud83d!") == "\\ufffd!"
    (True, True)
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@dataclass(frozen=True, slots=True)
class _Fault:
    """What an error says of itself."""

    message: str = ""
    code: str | None = None
    status: int | None = None

    def or_else(self, other: _Fault) -> _Fault:
        return _Fault(self.message or other.message, self.code or other.code, self.status or other.status)


def read_failure(
    body: str, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """The error that a body tells of, read leniently; what it means is ``engine.classify``'s to say.

    Args:
        body: The body of a response, or the data of an event.
        status: The HTTP status, unless that was a 2xx; else the one inside the body, if any.
        headers: The response's headers.
    """
    text = mended(body.removeprefix("\ufeff").strip())
    fault = _fault(text)
    message = _one_line(fault.message) or "an error without a text"
    if status is not None and (not fault.message or text.startswith("<")):
        message = f"HTTP {status}" + _page(text)
    return ProviderError(
        message,
        status=status if status is not None else fault.status,
        code=fault.code and mended(fault.code),
        headers=headers,
        body=text,
    )


def failure_told(message: object, text: str) -> ProviderError | None:
    """The error that a body or an event tells of in a way common to all wires; ``None`` if there is none."""
    if isinstance(message, list) and message:
        message = message[0]
    if isinstance(message, dict) and (message.get("error") or message.get("errors")):
        return read_failure(text)
    return None


def failure_flat(message: Mapping[str, object], text: str) -> ProviderError | None:
    """The error that a message is, rather than has: a text, and perhaps a code, and nothing of an answer.

    A ``msg`` is an error's where the code beside it is one; relays write ``{"code": 0, "msg": "ok"}`` too.
    There are also events that say by their type what they are: ``response.failed``.
    """
    kind = message.get("type")
    if isinstance(kind, str) and _EVENT_OF_FAILURE.search(kind) is not None:
        return read_failure(text)
    if (
        message.get("message")
        or message.get("detail")
        or (message.get("msg") and _fails(message.get("code")))
    ):
        return read_failure(text)
    return None


def failure_beside(message: Mapping[str, object], text: str) -> ProviderError | None:
    """The error in an object of the vendor's own that stands beside an answer's members.

    Groq says in ``x_groq`` why it broke a stream off, MiniMax in ``base_resp`` how all of it went.
    """
    for name, value in message.items():
        if not isinstance(value, dict):
            continue
        if name.startswith("x_") and value.get("error"):
            return read_failure(json.dumps({"error": value["error"]}))
        number = value.get("status_code")
        if "status_msg" in value and isinstance(number, int) and _fails(number):
            return _numbered(number, str(value["status_msg"]), text)
    return None


def failure_unframed(text: str) -> ProviderError | None:
    """The error in JSON that stands in a stream without its framing; anything else there says nothing."""
    try:
        message = _decode(text)
    except (ValueError, RecursionError):
        return None
    if failure := failure_told(message, text):
        return failure
    if isinstance(message, dict) and any(map(_fails, map(message.get, _CODES))):
        return failure_flat(message, text)
    return None


def _fails(code: object) -> bool:
    """Whether a code is one of failure: success is 0, 200, or a word that says so."""
    if isinstance(code, str) and code.strip().isdecimal():
        code = int(code)
    if isinstance(code, str):
        return code.strip().lower() not in _SUCCESS
    return isinstance(code, int) and not isinstance(code, bool) and code != 0 and not 200 <= code < 300


def _numbered(number: int, message: str, text: str) -> ProviderError:
    filtered_out = number in _FILTERED
    return ProviderError(
        _one_line(message) or f"an error without a text, number {number}",
        status=None if filtered_out else _STATUS_OF.get(number, number if 400 <= number < 600 else 500),
        code="content_filter" if filtered_out else None,
        body=mended(text),
    )


def filtered(finish: str) -> bool:
    """Whether a finish reason, in whatever words, says that a content filter stopped the model.

    >>> filtered("sensitive"), filtered("ERROR_TOXIC"), filtered("eos")
    (True, True, False)
    """
    return _FILTER.search(finish.lower()) is not None


def broken_off(finish: str) -> ProviderError | None:
    """The failure that a finish reason tells of, in whatever words: what was said until then is no answer.

    >>> str(broken_off("network_error"))
    "the provider broke the answer off (finish reason 'network_error'); ask again, or ask another model"
    >>> broken_off("end_turn") is broken_off("content_filter") is None
    True
    """
    if filtered(finish) or _FAILURE.search(finish.lower()) is None:
        return None
    message = (
        f"the provider broke the answer off (finish reason {mended(finish)!r}); ask again, or ask another "
        "model"
    )
    # The word may be a code that the classifier knows.
    return read_failure(json.dumps({"error": {"message": message, "code": finish}}))


def _one_line(text: str) -> str:
    return " ".join(redact(mended(text)).split())[:_MESSAGE]


def _page(text: str) -> str:
    """What to say of an HTML page that answers in the provider's place."""
    if not text.startswith("<"):
        return ""
    title = text.partition("<title>")[2].partition("</title>")[0]
    return f": an HTML page, {_one_line(title)[:_TITLE]!r}"


def _fault(value: object, depth: int = 0) -> _Fault:
    """Look for message, code and status in whatever shape an error has, nested up to three deep."""
    if isinstance(value, str):
        return _fault_in_text(value, depth)
    if isinstance(value, list):
        return _fault(value[0], depth) if value else _Fault()
    if not isinstance(value, dict) or depth > _DEPTH:
        return _Fault()
    own = _Fault(
        code=_first_str(value, "code", "type", "status"),
        status=_first_status(value, "status_code", "statusCode", "status", "code"),
    )
    for name in ("error", "errors", "message", "msg", "detail", "error_description", "response"):
        if value.get(name):
            return _fault(value[name], depth + 1).or_else(own)
    return own


def _fault_in_text(text: str, depth: int) -> _Fault:
    if text.startswith(("{", "[", '"')) and depth <= _DEPTH:
        try:
            inner = _fault(_decode(text), depth + 1)
        except (ValueError, RecursionError):
            return _Fault(text)
        return inner.or_else(_Fault(text))
    return _Fault(text)


def _first_str(value: Mapping[str, object], *names: str) -> str | None:
    found = (value.get(name) for name in names)
    return next((text for text in found if isinstance(text, str) and text and not text.isdigit()), None)


def _first_status(value: Mapping[str, object], *names: str) -> int | None:
    found = (str(value.get(name)) for name in names)
    return next(
        (int(text) for text in found if text.isdecimal() and "100" <= text <= "599" and len(text) == 3), None
    )
