"""httpcore's synchronous network with an end to patience: no operation outlasts a moment set for its thread.

Sockets only: nothing here knows HTTP, a pool or a provider.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import httpcore

from llm_failover_nb.engine.clock import SystemClock

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

__all__ = ["TimedBackend", "Until"]

_now = SystemClock.monotonic


class Until(threading.local):
    """Until when the reads and writes of this thread must be done, on the monotonic clock."""

    moment: float | None = None


class TimedBackend(httpcore.NetworkBackend):
    """A network for httpcore's pools.

    httpcore limits each read alone, so that a server that sends a byte a second is never too slow. Here
    no operation outlasts the moment that the thread has set for the whole of what it is doing.
    """

    def __init__(self, backend: httpcore.NetworkBackend, until: Until) -> None:
        self._backend = backend
        self._until = until

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        end = None if timeout is None else _now() + timeout
        hosts = _addresses(host, port)
        for position, address in enumerate(hosts):
            left = _left(None if end is None else end - _now(), self._until, httpcore.ConnectTimeout)
            # One dead address of several must leave time for the others.
            share = None if left is None else left / (len(hosts) - position)
            try:
                stream = self._backend.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if position == len(hosts) - 1:
                    raise
            else:
                return _Stream(stream, self._until, connect_by=end)
        raise httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, self._until, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_unix_socket(path, left, socket_options), self._until)


class _Stream(httpcore.NetworkStream):
    """A connection under the same limit; TLS shares the limit of connecting."""

    def __init__(self, stream: httpcore.NetworkStream, until: Until, connect_by: float | None = None) -> None:
        self._stream = stream
        self._until = until
        self._connect_by = connect_by

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, self._until, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, self._until, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        if self._connect_by is not None:
            timeout = max(self._connect_by - _now(), 0.001)
        try:
            left = _left(timeout, self._until, httpcore.ConnectTimeout)
        except httpcore.ConnectTimeout:
            self.close()
            raise
        return _Stream(
            self._stream.start_tls(ssl_context, server_hostname, left), self._until, self._connect_by
        )


def _addresses(host: str, port: int) -> list[str]:
    """The numeric addresses of ``host``, in the resolver's order. The look-up itself cannot be limited."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    return addresses if len(addresses) > 1 else [host]


def _left(given: float | None, until: Until, error: type[httpcore.TimeoutException]) -> float | None:
    if until.moment is None:
        return given
    left = until.moment - _now()
    if left <= 0:
        raise error("no time is left")
    return left if given is None else min(given, left)
