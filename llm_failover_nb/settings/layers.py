"""Layers of settings: which value wins, what a project may set unasked, and the list of what holds.

Default < user < project < notebook, value by value. Pure functions; nothing is read here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from llm_failover_nb.engine.policy import Policy, get_failover_defaults
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.settings.types import CELL_DEFAULTS, Origin, ProviderSettings, Settings, Untrusted
from llm_failover_nb.settings.values import HIDDEN, POLICY, may_be_a_key

if TYPE_CHECKING:
    from pathlib import Path

    from llm_failover_nb.engine.chain import PolicyFields

__all__ = ["CELL_POLICY", "config_values", "merged", "within_bounds"]

T = TypeVar("T")

CELL_POLICY: Mapping[str, object] = {"midstream": "restart"}
"""Where a cell's defaults differ from those of :class:`~llm_failover_nb.engine.policy.Policy`: it owns its
output and can take back what it has shown."""

_DEFAULT = Origin("default")
_WORD = re.compile(r"[^\s,]+")
# As far as a model or a path is a spec: words between dots, dashes and slashes, none of them a key's length.
_SPEC = re.compile(r"[\w.-]{1,30}(?:/[\w:@.~-]{1,60})+")


def merged(below: Settings, above: Settings) -> Settings:
    """Two layers as one; what is set in ``above`` wins.

    Tables are merged key by key; a provider's entry is one value, so that no host is ever combined with a
    key that another file names. A name that is an alias above is no chain from below, and the reverse.

    Args:
        below: The lower layer; the user's file is its own.
        above: The upper one.
    """
    gone = {f"aliases.{name}" for name in above.chains} | {f"chains.{name}" for name in above.aliases}
    return replace(
        below,
        chain=below.chain if above.chain is None else above.chain,
        aliases=_over(_without(below.aliases, above.chains), above.aliases),
        chains=_over(_without(below.chains, above.aliases), above.chains),
        cell=_over(below.cell, above.cell),
        policy=cast("PolicyFields", {**below.policy, **above.policy}),
        local=_over(below.local, above.local),
        providers=_over(below.providers, above.providers),
        notes=below.notes + above.notes,
        origins=_over(_without(below.origins, gone), above.origins),
    )


def within_bounds(project: Settings, content: bytes) -> Settings:
    """What counts of a project's file that the user has not trusted; the rest is in ``untrusted``.

    What counts is named here one by one, so that whatever a file may hold one day is left out first.

    Args:
        project: All of the file.
        content: The file as it was read.
    """
    files = {name: text for name, text in _chains(project) if _names_a_file(text)}
    origins = project.origins
    asked = {name for name in origins if name in files or name.startswith(("providers.", "local.models."))}
    bounded = Settings(
        path=project.path,
        chain=None if "chain" in files else project.chain,
        aliases={n: text for n, text in project.aliases.items() if f"aliases.{n}" not in files},
        chains={n: text for n, text in project.chains.items() if f"chains.{n}" not in files},
        cell=project.cell,
        policy=project.policy,
        origins=_without(origins, asked),
    )
    if not asked:
        return bounded
    untrusted = Untrusted(
        path=cast("Path", project.path),
        content=content,
        providers=project.providers,
        models=project.local,
        chains=files,
        origins={name: origins[name] for name in asked},
    )
    return replace(bounded, untrusted=untrusted)


def config_values(settings: Settings) -> list[tuple[str, str, Origin]]:
    """Every setting, its value as it may be shown, and where it comes from; in the same order always.

    Defaults are listed, too: those of cells, and those of the policy that stand now
    (``set_failover_defaults`` in the notebook is the notebook's).

    >>> config_values(Settings())[0]
    ('chain', 'not set', Origin(layer='default', path=None, line=None))
    """
    return [
        (name, redact(text), settings.origins.get(name, default)) for name, text, default in _listed(settings)
    ]


# Merging


def _over(below: Mapping[str, T], above: Mapping[str, T]) -> Mapping[str, T]:
    return MappingProxyType({**below, **above})


def _without(items: Mapping[str, T], gone: Collection[str]) -> dict[str, T]:
    return {name: item for name, item in items.items() if name not in gone}


def _chains(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every text that is read as a chain, by dotted name."""
    if settings.chain is not None:
        yield "chain", settings.chain
    yield from ((f"aliases.{name}", text) for name, text in settings.aliases.items())
    yield from ((f"chains.{name}", text) for name, text in settings.chains.items())


def _names_a_file(chain: str) -> bool:
    """Whether an entry names a file to load, as ``local//models/x.gguf`` does."""
    models = (part.strip().partition("/") for part in chain.split(","))
    return any(provider == "local" and re.search(r"[/\\~:]", model) for provider, _, model in models)


# Showing


def _listed(settings: Settings) -> Iterator[tuple[str, str, Origin]]:
    yield "chain", _worded(settings.chain), _DEFAULT
    for table, names in (("chains", settings.chains), ("aliases", settings.aliases)):
        yield from ((f"{table}.{name}", _worded(names[name]), _DEFAULT) for name in sorted(names))
    for name, default in CELL_DEFAULTS.items():
        yield f"cell.{name}", _worded(settings.cell.get(name, default)), _DEFAULT
    for name in POLICY:
        value, origin = _policy_value(settings, name)
        yield f"policy.{name}", _worded(value, none=_without_value(name)), origin
    for name in sorted(settings.local):
        yield f"local.models.{name}", str(settings.local[name]), _DEFAULT
    for name in sorted(settings.providers):
        yield f"providers.{name}", _provider(settings.providers[name]), _DEFAULT


def _policy_value(settings: Settings, name: str) -> tuple[object, Origin]:
    """What the policy has for a cell, and whose it is where no file sets it."""
    standing, builtin = getattr(get_failover_defaults(), name), getattr(Policy(), name)
    if standing != builtin:
        value, origin = standing, Origin("notebook")
    else:
        value, origin = CELL_POLICY.get(name, builtin), _DEFAULT
    return cast("Mapping[str, object]", settings.policy).get(name, value), origin


def _without_value(name: str) -> str:
    return "as max_retries" if name == "stream_max_retries" else "no limit"


def _worded(value: object, *, none: str = "not set") -> str:
    match value:
        case None:
            return none
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case str():
            return " ".join(_prose(value).split())
        case tuple():
            return ", ".join(repr(_prose(text)) for text in value)
    return str(value)


def _prose(text: str) -> str:
    """A text without the words in it that may be keys: long, with digits, and no spec."""
    return _WORD.sub(lambda word: HIDDEN if _may_be_a_key(word[0]) else word[0], text)


def _may_be_a_key(word: str) -> bool:
    return may_be_a_key(word) and any(map(str.isdigit, word)) and not _SPEC.fullmatch(word)


def _provider(entry: ProviderSettings) -> str:
    parts = urlsplit(entry.base_url)
    address = f"{parts.scheme}://{parts.netloc}{parts.path}" + ("?…" if parts.query else "")
    key = f"key from {entry.key_env}" if entry.key_env else ""
    http = "key over plain http" if entry.allow_http else ""
    return ", ".join(filter(None, (address, entry.wire or "", key, http)))
