"""A server that fails as the model's name says, on four wires, over real sockets, on 127.0.0.1 only.

Here are its life, its records and who is asked for what. Sockets are ``connection``'s, how an outcome is
played is ``play``'s, how a wire is written its writer's. Nothing decides what a failure means, and nothing
here is imported by the package itself.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Self

from llm_failover_nb.engine.clock import SystemClock
from llm_failover_nb.engine.errors import ChainSpecError
from llm_failover_nb.providers.script import Outcome, Script, parse_script
from llm_failover_nb.testing.anthropic_writer import ANTHROPIC
from llm_failover_nb.testing.connection import ClientClosed, Connection, ServerCloses, response
from llm_failover_nb.testing.gemini_writer import GEMINI
from llm_failover_nb.testing.ollama_writer import OLLAMA
from llm_failover_nb.testing.openai_writer import OPENAI
from llm_failover_nb.testing.play import Play
from llm_failover_nb.testing.writer import JSON, Asked, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_failover_nb.testing.connection import HTTPRequest

__all__ = ["FaultServer", "Received"]

_BACKLOG = 1_024
_WIRES = (OPENAI, ANTHROPIC, GEMINI, OLLAMA)


@dataclass(frozen=True, slots=True)
class Received:
    """A request as the server saw it.

    Args:
        model: The model's name, which is the script; empty where none was named.
        body: The JSON body.
        headers: The headers, names in lower case.
        at: When it was received, in seconds of ``time.perf_counter``.
        outcome: What it met, such as ``429:30``; ``refused`` where no script was played, ``listed`` where a
            list of models, or the like, was asked for.
        stream: Whether it asked for a stream.
        wire: ``openai``, ``anthropic``, ``gemini`` or ``ollama``; empty where its path is none of theirs.
        path: Its path, without the query, in which there may be a key.
        connection: Over which connection it came, counted from 1.
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
    wire: str
    path: str
    connection: int
    answered: bool = False
    closed_at: float | None = None

    @property
    def closed(self) -> bool:
        """Whether the client was seen to close the connection."""
        return self.closed_at is not None


class FaultServer:
    """Answers language-model clients, and fails as each model's name says: on four wires, over real sockets.

    The name of a model is its script, in the grammar of ``sim/…`` (:mod:`llm_failover_nb.providers.sim` has
    the table): ``503x2+echo`` fails twice and then repeats the prompt, ``cut:40`` stops after 40 characters,
    ``silent`` never says a word. Point any client at it and see what it makes of that.

    >>> import httpx
    >>> with FaultServer() as server:
    ...     httpx.post(f"{server.url}/chat/completions", json={"model": "429:30", "messages": []})
    <Response [429 Too Many Requests]>

    All wires are served at once, on one port, told apart by the path:

    ============= ========================================= ============================================
    wire          path                                      stream
    ============= ========================================= ============================================
    ``openai``    ``/v1/chat/completions``                  server-sent events
    ``anthropic`` ``/v1/messages``                          server-sent events with names
    ``gemini``    ``/v1beta/models/NAME:generateContent``,  one JSON array, or server-sent events where
                  ``…:streamGenerateContent``               ``alt=sse`` asks for them
    ``ollama``    ``/api/chat``                             a JSON object a line, unless ``stream`` is false
    ============= ========================================= ============================================

    Lists of models, which some clients ask for when they start, are short and there.

    Through a chain:

    >>> import llm_failover_nb as fo
    >>> registry = fo.Registry()
    >>> with FaultServer() as server:
    ...     base_url = server.base_url("anthropic")
    ...     fo.register_provider("lab", wire="anthropic", base_url=base_url, registry=registry)
    ...     with fo.parse_chain("lab/529, lab/echo", registry=registry, benches=fo.BenchRegistry()) as chain:
    ...         chain.complete("Hello").model
    'lab/echo'

    Errors have the status, the codes and the words of the wire's own, so that clients take them for real
    ones. Where a wire has no such thing, the nearest stands for it:

    - ``down`` is 529 on anthropic, which has it for "overloaded";
    - ``auth`` is 400 ``API_KEY_INVALID`` on gemini;
    - ``quota`` is 400 on anthropic, 429 on gemini, known by their words both, and 402 on ollama;
    - ``filter`` is a 200 with a ``blockReason`` on gemini; on ollama, which has none, it is a 400;
    - the wait of ``429:30`` is a ``RetryInfo`` in the body on gemini, a Retry-After header elsewhere;
    - ``nodone`` leaves out ``[DONE]`` (openai), ``message_stop`` (anthropic) or the array's end (gemini);
      streams without a marker of their own (gemini's events, ollama) lack the last line's end instead;
    - ``nochoices`` is an empty list of ``choices``, ``content`` or ``candidates``; an empty ``message`` on
      ollama.

    The position in a script is counted per wire and model name, over the server's life: of three requests
    for ``503x2+echo`` the third is answered, whoever sent them. A name that is no script is no model: 404,
    with the reason.

    Args:
        key: Where given, a request must carry it as its wire does: as a bearer token, for anthropic in
            ``x-api-key``, for gemini in ``x-goog-api-key`` or ``?key=``. One that does not meets ``auth``.
        port: Where to listen; 0 is any port that is free.
        keep: How many of the latest requests are remembered; all of them unless given.
        patience: Seconds that a client may leave unread what is sent to it; then its connection is reset.
        observer: Called with each request when it is over: answered, broken off, or left by its client. It
            is called on threads of the server's, and must not raise.
    """

    def __init__(
        self,
        *,
        key: str | None = None,
        port: int = 0,
        keep: int | None = None,
        patience: float = 30.0,
        observer: Callable[[Received], object] | None = None,
    ) -> None:
        self._key = key
        self._port = port
        self._keep = keep
        self._patience = patience
        self._observer = observer
        # Guards everything below, and is notified when a request comes, ends or is closed.
        self._changed = threading.Condition()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._connections: dict[Connection, threading.Thread] = {}
        self._positions: Counter[tuple[str, str]] = Counter()
        self._requests: dict[int, Received] = {}
        self._accepted = 0
        self._numbers = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The base URL of the openai wire, ``http://127.0.0.1:PORT/v1``.

        Raises:
            RuntimeError: When the server does not run.
        """
        return self.base_url("openai")

    def base_url(self, wire: str) -> str:
        """The base URL of a wire, as ``register_provider(name, wire=wire, base_url=…)`` wants it.

        Raises:
            ValueError: When there is no such wire.
            RuntimeError: When the server does not run.
        """
        roots = {known.name: known.root for known in _WIRES}
        if wire not in roots:
            raise ValueError(f"the wire {wire!r} is not known; choose one of: {', '.join(sorted(roots))}")
        with self._changed:
            if self._listener is None:
                raise RuntimeError("the fault server does not run; call start() or enter it with 'with'")
            return f"http://127.0.0.1:{self._listener.getsockname()[1]}{roots[wire]}"

    @property
    def requests(self) -> tuple[Received, ...]:
        """Every request so far, in order, as it stands now."""
        with self._changed:
            return tuple(self._requests.values())

    def start(self) -> Self:
        """Listen; nothing happens where it does already.

        Raises:
            OSError: When the port is in use.
        """
        with self._changed:
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self._port), backlog=_BACKLOG)
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
        """End the wait of every request so far: a late answer comes now, one without an end is closed."""
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

    def wait_unconnected(self, timeout: float = 5.0) -> bool:
        """Block until no connection is open any more, at most ``timeout`` s; whether none is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._connections, timeout)

    def _latest_closed(self, model: str | None) -> bool:
        matching = [asked for asked in self._requests.values() if model in (None, asked.model)]
        return bool(matching) and matching[-1].closed

    # Connections

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                accepted, _ = listener.accept()
            except OSError:  # the client was gone before it was taken
                continue
            self._accepted += 1
            connection = Connection(accepted, self._accepted, patience=self._patience)
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="fault-server-connection", daemon=True
            )
            with self._changed:
                if self._listener is not listener:
                    accepted.close()
                    return
                self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: Connection) -> None:
        numbers: list[int] = []
        try:
            while (request := connection.read()) is not None:
                numbers.append(self._exchange(connection, request))
                if connection.released or not request.keeps_alive:
                    break
        except ClientClosed:
            self._note_closed(numbers)
        except ServerCloses:
            pass
        finally:
            connection.close()
            with self._changed:
                del self._connections[connection]
                self._changed.notify_all()

    # Requests

    def _exchange(self, connection: Connection, request: HTTPRequest) -> int:
        """Answer one request; its number."""
        number, asked, play = self._receive(connection, request)
        answered, closed_at = False, None
        try:
            play()
            answered = True
        except ClientClosed:
            closed_at = SystemClock.monotonic()
            raise
        finally:
            with self._changed:
                connection.busy = False
                self._change(number, answered=answered, closed_at=closed_at)
            if self._observer is not None:
                self._observer(replace(asked, answered=answered, closed_at=closed_at))
        return number

    def _receive(
        self, connection: Connection, request: HTTPRequest
    ) -> tuple[int, Received, Callable[[], None]]:
        """Record a request; its number, the record, and what answers it."""
        route = self._route(request)
        with self._changed:
            outcome, play = self._next(connection, route)
            asked = Received(
                model=route.asked.model,
                body=route.asked.body,
                headers=request.headers,
                at=SystemClock.monotonic(),
                outcome=outcome,
                stream=route.asked.stream,
                wire=route.wire,
                path=request.path,
                connection=connection.number,
            )
            self._numbers += 1
            self._requests[self._numbers] = asked
            if self._keep is not None and len(self._requests) > self._keep:
                del self._requests[next(iter(self._requests))]
            # Under the same lock: a request that can be seen can be released.
            connection.busy = True
            self._changed.notify_all()
            return self._numbers, asked, play

    def _next(self, connection: Connection, route: _Route) -> tuple[str, Callable[[], None]]:
        """What a request meets, and what plays it."""
        if route.script is None:
            return route.word, partial(connection.send, response(200, JSON, route.listed))
        position = 1
        if not route.word:
            self._positions[route.wire, route.asked.model] += 1
            position = self._positions[route.wire, route.asked.model]
        outcome = route.script.outcome(position)
        play = Play(connection, route.writes.writer(route.asked), route.asked, outcome, route.message)
        return route.word or str(outcome), play.run

    def _route(self, request: HTTPRequest) -> _Route:
        for wire in _WIRES:
            if (asked := wire.asked(request)) is not None:
                return self._to_script(wire, asked, wire.key(request))
            if (listed := wire.listed(request)) is not None:
                return _Route(wire.name, wire, word="listed", listed=listed)
        message = f"nothing is at {request.method} {request.path}"
        return _Route("", OPENAI, script=_one("404"), message=message, word="refused")

    def _to_script(self, wire: Wire, asked: Asked, key: str) -> _Route:
        if self._key not in (None, key):
            return _Route(wire.name, wire, asked, _one("auth"), word="refused")
        try:
            return _Route(wire.name, wire, asked, parse_script(asked.model))
        except ChainSpecError as error:
            return _Route(wire.name, wire, asked, _one("gone"), str(error), word="refused")

    def _note_closed(self, numbers: list[int]) -> None:
        now = SystemClock.monotonic()
        with self._changed:
            for number in numbers:
                self._change(number, closed_at=now)

    def _change(self, number: int, *, answered: bool = False, closed_at: float | None = None) -> None:
        if (asked := self._requests.get(number)) is not None:  # else it was forgotten since
            self._requests[number] = replace(
                asked, answered=answered or asked.answered, closed_at=closed_at or asked.closed_at
            )
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class _Route:
    """Where a request leads: to a script, or to a list.

    Args:
        wire: Whose path it is; empty where it is none's.
        writes: Who answers.
        asked: The request.
        script: What it meets.
        message: What a refusal says, where it is not what it usually says.
        listed: What is shown where there is no script.
        word: What the records call it, where that is not its outcome.
    """

    wire: str
    writes: Wire
    asked: Asked = field(default=Asked("", stream=False, turns=()))
    script: Script | None = None
    message: str = ""
    listed: bytes = b""
    word: str = ""


def _one(word: str) -> Script:
    return Script((Outcome(word),))
