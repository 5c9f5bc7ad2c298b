"""Streams that no reader was written for read as labelled, however their bytes are cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.providers.presets import WIRES
from tests.providers.reading import Reading, bytewise, cuts, read, summary
from tests.providers.unseen import Unseen
from tests.providers.unseen.anthropic import ANTHROPIC
from tests.providers.unseen.gemini import GEMINI
from tests.providers.unseen.ollama import OLLAMA
from tests.providers.unseen.openai import OPENAI

BY_WIRE = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI, "ollama": OLLAMA}
CASES = [(wire, case) for wire, cases in BY_WIRE.items() for case in cases]

Differences = dict[str, tuple[object, object]]


def differences(case: Unseen, wire: str, reading: Reading) -> Differences:
    """What was labelled, and what was read instead; empty where they agree."""
    kind = reading.kind(wire)
    found: Differences = {"text": (case.text, reading.said())}
    if case.also != (kind or "clean"):
        found["kind"] = (case.kind, kind)
    if reading.error is None:
        found |= of_the_answer(case, reading)
    elif case.wait is not None:
        found["wait"] = (case.wait, classify(reading.error, wire=wire).retry_after)
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def of_the_answer(case: Unseen, reading: Reading) -> Differences:
    """Label and reading of a clean stream, part by part."""
    answer = reading.answer
    found: Differences = {
        "whole text": (case.text, answer.text),
        "usage": (dict(case.usage), {name: getattr(answer.usage, name) for name in case.usage}),
        "tools": (case.tools, tuple(name_and_arguments(call) for call in answer.tool_calls)),
    }
    if case.kind is None:  # else this is the other reading that can be defended
        found["finish"] = (case.finish, answer.finish_reason)
    if case.reasoning is not None:
        found["reasoning"] = (case.reasoning, answer.reasoning)
    return found


def name_and_arguments(call: Mapping[str, Any]) -> tuple[str, object]:
    """A tool call, from the way in which each wire gives it."""
    inner = call.get("function") or call.get("functionCall") or call
    return inner["name"], next(inner[name] for name in ("arguments", "args", "input") if name in inner)


@pytest.mark.parametrize("cut", ["whole", "bytewise"])
@pytest.mark.parametrize(("wire", "case"), CASES, ids=[f"{wire}-{case.name}" for wire, case in CASES])
def test_it_reads_as_labelled(wire: str, case: Unseen, cut: str) -> None:
    """Text, finish, usage, reasoning, tools, and what a failure means and asks for."""
    pieces = [case.body] if cut == "whole" else bytewise(case.body)
    assert differences(case, wire, read(WIRES[wire], *pieces)) == {}


@settings(max_examples=120, deadline=None)
@given(which=st.sampled_from(CASES), places=st.lists(st.integers(0, 1 << 16), max_size=20))
def test_it_reads_the_same_however_it_is_cut(which: tuple[str, Unseen], places: list[int]) -> None:
    """Where the network cuts the bytes has no influence on chunks, answer and error."""
    wire, case = which
    assert summary(WIRES[wire], *cuts(case.body, places)) == summary(WIRES[wire], case.body)
