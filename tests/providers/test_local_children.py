"""The children that serve models: when they start, what others can reach of them, and when they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.providers import local_children
from llm_failover_nb.providers.local import LocalProvider
from llm_failover_nb.providers.local_child import KEY_VARIABLE
from tests.providers.local_model import ask, children, verdict

PACKAGE = Path(local_children.__file__).parents[2]


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalProvider]:
    """A provider whose child may be running already: each start costs half a second."""
    made = LocalProvider()
    yield made
    made.close()
    assert children() == []


@pytest.fixture
def cold(provider: LocalProvider) -> LocalProvider:
    """The same with no child: the next call starts one."""
    provider.close()
    return provider


def process() -> subprocess.Popen[str]:
    """The process of the only child."""
    (child,) = children()
    assert child._process is not None
    return child._process


@pytest.mark.local_model
class TestChild:
    def test_one_child_serves_all_providers_and_threads(self, cold: LocalProvider) -> None:
        """Eight first calls at once, over two providers, start one process."""
        providers = [cold, LocalProvider()] * 4
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda p=each: texts.append(p.complete(ask(max_tokens=2)).text))
            for each in providers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(texts), len(children())) == (8, 1)

    def test_its_port_is_closed_to_others(self, provider: LocalProvider) -> None:
        """Whoever finds the port is refused without the key, and is shown no page."""
        provider.complete(ask())
        base = children()[0].ready.result().base_url
        statuses = [status_of(f"{base}/models"), status_of(base.removesuffix("/v1") + "/")]
        assert statuses == [401, 404]

    def test_it_listens_on_loopback_alone(self, provider: LocalProvider) -> None:
        """No other machine reaches it."""
        provider.complete(ask())
        assert children()[0].ready.result().base_url.startswith("http://127.0.0.1:")

    def test_an_interrupt_of_the_kernel_does_not_reach_it(self, provider: LocalProvider) -> None:
        """It leads a process group of its own."""
        provider.complete(ask())
        assert os.getpgid(process().pid) == process().pid

    def test_a_dead_child_is_started_anew(self, provider: LocalProvider) -> None:
        """A child that was killed is replaced by the next call."""
        provider.complete(ask())
        first = process()
        first.kill()
        first.wait()
        assert (bool(provider.complete(ask()).text), process().pid == first.pid) == (True, False)

    def test_a_closed_provider_can_be_asked_again(self, provider: LocalProvider) -> None:
        """Close lets go; it does not forbid."""
        provider.complete(ask())
        provider.close()
        assert provider.complete(ask()).text

    def test_close_lets_a_running_call_finish(self, provider: LocalProvider) -> None:
        """A chain that is closed does not cut another chain's answer; the child ends after it."""
        chunks = provider.stream(ask())
        text = next(chunks).text
        ended = process()
        provider.close()
        was_running = ended.poll() is None
        text += "".join(chunk.text for chunk in chunks)
        expected = provider.complete(ask()).text
        assert (was_running, text, ended.returncode is not None) == (True, expected, True)

    def test_close_ends_it(self, provider: LocalProvider) -> None:
        """After close there is no process and no port."""
        provider.complete(ask())
        ended = process()
        provider.close()
        assert ended.returncode is not None

    def test_its_environment_holds_no_keys(
        self, cold: LocalProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the process was started with names no key but its own."""
        monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
        cold.complete(ask())
        environment = Path(f"/proc/{process().pid}/environ").read_bytes().decode().split("\0")
        names = {entry.partition("=")[0] for entry in environment if "KEY" in entry.partition("=")[0]}
        assert names == {KEY_VARIABLE}

    def test_aclose_ends_it(self, provider: LocalProvider) -> None:
        """The asynchronous close does the same."""

        async def ask_and_close() -> subprocess.Popen[str]:
            await provider.acomplete(ask())
            ended = process()
            await provider.aclose()
            return ended

        assert asyncio.run(ask_and_close()).returncode is not None


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


ASK = """
import os, sys
from llm_failover_nb.engine.types import Request, Timeouts
from llm_failover_nb.providers import local, local_children
provider = local.LocalProvider()
request = Request("Hi", model="smollm2", max_tokens=2, timeouts=Timeouts(attempt=60))
def pid():
    return next(iter(local_children.own_children._of.values()))._process.pid
provider.complete(request)
"""


@contextlib.contextmanager
def script(code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process of its own that has asked the model once, then runs ``code``."""
    command = [sys.executable, "-W", "error", "-c", ASK + code]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def wait_until_gone(pid: int) -> bool:
    """Wait, through the kernel, until the process has ended: it is nobody's child here."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)


@pytest.mark.local_model
class TestEndOfTheProcess:
    def test_at_exit_the_child_ends(self) -> None:
        """A process that ends normally leaves no model running, and no warning."""
        with script("print(pid(), flush=True)") as running:
            out, err = running.communicate(timeout=60)
            assert (wait_until_gone(int(out)), err, running.returncode) == (True, "", 0)

    def test_a_killed_process_leaves_no_child(self) -> None:
        """Whoever is killed cannot say goodbye: the child notices by itself."""
        with script("print(pid(), flush=True); sys.stdin.read()") as running:
            assert running.stdout is not None
            pid = int(running.stdout.readline())
            running.send_signal(signal.SIGKILL)
            assert wait_until_gone(pid)

    def test_a_fork_leaves_the_child_alone_and_starts_its_own(self) -> None:
        """The forked process shares no child; the parent's goes on serving."""
        code = """
mine = pid()
forked = os.fork()
if not forked:
    assert not local_children.own_children._of
    provider.complete(request)
    print("own" if pid() != mine else "shared", flush=True)
    sys.exit()
print(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]), flush=True)
provider.complete(request)
print("same" if pid() == mine else "other", flush=True)
"""
        with script(code) as running:
            out, err = running.communicate(timeout=60)
            assert (out.split(), err) == (["own", "0", "same"], "")

    def test_a_fork_does_not_keep_the_child_alive(self) -> None:
        """The pipe by which the child knows of its parent is closed in forked processes."""
        code = """
if not os.fork():
    sys.stdin.read()
    os._exit(0)
print(pid(), flush=True)
os.kill(os.getpid(), 9)
"""
        with script(code) as running:
            assert running.stdout is not None
            assert wait_until_gone(int(running.stdout.readline()))


class TestStart:
    """The start itself, with programs that stand for a model that hangs, dies or chatters."""

    @pytest.fixture
    def program(self, tmp_path: Path) -> Path:
        return tmp_path / "program.py"

    def failure(self, program: Path, *, limit: float = 30.0) -> ProviderError:
        child = local_children.Child(Path("/m.gguf"), limit=limit, program=str(program))
        error = child.ready.exception(timeout=30)
        assert isinstance(error, ProviderError)
        assert child.is_over
        return error

    def test_a_model_that_takes_too_long_is_given_up(self, program: Path) -> None:
        """The start is bounded, and the message says by how much."""
        program.write_text("import sys\nsys.stdin.read()\n")
        error = self.failure(program, limit=0.2)
        assert verdict(error) == (ErrorKind.AUTH_DEAD, "model_gone")
        assert str(error).startswith("/m.gguf did not load within 0.2 s; check the file and the free memory")

    def test_a_model_that_dies_says_its_last_lines(self, program: Path) -> None:
        """The last lines of what it said, and its status, are in the error."""
        program.write_text(
            "import os, sys\nfor n in range(20): print('line', n, file=sys.stderr)\n"
            "os.close(1)\nimport asyncio  # output ends a while before the process does\nos._exit(7)\n"
        )
        error = self.failure(program)
        assert str(error) == (
            "/m.gguf could not be loaded (the process ended with 7); check the file and the free memory, or "
            "use a smaller model. llama.cpp said:\nline 14\nline 15\nline 16\nline 17\nline 18\nline 19"
        )

    def test_much_noise_does_not_block_it(self, program: Path) -> None:
        """More on standard error than a pipe holds is no deadlock."""
        program.write_text("import sys\nsys.stderr.write('x' * 1_000_000 + '\\nend\\n')\nsys.exit(1)\n")
        assert str(self.failure(program)).endswith("\nend")

    def test_an_exit_during_the_start_does_not_wait_for_it(self, program: Path) -> None:
        """A program that ends while a model loads, and so reads no input, takes the loading with it."""
        program.write_text("import signal\nsignal.pause()\n")
        code = (
            "import threading\nfrom pathlib import Path\n"
            "from llm_failover_nb.providers import local_children\n"
            f"child = local_children.Child(Path('/m.gguf'), program={str(program)!r})\n"
            "local_children.own_children._of[Path('/m.gguf')] = child\n"
            "while threading.active_count() < 3: pass\n"
            "print(child._process.pid, flush=True)"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "PYTHONPATH": str(PACKAGE)},
            capture_output=True,
            text=True,
            timeout=local_children.START_TIMEOUT / 2,
            check=True,
        )
        assert (wait_until_gone(int(done.stdout)), done.stderr) == (True, "")

    def test_ending_a_child_that_still_loads_ends_it(self, program: Path) -> None:
        """Nobody waits for a model that nobody wants."""
        program.write_text("import sys\nsys.stdin.read()\n")
        child = local_children.Child(Path("/m.gguf"), program=str(program))
        child.end()
        assert isinstance(child.ready.exception(timeout=30), ProviderError)
