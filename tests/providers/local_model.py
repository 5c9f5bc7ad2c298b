"""What tests of the real local model share: a question, its children, its server by itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Request, Timeouts
from llm_failover_nb.providers import local_child, weights
from llm_failover_nb.providers.child_process import child_environment, first_line, kill
from llm_failover_nb.providers.local_children import CONTEXT, START_TIMEOUT, Child, own_children

__all__ = [
    "LIMITS",
    "LlamaServer",
    "ask",
    "children",
    "listening_address",
    "llama_server",
    "starting",
    "verdict",
]

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


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """The program that serves ``local/smollm2``, started by itself: where it listens, and what it lets in."""

    process: subprocess.Popen[str]
    base_url: str
    key: str


@contextlib.contextmanager
def llama_server(*, context: int = CONTEXT) -> Iterator[LlamaServer]:
    """A server with the model loaded; ``context`` is its window in tokens."""
    with starting(context=context) as (process, key):
        answer, _ = first_line(process, limit=START_TIMEOUT)
        yield LlamaServer(process, json.loads(answer)["base_url"], key)


@contextlib.contextmanager
def starting(*, context: int = CONTEXT) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that has just been started, and its key; it is ended with the block."""
    # One thread: answers are the same on every machine, and the tests leave the others a core.
    options = {"gguf": str(weights.find()), "threads": 1, "context": context}
    key = secrets.token_urlsafe(16)
    process = subprocess.Popen(
        [sys.executable, "-P", local_child.__file__, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment() | {local_child.KEY_VARIABLE: key},
        text=True,
        start_new_session=True,
    )
    try:
        yield process, key
    finally:
        kill(process)
        assert process.stdout is not None
        process.stdout.close()


def listening_address(process: subprocess.Popen[str]) -> str:
    """The base URL at which a process listens, as soon as it does; Linux alone tells of it."""
    until = time.monotonic() + START_TIMEOUT
    while not (port := _port(process.pid)):
        assert process.poll() is None, f"the process has ended with {process.returncode}"
        assert time.monotonic() < until, "the process does not listen"
        time.sleep(0.001)
    return f"http://127.0.0.1:{port}/v1"


def _port(pid: int) -> int | None:
    """The port on which a process waits for connections, read from the kernel's table."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed in the meantime
            sockets.update(re.findall(r"socket:\[(\d+)\]", os.readlink(descriptor)))
    table = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text("ascii").splitlines()[1:]]
    listening = "0A"
    return next(
        (int(row[1].rpartition(":")[2], 16) for row in table if row[3] == listening and row[9] in sockets),
        None,
    )
