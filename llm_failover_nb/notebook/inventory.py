"""What there is to ask, as tables: providers, aliases, local models, a chain. Nothing is shown here.

No network: whether a server answers is not known, whether a key is set and a file is there is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast
from urllib.parse import urlsplit

from llm_failover_nb.engine.bench import BenchedModel
from llm_failover_nb.engine.model import Model
from llm_failover_nb.engine.registry import BUILT_IN, ProviderInfo, SpecRegistry
from llm_failover_nb.notebook.render import Listed, Listing, Standings, bench_words
from llm_failover_nb.providers import local, weights
from llm_failover_nb.providers.environment import is_loopback
from llm_failover_nb.settings import EMBEDDED_MODEL, Settings

__all__ = ["Inventory", "matching", "nearest", "served_here"]

_EXTRA_MISSING = "not installed: run  pip install 'llm-failover-nb[local]'"

# Built-in providers whose models are not the provider's to name.
_EXAMPLES = {"sim": "sim/echo"}

# Those that can be asked stand first.
_ORDER: tuple[Standings, ...] = ("ready", "unchecked", "benched", "missing")

_STATES = {"ready": "ready", "unchecked": "not checked"}

_VARIABLES = re.compile(r"[A-Za-z_]\w*(?: and [A-Za-z_]\w*)*")


class Inventory:
    """What a notebook can ask now.

    Args:
        registry: Its providers and aliases.
        settings: The files of its local models.
        benches: The live benches.
        now: The moment that the benches are measured from, aware.
    """

    def __init__(
        self, registry: SpecRegistry, settings: Settings, benches: Sequence[BenchedModel], now: datetime
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._benches = {bench.model: bench for bench in benches}
        self._now = now

    def tables(self, chain: str) -> tuple[Listing, ...]:
        """Providers, aliases and local models, those ready to use first; then ``chain`` in its own order.

        Raises:
            FailoverError: When the settings cannot be read.
        """
        return (
            Listing("providers", ("write", "where", "key"), self._providers()),
            Listing("aliases", ("write", "stands for", "state"), self._aliases()),
            Listing("local models", ("write", "file", "state"), self._local_models()),
            Listing("default chain, in its order", ("model", "state"), self._chain(chain)),
        )

    def _providers(self) -> tuple[Listed, ...]:
        infos = self._registry.providers()
        # The models of this machine have a table of their own.
        others = [info for info in infos if (info.name, info.source) != ("local", BUILT_IN)]
        return _ready_first(
            Listed((_spec(info), _where(info), self._key(info)), _standing(info.missing, info.base_url))
            for info in others
        )

    def _key(self, info: ProviderInfo) -> str:
        if info.missing:
            return f"set {info.missing}" if _VARIABLES.fullmatch(info.missing) else info.missing
        if info.key_env:
            return f"{info.key_env} is set"
        given: object = getattr(self._registry.provider(info.name), "key", None)
        return "none needed" if given is None else "given in code"

    def _aliases(self) -> tuple[Listed, ...]:
        return _ready_first(self._alias(*item) for item in self._registry.aliases().items())

    def _alias(self, name: str, target: str) -> Listed:
        try:
            missing = [self._missing(model) for model in self._models(name)]
        except Exception as error:  # noqa: BLE001  # somebody else's provider; its error is what is told of it
            return Listed((name, target, str(error)), "missing")
        if not missing:
            return Listed((name, target, "names no model"), "missing")
        if not any(missing):
            standing = self._surest_standing(name)
            return Listed((name, target, _STATES[standing]), standing)
        if not all(missing):
            return Listed((name, target, f"{missing.count('')} of {len(missing)} ready"), "ready")
        return Listed((name, target, "; ".join(dict.fromkeys(missing))), "missing")

    def _local_models(self) -> tuple[Listed, ...]:
        embedded = weights.find()
        files = {EMBEDDED_MODEL: "comes with the package" if embedded is None else str(embedded)}
        files |= {name: str(file) for name, file in self._settings.local.items()}
        return _ready_first(self._local_model(name, file) for name, file in files.items())

    def _local_model(self, name: str, file: str) -> Listed:
        missing = self._not_installed(name)
        return Listed((f"local/{name}", file, missing or "installed"), "missing" if missing else "ready")

    def _chain(self, chain: str) -> tuple[Listed, ...]:
        try:
            return tuple(map(self._link, self._models(chain)))
        except Exception as error:  # noqa: BLE001  # likewise
            return (Listed((chain, str(error)), "missing"),)

    def _link(self, model: Model) -> Listed:
        missing, bench = self._missing(model), self._benches.get(model.spec)
        benched = bench_words(bench, self._now) if bench is not None else ""
        standing = _standing(missing, _base_url(model.provider))
        if missing or benched:
            state = "; ".join(filter(None, (missing, benched)))
            return Listed((model.spec, state), "missing" if missing else "benched")
        return Listed((model.spec, _STATES[standing]), standing)

    def _models(self, chain: str) -> list[Model]:
        return [self._registry.model(spec) for spec in self._registry.expand(chain)]

    def _surest_standing(self, name: str) -> Standings:
        """How an alias stands of which nothing is missing: as its models do, the surest of them."""
        standings = {_standing("", _base_url(model.provider)) for model in self._models(name)}
        return "ready" if "ready" in standings else "unchecked"

    def _missing(self, model: Model) -> str:
        """What to do before a model can be asked; empty when nothing is."""
        if isinstance(model.provider, local.LocalProvider):
            return self._not_installed(model.name)
        missing = cast("str | None", getattr(model.provider, "missing_key", None))
        return f"set {missing}" if missing else ""

    def _not_installed(self, name: str) -> str:
        if not local.extra_installed():
            return _EXTRA_MISSING
        if name == EMBEDDED_MODEL:
            return "" if weights.find() is not None else f"not installed: {weights.why_missing()}"
        file = self._settings.local.get(name)
        return "" if file is None or file.is_file() else "no such file; correct it in the settings"


def served_here(provider: object) -> bool:
    """Whether a provider's server is on this machine, a program of its own that nobody has looked for."""
    return not isinstance(provider, local.LocalProvider) and _on_this_machine(_base_url(provider))


def matching(tables: Sequence[Listing], text: str) -> tuple[Listing, ...]:
    """The tables with the lines alone that hold ``text``, whatever its case; a spec matches its provider.

    Args:
        tables: As :meth:`Inventory.tables` gives them.
        text: Part of a name, an address, a variable, or a whole spec.
    """
    whole = _holding(tables, text)
    name, slash, _ = text.partition("/")
    return whole if any(table.lines for table in whole) or not slash else _holding(tables, f"{name}/")


def nearest(tables: Sequence[Listing], text: str) -> list[str]:
    """Names that are like ``text``, the nearest first."""
    written = [line.cells[0] for table in tables for line in table.lines]
    names = dict.fromkeys(name for one in written for name in (one.partition("/")[0], one))
    return difflib.get_close_matches(text.lower(), names, cutoff=0.7)


def _holding(tables: Sequence[Listing], text: str) -> tuple[Listing, ...]:
    wanted = text.lower()
    return tuple(
        replace(
            table,
            lines=tuple(line for line in table.lines if any(wanted in cell.lower() for cell in line.cells)),
        )
        for table in tables
    )


def _base_url(provider: object) -> str:
    if isinstance(provider, local.LocalProvider):
        return ""  # it starts its server itself
    return str(getattr(provider, "base_url", None) or "")


def _standing(missing: str, base_url: str) -> Standings:
    if missing:
        return "missing"
    return "unchecked" if _on_this_machine(base_url) else "ready"


def _on_this_machine(base_url: str) -> bool:
    try:
        return is_loopback(urlsplit(base_url).hostname or "")
    except ValueError:  # somebody else's, which may be anything
        return False


def _ready_first(lines: Iterable[Listed]) -> tuple[Listed, ...]:
    return tuple(sorted(lines, key=lambda line: (_ORDER.index(line.standing), line.cells)))


def _spec(info: ProviderInfo) -> str:
    example = _EXAMPLES.get(info.name) if info.source == BUILT_IN else None
    return example or f"{info.name}/MODEL"


def _where(info: ProviderInfo) -> str:
    source = "" if info.source == BUILT_IN else f" ({info.source})"
    if info.base_url:
        # Other people's may be anything, so they are not parsed.
        host = info.base_url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return f"{host or info.base_url}{source}"
    return f"{'not known yet' if info.missing else 'this process'}{source}"
