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
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import suppress
from types import AsyncGeneratorType
from typing import cast

import h11
import httpx

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.providers.network import TimedBackend, Until

__all__ = ["AsyncConnections", "Connections", "is_loopback", "proxy_for", "ssl_context_for"]

_KEEPALIVE = 30.0  # seconds an idle connection is kept; servers close theirs after about a minute


class _InFlight:
    """Counts the exchanges over one transport, so that it is closed after the last of them, not amid one."""

    __slots__ = ("_count", "_lock", "_retired")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._retired = False

    def begin(self) -> bool:
        """Count one more; false, and not counted, once the transport is retired."""
        with self._lock:
            if self._retired:
                return False
            self._count += 1
            return True

    def end(self) -> bool:
        """Count one less; whether the transport is to be closed now."""
        with self._lock:
            self._count -= 1
            return self._retired and self._count == 0

    def retire(self) -> bool:
        """Let no further one begin; whether the transport is to be closed now."""
        with self._lock:
            self._retired = True
            return self._count == 0


class _Line:
    """A transport of synchronous calls, and what goes over it; both are the process's that opened it."""

    __slots__ = ("__weakref__", "in_flight", "pid", "transport")

    def __init__(self, transport: httpx.HTTPTransport) -> None:
        self.transport = transport
        self.in_flight = _InFlight()
        self.pid = os.getpid()
        weakref.finalize(self, _close_own, transport, self.pid).atexit = False

    def leave(self) -> None:
        if self.in_flight.end():
            self.close()

    def close(self) -> None:
        _close_own(self.transport, self.pid)


def _close_own(transport: httpx.HTTPTransport, pid: int) -> None:
    if pid == os.getpid():
        transport.close()


class _Tracked(httpx.SyncByteStream):
    """The body of a response; with its end the exchange ends.

    A connection on which more came than the response has is of no further use: the next request over it would
    be answered by what is left. httpcore would keep it.
    """

    __slots__ = ("_line", "_stream")

    def __init__(self, stream: httpx.SyncByteStream, line: _Line) -> None:
        self._stream = stream
        self._line = line

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        try:
            _spoil_if_more_came(self._stream)
            self._stream.close()
        finally:
            self._line.leave()


def _spoil_if_more_came(stream: object) -> None:
    """Have the connection closed with its response, where bytes are left that belong to none."""
    # From httpx's stream to httpcore's connection, which tells nobody; another make of stream has no such
    # names, and is left alone.
    for name in ("_httpcore_stream", "_stream", "_connection", "_h11_state"):
        stream = getattr(stream, name, None)
    if isinstance(stream, h11.Connection) and stream.trailing_data[0]:
        stream.send_failed()


class Connections:
    """The connections of synchronous calls: opened at the first one, anew after a fork or a close."""

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self._until = Until()
        self._lock = threading.Lock()
        self._line: _Line | None = None
        self._inherited: list[_Line] = []

    def send(self, request: httpx.Request, *, until: float | None) -> httpx.Response:
        """The response as soon as its head is here; its body is read from ``response.stream``.

        Args:
            request: What to send; its ``timeout`` extension limits connecting.
            until: When the head must be here, on the monotonic clock; holds for the body too until
                :meth:`until` says otherwise.
        """
        self.until(until)
        line = self._entered()
        try:
            response = line.transport.handle_request(request)
        except BaseException:
            line.leave()
            raise
        response.stream = _Tracked(cast("httpx.SyncByteStream", response.stream), line)
        return response

    def until(self, moment: float | None) -> None:
        """Let no read or write of this thread last longer than to ``moment``."""
        self._until.moment = moment

    def close(self) -> None:
        """Close them all, those in use after their last exchange; the next request opens new ones."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None and line.in_flight.retire():
            line.close()

    def _entered(self) -> _Line:
        """The line to send over, with one more exchange counted on it."""
        while True:
            line = self._line
            if line is None or line.pid != os.getpid():
                line = self._open()
            if line.in_flight.begin():
                return line

    def _open(self) -> _Line:
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
            if self._line is not None and self._line.pid == os.getpid():
                return self._line  # another thread was faster; this one is not connected yet
            if self._line is not None:
                # The parent process goes on using these sockets, and its threads may have held the pool's
                # lock at the fork: they are neither closed nor collected here.
                self._inherited.append(self._line)
            self._line = line = _Line(transport)
        return line


_Keeper = AsyncGeneratorType[None, None]


class _AsyncLine:
    """The transport of one event loop, what goes over it, and the generator that closes it with the loop."""

    __slots__ = ("in_flight", "keeper", "pid", "transport")

    def __init__(self, transport: httpx.AsyncBaseTransport, keeper: _Keeper) -> None:
        self.transport = transport
        self.keeper = keeper
        self.in_flight = _InFlight()
        self.pid = os.getpid()

    async def leave(self) -> None:
        if self.in_flight.end():
            await self.close()

    async def close(self) -> None:
        if not self.keeper.ag_running:  # the loop, ending, may be at it
            await self.keeper.aclose()


class _AsyncTracked(httpx.AsyncByteStream):
    """The body of a response; with its end the exchange ends."""

    __slots__ = ("_line", "_stream")

    def __init__(self, stream: httpx.AsyncByteStream, line: _AsyncLine) -> None:
        self._stream = stream
        self._line = line

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._line.leave()


_Held = dict[asyncio.AbstractEventLoop, _AsyncLine]


class AsyncConnections:
    """The connections of asynchronous calls: one transport for each running loop, closed with the loop."""

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        # By loop, and not weakly: the transports hold their loops anyway.
        self._held: _Held = {}
        # Nothing that it holds can be in a cycle that is collected, so that aiohttp's own finalizers, which
        # complain, do not come before this one.
        weakref.finalize(self, _let_go, self._held)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The response as soon as its head is here; its body is read from ``response.stream``."""
        line = self._held.get(asyncio.get_running_loop()) or await self._open()
        line.in_flight.begin()
        try:
            response = await line.transport.handle_async_request(request)
        except BaseException:
            await line.leave()
            raise
        response.stream = _AsyncTracked(cast("httpx.AsyncByteStream", response.stream), line)
        return response

    async def aclose(self) -> None:
        """Close those of the running loop, as :meth:`Connections.close` does."""
        line = self._held.pop(asyncio.get_running_loop(), None)
        if line is not None and line.in_flight.retire():
            await line.close()

    async def _open(self) -> _AsyncLine:
        for loop in [loop for loop in list(self._held) if loop.is_closed()]:
            if (left := self._held.pop(loop, None)) is not None:
                _close_from_outside(loop, left)
        transport = _async_transport(self._url)
        # A loop that ends closes the generators that were started on it: that is the only call it gives.
        keeper = cast(_Keeper, _keep(self._held, transport))
        line = self._held[asyncio.get_running_loop()] = _AsyncLine(transport, keeper)
        await anext(keeper)
        return line


async def _keep(held: _Held, transport: httpx.AsyncBaseTransport) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        loop = asyncio.get_running_loop()
        if (line := held.get(loop)) is not None and line.transport is transport:
            del held[loop]
        await transport.aclose()


def _let_go(held: _Held) -> None:
    """Close what a provider that nobody has any more, or a process at its end, leaves open."""
    lines = list(held.items())
    held.clear()
    for loop, line in lines:
        if line.pid == os.getpid():
            _close_from_outside(loop, line)


def _close_from_outside(loop: asyncio.AbstractEventLoop, line: _AsyncLine) -> None:
    """Close a line where nothing can be awaited: on its own loop, or by hand when that was closed before."""
    if not loop.is_closed():
        with suppress(RuntimeError):  # it was closed just now
            loop.call_soon_threadsafe(_start_closing, loop, line)
        return
    closing = line.transport.aclose()
    with suppress(Exception):  # StopIteration when done: without its loop there is nothing to wait for
        closing.send(None)
    closing.close()


def _start_closing(loop: asyncio.AbstractEventLoop, line: _AsyncLine) -> None:
    loop.create_task(line.close())  # it holds itself by what it waits for, as asyncio's own


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
