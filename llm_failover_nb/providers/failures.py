"""The error that a provider's body tells of, in whatever shape: read leniently, for every wire.

Pure: no I/O, and no verdict. The error leaves with the status, code and body it came with, and
``engine.classify`` reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.secret import redact

__all__ = ["failure_told", "mended", "read_failure"]

_TITLE = 200  # characters of an HTML page's title that an error message quotes
_MESSAGE = 1000  # characters of the provider's own message
_DEPTH = 6  # layers of objects and of texts that are JSON again

_decode = json.JSONDecoder().decode


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
        status=_first_status(value, "status_code", "status", "code"),
    )
    for name in ("error", "errors", "message", "msg", "detail", "error_description"):
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
