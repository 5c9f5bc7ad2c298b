"""The page that every output stands in, and how texts of others get into it. No output as such here.

What models and providers wrote is untrusted: a front end runs what it finds in a fresh output. An answer
passes `markdown.py`, `highlight.py` or `frame.py`; every other text is escaped. All of them pass `text.py`'s
``plain``, on the way into HTML and into plain text alike.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from llm_failover_nb.engine.secret import redact
from llm_failover_nb.notebook.render.style import STYLE
from llm_failover_nb.notebook.text import plain

__all__ = [
    "LONGEST_ERROR",
    "escaped",
    "failed_note",
    "foldable",
    "joined",
    "note_html",
    "one_line",
    "preformatted",
    "small",
    "whole_page",
]

# An error's text in a table; a provider may send pages.
LONGEST_ERROR = 300

# The parts of names, addresses and variables, each with the sign that ends it.
_PARTS = re.compile(r"[^/._-]*[/._-]+|[^/._-]+")

# They reverse the order of what follows on a line: fit to forge names.
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


# Texts of others


def one_line(text: str, longest: int = LONGEST_ERROR) -> str:
    """A name or a message in one line that cannot pretend to be anything else, secrets masked."""
    line = " ".join(_DIRECTIONS.sub("", plain(redact(text))).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def escaped(text: str) -> str:
    """A text as HTML that is that text."""
    return html.escape(plain(text), quote=True)


def foldable(text: str) -> str:
    """A name, an address or a variable, which a narrow column folds between its parts rather than within."""
    return "<wbr>".join(map(escaped, _PARTS.findall(one_line(text))))


def joined(lines: Iterable[str]) -> str:
    """Lines for a terminal."""
    return plain("\n".join(lines))


# Around them


def whole_page(*parts: str, style: str = STYLE) -> str:
    """One output."""
    return f"<div class='llm-failover'>{style}{''.join(parts)}</div>"


def small(*parts: str) -> str:
    """Words of ours, which are smaller than an answer's."""
    return f"<div class='lf-small mathjax_ignore'>{''.join(parts)}</div>"


def preformatted(text: str) -> str:
    """A text as it came, its lines folded where they are too long."""
    return f"<div class='lf-live mathjax_ignore'>{escaped(text)}</div>"


def note_html(note: str) -> str:
    """A note beside an answer; nothing where there is none."""
    return f"<p class='lf-note lf-small mathjax_ignore'>{escaped(one_line(note))}</p>" if note else ""


def failed_note(what: str) -> str:
    """That something has failed."""
    return f"<p class='lf-note lf-failed mathjax_ignore'>{escaped(one_line(what))}</p>"
