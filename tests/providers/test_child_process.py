"""Child processes: no key reaches them, their first line is awaited with a limit, and they end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from llm_failover_nb.providers.child_process import child_environment, first_line, kill, reap


class TestChildEnvironment:
    def test_a_key_is_not_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A child process sees no key, however it is called."""
        monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
        monkeypatch.setenv("SOME_CREDENTIAL", "canary-too")
        code = "import os; print('canary' in str(dict(os.environ)))"
        environment = child_environment(prefixes=("OMP_",))
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert child.stdout == "False\n"

    def test_what_it_needs_is_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Names that are common, asked for, or begin as asked for come along."""
        for name in ("PATH", "LC_ALL", "OMP_NUM_THREADS", "MINE"):
            monkeypatch.setenv(name, "x")
        environment = child_environment(["MINE"], prefixes=("OMP_",))
        assert {"PATH", "LC_ALL", "OMP_NUM_THREADS", "MINE"} <= environment.keys()


@contextlib.contextmanager
def python(code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs ``code``, and is gone afterwards."""
    command = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


class TestFirstLine:
    def test_it_is_given(self) -> None:
        """What is said first is given, though the process goes on."""
        with python("print('one', flush=True); input()") as child:
            assert first_line(child, limit=30) == ("one\n", False)

    def test_a_process_that_ends_in_silence_gave_none(self) -> None:
        """An end without a line is told from lateness."""
        with python("pass") as child:
            assert first_line(child, limit=30) == ("", False)

    def test_a_process_that_is_late_is_killed(self) -> None:
        """Past the limit there is no line, and soon no process."""
        with python("input()") as child:
            assert (first_line(child, limit=0.05), child.wait(30)) == (("", True), -9)


class TestEnds:
    def test_kill_waits_until_it_is_gone(self) -> None:
        """Afterwards the status is known and the pipe is closed."""
        with python("input()") as child:
            kill(child)
            assert (child.returncode, child.stdin is not None and child.stdin.closed) == (-9, True)

    def test_reap_leaves_it_its_status(self) -> None:
        """A process that ends by itself tells why."""
        with python("import os; os.close(1); os._exit(7)") as child:
            reap(child)
            assert child.returncode == 7
