"""The code in an answer, for a new cell: it loses nothing that may be code, and puts no prose as code.

Pure functions of text. Nothing is run, and nothing is repaired.
"""

from __future__ import annotations

import ast
import functools
import re
import textwrap
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from markdown_it import MarkdownIt

from llm_failover_nb.notebook.text import plain

__all__ = ["code_of"]

# What a fence may call a language; any other is called by its own name alone.
_NAMES = {
    "python": frozenset(("python", "python3", "py", "py3", "ipython", "ipython3", "pycon", "python-repl")),
}
_MARKDOWN = frozenset(("markdown", "md"))
# Blocks within blocks of Markdown are looked for so far.
_DEEPEST = 3

# Longer texts are not read as Python: that would hold up the kernel.
_LONGEST_PARSED = 100_000

# They make a line look like another one than the one that runs.
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")

_LANGUAGE = re.compile(r"[\s{.]*([\w+#-]*)")
_PROMPT = re.compile(r"[ \t]*(?:>>>|\.\.\.)(?: |$)")

# IPython's own lines. A percent sign or an exclamation mark before a word is one, beside a blank it is prose.
_CELL_MAGIC = re.compile(r"%%[a-zA-Z]")
_MAGIC = re.compile(r"^([ \t]*)(?:%[a-zA-Z]|![a-z~./${])(?:\\\n|[^\n])*", re.MULTILINE)
_ASSIGNED = re.compile(r"^([ \t]*\w+[ \t]*=[ \t]*)(?:%[a-zA-Z]|![a-z~./${])[^\n]*", re.MULTILINE)
_HELP = re.compile(r"^([ \t]*[\w.]+)\?{1,2}$", re.MULTILINE)

# Of these alone a sentence may consist that happens to be Python: "not sure", "Answer: Paris", "well-known".
_WORDS = (
    *(ast.Expr, ast.AnnAssign, ast.Name, ast.Constant, ast.JoinedStr, ast.Tuple, ast.BoolOp, ast.UnaryOp),
    *(ast.BinOp, ast.Compare, ast.IfExp, ast.Attribute, ast.Subscript, ast.Slice, ast.Starred, ast.List),
    *(ast.Set, ast.Yield, ast.Await, ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
    *(ast.Global, ast.Nonlocal, ast.Return, ast.Delete, ast.Raise, ast.Assert),
    *(ast.Pass, ast.Break, ast.Continue),
)


class _Block(NamedTuple):
    code: str
    language: str


def code_of(text: str, language: str = "python") -> str:
    """What of an answer goes into a new cell.

    The fenced blocks of the language, joined by blank lines; where none is marked with it, those without a
    mark. What no fence marks, such a block or a whole text, is code if it can hardly be prose, and otherwise
    becomes a comment. Prompts (``>>>``) are taken away; what stands
    between them becomes a comment. IPython's magics and shell lines are code.

    Args:
        text: The answer. A fence that is not closed goes to its end.
        language: As fences call it. Only Python is told from prose.

    >>> print(code_of("Try this:\\n\\n```python\\nx = 1\\n```\\n\\nIt sets x."))
    x = 1
    >>> print(code_of("I cannot do that."))
    # I cannot do that.
    """
    text = _DIRECTIONS.sub("", plain(text)).strip("\n")
    if language == "python" and _is_code(bare := _without_prompts(text)):
        return bare
    blocks = [block for block in _blocks(text) if block.code.strip()]
    names = _NAMES.get(language, {language})
    if marked := [block.code for block in blocks if block.language in names]:
        return "\n\n".join(marked)
    unmarked = [block.code for block in blocks if not block.language]
    if language == "python":
        fits = [_is_code(code) for code in unmarked]
        parts = [code if fit else _comment(code) for code, fit in zip(unmarked, fits, strict=True)]
        unmarked = parts if any(fits) else []
    return "\n\n".join(unmarked) if unmarked else _comment(text)


def _comment(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.split("\n")) if text.strip() else ""


# Blocks


def _blocks(text: str, depth: int = 0) -> Iterator[_Block]:
    """The fenced blocks in order, without prompts; those of a block of Markdown in its place."""
    for token in _markdown().parse(text):
        if token.type != "fence":
            continue
        found = _LANGUAGE.match(token.info)
        language = found[1].lower() if found is not None else ""
        if language in _MARKDOWN and depth < _DEEPEST:
            yield from _blocks(token.content, depth + 1)
        else:
            yield _Block(_without_prompts(_dedented(token.content)).strip("\n"), language)


@functools.cache
def _markdown() -> MarkdownIt:
    """Markdown's blocks alone. Without indented code, so that a fence may stand at any depth."""
    return MarkdownIt("commonmark", {"html": False}).disable(["code", "inline"])


def _dedented(code: str) -> str:
    return textwrap.dedent(code) if code.lstrip("\n")[:1].isspace() else code


def _without_prompts(code: str) -> str:
    """A session with its prompts taken away, and what Python answered as comments."""
    if not code.lstrip().startswith(">>>"):
        return code
    return "\n".join(_typed(line) for line in code.split("\n"))


def _typed(line: str) -> str:
    prompt = _PROMPT.match(line)
    return line[prompt.end() :] if prompt is not None else _comment(line)


# Python, or prose


def _is_code(text: str) -> bool:
    """Whether a text can hardly be prose: it is Python, and more of it than words."""
    if _CELL_MAGIC.match(text):
        return True
    source = _as_python(text)
    statements = _statements(source)
    if not statements:
        return False
    lines = [line.encode() for line in source.split("\n")]
    words = [_is_words(statement, lines) for statement in statements]
    # A cell may end with the name of what it shows; anywhere else a bare word is prose.
    return not all(words) and not any(
        is_words and _is_bare(statement)
        for statement, is_words in zip(statements[:-1], words[:-1], strict=True)
    )


def _is_words(statement: ast.stmt, lines: list[bytes]) -> bool:
    return all(_is_word(node, lines) for node in ast.walk(statement))


def _is_word(node: ast.AST, lines: list[bytes]) -> bool:
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    if isinstance(node, ast.Call):
        # "Paris (France)" is a call, too.
        return lines[(node.func.end_lineno or 1) - 1][node.func.end_col_offset or 0 :][:1] == b" "
    return isinstance(node, _WORDS)


def _is_bare(statement: ast.stmt) -> bool:
    """Whether it does nothing at all, other than a docstring."""
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.AnnAssign)


def _as_python(text: str) -> str:
    """A text of IPython's with calls in the place of what Python does not have."""
    return _HELP.sub(r"\1", _ASSIGNED.sub(r"\1magic()", _MAGIC.sub(r"\1magic()", text)))


def _statements(source: str) -> list[ast.stmt]:
    """The statements of a text; none when it is no Python, or too long to be read as such."""
    if len(source) > _LONGEST_PARSED:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a model's escapes in texts
            return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two of what is nested deeply
        return []
