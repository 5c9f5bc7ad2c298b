"""One ``%%llm`` cell from its question to its last output, blocking or awaited.

No decision about a model here: whom to ask, how often, and what a failure means is the engine's. How it looks
is `render`'s, and what the notebook keeps of it `magic.py`'s.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from llm_failover_nb.engine.bench import BenchedModel
from llm_failover_nb.engine.chain import Chain
from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.engine.portal import portal
from llm_failover_nb.engine.types import Chunk, Response
from llm_failover_nb.notebook import render
from llm_failover_nb.notebook.code_blocks import code_of
from llm_failover_nb.notebook.failures import CellFailed, CellLog
from llm_failover_nb.notebook.live import Live
from llm_failover_nb.settings.types import Format

if TYPE_CHECKING:
    from llm_failover_nb.engine.model import RequestFields

__all__ = ["CellRun", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """What one cell asks, and how things stood when it began.

    Args:
        chain: Whom.
        prompt: The text, filled in.
        fields: The other fields of the request.
        format: How the answer is shown.
        stream: Whether it is shown while it comes.
        out: Whether it will be bound to a name.
        note: One line to stand beside the answer.
        benched: The benches when the cell began.
        began: When that was, aware.
    """

    chain: Chain
    prompt: str
    fields: RequestFields
    format: Format
    stream: bool
    out: bool
    note: str
    benched: Sequence[BenchedModel]
    began: datetime


class CellRun:
    """Asks one question, shows what comes, and ends with the answer or with what failed.

    Args:
        question: What is asked.
        live: Where it is shown.
        log: The call's records, for what is told of a failure.

    ``code`` is what the answer has to be put into a new cell, where its format asks for that.
    """

    def __init__(self, question: Question, live: Live, log: CellLog) -> None:
        self._question = question
        self._live = live
        self._log = log
        self._response = Response()
        self.code = ""

    def ask(self) -> Response:
        """The answer, shown.

        Raises:
            CellFailed: When no model answered; that is shown, too.
            KeyboardInterrupt: When the kernel was interrupted; the request is closed, what has come stays.
        """
        with _Settling(self._settle_failure, self._settle_partial) as settling:
            self._ask()
        settling.conclude()
        return self._settle_answer()

    async def aask(self) -> Response:
        """:meth:`ask`, awaited: the kernel goes on serving while the package's own loop holds the request."""
        with _Settling(self._settle_failure, self._settle_partial) as settling:
            await portal.arun(self._aask())
        settling.conclude()
        return self._settle_answer()

    # The two ways to ask; they differ by await.

    def _ask(self) -> None:
        question = self._question
        if not question.stream:
            self._response = question.chain.complete(question.prompt, **question.fields)
            return
        self._begin()
        stream = cast("Generator[Chunk]", question.chain.stream(question.prompt, **question.fields))
        # An interrupt anywhere in here closes the request before anything else is done.
        with closing(stream) as chunks:
            for chunk in chunks:
                self._feed(chunk)

    async def _aask(self) -> None:
        question = self._question
        if not question.stream:
            self._response = await question.chain.acomplete(question.prompt, **question.fields)
            return
        self._begin()
        stream = cast("AsyncGenerator[Chunk]", question.chain.astream(question.prompt, **question.fields))
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                self._feed(chunk)

    def _begin(self) -> None:
        self._live.begin(f"asking {', then '.join(self._question.chain.specs)} …")

    def _feed(self, chunk: Chunk) -> None:
        if chunk.response is not None:
            self._response = chunk.response
        self._live.feed(chunk)

    # How it ends

    def _settle_answer(self) -> Response:
        response, note, shown_as = self._response, self._question.note, self._question.format
        if not response.reasoning and self._live.reasoning:
            # A provider may stream its thinking and leave it out of the whole answer.
            response = replace(response, reasoning=self._live.reasoning)
        passed = self._passed(response)
        self.code = code = code_of(response.text) if shown_as == "code" else ""
        self._live.finish(
            render.answer_html(
                response, passed=passed, note=note, format=shown_as, code=code, placed=bool(code)
            ),
            render.answer_text(
                response, passed=passed, note=note, format=shown_as, code=code, placed=bool(code)
            ),
        )
        return response

    def _settle_failure(self, failure: FailoverError) -> CellFailed:
        text, reasoning, note = self._live.partial, self._live.reasoning, self._question.note
        passed, records = self._passed(), tuple(self._log)
        self._live.finish(
            render.failure_html(
                failure, text=text, reasoning=reasoning, passed=passed, attempts=records, note=note
            ),
            render.failure_text(
                failure, text=text, reasoning=reasoning, passed=passed, attempts=records, note=note
            ),
        )
        return CellFailed(render.failure_lines(failure, passed=passed, attempts=records))

    def _settle_partial(self, *, interrupted: bool) -> str:
        text, reasoning, note = self._live.partial, self._live.reasoning, self._question.note
        what = "the cell failed; the error is below"
        if interrupted:
            what = render.interrupted_words(partial=bool(text), out=self._question.out)
        self._live.finish(
            render.partial_html(text, what, note=note, reasoning=reasoning),
            render.partial_text(text, what, note=note, reasoning=reasoning),
        )
        return what

    def _passed(self, response: Response | None = None) -> tuple[render.Row, ...]:
        question = self._question
        attempts = response.attempts if response is not None else ()
        return render.passed_rows(question.chain.specs, attempts, question.benched, question.began)


class _Settling:
    """Turns what ends a call without an answer into what ends the cell.

    Args:
        failed: Shows a failure of the chain, and makes the error that the cell ends with.
        broken_off: Shows what has come where the cell ends otherwise, and says how in a few words.
    """

    def __init__(self, failed: Callable[[FailoverError], CellFailed], broken_off: Callable[..., str]) -> None:
        self._failed = failed
        self._broken_off = broken_off
        self._failure: FailoverError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, FailoverError):
            self._failure = error
            return True
        if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError, concurrent.futures.CancelledError)):
            raise _interrupt(self._broken_off(interrupted=True)) from None
        if isinstance(error, Exception):
            self._broken_off(interrupted=False)
        return False

    def conclude(self) -> None:
        """Raise the failure, if there was one: not while it is handled, for a group of exceptions among the
        contexts would send IPython past the error output."""
        if self._failure is not None:
            raise self._failed(self._failure) from self._failure


def _interrupt(what: str) -> KeyboardInterrupt:
    """What an interrupted cell ends with; an awaited one is cancelled instead, and shall look the same."""
    interrupt = KeyboardInterrupt(what)
    # The traceback would show the engine's frames; an attribute is where IPython looks for another.
    vars(interrupt)["_render_traceback_"] = lambda: [f"KeyboardInterrupt: {what}"]
    return interrupt
