"""What tests of the real local model share: a question to it, and a look at the children that serve it."""

from __future__ import annotations

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Request, Timeouts
from llm_failover_nb.providers.local_children import Child, own_children

__all__ = ["LIMITS", "ask", "children", "verdict"]

LIMITS = Timeouts(connect=5, first_token=60, idle=60, attempt=60)


def ask(prompt: str = "Name three fruits.", *, model: str = "smollm2", max_tokens: int = 12) -> Request:
    return Request(
        prompt,  # type: ignore[arg-type]  # coerced by the request
        model=model,
        max_tokens=max_tokens,
        temperature=0.0,
        seed=1,
        timeouts=LIMITS,
    )


def children() -> list[Child]:
    """The children that this process has."""
    return list(own_children._of.values())


def verdict(error: ProviderError) -> tuple[ErrorKind | None, str]:
    return error.kind, error.reason
