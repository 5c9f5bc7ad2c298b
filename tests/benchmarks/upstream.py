"""A static upstream on loopback, as fast as one Python process can be: fixed bytes by path. A program.

``/ok/…`` answers, ``/down/…`` is HTTP 503, ``/sse/…`` streams 500 chunks. Prints its port, ends with stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

CHUNKS = 500


def _http(status: str, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _chunk(n: int) -> bytes:
    delta = {"index": 0, "delta": {"content": f"word{n} "}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "x", "model": "m", "choices": [delta]}).encode() + b"\n\n"


_ANSWER = {
    "id": "x",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13},
}
_LAST = {"id": "x", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

RESPONSES = {
    b"/ok": _http("200 OK", "application/json", json.dumps(_ANSWER).encode()),
    b"/down": _http(
        "503 Service Unavailable",
        "application/json",
        b'{"error": {"message": "overloaded", "type": "server_error"}}',
    ),
    b"/sse": _http(
        "200 OK",
        "text/event-stream",
        b"".join(map(_chunk, range(CHUNKS)))
        + b"data: "
        + json.dumps(_LAST).encode()
        + b"\n\ndata: [DONE]\n\n",
    ),
}


class _Static(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + size:
                return
            path = self._buffer.split(b" ", 2)[1]
            self._buffer = self._buffer[end + 4 + size :]
            self._transport.write(RESPONSES[path[: path.index(b"/", 1)]])


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Static, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_reader(sys.stdin, lambda: os._exit(0))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
