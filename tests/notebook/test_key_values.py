"""Values that are no keys, told without a word of them."""

from __future__ import annotations

import pytest

from llm_failover_nb.notebook.key_values import trouble_with


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ('"sk-canary"', "stands in quotes, which are sent as a part of it"),
        ("'sk-canary'", "stands in quotes, which are sent as a part of it"),
        ("$OPENAI_API_KEY", "is the name of a variable and not its value"),
        ("${LAB_KEY}", "is the name of a variable and not its value"),
        ("LAB_KEY", "is the name of a variable and not its value"),
        ("%LAB_KEY%", "is the name of a variable and not its value"),
        ("Bearer sk-canary", "begins with Bearer, which is sent before it anyway"),
        ("https://llm.example.org/v1", "is an address"),
        ("<key>", "looks like the placeholder of an example"),
        ("sk-your-key-here", "looks like the placeholder of an example"),
        ("YOUR_API_KEY", "looks like the placeholder of an example"),
        ("sk-xxxxxxxxxxxx", "looks like the placeholder of an example"),
        ("sk-...", "looks like the placeholder of an example"),
        ("changeme", "looks like the placeholder of an example"),
        ("sk canary", "holds a blank or a line break, which no key does"),
        ("sk-canary\nsk-other", "holds a blank or a line break, which no key does"),
        ("sk-canaryé", "holds a character that no header can carry"),
        ("sk-\u200bcanary", "holds a character that no header can carry"),
        ("sk-canary\x00", "holds a character that no header can carry"),
    ],
)
def test_what_is_no_key(value: str, what: str) -> None:
    """What can be no key is told, with what to do."""
    trouble = trouble_with(value, "LAB_KEY")

    assert trouble is not None
    assert trouble.what == what
    assert trouble.remedy
    assert "canary" not in f"{trouble}"


@pytest.mark.parametrize(
    "value",
    [
        "sk-proj-4fN2_b-Zx8Yourself",
        "gsk_abcdef0123",
        "AIzaSyD-1234567890",
        "hf_QyOURkkx",
        "not-needed",
        "ollama",
        "0123456789abcdef0123456789abcdef",
        "eyJhbGciOi.eyJzdWIi.c2ln",
        "a",
    ],
)
def test_what_may_be_one(value: str) -> None:
    """Keys as providers give them, and what local servers take for one, are left alone."""
    assert trouble_with(value, "LAB_KEY") is None
