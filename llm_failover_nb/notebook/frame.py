"""A model's HTML in a frame that runs nothing, fetches nothing and goes nowhere. Pure functions of text.

How it is kept in, each layer for what the others let through:

- ``sandbox=""`` takes scripts, forms, popups, downloads and the page around away from the document.
- A policy ahead of everything (CSP) lets it load nothing: style and images are those that are written in it.
- A sandboxed document may still go elsewhere in its own frame, when a link is clicked, and would tell the
  address to a server. So it stands in a frame within a frame: what the inner one may load is for the outer
  one's policy to say, and that says nothing at all.
- No policy covers hints such as ``<link rel="preconnect">``, which open connections, and Chromium connects to
  where a clicked link leads before it asks the policy. A tag is a ``<`` and its name, with no other spelling,
  so the tags by which a document reaches out are given names that do nothing. So is ``<iframe>``, whose
  ``srcdoc`` could spell them in another way.
"""

from __future__ import annotations

import html
import re

from llm_failover_nb.notebook.text import plain

__all__ = ["LONGEST_HTML", "frame_html", "page_of"]

# Longer pages are shown as text: the front end would have to lay them out, and the notebook to hold them.
LONGEST_HTML = 1_000_000

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_HEAD = (
    "<!doctype html><meta charset='utf-8'>"
    f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    "<meta name='referrer' content='no-referrer'>"
    "<meta http-equiv='x-dns-prefetch-control' content='off'>"
    # A link that would open elsewhere is a popup, which the sandbox refuses.
    "<base target='_blank'>"
)
_PAGE_STYLE = (
    # White, whatever the theme: pages set dark text far more often than a background for it.
    "<style>:root{color-scheme:light;background:#fff;color:#1b1b1b}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:12px}x-a{color:#0550ae;text-decoration:underline}</style>"
)
_OUTER_STYLE = (
    "<style>html,body{margin:0;height:100%;background:#fff;overflow:hidden}"
    "iframe{display:block;border:0;width:100%;height:100%}</style>"
)

# Tags by which a document reaches out: one that stands alone becomes a place where a line may be folded, one
# around something a tag that HTML does not know.
_ALONE = re.compile(r"<(/?)(?:link|meta|base|embed|frame)(?=[\s/>])", re.IGNORECASE)
_AROUND = re.compile(
    r"<(/?)(?=(?:a|area|iframe|frameset|fencedframe|portal|object|applet)[\s/>])", re.IGNORECASE
)
_FENCE = re.compile(
    r"(?:\A|\n)(`{3,}|~{3,})[ \t]*(?:html?|xhtml|svg)?[ \t]*\n(.*?)(?:\n\1[ \t]*(?=\n|\Z)|\Z)", re.DOTALL
)


def page_of(text: str) -> str:
    """The HTML in an answer: what its first fence holds, else all of it.

    >>> page_of("Here it is:\\n```html\\n<p>x</p>\\n```\\nEnjoy."), page_of("<p>x</p>")
    ('<p>x</p>', '<p>x</p>')
    """
    text = plain(text)
    fenced = _FENCE.search(text) if not text.lstrip().startswith("<") else None
    return fenced[2] if fenced else text


def frame_html(page: str, *, title: str) -> str:
    """A page of a model's as a frame.

    Args:
        page: HTML of any origin.
        title: What a screen reader calls the frame.
    """
    inner = _HEAD + _PAGE_STYLE + _AROUND.sub(r"<\1x-", _ALONE.sub(r"<\1wbr", plain(page)))
    outer = f"{_HEAD}{_OUTER_STYLE}{_frame(inner, title)}"
    return f"<div class='lf-frame'>{_frame(outer, title)}</div>"


def _frame(document: str, title: str) -> str:
    return (
        f"<iframe sandbox='' referrerpolicy='no-referrer' title='{html.escape(title)}' "
        f"srcdoc='{html.escape(document)}'></iframe>"
    )
