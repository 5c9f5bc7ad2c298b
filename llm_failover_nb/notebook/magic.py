"""``%%llm`` and ``%llm``: read the line, call the engine, show what it says. No decision about a model here.

Which model is asked, how often, and what a failure means is the engine's; how it looks is `render.py`'s.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand

from llm_failover_nb.engine.bench import BenchedModel, process_benches
from llm_failover_nb.engine.chain import Chain, parse_chain, process_registry
from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.engine.events import checked_observers, current_cell, get_failover_observer
from llm_failover_nb.engine.types import Chunk, Response
from llm_failover_nb.notebook import render
from llm_failover_nb.notebook.arguments import (
    COMMANDS,
    KEYS,
    ArgumentError,
    CellArguments,
    parse_bench,
    parse_cell,
    parse_command,
    parse_optional,
    parse_spec,
)
from llm_failover_nb.notebook.failures import (
    CellFailed,
    CellLog,
    Failures,
    in_variable,
    last_error,
    of_plain_cell,
)
from llm_failover_nb.notebook.inventory import Inventory, matching, nearest
from llm_failover_nb.notebook.live import CellScreen, Live
from llm_failover_nb.notebook.settings_file import SettingsFile
from llm_failover_nb.notebook.text import plain
from llm_failover_nb.providers import local
from llm_failover_nb.settings import Settings, load_settings, settings_path

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

    from llm_failover_nb.engine.model import RequestFields

__all__ = ["LLM", "CellFailed", "load", "unload"]

_NAME = "llm"
_LOCAL = "local/smollm2"
_ECHO = "sim/echo"
_MODELS_HINT = "MODEL is the name that the provider gives it; %llm models TEXT lists what matches"
_CHOOSE = "to choose, write %%llm chain=provider/model, or set chain in the settings (%llm help says where)"


_HELP = (
    render.HelpPart(
        "%%llm key=value … asks the models of a chain; the prompt stands in the lines below",
        tuple((key.example, key.help) for key in KEYS),
    ),
    render.HelpPart(
        "%llm looks after the chain, the benches and the events",
        tuple((command.typed, command.help) for command in COMMANDS),
    ),
)


@dataclass(frozen=True, slots=True)
class _Choice:
    """A chain as text, and what to tell the user about it where nobody chose it."""

    chain: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Question:
    """What one cell asks, how things stood when it began, and what is noted of its call."""

    chain: Chain
    log: CellLog
    prompt: str
    arguments: CellArguments
    note: str
    benched: tuple[BenchedModel, ...]
    began: datetime

    @property
    def fields(self) -> RequestFields:
        given = self.arguments
        return {
            "system": given.system,
            "temperature": given.temperature,
            "max_tokens": given.max_tokens,
        }

    def passed(self, response: Response | None = None) -> tuple[render.Row, ...]:
        attempts = response.attempts if response is not None else ()
        return render.passed_rows(self.chain.specs, attempts, self.benched, self.began)


class LLM:
    """The two magics of one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._settings = SettingsFile(process_registry)
        self._failures: Failures | None = None

    @no_var_expand
    def cell(self, line: str, cell: str) -> None:
        """Ask the models of a chain, in order, until one answers.

        ::

            %%llm chain=openai/gpt-x,local/smollm2 temperature=0.2 out=answer
            Which planet is the largest?

        Keys: ``chain system temperature max_tokens out stream``; ``%llm help`` says what each does.
        ``out=`` is bound to the answer, and to nothing while there is none: a cell that fails or is
        interrupted leaves the name unbound, one that is refused before it asks leaves it as it was.
        """
        with _usage_errors():
            arguments = parse_cell(line)
            prompt = _prompt(cell)
            choice = self._choice(arguments.chain)
            live = Live(CellScreen(), watched=arguments.stream and _can_update(self._shell))
            log = CellLog()
            chain = _chain(choice.chain, live, log)
        benched, now = tuple(process_benches.list()), process_benches.clock.now()
        question = _Question(chain, log, prompt, arguments, choice.note, benched, now)
        if arguments.out is not None:
            # What an earlier run left there would be taken for this one's answer.
            self._shell.user_ns.pop(arguments.out, None)
        # Not execution_count, which newer IPythons have already raised for the next cell.
        number = str(len(self._shell.user_ns.get("In", ())) - 1)
        with _cell_number(number), self._kept_failures(number, log):
            response = _answered(question, live)
        if arguments.out is not None:
            self._shell.user_ns[arguments.out] = response

    @no_var_expand
    def line(self, line: str) -> pd.DataFrame | None:
        """Show the default chain and the benches; ``%llm help`` lists what else there is."""
        commands = {
            "": self._status,
            "bench": self._bench,
            "unbench": self._unbench,
            "models": self._models,
            "explain": self._explain,
            "help": self._help,
        }
        with _usage_errors():
            name, words = parse_command(line)
            if name == "events":
                return _events()
            commands[name](words)
        return None

    @contextmanager
    def _kept_failures(self, cell: str, log: CellLog) -> Iterator[None]:
        """Keep what fails within for ``%llm explain``; what failed earlier stays where nothing does."""
        ended: BaseException | None = None
        try:
            yield
        except CellFailed as failed:
            ended = failed.__cause__
            raise
        finally:
            failures = log.failures(cell, ended)
            self._failures = failures if failures.errors else self._failures

    def _choice(self, given: str | None = None) -> _Choice:
        settings = self._followed()
        return _default_choice(settings) if given is None else _Choice(given)

    def _followed(self) -> Settings:
        """The settings as they are now, the registry brought to them."""
        settings = load_settings()
        self._settings.follow(settings)
        return settings

    def ran(self, result: ExecutionResult) -> None:
        """Note what a cell of plain Python ended with: of a group of exceptions IPython keeps nothing."""
        self._failures = of_plain_cell(result.error_in_exec) or self._failures

    def withdraw(self) -> None:
        """Take back what the settings file brought into the registry, and look at no further cell."""
        self._settings.follow(Settings())
        self._shell.events.unregister("post_run_cell", self.ran)

    # The subcommands

    def _status(self, _: tuple[str, ...]) -> None:
        choice = self._choice()
        benches = {bench.model: bench for bench in process_benches.list()}
        entries = [
            render.Standing(model.spec, benches.get(model.spec), _missing_key(model.provider))
            for model in parse_chain(choice.chain).models
        ]
        inside = {entry.model for entry in entries}
        others = [bench for spec, bench in benches.items() if spec not in inside]
        hint = choice.note or "%llm help lists what else there is"
        now = process_benches.clock.now()
        Live(CellScreen(), watched=False).finish(
            render.status_html("default chain", entries, others, now, hint=hint),
            render.status_text("default chain", entries, others, now, hint=hint),
        )

    def _bench(self, words: tuple[str, ...]) -> None:
        text, seconds = parse_bench(words)
        specs = self._specs(text)
        for spec in specs:
            process_registry.model(spec)
        for spec in specs:
            process_benches.bench(spec, for_=seconds)
        now = process_benches.clock.now()
        laid = {bench.model: bench for bench in process_benches.list()}
        for spec in specs:
            bench = laid.get(spec)
            _say(f"{spec}: {render.bench_words(bench, now) if bench else 'benched, and the time is over'}")

    def _unbench(self, words: tuple[str, ...]) -> None:
        for spec in self._specs(parse_spec(words)):
            if process_benches.unbench(spec):
                _say(f"{spec}: no longer benched")
            else:
                _say(f"{spec}: was not benched{_meant(spec)}")

    def _specs(self, text: str) -> list[str]:
        self._choice()
        if specs := process_registry.expand(text):
            return list(dict.fromkeys(specs))
        raise ArgumentError(f"{text!r} names no model: write provider/model, such as openai/gpt-x")

    def _models(self, words: tuple[str, ...]) -> None:
        text, settings = parse_optional("models", words), self._followed()
        benches, now = process_benches.list(), process_benches.clock.now()
        inventory = Inventory(process_registry, settings, benches, now)
        tables = inventory.tables(_default_choice(settings).chain)
        shown = matching(tables, text)
        if not any(table.lines for table in shown):
            near = nearest(tables, text)
            hint = f"did you mean {' or '.join(near)}?" if near else "%llm models alone lists everything"
            _say(f"nothing matches {text!r}; {hint}")
            return
        Live(CellScreen(), watched=False).finish(
            render.listing_html(shown, hint=_MODELS_HINT), render.listing_text(shown, hint=_MODELS_HINT)
        )

    def _explain(self, words: tuple[str, ...]) -> None:
        name = parse_optional("explain", words)
        failures = in_variable(name, self._shell.user_ns) if name else self._failures or last_error()
        if failures is None:
            _say("nothing has failed yet")
            return
        title, rows = failures.title, failures.rows()
        Live(CellScreen(), watched=False).finish(
            render.explained_html(title, rows), render.explained_text(title, rows)
        )

    def _help(self, _: tuple[str, ...]) -> None:
        hint = f"settings: {settings_path()}"
        Live(CellScreen(), watched=False).finish(
            render.help_html(_HELP, hint=hint), render.help_text(_HELP, hint=hint)
        )


def load(shell: InteractiveShell) -> None:
    """Add ``%%llm`` and ``%llm`` to a shell; where they are already, put them there anew."""
    unload(shell)
    magics = LLM(shell)
    shell.events.register("post_run_cell", magics.ran)
    shell.magics_manager.register_function(magics.line, "line", _NAME)
    shell.magics_manager.register_function(magics.cell, "cell", _NAME)


def unload(shell: InteractiveShell) -> None:
    """Take away what :func:`load` added; magics of that name that are not ours stay."""
    manager = shell.magics_manager
    ours = [table for table in manager.magics.values() if _is_ours(table.get(_NAME))]
    for magics in {id(magic): magic for magic in (table.pop(_NAME).__self__ for table in ours)}.values():
        magics.withdraw()
    if ours:
        # The manager keeps what was registered as a function on an object of its own, too.
        vars(manager.user_magics).pop(_NAME, None)


def _is_ours(magic: object) -> bool:
    return isinstance(getattr(magic, "__self__", None), LLM)


# One call


def _default_choice(settings: Settings) -> _Choice:
    """The chain of a cell that names none."""
    if settings.chain is not None:
        return _Choice(settings.chain)
    if local.available():
        what = f"no chain is set, so {_LOCAL} answers: a small model on this machine, often wrong"
        return _Choice(_LOCAL, f"{what}; {_CHOOSE}")
    what = f"no chain is set and no local model is installed, so {_ECHO} only repeats the prompt"
    return _Choice(_ECHO, f"{what}; {_CHOOSE}")


def _chain(text: str, live: Live, log: CellLog) -> Chain:
    observers = (*checked_observers(get_failover_observer()), live.left, log.left)
    return parse_chain(text, midstream="restart", observer=observers, log=log)


def _answered(question: _Question, live: Live) -> Response:
    """The answer, shown; or the failure, shown and raised."""
    try:
        response = _ask(question, live)
    except KeyboardInterrupt as interrupt:
        out = question.arguments.out is not None
        what = render.interrupted_words(partial=bool(live.partial), out=out)
        _finish_partial(question, live, what)
        # The traceback would show the engine's frames; an attribute is where IPython looks for another.
        vars(interrupt)["_render_traceback_"] = lambda: [f"KeyboardInterrupt: {what}"]
        raise
    except FailoverError as error:
        failure = error
    except Exception:
        _finish_partial(question, live, "the cell failed; the error is below")
        raise
    else:
        passed, note = question.passed(response), question.note
        live.finish(
            render.answer_html(response, passed=passed, note=note),
            render.answer_text(response, passed=passed, note=note),
        )
        return response
    # Outside of the `except`: a group among the contexts, too, would send IPython past the error output.
    text, passed, records, note = live.partial, question.passed(), tuple(question.log), question.note
    live.finish(
        render.failure_html(failure, text=text, passed=passed, attempts=records, note=note),
        render.failure_text(failure, text=text, passed=passed, attempts=records, note=note),
    )
    raise CellFailed(render.failure_lines(failure, passed=passed, attempts=records)) from failure


def _ask(question: _Question, live: Live) -> Response:
    if not question.arguments.stream:
        return question.chain.complete(question.prompt, **question.fields)
    live.begin(f"asking {', then '.join(question.chain.specs)} …")
    response = Response()
    stream = cast("Generator[Chunk]", question.chain.stream(question.prompt, **question.fields))
    # An interrupt anywhere in here closes the request before anything else is done.
    with closing(stream) as chunks:
        for chunk in chunks:
            if chunk.response is not None:
                response = chunk.response
            live.feed(chunk)
    return response


def _finish_partial(question: _Question, live: Live, what: str) -> None:
    text, note = live.partial, question.note
    live.finish(render.partial_html(text, what, note=note), render.partial_text(text, what, note=note))


def _prompt(cell: str) -> str:
    prompt = cell.strip()
    if not prompt:
        raise ArgumentError("the cell asks nothing: write the prompt in the lines below %%llm")
    return prompt


def _can_update(shell: InteractiveShell) -> bool:
    """Whether an output can be replaced: a kernel's front end can, a terminal prints each one."""
    return getattr(shell, "kernel", None) is not None


@contextmanager
def _cell_number(number: str) -> Iterator[None]:
    """Mark what is recorded within as coming from this cell."""
    token = current_cell.set(number)
    try:
        yield
    finally:
        current_cell.reset(token)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn what is wrong with a line, a chain or the settings into IPython's short error."""
    try:
        yield
    except (FailoverError, ValueError) as error:
        raise UsageError(plain(str(error))) from None


# Small questions


def _events() -> pd.DataFrame:
    try:
        from llm_failover_nb.notebook.frames import events_frame  # pandas, on first use
    except ImportError as error:
        raise UsageError(str(error)) from None
    return events_frame()


def _say(text: str) -> None:
    print(plain(text))


def _missing_key(provider: object) -> str | None:
    return cast("str | None", getattr(provider, "missing_key", None))


def _meant(spec: str) -> str:
    """What may have been meant by a spec that is not benched."""
    benched = [bench.model for bench in process_benches.list()]
    if near := difflib.get_close_matches(spec, benched, n=1):
        return f"; did you mean {near[0]}?"
    if benched:
        return f"; benched are {', '.join(benched)}"
    process_registry.model(spec)
    return "; no model is"
