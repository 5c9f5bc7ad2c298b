"""Where a provider's requests go and what they carry: the base URL, the headers, the key of this moment.

Nothing is sent here. A key that no header can carry, or that would cross a network unencrypted, is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import httpx

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.providers.environment import is_loopback

if TYPE_CHECKING:
    from llm_failover_nb.providers.dialect import Dialect

__all__ = ["Endpoint", "sealed_headers", "sealed_key", "secret_in"]

_PATHS_KEPT = 64  # URLs built once; a wire with the model in its path has one for each model
_KEY_NAMES = ("authorization", "cookie", "key", "secret", "token")  # how the names of what carries one end


def sealed_key(api_key: str | Secret | None) -> Secret | None:
    """``api_key`` as a Secret: to be rebound before anything can fail, for tracebacks show arguments."""
    if not isinstance(api_key, str | Secret | None):
        raise TypeError(f"api_key is a str or a Secret, not {type(api_key).__name__}; give the key as text")
    return Secret(api_key.strip()) if isinstance(api_key, str) else api_key


def secret_in(variable: str, *, known: Secret | None = None) -> Secret | None:
    """What an environment variable holds at this moment; ``None`` where it is not set.

    Args:
        variable: Its name.
        known: What it held when it was last read: given back if it holds that still.
    """
    value = os.environ.get(variable, "").strip()
    if known is not None and known.reveal() == value:
        return known
    return Secret(value) if value else None


def sealed_headers(headers: Mapping[str, str | Secret] | None) -> dict[str, str | Secret]:
    """``headers`` with the values of those that carry a key as Secrets, likewise."""
    return {name: _sealed(name, value) for name, value in (headers or {}).items()}


def _is_key(name: str, value: str) -> bool:
    """Whether a header or a member of a query carries a key, by its name."""
    return name.lower().endswith(_KEY_NAMES) and bool(value.strip())


def _sealed(name: str, value: str | Secret) -> str | Secret:
    if not isinstance(value, str | Secret):
        raise TypeError(f"the header {name!r} is a str or a Secret, not {type(value).__name__}; give text")
    if isinstance(value, str) and _is_key(name, value):
        Secret(value.rpartition(" ")[2] or value)  # masked alone, too: "Bearer" need not come back with it
        return Secret(value)
    return value


# Variables are mostly upper case; what is not, and longer than this, is rather a key.
_LONGEST_LOWER_NAME = 24


class Endpoint:
    """One provider's address and credentials; arguments and errors are those of ``HTTPProvider``."""

    def __init__(
        self,
        name: str,
        *,
        dialect: Dialect,
        base_url: str,
        api_key: Secret | None,
        key_env: str | None,
        headers: Mapping[str, str | Secret],
        allow_http: bool,
    ) -> None:
        if api_key is not None and key_env is not None:
            raise ValueError(f"{name}: api_key and key_env ({key_env}) are both given; give one of them")
        if key_env is not None and not _could_be_a_variable(key_env):
            raise ValueError(
                f"{name}: key_env is the name of an environment variable, such as LAB_KEY; what was given is "
                "none, and is not shown here in case it is a key: give a key as api_key="
            )
        self.url = _base_url(name, base_url)
        in_query = [Secret(value) for name, value in self.url.params.multi_items() if _is_key(name, value)]
        has_key = api_key is not None or key_env is not None
        has_key = has_key or any(map(_is_secret, (*in_query, *headers.values())))
        if has_key and not allow_http and self.url.scheme == "http" and not is_loopback(self.url.host):
            raise ValueError(
                f"{name}: the key would be sent unencrypted to {self.url.host}; use an https base_url, "
                "or say allow_http=True for a host of your own"
            )
        self._name = name
        self._dialect = dialect
        self._urls: dict[str, httpx.URL] = {}
        self._headers = _headers(name, headers)
        self._key = api_key
        self._key_env = key_env
        self._key_header = next((value for value in headers.values() if isinstance(value, Secret)), None)
        self._authorized: tuple[Secret | None, httpx.Headers] = (None, self._headers)

    @property
    def base_url(self) -> str:
        """Where the paths begin, without user-info, query and trailing slash."""
        return str(self.url.copy_with(query=None)).rstrip("/")

    @property
    def missing_key(self) -> str | None:
        """The variable to set before anything can be sent; ``None`` when nothing is missing."""
        if self._key_env is None or os.environ.get(self._key_env, "").strip():
            return None
        return self._key_env

    @property
    def key(self) -> Secret | None:
        """The key that would be sent now; ``None`` where it is missing, or none is wanted."""
        secret = self._secret() or self._key_header
        return secret if secret is not None and secret.is_a_key else None

    def url_of(self, path: str) -> httpx.URL:
        """The URL of ``path`` below the base, the queries of both joined."""
        return self._urls.get(path) or self._new_url(path)

    def url_from_root(self, path: str) -> httpx.URL:
        """The URL of ``path`` at the same host, whatever the base URL's own path."""
        return self.url.copy_with(raw_path=path.encode("ascii"))

    def headers(self) -> httpx.Headers:
        """The headers with the key of this moment; built anew only when the key has changed.

        Raises:
            ProviderError: When the key is missing (``no_key``) or no header can carry it (``credentials``).
        """
        secret = self._current_key()
        known, headers = self._authorized
        return headers if secret is None or secret is known else self._authorize(secret)

    def _new_url(self, path: str) -> httpx.URL:
        below, _, query = path.partition("?")
        base, _, base_query = self.url.raw_path.decode("ascii").partition("?")
        queries = "&".join(text for text in (base_query, query) if text)
        target = base.rstrip("/") + below + ("?" + queries if queries else "")
        url = self.url.copy_with(raw_path=target.encode("ascii"))
        if len(self._urls) < _PATHS_KEPT:
            self._urls[path] = url
        return url

    # Where something is raised below, no local, there or in a caller, holds a key: tracebacks show locals.

    def _current_key(self) -> Secret | None:
        """The key to send; ``None`` for a server that wants none."""
        secret = self._secret()
        if secret is None and self._key_env is not None:
            raise ProviderError(
                f"{self._name} has no key: the environment variable {self._key_env} is not set; set it",
                kind=ErrorKind.AUTH_DEAD,
                reason="no_key",
            )
        return secret

    def _secret(self) -> Secret | None:
        """The key as given, or as its variable holds it at this moment; ``None`` where there is none."""
        return self._key if self._key_env is None else secret_in(self._key_env, known=self._authorized[0])

    def _authorize(self, secret: Secret) -> httpx.Headers:
        if not _is_sendable(secret):
            raise ProviderError(
                f"the key of {self._name} ({self._key_env or 'api_key'}) holds a line break or another "
                "character that no header can carry; copy it anew",
                kind=ErrorKind.AUTH_DEAD,
                reason="credentials",
            )
        headers = self._headers.copy()
        for name, value in self._dialect.auth(secret.reveal()).items():
            headers.setdefault(name, value)
        self._authorized = (secret, headers)
        return headers


def _base_url(name: str, base_url: str) -> httpx.URL:
    shown = base_url.rpartition("@")[2].partition("?")[0]  # user-info and query may hold a password
    try:
        url = httpx.URL(base_url)
        url = url.copy_with(userinfo=b"", fragment=None, raw_path=url.raw_path)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"{name}: the base_url {shown!r} is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(
            f"{name}: the base_url {shown!r} does not begin with https:// or http:// and a host; "
            "give it whole, as in https://api.example.com/v1"
        )
    return url


def _headers(name: str, extra: Mapping[str, str | Secret]) -> httpx.Headers:
    bad = next((key for key, value in extra.items() if not (_is_sendable(key) and _is_sendable(value))), None)
    if bad is not None:
        raise ValueError(f"{name}: the header {bad!r} holds a character that no header can carry")
    headers = httpx.Headers(
        {
            "accept": "application/json, text/event-stream",
            # Answers are small, and a packed stream arrives in lumps.
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": "llm-failover-nb",
        }
    )
    headers.update({key: value if isinstance(value, str) else value.reveal() for key, value in extra.items()})
    return headers


def _is_secret(value: object) -> bool:
    return isinstance(value, Secret)


def _is_sendable(value: str | Secret) -> bool:
    text = value.reveal() if isinstance(value, Secret) else value
    return text.isascii() and text.isprintable()


def _could_be_a_variable(name: str) -> bool:
    """Whether this looks like a variable's name and not like a key that was pasted in its place."""
    return name.isidentifier() and name.isascii() and (name.isupper() or len(name) <= _LONGEST_LOWER_NAME)
