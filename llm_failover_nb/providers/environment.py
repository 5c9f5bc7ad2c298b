"""What the environment says of reaching a host: by which proxy, and with whose certificates.

And which hosts are this machine, of which the environment has nothing to say. No connection is made here.
"""

from __future__ import annotations

import functools
import importlib.util
import ipaddress
import os
import ssl
import urllib.request

import httpx

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import Secret

__all__ = ["is_loopback", "name_to_look_up", "proxy_for", "ssl_context_for", "usable_proxy"]


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, by its name or address alone.

    ``localhost`` and all names below it are, see :func:`name_to_look_up`. Spellings of an address that only
    some resolvers read, such as ``2130706433`` and ``127.1``, are not.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return name_to_look_up(host) == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def name_to_look_up(host: str) -> str:
    """``localhost`` for every name in its tree, which no DNS has a say in (RFC 6761); else ``host`` itself.

    Many resolvers ask the network for ``dev.localhost``, and a key would follow what that answers.
    """
    return "localhost" if f".{host}".removesuffix(".").endswith(".localhost") else host


# Proxies


def usable_proxy(url: httpx.URL) -> httpx.Proxy | None:
    """The proxy for ``url``, whose password is masked from now on.

    Raises:
        ProviderError: When the environment names one of a kind that cannot be used (``connection``).
    """
    named = proxy_for(url)
    if named is None:
        return None
    scheme = named.partition("://")[0]
    proxy = _proxy(named)
    # What httpx needs for SOCKS, and does not bring.
    if proxy is None or (scheme.startswith("socks") and importlib.util.find_spec("socksio") is None):
        raise ProviderError(
            # Not shown: it may hold a password.
            f"the proxy that the environment names for {url.host} ({scheme}://…) cannot be used; look at "
            "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY: http and https are spoken, and socks5 once "
            "httpx[socks] is installed",
            kind=ErrorKind.AUTH_DEAD,
            reason="connection",
        )
    if proxy.auth is not None and proxy.auth[1].strip():
        Secret(proxy.auth[1])
    return proxy


def _proxy(named: str) -> httpx.Proxy | None:
    try:
        return httpx.Proxy(named)
    except (ValueError, httpx.InvalidURL):
        return None


def proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment names for ``url``, read as httpx reads it.

    For loopback there is none, whatever the environment says: a key sent to this machine stays on it.
    """
    if is_loopback(url.host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or any(_excepts(entry.strip(), url) for entry in proxies.get("no", "").split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _excepts(entry: str, url: httpx.URL) -> bool:
    """Whether an entry of NO_PROXY is about ``url``.

    The rules are httpx's: ``*`` is every host, ``a.test`` the host and all below it, ``.a.test`` those below
    it alone, an address only itself, whatever network is written behind it; a port or a scheme narrows it.
    """
    if entry in ("", "*"):
        return entry == "*"
    try:
        known = httpx.URL(_pattern(entry))
    except httpx.InvalidURL:  # where httpx makes no client at all
        return False
    if known.scheme not in ("all", url.scheme) or known.port not in (None, url.port):
        return False
    if known.host.startswith("*."):
        return url.host.endswith(known.host[1:])
    if known.host.startswith("*"):
        domain = known.host[1:]
        return url.host == domain or url.host.endswith(f".{domain}")
    return known.host in ("", url.host)


def _pattern(entry: str) -> str:
    if "://" in entry:
        return entry
    if entry.lower() == "localhost":
        return f"all://{entry}"
    try:
        address = ipaddress.ip_address(entry.partition("/")[0])
    except ValueError:
        return f"all://*{entry}"
    return f"all://[{entry}]" if address.version == 6 else f"all://{entry}"


# Certificates


def ssl_context_for(url: httpx.URL) -> ssl.SSLContext:
    """The shared context; a bare one, never used, where there is no TLS: certificates take long to load.

    Raises:
        ProviderError: When the files that the environment names cannot be read (``connection``).
    """
    if url.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _ssl_context(cert_file: str | None, cert_dir: str | None) -> ssl.SSLContext:
    """One context for all providers; httpx reads the two variables that the caller has looked at."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ProviderError(
            f"no certificates can be read ({error}); look at SSL_CERT_FILE ({cert_file or 'not set'}) and "
            f"SSL_CERT_DIR ({cert_dir or 'not set'})",
            kind=ErrorKind.AUTH_DEAD,
            reason="connection",
        ) from None
