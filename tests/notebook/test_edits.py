"""Messages from a browser: what is read, and that nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.notebook import edits
from llm_failover_nb.notebook.board import PROTOCOL
from llm_failover_nb.notebook.edits import MessageRefused, message_id, read_message

WHOLE = {"protocol": PROTOCOL, "id": "v-1"}

GOOD: list[tuple[dict[str, Any], edits.Edit]] = [
    ({"command": "hello"}, edits.Hello()),
    ({"command": "bench", "spec": "a/b", "for": 300, "edited": "5"}, edits.Bench("a/b", 300.0, None, "5")),
    ({"command": "bench", "spec": "a/b", "for": None, "edited": "5"}, edits.Bench("a/b", None, None, "5")),
    (
        {"command": "bench", "spec": "a/b", "until": 1_700_000_000_000, "edited": "5"},
        edits.Bench("a/b", None, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), "5"),
    ),
    ({"command": "extend", "spec": "a/b", "for": 60.5, "edited": "5"}, edits.Extend("a/b", 60.5, "5")),
    ({"command": "lift", "spec": "a/b", "edited": "5"}, edits.Lift("a/b", "5")),
    ({"command": "lift_all"}, edits.LiftAll()),
    (
        {"command": "chain", "name": "prod", "specs": ["a/b", "c/d"], "edited": "x"},
        edits.SetChain("prod", ("a/b", "c/d"), "x"),
    ),
    ({"command": "default", "name": "", "edited": "x"}, edits.SetDefault("", "x")),
    ({"command": "defaults", "cooldown": 60, "edited": "x"}, edits.SetDefaults(60.0, None, "x")),
    ({"command": "defaults", "max_retries": 2, "edited": "x"}, edits.SetDefaults(None, 2, "x")),
    ({"command": "cancel", "call": 41}, edits.Cancel(41)),
    ({"command": "undo", "edit": 9}, edits.TakeBack(9)),
]


@pytest.mark.parametrize(("fields", "edit"), GOOD, ids=lambda value: type(value).__name__)
def test_each_command_is_read(fields: dict[str, Any], edit: edits.Edit) -> None:
    """With the fields that it has."""
    assert read_message(WHOLE | fields) == edits.Message("v-1", edit)


@pytest.mark.parametrize("fields", [fields for fields, _ in GOOD], ids=lambda fields: fields["command"])
def test_each_field_is_needed(fields: dict[str, Any]) -> None:
    """But for those that stand for one another."""
    instead = {"for", "until", "cooldown", "max_retries"}
    for missing in (WHOLE | fields).keys() - instead:
        with pytest.raises(MessageRefused, match=r"is missing|is no field"):
            read_message({name: value for name, value in (WHOLE | fields).items() if name != missing})


@pytest.mark.parametrize("fields", [fields for fields, _ in GOOD], ids=lambda fields: fields["command"])
def test_no_other_field_is_taken(fields: dict[str, Any]) -> None:
    """What is not known might have been meant to matter."""
    with pytest.raises(MessageRefused, match=r"'force' is no field of"):
        read_message(WHOLE | fields | {"force": True})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": 99}, "reload the page"),
        ({"protocol": "1"}, "protocol is '1', and should be a whole number"),
        ({"id": 7}, "id is 7, and should be a text"),
        ({"id": "x" * 65}, "id has 65 characters, which is more than 64"),
        ({"command": "format_disk"}, "'format_disk' is no command of a panel"),
        ({"command": ["bench"]}, "command is list, and should be a text"),
        ({"spec": None}, "spec is None, and should be a text"),
        ({"spec": "x" * 1_001}, "spec has 1,001 characters, which is more than 1,000"),
        ({"for": "300"}, "for is '300', and should be a number of seconds"),
        ({"for": True}, "for is True, and should be a number of seconds"),
        ({"for": -1}, "for is -1, and should be from 0 to"),
        ({"for": 0}, "which benches nothing"),
        ({"id": "\ud800"}, "should be of ASCII characters"),
        ({"for": float("nan")}, "for is nan, and should be from 0 to"),
        ({"for": float("inf")}, "for is inf, and should be from 0 to"),
        pytest.param({"for": 10**400}, "should be from 0 to", id="huge"),
        ({"until": 1.5}, "until is 1.5, and should be a whole number"),
        ({"edited": 5}, "edited is 5, and should be a text"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_words(change: dict[str, Any], words: str) -> None:
    """The message names the field, the value, and what it should be."""
    message = WHOLE | {"command": "bench", "spec": "a/b", "for": 300, "edited": "5"} | change
    with pytest.raises(MessageRefused, match=words):
        read_message(message)


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ("a/b", "specs is 'a/b', and should be a list"),
        (["a/b", 7], "specs is 7, and should be a text"),
        (["a/b"] * 1_001, "specs has 1001 entries, which is more than 1000"),
    ],
    ids=["text", "number", "huge"],
)
def test_entries_of_a_chain_are_texts(specs: object, words: str) -> None:
    """And not too many."""
    with pytest.raises(MessageRefused, match=words):
        read_message(WHOLE | {"command": "chain", "name": "x", "specs": specs, "edited": "x"})


def test_what_is_no_table_is_refused() -> None:
    """A message is a table of fields."""
    with pytest.raises(MessageRefused, match="not list"):
        read_message(["bench"])


@pytest.mark.parametrize(
    ("content", "name"), [({"id": "v-1"}, "v-1"), ({"id": 1}, ""), ({"id": "x" * 65}, ""), ({}, ""), (7, "")]
)
def test_name_of_a_message_is_sent_back_as_far_as_it_can_be(content: object, name: str) -> None:
    """So that the view that sent it hears what was wrong."""
    assert message_id(content) == name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["protocol", "id", "command", "spec", "for", "until", "edited", "name", "specs", "call", "edit"]
)
VALUES = JSON | st.sampled_from([PROTOCOL, "v-1", *(fields["command"] for fields, _ in GOOD)])


@given(JSON | st.dictionaries(NAMES, VALUES, max_size=8))
def test_any_message_is_read_or_refused(content: object) -> None:
    """And no message raises anything else."""
    try:
        read = read_message(content)
    except MessageRefused:
        return
    assert isinstance(read.id, str)
