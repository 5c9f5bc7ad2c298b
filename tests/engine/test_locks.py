"""Locks and forks: a child can go on, whichever thread of its parent held a lock."""

from __future__ import annotations

import os
import subprocess
import sys
from weakref import WeakSet

import pytest

from llm_failover_nb.engine import locks
from llm_failover_nb.engine.locks import new_lock, new_rlock

HELD = """
import os, sys, threading
import llm_failover_nb as fo
from llm_failover_nb.engine.chain import process_benches
from llm_failover_nb.engine.events import process_log

held, release = threading.Event(), threading.Event()

def hold():
    with process_log._lock, process_benches._lock:
        held.set()
        release.wait()

chain = fo.parse_chain("sim/503,sim/echo", max_retries=1)
holder = threading.Thread(target=hold)
holder.start()
held.wait()
child = os.fork()
if not child:
    os._exit(0 if chain.complete("hello").text == "hello" else 1)
release.set()
holder.join()
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("new", [new_lock, new_rlock])
def test_a_lock_is_a_lock(new):
    """It keeps others out."""
    lock = new()
    with lock:
        assert lock.acquire(blocking=False) == (new is new_rlock)


def test_renewing_frees_a_lock_that_somebody_held(monkeypatch):
    """What happens in the child, here without one."""
    monkeypatch.setattr(locks, "_locks", WeakSet())
    held, free = new_lock(), new_rlock()
    held.acquire()
    locks._renew()
    assert (held.acquire(blocking=False), free.acquire(blocking=False)) == (True, True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_can_call_while_a_thread_of_its_parent_held_the_locks():
    """The thread that held them is not in the child, and would never let go."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HELD], timeout=60, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
