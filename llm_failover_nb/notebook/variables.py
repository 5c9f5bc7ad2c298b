"""A variable of the notebook that a line names: found, or refused with what may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from llm_failover_nb.notebook.arguments import ArgumentError

__all__ = ["value_at"]

# What IPython puts into every notebook, and no user means.
_IPYTHONS_OWN = {"In", "Out", "exit", "get_ipython", "open", "quit"}


def value_at(
    path: str,
    namespace: Mapping[str, object],
    *,
    fits: Callable[[object], bool] = lambda _: True,
    otherwise: str = "run the cell that defines it first",
) -> object:
    """The value of a variable, or of a path of attributes such as ``error.__cause__``.

    Args:
        path: As it was typed.
        namespace: The notebook's variables.
        fits: Whether a value is of the kind that is asked for; such variables are suggested first.
        otherwise: What to say of a name that is not there and like no other.

    Raises:
        ArgumentError: When there is no such variable or attribute.
    """
    name, *attributes = path.split(".")
    if not all(part.isidentifier() for part in (name, *attributes)):
        raise ArgumentError(f"{path!r} is no variable: write its name, such as error")
    if name not in namespace:
        raise ArgumentError(f"{name!r} is not defined; {_meant(name, namespace, fits) or otherwise}")
    value = namespace[name]
    for attribute in attributes:
        try:
            value = getattr(value, attribute)
        except AttributeError:
            kind = type(value).__name__
            raise ArgumentError(f"{path!r} is not there: a {kind} has no attribute {attribute!r}") from None
    return value


def _meant(name: str, namespace: Mapping[str, object], fits: Callable[[object], bool]) -> str:
    fitting = [key for key, value in namespace.items() if fits(value)]
    others = [key for key in namespace if not key.startswith("_") and key not in _IPYTHONS_OWN]
    for known in (fitting, others):
        if near := difflib.get_close_matches(name, known, n=1):
            return f"did you mean {near[0]}?"
    return ""
