"""A secret shows itself to nobody, and the redactor finds it in every form in which it could come back."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.engine import secret as module
from llm_failover_nb.engine.secret import MASK, Secret, redact

KEY = 'sk-Canary/+ö"9\\ 7?>~k'


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """What these tests make secret is not masked in others."""
    monkeypatch.setattr(module, "_forms", ())


@pytest.mark.parametrize(
    "show",
    [repr, str, format, "{}".format, "{!r:>24}".format, lambda s: f"{s}", lambda s: "".join(map(str, [s]))],
    ids=["repr", "str", "format", "str.format", "padded", "f-string", "join"],
)
def test_a_secret_shows_a_mask(show):
    """However it is written out."""
    shown = show(Secret(KEY))
    assert shown.strip() == f"Secret('{MASK}')"


def test_a_container_shows_a_mask():
    """A repr within a repr, too."""
    assert repr({"key": Secret(KEY)}) == f"{{'key': Secret('{MASK}')}}"


def test_reveal_gives_the_value():
    """By name only."""
    assert Secret(KEY).reveal() == KEY


def test_a_secret_has_no_dict():
    """vars() and its kin find nothing to show."""
    assert not hasattr(Secret(KEY), "__dict__")


@pytest.mark.parametrize("out", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"])
def test_a_secret_is_not_copied(out):
    """The error tells what to pass instead."""
    with pytest.raises(TypeError, match="not pickled or copied; pass the name of its variable instead"):
        out(Secret(KEY))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_pickle_protocol_takes_it(protocol):
    """Old protocols look elsewhere for the state."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps([Secret(KEY)], protocol)


def test_equal_values_are_equal_secrets():
    """As dictionary keys, too."""
    assert {Secret(KEY): 1}[Secret(KEY)] == 1


@pytest.mark.parametrize("other", [Secret("sk-another"), KEY, None], ids=["secret", "text", "none"])
def test_a_secret_equals_nothing_else(other):
    """Least of all its text."""
    assert Secret(KEY) != other


@pytest.mark.parametrize("value", ["", " ", "\n\t"])
def test_an_empty_secret_is_refused(value):
    """The error says what to do."""
    with pytest.raises(ValueError, match="a secret is empty; set the variable it comes from"):
        Secret(value)


def test_text_without_secrets_is_left_alone():
    """Nothing to mask, nothing changed."""
    Secret(KEY)
    assert redact("an ordinary sentence") == "an ordinary sentence"


def _base64(value, before, encode=base64.b64encode):
    return encode(b"-" * before + value.encode() + b"-- and more").decode()


@pytest.mark.parametrize(
    "form",
    [
        lambda key: key,
        lambda key: quote(key, safe=""),
        quote,
        quote_plus,
        json.dumps,
        lambda key: json.dumps({"error": f"bad key {key}"}),
    ],
    ids=["plain", "url", "path", "quote_plus", "json", "in json"],
)
def test_redact_masks_every_spelling(form):
    """Plain, in a URL, in JSON."""
    Secret(KEY)
    text = redact(f"key {form(KEY)} refused")
    assert MASK in text
    assert "Canary" not in text


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["standard", "urlsafe"])
@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("key", [KEY, KEY + "1", KEY + "12"], ids=["0", "1", "2"])
def test_redact_masks_base64_at_each_offset(key, before, encode):
    """Wherever the value stands in a longer text that was encoded; at most its edges remain."""
    Secret(key)
    encoded = _base64(key, before, encode)
    left = redact(encoded).split(MASK)
    decodable = base64.b64decode(encoded, altchars=b"-_" if encode is base64.urlsafe_b64encode else None)
    assert len(left) == 2
    assert key.encode() in decodable
    assert len(left[0]) <= (before * 8 + 5) // 6 + 1


keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40).filter(
    lambda key: key not in module._PLACEHOLDERS
)


@given(keys, st.binary(max_size=7), st.binary(max_size=7))
def test_no_key_survives_base64(key, before, after):
    """Any key, any neighbours: too little is left to read it from."""
    Secret(key)
    encoded = base64.b64encode(before + key.encode() + after).decode()
    assert MASK in redact(encoded)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(KEY, True), (f"{KEY}\n", True), ("not-needed", False), (" ollama\n", False), ("EMPTY", False)],
)
def test_a_placeholder_is_no_key(value, expected):
    """What is given where no key is wanted is an ordinary word: neither masked nor anybody's key."""
    secret = Secret(value)
    assert (secret.is_a_key, redact(value) != value) == (expected, expected)


def test_basic_authorization_is_masked():
    """The header that a URL with a password becomes."""
    Secret(KEY)
    header = "Basic " + base64.b64encode(f"user:{KEY}".encode()).decode()
    assert MASK in redact(header)


def test_every_occurrence_is_masked():
    """Not the first alone."""
    Secret("sk-canary")
    assert redact("sk-canary sk-canary") == f"{MASK} {MASK}"


@pytest.mark.parametrize("order", [["sk-canary", "sk-canary-long"], ["sk-canary-long", "sk-canary"]])
def test_a_longer_secret_is_masked_whole(order):
    """A secret that begins with another leaves no tail, whichever came first."""
    for value in order:
        Secret(value)
    assert redact("with sk-canary-long!") == f"with {MASK}!"


@pytest.mark.parametrize(("value", "shown"), [("abcde", "abcde fg"), ("abcdef", f"{MASK} fg")])
def test_short_values_are_not_masked(value, shown):
    """Five characters would mask ordinary words; six do not."""
    Secret(value)
    assert redact(f"{value} fg") == shown


@pytest.mark.parametrize("value", ["sk-canary\n", "  sk-canary", "\tsk-canary \r\n"])
def test_blanks_around_a_value_do_not_hide_it(value):
    """Variables end in newlines, which whoever sends the key strips."""
    Secret(value)
    assert redact("bad key sk-canary.") == f"bad key {MASK}."


def test_a_short_value_between_blanks_is_not_masked():
    """Its length counts without them."""
    Secret("   ab   ")
    assert redact("   ab   c") == "   ab   c"


@pytest.mark.parametrize("placeholder", ["ollama", "lm-studio"])
def test_placeholders_of_local_servers_are_words(placeholder):
    """Who wants no key is given a word for one; masking it would mask texts."""
    Secret(placeholder)
    assert redact(f"install {placeholder} first") == f"install {placeholder} first"
