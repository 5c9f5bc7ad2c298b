"""The connections of asynchronous calls to one base URL: one transport for each event loop.

They are closed with their loop, with their provider, or at the end of the process, each of which has its own
way to say so. Proxies and certificates are ``environment``'s, time is ``exchange``'s, synchronous calls are
``connections``'s; what goes over them is not looked at.

Calls go over httpx-aiohttp's transport: with many of them in flight httpx's own falls far behind. It is bare,
so that time limits, proxies, redirects and the size of bodies are left to this package.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import socket
import weakref
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, cast

import httpx

from llm_failover_nb.providers.connections import KEEPALIVE, InFlight
from llm_failover_nb.providers.environment import name_to_look_up, ssl_context_for, usable_proxy

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientTimeout, TCPConnector
    from aiohttp.abc import AbstractResolver, ResolveResult
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

__all__ = ["AsyncConnections"]

_SENT_AT_ONCE = 256 * 1024  # bytes
_HEADER_LIMIT = 64 * 1024  # bytes; aiohttp's own are fewer than what httpx takes

_Keeper = AsyncGeneratorType[None, None]


class _AsyncLine:
    """The transport of one event loop, what goes over it, and the generator that closes it with the loop."""

    __slots__ = ("_headers", "in_flight", "keeper", "pid", "transport")

    def __init__(
        self, transport: httpx.AsyncBaseTransport, keeper: _Keeper, headers: Mapping[str, str]
    ) -> None:
        self.transport = transport
        self.keeper = keeper
        self._headers = headers
        self.in_flight = InFlight()
        self.pid = os.getpid()

    async def send(self, request: httpx.Request) -> httpx.Response:
        content = request.content
        if self._headers or len(content) > _SENT_AT_ONCE:
            # At once it would hold up the loop, of which aiohttp warns; with its length, which is in its
            # headers, it need not go out in HTTP's chunks.
            request = httpx.Request(
                request.method,
                request.url,
                headers={**request.headers, **self._headers},
                stream=_Pieces(content),
                extensions=request.extensions,
            )
        return await self.transport.handle_async_request(request)

    async def leave(self) -> None:
        if self.in_flight.end():
            await self.close()

    async def close(self) -> None:
        if not self.keeper.ag_running:  # the loop, ending, may be at it
            await self.keeper.aclose()


class _AsyncTracked(httpx.AsyncByteStream):
    """The body of a response; with its end the exchange ends."""

    __slots__ = ("_line", "_stream", "_wire")

    def __init__(
        self, stream: httpx.AsyncByteStream, line: _AsyncLine, wire: asyncio.Transport | None
    ) -> None:
        self._stream = stream
        self._line = line
        self._wire = wire

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            _hang_up(self._wire)
            await self._line.leave()


_wire: ContextVar[asyncio.Transport | None] = ContextVar("llm_failover_nb_wire", default=None)
"""What the exchange of this context goes over."""


def _hang_up(wire: asyncio.Transport | None) -> None:
    """Let a connection that is closing be closed: else it first sends the rest, if ever that is read."""
    if wire is not None and wire.is_closing():
        wire.abort()


class _Pieces(httpx.AsyncByteStream):
    """A body that is sent piece by piece."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), _SENT_AT_ONCE):
            yield self._content[start : start + _SENT_AT_ONCE]


_Held = dict[asyncio.AbstractEventLoop, _AsyncLine]


class AsyncConnections:
    """The connections of asynchronous calls: one transport for each running loop, closed with the loop."""

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        # By loop, and not weakly: the transports hold their loops anyway.
        self._held: _Held = {}
        # Nothing that they hold can be in a cycle that is collected, so that aiohttp's own finalizers, which
        # complain, do not come before these.
        ending = functools.partial(_end, self._held)
        atexit.register(ending)
        weakref.finalize(self, _let_go, self._held, ending).atexit = False

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The response as soon as its head is here; its body is read from ``response.stream``."""
        line = self._held.get(asyncio.get_running_loop()) or await self._open()
        line.in_flight.begin()
        _wire.set(None)
        try:
            response = await line.send(request)
        except BaseException:
            _hang_up(_wire.get())
            await line.leave()
            raise
        response.stream = _AsyncTracked(cast("httpx.AsyncByteStream", response.stream), line, _wire.get())
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
        proxy, headers = _proxy(self._url)
        transport = _transport(self._url, proxy)
        # A loop that ends closes the generators that were started on it: that is the only call it gives.
        keeper = cast(_Keeper, _keep(self._held, transport))
        line = self._held[asyncio.get_running_loop()] = _AsyncLine(transport, keeper, headers)
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


def _let_go(held: _Held, ending: functools.partial[None]) -> None:
    """Close what a provider that nobody has any more leaves open."""
    atexit.unregister(ending)
    for loop, line in _taken(held):
        _close_from_outside(loop, line)


def _end(held: _Held) -> None:
    """Close what the process leaves open at its end."""
    for loop, line in _taken(held):
        if loop.is_closed() or loop.is_running():
            _close_from_outside(loop, line)
        else:  # one that ran cell by cell, say: nobody else will run it any more
            with suppress(Exception):
                loop.run_until_complete(line.close())


def _taken(held: _Held) -> list[tuple[asyncio.AbstractEventLoop, _AsyncLine]]:
    lines = [(loop, line) for loop, line in held.items() if line.pid == os.getpid()]
    held.clear()
    return lines


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
    loop.create_task(line.transport.aclose())  # it holds itself by what it waits for, as asyncio's own
    # A loop that is just ending cancels that before it begins, and then closes the generators that are still
    # there: until then the line holds its keeper, and the timer the line.
    loop.call_later(KEEPALIVE, _forget, line)


def _forget(line: _AsyncLine) -> None:
    """What it held it holds no more."""


def _proxy(url: httpx.URL) -> tuple[httpx.Proxy | None, Mapping[str, str]]:
    """The proxy, its password moved to the headers for it; and what each request must carry besides.

    aiohttp's own way with such passwords knows Latin-1 only, and warns that it will be gone.
    """
    proxy = usable_proxy(url)
    if proxy is None or proxy.raw_auth is None or proxy.url.scheme.startswith("socks"):
        return proxy, {}
    headers = {"proxy-authorization": f"Basic {b64encode(b':'.join(proxy.raw_auth)).decode()}"}
    # A tunnel is asked for once, with the proxy's own headers; else each request is asked of the proxy.
    return httpx.Proxy(proxy.url, headers=headers), {} if url.scheme == "https" else headers


def _transport(url: httpx.URL, proxy: httpx.Proxy | None) -> httpx.AsyncBaseTransport:
    # Half of what a process that never makes an asynchronous call would spend on importing.
    import aiohttp
    from httpx_aiohttp import AiohttpTransport

    context = ssl_context_for(url)
    if proxy is not None and proxy.url.scheme.startswith("socks"):  # aiohttp speaks to HTTP proxies only
        return httpx.AsyncHTTPTransport(
            verify=context, proxy=proxy, limits=httpx.Limits(max_connections=None)
        )
    resolver = None
    if name_to_look_up(url.host) != url.host:
        resolver = cast("AbstractResolver", _LoopbackResolver(aiohttp.ThreadedResolver()))
    connector = _connector_class()(limit=0, ssl=context, keepalive_timeout=KEEPALIVE, resolver=resolver)
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
    )
    return AiohttpTransport(client=session, verify=context, proxy=proxy)


@functools.cache
def _connector_class() -> type[TCPConnector]:
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        """Notes for the exchange what it goes over."""

        async def connect(
            self,
            req: ClientRequest,
            traces: list[Trace],
            timeout: ClientTimeout,  # noqa: ASYNC109  # aiohttp's own name
        ) -> Connection:
            connection = await super().connect(req, traces, timeout)
            _wire.set(connection.transport)
            return connection

    return Connector


class _LoopbackResolver:
    """A resolver for names that are this machine's, see ``name_to_look_up``."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return await self._resolver.resolve(name_to_look_up(host), port, family)

    async def close(self) -> None:
        await self._resolver.close()
