"""The data that travels: how prompts and stops are read, what is refused, and what stands for nothing."""

from __future__ import annotations

import dataclasses

import pytest

from llm_failover_nb.engine.clock import SystemClock
from llm_failover_nb.engine.types import Chunk, Message, Request, Response, Timeouts, Usage


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        ("hi", (Message("user", "hi"),)),
        ("", (Message("user", ""),)),
        ([Message("system", "be brief"), Message("user", "hi")],
         (Message("system", "be brief"), Message("user", "hi"))),
        ([{"role": "user", "content": "hi"}], (Message("user", "hi"),)),
        ([{"role": "user", "content": "hi"}, Message("assistant", "ho")],
         (Message("user", "hi"), Message("assistant", "ho"))),
        ((Message("user", "hi"),), (Message("user", "hi"),)),
        ([], ()),
    ],
    ids=["text", "empty text", "messages", "dicts", "mixed", "tuple", "none"],
)  # fmt: skip
def test_a_prompt_becomes_messages(prompt, messages):
    """A text is one user message; dicts are messages, too."""
    assert Request(prompt).messages == messages


@pytest.mark.parametrize("prompt", [None, 5, {"role": "user", "content": "hi"}, {Message("user", "hi")}])
def test_a_prompt_of_no_known_form_is_refused(prompt):
    """The error names the forms and the type."""
    with pytest.raises(TypeError, match="a prompt is a str, a list of Message or a Request, not ") as caught:
        Request(prompt)
    assert str(caught.value).endswith(f"not {type(prompt).__name__}")


@pytest.mark.parametrize(
    "item",
    ["hi", None, {"role": "user"}, {"content": "hi"}, {"role": "user", "content": None}, ("user", "hi")],
)
def test_a_message_of_no_known_form_is_refused(item):
    """The error names the item."""
    with pytest.raises(TypeError, match="a message is Message") as caught:
        Request([item])
    assert str(caught.value).endswith(f"not {item!r}")


@pytest.mark.parametrize(
    ("stop", "stops"), [(None, ()), ("END", ("END",)), (["a", "b"], ("a", "b")), ([], ()), (("a",), ("a",))]
)
def test_stop_becomes_a_tuple(stop, stops):
    """One text, several or none."""
    assert Request("hi", stop=stop).stop == stops


@pytest.mark.parametrize("stop", [5, [5], ["a", None], {"a"}])
def test_a_stop_of_no_known_form_is_refused(stop):
    """The error names the value."""
    with pytest.raises(TypeError, match="stop is a str or a list of str, not ") as caught:
        Request("hi", stop=stop)
    assert str(caught.value).endswith(f"not {stop!r}")


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ("hi", "hi"),
        ([Message("user", "one"), Message("assistant", "two"), Message("user", "three")], "three"),
        ([Message("user", "one"), Message("assistant", "two")], "one"),
        ([Message("system", "be brief")], ""),
        ([], ""),
    ],
)
def test_the_prompt_is_the_last_user_message(messages, prompt):
    """What the model is to answer, whatever follows."""
    assert Request(messages).prompt == prompt


def test_timeouts_and_attempt_are_no_part_of_what_is_asked():
    """The same question with other limits is the same question, and reads the same."""
    one, other = Request("hi"), Request("hi", timeouts=Timeouts(attempt=1.0), attempt=2)
    assert (one, repr(one)) == (other, repr(other))


def test_extras_are_not_shared():
    """Each request has its own mapping."""
    assert Request("a").extra is not Request("b").extra


@pytest.mark.parametrize(
    "value", [Message("user", "hi"), Timeouts(), Request("hi"), Usage(), Response(), Chunk()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_data_is_frozen_and_slotted(value):
    """Nothing that travels changes on the way, or grows."""
    first = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, first, "other")
    assert not hasattr(value, "__dict__")


def test_a_text_is_an_answer():
    """That much is enough of a provider."""
    answer = Response(text="42")
    assert (answer.text, answer.model, answer.usage, answer.attempts) == ("42", "", Usage(), ())


def test_a_text_is_a_chunk():
    """Of kind text, without an answer."""
    assert Chunk(text="4") == Chunk("4", "text", None, None)


def test_the_clock_is_aware():
    """The time of day has its zone."""
    assert SystemClock().now().utcoffset().total_seconds() == 0


def test_the_clock_does_not_go_back():
    """Durations are taken from it."""
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
