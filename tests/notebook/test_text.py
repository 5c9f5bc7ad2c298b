"""Texts of others on their way to a screen: whatever comes in, what goes out can be sent and saved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.notebook.text import plain, well_formed

ANY = st.text(st.characters(codec=None) | st.characters(categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi 😀!", "Hi 😀!"),
        ("Hi \ud83d" + "\ude00!", "Hi 😀!"),
        ("Hi \ud83d", "Hi �"),
        ("\ude00 Hi", "� Hi"),
        ("\ude00\ud83d", "��"),
        ("\ud83dHi", "�Hi"),
        ("\ufeffHi \ud83d", "\ufeffHi �"),
    ],
)
def test_halves_of_characters(text: str, expected: str) -> None:
    """Halves that follow each other are one character; one that stands alone is marked as lost."""
    assert expected == well_formed(text)


@given(ANY)
def test_can_be_sent(text: str) -> None:
    """Any text can be encoded afterwards, and a second pass changes nothing."""
    fit = plain(text)
    fit.encode()

    assert fit == plain(fit)


def test_terminal_codes_are_removed() -> None:
    """What a terminal would act on is taken out, lines and tabs stay."""
    assert plain("a\x1b[2J\x07b\r\n\tc\x9b") == "a[2Jb\n\tc"
