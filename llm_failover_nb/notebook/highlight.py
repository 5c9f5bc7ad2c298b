"""Code as HTML in the colours of the notebook's theme. Pure functions of text; the colours are `style.py`'s.

A model wrote the code, and named its language: only a short list of lexers is used, each known to be quick
whatever it reads. All that comes out is the code, escaped, in spans with a class of ours.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from llm_failover_nb.notebook.text import plain

if TYPE_CHECKING:
    from pygments.lexer import Lexer

__all__ = ["code_block", "coloured"]

# Longer code keeps one colour: colouring it would hold up the kernel.
_LONGEST = 20_000

# How a fence may name a language -> the module and class of its lexer in Pygments.
_PYTHON, _CONSOLE = ("python", "PythonLexer"), ("python", "PythonConsoleLexer")
_SHELL, _JSON, _SQL = ("shell", "BashLexer"), ("data", "JsonLexer"), ("sql", "SqlLexer")
_JAVASCRIPT, _TOML, _R = ("javascript", "JavascriptLexer"), ("configs", "TOMLLexer"), ("r", "SLexer")
_LANGUAGES = {
    **dict.fromkeys(("python", "py", "python3", "ipython", "ipython3"), _PYTHON),
    **dict.fromkeys(("pycon", "python-console"), _CONSOLE),
    **dict.fromkeys(("bash", "sh", "shell", "zsh"), _SHELL),
    **dict.fromkeys(("json", "jsonl", "json5"), _JSON),
    **dict.fromkeys(("javascript", "js"), _JAVASCRIPT),
    **dict.fromkeys(("r", "rlang"), _R),
    "sql": _SQL,
    "toml": _TOML,
}

# Kinds of Pygments' tokens, the narrow before the wide -> our classes.
_CLASSES = {
    "Token.Keyword.Constant": "lf-a",
    "Token.Keyword": "lf-k",
    "Token.Operator.Word": "lf-k",
    "Token.Name.Builtin": "lf-b",
    "Token.Name.Function": "lf-d",
    "Token.Name.Class": "lf-d",
    "Token.Name.Tag": "lf-d",
    "Token.Name.Decorator": "lf-m",
    "Token.Comment": "lf-c",
    "Token.Literal.String": "lf-s",
    "Token.Literal.Number": "lf-n",
    "Token.Generic.Prompt": "lf-m",
}


def coloured(code: str, language: str) -> str:
    """Code as HTML, in colours where the language is known and the code of a length that people read.

    >>> coloured("x = '<b>'", "python")
    "x = <span class='lf-s'>&#x27;&lt;b&gt;&#x27;</span>"
    >>> coloured("x < 1", "brainfuck")
    'x &lt; 1'
    """
    text = plain(code)
    lexer = _lexer(language.strip().lower())
    if lexer is None or len(text) > _LONGEST:
        return html.escape(text)
    return "".join(_span(kind, "".join(pieces)) for kind, pieces in _runs(lexer, text))


def code_block(code: str, language: str) -> str:
    """Code that stands for itself."""
    return f"<div class='lf-answer mathjax_ignore'><pre><code>{coloured(code, language)}</code></pre></div>"


@functools.cache
def _lexer(language: str) -> Lexer | None:
    if language not in _LANGUAGES:
        return None
    from importlib import import_module  # a lexer is loaded with the first code of its language

    module, name = _LANGUAGES[language]
    lexer: Lexer = getattr(import_module(f"pygments.lexers.{module}"), name)(stripnl=False, ensurenl=False)
    return lexer


def _runs(lexer: Lexer, text: str) -> Iterator[tuple[str, Iterator[str]]]:
    """The text in pieces of one class each, in order."""
    tokens = ((_class(str(kind)), piece) for kind, piece in lexer.get_tokens(text))
    for kind, run in groupby(tokens, key=lambda token: token[0]):
        yield kind, (piece for _, piece in run)


@functools.cache
def _class(kind: str) -> str:
    return next((ours for theirs, ours in _CLASSES.items() if f"{kind}.".startswith(f"{theirs}.")), "")


def _span(kind: str, text: str) -> str:
    return f"<span class='{kind}'>{html.escape(text)}</span>" if kind else html.escape(text)
