"""The connections of synchronous calls to one base URL: opened when first needed, kept, and closed at last.

Threads and forks are seen to here. Proxies and certificates are ``environment``'s, time is ``network``'s and
``exchange``'s, asynchronous calls are ``async_connections``'s; what goes over them is not looked at.

Calls go straight over ``httpx.HTTPTransport``, which costs a fraction of a client. It is bare, so that time
limits, proxies, redirects and the size of bodies are left to this package.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import cast

import h11
import httpx

from llm_failover_nb.engine.locks import new_lock
from llm_failover_nb.providers.environment import ssl_context_for, usable_proxy
from llm_failover_nb.providers.network import Limit, TimedBackend

__all__ = ["KEEPALIVE", "Connections", "InFlight"]

KEEPALIVE = 30.0
"""Seconds an idle connection is kept; servers close theirs after about a minute."""


class InFlight:
    """Counts the exchanges over one transport, so that it is closed after the last of them, not amid one."""

    __slots__ = ("_count", "_lock", "retired")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self.retired = False

    def begin(self) -> bool:
        """Count one more; false, and not counted, once the transport is retired."""
        with self._lock:
            if self.retired:
                return False
            self._count += 1
            return True

    def end(self) -> bool:
        """Count one less; whether the transport is to be closed now."""
        with self._lock:
            self._count -= 1
            return self.retired and self._count == 0

    def retire(self) -> bool:
        """Let no further one begin; whether the transport is to be closed now."""
        with self._lock:
            self.retired = True
            return self._count == 0


class _Line:
    """A transport of synchronous calls, and what goes over it; both are the process's that opened it."""

    __slots__ = ("__weakref__", "in_flight", "pid", "transport")

    def __init__(self, transport: httpx.HTTPTransport) -> None:
        self.transport = transport
        self.in_flight = InFlight()
        self.pid = os.getpid()
        weakref.finalize(self, _close_unused, transport, self.in_flight, self.pid)

    @property
    def is_usable(self) -> bool:
        return self.pid == os.getpid() and not self.in_flight.retired

    def leave(self) -> None:
        if self.in_flight.end():
            self.transport.close()

    def close(self) -> None:
        """Close it, after its last exchange, if this is its process."""
        _close_unused(self.transport, self.in_flight, self.pid)


def _close_unused(transport: httpx.HTTPTransport, in_flight: InFlight, pid: int) -> None:
    # At the process's end other threads may be amid exchanges: they keep what they use.
    if pid == os.getpid() and in_flight.retire():
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

    def __init__(self, url: httpx.URL, limit: Limit) -> None:
        self._url = url
        self._limit = limit
        self._lock = new_lock()
        self._line: _Line | None = None
        self._inherited: list[_Line] = []

    def send(self, request: httpx.Request) -> httpx.Response:
        """The response as soon as its head is here; its body is read from ``response.stream``.

        The request's ``timeout`` extension limits connecting; the rest is the limit's to say.
        """
        line = self._entered()
        try:
            response = line.transport.handle_request(request)
        except BaseException:
            line.leave()
            raise
        response.stream = _Tracked(cast("httpx.SyncByteStream", response.stream), line)
        return response

    def close(self) -> None:
        """Close them all, those in use after their last exchange; the next request opens new ones."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            line.close()

    def _entered(self) -> _Line:
        """The line to send over, with one more exchange counted on it."""
        while True:
            line = self._line
            if line is None or not line.is_usable:
                line = self._open()
            if line.in_flight.begin():
                return line

    def _open(self) -> _Line:
        transport = _transport(self._url, self._limit)
        with self._lock:
            if self._line is not None and self._line.is_usable:
                return self._line  # another thread was faster; this one is not connected yet
            if self._line is not None and self._line.pid != os.getpid():
                # The parent process goes on using these sockets, and its threads may have held the pool's
                # lock at the fork: they are neither closed nor collected here.
                self._inherited.append(self._line)
            self._line = line = _Line(transport)
        return line


def _transport(url: httpx.URL, limit: Limit) -> httpx.HTTPTransport:
    proxy = usable_proxy(url)
    transport = httpx.HTTPTransport(
        verify=ssl_context_for(url),
        proxy=proxy,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE),
    )
    handshakes = [url.scheme, "" if proxy is None else proxy.url.scheme].count("https")
    pool = transport._pool  # noqa: SLF001  # httpx takes no network backend; httpcore below it does
    pool._network_backend = TimedBackend(pool._network_backend, limit, handshakes=handshakes)  # noqa: SLF001
    return transport
