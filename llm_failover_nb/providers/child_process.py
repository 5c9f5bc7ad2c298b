"""Child processes: what they may see, how their first line is awaited, how they end. No program in here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["child_environment", "close_stdin", "first_line", "kill", "reap"]

_TIME_TO_EXIT = 5.0  # seconds

# What a child may see: how to find programs, folders, its language; on Windows, the system itself.
_INHERITED = (
    *(
        "PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "TMP",
        "TEMP",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
    ),
    *("PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "VIRTUAL_ENV"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA", "LOCALAPPDATA"),
)


def child_environment(names: Iterable[str] = (), *, prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    """The part of the environment that a child process may see: no keys, whatever they are called.

    Args:
        names: Variables to pass on besides those that every program needs.
        prefixes: Beginnings of further names.
    """
    allowed = {*_INHERITED, *names}
    starts = ("LC_", *prefixes)
    return {name: value for name, value in os.environ.items() if name in allowed or name.startswith(starts)}


def first_line(process: subprocess.Popen[str], *, limit: float) -> tuple[str, bool]:
    """The line that a process says first, ``""`` when it ended without one; its output is closed then.

    Args:
        process: Started with a pipe for its standard output.
        limit: Seconds that it may take; then it is killed.

    Returns:
        The line, and whether the process was killed for being late.
    """
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    watchdog = threading.Timer(limit, give_up)
    watchdog.daemon = True  # an interpreter that ends does not wait for it
    watchdog.start()
    try:
        with cast("IO[str]", process.stdout) as output:
            return output.readline(), late.is_set()
    finally:
        watchdog.cancel()
        watchdog.join()


def reap(process: subprocess.Popen[str]) -> None:
    """Let a process that has closed its output end by itself: its status tells why. Past 5 s it is killed."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_TIME_TO_EXIT)
    kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """End a process at once, wait until it is gone, and close what led to it."""
    process.kill()
    process.wait()
    close_stdin(process)


def close_stdin(process: subprocess.Popen[str]) -> None:
    """Close the pipe to a process, whether or not anybody still reads it."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # it is gone already
            process.stdin.close()
