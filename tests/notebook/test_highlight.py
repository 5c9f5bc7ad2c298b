"""Code in colours: the code stays what it is, and no code is slow."""

from __future__ import annotations

import html
import re
from time import perf_counter

import pytest

from llm_failover_nb.notebook.highlight import code_block, coloured

LANGUAGES = ["python", "pycon", "bash", "json", "javascript", "r", "sql", "toml"]
CODE = 'x = \'<script>alert(1)</script>\'  # "&amp;\n\n\tif a < b: {"k": [1, null]}\n'


@pytest.mark.parametrize("language", [*LANGUAGES, "brainfuck", "", "../os"])
def test_the_code_stays(language: str) -> None:
    """Without the spans it is the code to the letter, and there is nothing but spans of ours."""
    shown = coloured(CODE, language)

    assert html.unescape(re.sub(r"</?span[^>]*>", "", shown)) == CODE
    assert set(re.findall(r"<[^>]*>", shown)) <= {"</span>", *(f"<span class='lf-{c}'>" for c in "kabdsncm")}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "piece",
    ['"', "'", "\\", "(", "{", "[", "/", "/*", "$(", "<<a\n", "-", "`", "a", "0", "'''", "f'{", ">>> ", "\t"],
)
def test_no_code_is_slow(language: str, piece: str) -> None:
    """Also of code that was made to be."""
    start = perf_counter()
    coloured((piece * 20_000)[:20_000], language)

    assert perf_counter() - start < 3


def test_long_code_keeps_one_colour() -> None:
    """Nobody reads so much, and colouring it would take long."""
    assert "<span" not in coloured("x = 1\n" * 20_000, "python")


def test_block() -> None:
    """Code that stands for itself."""
    assert code_block("1", "json") == (
        "<div class='lf-answer mathjax_ignore'><pre><code><span class='lf-n'>1</span></code></pre></div>"
    )
