"""``%%llm`` and ``%llm``: the hooks that they hang on a shell, and what a notebook keeps of a cell.

Asking is `cell.py`'s, the subcommands are `control.py`'s. No decision about a model here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand

from llm_failover_nb.engine.bench import process_benches
from llm_failover_nb.engine.chain import parse_chain
from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.engine.events import checked_observers, current_cell, get_failover_observer
from llm_failover_nb.engine.policy import Policy
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.types import Response
from llm_failover_nb.notebook import answers, completion, render, templates
from llm_failover_nb.notebook.arguments import KEYS, ArgumentError, CellArguments, parse_cell
from llm_failover_nb.notebook.awaited import AwaitedCells
from llm_failover_nb.notebook.cell import CellRun, Question
from llm_failover_nb.notebook.control import Control
from llm_failover_nb.notebook.failures import CellFailed, CellLog, of_plain_cell
from llm_failover_nb.notebook.live import CellScreen, Live, bundle
from llm_failover_nb.notebook.state import Choice, State, default_choice, policy_of
from llm_failover_nb.notebook.text import plain
from llm_failover_nb.notebook.variables import value_at
from llm_failover_nb.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
    from IPython.lib.pretty import RepresentationPrinter

__all__ = ["LLM", "CellFailed", "load", "state_of", "unload"]

_NAME = "llm"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A cell that can be run."""

    run: CellRun
    arguments: CellArguments
    log: CellLog


class CellMagic:
    """Ask the models of a chain, in order, until one answers.

    ::

        %%llm chain=openai/gpt-x,local/smollm2 temperature=0.2 out=answer
        Which planet is the largest?

    ``%llm help`` lists the keys. ``{{ name }}`` in the prompt is the value of an expression. The answer is
    ``_`` and ``Out[n]``, too. ``out=`` is bound to it, and to nothing while there is none: a cell that fails
    or is interrupted leaves the name unbound, one that is refused before it asks leaves it as it was.
    """

    # Braces in the line are text, too: IPython would evaluate them.
    _ipython_magic_no_var_expand = True

    def __init__(self, owner: LLM, shell: InteractiveShell, state: State) -> None:
        self.owner = owner
        self._shell = shell
        self._state = state

    def __call__(self, line: str, cell: str) -> None:
        prepared = self._prepared(line, cell)
        with self._noted(prepared):
            response = prepared.run.ask()
        self._keep(response, prepared)

    async def awaited(self, line: str, cell: str) -> None:
        """The same, awaited: meanwhile the kernel serves other messages."""
        prepared = self._prepared(line, cell)
        with self._noted(prepared):
            response = await prepared.run.aask()
        self._keep(response, prepared)

    def _prepared(self, line: str, cell: str) -> _Prepared:
        with usage_errors():
            given = parse_cell(line)
            settings = self._state.settings()
            arguments = _completed(given, settings)
            prompt = self._prompt(cell, arguments)
            schema = self._schema(arguments)
            choice = default_choice(settings) if arguments.chain is None else Choice(arguments.chain)
            live = Live(CellScreen(), watched=arguments.stream is not False and _is_watched(self._shell))
            log = CellLog()
            chain = parse_chain(
                choice.chain,
                policy=_policy(arguments, settings),
                observer=(*checked_observers(get_failover_observer()), live.left, log.left),
                log=log,
                check=_check(schema, arguments),
            )
        question = Question(
            chain=chain,
            prompt=prompt,
            fields={
                "system": arguments.system,
                "temperature": arguments.temperature,
                "max_tokens": arguments.max_tokens,
                "stop": arguments.stop or (),
                "seed": arguments.seed,
                "schema": schema.json_schema if schema is not None else None,
            },
            format=arguments.format or ("json" if schema is not None else "markdown"),
            stream=arguments.stream is not False,
            out=arguments.out is not None,
            note=choice.note,
            benched=tuple(process_benches.list()),
            began=process_benches.clock.now(),
        )
        if arguments.out is not None:
            # What an earlier run left there would be taken for this one's answer.
            self._shell.user_ns.pop(arguments.out, None)
        return _Prepared(CellRun(question, live, log), arguments, log)

    def _prompt(self, cell: str, arguments: CellArguments) -> str:
        if not cell.strip():
            raise ArgumentError("the cell asks nothing: write the prompt in the lines below %%llm")
        prompt = cell.strip()
        if not arguments.raw:
            prompt = templates.fill(prompt, templates.notebook_names(self._shell, error=self._state.error))
        if not prompt.strip():
            raise ArgumentError("the cell asks nothing: what it inserts is empty")
        return prompt

    def _schema(self, arguments: CellArguments) -> answers.AnswerSchema | None:
        if arguments.schema is None:
            return None
        value = value_at(arguments.schema, self._shell.user_ns)
        return answers.answer_schema(value, name=arguments.schema)

    @contextmanager
    def _noted(self, prepared: _Prepared) -> Iterator[None]:
        """Mark what is recorded within with the cell's number, and keep what fails for ``%llm explain``."""
        # Not execution_count, which newer IPythons have already raised for the next cell.
        number = str(len(self._shell.user_ns.get("In", ())) - 1)
        token = current_cell.set(number)
        ended: BaseException | None = None
        try:
            yield
        except CellFailed as failed:
            ended = failed.__cause__
            raise
        finally:
            current_cell.reset(token)
            failures = prepared.log.failures(number, ended)
            self._state.failures = failures if failures.errors else self._state.failures

    def _keep(self, response: Response, prepared: _Prepared) -> None:
        """Bind the answer where the notebook looks for it."""
        if prepared.arguments.out is not None:
            self._shell.user_ns[prepared.arguments.out] = response
        if prepared.run.code:
            # It is saved with the notebook, as the output is.
            self._shell.set_next_input(redact(prepared.run.code))
        hook = self._shell.displayhook
        hook.update_user_ns(response)  # type: ignore[no-untyped-call]  # IPython's
        hook.fill_exec_result(response)  # type: ignore[no-untyped-call]  # IPython's


class LLM:
    """What hangs on one shell.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self.state = State()
        self._cell = CellMagic(self, shell, self.state)
        self._control = Control(shell, self.state)
        self._awaited = AwaitedCells(shell, self.state.wants_awaited)

    @no_var_expand
    def line(self, line: str) -> pd.DataFrame | None:
        """Show the default chain and the benches; ``%llm help`` lists what else there is."""
        with usage_errors():
            return self._control.run(line)

    def install(self) -> None:
        """Hang everything on the shell."""
        manager = self._shell.magics_manager
        manager.register_function(self.line, "line", _NAME)
        manager.register_function(self._cell, "cell", _NAME)
        self._shell.events.register("post_run_cell", self._ran)
        self._awaited.install()
        completion.install(self._shell)
        for formatter, shown in self._formatters():
            formatter.for_type(Response, shown)

    def uninstall(self) -> None:
        """Take everything away again."""
        for formatter, shown in self._formatters():
            if formatter.type_printers.get(Response) is shown:
                formatter.pop(Response)
        completion.uninstall(self._shell)
        self._awaited.uninstall()
        self._shell.events.unregister("post_run_cell", self._ran)
        self.state.withdraw()

    def _formatters(self) -> list[tuple[Any, Callable[..., object]]]:
        """IPython's formatters, each with what it shows of a Response."""
        display = self._shell.display_formatter
        known: dict[str, Any] = display.formatters if display is not None else {}
        return [(known[mime], shown) for mime, shown in _REPRS.items() if mime in known]

    def _ran(self, result: ExecutionResult | None) -> None:
        """Note what a cell ended with: of a group of exceptions IPython keeps nothing."""
        # A cell that was cancelled before it began has no result.
        error = (result.error_in_exec or result.error_before_exec) if result is not None else None
        self.state.error = error or self.state.error
        self.state.failures = of_plain_cell(error) or self.state.failures
        if self.state.panel is not None:
            self.state.panel.settle()  # the cell may have named a chain, or set a key


def load(shell: InteractiveShell) -> None:
    """Add ``%%llm`` and ``%llm`` to a shell; where they are already, put them there anew."""
    unload(shell)
    LLM(shell).install()


def unload(shell: InteractiveShell) -> None:
    """Take away what :func:`load` added, and what the notebook set with it; other people's magics stay."""
    manager = shell.magics_manager
    ours = {kind: owner for kind, table in manager.magics.items() if (owner := _owner(table.get(_NAME)))}
    for kind in ours:
        del manager.magics[kind][_NAME]
    for llm in set(ours.values()):
        llm.uninstall()
        # The manager keeps what was registered as a function on an object of its own, too.
        vars(manager.user_magics).pop(_NAME, None)


def state_of(shell: InteractiveShell) -> State | None:
    """What the magics of a shell know; ``None`` where they are not loaded."""
    owner = _owner(shell.magics_manager.magics["line"].get(_NAME))
    return owner.state if owner is not None else None


def _owner(magic: object) -> LLM | None:
    if isinstance(magic, CellMagic):
        return magic.owner
    owner: object = getattr(magic, "__self__", None)
    return owner if isinstance(owner, LLM) else None


def _completed(given: CellArguments, settings: Settings) -> CellArguments:
    """The arguments, those that are not given from the settings."""
    known = {key.name: key.setting.removeprefix("cell.") for key in KEYS if key.setting.startswith("cell.")}
    cell: Mapping[str, Any] = settings.cell
    missing = {name: cell[of] for name, of in known.items() if of in cell and getattr(given, name) is None}
    return replace(given, **missing)


def _policy(given: CellArguments, settings: Settings) -> Policy:
    known = {
        key.name: key.setting.removeprefix("policy.") for key in KEYS if key.setting.startswith("policy.")
    }
    changed = {of: getattr(given, name) for name, of in known.items() if getattr(given, name) is not None}
    if "max_retries" in changed:
        changed["stream_max_retries"] = None
    return replace(policy_of(settings), **changed)


def _check(
    schema: answers.AnswerSchema | None, arguments: CellArguments
) -> Callable[[Response], object] | None:
    if schema is not None:
        return schema.check
    return answers.json_check if arguments.format == "json" else None


def _is_watched(shell: InteractiveShell) -> bool:
    """Whether somebody sees an output change: not in a terminal, which prints each form, nor in what is kept.

    ``%%capture`` keeps every form. Programs that run a notebook, such as nbclient, papermill and nbval, say
    that nobody can be asked for input; nbval takes the first form of an output for the last.
    """
    kernel: Any = getattr(shell, "kernel", None)
    if kernel is None or isinstance(shell.display_pub, CapturingDisplayPublisher):
        return False
    request: Mapping[str, Any] = kernel.get_parent("shell") if hasattr(kernel, "get_parent") else {}
    content: Mapping[str, Any] = request.get("content", {})
    return content.get("allow_stdin", True) is not False


class LineRefused(UsageError):
    """A cell was refused before anybody was asked.

    IPython prints its own ``UsageError`` beside the cell, which then counts as one that succeeded for nbval;
    this gives a short error output.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"UsageError: {self}"]


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn what is wrong with a line, a chain or the settings into one line of error output."""
    try:
        yield
    except (FailoverError, ValueError) as error:
        raise LineRefused(plain(str(error))) from None


def _html(response: Response) -> str:
    return bundle(render.response_html(response), "")["text/html"]


def _text(response: Response, printer: RepresentationPrinter, _: bool) -> None:
    printer.text(bundle("", render.response_text(response))["text/plain"])  # type: ignore[no-untyped-call]  # IPython's


_REPRS: dict[str, Callable[..., object]] = {"text/html": _html, "text/plain": _text}
