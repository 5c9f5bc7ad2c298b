"""What a cell shows: the words of it, and that nothing written by others acts in a front end."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from time import perf_counter

import pytest

from llm_failover_nb.engine.bench import BenchedModel
from llm_failover_nb.engine.errors import (
    AllModelsFailed,
    ChainSpecError,
    DeadlineExceeded,
    FailoverError,
    ProviderError,
    StreamInterrupted,
)
from llm_failover_nb.engine.events import AttemptRecord
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Response, Usage
from llm_failover_nb.notebook import render
from llm_failover_nb.notebook.markdown import markdown_html
from llm_failover_nb.providers.transport_errors import MEANINGS

NOT_INSTALLED = "local/smollm2 is not installed, because its weights are not here: run install"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAILED = AttemptRecord(
    NOW, 1, "", "a/x,b/y", "stream", "a/x", 0, 3, "failover", "transient", "overloaded", 503, True, 300.0,
    "b/y", error="no capacity",
)  # fmt: skip
RETRIED = FAILED._replace(outcome="retry", attempt=2, benched=False, benched_for=0.0)
ANSWERED = AttemptRecord(NOW, 1, "", "a/x,b/y", "stream", "b/y", 1, 1, "ok")
ANSWER = Response(
    "It is **Paris**.", "b/y", "stop", Usage(5, 1200), (RETRIED, FAILED, ANSWERED), None, 1.4, 0.12
)

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://leak.example/?q=1)",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox)",
    "[x](ftp://files.example/a)",
    "[x](magnet:?xt=1)",
    "[x](//leak.example/a)",
    "[x](/lab/api/settings)",
    "<javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>body{display:none}</style>",
    "<base href='https://leak.example/'>",
    "<form action='https://leak.example/'><button>x</button></form>",
    "<button data-commandlinker-command='x'>x</button>",
    "<details open ontoggle=alert(1)><summary>x</summary></details>",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<a href='x' style='position:fixed;inset:0'>x</a>",
    "</div></div><script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "`</code><script>alert(1)</script>`",
    "```\n</pre><script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "| a |\n|---|\n| <script>alert(1)</script> |",
    '[x](https://ok.example "\'><script>alert(1)</script>")',
    "[x]: javascript:alert(1)\n\n[x]",
    "$<script>alert(1)</script>$",
    "\\(<img src=x onerror=alert(1)>\\)",
    "half a character \ud83d",
    "`\udfff` ![\ud83d](https://a.example/\ud83d)",
)
UNCLOSED = [opening * 20_000 for opening in ("$a ", "$$a", "\\(", "\\[", "\\begin{a}", "<pre>", "$")]
OURS = {
    *("div", "style", "p", "b", "span", "details", "samp", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td", "wbr"),
}
MARKDOWN = {
    *("a", "blockquote", "br", "code", "em", "h1", "h2", "hr", "li", "ol", "pre", "s", "strong", "ul", "del")
}
ATTRIBUTES = {"class", "data-label", "href", "rel", "title", "scope", "start"}


class Tags(HTMLParser):
    """What a browser would make elements and attributes of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.styles = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.styles += tag == "style"
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]


def assert_harmless(html: str, *, styles: int = 1) -> None:
    """Only our own elements and Markdown's are there, one style at most, and links go where they may."""
    html.encode()
    found = Tags(html)
    assert set() == found.tags - OURS - MARKDOWN
    assert set() == found.attributes - ATTRIBUTES
    assert styles == found.styles
    assert [link for link in found.links if not re.match(r"(https?|mailto):", link)] == []


def all_failed(*errors: tuple[str, Exception]) -> AllModelsFailed:
    """The failure of a chain."""
    return AllModelsFailed(
        f"failover: all {len(errors)} models in chain failed\nmore",
        [error for _, error in errors],
        [spec for spec, _ in errors],
    )


def listing_of(text: str) -> render.Listing:
    """A table in which everything is that text."""
    return render.Listing(text, (text, text, text), (render.Listed((text, text, text), "ready"),))


def text_of(html: str) -> str:
    """The words of a page, without markup."""
    return " ".join(
        re.sub(r"<style>.*?</style>|<[^>]*>", " ", html.replace("<wbr>", ""), flags=re.DOTALL).split()
    )


# Untrusted texts


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_answer(text: str) -> None:
    """Nothing that a model writes becomes more than text, emphasis and safe links."""
    assert_harmless(markdown_html(text), styles=0)
    assert_harmless(render.answer_html(Response(text, "a/x")))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_model_name(text: str) -> None:
    """A model's name is text wherever it stands."""
    passed = (render.Row(text, text, then=text, asked=False),)
    standing = render.Standing(text, missing_key=text)
    bench = BenchedModel(text, None, 1, False)

    assert_harmless(
        render.answer_html(Response("hi", text, attempts=(FAILED._replace(model=text),)), passed=passed)
    )
    assert_harmless(render.failure_html(all_failed((text, ValueError("x"))), passed=passed))
    assert_harmless(render.status_html(text, [standing], [bench], NOW, hint=text))
    assert_harmless(render.listing_html([listing_of(text)], hint=text))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_error(text: str) -> None:
    """So is what a provider says about a failure."""
    record = FAILED._replace(error=text, reason=text, note=text)
    error = all_failed(("a/x", ProviderError(text, reason=text)), ("b/y", ValueError(text)))
    answered = ANSWERED._replace(note=text)

    assert_harmless(render.answer_html(Response("hi", "b/y", attempts=(record, answered)), note=text))
    assert_harmless(render.failure_html(error, text=text, attempts=(record,), note=text))
    assert_harmless(render.explained_html(text, [render.Row(text, text, then=text)]))
    assert_harmless(render.partial_html(text, text, note=text))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_stream(text: str) -> None:
    """So is an answer that is still coming."""
    assert_harmless(render.live_html(text, abandoned=text, doing=text))


@pytest.mark.parametrize("text", ["\ud83d", "\ude00 x"])
def test_half_a_character_in_plain_text(text: str) -> None:
    """Whatever holds half a character, what is sent to a terminal or kept as plain text does not."""
    error = all_failed((text, ProviderError(text, reason=text)), ("b/y", ValueError(text)))
    record = FAILED._replace(model=text, error=text)
    row = render.Row(text, text, text, then=text, asked=False)
    shown = (
        render.answer_text(Response(text, text, attempts=(record,)), passed=(row,), note=text),
        render.partial_text(text, text, note=text),
        render.failure_text(error, text=text, passed=(row,), note=text),
        "\n".join(render.failure_lines(error, passed=(row,))),
        "\n".join(render.failure_lines(AllModelsFailed(text, [ValueError("x")], ["a/x"]))),
        render.live_text(text, abandoned=text, doing=text),
        render.status_text(text, [render.Standing(text, missing_key=text)], [], NOW, hint=text),
        render.help_text([render.HelpPart(text, ((text, text),))], hint=text),
        render.listing_text([listing_of(text)], hint=text),
        render.explained_text(text, [render.Row(text, text, then=text)]),
    )

    assert [one for one in shown if "\ufffd" not in one.encode().decode()] == []


def test_answer_with_reaching_tex_is_not_typeset() -> None:
    """TeX that would redefine what others wrote stays text, also where the answer broke off."""
    text = r"$\renewcommand{\leq}{\geq}$"
    pages = (
        render.answer_html(Response(text, "a/x")),
        render.partial_html(text, "interrupted"),
        render.failure_html(DeadlineExceeded("late"), text=text),
    )

    assert [page for page in pages if "class='lf-answer mathjax_ignore'" not in page] == []
    assert "class='lf-answer'" in render.answer_html(Response(r"$a \leq b$", "a/x"))


def test_live_text_is_not_typeset() -> None:
    """An answer that is still coming is text, so that half a formula does not act either."""
    page = render.live_html(r"$\let\leq\geq$", abandoned=r"$\def\x{y}$")

    assert re.findall(r"<div class='lf-live([^']*)'", page) == [" mathjax_ignore"] * 2


def test_links_open_nothing_of_ours() -> None:
    """A link gives the page that it opens no handle to this one."""
    expected = '<p><a href="https://a.example/" rel="noopener noreferrer">x</a></p>\n'

    assert expected == markdown_html("[x](https://a.example/)")


def test_image_becomes_its_link() -> None:
    """An image is fetched by nobody, and its address is not hidden either."""
    assert Tags(markdown_html("![x](https://leak.example/?q=1)")).links == ["https://leak.example/?q=1"]


def test_bare_addresses_stay_text() -> None:
    """An address in the text is no link."""
    assert Tags(markdown_html("see https://leak.example/")).links == []


def test_raw_html_is_shown_as_text() -> None:
    """HTML in an answer is not dropped: the reader sees what the model wrote."""
    assert markdown_html("<b onclick='x'>bold</b>") == "<p>&lt;b onclick='x'&gt;bold&lt;/b&gt;</p>\n"


def test_table_and_code() -> None:
    """Tables and code are laid out."""
    html = markdown_html("| a |\n|---|\n| 1 |\n\n```python\nx = 1 < 2\n```")

    assert {"table", "td", "pre", "code"} <= Tags(html).tags
    assert "x = <span class='lf-n'>1</span> &lt; <span class='lf-n'>2</span>" in html.replace('"', "'")


def test_names_do_not_turn_around() -> None:
    """A name cannot reverse the line that it stands in."""
    assert "\u202e" not in render.answer_text(Response("hi", "a/\u202ex"))


def test_keys_are_masked() -> None:
    """A provider that repeats the key in its error does not get it into the notebook."""
    key = Secret("sk-canary-9876543210")
    error = all_failed(("a/x", ProviderError(f"bad key {key.reveal()}")))

    assert "canary" not in render.failure_html(error) + render.failure_text(error)


@pytest.mark.parametrize(
    "text", ["*" * 20_000, "[" * 20_000, "`" * 20_000, ">" * 20_000, "x " * 200_000, *UNCLOSED]
)
def test_long_answers_do_not_hang(text: str) -> None:
    """An answer made to be slow is rendered in a moment."""
    start = perf_counter()
    markdown_html(text)

    assert perf_counter() - start < 5


# The answer and its footer


def test_fallback_says_who_failed_and_why() -> None:
    """The footer names who answered, who failed before, and why."""
    html, text = text_of(render.answer_html(ANSWER)), render.answer_text(ANSWER)

    assert "answered by b/y after a/x failed (overloaded, HTTP 503)" in html
    assert "answered by b/y after a/x failed (overloaded, HTTP 503)" in text


def test_answer_without_failure() -> None:
    """Where the first model answers, the footer says no more than that."""
    html = render.answer_html(Response("hi", "b/y", attempts=(ANSWERED,)))

    assert "answered by b/y" in text_of(html)
    assert "details" not in Tags(html).tags


def test_markdown_in_the_answer() -> None:
    """The answer is laid out; as text it stays as it is."""
    assert "<strong>Paris</strong>" in render.answer_html(ANSWER)
    assert render.answer_text(ANSWER).startswith("It is **Paris**.\n")


def test_failed_row() -> None:
    """A row tells attempts, status, what the provider said, and until when the model is benched."""
    expected = render.Row(
        "a/x", "overloaded, HTTP 503", "no capacity", 2, "benched for 5 min, until 12:05:00", asked=True
    )

    assert (expected,) == render.failed_rows(ANSWER.attempts, UTC)


def test_failed_row_not_benched() -> None:
    """A request-specific failure benches nobody, and the row says so."""
    record = FAILED._replace(reason="context_length", benched=False, benched_for=0.0, status=400)

    assert render.failed_rows((record, ANSWERED))[0].then == "not benched"


def test_failed_row_benched_for_ever() -> None:
    """A bench without an end is told as one."""
    assert render.failed_rows((FAILED._replace(benched_for=math.inf),))[0].then == "benched until lifted"


def test_what_was_found_is_not_cut() -> None:
    """A list of versions stands whole in a table, longer than an error of others may be."""
    versions = ", ".join(f"package{number} 1.2.3" for number in range(40))
    rows = [render.TableRow(("packages", versions))]

    assert versions in render.table_html("doctor", ("what", "found"), rows)
    assert versions in render.table_text("doctor", ("what", "found"), rows)


def test_duplicates_are_rows_of_their_own() -> None:
    """The same model twice in a chain is told apart by its place."""
    again = FAILED._replace(position=1)

    assert len(render.failed_rows((FAILED, again))) == 2


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (Response("", "a/x", latency=1.4), "1.4 s in all"),
        (Response("", "a/x", first_token=0.123), "first token 0.12 s"),
        (Response("", "a/x", first_token=0.0001), "first token under 0.01 s"),
        (Response("", "a/x", latency=0.0099), "under 0.01 s in all"),
        (Response("", "a/x", latency=75.0), "75 s in all"),
        (Response("", "a/x", latency=600.0), "10 min in all"),
        (Response("", "a/x", usage=Usage(5, 1200)), "tokens: 5 in, 1,200 out"),
        (Response("", "a/x", usage=Usage(None, 3)), "tokens: ? in, 3 out"),
        (Response("", "a/x"), "cost ?"),
        (Response("", "a/x", cost=0.00123), "cost 0.0012 USD"),
        (Response("", "local/smollm2"), "free"),
        (Response("", "sim/echo"), "free"),
        (Response("", "a/x", "length"), "cut short by the limit of tokens"),
        (Response("", "a/x", "content_filter"), "cut short by the content filter"),
    ],
)
def test_stats(response: Response, words: str) -> None:
    """Times, tokens and cost stand in the footer, in both forms."""
    assert words in text_of(render.answer_html(response))
    assert words in render.answer_text(response)


def test_no_cost_where_none_could_apply() -> None:
    """A model on this machine has no unknown cost."""
    assert "cost" not in render.answer_text(Response("hi", "local/smollm2"))


def test_empty_answer() -> None:
    """An answer without text says so."""
    assert "(the answer has no text)" in render.answer_text(Response(model="a/x"))
    assert "(the answer has no text)" in render.answer_html(Response(model="a/x"))


def test_passed_by_benched() -> None:
    """An entry benched when the call began was passed by, and until when is told."""
    bench = BenchedModel("a/x", NOW + timedelta(minutes=4), 1, False)

    rows = render.passed_rows(["a/x", "b/y"], (ANSWERED,), [bench], NOW, UTC)

    assert [(row.model, row.why) for row in rows] == [("a/x", "benched until 12:04:00, 4 min left")]


def test_passed_by_without_key() -> None:
    """An entry without a key was passed by, and the variable to set is told."""
    skipped = AttemptRecord(
        NOW, model="a/x", position=0, outcome="skipped", reason="no_key", error="no key: set A_KEY"
    )

    rows = render.passed_rows(["a/x", "b/y"], (skipped, ANSWERED), [], NOW)

    assert [(row.model, row.why) for row in rows] == [("a/x", "no key: set A_KEY")]


def test_not_passed_by() -> None:
    """Entries that were asked, and those after the answering one, were not passed by."""
    bench = BenchedModel("c/z", None, 1, True)

    assert render.passed_rows(["a/x", "b/y", "c/z"], (FAILED, ANSWERED), [bench], NOW) == ()


def test_asked_although_benched() -> None:
    """A bench that was of no effect, since it covered the whole chain, is not passed over in silence."""
    benches = [BenchedModel(spec, None, 0, True) for spec in ("a/x", "b/y")]
    passed = render.passed_rows(["a/x", "b/y"], ANSWER.attempts, benches, NOW)
    footer = (
        "answered by b/y after a/x failed (overloaded, HTTP 503); "
        "asked although benched by hand until lifted: nothing else was left"
    )

    assert [(row.model, row.asked, row.benched) for row in passed] == [
        ("a/x", True, True),
        ("b/y", True, True),
    ]
    assert footer in text_of(render.answer_html(ANSWER, passed=passed))
    assert f"-- fallback: {footer}\n" in render.answer_text(ANSWER, passed=passed)


def test_asked_although_benched_is_not_passed_by() -> None:
    """The details count the model that failed, in words that say it was benched, and nobody as passed by."""
    benches = [BenchedModel(spec, None, 0, True) for spec in ("a/x", "b/y")]
    passed = render.passed_rows(["a/x", "b/y"], ANSWER.attempts, benches, NOW)

    text = text_of(render.answer_html(ANSWER, passed=passed))
    lines = render.answer_text(ANSWER, passed=passed).splitlines()

    assert "1 model failed model why then" in text
    assert next(line for line in lines if line.startswith("   a/x:")).startswith(
        "   a/x: overloaded, HTTP 503, 2 attempts: no capacity; asked although benched by hand until"
    )


def test_not_benched_is_not_best_effort() -> None:
    """Where others were benched, the model that answered is not said to have been."""
    bench = BenchedModel("a/x", None, 0, True)
    passed = render.passed_rows(["a/x", "b/y"], (ANSWERED,), [bench], NOW)

    assert "although" not in render.answer_text(Response("hi", "b/y", attempts=(ANSWERED,)), passed=passed)


def test_not_installed_in_the_footer() -> None:
    """A local model that is missing has not failed: the footer says so once, and what to do."""
    record = FAILED._replace(
        model="local/smollm2", reason="not_installed", status=None, error=NOT_INSTALLED, attempt=1
    )
    response = Response("hi", "b/y", attempts=(record, ANSWERED))
    lines = render.answer_text(response).splitlines()

    assert f"-- fallback: answered by b/y; {NOT_INSTALLED}" in lines
    assert next(line for line in lines if line.startswith("   local/")).startswith(
        "   local/smollm2: not installed, because its weights are not here: run install; benched for 5 min"
    )


def test_not_installed_beside_a_failure() -> None:
    """What failed stands first."""
    record = FAILED._replace(model="local/smollm2", reason="not_installed", error=NOT_INSTALLED)
    text = render.answer_text(Response("hi", "b/y", attempts=(FAILED._replace(position=2), record, ANSWERED)))

    assert f"answered by b/y after a/x failed (overloaded, HTTP 503); {NOT_INSTALLED}" in text


def test_passed_by_in_the_footer() -> None:
    """The footer says why an earlier model was not asked."""
    passed = (render.Row("a/x", "no key: set A_KEY", asked=False),)

    text = render.answer_text(Response("hi", "b/y", attempts=(ANSWERED,)), passed=passed)

    assert "answered by b/y after a/x was passed by (no key: set A_KEY)" in text


NOTE = "asked without temperature, which it does not take"
NOTED = FAILED._replace(note=f"{NOTE}; benched too, for the same key: c/z")


def test_note_of_the_answer() -> None:
    """What the answering model was asked without stands among the small figures, once."""
    attempts = (ANSWERED._replace(outcome="retry", note=NOTE), ANSWERED._replace(attempt=2, note=NOTE))
    response = Response("hi", "b/y", attempts=attempts, latency=1.0)

    assert f"1 s in all cost ? {NOTE}" in text_of(render.answer_html(response))
    assert f"   1 s in all · cost ? · {NOTE}" in render.answer_text(response).splitlines()


def test_note_of_a_failure_before_the_answer() -> None:
    """It stands in the model's own row, each thing once, however often it was asked."""
    attempts = (RETRIED._replace(note=NOTE), NOTED, ANSWERED)
    (row,) = render.failed_rows(attempts, UTC)
    response = Response("hi", "b/y", attempts=attempts)

    assert row.note == f"{NOTE}; benched too, for the same key: c/z"
    assert f"no capacity {row.note} benched for 5 min" in text_of(render.answer_html(response))
    assert f"no capacity; {row.note}; benched for 5 min" in render.answer_text(response)
    assert render.answer_text(response).count(NOTE) == 1


def test_note_in_a_failure() -> None:
    """Where nobody answered, the notes come from the records; other models' rows have none."""
    error = all_failed(("a/x", ProviderError("no", reason="credentials")), ("c/z", ValueError("odd")))
    first, second = render.failure_lines(error, attempts=(RETRIED._replace(note=NOTE), NOTED))[1:]

    remedy = "check the key, set it anew, and lift the bench: %llm unbench MODEL"
    assert first == f"  a/x: the key was refused: no; {NOTED.note}; {remedy}"
    assert "asked without" not in second
    assert NOTED.note in text_of(render.failure_html(error, attempts=(NOTED,)))


def test_note() -> None:
    """A note stands beside the answer."""
    assert "no chain is set" in text_of(render.answer_html(ANSWER, note="no chain is set"))
    assert "no chain is set" in render.answer_text(ANSWER, note="no chain is set")


def test_style_is_scoped() -> None:
    """Every rule of the style holds inside our own output alone."""
    style = re.search(r"<style>(.*)</style>", render.answer_html(ANSWER), re.DOTALL)
    assert style is not None
    selectors = re.findall(r"(?:^|[{}])([^{};]+)\{", style[1])

    assert [
        one
        for group in selectors
        for one in group.split(",")
        if not one.strip().startswith((".llm-failover.llm-failover", "@container"))
    ] == []


# Failures


def test_failure_has_a_row_a_model() -> None:
    """Each model stands with its reason and what to do."""
    error = all_failed(
        ("a/x", ProviderError("", status=429, reason="rate_limit")),
        ("b/y", ProviderError("no key: set B_KEY", reason="no_key")),
        ("c/z", ValueError("odd")),
    )

    assert render.failure_lines(error) == [
        "AllModelsFailed: failover: all 3 models in chain failed",
        "  a/x: too many requests or tokens for now, HTTP 429; wait a little, or add a model to the chain",
        "  b/y: passed by, no key: set B_KEY; then run the cell again",
        "  c/z: failed: ValueError: odd; read what it says, or add a model to the chain",
    ]


def test_failure_html_says_what_the_error_output_does_not() -> None:
    """A front end shows both: the cell's own output tells attempts and benches, and repeats no advice."""
    error = all_failed(("a/x", ProviderError("no capacity", status=503, reason="overloaded")))
    html = text_of(render.failure_html(error, attempts=(RETRIED, FAILED)))

    assert "no model answered: 1 failed what was tried model why then a/x overloaded, HTTP 503, 2" in html
    assert "benched for 5 min" in html
    assert "try again in a few minutes" not in html


def test_failure_text_says_what_the_error_output_does_not() -> None:
    """So does the plain text."""
    error = all_failed(("a/x", ProviderError("no capacity", status=503, reason="overloaded")))
    lines = render.failure_text(error, attempts=(RETRIED, FAILED)).splitlines()

    assert lines[0] == "no model answered: 1 failed"
    assert lines[1].startswith("  a/x: 2 attempts; benched for 5 min, until ")
    assert len(lines) == 2


def test_failure_in_short() -> None:
    """Above the table stands how many were asked, and how many were not."""
    error = all_failed(("a/x", ProviderError("no")), ("b/y", ProviderError("no key", reason="no_key")))

    assert "no model answered: 1 failed, 1 passed by" in text_of(render.failure_html(error))
    assert render.failure_text(error) == "no model answered: 1 failed, 1 passed by"


def test_failure_lists_what_was_passed_by() -> None:
    """A benched entry that was not asked is listed with the way to lift it."""
    passed = (render.Row("b/y", "benched until lifted", then="%llm unbench b/y lifts it", asked=False),)

    lines = render.failure_lines(all_failed(("a/x", ValueError("odd"))), passed=passed)

    assert lines[-1] == "  b/y: passed by, benched until lifted; %llm unbench b/y lifts it"


def test_failure_although_benched() -> None:
    """A failure says of a benched model that it was asked all the same, and was not passed by."""
    bench = BenchedModel("a/x", None, 0, True)
    passed = render.passed_rows(["a/x"], (), [bench], NOW)
    error = all_failed(("a/x", ProviderError("no", status=503, reason="overloaded")))
    expected = (
        "  a/x: overloaded, HTTP 503: no; asked although benched by hand until lifted: nothing else was left"
        "; try again in a few minutes, or add a model to the chain"
    )

    assert render.failure_lines(error, passed=passed)[1:] == [expected]


def test_failure_of_a_single_error_although_benched() -> None:
    """So does one that ends the call by itself, such as a content filter's."""
    passed = render.passed_rows(["a/x"], (), [BenchedModel("a/x", None, 0, True)], NOW)
    error = ProviderError("no", model="a/x", reason="content_filter")

    assert "asked although benched" in render.failure_lines(error, passed=passed)[1]


def test_failure_not_installed() -> None:
    """A missing local model is named once, with why and the command to run."""
    error = all_failed(("local/smollm2", ProviderError(NOT_INSTALLED, reason="not_installed")))

    assert render.failure_lines(error)[1:] == [
        "  local/smollm2: not installed, because its weights are not here; run install"
    ]


def test_failure_not_installed_in_other_words() -> None:
    """What somebody else's provider says of it stands as it is."""
    error = all_failed(("my/model", ProviderError("run setup: now", reason="not_installed")))

    assert render.failure_lines(error)[1:] == ["  my/model: not installed; run setup: now"]


def test_failure_names_the_model_once() -> None:
    """An error that begins with the model's name does not repeat it in the row."""
    error = all_failed(("local//m", ProviderError("local//m: it cannot be read", reason="odd")))

    assert render.failure_lines(error)[1].startswith("  local//m: failed: it cannot be read; ")


def test_no_model_could_be_asked() -> None:
    """Where no entry has a key nobody failed, and the variables to set are named once each."""
    keys = ("A_KEY", "B_KEY", "A_KEY")
    error = all_failed(
        *((f"p/{i}", ProviderError(f"no key: set {key}", reason="no_key")) for i, key in enumerate(keys))
    )
    expected = "no model could be asked: none has a key; set A_KEY or B_KEY"

    assert render.failure_text(error).splitlines()[0] == expected
    assert expected in text_of(render.failure_html(error))
    assert render.failure_lines(error)[0] == f"AllModelsFailed: {expected}"


def test_refused_connection_advises_once() -> None:
    """The provider's own advice is left out where the remedy stands beside it."""
    said = MEANINGS["ConnectError"].text("127.0.0.1", OSError("refused"))
    lines = render.failure_lines(all_failed(("a/x", ProviderError(said, reason="connection"))))

    assert lines[1] == (
        "  a/x: no connection: 127.0.0.1 could not be reached: refused; "
        "check the network, base_url, and that the server runs"
    )


def test_no_such_model_may_be_the_wrong_address() -> None:
    """A 404 may come of a base_url of one's own."""
    lines = render.failure_lines(all_failed(("a/x", ProviderError("no", status=404, reason="model_gone"))))

    assert lines[1].endswith("; check the model's name, and base_url where the provider is your own")


@pytest.mark.parametrize(
    ("partial", "out", "words"),
    [
        (True, False, "interrupted; partial answer"),
        (True, True, "interrupted; partial answer; out= stays unbound"),
        (False, False, "interrupted before an answer came"),
        (False, True, "interrupted before an answer came; out= stays unbound"),
    ],
)
def test_interrupted(partial: bool, out: bool, words: str) -> None:
    """An interrupted cell says what is there, and of the name it was to bind only where there is one."""
    assert words == render.interrupted_words(partial=partial, out=out)


@pytest.mark.parametrize("kind", [DeadlineExceeded, StreamInterrupted, ChainSpecError])
def test_short_failures(kind: type[FailoverError]) -> None:
    """Other failures are one line."""
    assert [f"{kind.__name__}: it took too long"] == render.failure_lines(kind("it took\ntoo long"))


def test_failure_keeps_the_partial_text() -> None:
    """What had come stands above the failure."""
    assert "half an answer" in render.failure_html(DeadlineExceeded("late"), text="half an answer")
    assert render.failure_text(DeadlineExceeded("late"), text="half").startswith("half\nthe deadline passed")


def test_long_errors_are_cut() -> None:
    """A page that a provider sends does not fill the notebook."""
    lines = render.failure_lines(all_failed(("a/x", ProviderError("word " * 10_000))))

    assert max(map(len, lines)) < 500


# Live and status


def test_live_abandoned_is_struck_and_said() -> None:
    """What is abandoned is struck, and words say so too."""
    html = render.live_html("", abandoned="old <b>", doing="starting over with the next model …")

    assert "<del>old &lt;b&gt;</del>" in html
    assert "starting over with the next model" in html
    assert "[abandoned] old" in render.live_text("", abandoned="old")


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (render.Standing("a/x"), "● a/x: ready"),
        (render.Standing("a/x", missing_key="A_KEY"), "○ a/x: no key: set A_KEY"),
        (render.Standing("a/x", BenchedModel("a/x", None, 0, True)), "■ a/x: benched by hand until lifted"),
        (
            render.Standing("a/x", BenchedModel("a/x", NOW + timedelta(hours=1), 1, False), "A_KEY"),
            "○ a/x: no key: set A_KEY; benched until",
        ),
    ],
)
def test_status(standing: render.Standing, words: str) -> None:
    """Each entry says where it stands, by a mark and in words."""
    mark, model, state = words.split(" ", 2)

    assert words in render.status_text("chain", [standing], [], NOW)
    assert f"{model[:-1]} {mark} {state}" in text_of(render.status_html("chain", [standing], [], NOW))


def test_status_of_others() -> None:
    """A benched model outside of the chain is listed as one."""
    text = render.status_text("chain", [], [BenchedModel("c/z", None, 1, False)], NOW)

    assert "c/z: benched until lifted; not in this chain" in text


def test_far_bench_has_its_date() -> None:
    """A bench that ends another day says which."""
    bench = BenchedModel("a/x", NOW + timedelta(days=3), 1, False)

    assert render.bench_words(bench, NOW, UTC) == "benched until 2026-01-04 12:00, 3 d left"


def test_help() -> None:
    """The help says the same in a table and in columns."""
    parts = [render.HelpPart("to ask", (("a=1", "the first"), ("bcd=2", "<second>")))]

    assert render.help_text(parts, hint="more") == "to ask\n  a=1    the first\n  bcd=2  <second>\n\nmore"
    assert text_of(render.help_html(parts, hint="more")) == "to ask a=1 the first bcd=2 &lt;second&gt; more"


# What there is to ask

LISTINGS = (
    render.Listing(
        "providers",
        ("write", "where", "key"),
        (
            render.Listed(("sim/echo", "here", "none needed"), "ready"),
            render.Listed(("groq/MODEL", "api.groq.com", "set GROQ_API_KEY"), "missing"),
        ),
    ),
    render.Listing("nothing", ("write",), ()),
    render.Listing("chain", ("model", "state"), (render.Listed(("a/x", "benched"), "benched"),)),
)


def test_listing_text() -> None:
    """A block a table, in columns, each line with its mark; an empty table is left out."""
    assert render.listing_text(LISTINGS, hint="more").split("\n") == [
        "providers",
        "  ●  sim/echo    here          none needed",
        "  ○  groq/MODEL  api.groq.com  set GROQ_API_KEY",
        "",
        "chain",
        "  ■  a/x  benched",
        "",
        "● ready   ○ something is missing   ■ benched",
        "more",
    ]


def test_listing_html() -> None:
    """The same as tables."""
    assert text_of(render.listing_html(LISTINGS, hint="more")) == (
        "providers write where key sim/echo here ● none needed groq/MODEL api.groq.com ○ set GROQ_API_KEY "
        "chain model state a/x ■ benched ● ready ○ something is missing ■ benched more"
    )


def test_listing_folds_between_parts() -> None:
    """In a narrow column an address or a variable is not cut within a word, and a short name not at all."""
    html = render.listing_html(LISTINGS)

    assert "<samp>groq/MODEL</samp>" in html
    assert "<samp>api.<wbr>groq.<wbr>com</samp>" in html
    assert "set GROQ_<wbr>API_<wbr>KEY" in html


def test_listing_folds_a_long_name() -> None:
    """One that would leave a narrow column no room for the rest."""
    line = render.Listed(("openrouter/meta/llama-3.3-70b-instruct", "ready"), "ready")
    html = render.listing_html([render.Listing("chain", ("model", "state"), (line,))])

    assert "openrouter/<wbr>meta/<wbr>llama-<wbr>3.<wbr>3-<wbr>70b-<wbr>instruct" in html


# Failures explained


def test_explained() -> None:
    """Two lines a failure; in HTML a row, as where a call fails."""
    rows = [render.Row("a/x", "no capacity (transient)", then="wait"), render.Row("b/y", "odd", then="look")]

    assert render.explained_text("in cell 7", rows).split("\n") == [
        "in cell 7",
        "a/x: no capacity (transient)",
        "  wait",
        "b/y: odd",
        "  look",
    ]
    assert text_of(render.explained_html("in cell 7", rows)) == (
        "in cell 7 model why what to do a/x no capacity (transient) wait b/y odd look"
    )
