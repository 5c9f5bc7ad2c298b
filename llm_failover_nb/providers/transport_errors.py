"""What an exception of the network says about a provider: one table over httpx, httpcore and aiohttp.

Nothing here does I/O, keeps time or knows a request; how long things may take is ``exchange``'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.secret import redact

__all__ = ["MEANINGS", "TIMEOUT", "Meaning", "is_connecting", "meaning_of"]

_DETAIL = 300  # characters of a network library's message that an error quotes

# How h11 and aiohttp say that something may have no end.
_TOO_LONG = ("Receive buffer too long", "Got more than", "Too many headers")

_QUOTED_BYTES = re.compile(r"\bb(?:ytearray\(b)?['\"]")


class Meaning(NamedTuple):
    """What an exception of the network says about the provider."""

    reason: str
    template: str
    kind: ErrorKind = ErrorKind.TRANSIENT

    def text(self, host: str, error: Exception) -> str:
        """What happened at ``host``, and what to do; keys in the exception's own words are masked."""
        detail = " ".join(redact(_words(error)).split())[:_DETAIL] or type(error).__name__
        return self.template.format(host=host, detail=detail)


TIMEOUT = Meaning("timeout", "{host} did not answer in the time its HTTP client allows")
_UNREACHED = Meaning("connection", "{host} could not be reached: {detail}; check the network and base_url")
_UNTRUSTED = Meaning(
    "connection",
    "the certificate of {host} is not trusted: {detail}; where a network has a CA of its own, name the file "
    "with its certificates in SSL_CERT_FILE",
)
_BROKEN = Meaning("connection", "the connection to {host} broke: {detail}; ask again")
_CUT = Meaning("cut", "the answer of {host} was cut: {detail}; ask again")
_GARBAGE = Meaning("malformed", "{host} does not answer in HTTP: {detail}; check base_url")
_ENDLESS = Meaning(
    "malformed",
    "{host} sends a header, a trailer or a chunk's size that has no end ({detail}); check base_url",
)
_UNPACKABLE = Meaning("malformed", "the answer of {host} cannot be unpacked: {detail}; ask again")
_UNSENDABLE = Meaning(
    "bad_request",
    "nothing was sent to {host}: {detail}; check base_url, headers and proxies",
    ErrorKind.AUTH_DEAD,
)
_STRANGE = Meaning("unknown", "the HTTP client of {host} failed: {detail}", ErrorKind.UNKNOWN)

# By class name, so that httpx, the httpcore below it and aiohttp can be told apart without importing the
# last one; the nearest name in an exception's ancestry counts. A test holds it complete over httpx.
MEANINGS: Mapping[str, Meaning] = {
    # time
    "TimeoutException": TIMEOUT,
    "ConnectTimeout": TIMEOUT,
    "ReadTimeout": TIMEOUT,
    "WriteTimeout": TIMEOUT,
    "PoolTimeout": TIMEOUT,
    "TimeoutError": TIMEOUT,
    "ServerTimeoutError": TIMEOUT,
    "ConnectionTimeoutError": TIMEOUT,
    # connections
    "ConnectError": _UNREACHED,
    "ProxyError": _UNREACHED,
    "ClientConnectorError": _UNREACHED,
    "ClientConnectorCertificateError": _UNTRUSTED,
    "ClientHttpProxyError": _UNREACHED,
    "gaierror": _UNREACHED,
    "NetworkError": _BROKEN,
    "ReadError": _BROKEN,
    "WriteError": _BROKEN,
    "CloseError": _BROKEN,
    "HTTPError": _BROKEN,
    "RequestError": _BROKEN,
    "TransportError": _BROKEN,
    "ClientError": _BROKEN,
    "OSError": _BROKEN,
    "ServerDisconnectedError": _BROKEN,
    # what came over them
    "ProtocolError": _GARBAGE,
    "RemoteProtocolError": _GARBAGE,
    "ClientResponseError": _GARBAGE,
    "HttpProcessingError": _GARBAGE,
    "ClientPayloadError": _CUT,
    "DecodingError": _UNPACKABLE,
    # what could not go out
    "LocalProtocolError": _UNSENDABLE,
    "UnsupportedProtocol": _UNSENDABLE,
    "InvalidURL": _UNSENDABLE,
    # what only a user's own client can raise
    "TooManyRedirects": _STRANGE,
    "HTTPStatusError": _STRANGE,
    "CookieConflict": _STRANGE,
    "StreamError": _STRANGE,
    "StreamConsumed": _STRANGE,
    "StreamClosed": _STRANGE,
    "ResponseNotRead": _STRANGE,
    "RequestNotRead": _STRANGE,
}


def meaning_of(error: BaseException, *, answered: bool) -> Meaning | None:
    """What ``error`` means; ``None`` when it is none of the network's.

    Args:
        error: What httpx, httpcore, aiohttp or the sockets below them raised.
        answered: The response had begun, so that what broke is the answer.
    """
    cause = error.__cause__
    if cause is not None and _is_aiohttps(cause) and not _is_aiohttps(error):
        # httpx-aiohttp calls refused, reset and disconnected all "ConnectTimeout".
        error = cause
    names = (cls.__name__ for cls in type(error).__mro__)
    meaning = next((MEANINGS[name] for name in names if name in MEANINGS), None)
    text = str(error)
    if meaning is _UNREACHED and "CERTIFICATE_VERIFY_FAILED" in text:
        return _UNTRUSTED
    if meaning in (_BROKEN, _GARBAGE, _CUT) and any(words in text for words in _TOO_LONG):
        return _ENDLESS
    if answered and meaning in (_BROKEN, _GARBAGE):
        return _CUT
    # httpx has no class of its own for a server that hangs up before it answers.
    return _BROKEN if meaning is _GARBAGE and "disconnected" in text else meaning


def _words(error: Exception) -> str:
    """What a library says, without the bytes that aiohttp quotes: cut anywhere, they may end amid a key."""
    if not (_is_aiohttps(error) or _is_aiohttps(error.__cause__)):
        return str(error)
    said = getattr(error, "message", None)
    return _QUOTED_BYTES.split(said if isinstance(said, str) else str(error), maxsplit=1)[0].rstrip(" :")


def _is_aiohttps(error: BaseException | None) -> bool:
    return type(error).__module__.partition(".")[0] == "aiohttp"


def is_connecting(error: Exception) -> bool:
    """Whether a time limit passed while the connection was being made."""
    names = {type(error).__name__, type(error.__cause__).__name__}
    return not names.isdisjoint({"ConnectTimeout", "PoolTimeout", "ConnectionTimeoutError"})
