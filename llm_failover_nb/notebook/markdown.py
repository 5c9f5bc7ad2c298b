r"""A model's Markdown as HTML that does nothing and fetches nothing, its mathematics kept for the front end.

A front end runs what it finds in a fresh output, so an answer passes Markdown without HTML, and then nh3
with a short list of tags. Mathematics stays TeX, for the front end to set; Markdown would take ``\,`` and
``\\`` in it for escapes of its own.
"""

from __future__ import annotations

import functools
import html
import re
from typing import TYPE_CHECKING

import nh3
from markdown_it import MarkdownIt

from llm_failover_nb.notebook.highlight import coloured
from llm_failover_nb.notebook.text import plain

if TYPE_CHECKING:
    from markdown_it.rules_inline import StateInline

__all__ = ["markdown_html", "reaches_out"]

# What CommonMark and tables need; links are the only thing with an address. Spans are the colours of code: a
# text cannot bring any, since HTML in it is text.
_TAGS = {
    *("a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p"),
    *("pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "span": {"class"}}
_SCHEMES = {"http", "https", "mailto"}

# Longer answers are shown as they are: laying them out would hold up the kernel.
_LONGEST_MARKDOWN = 200_000

# What front ends take for mathematics. A dollar beside a space, or before a digit, is money. Each is short,
# and has no code in it, so that an opening without its end costs little and hides nothing.
_MATH = re.compile(
    r"""
      \$\$ [^$`]{1,1000}? \$\$
    | \$ (?![\s$]) (?: \\[^`] | [^$\\`] ){1,500}? (?<!\s) \$ (?!\d)
    | \\\( [^`]{1,500}? \\\)
    | \\\[ [^`]{1,1000}? \\\]
    | \\begin\{([a-z]+\*?)\} [^`]{1,1000}? \\end\{\1\}
    """,
    re.VERBOSE,
)

# TeX that does more than set its own formula. One page has one TeX: what an answer defines holds in every
# formula set after it, the user's own included. Boxes and moves of any length make an output of any size,
# and \unicode any character in any font. \hspace below 20 units is how formulas are spaced, and stays.
_REACHES_OUT = re.compile(
    r"""
    (?<!\\) (?:\\\\)* \\ (?:
        [gex]?def | let | (?:re)?new(?!line)[a-z]+ | provide[a-z]+ | Declare[a-zA-Z]+   # definitions
      | definecolor | usetagform | mathtoolsset | require                               # settings
      | [rR]ule | Space | m?kern | [hm]skip | vspace | raise | lower | move(?:left|right) | unicode
      | hspace (?! \*?\{1?\d(?:\.\d+)?(?:em|ex|mu|pt|mm|cm)\} )
    ) (?![a-zA-Z])
    """,
    re.VERBOSE,
)
_CODE = re.compile(r"<(pre|code)>.*?</\1>", re.DOTALL)


def markdown_html(text: str) -> str:
    """Markdown of a model's as HTML that does nothing and fetches nothing.

    Raw HTML is shown as text, an image as the link to it; links go to http, https and mailto alone.

    >>> markdown_html("**yes** <script>alert(1)</script>")
    '<p><strong>yes</strong> &lt;script&gt;alert(1)&lt;/script&gt;</p>\\n'
    """
    text = plain(text)
    if len(text) > _LONGEST_MARKDOWN:
        return f"<div class='lf-live mathjax_ignore'>{html.escape(text)}</div>"
    return nh3.clean(
        _markdown().render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        url_relative="deny",
        link_rel="noopener noreferrer",
    )


def reaches_out(page: str) -> bool:
    r"""Whether TeX in an answer's HTML would change other outputs, or take any room it likes.

    Asked of the HTML, where ``\d&#101;f`` has become what a front end reads; code is not read as TeX.

    >>> reaches_out(markdown_html(r"$\renewcommand{\leq}{\geq}$")), reaches_out(markdown_html(r"$a \leq b$"))
    (True, False)
    """
    return _REACHES_OUT.search(_CODE.sub(" ", page)) is not None


@functools.cache
def _markdown() -> MarkdownIt:
    options = {"html": False, "linkify": False, "highlight": _coloured}
    markdown = MarkdownIt("commonmark", options).enable(["table", "strikethrough"]).disable("image")
    markdown.inline.ruler.before("escape", "math", _keep_math)
    return markdown


def _coloured(code: str, language: str, _attributes: str) -> str:
    return coloured(code, language)


def _keep_math(state: StateInline, silent: bool) -> bool:
    """A rule of markdown-it: mathematics is text, to the letter."""
    found = _MATH.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.pending += found[0]
    state.pos = found.end()
    return True
