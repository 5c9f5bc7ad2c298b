"""Completion of ``%%llm`` and ``%llm``: keys, values, providers, models, chains, variables where they fit.

Nothing is asked of a server here, and no file is read but the settings, once a second at most: the names of
models are those that the catalogue knows by now. Where the cursor is, is ``cursor``'s to say.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, cast

from IPython.core.completer import SimpleCompletion, context_matcher

from llm_failover_nb.engine.bench import BenchedModel, BenchRegistry, process_benches
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.engine.clock import Clock, SystemClock
from llm_failover_nb.engine.events import EventLog, process_log
from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.types import Response
from llm_failover_nb.notebook.arguments import KEYS
from llm_failover_nb.notebook.catalogue import Catalogue
from llm_failover_nb.notebook.commands import COMMANDS
from llm_failover_nb.notebook.cursor import Place, Word, part_of, place_at
from llm_failover_nb.notebook.text import plain
from llm_failover_nb.providers.listing import usable_names
from llm_failover_nb.settings import load_settings

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, Matcher, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["MATCHER", "Completion", "Offer", "install", "uninstall", "values_for"]

MATCHER = "llm_failover_nb.completion"
"""The identifier of the matcher, by which IPython's own settings can switch it off."""

_ONCE_A = 1.0  # seconds that what the settings and the log say is taken for current
_BLOCKS_LOOKED_AT = 20  # of the log, the latest: ten thousand rows
_MOST = 500  # completions, where IPython does not say how many it will show

_LONGEST = 80  # characters of what something stands for, beside its name

_log = logging.getLogger("llm_failover_nb")

_SWITCH = ("on", "off")
_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "await_cells": _SWITCH,
        "format": ("markdown", "text", "json", "code", "html"),
        "midstream": ("restart", "raise"),
        "raw": _SWITCH,
        "stream": _SWITCH,
    }
)
_DURATIONS = ("10m", "1h", "1d", "forever")
_BUILT_IN_NAMES = ("In", "Out", "last_error")  # what a template knows besides the notebook's own
_HIDDEN = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})

_PLAIN = frozenset({str, int, float, bool, list, tuple, dict, set, type(None)})

_READY, _KEYLESS, _BENCHED = range(3)


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that could be written at the cursor.

    Args:
        text: What is written, in place of what has been typed of it.
        type: What it is, or how it stands, in a few words.
        rank: Those of a higher one are offered later.
    """

    text: str
    type: str = ""
    rank: int = _READY


def values_for(key: str) -> tuple[str, ...]:
    """The words that a key of ``%%llm`` takes, where they are known: ``on`` and ``off``, formats.

    >>> values_for("stream")
    ('on', 'off')
    """
    return _WORDS.get(key, ())


class _Nothing(Sequence[SimpleCompletion]):
    """No completions, but one that IPython counts: else it would offer files where none can stand."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[SimpleCompletion]:
        return iter(())

    def __getitem__(self, _: object) -> SimpleCompletion:  # type: ignore[override]  # there is none
        raise IndexError("there is no completion")


# What there is


@dataclass(frozen=True, slots=True)
class _Known:
    """What settings, registry and log knew at one moment.

    Args:
        until: When to look again, on the monotonic clock.
        aliases: Names for specs and chains, and what they stand for.
        providers: Providers, and what each is missing; empty where that is nothing.
        models: Models that are named somewhere, by provider.
    """

    until: float
    aliases: Mapping[str, str]
    providers: Mapping[str, str]
    models: Mapping[str, tuple[str, ...]]


class Completion:
    """Says what could be written at a place.

    Args:
        names: The notebook's variables.
        registry: Its providers and aliases.
        benches: Which models are benched.
        log: Whose chains have been asked.
        catalogue: What the providers list.
        clock: Measures how old is what was read, and says what benches last until.
    """

    def __init__(
        self,
        names: Mapping[str, object],
        *,
        registry: SpecRegistry,
        benches: BenchRegistry,
        log: EventLog,
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        self._names = names
        self._registry = registry
        self._benches = benches
        self._log = log
        self._catalogue = catalogue
        self._clock = clock
        self._last: _Known | None = None

    def match(self, context: CompletionContext) -> SimpleMatcherResult:
        """The completions at a cursor, for IPython; nothing, and nothing suppressed, where it is not ours."""
        try:
            place = place_at(context.full_text, context.cursor_line, context.cursor_position)
            if place is None:
                return {"completions": []}
            typed, offers = self.offers(place)
        except Exception as error:  # noqa: BLE001  # IPython would print a traceback into the notebook
            _log.debug("no completion: %s", redact(repr(error)))
            return {"completions": []}
        shown = _fitting(offers, typed, most=context.limit or _MOST)
        completions = [SimpleCompletion(offer.text, type=_unbroken(offer.type)) for offer in shown]
        return {
            "completions": completions or _Nothing(),
            "matched_fragment": typed,
            "suppress": True,
            "ordered": True,
        }

    def offers(self, place: Place) -> tuple[str, Iterable[Offer]]:
        """What has been typed of the thing at the cursor, and all that could stand there."""
        match place.kind:
            case "cell":
                return self._in_cell(place)
            case "line":
                return self._on_line(place)
            case "template":
                return place.word.before, self._variables(_is_no_module, also=_BUILT_IN_NAMES)

    # The first line of a %%llm cell

    def _in_cell(self, place: Place) -> tuple[str, Iterable[Offer]]:
        word = place.word
        if "=" not in word.before:
            return word.before, _keys(place)
        if word.key == "chain":
            return self._of_chain(word)
        typed = word.before.partition("=")[2].lstrip("\"'")
        return typed, self._values(word.key, typed)

    def _values(self, key: str, typed: str) -> Iterable[Offer]:
        match key:
            case "out":
                return [*self._variables(_is_answer), *self._variables(_is_plain), *_example(key)]
            case "schema":
                return self._variables(_is_schema)
        if words := values_for(key):
            return [Offer(word, key) for word in words]
        return [] if typed else _example(key)

    # The line of a %llm

    def _on_line(self, place: Place) -> tuple[str, Iterable[Offer]]:
        word = place.word
        if not place.earlier:
            return word.before, [Offer(command.name, command.help) for command in COMMANDS if command.name]
        match place.earlier[0], len(place.earlier):
            case ("bench", 1) | ("chain", _):
                return self._of_chain(word)
            case "bench", 2:
                return word.before, [Offer(text, "duration") for text in _DURATIONS]
            case "unbench", 1:
                return self._of_benches(word)
            case "models", 1:
                return word.before, [Offer(name, "provider") for name in self._known().providers]
            case "explain", 1:
                return word.before, self._variables(_is_exception)
        return word.before, []

    # Chains

    def _of_chain(self, word: Word) -> tuple[str, Iterable[Offer]]:
        typed, others = part_of(word)
        provider, slash, model = typed.partition("/")
        if slash:
            return model, self._models(provider, others)
        return typed, self._links(typed, others)

    def _links(self, typed: str, others: Sequence[str]) -> Iterable[Offer]:
        """What a part of a chain begins with: an alias, a named chain, a provider."""
        known, benches = self._known(), self._standing()
        for name, target in sorted(known.aliases.items()):
            if name not in others:
                benched = [benches.get(spec.strip()) for spec in target.split(",")]
                if all(benched):
                    yield Offer(name, f"{_short(target)}: {benched[0]}", _BENCHED)
                else:
                    yield Offer(name, _short(target))
        meant = [name for name in known.providers if name.startswith(typed)]
        if typed and len(meant) == 1:
            self._catalogue.models(meant[0])  # the next thing that will be asked for
        for name, missing in sorted(known.providers.items()):
            yield Offer(f"{name}/", _keyless(missing) or "provider", _KEYLESS if missing else _READY)

    def _models(self, provider: str, others: Sequence[str]) -> Iterable[Offer]:
        """The models of a provider; what is typed of them begins behind its slash."""
        known, benches = self._known(), self._standing()
        missing = known.providers.get(provider, "")
        named = known.models.get(provider, ())
        for name in dict.fromkeys((*named, *self._catalogue.models(provider))):
            spec = f"{provider}/{name}"
            if spec in others:
                continue
            if spec in benches:
                yield Offer(name, benches[spec], _BENCHED)
            elif missing:
                yield Offer(name, _keyless(missing), _KEYLESS)
            else:
                yield Offer(name, "model")

    def _of_benches(self, word: Word) -> tuple[str, Iterable[Offer]]:
        typed, others = part_of(word)
        benches = sorted(self._standing().items())
        return typed, [Offer(spec, state) for spec, state in benches if spec not in others]

    def _standing(self) -> dict[str, str]:
        """The benched specs, and until when."""
        now = self._clock.now()
        return {bench.model: _until(bench, now) for bench in self._benches.list()}

    # Variables

    def _variables(self, fits: Callable[[object], bool], *, also: Iterable[str] = ()) -> list[Offer]:
        found = {
            name: type(value).__name__
            for name, value in list(self._names.items())
            if isinstance(name, str) and not name.startswith("_") and name not in _HIDDEN and fits(value)
        }
        return [Offer(name, found.get(name, "notebook")) for name in sorted({*found, *also})]

    # What is known

    def _known(self) -> _Known:
        last, now = self._last, self._clock.monotonic()
        if last is None or now >= last.until:
            self._last = last = self._look(now + _ONCE_A, last)
        return last

    def _look(self, until: float, last: _Known | None) -> _Known:
        try:
            aliases, names = self._registry.aliases(), self._registry.names()
            chain = load_settings().chain or ""
        except Exception:  # noqa: BLE001  # settings in the middle of an edit; the cell itself says what is wrong
            aliases, names, chain = (dict(last.aliases), list(last.providers), "") if last else ({}, [], "")
        specs = [chain, *aliases.values(), *self._asked()]
        return _Known(
            until,
            aliases={name: aliases[name] for name in usable_names(aliases)},
            providers={name: self._missing(name) for name in usable_names(names)},
            models=_by_provider(specs),
        )

    def _asked(self) -> Iterator[str]:
        """The chains that were asked lately, and the models that are benched, the latest first."""
        for block in reversed(self._log.blocks()[-_BLOCKS_LOOKED_AT:]):
            codes = {*block.words["chain"], *block.words["model"]}
            yield from sorted(block.table[code] for code in codes)
        yield from (bench.model for bench in self._benches.list())

    def _missing(self, name: str) -> str:
        try:
            missing: object = getattr(self._registry.provider(name), "missing_key", None)
        except Exception:  # noqa: BLE001  # somebody else's provider
            return "?"
        return _short(str(missing)) if missing else ""


def install(
    shell: InteractiveShell,
    *,
    registry: SpecRegistry = process_registry,
    benches: BenchRegistry = process_benches,
    log: EventLog = process_log,
    catalogue: Catalogue | None = None,
    clock: Clock | None = None,
) -> None:
    """Complete ``%%llm`` and ``%llm`` in a shell; where that is done already, it is done anew.

    Args:
        shell: The shell.
        registry: Its providers and aliases.
        benches: Which models are benched.
        log: Whose chains have been asked.
        catalogue: What the providers list; one of the registry's own unless given.
        clock: The time.
    """
    uninstall(shell)
    clock = SystemClock() if clock is None else clock
    completion = Completion(
        shell.user_ns,
        registry=registry,
        benches=benches,
        log=log,
        catalogue=Catalogue(registry, clock=clock) if catalogue is None else catalogue,
        clock=clock,
    )
    if (completer := shell.Completer) is not None:
        completer.custom_matchers.append(_matcher(completion))


def uninstall(shell: InteractiveShell) -> None:
    """Take away what :func:`install` added, whichever load of the package did."""
    if (completer := shell.Completer) is not None:
        ours = [matcher for matcher in completer.custom_matchers if _is_ours(matcher)]
        for matcher in ours:
            completer.custom_matchers.remove(matcher)


def _matcher(completion: Completion) -> Matcher:
    def match(context: CompletionContext) -> SimpleMatcherResult:
        return completion.match(context)

    # Before IPython's own, so that those it suppresses are not even asked: jedi takes its time.
    return cast("Matcher", context_matcher(identifier=MATCHER, priority=100.0)(match))


def _is_ours(matcher: object) -> bool:
    return getattr(matcher, "matcher_identifier", None) == MATCHER


# Small questions


def _short(text: str) -> str:
    """A text of others in one line of a bearable length."""
    line = " ".join(plain(text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _unbroken(text: str) -> str:
    """``text`` in one line: JupyterLab breaks it at its spaces, and then shows the first word alone."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _keys(place: Place) -> Iterable[Offer]:
    given = {word.partition("=")[0] for word in (*place.earlier, *place.later)}
    end = "" if place.word.after.startswith("=") else "="
    return [Offer(key.name + end, key.help) for key in KEYS if key.name not in given]


def _fitting(offers: Iterable[Offer], typed: str, *, most: int) -> list[Offer]:
    """Those that go on from what is typed, in their order; the last are kept where there are too many."""
    begun = typed.casefold()
    each: dict[str, Offer] = {}
    for offer in offers:
        if offer.text.casefold().startswith(begun):
            each.setdefault(offer.text, offer)
    fitting = sorted(each.values(), key=lambda offer: offer.rank)
    last = [offer for offer in fitting if offer.rank == _BENCHED][:most]
    return fitting if len(fitting) <= most else [*fitting[: most - len(last)], *last]


def _keyless(missing: str) -> str:
    if not missing:
        return ""
    return "cannot be used: %llm models says why" if missing == "?" else f"no key: set {missing}"


def _until(bench: BenchedModel, now: datetime) -> str:
    if bench.until is None:
        return "benched until lifted"
    until, today = bench.until.astimezone(), now.astimezone().date()
    return f"benched until {until:%H:%M}" if until.date() == today else f"benched until {until:%d %b %H:%M}"


def _by_provider(chains: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The models of the specs in these chains, in their order, by provider."""
    found: dict[str, list[str]] = {}
    for spec in dict.fromkeys(part.strip() for chain in chains for part in chain.split(",")):
        provider, slash, model = spec.partition("/")
        if slash:
            found.setdefault(provider, []).append(model)
    return {provider: usable_names(models) for provider, models in found.items()}


def _example(key: str) -> list[Offer]:
    """The value in the help's example, for keys that take anything."""
    return [Offer(known.example.partition("=")[2], "example") for known in KEYS if known.name == key]


# Of variables the type is asked, not the object: what stands for another may work at length to answer.


def _is_no_module(value: object) -> bool:
    return not issubclass(type(value), ModuleType)


def _is_exception(value: object) -> bool:
    return issubclass(type(value), BaseException)


def _is_answer(value: object) -> bool:
    return issubclass(type(value), Response)


def _is_plain(value: object) -> bool:
    """Whether an answer may take a variable's name without surprise, as far as its type tells."""
    return type(value) in _PLAIN


def _is_schema(value: object) -> bool:
    if issubclass(type(value), type):
        return issubclass(cast("type", value), _models_of_pydantic())
    return issubclass(type(value), dict)


def _models_of_pydantic() -> tuple[type, ...]:
    """The base of pydantic's models, where the notebook has imported it."""
    base: object = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return (base,) if isinstance(base, type) else ()
