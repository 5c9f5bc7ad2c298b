"""Streams of JSON objects: bytes in, the text of one object after the other out. No I/O, no JSON read.

Two ways to write such a stream: an object a line (:class:`LineDecoder`, NDJSON) and one long array
(:class:`ArrayDecoder`). What is in the objects is a dialect's to say; that they are JSON, its reader's.
Both hand out events without a name, as ``sse`` does, so that one reader serves them all. Both look at each
byte once, and keep no more than one object.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_failover_nb.providers.answers import malformed
from llm_failover_nb.providers.sse import LINE_LIMIT, Event

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ArrayDecoder", "LineDecoder"]

_BETWEEN = re.compile(rb"[\s,]*+")
_TO_A_BRACKET = re.compile(rb'[^"{}\[\]]*+')
_TO_A_QUOTE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


class LineDecoder:
    """Splits one stream into its lines, which end in LF or CRLF, however its bytes are cut.

    Lines of blanks are left out: some servers send them to keep the connection. An object that is written
    over several lines, as proxies print their errors, is one line: where a line begins one and does not
    close it, those that are indented belong to it, up to the bracket that stands at the beginning of its own.

    >>> decoder = LineDecoder()
    >>> list(decoder.feed(b'{"a"')), list(decoder.feed(b': 1}\\r\\n'))
    ([], [Event(name='', data='{"a": 1}')])
    """

    __slots__ = ("_pieces", "_printed")

    def __init__(self) -> None:
        self._pieces = _Pieces()  # of a line whose end has not come yet
        self._printed = _Pieces()  # lines of an object over several

    def feed(self, data: bytes, /) -> Iterator[Event]:
        """The lines that ``data`` completes. Take them all before feeding more.

        Raises:
            ProviderError: When a line is over ``LINE_LIMIT``; what came before it has been yielded.
        """
        start = 0
        while end := data.find(b"\n", start) + 1:
            self._pieces.add(data[start:end])
            line = self._pieces.taken()
            start = end
            if self._printed or not line.rstrip().endswith(b"}"):
                yield from self._take_printed(line)
            else:
                yield _event(line)
        if start < len(data):
            self._pieces.add(data[start:])

    def end(self) -> Iterator[Event]:
        """The line that the end of the stream left without its line feed, if there is one."""
        yield from self._take_printed(self._pieces.taken())
        if self._printed:
            yield _event(self._printed.taken())

    def _take_printed(self, line: bytes) -> Iterator[Event]:
        """A line that is not, or not alone, a whole object."""
        words = line.strip()
        if not words:
            return
        if self._printed and (line[:1].isspace() or line[:1] in b"}]"):
            self._printed.add(line)
            if line[:1] == b"}":
                yield _event(self._printed.taken())
            return
        if self._printed:  # it was no object, and this is a line like others
            yield _event(self._printed.taken())
        if words.startswith(b"{") and not words.endswith(b"}"):
            self._printed.add(line)
        else:
            yield _event(line)


def _event(line: bytes) -> Event:
    # A whole line holds whole characters.
    return Event("", line.strip(b" \t\r\n").decode("utf-8", "replace"))


class ArrayDecoder:
    """Splits one JSON array into its objects, however its bytes are cut; after its end nothing is read.

    >>> decoder = ArrayDecoder()
    >>> list(decoder.feed(b'[{"a": 1},')), list(decoder.feed(b' {"b": [2]}]'))
    ([Event(name='', data='{"a": 1}')], [Event(name='', data='{"b": [2]}')])
    """

    __slots__ = ("_after_backslash", "_depth", "_ended", "_in_string", "_pieces")

    def __init__(self) -> None:
        self._pieces = _Pieces()  # of an object whose end has not come yet
        self._depth = 0  # 1 is between the array's objects
        self._in_string = False
        self._after_backslash = False
        self._ended = False

    def feed(self, data: bytes, /) -> Iterator[Event]:
        """The objects that ``data`` completes. Take them all before feeding more.

        Raises:
            ProviderError: When an object is over ``LINE_LIMIT``, or an element is no object; what came before
                it has been yielded.
        """
        place = 0
        while place < len(data) and not self._ended:
            if self._depth <= 1:
                place = self._step_between(data, place)
                continue
            end = self._within(data, place)
            self._pieces.add(data[place:end])
            if self._depth == 1:
                yield Event("", self._pieces.taken().decode("utf-8", "replace"))
            place = end

    def end(self) -> Iterator[Event]:
        """An object that the end of the stream left unfinished, if there is one."""
        if rest := self._pieces.taken():
            yield Event("", rest.decode("utf-8", "replace"))

    def _step_between(self, data: bytes, place: int) -> int:
        """Go over what stands between objects, up to where the next one begins."""
        place = _end_of(_BETWEEN, data, place)
        found = data[place : place + 1]
        if found == b"{" and self._depth == 1:
            self._depth = 2
            self._pieces.add(found)
        elif found == b"[" and self._depth == 0:
            self._depth = 1
        elif found == b"]" and self._depth == 1:
            self._ended = True
        elif found:
            shown = found.decode("ascii", "backslashreplace")
            raise malformed(
                "", f"it is an array with an element that is no object, but begins with {shown!r}"
            )
        return place + 1

    def _within(self, data: bytes, place: int) -> int:
        """Go on in an object, up to behind its end or that of ``data``."""
        while place < len(data) and self._depth > 1:
            if self._after_backslash:
                self._after_backslash = False
                place += 1
            elif self._in_string:
                place = _end_of(_TO_A_QUOTE, data, place)
                # The expression stops at a quote, or at a backslash that is the last byte.
                self._after_backslash = data[place : place + 1] == b"\\"
                self._in_string = data[place : place + 1] != b'"'
                place += 1
            else:
                place = _end_of(_TO_A_BRACKET, data, place)
                self._count(data[place : place + 1])
                place += 1
        return min(place, len(data))

    def _count(self, found: bytes) -> None:
        if found == b'"':
            self._in_string = True
        elif found in (b"{", b"["):
            self._depth += 1
        elif found:
            self._depth -= 1


class _Pieces:
    """The pieces of one object, bounded."""

    __slots__ = ("_kept", "_size")

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > LINE_LIMIT:
            raise malformed("", f"one object of it is over {LINE_LIMIT} bytes")
        self._kept.append(piece)

    def __bool__(self) -> bool:
        return bool(self._kept)

    def taken(self) -> bytes:
        """All of them; there are none afterwards."""
        whole = b"".join(self._kept)
        self._kept, self._size = [], 0
        return whole


def _end_of(pattern: re.Pattern[bytes], data: bytes, place: int) -> int:
    """Where a pattern that matches everywhere ends."""
    found = pattern.match(data, place)
    return found.end() if found is not None else place
