"""What a cell shows, as HTML and as plain text: pure functions of data. No IPython, no state, no decision.

Only the markup in this package is ours; whatever others wrote gets in through `page.py`, `markdown.py`,
`highlight.py` and `frame.py`.
"""

from __future__ import annotations

from llm_failover_nb.notebook.render.answer import (
    answer_html,
    answer_text,
    interrupted_words,
    partial_html,
    partial_text,
    response_html,
    response_text,
)
from llm_failover_nb.notebook.render.board import board_html, board_text
from llm_failover_nb.notebook.render.failure import failure_html, failure_lines, failure_text
from llm_failover_nb.notebook.render.progress import left_words, live_html, live_text
from llm_failover_nb.notebook.render.rows import Row, failed_rows, passed_rows
from llm_failover_nb.notebook.render.tables import (
    HelpPart,
    Listed,
    Listing,
    Mark,
    Standing,
    Standings,
    TableRow,
    explained_html,
    explained_text,
    help_html,
    help_text,
    listing_html,
    listing_text,
    status_html,
    status_text,
    table_html,
    table_text,
)
from llm_failover_nb.notebook.render.words import bench_words, words_or_characters

__all__ = [
    "HelpPart",
    "Listed",
    "Listing",
    "Mark",
    "Row",
    "Standing",
    "Standings",
    "TableRow",
    "answer_html",
    "answer_text",
    "bench_words",
    "board_html",
    "board_text",
    "explained_html",
    "explained_text",
    "failed_rows",
    "failure_html",
    "failure_lines",
    "failure_text",
    "help_html",
    "help_text",
    "interrupted_words",
    "left_words",
    "listing_html",
    "listing_text",
    "live_html",
    "live_text",
    "partial_html",
    "partial_text",
    "passed_rows",
    "response_html",
    "response_text",
    "status_html",
    "status_text",
    "table_html",
    "table_text",
    "words_or_characters",
]
