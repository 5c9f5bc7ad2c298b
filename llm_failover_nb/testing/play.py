"""How an outcome is played, the same on each wire: what is sent of an answer, when, what breaks on the way.

What an answer looks like is its :class:`.writer.Writer`'s to say. Whatever has no end, or is large, is made
piece by piece.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, NoReturn

from llm_failover_nb.providers.script import words
from llm_failover_nb.testing.connection import LAST_CHUNK, ServerCloses, as_chunk, head, response
from llm_failover_nb.testing.writer import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llm_failover_nb.providers.script import Outcome
    from llm_failover_nb.testing.connection import Connection
    from llm_failover_nb.testing.writer import Asked, Refusal, Writer

__all__ = ["Play"]

_HTML = {"content-type": "text/html; charset=utf-8"}
_PAGE = b"<!DOCTYPE html><html><body><h1>Bad gateway (simulated)</h1></body></html>"
_MISSING = 64  # bytes that a Content-Length promises too many, or too few

_PIECE = 65_536
_OVER_A_LINE = 4 * 1024 * 1024 + 1
_OVER_A_BODY = 32 * 1024 * 1024 + 1
_BOMB = 1024 * 1024  # bytes that each packed piece of a bomb becomes, a thousand times its size

_HEAD_WITHOUT_END = head(200, JSON)[:-2]
_HEADER = b"x-endless: %b\r\n" % (b"a" * 1000)

_CAFE = "caf\u00e9"  # ends in a character of two bytes
_HERE = "\ue000"  # stands where a text goes; of private use, so that no model's name has it


@dataclass(frozen=True, slots=True)
class Play:
    """One answer, as the outcome wants it.

    Args:
        connection: Whom it goes to.
        writer: Who writes it.
        asked: The request.
        outcome: What it meets.
        message: What a refusal says, where it is not what it usually says.
    """

    connection: Connection
    writer: Writer
    asked: Asked
    outcome: Outcome
    message: str = ""

    def run(self) -> None:
        """Answer, or fail.

        Raises:
            ServerCloses: When the connection is to be closed now.
            ClientClosed: When the client is gone.
        """
        if (refusal := self._refusal()) is not None:
            self.connection.send(response(refusal.status, refusal.headers, refusal.body))
            return
        match self.outcome.word:
            case "silent" | "timeout":
                self._break()
            case "reset" if self.outcome.characters == 0:
                self._break()
            case "html":
                self.connection.send(response(200, _HTML, _PAGE))
            case "header":
                self._send_for_ever(chain([_HEAD_WITHOUT_END, b"x-endless: "], repeat(b"a" * _PIECE)))
            case "headers":
                self._send_for_ever(chain([_HEAD_WITHOUT_END], repeat(_HEADER * (_PIECE // len(_HEADER)))))
            case "big":
                self._send_big()
            case "bomb":
                self._send_bomb()
            case _ if self.asked.stream:
                self._stream()
            case _:
                self._complete()

    @property
    def _text(self) -> str:
        return self.outcome.answer(self.asked.prompt)

    @property
    def _headers(self) -> Mapping[str, str]:
        return self.writer.stream_headers() if self.asked.stream else JSON

    def _refusal(self) -> Refusal | None:
        if self.outcome.word == "noprefill" and not self.asked.prefills:
            return None
        return self.writer.refusal(self.outcome, self.message)

    # A completion

    def _complete(self) -> None:
        connection, body = self.connection, self._body()
        match self.outcome.word:
            case "cut" | "reset" | "stall":
                connection.send(head(200, JSON, len(body)) + body[: len(body) // 2])
                self._break()
            case "short":
                connection.send(head(200, JSON, len(body) + _MISSING) + body)
                raise ServerCloses
            case "long":
                connection.send(head(200, JSON, len(body) - _MISSING) + body)
            case "endless":
                connection.send(head(200, {**JSON, "transfer-encoding": "chunked"}))
                self._send_chunks(chain([self._opening()], repeat(b"a" * _PIECE)))
            case "trickle":
                connection.send(head(200, JSON, len(body)))
                self._trickle(body[place : place + 1] for place in range(len(body)))
            case "slow":
                connection.wait(self.outcome.seconds)
                connection.send(response(200, JSON, body))
            case _:
                connection.send(response(200, JSON, body))

    def _body(self) -> bytes:
        """A whole answer, or what stands for it."""
        match self.outcome.word:
            case "empty":
                return self.writer.whole("")
            case "nochoices":
                return self.writer.hollow()
            case "error200":
                return self.writer.error()
            case "utf8":
                return _half_a_character(self.writer.whole(f"{self._text} {_CAFE}"))
        body = self.writer.whole(self._text)
        return body[: len(body) // 2] if self.outcome.word == "malformed" else body

    # A stream

    def _stream(self) -> None:
        if self.outcome.word in {"long", "short"}:
            self._stream_of_a_wrong_length()
            return
        begin = b"" if self.outcome.word == "nochoices" else self.writer.begin()
        headers = {**self._headers, "transfer-encoding": "chunked"}
        self.connection.send(head(200, headers) + as_chunk(begin))
        match self.outcome.word:
            case "endless":
                event = self.writer.content(" word")
                self._send_chunks(repeat(event * (_PIECE // len(event))))
            case "trickle":
                data = b"".join(self._rest())
                self._trickle(as_chunk(data[place : place + 1]) for place in range(len(data)))
            case word:
                if word == "slow":
                    self.connection.wait(self.outcome.seconds)
                for event in self._rest():
                    # A packet of its own, as a model sends it.
                    self.connection.send(as_chunk(event))
        if self.outcome.word in {"reset", "stall"}:
            self._break()
        self.connection.send(LAST_CHUNK)

    def _stream_of_a_wrong_length(self) -> None:
        events, ending = self.writer.begin() + b"".join(self._events(self._text)), self._ending()
        if self.outcome.word == "long":
            self.connection.send(head(200, self._headers, len(events)) + events + ending)
            return
        self.connection.send(head(200, self._headers, len(events + ending)) + events)
        raise ServerCloses

    def _rest(self) -> Iterator[bytes]:
        """The events after the first, as far as there are any."""
        writer, text = self.writer, self._text
        match self.outcome.word:
            case "cut" | "reset" | "stall":
                return self._events(text[: self.outcome.characters])
            case "error200":
                return chain(self._events(text[: self.outcome.characters]), [writer.error_event()])
            case "malformed":
                before, after = text[: self.outcome.characters], text[self.outcome.characters :]
                broken = [writer.broken_event()]
                return chain(self._events(before), broken, self._events(after), [self._ending()])
            case "utf8":
                return chain(self._events(text), [_half_a_character(writer.content(f" {_CAFE}"))])
            case "line":
                return chain(self._line(), [self._ending()])
            case "empty":
                return iter([writer.end("") + writer.marker()])
            case "nochoices":
                return iter([writer.hollow_stream() + writer.marker()])
        return chain(self._events(text), [self._ending()])

    def _events(self, text: str) -> Iterator[bytes]:
        return map(self.writer.content, words(text))

    def _ending(self) -> bytes:
        end, marker = self.writer.end(self._text), self.writer.marker()
        if self.outcome.word != "nodone":
            return end + marker
        # Where there is no marker to leave out, it is the line end of the last event.
        return end if marker else end.rstrip()

    def _line(self) -> Iterator[bytes]:
        before, after = _around_the_text(self.writer.content(_HERE))
        return chain([before], _letters(_OVER_A_LINE), [after])

    # Waits, and what has no end

    def _break(self) -> NoReturn:
        """Go silent, reset or close, in the middle of an answer or before it."""
        match self.outcome.word:
            case "reset":
                self.connection.reset()
            case "silent" | "stall" | "timeout":
                self.connection.wait()
        raise ServerCloses

    def _trickle(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.connection.wait(self.outcome.seconds)
            self.connection.send(piece)

    def _send_big(self) -> None:
        before, after = _around_the_text(self.writer.whole(_HERE))
        self.connection.send(head(200, JSON, len(before) + _OVER_A_BODY + len(after)))
        for piece in chain([before], _letters(_OVER_A_BODY), [after]):
            self.connection.send(piece)

    def _send_bomb(self) -> NoReturn:
        headers = {**self._headers, "content-encoding": "gzip", "transfer-encoding": "chunked"}
        self.connection.send(head(200, headers))
        self._send_chunks(_bomb(self._opening()))

    def _opening(self) -> bytes:
        """An answer up to its text; where it is a stream, one whose first event has no end."""
        if self.asked.stream:
            return self.writer.begin() + _around_the_text(self.writer.content(_HERE))[0]
        return _around_the_text(self.writer.whole(_HERE))[0]

    def _send_chunks(self, pieces: Iterable[bytes]) -> NoReturn:
        self._send_for_ever(map(as_chunk, pieces))

    def _send_for_ever(self, pieces: Iterable[bytes]) -> NoReturn:
        """Send what has no end, until the client has enough of it or somebody releases it."""
        for piece in pieces:
            if self.connection.released:
                break
            self.connection.send(piece)
        raise ServerCloses


def _around_the_text(data: bytes) -> tuple[bytes, bytes]:
    before, _, after = data.partition(_HERE.encode())
    return before, after


def _letters(size: int) -> Iterator[bytes]:
    """``size`` letters, piece by piece."""
    whole, rest = divmod(size, _PIECE)
    return chain(repeat(b"a" * _PIECE, whole), [b"a" * rest])


def _bomb(opening: bytes) -> Iterator[bytes]:
    """``opening`` and letters without an end, packed by gzip; each piece stands alone, and so repeats."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    yield packer.compress(opening) + packer.flush(zlib.Z_FULL_FLUSH)
    yield from repeat(packer.compress(b"a" * _BOMB) + packer.flush(zlib.Z_FULL_FLUSH))


def _half_a_character(data: bytes) -> bytes:
    """``data`` up to the middle of its last character of two bytes."""
    return data[: data.rindex(_CAFE.encode()[-2:-1]) + 1]
