"""An answer while it still comes. Made many times a second, so nothing is laid out here."""

from __future__ import annotations

from llm_failover_nb.engine.events import FailoverEvent
from llm_failover_nb.notebook.render.page import escaped, joined, one_line, preformatted, whole_page
from llm_failover_nb.notebook.render.style import LIVE_STYLE
from llm_failover_nb.notebook.render.words import is_not_installed

__all__ = [
    "left_words",
    "live_html",
    "live_text",
]


def left_words(event: FailoverEvent) -> str:
    """That a model was left, as long as the next one has not said anything."""
    return f"{event.model} {'is not installed' if is_not_installed(event.error) else 'failed'}"


def live_html(
    text: str, *, abandoned: str = "", doing: str = "", thought: str = "", thinking: str = ""
) -> str:
    """An answer that is still coming; cheap, since it is made many times a second.

    Args:
        text: What has come.
        abandoned: What had come from a model that failed; nothing replaces it yet.
        doing: What is being waited for.
        thought: How much thinking has come, in words.
        thinking: The end of it, while it is all that comes: all of it can be unfolded in the final output.
    """
    parts = []
    if abandoned:
        parts.append(f"<div class='lf-live mathjax_ignore'><del>{escaped(abandoned)}</del></div>")
    if thought:
        words = f"thinking, {escaped(thought)}" if text else f"thinking … {escaped(thought)}"
        parts.append(f"<p class='lf-small mathjax_ignore'>{words}</p>")
    if thinking and not text:
        parts.append(f"<div class='lf-small lf-tail mathjax_ignore'><div>{escaped(thinking)}</div></div>")
    if text:
        parts.append(preformatted(text))
    if doing:
        parts.append(f"<p class='lf-small lf-wait mathjax_ignore'>{escaped(one_line(doing))}</p>")
    return whole_page(*parts, style=LIVE_STYLE)


def live_text(text: str, *, abandoned: str = "", doing: str = "", thought: str = "") -> str:
    """:func:`live_html` for a terminal."""
    mark = f"[abandoned] {abandoned}" if abandoned else ""
    thinking = f"thinking … {thought}" if thought and not text else ""
    return joined(filter(None, (mark, thinking, text, one_line(doing))))
