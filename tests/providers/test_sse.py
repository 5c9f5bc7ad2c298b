"""The decoder of Server-Sent Events, held to the WHATWG rules however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.providers.sse import LINE_LIMIT, UNFRAMED, SSEDecoder


def decoded(*pieces: bytes, end: bool = False) -> list[tuple[str, str]]:
    decoder = SSEDecoder()
    events = [tuple(event) for piece in pieces for event in decoder.feed(piece)]
    return events + [tuple(event) for event in decoder.end()] if end else events


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\n", [("", "a")]),
        (b"data:a\n\n", [("", "a")]),
        (b"data:  a\n\n", [("", " a")]),
        (b"data: a\r\n\r\n", [("", "a")]),
        (b"data: a\r\r", [("", "a")]),
        (b"data: a\r\rdata: b\n\r\n", [("", "a"), ("", "b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", "a")]),
        (b"data: \xef\xbb\xbfa\n\n", [("", "\ufeffa")]),
        (b"data: a\ndata: b\n\n", [("", "a\nb")]),
        (b"data: a\ndata\ndata: b\n\n", [("", "a\n\nb")]),
        (b"data\n\n", [("", "")]),
        (b": comment\n\n:\n\ndata: a\n\n", [("", "a")]),
        (b"event: e\ndata: a\n\ndata: b\n\n", [("e", "a"), ("", "b")]),
        (b"event: lost\n\ndata: b\n\n", [("", "b")]),
        (b"id: 1\nretry: 3\nunknown: x\ndata: a\n\n", [("", "a")]),
        (b" data: a\n\n", []),
        ("data: a\u2028b\u0085c\x0bd\x1ce\n\n".encode(), [("", "a\u2028b\u0085c\x0bd\x1ce")]),
        (b"data: \xff\n\n", [("", "\ufffd")]),
        (b"\n\n\n", []),
        (b"data: unfinished\n", []),
        (b"", []),
    ],
)
@pytest.mark.parametrize("cut", ["whole", "bytewise"])
def test_a_stream_is_read_by_the_rules(body: bytes, events: list[tuple[str, str]], cut: str) -> None:
    """Line ends, fields, comments and byte-order marks are read as the standard says."""
    pieces = [body] if cut == "whole" else [body[i : i + 1] for i in range(len(body))]
    assert decoded(*pieces) == events


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"error: a\n\n", [("error", "a")]),
        (b"error: a\ndata: b\n\n", [("error", "a"), ("", "b")]),
        (b"event: e\ndata: a\nerror: b\n\n", [("e", "a"), ("error", "b")]),
        (b"error\nerror:\nerror: \n\n", []),
        (b'{"a":1}\n\n', [(UNFRAMED, '{"a":1}')]),
        (b'{"a":1}\n{"b":2}\n\n', [(UNFRAMED, '{"a":1}'), (UNFRAMED, '{"b":2}')]),
        (b'{\n  "data": {\n  }\n}\n\n', [(UNFRAMED, '{\n  "data": {\n  }\n}')]),
        (b"[\n{\n}\n]\n\n", [(UNFRAMED, "[\n{\n}\n]")]),
        (b'data: a\n{"b":2}\n\n', [("", "a"), (UNFRAMED, '{"b":2}')]),
        (b'{"a":1}\ndata: b\n\n', [(UNFRAMED, '{"a":1}'), ("", "b")]),
        (b'{"a":1}\nevent: e\ndata: b\n\n', [(UNFRAMED, '{"a":1}'), ("e", "b")]),
        (b'{"a":1}\n: comment\nb\n\n', [(UNFRAMED, '{"a":1}')]),
    ],
)
@pytest.mark.parametrize("cut", ["whole", "bytewise"])
def test_what_is_past_the_framing_is_handed_out(body: bytes, events: list[tuple[str, str]], cut: str) -> None:
    """An error field, and JSON without one: servers report failures so."""
    pieces = [body] if cut == "whole" else [body[i : i + 1] for i in range(len(body))]
    assert decoded(*pieces) == events


def test_json_past_the_framing_has_the_limit_of_an_event() -> None:
    """Its lines may not add up without end."""
    line = b" " * (1 << 20) + b"\n"
    with pytest.raises(ProviderError, match="over 4194304 bytes"):
        decoded(b"{\n", *[line] * 5)


def test_a_carriage_return_counts_before_the_next_byte_is_known() -> None:
    """A lone CR ends the line at once: waiting for a LF would hold the event back."""
    assert decoded(b"data: a\r\r") == [("", "a")]


def test_a_line_feed_after_a_cut_carriage_return_is_no_line_of_its_own() -> None:
    """CRLF split across two reads is one line end, so the two data lines stay one event."""
    assert decoded(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [("", "a\nb")]


def test_an_empty_read_between_the_halves_of_a_line_end_changes_nothing() -> None:
    """An empty piece is no byte."""
    assert decoded(b"data: a\r", b"", b"\ndata: b\n\n") == [("", "a\nb")]


@pytest.mark.parametrize("body", [b"data: a", b"data: a\n", b"event: e\ndata: a"])
def test_an_unfinished_event_is_handed_out_at_the_end(body: bytes) -> None:
    """The last event does not need its blank line."""
    assert decoded(body, end=True)[-1][1] == "a"


def test_the_end_of_a_finished_stream_brings_nothing() -> None:
    """Nothing is handed out twice."""
    assert decoded(b"data: a\n\n", end=True) == [("", "a")]


@pytest.mark.parametrize("size", [LINE_LIMIT, LINE_LIMIT + 1])
@pytest.mark.parametrize("piece", [1 << 16, 1 << 30])
def test_a_line_has_a_limit(size: int, piece: int) -> None:
    """A line of the limit is read, one byte more is malformed, however it arrives."""
    body = b"data: " + b"x" * (size - 6) + b"\n\n"
    pieces = [body[i : i + piece] for i in range(0, len(body), piece)]
    if size <= LINE_LIMIT:
        assert len(decoded(*pieces)[0][1]) == size - 6
        return
    with pytest.raises(ProviderError) as caught:
        decoded(*pieces)
    assert (caught.value.reason, caught.value.kind) == ("malformed", ErrorKind.TRANSIENT)


def test_an_event_of_many_lines_has_the_same_limit() -> None:
    """The lines of one event may not add up without end."""
    line = b"data: " + b"x" * (1 << 20) + b"\n"
    with pytest.raises(ProviderError, match="over 4194304 bytes"):
        decoded(*[line] * 5)


def test_events_before_an_oversized_line_are_handed_out() -> None:
    """What came before the fault is not lost with it."""
    iterator = SSEDecoder().feed(b"data: a\n\n" + b"x" * (LINE_LIMIT + 1) + b"\n")
    assert next(iterator).data == "a"


STREAM = st.lists(
    st.sampled_from(
        [
            b"data",
            b":",
            b" ",
            b"a",
            b"\n",
            b"\r",
            b"\r\n",
            b"event: e",
            b"\xe2\x82\xac",
            b"\xff",
            b"\xef\xbb\xbf",
        ]
    ),
    max_size=30,
).map(b"".join)


@settings(max_examples=200)
@given(body=STREAM, places=st.lists(st.integers(0, 80), max_size=10))
@example(body=b"data: \xe2\x82\xac\r\n\r\n", places=[7, 8, 10, 12])
def test_where_the_bytes_are_cut_does_not_matter(body: bytes, places: list[int]) -> None:
    """Any cut gives the events of the whole."""
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    pieces = [body[a:b] for a, b in pairwise(edges)]
    assert decoded(*pieces, end=True) == decoded(body, end=True)


@settings(max_examples=150)
@given(STREAM)
def test_events_are_those_of_a_plain_reading(body: bytes) -> None:
    """The fast decoder agrees with one written line by line from the standard's text."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events, name, data = [], "", []
    for line in lines:
        field, _, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if line == "":
            if data:
                events.append((name, "\n".join(data)))
            name, data = "", []
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
    assert decoded(body) == events
