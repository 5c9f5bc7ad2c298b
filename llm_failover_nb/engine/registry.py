"""Names to providers, specs to models: the registry, its aliases, and the places where a name may be known.

A name is looked for among what was registered, then in the sources that the package wires in (the user's
settings), then among the built-in ones, then among the entry points of installed packages. What stands for a
chain is looked for among the registry's own aliases, then in the sources of aliases.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, cast

from llm_failover_nb.engine import (
    alias_sources,
    builtin_providers,
    provider_sources,
    withheld_sources,
)
from llm_failover_nb.engine.errors import ChainSpecError
from llm_failover_nb.engine.locks import new_rlock
from llm_failover_nb.engine.model import Model, split_spec
from llm_failover_nb.engine.portal import calls_of
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.engine.types import Provider

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINTS", "ProviderInfo", "SpecRegistry"]

ENTRY_POINTS = "llm_failover_nb.providers"
"""The entry-point group in which other packages offer providers: a provider, or a callable that makes one."""


REGISTERED, BUILT_IN, INSTALLED = "registered", "built in", "installed"
"""What the sources of providers are called that are the registry's own."""


_Look = Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """One provider as it stands now.

    Args:
        name: What stands before the slash of its specs.
        wire: The dialect in which its answers and failures come; empty where the object does not say, and for
            one that cannot be made.
        base_url: Where its paths begin; empty where it has no address, or none yet.
        key_env: The environment variable with its key; ``None`` when it reads none.
        missing: The variables to set before it can be asked, empty when nothing is missing; for one that
            cannot be made, the error.
        source: Who knows it: ``registered``, ``settings``, ``built in`` or ``installed`` (an entry point of
            another package).
    """

    name: str
    wire: str
    base_url: str
    key_env: str | None
    missing: str
    source: str


@dataclass(frozen=True, slots=True)
class _Offer:
    """A provider that can be had: from where, and what makes it."""

    source: str
    make: Callable[[], Provider]


@dataclass(frozen=True, slots=True)
class _Known:
    """A provider that is there, and from where."""

    source: str
    provider: Provider


class SpecRegistry:
    """Reads specs. Providers are made when first named; what is registered wins over every other source."""

    def __init__(self) -> None:
        self._lock = new_rlock()
        self._known: dict[str, _Known] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str, provider: Provider) -> None:
        """Make ``name/model`` a spec; a name that is known already is replaced for chains built from now on.

        Raises:
            ValueError: When the name could not stand in a spec.
            TypeError: When the provider has neither pair of calls.
        """
        _check_name(name, "a provider")
        calls_of(provider)
        with self._lock:
            self._known[name] = _Known(REGISTERED, provider)

    def forget(self, name: str) -> None:
        """Let a provider be made anew when its name is next asked for; one that was registered stays.

        For a source that has changed. Chains that exist keep theirs, and nothing is closed.
        """
        with self._lock:
            if name in self._known and self._known[name].source != REGISTERED:
                del self._known[name]

    def alias(self, name: str, target: str) -> None:
        """Let ``name`` stand for a spec or a chain; it resolves before anything is keyed by it.

        Raises:
            ValueError: When the name could not stand in a chain.
        """
        _check_name(name, "an alias")
        with self._lock:
            self._aliases[name] = target

    def unalias(self, name: str) -> None:
        """Forget an alias, if it is one."""
        with self._lock:
            self._aliases.pop(name, None)

    def names(self) -> list[str]:
        """The providers known without scanning entry points, sorted.

        Raises:
            FailoverError: When the user's settings cannot be read.
        """
        return sorted({*_offers(), *self._known})

    def providers(self) -> tuple[ProviderInfo, ...]:
        """All providers, by name: built in, from the settings, registered, and brought by other packages.

        Each is made, if it has not been yet; none is asked anything, and nothing is sent. One that cannot be
        made is listed with its error in ``missing``.

        Raises:
            FailoverError: When the user's settings cannot be read.

        >>> [info.source for info in SpecRegistry().providers() if info.name == "openai"]
        ['built in']
        """
        with self._lock:
            offers = {**_installed(), **_offers()}
            return tuple(self._info(name, offers) for name in sorted({*offers, *self._known}))

    def aliases(self) -> dict[str, str]:
        """The aliases and what they stand for: the registry's own, and those of the sources beside them.

        Raises:
            FailoverError: When the user's settings cannot be read.
        """
        return {**_aliases_offered(), **self._aliases}

    def own_alias(self, name: str) -> str | None:
        """What the registry itself was told that ``name`` stands for, whatever the sources beside it say."""
        return self._aliases.get(name)

    def provider(self, name: str) -> Provider:
        """The provider of that name.

        Raises:
            ChainSpecError: When there is none; the message names the nearest known one.
        """
        with self._lock:
            if name not in self._known:
                self._known[name] = _made(self._offer(name))
            return self._known[name].provider

    def model(self, spec: str) -> Model:
        """The model of one spec.

        Raises:
            ChainSpecError: When the spec names no model, no known provider, or the provider refuses the name.
        """
        spec = spec.strip()
        name, bare = split_spec(spec)
        try:
            provider = self.provider(name)
        except ChainSpecError as error:
            raise ChainSpecError(f"{spec!r}: {error}") from error.__cause__
        if (check := getattr(provider, "check", None)) is not None:
            cast("Callable[[str], None]", check)(bare)
        return Model(spec, provider)

    def expand(self, text: str, *, within: str = "") -> list[str]:
        """The specs of a chain written as text: blanks skipped, spaces trimmed, aliases resolved.

        Args:
            text: Specs and aliases, joined by commas.
            within: The alias that is to stand for it, and so cannot be in it.

        Raises:
            ChainSpecError: When aliases go round in a circle, or a part is neither spec nor alias.
        """
        return list(self._expand(text, (within,) if within else (), cache(_aliases_offered)))

    def _expand(self, text: str, within: tuple[str, ...], offered: _Look) -> Iterable[str]:
        for part in filter(None, map(str.strip, text.split(","))):
            target = self._target(part, offered)
            if target is None:
                yield self._spec(part)
            elif part in within:
                raise ChainSpecError(f"alias {part!r} stands for itself: {' -> '.join((*within, part))}")
            else:
                yield from self._expand(target, (*within, part), offered)

    def _target(self, part: str, offered: _Look) -> str | None:
        """What a part of a chain stands for; the sources are looked at for names that have no slash alone."""
        if part in self._aliases or "/" in part:
            return self._aliases.get(part)
        return offered().get(part)

    def _spec(self, part: str) -> str:
        if "/" not in part:
            if (why := _withheld(part)) is not None:
                raise ChainSpecError(f"{part!r} is {why}")
            if near := difflib.get_close_matches(part, self.aliases(), n=1):
                raise ChainSpecError(f"{part!r} is neither a spec nor an alias: did you mean {near[0]!r}?")
            if near := difflib.get_close_matches(part, self.names(), n=1):
                raise ChainSpecError(
                    f"{part!r} is no spec: write provider/model, such as {near[0]}/model-name"
                )
        split_spec(part)
        return part

    def _offer(self, name: str) -> _Offer:
        offers = _offers()
        if name not in offers:
            offers = {**_installed(), **offers}
        if name in offers:
            return offers[name]
        if (why := _withheld(name)) is not None:
            raise ChainSpecError(f"the provider {name!r} is {why}")
        names = sorted({*offers, *self._known})
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)};"
        raise ChainSpecError(
            f"unknown provider {name!r}; {hint} register_provider and the settings add others"
        )

    def _info(self, name: str, offers: Mapping[str, _Offer]) -> ProviderInfo:
        try:
            if name not in self._known:
                self._known[name] = _made(offers[name])
            return _info_of(name, self._known[name])
        except Exception as error:  # noqa: BLE001  # somebody else's provider; its error is what is told of it
            source = self._known[name].source if name in self._known else offers[name].source
            said = " ".join(redact(str(error)).split()) or type(error).__name__
            return ProviderInfo(name, "", "", None, said, source)


# Where a name may be known


def _offers() -> dict[str, _Offer]:
    """What can be had without scanning entry points; the sources are looked at now."""
    offers = {
        name: _Offer(BUILT_IN, partial(_built_in, path, name)) for name, path in builtin_providers.items()
    }
    for source, path in provider_sources.items():
        look = cast("Callable[[], Mapping[str, Callable[[], Provider]]]", _attribute(path))
        offers |= {name: _Offer(source, make) for name, make in look().items()}
    return offers


def _aliases_offered() -> dict[str, str]:
    """What names stand for, by the sources."""
    return _texts_of(alias_sources)


def _withheld(name: str) -> str | None:
    """Where a name is defined without counting, and why it does not."""
    return _texts_of(withheld_sources).get(name)


def _texts_of(sources: Mapping[str, str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in sources.values():
        texts |= cast("_Look", _attribute(path))()
    return texts


def _built_in(path: str, name: str) -> Provider:
    return cast("Callable[[str], Provider]", _attribute(path))(name)


def _attribute(path: str) -> object:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _installed() -> dict[str, _Offer]:
    """What other packages bring; of two for one name the first that is found."""
    from importlib.metadata import entry_points  # 20 ms, for names that nobody else knows

    points = reversed(entry_points(group=ENTRY_POINTS))
    return {point.name: _Offer(INSTALLED, partial(_loaded, point)) for point in points}


def _loaded(point: EntryPoint) -> Provider:
    try:
        offered = point.load()
        provider = cast("Provider", offered() if _makes(offered) else offered)
        calls_of(provider)
    except Exception as error:
        package = point.dist.name if point.dist is not None else point.module
        raise ChainSpecError(
            f"the provider {point.name!r} of the package {package} cannot be used: "
            f"{type(error).__name__}: {error}; update that package, or uninstall it"
        ) from error
    return provider


def _made(offer: _Offer) -> _Known:
    return _Known(offer.source, offer.make())


def _info_of(name: str, known: _Known) -> ProviderInfo:
    provider: object = known.provider
    key_env: object = getattr(provider, "key_env", None)
    return ProviderInfo(
        name,
        wire=str(getattr(provider, "wire", "") or ""),
        base_url=str(getattr(provider, "base_url", "") or ""),
        key_env=None if key_env is None else str(key_env),
        missing=str(getattr(provider, "missing_key", "") or ""),
        source=known.source,
    )


def _makes(offered: object) -> bool:
    return isinstance(offered, type) or not (hasattr(offered, "complete") or hasattr(offered, "acomplete"))


def _check_name(name: str, what: str) -> None:
    if not name or set(name) & set("/, \t\n"):
        raise ValueError(f"{name!r} is no name for {what}: give it one without slash, comma or space")
