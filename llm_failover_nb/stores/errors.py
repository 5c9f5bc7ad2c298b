"""What is raised when a store cannot be used from the start. Later losses are told to the log, not raised."""

from __future__ import annotations

from llm_failover_nb.engine.errors import FailoverError

__all__ = ["StoreError"]


class StoreError(FailoverError, OSError):
    """A store cannot be used; the message names it, says why, and what to do."""
