"""The code in an answer: nothing that may be code is lost, and no prose becomes code."""

from __future__ import annotations

import ast
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.notebook.code_blocks import code_of

CODE = "def f(x):\n    return x + 1"


def commented(text: str) -> str:
    """A text as a comment."""
    return "\n".join(f"# {line}".rstrip() for line in text.split("\n"))


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{CODE}\n```",
        f"Sure:\n\n```python\n{CODE}\n```\n\nThat adds one.",
        f"```py\n{CODE}\n```",
        f"```Python title='f.py'\n{CODE}\n```",
        f"```{{.python .numberLines}}\n{CODE}\n```",
        f"```{{python}}\n{CODE}\n```",
        f"~~~python\n{CODE}\n~~~",
        f"`````python\n{CODE}\n`````",
        f"```\n{CODE}\n```",
        f"Sure:\n```python\n{CODE}",
        f"Sure:\n```python\n{CODE}\n```".replace("\n", "\r\n"),
        f"Sure:\n```python\n{CODE}\n```".replace("\n", "\r"),
        "1. So:\n\n    ```python\n    def f(x):\n        return x + 1\n    ```",
        "So:\n\n      ```python\n      def f(x):\n          return x + 1\n      ```",
        "```python\n    def f(x):\n        return x + 1\n```",
        "> ```python\n> def f(x):\n>     return x + 1\n> ```",
        f"<details>\n```python\n{CODE}\n```\n</details>",
        f"````markdown\n# Title\n```python\n{CODE}\n```\nMore.\n````",
        f"```md\nText\n\n~~~python\n{CODE}\n~~~\n```",
        f"```bash\npip install x\n```\n```python\n{CODE}\n```",
        f"```\noutput\n```\n```python\n{CODE}\n```",
        "```pycon\n>>> def f(x):\n...     return x + 1\n```",
        "```python\n>>> def f(x):\n...     return x + 1\n```",
        ">>> def f(x):\n...     return x + 1",
        CODE,
        f"\n\n{CODE}\n\n",
        f"```python\n{CODE}\x00\x1b\x07\n```",
        f"```python\n{CODE}\u202e\n```",
    ],
)
def test_code_is_found(answer: str) -> None:
    """However the model has wrapped it."""
    assert code_of(answer) == CODE


def test_blocks_are_joined_by_a_blank_line() -> None:
    """In order; empty ones leave no trace."""
    answer = "First\n```python\nx = 1\n```\nthen\n```python\n\n```\n```py\n\ny = 2\n\n```"
    assert code_of(answer) == "x = 1\n\ny = 2"


def test_marked_code_is_taken_as_it_is() -> None:
    """A cut answer need not be whole Python, and the person will see why."""
    assert code_of("```python\ndef f(:\n```") == "def f(:"


def test_blocks_without_a_mark_that_are_no_python_become_comments() -> None:
    """Where others are, they may be what it prints."""
    assert code_of("```\nx = 1\n```\nprints\n```\nall is well\n```") == "x = 1\n\n# all is well"


def test_output_between_prompts_becomes_a_comment() -> None:
    """It is no code, and not lost."""
    answer = "```python\n>>> x = [1,\n...      2]\n>>> x\n[1, 2]\n>>> if x:\n...     x\n...\n```"
    assert code_of(answer) == "x = [1,\n     2]\nx\n# [1, 2]\nif x:\n    x"


def test_fences_within_code_are_the_codes() -> None:
    """A docstring may hold Markdown."""
    code = 'def f():\n    """Add.\n\n    ```python\n    f()\n    ```\n    """'
    assert (code_of(code), code_of(f"````python\n{code}\n````")) == (code, code)


def test_blank_lines_in_code_stay() -> None:
    """Also those in its texts."""
    code = 'x = """\n  \n\n"""\n\n\ny = 1'
    assert code_of(f"```python\n{code}\n```") == code


@pytest.mark.parametrize(
    "code",
    [
        "%pip install pandas",
        "!pip install pandas",
        "%matplotlib inline\nimport pandas as pd\ndf = pd.DataFrame()\ndf",
        "files = !ls\nprint(files)",
        "took = %timeit -o sum([1])",
        "!pip install \\\n  pandas\nimport pandas",
        "import os\nos.path?",
        "%%bash\nls -l\necho done",
        "%%time\nprint(1)",
        '"""Adds."""\nimport os',
        "print('hi')",
        "await fetch(1)",
        "x = 1\nassert x\ndel x\nprint(2)",
        "df.groupby('a').sum()",
        "for x in y:\n    pass",
        "[f(x) for x in y]",
        'r = "\\d"',
        "print('ä', f(1))",
    ],
)
def test_a_text_that_can_only_be_code(code: str) -> None:
    """Models told to give code alone often leave the fence out, too."""
    assert code_of(code) == code


@pytest.mark.parametrize(
    "text",
    [
        "I cannot do that.",
        "Paris",
        "Paris\nLyon",
        "not sure",
        "nothing is wrong",
        "this or that, if anything else nothing",
        "Answer: Paris",
        "well-known",
        "e.g",
        "Paris (France)",
        "Zürich (Schweiz)",
        "Paris[1]",
        "42",
        "'quoted'",
        "global warming",
        "return home",
        "raise awareness",
        "del Rio",
        "pass",
        "yield results",
        "Really?",
        "Sure\nx = 1",
        "Sure: here\nx = 1",
        "% of people agree",
        "! important",
        "!Important",
        "a > b > c",
        "First line.\n\nimport os\n    \\",
        "```bash\nrm -r x\n```",
        "```\nThis is prose.\n```",
        "```\n```",
        "`x = 1` sets x.",
        "    x = 1, indented, and prose",
        "One.\u2028import os",
    ],
)
def test_what_may_be_prose_becomes_a_comment(text: str) -> None:
    """The whole of it, so that nothing is lost."""
    assert code_of(text) == commented(text)


def test_nothing_is_nothing() -> None:
    """An empty answer makes an empty cell."""
    assert (code_of(""), code_of("\n \n")) == ("", "")


def test_other_languages_have_their_own_blocks() -> None:
    """Nothing but a fence tells them from prose."""
    answer = "```python\nx = 1\n```\n```SQL\nselect 1\n```"
    assert (code_of(answer, "sql"), code_of("```\nselect 1\n```", "sql")) == ("select 1", "select 1")
    assert code_of("select 1", "sql") == "# select 1"


@pytest.mark.parametrize(
    "answer",
    [
        "(" * 50_000, "```" * 50_000, "```python\n" * 20_000, ">" * 50_000, "x = 1\n" * 30_000,
        "-" * 90_000 + "1", ("`" * 300 + "markdown\n") * 300, "!a\\\n" * 40_000, "x" * 99_000 + " = ",
        "a = " * 20_000, "a." * 40_000,
    ],
    ids=lambda answer: answer[:5],
)  # fmt: skip
def test_no_answer_holds_up_the_kernel(answer: str) -> None:
    """Neither by its depth nor by its length."""
    start = time.process_time()
    code_of(answer)
    assert time.process_time() - start < 5


def test_questionable_escapes_are_no_warning() -> None:
    """What a model writes is no fault of the notebook's."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert code_of('print("\\d")') == 'print("\\d")'


PIECES = st.sampled_from(
    ["```", "```python", "```md", "~~~", "\n", "\n\n", "x = 1", "Some words.", "  ", ">>> y"]
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text())
def test_no_prose_becomes_code(text: str) -> None:
    """Of any mixture: sentences never stand at the start of a line of what is Python."""
    code = code_of(text)
    assert "\x00" not in code
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        # Only what the model itself has marked as code need not be any.
        assert "```python" in text or "```md" in text or ">>>" in text
