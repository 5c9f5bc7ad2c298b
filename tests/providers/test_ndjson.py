"""Streams of JSON objects: the same objects however the bytes are cut, and never more kept than one."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.providers.ndjson import ArrayDecoder, LineDecoder
from llm_failover_nb.providers.sse import LINE_LIMIT
from tests.providers.reading import bytewise, cuts

OBJECTS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.none()
        | st.integers()
        | st.text(alphabet=st.sampled_from('ab"\\{}[],\u2028\U0001f600 \n'), max_size=8),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=5,
    ),
    max_size=3,
)


def split(decoder: LineDecoder | ArrayDecoder, *pieces: bytes) -> list[str]:
    """The data of all events, those that the end leaves over included."""
    found = [event.data for piece in pieces for event in decoder.feed(piece)]
    return found + [event.data for event in decoder.end()]


# Lines


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a":1}\n{"b":2}\n', ['{"a":1}', '{"b":2}']),
        (b'{"a":1}\r\n{"b":2}\r\n', ['{"a":1}', '{"b":2}']),
        (b'\n\r\n{"a":1}\n \n', ['{"a":1}']),
        (b'{"a":1}', ['{"a":1}']),
        (b"", []),
        (b'{\n  "a": {\n  }\n}\n{"b":2}\n', ['{\n  "a": {\n  }\n}', '{"b":2}']),
        (b'{"a": {\n\n    "b": 1}\n}', ['{"a": {\n    "b": 1}\n}']),
        (b'{"a": [1,\n2\n{"b":2}\n', ['{"a": [1,', "2", '{"b":2}']),
        (b'{"a":\n{"b":2}\n', ['{"a":', '{"b":2}']),
        (b'{\n  "a"', ['{\n  "a"']),
        (b"a\n}\n", ["a", "}"]),
    ],
)
@pytest.mark.parametrize("cut", ["whole", "bytewise"])
def test_lines_end_in_lf_or_crlf(data: bytes, expected: list[str], cut: str) -> None:
    """Blank lines say nothing, the last line needs no end, and an object may be printed over several."""
    assert expected == split(LineDecoder(), *([data] if cut == "whole" else bytewise(data)))


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b", "\x1c"])
def test_nothing_else_ends_a_line(separator: str) -> None:
    """Separators that str.splitlines() splits at are legal inside JSON, or garbage; lines they are not."""
    line = f'{{"a":"{separator}"}}'
    assert [line] == split(LineDecoder(), f"{line}\n".encode())


@pytest.mark.parametrize("place", range(1, 8))
def test_a_character_may_be_cut_anywhere(place: int) -> None:
    """A character of four bytes that the network cuts is still one."""
    data = '"\U0001f600"\n'.encode()
    assert split(LineDecoder(), data[:place], data[place:]) == ['"\U0001f600"']


def test_a_line_is_handed_out_as_soon_as_it_ends() -> None:
    """The first line of a read does not wait for the second."""
    assert [event.data for event in LineDecoder().feed(b'{}\n{"a"')] == ["{}"]


@settings(deadline=None)
@given(st.lists(OBJECTS, max_size=4), st.lists(st.integers(0, 1 << 12), max_size=8), st.booleans())
def test_lines_are_the_same_however_they_are_cut(
    objects: list[object], places: list[int], crlf: bool
) -> None:
    """Where the network cuts has no influence."""
    lines = [json.dumps(one, ensure_ascii=False) for one in objects]
    body = "".join(line + ("\r\n" if crlf else "\n") for line in lines).encode()
    assert lines == split(LineDecoder(), *cuts(body, places))


# Arrays


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[]", []),
        (b'[{"a":1}]', ['{"a":1}']),
        (b'[{\n "a": [{}]\n}\n,\r\n{"b":"]}"}\n]\n', ['{\n "a": [{}]\n}', '{"b":"]}"}']),
        (b'[{"a":"\\\\"},{"b":"\\"}"}]', ['{"a":"\\\\"}', '{"b":"\\"}"}']),
        (b'[{"a":1}]{"b":2}[{}]', ['{"a":1}']),
        (b'[{"a":1},{"b"', ['{"a":1}', '{"b"']),
    ],
)
@pytest.mark.parametrize("cut", ["whole", "bytewise"])
def test_an_array_is_split_into_its_objects(data: bytes, expected: list[str], cut: str) -> None:
    """Brackets and quotes inside texts do not count, and after the array's end nothing does."""
    assert expected == split(ArrayDecoder(), *([data] if cut == "whole" else bytewise(data)))


@settings(deadline=None)
@given(
    st.lists(OBJECTS, max_size=4),
    st.lists(st.integers(0, 1 << 12), max_size=8),
    st.sampled_from([None, 1]),
    st.booleans(),
)
@example([{"\\": '"'}], [4, 5, 6, 7], None, True)
def test_an_array_is_the_same_however_it_is_cut(
    objects: list[object], places: list[int], indent: int | None, escaped: bool
) -> None:
    """Compact or indented, escaped or not, the objects are those that were written."""
    body = json.dumps(objects, indent=indent, ensure_ascii=escaped).encode()
    assert objects == [json.loads(text) for text in split(ArrayDecoder(), *cuts(body, places))]


@pytest.mark.parametrize("data", [b"[1]", b'["a"]', b"[[{}]]", b"[null]", b"{}", b"[{}}"])
def test_an_element_that_is_no_object_is_malformed(data: bytes) -> None:
    """Nothing but an array of objects is a stream."""
    with pytest.raises(ProviderError, match="no object") as caught:
        split(ArrayDecoder(), data)
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.TRANSIENT, "malformed")


@pytest.mark.parametrize(
    ("data", "begins"), [(b'[7, {"a":1}]', "'7'"), (b'["x"]', "'\"'"), ("[\u00e4]".encode(), r"'\\xc3'")]
)
def test_the_element_is_named_however_it_is_cut(data: bytes, begins: str) -> None:
    """By what it begins with, which is all there may be of it yet."""
    for pieces in ([data], bytewise(data)):
        with pytest.raises(ProviderError) as caught:
            split(ArrayDecoder(), *pieces)
        assert f"an element that is no object, but begins with {begins};" in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=6))
def test_no_bytes_raise_anything_else(pieces: list[bytes]) -> None:
    """Garbage is split somehow, or malformed."""
    try:
        found: object = split(ArrayDecoder(), b"[", *pieces)
    except ProviderError as error:
        found = error.reason
    assert found == "malformed" or isinstance(found, list)


# Bounds


@pytest.mark.parametrize(("decoder", "begin"), [(LineDecoder, b'{"a":"'), (ArrayDecoder, b'[{"a":"')])
def test_an_object_without_an_end_is_refused(decoder: type[LineDecoder | ArrayDecoder], begin: bytes) -> None:
    """What a reader waits for has a limit."""
    endless = [b"x" * (1 << 20)] * 5
    with pytest.raises(ProviderError, match=f"over {LINE_LIMIT} bytes") as caught:
        split(decoder(), begin, *endless)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(("decoder", "begin", "end"), [(LineDecoder, b"", b"\n"), (ArrayDecoder, b"[", b",")])
def test_many_objects_may_be_over_the_limit_together(
    decoder: type[LineDecoder | ArrayDecoder], begin: bytes, end: bytes
) -> None:
    """The limit is that of one object, not of a stream, or of a read."""
    one = b'{"a":"' + b"x" * (1 << 20) + b'"}' + end
    assert len(split(decoder(), begin + one * 6)) == 6


def test_what_came_before_the_limit_is_handed_out() -> None:
    """The failure follows the objects that were whole."""
    found = LineDecoder().feed(b"{}\n" + b"x" * (LINE_LIMIT + 1))
    assert next(found).data == "{}"
    with pytest.raises(ProviderError):
        next(found)


@pytest.mark.parametrize(
    ("decoder", "begin", "end"), [(LineDecoder, b'{"a":"', b'"}\n'), (ArrayDecoder, b'[{"a":"', b'"}]')]
)
def test_each_byte_is_looked_at_once(
    decoder: type[LineDecoder | ArrayDecoder], begin: bytes, end: bytes
) -> None:
    """An object in a quarter of a million pieces is not read that many times: it would not end here."""
    pieces = [b"x\\"] * (1 << 18)
    (found,) = split(decoder(), begin, *pieces, b"\\", end)
    assert len(found) == len('{"a":"') + (1 << 19) + len('\\"}')
