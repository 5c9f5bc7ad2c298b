"""What failed, for ``%llm explain``: in a cell, in a variable, last of all. Nothing is shown or decided here.

What a failure means, and what to do, is the engine's to say; this finds the failures and sorts its words.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import cast

from llm_failover_nb.engine.errors import AllModelsFailed, FailoverError
from llm_failover_nb.engine.events import AttemptRecord, EventLog, FailoverEvent, process_log
from llm_failover_nb.engine.explain import explain
from llm_failover_nb.notebook.arguments import ArgumentError
from llm_failover_nb.notebook.render import Row
from llm_failover_nb.notebook.variables import value_at

__all__ = ["CellFailed", "CellLog", "Failures", "in_variable", "last_error", "of_plain_cell"]


class CellFailed(FailoverError):
    """No model answered a cell. The failure itself, such as ``AllModelsFailed``, is ``__cause__``.

    IPython prints a group of exceptions, which ``AllModelsFailed`` is, past the cell's error output. This is
    no group: the cell gets a short error output, at which nbclient and papermill stop.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0])
        self.lines = lines

    def _render_traceback_(self) -> list[str]:
        return self.lines


class CellLog(EventLog):
    """What one cell adds to the process's log, and which models it left."""

    def __init__(self) -> None:
        super().__init__()
        self._left: list[FailoverEvent] = []

    def append(self, record: AttemptRecord) -> None:
        super().append(record)
        process_log.append(record)

    def left(self, event: FailoverEvent) -> None:
        """Note that a model was left; an observer of the cell's chain."""
        self._left.append(event)

    def failures(self, cell: str, ended: BaseException | None) -> Failures:
        """What failed in the cell, in order.

        Args:
            cell: Its number.
            ended: What it ended with; ``None`` where a model answered.
        """
        answered = next((record.model for record in self if record.outcome == "ok"), "")
        title = f"what failed in cell {cell}{f' before {answered} answered' if answered else ''}"
        left = tuple((event.model, event.error) for event in self._left)
        if isinstance(ended, AllModelsFailed):
            left = ()  # it holds them all, and those that could not be asked
        elif any(ended is error for _, error in left):
            ended = None
        return Failures(title, (*left, *(_apart(ended) if ended is not None else ())))


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures, and whose they are.

    Args:
        title: Whose they are, in a few words.
        errors: Each with the spec of its model; empty where the error itself knows, or there is none.
    """

    title: str
    errors: tuple[tuple[str, BaseException], ...]

    def rows(self) -> tuple[Row, ...]:
        """One a failure: what it was, and what to do."""
        return tuple(row for spec, error in self.errors for row in _rows(spec, error))


def in_variable(path: str, namespace: Mapping[str, object]) -> Failures:
    """The exception that a variable holds.

    Args:
        path: The variable's name, or a path of attributes such as ``error.__cause__``.
        namespace: The notebook's variables.

    Raises:
        ArgumentError: When there is no such variable or attribute, or it holds no exception.
    """
    name = path.partition(".")[0]
    gone = f"what `except … as {name}` binds is gone after its block: keep it, as in failure = {name}"
    value = value_at(path, namespace, fits=lambda one: isinstance(one, BaseException), otherwise=gone)
    if not isinstance(value, BaseException):
        raise ArgumentError(
            f"{path} is no exception but a {type(value).__name__}; "
            "%llm explain alone explains what failed last"
        )
    return Failures(f"{path}: {type(value).__name__}", tuple(_apart(value)))


def last_error() -> Failures | None:
    """The notebook's last exception, where there was one."""
    error: object = getattr(sys, "last_value", None)
    if not isinstance(error, BaseException):
        return None
    return Failures(f"the last error of the notebook: {type(error).__name__}", tuple(_apart(error)))


def of_plain_cell(error: BaseException | None) -> Failures | None:
    """What ended a cell that called a chain from Python; ``None`` where that was no failure of a model.

    A ``%%llm`` cell knows its own failures.
    """
    if not isinstance(error, FailoverError) or isinstance(error, CellFailed):
        return None
    return Failures(f"what ended the last call in Python: {type(error).__name__}", tuple(_apart(error)))


def _apart(error: BaseException, spec: str = "") -> Iterator[tuple[str, BaseException]]:
    """The failures that an exception stands for, each with the spec of its model as far as it is known."""
    if isinstance(error, CellFailed) and error.__cause__ is not None:
        yield from _apart(error.__cause__)
    elif isinstance(error, BaseExceptionGroup):
        specs = error.specs if isinstance(error, AllModelsFailed) else ()
        for one, its in zip_longest(error.exceptions, specs[: len(error.exceptions)], fillvalue=""):
            yield from _apart(cast("BaseException", one), str(its))
    else:
        yield spec, error


def _rows(spec: str, error: BaseException) -> Iterator[Row]:
    name = spec or str(getattr(error, "model", "")) or type(error).__name__
    # What comes with a spec is a model's failure, whatever its type; a group is how to say so.
    known = AllModelsFailed("", [error], [spec]) if spec and isinstance(error, Exception) else error
    lines = explain(known).splitlines()
    for what, remedy in zip_longest(lines[::2], lines[1::2], fillvalue=""):
        yield Row(name, what.removeprefix(f"{name}: "), then=remedy)
