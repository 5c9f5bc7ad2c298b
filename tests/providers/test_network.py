"""The network below the pools: each operation gets what is left of the time, and no more."""

from __future__ import annotations

import socket
import ssl
import threading

import httpcore
import pytest

from llm_failover_nb.providers import network
from llm_failover_nb.providers.network import Limit, TimedBackend


class Slow(httpcore.NetworkStream):
    """A connection whose every operation takes a second, by a clock of its own, whatever it is given."""

    def __init__(self) -> None:
        self.now = 0.0
        self.given: list[float | None] = []
        self.written = b""
        self.closed = False

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._pass(timeout)
        self.written += buffer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._pass(timeout)
        return b"x"

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._pass(timeout)
        return self

    def close(self) -> None:
        self.closed = True

    def _pass(self, timeout: float | None) -> None:
        self.given.append(timeout)
        self.now += 1


class SlowBackend(httpcore.MockBackend):
    """Connects to one of these."""

    def __init__(self) -> None:
        super().__init__([])
        self.stream = Slow()

    def connect_tcp(self, *args: object, **named: object) -> httpcore.NetworkStream:
        return self.stream


class DeafBackend(SlowBackend):
    """Reaches nobody, and takes a second to notice."""

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: object, **named: object
    ) -> httpcore.NetworkStream:
        self.stream._pass(timeout)
        raise httpcore.ConnectTimeout(host)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> SlowBackend:
    slow = SlowBackend()
    monkeypatch.setattr(network, "_now", lambda: slow.stream.now)
    return slow


def test_each_part_of_a_long_write_gets_what_is_left(backend: SlowBackend) -> None:
    """Somebody who reads slowly does not get the whole time anew for each part."""
    limit = Limit()
    stream = TimedBackend(backend, limit).connect_tcp("127.0.0.1", 80)
    with limit.until(3.0), pytest.raises(httpcore.WriteTimeout):
        stream.write(b"x" * 1_000_000)
    assert backend.stream.given == [3.0, 2.0, 1.0]


def test_a_long_write_is_whole(backend: SlowBackend) -> None:
    """All parts of it, in order."""
    limit, text = Limit(), bytes(range(256)) * 300
    stream = TimedBackend(backend, limit).connect_tcp("127.0.0.1", 80)
    with limit.until(None):
        stream.write(text)
    assert backend.stream.written == text


def test_each_read_gets_what_is_left(backend: SlowBackend) -> None:
    """Also of what it was given by itself."""
    limit = Limit()
    stream = TimedBackend(backend, limit).connect_tcp("127.0.0.1", 80)
    with limit.until(2.5):
        for given in (None, 0.5, 9.0):
            stream.read(1, given)
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1)
    assert backend.stream.given == [2.5, 0.5, 0.5]


@pytest.mark.parametrize("until", [None, 9.0])
def test_until_the_handshakes_all_is_connecting(backend: SlowBackend, until: float | None) -> None:
    """A proxy's answer belongs to it, and what runs out is the time to connect."""
    limit = Limit()
    with limit.until(until):
        stream = TimedBackend(backend, limit, handshakes=1).connect_tcp("127.0.0.1", 80, timeout=2.0)
        stream.read(1)
        stream.read(1)
        stream.read(1)
    assert backend.stream.given == [2.0, 1.0, 0.001]


def test_after_the_handshakes_nothing_is_connecting(backend: SlowBackend) -> None:
    """An answer over TLS may take longer than it takes to connect."""
    limit = Limit()
    with limit.until(None):
        stream = TimedBackend(backend, limit, handshakes=1).connect_tcp("127.0.0.1", 80, timeout=2.0)
        stream.start_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "model.test", 2.0).read(1, 9.0)
    assert backend.stream.given == [2.0, 9.0]


def test_a_connection_without_time_for_its_handshake_is_closed(backend: SlowBackend) -> None:
    """Nobody else would: no pool has it yet."""
    limit = Limit()
    with limit.until(1.0):
        stream = TimedBackend(backend, limit, handshakes=1).connect_tcp("127.0.0.1", 80, timeout=9.0)
        stream.write(b"CONNECT")
        with pytest.raises(httpcore.ConnectTimeout):
            stream.start_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "model.test", 9.0)
    assert backend.stream.closed


def test_addresses_share_the_time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead one leaves some of it to the next; the last has all that is left."""
    backend, limit, lookup = DeafBackend(), Limit(), socket.getaddrinfo

    def both(host: str, *rest: object, **named: object) -> list[object]:
        return [entry for each in ("127.0.0.2", "127.0.0.1") for entry in lookup(each, *rest, **named)]  # type: ignore[arg-type]

    monkeypatch.setattr(network, "_now", lambda: backend.stream.now)
    monkeypatch.setattr(socket, "getaddrinfo", both)
    with limit.until(None), pytest.raises(httpcore.ConnectTimeout):
        TimedBackend(backend, limit).connect_tcp("model.test", 80, timeout=4.0)
    assert backend.stream.given == [2.0, 3.0]


def test_a_limit_is_a_threads_own(backend: SlowBackend) -> None:
    """Others, and this one afterwards, are as free as before."""
    limit, moments = Limit(), []
    with limit.until(5.0):
        other = threading.Thread(target=lambda: moments.append(limit.moment))
        other.start()
        other.join()
    assert (moments, limit.moment) == ([None], None)


def test_without_a_limit_the_network_is_as_it_was(backend: SlowBackend) -> None:
    """What a user's own client does besides is given what it asked for."""
    stream = TimedBackend(backend, Limit()).connect_tcp("model.test", 80, timeout=7.0)
    stream.read(1, 5.0)
    assert backend.stream.given == [5.0]
