"""Names to providers, specs to models: the registry, its aliases, and providers that install themselves."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from typing import cast

from llm_failover_nb.engine import builtin_providers
from llm_failover_nb.engine.errors import ChainSpecError
from llm_failover_nb.engine.locks import new_rlock
from llm_failover_nb.engine.model import Model, split_spec
from llm_failover_nb.engine.portal import calls_of
from llm_failover_nb.engine.types import Provider

__all__ = ["ENTRY_POINTS", "SpecRegistry"]

ENTRY_POINTS = "llm_failover_nb.providers"
"""The entry-point group in which other packages offer providers: a provider, or a callable that makes one."""


class SpecRegistry:
    """Reads specs. Built-in providers are made when first named; entry points are for other names."""

    def __init__(self) -> None:
        self._lock = new_rlock()
        self._providers: dict[str, Provider] = {}
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
            self._providers[name] = provider

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
        """The providers known without scanning entry points, sorted."""
        return sorted({*builtin_providers, *self._providers})

    def aliases(self) -> dict[str, str]:
        """The aliases and what they stand for."""
        return dict(self._aliases)

    def provider(self, name: str) -> Provider:
        """The provider of that name.

        Raises:
            ChainSpecError: When there is none; the message names the nearest known one.
        """
        with self._lock:
            if (known := self._providers.get(name)) is None:
                self._providers[name] = known = self._make(name)
            return known

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
            raise ChainSpecError(f"{spec!r}: {error}") from None
        if (check := getattr(provider, "check", None)) is not None:
            cast("Callable[[str], None]", check)(bare)
        return Model(spec, provider)

    def expand(self, text: str) -> list[str]:
        """The specs of a chain written as text: blanks skipped, spaces trimmed, aliases resolved.

        Raises:
            ChainSpecError: When aliases go round in a circle, or a part is neither spec nor alias.
        """
        return list(self._expand(text, ()))

    def _expand(self, text: str, within: tuple[str, ...]) -> Iterable[str]:
        for part in filter(None, map(str.strip, text.split(","))):
            target = self._aliases.get(part)
            if target is None:
                yield self._spec(part)
            elif part in within:
                raise ChainSpecError(f"alias {part!r} stands for itself: {' -> '.join((*within, part))}")
            else:
                yield from self._expand(target, (*within, part))

    def _spec(self, part: str) -> str:
        if "/" not in part:
            if near := difflib.get_close_matches(part, self._aliases, n=1):
                raise ChainSpecError(f"{part!r} is neither a spec nor an alias: did you mean {near[0]!r}?")
            if near := difflib.get_close_matches(part, self.names(), n=1):
                raise ChainSpecError(
                    f"{part!r} is no spec: write provider/model, such as {near[0]}/model-name"
                )
        split_spec(part)
        return part

    def _make(self, name: str) -> Provider:
        if name in builtin_providers:
            module, _, attribute = builtin_providers[name].partition(":")
            factory: Callable[[str], Provider] = getattr(importlib.import_module(module), attribute)
            return factory(name)
        from importlib.metadata import entry_points  # 20 ms, for names nobody knows

        for point in entry_points(group=ENTRY_POINTS, name=name):
            offered = point.load()
            return cast("Provider", offered() if _makes(offered) else offered)
        near = difflib.get_close_matches(name, self.names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(self.names())};"
        raise ChainSpecError(f"unknown provider {name!r}; {hint} register_provider adds others")


def _makes(offered: object) -> bool:
    return isinstance(offered, type) or not (hasattr(offered, "complete") or hasattr(offered, "acomplete"))


def _check_name(name: str, what: str) -> None:
    if not name or set(name) & set("/, \t\n"):
        raise ValueError(f"{name!r} is no name for {what}: give it one without slash, comma or space")
