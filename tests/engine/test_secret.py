"""A secret shows itself to nobody, and the redactor finds it in every form in which it could come back."""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import json
import logging
import pickle
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.engine import secret as module
from llm_failover_nb.engine.secret import MASK, MaskingFilter, Secret, redact

KEY = 'sk-Canary/+ö"9\\ 7?>~k'


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """What these tests make secret is not masked in others."""
    monkeypatch.setattr(module, "_forms", ())


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        format,
        "{}".format,
        "{!r:>24}".format,
        "{:>24}".format,
        lambda s: f"{s}",
        lambda s: "".join(map(str, [s])),
    ],
    ids=["repr", "str", "format", "str.format", "padded repr", "padded", "f-string", "join"],
)
def test_a_secret_shows_a_mask(show):
    """However it is written out."""
    shown = show(Secret(KEY))
    assert shown.strip() == f"Secret('{MASK}')"


def test_a_container_shows_a_mask():
    """A repr within a repr, too."""
    assert repr({"key": Secret(KEY)}) == f"{{'key': Secret('{MASK}')}}"


def test_a_dataclass_shows_a_mask():
    """Nor does a repr that somebody else writes."""
    assert str(dataclasses.make_dataclass("Settings", ["key"])(Secret(KEY))) == (
        f"Settings(key=Secret('{MASK}'))"
    )


@pytest.mark.parametrize("write", [json.dumps, vars, dict, list], ids=lambda each: each.__name__)
def test_a_secret_cannot_be_written_out(write):
    """What takes things apart finds nothing to take, and says so without it."""
    with pytest.raises(TypeError) as caught:
        write(Secret(KEY))
    assert "Canary" not in str(caught.value)


def test_a_hash_is_not_the_values():
    """Which somebody could compare with those of keys that he knows."""
    assert hash(Secret(KEY)) != hash(KEY)


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
        lambda key: quote(key, safe="").lower().replace("canary", "Canary"),
        lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
        lambda key: quote(quote(key)),
        json.dumps,
        lambda key: json.dumps(key).replace("/", "\\/"),
        lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
        lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
        lambda key: json.dumps({"error": f"bad key {key}"}),
        lambda key: json.dumps(json.dumps(json.dumps({"error": f"bad key {key}"}))),
        lambda key: json.dumps(quote(key)).replace("/", "\\/"),
        lambda key: repr(key.encode()),
        html.escape,
        lambda key: "".join(f"&#{ord(c)};" for c in key),
        lambda key: "".join(f"&#x{ord(c):X};" for c in key),
        lambda key: key.encode().hex(),
        lambda key: key.encode().hex().upper(),
    ],
    ids=[
        "plain", "url", "path", "quote_plus", "%xx", "all %xx", "%25XX", "json", "json with \\/", "\\u00xx",
        "\\u00XX", "in json", "json in json in json", "url in json", "bytes", "html", "&#;", "&#x;", "hex",
        "HEX",
    ],
)  # fmt: skip
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


@pytest.mark.parametrize(
    "escape",
    [
        lambda text: text,
        lambda text: quote(text, safe=""),
        lambda text: text.replace("/", "\\/").replace("+", "\\u002B"),
    ],
    ids=["plain", "url", "json"],
)
def test_escaped_base64_is_masked(escape):
    """Its own signs are escaped, too."""
    key = "sk-canary~~~>>>???\xff\xfe"
    Secret(key)
    assert MASK in redact(escape(_base64(key, 1)))


@given(keys, st.text(max_size=5), st.text(max_size=5))
def test_only_the_key_is_taken_out(key, before, after):
    """What stands around it stays, whatever escapes there are in it."""
    Secret(key)
    before, after = f"é%41\\u0042{before}<", f">&amp;\\/%C3%A9{after}"
    escaped = "".join(f"%{ord(c):02X}" for c in key)
    assert redact(f"{before}{escaped}{after}") == redact(before) + MASK + redact(after)


def test_a_text_full_of_escapes_is_read_in_time():
    """A megabyte of them, as an error page may hold, is no obstacle."""
    Secret(KEY)
    start = time.perf_counter()
    assert redact("\\u0041%41&amp;\\\\" * 50_000 + KEY).endswith(MASK)
    assert time.perf_counter() - start < 5


def test_a_key_that_is_no_utf8_is_masked():
    """A variable may hold any bytes, and its making must not fail with them in its error."""
    key = "sk-canary-\udcff\udcfe"
    Secret(key)
    assert redact(f"bad {key}") == f"bad {MASK}"


def test_a_filter_masks_what_a_library_logs(caplog):
    """Message and arguments; what it logs of other things stays."""
    Secret("sk-canary-123")
    logger = logging.getLogger("tests.a_library")
    masking = MaskingFilter()
    logger.addFilter(masking)
    logger.warning("sent %s to %s", "sk-canary-123", "host")
    logger.removeFilter(masking)
    assert (caplog.messages, caplog.records[0].args) == ([f"sent {MASK} to host"], ())


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


def test_a_character_of_two_halves_is_masked():
    """JSON writes rare characters as two escapes."""
    Secret("sk-\U0001f511-canary")
    assert redact(json.dumps("key sk-\U0001f511-canary refused")) == f'"key {MASK} refused"'


def test_secrets_that_overlap_are_masked_together():
    """Neither leaves the part that the other does not have."""
    Secret("canary-one-two")
    Secret("one-two-finch")
    assert redact("a canary-one-two-finch b") == f"a {MASK} b"


def test_a_secret_within_another_ends_no_mask():
    """What is found inside a masked place does not shorten it."""
    Secret("sk-canary-long-tail")
    Secret("canary")
    assert redact("with sk-canary-long-tail!") == f"with {MASK}!"


def test_a_secret_that_overlaps_itself_is_masked():
    """A key of one syllable leaves none of it."""
    Secret("abcabcabc")
    assert redact("abcabcabcabc") == MASK


def test_a_secret_is_told_from_others_in_a_set():
    """Equal secrets are one."""
    assert len({Secret(KEY), Secret(KEY), Secret(f"{KEY}2")}) == 2
