"""An answer's text in the form that was asked for. Its footer is `answer.py`'s."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from llm_failover_nb.notebook.frame import LONGEST_HTML, frame_html, page_of
from llm_failover_nb.notebook.highlight import code_block
from llm_failover_nb.notebook.markdown import markdown_html, reaches_out
from llm_failover_nb.notebook.render.page import escaped, preformatted, small
from llm_failover_nb.settings.types import Format

__all__ = ["body_html", "body_text", "markdown_body", "thought_html"]

"""How an answer is shown."""

_NO_TEXT = "(the answer has no text)"

_PLACED = {True: "put into a new cell below; not run", False: "code, not run"}

# The lines that begin and end code in Markdown, and a whole answer that is one piece of code.
_FENCE = re.compile(r"^\s*(?:`{3,}|~{3,}).*$", re.MULTILINE)
_ONE_FENCE = re.compile(r"\s*(`{3,}|~{3,})\w*[ \t]*\n(.*)\n[ \t]*\1\s*", re.DOTALL)


def body_html(text: str, form: Format, *, code: str = "", placed: bool = False) -> str:
    """An answer's text.

    Args:
        text: What the model wrote.
        form: How to show it.
        code: The code in it, where that is what was asked for.
        placed: Whether that code was put into a new cell.
    """
    if not text.strip():
        return f"<div class='lf-answer'><p>{_NO_TEXT}</p></div>"
    match form:
        case "markdown":
            return markdown_body(text)
        case "text":
            return preformatted(text)
        case "json":
            return _json_html(text)
        case "code":
            return _code_html(text, code or text, placed)
        case "html":
            return _page_html(text)


def body_text(text: str, form: Format, *, code: str = "", placed: bool = False) -> str:
    """:func:`body_html` for a terminal; of HTML the source."""
    if not text.strip():
        return _NO_TEXT
    if form == "json":
        return _pretty(text) or text
    if form == "code":
        return f"{code or text}\n({_PLACED[placed]})"
    return text


def markdown_body(text: str) -> str:
    """Markdown, laid out; formulas in it are set unless they would reach out of the answer."""
    body = markdown_html(text)
    kind = "lf-answer mathjax_ignore" if reaches_out(body) else "lf-answer"
    return f"<div class='{kind}'>{body}</div>"


def _json_html(text: str) -> str:
    pretty = _pretty(text)
    return code_block(pretty, "json") if pretty else preformatted(text)


def _pretty(text: str) -> str:
    """JSON laid out for people; empty where the text is none."""
    fenced = _ONE_FENCE.fullmatch(text)
    try:
        value: object = json.loads(fenced[2] if fenced else text, object_pairs_hook=_members)
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return ""


def _members(pairs: list[tuple[str, object]]) -> Mapping[str, object]:
    """An object; one that names a member twice cannot be shown without losing one of them."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is named twice")
    return members


def _code_html(text: str, code: str, placed: bool) -> str:
    whole = ""
    if _says_more(text, code):
        summary = "<summary class='lf-small'>the whole answer</summary>"
        whole = f"<details>{summary}{markdown_body(text)}</details>"
    return f"{code_block(code, 'python')}{small(f'<p>{_PLACED[placed]}</p>')}{whole}"


def _says_more(text: str, code: str) -> bool:
    """Whether an answer has words beside its code."""
    lines = {line.strip() for line in code.splitlines()}
    return any(line.strip() not in lines for line in _FENCE.sub("", text).splitlines() if line.strip())


def _page_html(text: str) -> str:
    if len(text) > LONGEST_HTML:
        words = f"<p>the page is longer than {LONGEST_HTML:,} characters, so this is its source</p>"
        return f"{small(words)}{preformatted(text)}"
    return frame_html(page_of(text), title="the answer, a page of HTML in a frame of its own")


def thought_html(reasoning: str, length: str) -> str:
    """A model's thinking, folded away."""
    if not reasoning.strip():
        return ""
    return (
        f"<details class='lf-thought lf-small mathjax_ignore'><summary>thinking, {escaped(length)}</summary>"
        f"<div class='lf-live'>{escaped(reasoning.strip())}</div></details>"
    )
