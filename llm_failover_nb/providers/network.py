"""httpcore's synchronous network with an end to patience: no operation outlasts a moment set for its thread.

Sockets only: nothing here knows HTTP or a provider, and a pool only as the place where a network is put.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self

import httpcore

from llm_failover_nb.engine.clock import SystemClock
from llm_failover_nb.providers.environment import name_to_look_up

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    import httpx

__all__ = ["Limit", "TimedBackend", "limit_of"]

_now = SystemClock.monotonic

# A write is cut into pieces of this many bytes, each within what time is left: whoever reads slowly enough
# would else get the whole time anew for each bit that it takes.
_WRITTEN_AT_ONCE = 16 * 1024


class Limit(threading.local):
    """Until when the connecting, reads and writes of this thread must be done, on the monotonic clock.

    ``None`` while the thread is not about a call of ours: a user's own client has other uses.
    """

    moment: float | None = None

    def until(self, moment: float | None) -> Self:
        """Hold to ``moment`` while in the context; ``None`` is no end."""
        self.moment = math.inf if moment is None else moment
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.moment = None

    def left(self, given: float | None, error: type[httpcore.TimeoutException]) -> float | None:
        """Seconds that an operation may take, of those it was given by itself.

        Raises:
            error: When none are left.
        """
        if self.moment is None or self.moment == math.inf:
            return given
        left = self.moment - _now()
        if left <= 0:
            raise error("no time is left")
        return left if given is None else min(given, left)


def limit_of(client: httpx.Client) -> Limit:
    """The limit that a user's own client holds to from now on, in threads that set it, and only there.

    Connections that it has open already, and transports that are not httpx's own, know nothing of it: for
    them a limit holds for each read.
    """
    # httpx takes no network; httpcore below it does.
    transports = (client._transport, *client._mounts.values())  # noqa: SLF001
    pools = [
        pool
        for transport in transports
        if isinstance(pool := getattr(transport, "_pool", None), httpcore.ConnectionPool)
    ]
    networks = [pool._network_backend for pool in pools]  # noqa: SLF001
    known = [network.limit for network in networks if isinstance(network, TimedBackend)]
    limit = known[0] if known else Limit()
    for pool, network in zip(pools, networks, strict=True):
        if not isinstance(network, TimedBackend):  # two providers may share a client
            pool._network_backend = TimedBackend(network, limit)  # noqa: SLF001
    return limit


class TimedBackend(httpcore.NetworkBackend):
    """A network for httpcore's pools.

    httpcore limits each read alone, so that a server that sends a byte a second is never too slow. Here
    no operation outlasts the moment that the thread has set for the whole of what it is doing.

    Args:
        backend: The network below.
        limit: What sets the moment.
        handshakes: How many TLS handshakes a connection needs before it stands; until then all that is read
            and written, such as a proxy's answer, is a part of connecting.
    """

    def __init__(self, backend: httpcore.NetworkBackend, limit: Limit, *, handshakes: int = 0) -> None:
        self.limit = limit
        self._backend = backend
        self._handshakes = handshakes

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        if self.limit.moment is None:
            stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
            return _Stream(stream, self.limit)
        end = None if timeout is None else _now() + timeout
        hosts = _looked_up(host, port, self.limit.left(timeout, httpcore.ConnectTimeout))
        for position, address in enumerate(hosts):
            left = self.limit.left(None if end is None else end - _now(), httpcore.ConnectTimeout)
            # One dead address of several must leave time for the others.
            share = None if left is None else max(left, 0.001) / (len(hosts) - position)
            try:
                stream = self._backend.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if position == len(hosts) - 1:
                    raise
            else:
                return _Stream(stream, self.limit, end, self._handshakes)
        raise httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = self.limit.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_unix_socket(path, left, socket_options), self.limit)

    def sleep(self, seconds: float) -> None:
        """The pause before a client of the user's connects again."""
        time.sleep(self.limit.left(seconds, httpcore.ConnectTimeout) or 0)


class _Stream(httpcore.NetworkStream):
    """A connection under the same limit; while handshakes are due, under that of connecting too."""

    def __init__(
        self,
        stream: httpcore.NetworkStream,
        limit: Limit,
        connect_by: float | None = None,
        handshakes: int = 0,
    ) -> None:
        self._stream = stream
        self._limit = limit
        self._connect_by = connect_by
        self._handshakes = handshakes

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._handshakes == 0:
            return self._stream.read(max_bytes, self._limit.left(timeout, httpcore.ReadTimeout))
        try:
            return self._stream.read(max_bytes, self._left_to_connect(timeout))
        except httpcore.ReadTimeout as error:
            raise httpcore.ConnectTimeout(str(error)) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if len(buffer) <= _WRITTEN_AT_ONCE:
            self._stream.write(buffer, self._limit.left(timeout, httpcore.WriteTimeout))
            return
        with memoryview(buffer) as view:
            for start in range(0, len(view), _WRITTEN_AT_ONCE):
                left = self._limit.left(timeout, httpcore.WriteTimeout)
                self._stream.write(bytes(view[start : start + _WRITTEN_AT_ONCE]), left)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            left = self._left_to_connect(timeout)
        except httpcore.ConnectTimeout:
            self.close()
            raise
        stream = self._stream.start_tls(ssl_context, server_hostname, left)
        return _Stream(stream, self._limit, self._connect_by, max(self._handshakes - 1, 0))

    def _left_to_connect(self, given: float | None) -> float | None:
        if self._connect_by is not None:
            given = max(self._connect_by - _now(), 0.001)
        return self._limit.left(given, httpcore.ConnectTimeout)


def _looked_up(host: str, port: int, seconds: float | None) -> list[str]:
    """The numeric addresses of ``host``, in the resolver's order.

    The system's resolver cannot be interrupted, so it is asked by a thread of its own and waited for.
    """
    if seconds is None or _is_address(host):
        return _addresses(host, port)
    found: Future[list[str]] = Future()

    def look() -> None:
        try:
            found.set_result(_addresses(host, port))
        except Exception as error:  # noqa: BLE001  # raised where the result is waited for
            found.set_exception(error)

    threading.Thread(target=look, name="llm-failover-lookup", daemon=True).start()
    try:
        return found.result(seconds)
    except TimeoutError:
        raise httpcore.ConnectTimeout(f"the name {host} was not found in time") from None


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(name_to_look_up(host), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
