"""The connections to one base URL: opened when first needed, kept, closed with the loop or the provider.

Loops, threads, forks, TLS and proxies are seen to here; requests and answers pass through unread.

Synchronous calls go straight over ``httpx.HTTPTransport``, asynchronous ones over httpx-aiohttp's
transport, one for each running loop; a bare transport costs a fraction of a client and, at many calls in
flight, httpx's own asynchronous one falls behind. Both are bare, so that time limits, proxies, redirects
and the size of bodies are left to this package.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import os
import ssl
import threading
import urllib.request
import weakref
from collections.abc import AsyncGenerator
from typing import NamedTuple

import httpx

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.providers.network import TimedBackend, Until

__all__ = ["AsyncConnections", "Connections", "is_loopback", "proxy_for", "ssl_context_for"]

_KEEPALIVE = 30.0  # seconds an idle connection is kept; servers close theirs after about a minute


class Connections:
    """The connections of synchronous calls: opened at the first one, anew after a fork or a close."""

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self._until = Until()
        self._lock = threading.Lock()
        self._transport: httpx.HTTPTransport | None = None
        self._pid = 0
        self._inherited: list[httpx.HTTPTransport] = []

    def send(self, request: httpx.Request, *, until: float | None) -> httpx.Response:
        """The response as soon as its head is here; its body is read from ``response.stream``.

        Args:
            request: What to send; its ``timeout`` extension limits connecting.
            until: When the head must be here, on the monotonic clock; holds for the body too until
                :meth:`until` says otherwise.
        """
        self.until(until)
        transport = self._transport
        if transport is None or self._pid != os.getpid():
            transport = self._open()
        return transport.handle_request(request)

    def until(self, moment: float | None) -> None:
        """Let no read or write of this thread last longer than to ``moment``."""
        self._until.moment = moment

    def close(self) -> None:
        """Close them all; the next request opens new ones."""
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None and self._pid == os.getpid():
            transport.close()

    def _open(self) -> httpx.HTTPTransport:
        transport = httpx.HTTPTransport(
            verify=ssl_context_for(self._url),
            proxy=proxy_for(self._url),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEPALIVE
            ),
        )
        pool = transport._pool  # noqa: SLF001  # httpx takes no network backend; httpcore below it does
        pool._network_backend = TimedBackend(pool._network_backend, self._until)  # noqa: SLF001
        with self._lock:
            if self._transport is not None and self._pid == os.getpid():
                return self._transport  # another thread was faster; this one is not connected yet
            if self._transport is not None:
                # The parent process goes on using these sockets, and its threads may have held the pool's
                # lock at the fork: they are neither closed nor collected here.
                self._inherited.append(self._transport)
            self._transport, self._pid = transport, os.getpid()
        weakref.finalize(self, transport.close).atexit = False
        return transport


class _Held(NamedTuple):
    """The transport of one event loop, and the generator that closes it with the loop."""

    transport: httpx.AsyncBaseTransport
    keeper: AsyncGenerator[None, None]


class AsyncConnections:
    """The connections of asynchronous calls: one transport for each running loop, closed with the loop."""

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Held] = weakref.WeakKeyDictionary()

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The response as soon as its head is here; its body is read from ``response.stream``."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        transport = await self._open(loop) if held is None else held.transport
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close those of the running loop; the next request opens new ones."""
        held = self._held.get(asyncio.get_running_loop())
        if held is not None:
            await held.keeper.aclose()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> httpx.AsyncBaseTransport:
        transport = _async_transport(self._url)
        # A loop that ends closes the generators that were started on it: that is the only call it gives.
        keeper = self._keep(loop, transport)
        with self._lock:
            self._held[loop] = _Held(transport, keeper)
        await anext(keeper)
        return transport

    async def _keep(
        self, loop: asyncio.AbstractEventLoop, transport: httpx.AsyncBaseTransport
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(loop, None)
            await transport.aclose()


def _async_transport(url: httpx.URL) -> httpx.AsyncBaseTransport:
    # Half of what a process that never makes an asynchronous call would spend on importing.
    import aiohttp
    from httpx_aiohttp import AiohttpTransport

    context, proxy = ssl_context_for(url), proxy_for(url)
    if proxy is not None and proxy.startswith("socks"):  # aiohttp speaks to HTTP proxies only
        return httpx.AsyncHTTPTransport(
            verify=context, proxy=proxy, limits=httpx.Limits(max_connections=None)
        )
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=_KEEPALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    return AiohttpTransport(
        client=session, verify=context, proxy=None if proxy is None else httpx.Proxy(proxy)
    )


def ssl_context_for(url: httpx.URL) -> ssl.SSLContext:
    """The shared context; a bare one, never used, where there is no TLS: certificates take long to load."""
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


def proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment names for ``url``; none for loopback, whatever it says."""
    if is_loopback(url.host):
        return None
    host = url.host if url.port is None else f"{url.host}:{url.port}"
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, by its name or address alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
