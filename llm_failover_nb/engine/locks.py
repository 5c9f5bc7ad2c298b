"""Locks that a forked process can take, whichever thread held them when it forked. Nothing else."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

__all__ = ["new_lock", "new_rlock"]

# All of the process's, so that a child can have them anew: the threads that held them are not in it.
_locks: WeakSet[threading.Lock] = WeakSet()


def new_lock() -> threading.Lock:
    """A lock that is free in a child process after a fork."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def new_rlock() -> threading.RLock:
    """The same, which its own thread can take again."""
    lock = threading.RLock()
    _locks.add(lock)  # type: ignore[arg-type]  # renewed alike
    return lock


def _renew() -> None:
    for lock in tuple(_locks):
        # What the standard library's own modules do after a fork, as in logging.
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows does not fork
    os.register_at_fork(after_in_child=_renew)
