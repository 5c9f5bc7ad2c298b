"""One client's socket, as the fault server holds it: reads requests, sends bytes, waits, resets.

HTTP/1.1 as far as clients of models speak it. Nothing here knows a script, a wire or what is to be answered.
"""

from __future__ import annotations

import json
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qsl

from llm_failover_nb.engine.clock import SystemClock
from llm_failover_nb.providers.sim import phrase

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LAST_CHUNK",
    "ClientClosed",
    "Connection",
    "HTTPRequest",
    "ServerCloses",
    "as_chunk",
    "head",
    "response",
]

LAST_CHUNK = b"0\r\n\r\n"

_PIECE = 65_536
_LARGEST_HEAD = 65_536
_LARGEST_BODY = 64 * 1024 * 1024
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,7}")


class ClientClosed(Exception):  # a signal between frames of the fault server, not an error
    """The client is gone."""


class ServerCloses(Exception):  # likewise
    """The connection is to be closed from this side."""


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """One request: its path as it came, percent-encoded; its query decoded; its headers in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"

    def json(self) -> Mapping[str, object]:
        """The body, where it is a JSON object; else nothing."""
        try:
            body = json.loads(self.content)
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}


class Connection:
    """One client's socket. It belongs to its own thread, but for ``release`` and ``end``.

    Args:
        accepted: The socket.
        number: Which connection of its server it is, from 1.
        patience: Seconds that the client may leave unread what is sent to it.
    """

    def __init__(self, accepted: socket.socket, number: int, *, patience: float) -> None:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = accepted
        self._patience = patience
        self._buffer = bytearray()
        self._ended = False
        self.number = number
        self.busy = False
        self.released = False

    def release(self) -> None:
        """End the wait of the request in hand, from any thread."""
        if self.busy:
            self.released = True
            self._shutdown(socket.SHUT_RD)  # a wait is a read, and ends with it

    def end(self) -> None:
        """End whatever goes on, from any thread."""
        self._ended = True
        self._shutdown(socket.SHUT_RDWR)

    def read(self) -> HTTPRequest | None:
        """The next request; ``None`` for what cannot be read as one.

        Raises:
            ClientClosed: When none comes any more.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _LARGEST_HEAD:
                return None
            self._fill()
        request_line, *lines = self._take(end + 4)[:-4].decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        if headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts, content = request_line.split(" "), self._content(headers)
        if len(parts) != 3 or content is None:
            return None
        path, _, query = parts[1].partition("?")
        return HTTPRequest(parts[0], path, dict(parse_qsl(query)), headers, content)

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            ClientClosed: When the client is gone.
            ServerCloses: When it has read nothing for as long as the server's patience; it gets a reset.
        """
        left = memoryview(data)
        self._socket.settimeout(self._patience)
        try:
            while left:
                left = left[self._socket.send(left) :]
        except TimeoutError:
            self.reset()
        except OSError:
            self._gone()
        finally:
            self._socket.settimeout(None)

    def wait(self, seconds: float | None = None) -> None:
        """Do nothing for ``seconds``, or for ever, until released; notices at once when the client closes."""
        deadline = None if seconds is None else SystemClock.monotonic() + seconds
        try:
            while not self.released:
                self._socket.settimeout(
                    None if deadline is None else max(deadline - SystemClock.monotonic(), 0.001)
                )
                self._fill()
        except TimeoutError:
            pass
        finally:
            self._socket.settimeout(None)

    def reset(self) -> NoReturn:
        """Close so that the client gets a reset, not an end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ServerCloses

    def close(self) -> None:
        self._socket.close()

    def _content(self, headers: Mapping[str, str]) -> bytes | None:
        """The body of a request; ``None`` where its end cannot be told."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunked_content()
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            return None
        return self._take(int(length))

    def _chunked_content(self) -> bytes | None:
        content = bytearray()
        while True:
            line = self._take_line()
            size = int(line, 16) if _CHUNK_SIZE.fullmatch(line) else _LARGEST_BODY + 1
            if len(content) + size > _LARGEST_BODY:
                return None
            content += self._take(size)
            self._take_line()  # behind each chunk, and behind the last, which is empty
            if size == 0:
                return bytes(content)

    def _take_line(self) -> bytes:
        """A line without its end; an endless one is cut, and so no longer what it has to be."""
        while (end := self._buffer.find(b"\r\n")) < 0 and len(self._buffer) <= _LARGEST_HEAD:
            self._fill()
        return self._take(end + 2)[:-2] if end >= 0 else b""

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._fill()
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    def _fill(self) -> None:
        try:
            data = self._socket.recv(_PIECE)
        except TimeoutError:
            raise
        except OSError:
            self._gone()
        if data:
            self._buffer += data
        elif not self.released:
            self._gone()

    def _gone(self) -> NoReturn:
        raise ServerCloses if self._ended else ClientClosed

    def _shutdown(self, how: int) -> None:
        with suppress(OSError):  # closed on either side already
            self._socket.shutdown(how)


def response(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole response with its length."""
    return head(status, headers, len(body)) + body


def head(status: int, headers: Mapping[str, str], length: int | None = None) -> bytes:
    """The head of a response, without a length unless one is given."""
    lines = [f"HTTP/1.1 {status} {phrase(status)}", *(f"{name}: {value}" for name, value in headers.items())]
    if length is not None:
        lines.append(f"content-length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def as_chunk(data: bytes) -> bytes:
    """A chunk of a body that is sent in chunks; nothing stays nothing, for an empty chunk is the end."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
