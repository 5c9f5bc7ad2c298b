"""A server for tests that sends exact bytes, at exact moments, and notices when its client hangs up."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Received:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Connection:
    """The server's end of one connection."""

    socket: socket.socket
    server: RawServer
    _file: Any = field(init=False)

    def __post_init__(self) -> None:
        self._file = self.socket.makefile("rb")

    def request(self) -> Received | None:
        """The next request, or None when the client hung up."""
        line = self._file.readline()
        if not line:
            return None
        headers: dict[str, str] = {}
        while (header := self._file.readline().strip()) != b"":
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        received = Received(
            line.decode().strip(), headers, self._file.read(int(headers.get("content-length", "0")))
        )
        self.server.requests.append(received)
        return received

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def trickle(self, data: bytes, pause: float = 0.02) -> None:
        """Send byte by byte, slower than any reader waits for in all, faster than it waits for each."""
        for position in range(len(data)):
            if self.server.stopping.wait(pause):
                return
            self.send(data[position : position + 1])

    def repeat(self, piece: bytes, pause: float = 0.0) -> None:
        """Send ``piece`` over and over until the client hangs up."""
        while not self.server.stopping.wait(pause):
            self.send(piece)

    def reset(self) -> None:
        """Hang up the hard way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def hold(self) -> None:
        """Say nothing until the client hangs up, and note that it did."""
        with contextlib.suppress(OSError):
            while self.socket.recv(4096):
                pass
        self.server.hung_up.set()

    def tunnel(self, port: int) -> None:
        """Be a proxy's tunnel to ``port`` of this machine: what comes on one side goes out on the other."""
        with socket.create_connection(("127.0.0.1", port)) as other:
            self.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_pump, args=(other, self.socket))
            back.start()
            _pump(self.socket, other)
            back.join()

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


Script = Callable[[Connection], None]


class RawServer:
    """Runs ``script`` for each connection, in a thread of its own, until closed; over TLS with a context."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.requests: list[Received] = []
        self.connections = 0
        self.hung_up = threading.Event()
        self.stopping = threading.Event()
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for accepted in list(self._open):
            with contextlib.suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            accepted.settimeout(30)
            self.connections += 1
            self._open.append(accepted)
            thread = threading.Thread(target=self._run, args=(accepted,))
            self._threads.append(thread)
            thread.start()

    def _run(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                accepted = self._tls.wrap_socket(accepted, server_side=True)
                self._open.append(accepted)
            with contextlib.closing(Connection(accepted, self)) as connection:
                self._script(connection)
        accepted.close()


@contextlib.contextmanager
def serving(script: Script) -> Iterator[RawServer]:
    server = RawServer(script)
    try:
        yield server
    finally:
        server.close()


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """A whole response with its length."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*pieces: bytes, end: bool = True) -> bytes:
    """A response in HTTP chunks, with its end or without."""
    body = b"".join(map(piece, pieces))
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + (b"0\r\n\r\n" if end else b"")


def streamed(*pieces: bytes) -> bytes:
    """The head of a response in HTTP chunks, and its first ones; more may follow."""
    return chunked(*pieces, end=False)


def piece(data: bytes) -> bytes:
    """One more of its chunks."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def answering(*responses: bytes) -> Script:
    """Answer the requests of a connection with ``responses`` in turn, the last one over and over."""

    def script(connection: Connection) -> None:
        turn = 0
        while connection.request() is not None:
            connection.send(responses[min(turn, len(responses) - 1)])
            turn += 1

    return script


def once(*steps: Callable[[Connection], object]) -> Script:
    """Read one request, then do ``steps`` and hang up."""

    def script(connection: Connection) -> None:
        if connection.request() is None:
            connection.server.hung_up.set()
            return
        for step in steps:
            step(connection)

    return script


def sending(data: bytes) -> Callable[[Connection], None]:
    return lambda connection: connection.send(data)


ANSWER = json.dumps(
    {"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]}
).encode()


def event(text: str, finish: str | None = None) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


DONE = b"data: [DONE]\n\n"
