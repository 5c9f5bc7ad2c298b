"""What ``%llm`` does: the chain, the benches, the settings, the events, and what to know about them.

Each subcommand asks the same public things as anybody could and shows the answer. No decision is made here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.display import display

from llm_failover_nb.engine.bench import process_benches
from llm_failover_nb.engine.chain import parse_chain, process_registry
from llm_failover_nb.notebook import doctor, render
from llm_failover_nb.notebook.arguments import KEYS, ArgumentError, Key, nearest, read_value
from llm_failover_nb.notebook.awaited import why_not
from llm_failover_nb.notebook.commands import (
    COMMANDS,
    parse_bench,
    parse_chain_words,
    parse_command,
    parse_optional,
    parse_pairs,
    parse_spec,
)
from llm_failover_nb.notebook.failures import in_variable, last_error
from llm_failover_nb.notebook.inventory import Inventory, matching, served_here
from llm_failover_nb.notebook.inventory import nearest as nearest_model
from llm_failover_nb.notebook.live import CellScreen, Live
from llm_failover_nb.notebook.nest import nest
from llm_failover_nb.notebook.operations import Operations
from llm_failover_nb.notebook.state import State, default_choice
from llm_failover_nb.notebook.text import plain
from llm_failover_nb.notebook.trusting import trust_project, withdraw_trust
from llm_failover_nb.settings import (
    Settings,
    SettingsError,
    config_values,
    settings_path,
    untrusted_words,
)

if TYPE_CHECKING:
    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Control"]

_MODELS_HINT = "MODEL is the name that the provider gives it; %llm models TEXT lists what matches"
_CONFIG_HINT = (
    "%llm config temperature=0.2 sets a value for this notebook, %llm config temperature= takes it back"
)

_HELP = (
    render.HelpPart(
        "%%llm key=value … asks the models of a chain; the prompt stands in the lines below",
        tuple((key.example, key.help) for key in KEYS),
    ),
    render.HelpPart(
        "In the prompt",
        (
            ("{{ df.head() }}", "the value of an expression; a DataFrame becomes a table, cut to a budget"),
            ("{{ last_error }}", "the last traceback; {{ In[2] }} and {{ Out[3] }} work, too"),
        ),
    ),
    render.HelpPart(
        "%llm looks after the chain, the benches, the settings and the events",
        tuple((command.example or command.typed, command.help) for command in COMMANDS),
    ),
)


class Control:
    """The subcommands of one shell.

    Args:
        shell: Whose variables and loop they look at.
        state: What the magics know.
    """

    def __init__(self, shell: InteractiveShell, state: State) -> None:
        self._shell = shell
        self._state = state
        self._operations = Operations(state)

    def run(self, line: str) -> pd.DataFrame | None:
        """Do what a line says.

        Raises:
            FailoverError, ValueError: When the line, a chain or the settings cannot be used.
        """
        name, words = parse_command(line)
        if name == "events":
            return _events()
        commands: dict[str, Callable[[tuple[str, ...]], None]] = {
            "": self._status,
            "chain": self._chain,
            "bench": self._bench,
            "unbench": self._unbench,
            "models": self._models,
            "panel": self._panel,
            "explain": self._explain,
            "config": self._config,
            "trust": self._trust,
            "doctor": self._doctor,
            "nest": self._nest,
            "help": self._help,
        }
        commands[name](words)
        return None

    # The chain

    def _status(self, _: tuple[str, ...]) -> None:
        choice = default_choice(self._state.settings())
        benches = {bench.model: bench for bench in process_benches.list()}
        entries = [
            render.Standing(
                model.spec,
                benches.get(model.spec),
                missing_key(model.provider),
                unchecked=served_here(model.provider),
            )
            for model in parse_chain(choice.chain).models
        ]
        inside = {entry.model for entry in entries}
        others = [bench for spec, bench in benches.items() if spec not in inside]
        title = "default chain" if "/" in choice.chain else f"default chain: {choice.chain}"
        hint = choice.note or "%llm help lists what else there is"
        now = process_benches.clock.now()
        _show(
            render.status_html(title, entries, others, now, hint=hint),
            render.status_text(title, entries, others, now, hint=hint),
        )

    def _chain(self, words: tuple[str, ...]) -> None:
        self._state.settings()  # the registry shall know what the files bring
        pair = parse_chain_words(words)
        if pair is None:
            self._chains()
            return
        name, specs = pair
        if name and not specs:
            _say(self._operations.forget_chain(name).text)
            return
        if not specs:
            raise ArgumentError(
                f"{' '.join(words)!r} names no model: write provider/model, or a chain's name"
            )
        if name:
            _say(f"{self._operations.name_chain(name, specs).text}; write %%llm chain={name}")
        else:
            _say(self._operations.default_chain(specs).text)
        for model in parse_chain(specs).models:
            if (missing := missing_key(model.provider)) is not None:
                _say(f"  {model.spec} has no key yet: set {missing}")

    def _chains(self) -> None:
        settings = self._state.settings()
        default = default_choice(settings)
        rows = [
            render.TableRow(("(default)", default.chain, _origin(settings, "chain"))),
            *(
                render.TableRow((name, text, _origin(settings, f"{table}.{name}")))
                for table, named in (("chains", settings.chains), ("aliases", settings.aliases))
                for name, text in sorted(named.items())
            ),
        ]
        hint = "%llm chain prod = a,b names one; %llm chain a,b sets the default"
        columns = ("name", "asks", "from")
        _show(
            render.table_html("chains", columns, rows, hint=hint),
            render.table_text("chains", columns, rows, hint=hint),
        )

    # The benches

    def _bench(self, words: tuple[str, ...]) -> None:
        text, seconds = parse_bench(words)
        specs = self._specs(text)
        for spec in specs:
            process_registry.model(spec)
        self._operations.bench(specs, for_=seconds)
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
        self._state.settings()
        if specs := process_registry.expand(text):
            return list(dict.fromkeys(specs))
        raise ArgumentError(f"{text!r} names no model: write provider/model, such as openai/gpt-x")

    # What there is, and what happened

    def _panel(self, _: tuple[str, ...]) -> None:
        try:
            from llm_failover_nb.notebook.panel import panel_of  # ipywidgets, on first use
        except ImportError as error:
            raise UsageError(str(error)) from None
        display(panel_of(self._state))  # type: ignore[no-untyped-call]  # IPython's

    def _models(self, words: tuple[str, ...]) -> None:
        text, settings = parse_optional("models", words), self._state.settings()
        benches, now = process_benches.list(), process_benches.clock.now()
        inventory = Inventory(process_registry, settings, benches, now)
        tables = inventory.tables(default_choice(settings).chain)
        shown = matching(tables, text)
        if not any(table.lines for table in shown):
            near = nearest_model(tables, text)
            hint = f"did you mean {' or '.join(near)}?" if near else "%llm models alone lists everything"
            _say(f"nothing matches {text!r}; {hint}")
            return
        _show(render.listing_html(shown, hint=_MODELS_HINT), render.listing_text(shown, hint=_MODELS_HINT))

    def _explain(self, words: tuple[str, ...]) -> None:
        name = parse_optional("explain", words)
        kept = self._state.failures
        failures = in_variable(name, self._shell.user_ns) if name else kept or last_error()
        if failures is None:
            _say("nothing has failed yet")
            return
        title, rows = failures.title, failures.rows()
        _show(render.explained_html(title, rows), render.explained_text(title, rows))

    # The settings

    def _config(self, words: tuple[str, ...]) -> None:
        if pairs := parse_pairs(words):
            self._set(pairs)
            return
        settings = self._state.settings()
        rows = [
            render.TableRow((name, value, origin.words)) for name, value, origin in config_values(settings)
        ]
        columns = ("setting", "value", "from")
        hint = "; ".join((*_notes(settings), _CONFIG_HINT))
        _show(
            render.table_html("settings", columns, rows, hint=hint),
            render.table_text("settings", columns, rows, hint=hint),
        )

    def _set(self, pairs: tuple[tuple[str, str], ...]) -> None:
        """Set values for the notebook: all of them, or, where one cannot be used, none."""
        known = _settable()
        wanted: dict[str, object] = {}
        for name, text in pairs:
            key = known.get(name) or known.get(name.rpartition(".")[2])
            if key is None:
                near = nearest(name, known)
                hint = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
                raise ArgumentError(f"{name!r} cannot be set here; {hint}")
            wanted[key.setting] = read_value(key, text) if text else None
        session = self._state.session
        if chain := wanted.get("chain"):
            parse_chain(str(chain))
        for setting, value in wanted.items():
            if value is None:
                session.unset(setting)
            else:
                session.set(setting, value)
        settings = self._state.settings()
        for name, value, origin in config_values(settings):
            if name in wanted:
                _say(f"{name} is {value} ({origin.words})")

    def _trust(self, words: tuple[str, ...]) -> None:
        if (word := parse_optional("trust", words)) not in {"", "withdraw"}:
            raise ArgumentError(f"{word!r} is nothing to do here: write %llm trust, or %llm trust withdraw")
        settings = self._state.settings()
        _say(withdraw_trust(settings) if word else trust_project(settings, input))

    # The machine

    def _doctor(self, _: tuple[str, ...]) -> None:
        checks = doctor.checks(
            self._shell,
            registry=process_registry,
            settings=self._settings_or_error(),
            awaited=why_not(self._shell) or self._state.wants_awaited(),
        )
        rows = [render.TableRow((check.what, check.found, check.remedy), check.state) for check in checks]
        columns = ("what", "found", "what to do")
        _show(render.table_html("doctor", columns, rows), render.table_text("doctor", columns, rows))

    def _settings_or_error(self) -> Settings | SettingsError:
        try:
            return self._state.settings()
        except SettingsError as error:
            return error

    def _nest(self, _: tuple[str, ...]) -> None:
        _say(nest(self._shell))

    def _help(self, _: tuple[str, ...]) -> None:
        path = settings_path()
        hint = f"settings: {path}{'' if path.exists() else ' (not there yet; create it to have some)'}"
        _show(render.help_html(_HELP, hint=hint), render.help_text(_HELP, hint=hint))


def _origin(settings: Settings, name: str) -> str:
    origin = settings.origins.get(name)
    return origin.words if origin is not None else "default"


def _notes(settings: Settings) -> tuple[str, ...]:
    """What of the files does not count, and why."""
    untrusted = settings.untrusted
    return (*settings.notes, *((f"a part is {untrusted_words(untrusted)}",) if untrusted is not None else ()))


def missing_key(provider: object) -> str | None:
    """The variable that a provider's key is missing from."""
    missing: object = getattr(provider, "missing_key", None)
    return missing if isinstance(missing, str) else None


def _events() -> pd.DataFrame:
    try:
        from llm_failover_nb.notebook.frames import events_frame  # pandas, on first use
    except ImportError as error:
        raise UsageError(str(error)) from None
    return events_frame()


def _show(html: str, text: str) -> None:
    Live(CellScreen(), watched=False).finish(html, text)


def _say(text: str) -> None:
    print(plain(text))


def _settable() -> dict[str, Key[object]]:
    """The keys whose values a notebook can set for all its cells, by their own name and by the setting's."""
    keys = [key for key in KEYS if key.setting]
    return {key.name: key for key in keys} | {key.setting.rpartition(".")[2]: key for key in keys}


def _meant(spec: str) -> str:
    """What may have been meant by a spec that is not benched."""
    benched = [bench.model for bench in process_benches.list()]
    if near := difflib.get_close_matches(spec, benched, n=1):
        return f"; did you mean {near[0]}?"
    if benched:
        return f"; benched are {', '.join(benched)}"
    process_registry.model(spec)
    return "; no model is"
