"""A model's HTML in its frame: what the document says; what a browser makes of it is a browser test's."""

from __future__ import annotations

import html
import re

import pytest

from llm_failover_nb.notebook.frame import frame_html, page_of


def inner(page: str) -> str:
    """The document in the inner frame."""
    outer = html.unescape(
        re.findall(r"srcdoc='(.*)'></iframe></div>", frame_html(page, title="t"), re.DOTALL)[0]
    )
    return html.unescape(re.findall(r"srcdoc='(.*)'></iframe>", outer, re.DOTALL)[0])


@pytest.mark.parametrize(
    "tag",
    [
        "link",
        "LINK",
        "meta",
        "base",
        "iframe",
        "frame",
        "object",
        "embed",
        "a",
        "area",
        "portal",
        "fencedframe",
    ],
)
@pytest.mark.parametrize("end", [" ", "\n", "/", ">"])
def test_tags_that_reach_out_have_no_meaning(tag: str, end: str) -> None:
    """However they are written; hints open connections, and no policy covers them."""
    page = f"<{tag}{end}href='https://leak.example/'>x</{tag}>"
    ours = inner("")

    assert re.findall(rf"</?{tag}[\s/>]", inner(page).removeprefix(ours), re.IGNORECASE) == []


def test_control_characters_cannot_hide_a_tag() -> None:
    """What is taken out of the text is taken out first."""
    assert "<link" not in inner("<li\x00nk rel=preconnect href=x>")


def test_other_tags_stay() -> None:
    """The page is the model's, but for these."""
    page = "<style>p{color:red}</style><article><abbr title='<b>'>x</abbr></article><main>y</main>"

    assert inner(page).endswith(page)


def test_both_frames_are_sandboxed_and_have_a_policy() -> None:
    """The policy stands before anything of the model's."""
    document = inner("<p>x")

    assert frame_html("<p>x", title="t").count("sandbox=''") == 1
    assert document.index("default-src 'none'") < document.index("<p>x")
    assert frame_html("<p>x", title="t").count("default-src") == 2


@pytest.mark.parametrize(
    "page", ["'></iframe><script>x</script>", '"></iframe>', "&#39;><img src=x>", "&quot;"]
)
def test_the_page_stays_in_its_frame(page: str) -> None:
    """No quote ends the attribute."""
    assert frame_html(page, title="t").count("<iframe") == 1
    assert "<script" not in frame_html(page, title="t")
    assert inner(page).endswith(page.replace("</iframe", "</x-iframe"))


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("<p>x", "<p>x"),
        ("Here:\n```html\n<p>x\n```\nbye", "<p>x"),
        ("```html\n<p>cut", "<p>cut"),
        ("~~~\n<p>x\n~~~", "<p>x"),
        ("no page", "no page"),
        ("<pre>\n```\nx\n```\n</pre>", "<pre>\n```\nx\n```\n</pre>"),
    ],
)
def test_page_of(text: str, page: str) -> None:
    """What stands in a fence, else all of it."""
    assert page == page_of(text)
