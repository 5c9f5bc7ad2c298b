"""A server of the openai wire that fails as the model's name says, over real sockets, on 127.0.0.1 only.

The grammar is that of ``sim/…`` (:mod:`llm_failover_nb.providers.sim`). Nothing here decides what a
failure means, and nothing here is imported by the package itself.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn, Self

from llm_failover_nb.engine.clock import SystemClock
from llm_failover_nb.engine.errors import ChainSpecError
from llm_failover_nb.providers.sim import Failure, Outcome, error_body, parse_script, phrase, words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FaultServer", "Received"]

_JSON = {"content-type": "application/json"}
_HTML = {"content-type": "text/html; charset=utf-8"}
_PAGE = b"<!DOCTYPE html><html><body><h1>Bad gateway (simulated)</h1></body></html>"
_EVENTS = {"content-type": "text/event-stream", "cache-control": "no-cache"}
_CHUNKED = {**_EVENTS, "transfer-encoding": "chunked"}
_LAST_CHUNK = b"0\r\n\r\n"
_DONE = b"data: [DONE]\n\n"
_HALF_JSON = b'data: {"id": "chatcmpl-simulated", "choices": [{"del\n\n'
_HALF_CHARACTER = b'data: {"choices": [{"index": 0, "delta": {"content": "caf\xc3'
_MISSING_BYTES = 64
_LARGEST_HEAD = 65_536
_BACKLOG = 1_024


@dataclass(frozen=True, slots=True)
class Received:
    """A request as the server saw it.

    Args:
        model: The model's name, which is the script.
        body: The JSON body.
        headers: The headers, names in lower case.
        at: When it was received, in seconds of ``time.perf_counter``.
        outcome: What it met, such as ``429:30``; ``refused`` where no script was played.
        stream: Whether it asked for a stream.
        answered: Whether all that the outcome has was sent.
        closed_at: When the client was seen to close the connection, in seconds as ``at``; ``None`` while
            it is open, and for good where the server closed it first.
    """

    model: str
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(repr=False)  # a key may be among them
    at: float
    outcome: str
    stream: bool
    answered: bool = False
    closed_at: float | None = None

    @property
    def closed(self) -> bool:
        """Whether the client was seen to close the connection."""
        return self.closed_at is not None


class FaultServer:
    """Speaks Chat Completions, completion and stream, and fails as each model's name says.

    The position in a script is counted per model name, over the server's life: of three requests for
    ``503x2+echo`` the third is answered, whoever sent them.

    Args:
        key: Where given, a request must carry ``Authorization: Bearer KEY``; else it is answered by 401.

    >>> import httpx
    >>> with FaultServer() as server:
    ...     httpx.post(f"{server.url}/chat/completions", json={"model": "429:30", "messages": []})
    <Response [429 Too Many Requests]>
    """

    def __init__(self, *, key: str | None = None) -> None:
        self._key = key
        # Guards everything below, and is notified when a request comes, ends or is closed.
        self._changed = threading.Condition()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._connections: dict[_Connection, threading.Thread] = {}
        self._positions: Counter[str] = Counter()
        self._requests: dict[int, Received] = {}
        self._numbers = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The base URL, ``http://127.0.0.1:PORT/v1``.

        Raises:
            RuntimeError: When the server does not run.
        """
        with self._changed:
            if self._listener is None:
                raise RuntimeError("the fault server does not run; call start() or enter it with 'with'")
            return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    @property
    def requests(self) -> tuple[Received, ...]:
        """Every request so far, in order, as it stands now."""
        with self._changed:
            return tuple(self._requests.values())

    def start(self) -> Self:
        """Listen on a free port; nothing happens where it does already."""
        with self._changed:
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
                self._accepting = threading.Thread(
                    target=self._accept, args=(self._listener,), name="fault-server", daemon=True
                )
                self._accepting.start()
        return self

    def close(self) -> None:
        """End every connection and wait for every thread; nothing is left when it returns."""
        with self._changed:
            listener, accepting = self._listener, self._accepting
            self._listener = self._accepting = None
        if listener is None or accepting is None:
            return
        with suppress(OSError):  # closing a listener does not wake its accept everywhere; a caller does
            socket.create_connection(listener.getsockname()).close()
        accepting.join()
        listener.close()
        with self._changed:
            connections = dict(self._connections)
            for connection in connections:
                connection.end()
        for thread in connections.values():
            thread.join()

    def reset(self) -> None:
        """Start every script anew and forget the requests so far."""
        with self._changed:
            self._positions.clear()
            self._requests.clear()

    def release(self) -> None:
        """End the wait of every request so far: a slow answer comes now, a silent one is closed."""
        with self._changed:
            for connection in self._connections:
                connection.release()

    def wait_received(self, count: int = 1, timeout: float = 5.0) -> bool:
        """Block until ``count`` requests were received in all, at most ``timeout`` s; whether they were."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._requests) >= count, timeout)

    def wait_closed(self, timeout: float = 5.0, *, model: str | None = None) -> bool:
        """Block until the client closed the connection of the latest request, at most ``timeout`` s.

        Args:
            timeout: Seconds.
            model: The latest request for this model instead.

        Returns:
            Whether it was closed.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._latest_closed(model), timeout)

    def _latest_closed(self, model: str | None) -> bool:
        matching = [asked for asked in self._requests.values() if model in (None, asked.model)]
        return bool(matching) and matching[-1].closed

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                accepted, _ = listener.accept()
            except OSError:  # the client was gone before it was taken
                continue
            connection = _Connection(accepted)
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="fault-server-connection", daemon=True
            )
            with self._changed:
                if self._listener is not listener:
                    accepted.close()
                    return
                self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: _Connection) -> None:
        numbers: list[int] = []
        try:
            while (request := connection.read()) is not None and self._exchange(connection, request, numbers):
                pass
        except _ClientClosed:
            self._note_closed(numbers)
        except _ServerCloses:
            pass
        finally:
            connection.close()
            with self._changed:
                del self._connections[connection]

    def _exchange(self, connection: _Connection, request: _HTTPRequest, numbers: list[int]) -> bool:
        """Answer one request; whether the connection stays open."""
        number, asked, play = self._receive(connection, request)
        numbers.append(number)
        play(connection, asked)
        with self._changed:
            self._change(number, answered=True)
            connection.busy = False
        return request.keeps_alive and not connection.released

    def _receive(
        self, connection: _Connection, request: _HTTPRequest
    ) -> tuple[int, Received, Callable[[_Connection, Received], None]]:
        body = request.json()
        model = str(body.get("model", ""))
        with self._changed:
            outcome, play = self._outcome(request, model)
            asked = Received(
                model=model,
                body=body,
                headers=request.headers,
                at=SystemClock.monotonic(),
                outcome=outcome,
                stream=body.get("stream") is True,
            )
            self._numbers += 1
            self._requests[self._numbers] = asked
            # Under the same lock: a request that can be seen can be released.
            connection.busy = True
            self._changed.notify_all()
            return self._numbers, asked, play

    def _outcome(
        self, request: _HTTPRequest, model: str
    ) -> tuple[str, Callable[[_Connection, Received], None]]:
        if self._key is not None and request.headers.get("authorization") != f"Bearer {self._key}":
            return "refused", _refusal(401, "the API key is not valid", "invalid_api_key")
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            return "refused", _refusal(404, f"nothing is at {request.method} {request.path}", None)
        try:
            script = parse_script(model)
        except ChainSpecError as error:
            return "refused", _refusal(404, str(error), "model_not_found")
        self._positions[model] += 1
        outcome = script.outcome(self._positions[model])
        return str(outcome), lambda connection, asked: _play(connection, asked, outcome)

    def _note_closed(self, numbers: list[int]) -> None:
        now = SystemClock.monotonic()
        with self._changed:
            for number in numbers:
                self._change(number, closed_at=now)

    def _change(self, number: int, *, answered: bool = False, closed_at: float | None = None) -> None:
        if (asked := self._requests.get(number)) is not None:  # else reset() was there first
            self._requests[number] = replace(
                asked, answered=answered or asked.answered, closed_at=closed_at or asked.closed_at
            )
            self._changed.notify_all()


class _ClientClosed(Exception):  # a signal between frames of this module, not an error
    """The client is gone."""


class _ServerCloses(Exception):  # likewise
    """The connection is to be closed from this side."""


@dataclass(frozen=True, slots=True)
class _HTTPRequest:
    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"

    def json(self) -> Mapping[str, object]:
        try:
            body = json.loads(self.content)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}


class _Connection:
    """One client's socket: reads requests, sends bytes, waits, resets.

    It belongs to its own thread, but for ``release`` and ``end``.
    """

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = accepted
        self._buffer = b""
        self._ended = False
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

    def read(self) -> _HTTPRequest | None:
        """The next request; ``None`` for what cannot be read as one."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _LARGEST_HEAD:
                return None
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        parts, length = request_line.split(" "), headers.get("content-length", "0")
        if len(parts) != 3 or not length.isdecimal():
            return None
        path, _, _ = parts[1].partition("?")
        return _HTTPRequest(parts[0], path, headers, self._take(int(length)))

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            self._gone()

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
        raise _ServerCloses

    def close(self) -> None:
        self._socket.close()

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._fill()
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def _fill(self) -> None:
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            raise
        except OSError:
            self._gone()
        if data:
            self._buffer += data
        elif not self.released:
            self._gone()

    def _gone(self) -> NoReturn:
        raise _ServerCloses if self._ended else _ClientClosed

    def _shutdown(self, how: int) -> None:
        with suppress(OSError):  # closed on either side already
            self._socket.shutdown(how)


def _refusal(status: int, message: str, code: str | None) -> Callable[[_Connection, Received], None]:
    body = error_body(message, "invalid_request_error", code)
    failure = Failure(status, message, code, body, _JSON)
    return lambda connection, _: _fail(connection, failure)


def _fail(connection: _Connection, failure: Failure) -> None:
    connection.send(_response(failure.status, failure.headers, failure.body.encode()))


def _play(connection: _Connection, asked: Received, outcome: Outcome) -> None:
    """Answer, or fail, as the outcome says."""
    if (failure := outcome.failure) is not None:
        _fail(connection, failure)
    elif outcome.word in {"silent", "timeout"}:
        _stay_silent(connection)
    elif outcome.word == "reset" and outcome.characters == 0:
        connection.reset()
    elif outcome.word == "html":
        connection.send(_response(200, _HTML, _PAGE))
    elif asked.stream:
        _play_stream(connection, asked, outcome)
    else:
        _play_completion(connection, asked, outcome)


def _stay_silent(connection: _Connection) -> NoReturn:
    connection.wait()
    raise _ServerCloses


def _play_completion(connection: _Connection, asked: Received, outcome: Outcome) -> None:
    body = _completion(asked, outcome.answer(_prompt(asked.body)))
    half = body[: len(body) // 2]
    match outcome.word:
        case "stall":
            connection.send(_head(200, _JSON, len(body)) + half)
            _stay_silent(connection)
        case "cut":
            connection.send(_head(200, _JSON, len(body)) + half)
            raise _ServerCloses
        case "reset":
            connection.send(_head(200, _JSON, len(body)) + half)
            connection.reset()
        case "short":
            connection.send(_head(200, _JSON, len(body) + _MISSING_BYTES) + body)
            raise _ServerCloses
        case "slow":
            connection.wait(outcome.seconds)
        case "malformed":
            body = half
        case "utf8":
            body = half + b"caf\xc3"
        case "empty":
            body = _completion(asked, "")
        case "error200":
            body = _server_error()
    connection.send(_response(200, _JSON, body))


def _play_stream(connection: _Connection, asked: Received, outcome: Outcome) -> None:
    text = outcome.answer(_prompt(asked.body))
    begin, end = _delta(asked, {"role": "assistant", "content": ""}), _ending(asked, text)
    if outcome.word == "short":
        events = b"".join([begin, *_content(asked, text)])
        connection.send(_head(200, _EVENTS, len(events + end + _DONE)) + events)
        raise _ServerCloses
    connection.send(_head(200, _CHUNKED) + _chunk(begin))
    match outcome.word:
        case "stall":
            _send(connection, *_content(asked, text[: outcome.characters]))
            _stay_silent(connection)
        case "reset":
            _send(connection, *_content(asked, text[: outcome.characters]))
            connection.reset()
        case "cut":
            _send(connection, *_content(asked, text[: outcome.characters]))
        case "error200":
            _send(
                connection,
                *_content(asked, text[: outcome.characters]),
                b"data: " + _server_error() + b"\n\n",
            )
        case "malformed":
            _send(connection, _HALF_JSON)
        case "utf8":
            _send(connection, *_content(asked, text), _HALF_CHARACTER)
        case "empty":
            _send(connection, _ending(asked, ""), _DONE)
        case "nodone":
            _send(connection, *_content(asked, text), end)
        case "slow":
            connection.wait(outcome.seconds)
            _send(connection, *_content(asked, text), end, _DONE)
        case _:
            _send(connection, *_content(asked, text), end, _DONE)
    connection.send(_LAST_CHUNK)


def _send(connection: _Connection, *events: bytes) -> None:
    """Each event as a chunk and a packet of its own, as a model sends them."""
    for event in events:
        connection.send(_chunk(event))


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def _response(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    return _head(status, headers, len(body)) + body


def _head(status: int, headers: Mapping[str, str], length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} {phrase(status)}", *(f"{name}: {value}" for name, value in headers.items())]
    if length is not None:
        lines.append(f"content-length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _completion(asked: Received, text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return _json(asked, "chat.completion", {"choices": [choice], "usage": _usage(asked, text)})


def _content(asked: Received, text: str) -> list[bytes]:
    return [_delta(asked, {"content": word}) for word in words(text)]


def _ending(asked: Received, text: str) -> bytes:
    """The finish reason, and the usage in an event of its own where it was asked for."""
    end = _delta(asked, {}, "stop")
    match asked.body.get("stream_options"):
        case {"include_usage": True}:
            return end + _event(asked, {"choices": [], "usage": _usage(asked, text)})
    return end


def _delta(asked: Received, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
    return _event(asked, {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def _event(asked: Received, members: Mapping[str, object]) -> bytes:
    return b"data: " + _json(asked, "chat.completion.chunk", members) + b"\n\n"


def _json(asked: Received, kind: str, members: Mapping[str, object]) -> bytes:
    head = {"id": "chatcmpl-simulated", "object": kind, "created": 0, "model": asked.model}
    return json.dumps({**head, **members}, ensure_ascii=False).encode()


def _usage(asked: Received, text: str) -> Mapping[str, int]:
    asked_for = sum(len(content.split()) for _, content in _turns(asked.body))
    said = len(text.split())
    return {"prompt_tokens": asked_for, "completion_tokens": said, "total_tokens": asked_for + said}


def _server_error() -> bytes:
    return error_body("the server failed", "server_error", "server_error").encode()


def _prompt(body: Mapping[str, object]) -> str:
    return next((content for role, content in reversed(_turns(body)) if role == "user"), "")


def _turns(body: Mapping[str, object]) -> list[tuple[str, str]]:
    messages = body.get("messages")
    turns: list[tuple[str, str]] = []
    for message in messages if isinstance(messages, list) else []:
        match message:
            case {"role": str(role), "content": str(content)}:
                turns.append((role, content))
    return turns
