"""Server-Sent Events: bytes in, events out. No I/O, no JSON, nothing about any provider.

The rules are those of the WHATWG HTML standard, "Server-sent events", section "Interpreting an event
stream", with three departures. An event that the end of the stream leaves without its blank line is handed
out by :meth:`SSEDecoder.end` instead of being dropped, because many servers forget that line. Lines have a
limit, because a reader that waits for a line end must not be made to keep everything. And what servers write
past the framing when something fails is handed out, because else half an answer looks whole: an ``error``
field, and JSON that stands in the stream as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llm_failover_nb.engine.errors import ErrorKind, ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LINE_LIMIT", "UNFRAMED", "Event", "SSEDecoder"]

LINE_LIMIT = 4 * 1024 * 1024
"""Bytes that one line, or characters that the data of one event, may have."""


UNFRAMED = "\n"
"""The name of events that are no event, but JSON without a field: one that no stream can give."""

_FIELDS = frozenset({"", "data", "event", "id", "retry"})  # a comment is one without a name


class Event(NamedTuple):
    """One event: its name (``""`` where the server gave none) and its data lines, joined by line feeds."""

    name: str
    data: str


class SSEDecoder:
    """Decodes one stream, however its bytes are cut.

    >>> decoder = SSEDecoder()
    >>> list(decoder.feed(b'data: {"a"')), list(decoder.feed(b': 1}\\n\\n'))
    ([], [Event(name='', data='{"a": 1}')])
    """

    __slots__ = ("_after_cr", "_at_start", "_data", "_name", "_size", "_tail", "_tail_size")

    def __init__(self) -> None:
        self._tail: list[bytes] = []  # pieces of a line whose end has not come yet
        self._tail_size = 0
        self._data: list[str] = []
        self._size = 0
        self._name = ""
        self._at_start = True
        self._after_cr = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that ``data`` completes. Take them all before feeding more.

        Raises:
            ProviderError: When a line or an event is over the limit; what came before it has been yielded.
        """
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        cut = data.rfind(b"\n") + 1
        if cut:
            block = b"".join((*self._tail, data[:cut])) if self._tail else data[:cut]
            self._tail, self._tail_size = [], 0
            yield from self._lines(block)
            data = data[cut:]
        if data:
            self._tail.append(data)
            self._tail_size += len(data)
            _within_limit(self._tail_size)

    def end(self) -> Iterator[Event]:
        """The event that the end of the stream left unfinished, if there is one."""
        yield from self._lines(b"".join(self._tail) + b"\n\n")
        self._tail, self._tail_size = [], 0

    def _with_line_feeds(self, data: bytes) -> bytes:
        """``data`` with LF for CRLF and CR; a CR at its end counts at once, and a LF after it not at all."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _lines(self, block: bytes) -> Iterator[Event]:
        """The events that a block of whole lines completes."""
        # Whole lines hold whole characters, so that one decode a block is safe. str.splitlines() is not:
        # it also splits on U+0085 and U+2028, which are data.
        text = block.decode("utf-8", "replace")
        if self._at_start:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        lines = text.split("\n")
        lines.pop()  # what follows the last line end: nothing
        checked = len(block) <= LINE_LIMIT
        parts = self._data
        for line in lines:
            if not checked:
                _within_limit(len(line))
            if line.startswith("data: ") and not parts:  # nearly every line of nearly every stream
                parts.append(line[6:])
                self._size = len(line)
            elif line:
                if strays := self._field(line):
                    yield from strays
            else:
                if parts:
                    yield Event(self._name, parts[0] if len(parts) == 1 else "\n".join(parts))
                    parts.clear()
                self._name = ""

    def _field(self, line: str) -> list[Event] | None:
        """Take a line that is not just data; the events past the framing that it ends, or is."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name not in _FIELDS:
            return self._stray(line, name, value)
        strays = self._ended() if self._name == UNFRAMED else None
        if name == "data":
            self._add(value)
        elif name == "event":
            self._name = value
        return strays

    def _stray(self, line: str, name: str, value: str) -> list[Event] | None:
        """A line that the standard passes over."""
        if name == "error" and value.strip():
            return [*self._ended(), Event("error", value)]
        if line[0] in "{[" and not (self._name == UNFRAMED and self._data[-1][-1:] == "["):
            ended = self._ended()
            self._name = UNFRAMED
            self._add(line)
            return ended
        if self._name == UNFRAMED:
            self._add(line)  # of JSON over several lines
        return None

    def _ended(self) -> list[Event]:
        """The event that ends without its blank line, if there is one."""
        events = [Event(self._name, "\n".join(self._data))] if self._data else []
        self._data.clear()
        self._name = ""
        return events

    def _add(self, value: str) -> None:
        self._size = self._size + len(value) + 1 if self._data else len(value)
        _within_limit(self._size)
        self._data.append(value)


def _within_limit(size: int) -> None:
    if size > LINE_LIMIT:
        raise ProviderError(
            f"one event of the stream is over {LINE_LIMIT} bytes, which is no answer of a model; "
            "check that the base URL is that of the model's API",
            kind=ErrorKind.TRANSIENT,
            reason="malformed",
        )
