"""The control room of one notebook: fills the board that panels show, and carries out their edits.

What it shows it asks of the engine's public things; what it changes goes through `operations.py`. How it
looks is the browser's.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from llm_failover_nb.engine.bench import BenchStanding, process_benches
from llm_failover_nb.engine.chain import Chain, list_running, parse_chain, process_registry
from llm_failover_nb.engine.errors import ChainSpecError, FailoverError
from llm_failover_nb.engine.events import process_log
from llm_failover_nb.engine.locks import new_rlock
from llm_failover_nb.engine.roster import RunningCall
from llm_failover_nb.notebook import edits
from llm_failover_nb.notebook.board import (
    PROTOCOL,
    Board,
    ChainRow,
    Defaults,
    ModelRow,
    Running,
    State,
    Undo,
    milliseconds,
)
from llm_failover_nb.notebook.feed import Feed
from llm_failover_nb.notebook.operations import (
    Done,
    OperationRefused,
    Operations,
    defaults_version,
    version_of,
)
from llm_failover_nb.notebook.render.page import one_line
from llm_failover_nb.notebook.state import State as NotebookState
from llm_failover_nb.notebook.state import default_choice, policy_of
from llm_failover_nb.notebook.tally import WINDOW, Tally
from llm_failover_nb.settings import Settings
from llm_failover_nb.stores import get_store

__all__ = ["Desk"]

# Edits that can be taken back one after another; older ones stay.
_UNDOS = 50

# Chains that only calls have named, the latest.
_PASSING_CHAINS = 12

# Orders of entries that had a name, the latest.
_ORDERS = 500

_FIXED = "named by a cell or by Python code; to edit it, name it: %llm chain NAME = SPECS"
_UNREACHABLE = "waits in a thread: it ends before its next attempt or chunk; an interrupt ends it at once"


@dataclass(frozen=True, slots=True)
class _Undo:
    id: int
    done: Done


@dataclass(frozen=True, slots=True)
class _Listed:
    """A chain as it is, before it is shown.

    ``name`` is empty where nobody has given it one; ``held`` is the one that Python code holds.
    """

    name: str
    title: str
    specs: tuple[str, ...]
    default: bool = False
    fixed: str = ""
    held: Chain | None = None

    @property
    def key(self) -> str:
        """What names it in edits: no name has a slash, and each spec has one."""
        return self.name if self.name or self.default else ",".join(map(one_line, self.specs))


class Desk:
    """One notebook's.

    Args:
        state: Its settings, and what it has set.
    """

    def __init__(self, state: NotebookState) -> None:
        self._state = state
        self._operations = Operations(state)
        self._lock = new_rlock()
        self._tally = Tally()
        self._feed = Feed()
        self._position = 0
        self._kernel = uuid.uuid4().hex[:12]
        self._undos: list[_Undo] = []
        self._edits = 0
        self._parsed: dict[tuple[str, ...], Chain | None] = {}
        self._named: dict[tuple[str, ...], None] = {}
        self._passing: dict[tuple[str, ...], None] = {}
        self._board: Board | None = None
        # A name as it is shown -> the models that it stands for: a masked one may stand for several.
        self._shown: dict[str, list[str]] = {}
        self.trouble = ""
        """What went wrong in the panel itself, in words."""

    @property
    def kernel(self) -> str:
        """What tells this kernel from the one before a restart."""
        return self._kernel

    def look_again(self) -> None:
        """Forget what is known of providers: a cell may have registered one anew."""
        with self._lock:
            self._parsed.clear()

    # What is shown

    def board(self) -> Board:
        """How everything stands now; the same object as before where nothing has changed."""
        with self._lock:
            calls = self._follow()
            board = self._filled(calls)
            if self._board is not None and _content(board) == _content(self._board):
                return self._board
            self._board = board
            return board

    def _follow(self) -> list[RunningCall]:
        """Take in what is new in the log; the calls that run."""
        known = self._feed.going_on()
        calls = list_running()
        self._read_log()
        # What had begun before and did not run any more has said all it had to say.
        for call in known - {call.id for call in calls}:
            self._feed.gone(call)
        return calls

    def _read_log(self) -> None:
        rows, self._position = process_log.since(self._position)
        for row in rows:
            self._tally.add(row)
            self._feed.add(row)
            if row.chain and (specs := tuple(row.chain.split(","))) not in self._named:
                self._passing.pop(specs, None)
                self._passing[specs] = None
                if len(self._passing) > _PASSING_CHAINS:
                    del self._passing[next(iter(self._passing))]

    def _filled(self, calls: Sequence[RunningCall]) -> Board:
        trouble = self.trouble
        try:
            settings = self._state.settings()
        except FailoverError as error:
            settings, trouble = Settings(), trouble or f"the settings cannot be read: {error}"
        now = process_benches.clock.now()
        chains = self._chains(settings)
        last = self._undos[-1] if self._undos else None
        return {
            "protocol": PROTOCOL,
            "kernel": self._kernel,
            "revision": self._board["revision"] + 1 if self._board is not None else 1,
            "now": milliseconds(now),
            "window": WINDOW,
            "models": self._models(chains, now),
            "chains": [self._chain_row(chain) for chain in chains],
            "defaults": _defaults(settings),
            "running": [_running(call) for call in calls],
            "feed": self._feed.decisions(),
            "undo": Undo(id=last.id, text=one_line(last.done.name)) if last is not None else None,
            "store": one_line(get_store()),
            "trouble": one_line(trouble),
        }

    def _models(self, chains: Sequence[_Listed], now: datetime) -> list[ModelRow]:
        standings = {standing.model: standing for standing in process_benches.standings()}
        providers = self._providers()
        of_chains = {spec for chain in chains for spec in chain.specs}
        specs = sorted({*of_chains, *providers, *standings, *self._tally.models()})
        rows = [self._model(spec, standings.get(spec), providers.get(spec), now) for spec in specs]
        self._shown = {}
        for row, spec in zip(rows, specs, strict=True):
            self._shown.setdefault(row["spec"], []).append(spec)
        return rows

    def _model(self, spec: str, standing: BenchStanding | None, provider: object, now: datetime) -> ModelRow:
        figures = self._tally.figures(spec, now)
        missing: object = getattr(provider, "missing_key", None)
        state = _state(standing, has_key=missing is None)
        until = standing.until if standing is not None else None
        by_hand = standing.manual if standing is not None and standing.state == "benched" else None
        return {
            "spec": one_line(spec),
            "state": state,
            "until": None if until is None else milliseconds(until),
            "fails": standing.consecutive_fails if standing is not None else 0,
            "why": self._tally.why(spec, manual=by_hand),
            "missing": one_line(missing) if isinstance(missing, str) else "",
            "calls": figures.calls,
            "answered": figures.answered,
            "latency": figures.latency,
            "cost": figures.cost,
            "edited": str(standing.edited if standing is not None else 0),
        }

    def _providers(self) -> dict[str, object]:
        """Who answers for each model, as far as somebody has named it in a chain."""
        chains = (*process_benches.roster.chains(), *filter(None, self._parsed.values()))
        return {model.spec: model.provider for chain in chains for model in chain.models}

    # Chains

    def _chains(self, settings: Settings) -> list[_Listed]:
        default, note = default_choice(settings).chain, default_choice(settings).note
        named = self._names(settings)
        texts = {name: named[name] for name in sorted(named, key=lambda name: (name != default, name))}
        if default not in texts:
            texts = {"": default, **texts}
        unnamed = "default chain, which nobody has set" if note else "default chain"
        listed = [
            self._listed(name, text, default=name == default or not name, title=name or unnamed)
            for name, text in texts.items()
        ]
        # Also those that were named once: a name that gets another order leaves the old one nowhere.
        self._named = dict.fromkeys([*self._named, *(chain.specs for chain in listed)][-_ORDERS:])
        others = [item for item in self._unnamed().items() if item[0] not in self._named]
        listed += [
            _Listed("", ", then ".join(specs), specs, fixed=_FIXED, held=chain)
            for specs, chain in others[:_PASSING_CHAINS]
        ]
        shown = {chain.specs for chain in listed}
        self._parsed = {specs: chain for specs, chain in self._parsed.items() if specs in shown}
        return listed

    def _unnamed(self) -> Mapping[tuple[str, ...], Chain | None]:
        """The chains that calls have named lately, the last first, and those that Python code holds."""
        own = {id(chain) for chain in self._parsed.values()}
        held = {chain.specs: chain for chain in process_benches.roster.chains() if id(chain) not in own}
        return {**dict.fromkeys(reversed(self._passing)), **held}

    @staticmethod
    def _names(settings: Settings) -> Mapping[str, str]:
        """The chains that have a name; an alias of one model is none, unless it was named as a chain."""
        try:
            known = process_registry.aliases()
        except FailoverError:
            return {}
        return {name: text for name, text in known.items() if "," in text or name in settings.chains}

    def _listed(self, name: str, text: str, *, default: bool, title: str) -> _Listed:
        try:
            specs: tuple[str, ...] = tuple(process_registry.expand(text))
            fixed = "" if self._chain(specs) is not None else "a provider of it is not known"
        except ChainSpecError as error:
            specs, fixed = (), one_line(str(error))
        return _Listed(name, title, specs, default, fixed)

    def _chain_row(self, chain: _Listed) -> ChainRow:
        return {
            "name": chain.key,
            "title": one_line(chain.title),
            "specs": [one_line(spec) for spec in chain.specs],
            "default": chain.default,
            "next": self._first(chain.specs, chain.held),
            "fixed": chain.fixed,
            "edited": version_of(chain.specs),
        }

    def _first(self, specs: tuple[str, ...], held: Chain | None = None) -> int | None:
        chain = held or (self._chain(specs) if specs else None)
        return None if chain is None else chain.first_asked()

    def _chain(self, specs: tuple[str, ...]) -> Chain | None:
        if specs not in self._parsed:
            try:
                self._parsed[specs] = parse_chain(specs)
            except FailoverError:
                self._parsed[specs] = None  # of a registry that is not the process's own
        return self._parsed[specs]

    # What is changed

    def carry_out(self, edit: edits.Edit) -> str:
        """Do what an edit says, if it fits how things stand; how they stand then, in words.

        Raises:
            FailoverError, ValueError: When it is refused; nothing has been changed.
        """
        with self._lock:
            if isinstance(edit, edits.TakeBack):
                return self._take_back(edit.edit)
            done = self._done(edit)
            if done.undo is not None:
                self._edits += 1
                self._undos = [*self._undos, _Undo(self._edits, done)][-_UNDOS:]
            return one_line(done.text)

    def _done(self, edit: edits.Edit) -> Done:
        operations = self._operations
        match edit:
            case edits.Bench(shown, for_, until):
                spec = self._checked_model(shown, edit.edited)
                if until is not None and until < process_benches.clock.now():
                    raise OperationRefused(f"{until.astimezone():%H:%M:%S} is over: give a later time")
                return operations.bench([spec], for_=for_, until=until)
            case edits.Extend(shown, for_):
                return operations.extend(self._checked_model(shown, edit.edited), for_)
            case edits.Lift(shown):
                return operations.lift([self._checked_model(shown, edit.edited)])
            case edits.LiftAll():
                return operations.lift_all()
            case edits.SetChain(name, specs):
                return self._set_chain(name, specs, edit.edited)
            case edits.SetDefault(name):
                chain = self._checked_chain(name, edit.edited)
                return operations.default_chain(chain.name or ",".join(chain.specs))
            case edits.SetDefaults(cooldown, max_retries):
                if edit.edited != defaults_version(policy_of(self._state.settings())):
                    raise OperationRefused("the defaults have been changed since; look at them again")
                return operations.defaults(cooldown=cooldown, max_retries=max_retries)
            case edits.Cancel(call):
                return operations.cancel(call)
            case edits.Hello():
                return Done("")
            case edits.TakeBack():
                raise AssertionError("taken back by its number")
        assert_never(edit)

    def _take_back(self, number: int) -> str:
        if not self._undos:
            raise OperationRefused("there is nothing to take back")
        last = self._undos[-1]
        if last.id != number or last.done.undo is None:
            raise OperationRefused(f"another edit was made since: {last.done.name}; take that back first")
        self._undos.pop()
        return one_line(f"{last.done.undo()}: {last.done.name}")

    def _set_chain(self, name: str, specs: Sequence[str], edited: str) -> Done:
        chain = self._checked_chain(name, edited)
        if chain.fixed:
            raise OperationRefused(f"this chain cannot be edited here: {chain.fixed}")
        self.board()
        text = ",".join(filter(None, (self._meant(spec).strip() for spec in specs)))
        if not text:
            raise OperationRefused("a chain has one model at least: add another before you remove this one")
        if name:
            return self._operations.name_chain(name, text)
        return self._operations.default_chain(text)

    def _checked_model(self, shown: str, edited: str) -> str:
        """The model of a row, if it is as the user saw it."""
        self.board()
        if shown not in self._shown:
            raise OperationRefused(f"{one_line(shown)!r} is no model of this panel")
        spec = self._meant(shown)
        if edited != str(process_benches.remembered(spec).edited):
            raise OperationRefused(f"{shown} has been benched or lifted by hand since; look at it again")
        return spec

    def _meant(self, shown: str) -> str:
        """What a name of the board stands for: it may be masked, or cut. Any other stands for itself."""
        meant = self._shown.get(shown, [shown])
        if len(meant) > 1:
            raise OperationRefused(
                f"{shown} stands for {len(meant)} models here, whose names hold what must not be shown: "
                "use %llm or Python"
            )
        return meant[0]

    def _checked_chain(self, key: str, edited: str) -> _Listed:
        """The chain of a row, if it is as the user saw it."""
        chains = {chain.key: chain for chain in self._chains(self._state.settings())}
        if key not in chains:
            raise OperationRefused(f"{one_line(key)!r} is no chain any more")
        chain = chains[key]
        if edited != version_of(chain.specs):
            raise OperationRefused(f"{one_line(chain.title)} has been changed since; look at it again")
        return chain


def _content(board: Board) -> Mapping[str, object]:
    return {key: value for key, value in board.items() if key not in {"now", "revision"}}


def _state(standing: BenchStanding | None, *, has_key: bool) -> State:
    if standing is not None and standing.state == "benched":
        return "manual" if standing.manual else "benched"
    if not has_key:
        return "no_key"
    return standing.state if standing is not None else "ready"


def _defaults(settings: Settings) -> Defaults:
    policy = policy_of(settings)
    return {
        "cooldown": policy.cooldown,
        "max_retries": policy.max_retries,
        "edited": defaults_version(policy),
    }


def _running(call: RunningCall) -> Running:
    return {
        "id": call.id,
        "cell": f"cell {call.cell}" if call.cell else "Python",
        "specs": [one_line(spec) for spec in call.specs],
        "model": one_line(call.model),
        "attempt": call.attempt,
        "since": milliseconds(call.began),
        "waiting": None if call.waits_until is None else milliseconds(call.waits_until),
        "fixed": "" if call.reachable else _UNREACHABLE,
    }
