"""The forms of an answer, the table of a command, and what the footer and a failure say of benches."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from llm_failover_nb.engine.bench import BenchedModel
from llm_failover_nb.engine.errors import AllModelsFailed, ProviderError
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Response, Usage
from llm_failover_nb.notebook import render
from llm_failover_nb.notebook.render.words import REASONS, money_words
from llm_failover_nb.settings.types import Format
from tests.notebook.test_render import (
    ANSWER,
    ANSWERED,
    FAILED,
    HOSTILE,
    NOW,
    all_failed,
    assert_harmless,
    text_of,
)

FORMS: tuple[Format, ...] = get_args(Format)
THINKING = "let me think about it"


@pytest.mark.parametrize("form", [form for form in FORMS if form != "html"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_answer_in_any_form(text: str, form: Format) -> None:
    """Nothing acts in any form, nor in the thinking; HTML has tests of its own."""
    assert_harmless(render.answer_html(Response(text, "a/x", reasoning=text), format=form, code=text))
    assert_harmless(render.partial_html(text, "x", reasoning=text))
    assert_harmless(render.live_html("", thought=text, thinking=text))


@pytest.mark.parametrize("form", FORMS)
def test_empty_answer_in_any_form(form: Format) -> None:
    """It says so."""
    assert "(the answer has no text)" in render.answer_html(Response(), format=form)
    assert "(the answer has no text)" in render.answer_text(Response(), format=form)


def test_text_stays_as_it_came() -> None:
    """Nothing in it is Markdown, and its lines and blanks are kept."""
    html = render.answer_html(Response("a  **b**\n <c>"), format="text")

    assert "<div class='lf-live mathjax_ignore'>a  **b**\n &lt;c&gt;</div>" in html


@pytest.mark.parametrize("text", ['{"a":[1,"é"]}', '```json\n{"a":[1,"é"]}\n```'])
def test_json_is_laid_out(text: str) -> None:
    """By two blanks, whether it stands in a fence or not."""
    assert render.answer_text(Response(text), format="json").startswith(
        '{\n  "a": [\n    1,\n    "é"\n  ]\n}\n'
    )
    assert "<span class='lf-d'>&quot;a&quot;</span>: [" in render.answer_html(Response(text), format="json")


@pytest.mark.parametrize("text", ["{'a': 1}", '{"a": 1, "a": 2}', "NaN", "[" * 100_000, "1e999", "so: {}"])
def test_what_is_no_json_stays_as_it_came(text: str) -> None:
    """Nor is anything lost that could not be shown twice."""
    assert render.answer_text(Response(text), format="json").startswith(text[:50])


@pytest.mark.parametrize(
    ("placed", "words"), [(True, "put into a new cell below; not run"), (False, "code, not run")]
)
def test_code(placed: bool, words: str) -> None:
    """The code stands for itself, and where it went is said; an answer that says more can be unfolded."""
    response = Response("Do this:\n```python\nx = 1\n```\nIt sets x.")
    html = render.answer_html(response, format="code", code="x = 1", placed=placed)
    text = render.answer_text(response, format="code", code="x = 1", placed=placed)

    assert "<pre><code>x = <span class='lf-n'>1</span></code></pre>" in html
    assert words in html
    assert "the whole answer" in html
    assert text.startswith(f"x = 1\n({words})\n")


def test_code_alone_has_nothing_to_unfold() -> None:
    """Where the answer is the code."""
    html = render.answer_html(Response("```python\nx = 1\n```"), format="code", code="x = 1")

    assert "the whole answer" not in html


def test_html_is_a_frame_and_its_source() -> None:
    """Plain text is what the model wrote."""
    response = Response("<p>x</p>")

    assert "<iframe sandbox=''" in render.answer_html(response, format="html")
    assert "<p>x</p>" not in render.answer_html(response, format="html")
    assert render.answer_text(response, format="html").startswith("<p>x</p>\n")


def test_very_long_html_is_shown_as_its_source() -> None:
    """The front end would have to lay it out."""
    html = render.answer_html(Response("<p>" * 400_000), format="html")

    assert "<iframe" not in html
    assert "so this is its source" in html


# Thinking


def test_thinking_is_folded_away() -> None:
    """With its length; plain text leaves it out, and says so."""
    response = Response("Paris", reasoning=THINKING)

    assert f"<summary>thinking, 5 words</summary><div class='lf-live'>{THINKING}</div></details>" in (
        render.answer_html(response)
    )
    assert "thinking left out: 5 words" in render.answer_text(response)
    assert THINKING not in render.answer_text(response)


def test_thinking_of_a_part() -> None:
    """Also where the answer was interrupted or failed."""
    error = all_failed(("a/x", ProviderError("no")))

    assert THINKING in render.partial_html("Par", "interrupted", reasoning=THINKING)
    assert "thinking left out: 5 words" in render.partial_text("Par", "interrupted", reasoning=THINKING)
    assert THINKING in render.failure_html(error, reasoning=THINKING)


# A Response as a value


def test_response_has_the_cells_look() -> None:
    """Its answer, and the facts of the footer."""
    assert "answered by b/y after a/x failed" in text_of(render.response_html(ANSWER))
    assert "-- fallback: answered by b/y after a/x failed" in render.response_text(ANSWER)


def test_response_shows_no_key() -> None:
    """It is saved with the notebook as a cell's output is."""
    key = Secret("sk-canary-5544332211").reveal()
    response = Response(key, "a/x", reasoning=key)

    assert "canary" not in render.response_html(response) + render.response_text(response)


# The footer


def test_fallback_is_said_at_a_glance() -> None:
    """Where the first model answered there is no such word."""
    assert "<span class='lf-badge'>fallback</span>" in render.answer_html(ANSWER)
    assert "fallback" not in render.answer_text(Response("hi", "b/y", attempts=(ANSWERED,)))


def test_nobody_passed_by_is_not_counted() -> None:
    """No footer says that 0 models were."""
    attempts = (*(FAILED._replace(position=place, model=f"a/{place}") for place in range(4)), ANSWERED)
    text = render.answer_text(Response("hi", "b/y", attempts=(*attempts[:4], ANSWERED._replace(position=4))))

    assert "answered by b/y after 4 models failed\n" in text


def test_price_of_the_list_is_about() -> None:
    """A provider's own price is exact."""
    listed = Response("", "openai/gpt-4o-mini", usage=Usage(1000, 200))

    assert "cost about 0.00027 USD" in render.answer_text(listed)
    assert "cost 0.00027 USD" in render.answer_text(replace(listed, cost=0.00027))


@pytest.mark.parametrize(
    ("dollars", "words"),
    [
        (0.0, "0 USD"),
        (1e-7, "0.00000010 USD"),
        (0.05, "0.050 USD"),
        (0.1, "0.10 USD"),
        (1234.5, "1,234.50 USD"),
    ],
)
def test_money(dollars: float, words: str) -> None:
    """In digits, however small or large."""
    assert words == money_words(dollars)


def test_cut_short_by_the_common_word() -> None:
    """Whatever the wire's own was."""
    assert "cut short by the limit of tokens" in render.answer_text(
        Response("", finish_reason="MAX", finish="length")
    )


# Failures


def test_all_benched_is_said_in_the_headline() -> None:
    """Until when each was, and that they were asked in spite of it; its line says until when it is now."""
    benches = [BenchedModel(spec, NOW + timedelta(minutes=4), 1, False) for spec in ("a/x", "b/y")]
    passed = render.passed_rows(["a/x", "b/y"], (), benches, NOW, UTC)
    error = all_failed(*((spec, ProviderError("no", reason="overloaded")) for spec in ("a/x", "b/y")))
    words = (
        "all were benched and asked anyway: a/x until 12:04:00, 4 min left; b/y until 12:04:00, 4 min left"
    )
    lines = render.failure_lines(error, passed=passed, attempts=(FAILED,))

    assert lines[0] == f"AllModelsFailed: failover: all 2 models in chain failed; {words}"
    assert "asked although benched until 12:04:00" in lines[1]
    assert "; now benched for 5 min, until " in lines[1]
    assert f"no model answered: 2 failed; {words}" in text_of(render.failure_html(error, passed=passed))


@pytest.mark.parametrize("reason", ["invalid_answer", "empty"])
def test_a_reason_is_said_once(reason: str) -> None:
    """Also where the error's own words begin with it."""
    said = REASONS[reason][0]
    error = all_failed(("a/x", ProviderError(f"{said}: no JSON", reason=reason)))
    (line,) = render.failure_lines(error)[1:]

    assert line.startswith(f"  a/x: {said}: no JSON")
    assert line.count(said) == 1


@pytest.mark.parametrize(
    ("said", "body", "end"),
    [
        ("it said nothing; ask again", "", "failed: it said nothing; ask again"),
        (
            "no; try elsewhere",
            '{"error": 1}',
            "failed: no; try elsewhere; read what it says, or add a model to the chain",
        ),
    ],
)
def test_advice_is_given_once(said: str, body: str, end: str) -> None:
    """The package's own errors advise; a server's words are not taken for advice."""
    (line,) = render.failure_lines(all_failed(("a/x", ProviderError(said, body=body, reason="odd"))))[1:]

    assert line == f"  a/x: {end}"


def test_answer_that_did_not_pass() -> None:
    """The reason has words."""
    assert REASONS["invalid_answer"][0] == "the answer did not pass the check"
    assert "empty" in REASONS


# Tables

ROWS = [
    render.TableRow(("ipykernel", "7.4.0", ""), "ok"),
    render.TableRow(("A_KEY", "has a blank in it", "set it anew"), "attention"),
    render.TableRow(("x" * 60, "", "install"), "missing"),
]


def test_table_text() -> None:
    """In columns, with a legend of the marks that are there; a long name pushes nobody else aside."""
    lines = render.table_text("doctor", ("what", "found", "to do"), ROWS, hint="more").split("\n")

    assert lines[0] == "doctor"
    assert lines[1].split() == ["what", "found", "to", "do"]
    assert lines[2] == f"  ●  {'ipykernel':<40}  7.4.0"
    assert lines[-2:] == ["● in order   ▲ look at this   ○ something is missing", "more"]


def test_table_html() -> None:
    """The same; without marks there is no legend."""
    html = text_of(render.table_html("doctor", ("what", "found", "to do"), ROWS[:2]))
    unmarked = render.table_html("settings", ("name",), [render.TableRow(("chain",))])

    assert html == (
        "doctor what found to do ● ipykernel 7.4.0 ▲ A_KEY has a blank in it set it anew ● in order "
        "▲ look at this"
    )
    assert "<p class='lf-legend'>" not in unmarked


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_table(text: str) -> None:
    """A value of a setting is text, too."""
    assert_harmless(render.table_html(text, (text, text), [render.TableRow((text, text), "ok")], hint=text))


def test_server_on_this_machine_in_the_status() -> None:
    """Nobody has looked whether it runs."""
    text = render.status_text("chain", [render.Standing("ollama/x", unchecked=True)], [], datetime.now(UTC))

    assert "◇ ollama/x: not checked" in text


def test_narrow_columns_are_cards() -> None:
    """Each line of a card names its column, but for the first, which is its head."""
    html = render.table_html("doctor", ("what", "found"), [render.TableRow(("a", "b"))])

    assert re.findall(r"data-label='([^']*)'", html) == ["found"]
    assert "@container" in html


def test_group_of_nothing_else_is_a_failure() -> None:
    """A failure without records has nothing to unfold."""
    assert "<details>" not in render.failure_html(AllModelsFailed("x", [ValueError("y")], ["a/x"]))
