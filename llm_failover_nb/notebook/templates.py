"""``{{ expression }}`` in a prompt: where one stands, which names it sees, and what an error says.

Only these braces are special: ``{%``, ``{#``, single braces, JSON and LaTeX are plain text, and what is
inserted is never read again. How an expression is worked out is `expressions.py`'s, and what a value is as
text `values.py`'s; Jinja is loaded by the first text that has an expression.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, cast

from IPython.core.error import UsageError

from llm_failover_nb.engine.secret import MASK, redact
from llm_failover_nb.notebook.arguments import ArgumentError
from llm_failover_nb.notebook.values import Block, as_text

if TYPE_CHECKING:
    from types import TracebackType

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["LAST_ERROR_BUDGET", "TemplateError", "fill", "notebook_names"]

LAST_ERROR_BUDGET = 6_000
"""The most characters of ``last_error``: some 1,500 tokens, which hold the first frames and the last."""

_OPEN = "{{"
_RAW = "raw=on sends braces as they are"
# Characters of an expression in a message.
_SHOWN = 80

# A string as Jinja reads it, or one sign.
_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|.""", re.DOTALL)
_PAIRS = {"(": ")", "[": "]", "{": "}"}

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A variable that by its name holds a key.
_KEY_NAME = re.compile(r"(?:^|_)(?:api_?key|key|secret|token|passw(?:or)?d|credentials?)$", re.IGNORECASE)
_SHORTEST_KEY = 8
_DIGIT = re.compile(r"\d")
# What IPython puts into every notebook, and no user means.
_IPYTHONS_OWN = {"exit", "get_ipython", "open", "quit"}


class TemplateError(ArgumentError):
    """An expression of a prompt cannot be inserted; the message has its line, shows it and says why."""


def fill(text: str, names: Mapping[str, object], *, first_line: int = 2) -> str:
    """The text with each ``{{ expression }}`` replaced by its value.

    An expression is Jinja's: names, attributes, items, calls, filters such as ``df | full``. It sees what
    ``names`` holds, modules left out, and ``len min max sum sorted round abs str int float list dict set
    tuple range enumerate zip repr any all``; a name in ``names`` goes first, and is looked up once. Values
    become text as :func:`~llm_failover_nb.notebook.values.as_text` says; ``None`` becomes ``None``, since a
    gap would go unseen; a table stands on lines of its own. Everything else stays to the letter.

    Args:
        text: The prompt.
        names: What expressions may name, such as :func:`notebook_names`.
        first_line: The line of the cell at which the text begins, for messages.

    Raises:
        TemplateError: When an expression cannot be read, names what is not there, fails, or has no text to
            insert; what it failed with is the cause.

    >>> fill("{{ planet | upper }} has {braces} and {% signs %}", {"planet": "Mars"})
    'MARS has {braces} and {% signs %}'
    """
    if _OPEN not in text:
        return text
    from llm_failover_nb.notebook import expressions  # with Jinja, which most cells do without

    known = _LookedUpOnce(names)
    parts: list[str] = []
    done = 0
    while (start := text.find(_OPEN, done)) >= 0:
        line = first_line + text.count("\n", 0, start)
        end = _end(text, start + len(_OPEN))
        if end < 0:
            raise _error(line, text[start:].split("\n")[0], "the braces are opened and never closed")
        source = text[start + len(_OPEN) : end]
        try:
            value = expressions.evaluate(source, known)
            inserted = _insertable(value, source)
        except Exception as error:
            at = line + expressions.line_of(error) - 1
            raise _error(at, text[start : end + 2], expressions.words(error)) from error
        before, done = text[done:start], end + len("}}")
        if isinstance(inserted, Block):
            inserted = _on_its_own_lines(inserted, text, start, done)
        parts += (before, inserted)
    return "".join((*parts, text[done:]))


def _end(text: str, start: int) -> int:
    """Where the braces close that were opened before ``start``: not those in a string or a dict; else -1."""
    within: list[str] = []
    for match in _TOKEN.finditer(text, start):
        sign = match[0]
        if sign in _PAIRS:
            within.append(_PAIRS[sign])
        elif within and sign == within[-1]:
            within.pop()
        elif sign == "}" and text.startswith("}}", match.start()):
            return match.start()
    return -1


def _error(line: int, shown: str, why: str) -> TemplateError:
    one_line = " ".join(shown.split())
    short = one_line if len(one_line) <= _SHOWN else f"{one_line[: _SHOWN - 1]}…"
    return TemplateError(redact(f"line {line}, {short}: {why}; {_RAW}"))


def _on_its_own_lines(block: str, text: str, start: int, end: int) -> str:
    """A block with what keeps it apart from the text of its line: in Markdown, a table begins after a gap."""
    before = text[:start].rpartition("\n")[2].strip()
    after = text[end:].partition("\n")[0].strip()
    gap = "\n\n"
    return f"{gap if before else ''}{block}{gap if after else ''}"


def _insertable(value: object, source: str) -> str:
    """The value as text.

    Raises:
        ArgumentError: When it is nothing to read, such as a method that was not called.
    """
    name = source.strip()
    if inspect.isroutine(value):
        raise ArgumentError(f"this is a function that is not called; write {_OPEN} {name}() }}}}")
    if isinstance(value, type):
        raise ArgumentError(f"this is the class {value.__name__} itself; insert what is made with it")
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()  # else Python would warn that nobody awaited it
        raise ArgumentError("this is to be awaited first; await it in a cell above and insert the variable")
    if isinstance(value, Iterator):
        kind = type(value).__name__
        raise ArgumentError(f"a {kind} hands out its items only once; write {_OPEN} {name} | list }}}}")
    return as_text(value, expression=source)


class _LookedUpOnce(Mapping[str, object]):
    """Names of which each value is asked for once, however often a text uses it."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = names
        self._known: dict[str, object] = {}

    def __getitem__(self, name: str) -> object:
        if name not in self._known:
            self._known[name] = self._names[name]
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


# The names of a notebook


def notebook_names(shell: InteractiveShell, *, error: BaseException | None = None) -> Mapping[str, object]:
    """The variables of a notebook, read when they are used.

    ``In`` holds what was typed, ``Out`` what the cells put out, and ``last_error`` is the last traceback as
    plain text with keys masked, of at most ``LAST_ERROR_BUDGET`` characters. Names that the user has bound
    anew are the user's.

    Args:
        shell: Whose notebook it is.
        error: What failed last, where the caller knows; else what IPython has kept, which is nothing of
            a group of exceptions that is followed by a cell that succeeds.
    """
    return _NotebookNames(shell, error)


class _NotebookNames(Mapping[str, object]):
    def __init__(self, shell: InteractiveShell, error: BaseException | None) -> None:
        self._shell = shell
        self._error = error
        self._variables = cast("dict[str, object]", shell.user_ns)
        self._made: dict[str, Callable[[], object]] = {"last_error": self._last_error}
        self._ipythons: dict[str, object] = {}
        if (history := shell.history_manager) is not None:
            self._made["In"] = lambda: _Typed(history.input_hist_raw)
            self._made["Out"] = lambda: _PutOut(history.output_hist)
            self._ipythons = {"In": history.input_hist_parsed, "Out": history.output_hist}

    def __getitem__(self, name: str) -> object:
        if name in self._made and not self._is_bound_anew(name):
            return self._made[name]()
        if self._is_hidden(name):
            raise KeyError(name)
        return self._variables[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made or (name in self._variables and not self._is_hidden(name))

    def __iter__(self) -> Iterator[str]:
        hidden = self._shell.user_ns_hidden
        for name, value in [*self._variables.items()]:
            seen = not name.startswith("_") and not isinstance(value, ModuleType)
            if seen and name not in self._made and value is not hidden.get(name, self):
                yield name
        yield from self._made

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _is_bound_anew(self, name: str) -> bool:
        return name in self._variables and self._variables[name] is not self._ipythons.get(name)

    def _is_hidden(self, name: object) -> bool:
        hidden = self._shell.user_ns_hidden
        return name in _IPYTHONS_OWN and name in hidden and self._variables.get(name) is hidden[name]

    def _last_error(self) -> str:
        error = self._error or _kept_by(self._shell)
        if error is None:
            raise ArgumentError("nothing has failed in this notebook yet, so there is no last_error")
        text = _COLOURS.sub("", "\n".join(_lines_of(error, self._shell))).strip("\n")
        return _without_middle(_masked(text, self._variables))


class _Typed(list[str]):
    """What was typed into the cells, by their numbers."""

    def __getitem__(self, number: object) -> object:  # type: ignore[override]  # an index or a slice, either way
        try:
            return super().__getitem__(cast("int", number))
        except IndexError:
            raise ArgumentError(f"there is no cell {number}; In has cells 1 to {len(self) - 1}") from None


class _PutOut(dict[int, object]):
    """What the cells put out, by their numbers."""

    def __missing__(self, number: int) -> object:
        there = [f"Out[{cell}]" for cell in self]
        if not there:
            raise ArgumentError(f"cell {number} has no output, and no other has one yet")
        more = f" and {len(there) - 5:,} before" if len(there) > 5 else ""
        verb = "is" if len(there) == 1 else "are"
        raise ArgumentError(f"cell {number} has no output; there {verb} {', '.join(there[-5:])}{more}")


# The last error


def _kept_by(shell: InteractiveShell) -> BaseException | None:
    """The last exception of a notebook: of the cell before, or the one that IPython keeps for ``%debug``."""
    result = getattr(shell, "last_execution_result", None)
    for error in (
        getattr(result, "error_in_exec", None),
        getattr(result, "error_before_exec", None),
        getattr(sys, "last_value", None),
    ):
        if isinstance(error, BaseException):
            return error
    return None


def _lines_of(error: BaseException, shell: InteractiveShell) -> list[str]:
    if lines := _own_lines(error):
        return lines
    if isinstance(error, UsageError):
        return [f"UsageError: {error}"]
    trace = traceback.TracebackException(type(error), error, _of_user(error.__traceback__))
    _name_cells(trace, shell)
    return "".join(trace.format()).splitlines()


def _own_lines(error: BaseException) -> list[str]:
    """The lines that an exception gives of itself, by IPython's protocol: a failed ``%%llm`` cell does."""
    own = getattr(error, "_render_traceback_", None)
    try:
        return list(map(str, own())) if callable(own) else []
    except Exception:  # noqa: BLE001  # somebody's code, without which the traceback remains
        return []


def _of_user(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames by which IPython came to run the cell."""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in {"IPython", "ipykernel"}:
            break
        trace = trace.tb_next
    return trace


def _name_cells(trace: traceback.TracebackException, shell: InteractiveShell) -> None:
    """Put the cell's number in the place of the file that IPython pretends it is in."""
    for frame in trace.stack:
        frame.filename = _cell_name(frame.filename, shell)
    if isinstance(getattr(trace, "filename", None), str):  # of a SyntaxError
        trace.filename = _cell_name(trace.filename, shell)
    for other in (trace.__cause__, trace.__context__, *(trace.exceptions or ())):
        if other is not None:
            _name_cells(other, shell)


def _cell_name(filename: str, shell: InteractiveShell) -> str:
    named = shell.compile.format_code_name(filename)
    return " ".join(named) if named else filename


def _masked(text: str, variables: Mapping[str, object]) -> str:
    """The text without keys: those in use, and what variables hold that are named like one."""
    text = redact(text)
    keys = {value for name, value in os.environ.items() if _KEY_NAME.search(name) and _is_key(value)}
    for name, value in [*variables.items()]:
        # A notebook's `key` may as well be one of a dict: there the value has to look like a secret.
        if isinstance(value, str) and _KEY_NAME.search(name) and _is_key(value) and _DIGIT.search(value):
            keys.add(value)
    for key in sorted(keys, key=len, reverse=True):
        text = text.replace(key, MASK)
    return text


def _is_key(value: str) -> bool:
    return len(value) >= _SHORTEST_KEY and not any(map(str.isspace, value))


def _without_middle(text: str) -> str:
    """The head of a traceback and its last frames, in whole lines as far as they are not endless."""
    if len(text) <= LAST_ERROR_BUDGET:
        return text
    room = LAST_ERROR_BUDGET - 60  # for the line between
    head, tail = text[: room // 3], text[-(room - room // 3) :]
    head, tail = head.rpartition("\n")[0] or head, tail.partition("\n")[2] or tail
    left = len(text) - len(head) - len(tail)
    return f"{head}\n… {left:,} characters left out …\n{tail}"
