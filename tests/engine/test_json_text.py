"""The JSON in an answer: the whole text or its one fenced block, and what is said where there is none."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.engine.json_text import read_json
from llm_failover_nb.engine.types import Response, Usage

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
VALUE = {"a": [1, 2.5, None], "b": "```\n~~~"}
TEXT = json.dumps(VALUE, indent=2)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"\n\n  {TEXT}\n",
        f"\ufeff{TEXT}",
        f"```json\n{TEXT}\n```",
        f"Here you are:\n\n```json\n{TEXT}\n```\nAnything else?",
        f"```\n{TEXT}\n```",
        f"~~~JSON\n{TEXT}\n~~~",
        f"`````json title=x\n{TEXT}\n`````",
        f"1. So:\n\n   ```json\n   {TEXT}\n   ```",
        f"```json\n{TEXT}".replace("\n", "\r\n"),
        f"```json\n{TEXT}\n```".replace("\n", "\r\n"),
        f"```python\n{{}}\n```\nand\n```json\n{TEXT}\n```",
        f"```\n{{}}\n```\nand\n```json\n{TEXT}\n```",
        f"```\n```\n```\n{TEXT}\n```",
        f"Some ```code``` in a sentence\n```\n{TEXT}\n```",
        f"```code``` in a sentence\n```\n{TEXT}\n```",
        f"~~~json a~b\n{TEXT}\n~~~",
    ],
)
def test_json_in_an_answer(text: str) -> None:
    """Fences of any kind, of which one is meant."""
    assert read_json(text) == VALUE


@pytest.mark.parametrize(
    "text", ['```{"a": 1}```', '```json {"a": 1} ```', 'So:\n  ```JSON{"a": 1}```  ', '~~~ {"a": 1} ~~~']
)
def test_json_between_fences_on_one_line(text: str) -> None:
    """As short answers come."""
    assert read_json(text) == {"a": 1}


@pytest.mark.parametrize("text", ["1", '"a"', "null", "true", "[]", "-0.5e3"])
def test_values_that_are_no_objects(text: str) -> None:
    """Any JSON value is one."""
    assert read_json(text) == json.loads(text)


@given(VALUES)
def test_any_json_is_read(value: object) -> None:
    """Bare, and fenced, whatever is in its texts."""
    text = json.dumps(value, ensure_ascii=False)
    assert (read_json(text), read_json(f"Well:\n```json\n{text}\n```")) == (value, value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """With a ValueError, whatever it holds."""
    said = "the answer is no JSON: "
    try:
        read_json(text)
    except ValueError as error:
        said = str(error)
    assert said.startswith("the answer is no JSON: ")


def test_last_of_duplicate_keys_wins() -> None:
    """As json.loads has it."""
    assert read_json('{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is nothing in it"),
        (" \n", "there is nothing in it; it begins ' \\n'"),
        ("Sure!", "expecting value, on line 1, column 1; it begins 'Sure!'"),
        ('{"a": 1', "expecting ',' delimiter, on line 1, column 8; it begins '{\"a\": 1'"),
        ("So:\n```json\n{\n]\n```", "expecting property name enclosed in double quotes, on line 4, column 1"),
        ("So:\n```json [1,] ```", "on line 2, column"),
        ("{} {}", "extra data, on line 1, column 4"),
        ("NaN", "it holds NaN, which is no number of JSON's"),
        ("[-Infinity]", "it holds -Infinity, which is no number of JSON's"),
        ("[1, -1e999]", "it holds -1e999, which is too large a number"),
        ("```\n1\n```\n```\n2\n```", "it has 2 fenced blocks that may be meant; it begins '```"),
        ("```python\n1\n```", "expecting value, on line 1, column 1"),
        ("[" * 100_000, "it is nested too deeply; it begins '[[["),
        ("9" * 5_000, "limit"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_json(text: str, said: str) -> None:
    """The message says what is wrong, where in the answer, and how the answer begins."""
    with pytest.raises(ValueError) as caught:
        read_json(text)
    assert said in str(caught.value)


def test_long_answers_are_quoted_in_part() -> None:
    """Sixty characters of them."""
    with pytest.raises(ValueError) as caught:
        read_json("word " * 100)
    assert str(caught.value).endswith(f"; it begins {('word ' * 12)!r}…")


@pytest.mark.parametrize("text", ["```" + "a" * 300_000 + "`b", " " * 300_000 + "x", "```json\n" * 50_000])
def test_long_answers_are_read_in_one_pass(text: str) -> None:
    """Nothing in them makes reading slow."""
    with pytest.raises(ValueError):
        read_json(text)


# Of a response


def test_response_as_json() -> None:
    """The value of its text."""
    assert Response('```json\n{"a": 1}\n```').json() == {"a": 1}


def test_cut_response_says_why_it_is_no_json() -> None:
    """The remedy is another than for a model that does not do as told."""
    with pytest.raises(ValueError, match=r"; a limit cut it short, so raise max_tokens$"):
        Response('{"a": ', finish="length").json()


def test_whole_response_that_is_no_json_was_not_cut() -> None:
    """No limit is to blame."""
    with pytest.raises(ValueError, match=r"line 1, column 1; it begins 'no'$"):
        Response("no", finish="stop").json()


def test_response_as_text() -> None:
    """A str of it, and its place in an f-string, is the text."""
    response = Response("Paris", "a/m")
    assert (str(response), f"It is {response}.") == ("Paris", "It is Paris.")


@pytest.mark.parametrize(
    ("response", "shown"),
    [
        (Response(), "Response('', model='', attempts=0, tokens=?+?)"),
        (
            Response("Paris", "a/m", usage=Usage(12, 3)),
            "Response('Paris', model='a/m', attempts=0, tokens=12+3)",
        ),
        (Response("one\ntwo\x1b[0m"), "Response('one\\ntwo\\x1b[0m', model='', attempts=0, tokens=?+?)"),
        (Response("x" * 60), f"Response('{'x' * 60}', model='', attempts=0, tokens=?+?)"),
        (Response("x" * 61), f"Response('{'x' * 59}…', model='', attempts=0, tokens=?+?)"),
        (Response(None, usage=None), "Response('None', model='', attempts=0, tokens=?+?)"),
    ],
)
def test_response_in_one_line(response: Response, shown: str) -> None:
    """Its repr is short, and never raises."""
    assert repr(response) == shown


def test_response_is_still_data() -> None:
    """Equal by its fields, and whole after a pickle."""
    response = Response("Paris", "a/m", "stop", Usage(1, 2), cost=0.5, tool_calls=({"a": 1},))
    assert pickle.loads(pickle.dumps(response)) == response != Response("Paris", "a/m")
