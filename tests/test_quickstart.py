"""The quickstart's parts, in this process: where its notebook is, what a run leaves, how it is opened."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.notebooks import NOTEBOOK, outputs, write_notebook

pytest.importorskip("nbclient", reason="the extra lab is not installed")

from nbformat.sign import NotebookNotary

from llm_failover_nb import quickstart
from llm_failover_nb.quickstart import QuickstartError, Source


@pytest.fixture(scope="module", autouse=True)
def no_users_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernels use a profile and a runtime folder of their own, and a kernel spec python3 leads nowhere."""
    root = tmp_path_factory.mktemp("jupyter")
    spec = root / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = ["/nowhere/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "x", "language": "python"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(root / "ipython"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(root / "runtime"))
        patch.setenv("JUPYTER_DATA_DIR", str(root / "data"))
        patch.setenv("JUPYTER_PATH", str(root))
        yield


def is_trusted(file: Path, data: Path) -> bool:
    """Whether Jupyter, with this data folder, takes the notebook for one that its user ran."""
    notary = NotebookNotary(data_dir=str(data))
    with closing(notary.store):
        return bool(notary.check_signature(quickstart.read(file)))


def echo_of(file: Path) -> list[str]:
    """What is said while the notebook runs."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        quickstart.run(quickstart.read(file), folder=file.parent, echo=True)
    return said.getvalue().splitlines()


class TestFind:
    def test_a_checkouts_own_comes_first(self, tmp_path: Path) -> None:
        """Who works in a checkout means the notebook in it."""
        file = write_notebook(tmp_path / "notebooks" / NOTEBOOK)
        write_notebook(tmp_path / "package" / "notebooks" / NOTEBOOK)
        assert quickstart.find(tmp_path / "package") == Source(file, is_checkout=True)

    def test_else_it_is_in_the_package(self, tmp_path: Path) -> None:
        """A wheel carries the notebook within the package."""
        file = write_notebook(tmp_path / "package" / "notebooks" / NOTEBOOK)
        assert quickstart.find(tmp_path / "package") == Source(file, is_checkout=False)

    def test_in_neither_place_is_told(self, tmp_path: Path) -> None:
        """A package without its notebook says where it looked and what to do."""
        with pytest.raises(QuickstartError) as caught:
            quickstart.find(tmp_path)
        expected = (
            f"01_quickstart.ipynb is neither beside the package nor in it ({tmp_path}): install it again"
        )
        assert str(caught.value) == expected


class TestOwnCopy:
    def test_a_checkouts_notebook_is_ones_own(self, tmp_path: Path) -> None:
        """What is under version control needs no copy."""
        file = write_notebook(tmp_path / "notebooks" / NOTEBOOK)
        assert quickstart.own_copy(Source(file, is_checkout=True), tmp_path) == file

    def test_the_shipped_one_is_copied(self, tmp_path: Path) -> None:
        """The copy has the name and the content of the original."""
        file = write_notebook(tmp_path / "notebooks" / NOTEBOOK, "1")
        copy = quickstart.own_copy(Source(file, is_checkout=False), tmp_path)
        assert (copy, copy.read_bytes()) == (tmp_path / NOTEBOOK, file.read_bytes())

    def test_the_copy_overwrites_nothing(self, tmp_path: Path) -> None:
        """A notebook of that name is somebody's work: the copy takes another name."""
        file = write_notebook(tmp_path / "notebooks" / NOTEBOOK, "1")
        (tmp_path / NOTEBOOK).write_text("mine")
        copy = quickstart.own_copy(Source(file, is_checkout=False), tmp_path)
        assert (copy, (tmp_path / NOTEBOOK).read_text()) == (tmp_path / "01_quickstart-2.ipynb", "mine")

    def test_a_full_folder_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """There is an end to looking for a free name."""
        monkeypatch.setattr(quickstart, "_COPIES", 1)
        file = write_notebook(tmp_path / "notebooks" / NOTEBOOK)
        (tmp_path / NOTEBOOK).write_text("mine")
        with pytest.raises(QuickstartError, match=r"is full of copies of 01_quickstart\.ipynb: change to"):
            quickstart.own_copy(Source(file, is_checkout=False), tmp_path)


class TestWrite:
    def test_what_is_written_is_what_is_read(self, tmp_path: Path) -> None:
        """A notebook survives the way to its file, and nothing is left beside it."""
        file = write_notebook(tmp_path / NOTEBOOK, "1 + 1")
        notebook = quickstart.read(file)
        quickstart.write(file, notebook)
        assert (quickstart.read(file), list(tmp_path.iterdir())) == (notebook, [file])


class TestSign:
    def test_jupyter_trusts_what_was_signed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The signature is where Jupyter looks for it, and holds for what the file says."""
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
        file = write_notebook(tmp_path / NOTEBOOK, "1 + 1")
        quickstart.sign(file)
        assert is_trusted(file, tmp_path / "data") is True

    def test_no_other_notebook_is_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One signature is one notebook's."""
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
        quickstart.sign(write_notebook(tmp_path / NOTEBOOK, "1 + 1"))
        assert is_trusted(write_notebook(tmp_path / "other.ipynb", "2"), tmp_path / "data") is False

    def test_a_folder_that_cannot_be_had_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where no signature can be kept, the person hears what it costs and what to do."""
        data = tmp_path / "data"
        data.write_text("a file, not a folder")
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(data))
        with pytest.raises(QuickstartError) as caught:
            quickstart.sign(write_notebook(tmp_path / NOTEBOOK))
        expected = f"01_quickstart.ipynb could not be signed in {data} ("
        assert str(caught.value)[: len(expected)] == expected

    def test_a_database_that_takes_nothing_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What SQLite refuses is a line, not a traceback."""
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
        quickstart.sign(write_notebook(tmp_path / NOTEBOOK, "1"))
        with closing(sqlite3.connect(tmp_path / "nbsignatures.db")) as database:
            refusal = "SELECT RAISE(FAIL, 'full')"
            database.execute(f"CREATE TRIGGER t BEFORE INSERT ON nbsignatures BEGIN {refusal}; END")
        with pytest.raises(QuickstartError, match=r"\(full\), so JupyterLab strips its styling: run Trust"):
            quickstart.sign(write_notebook(tmp_path / NOTEBOOK, "2"))


class TestRun:
    def test_only_outputs_change(self, tmp_path: Path) -> None:
        """Run and saved, a notebook under version control differs in outputs and execution counts alone."""
        file = write_notebook(tmp_path / NOTEBOOK, "print('hello')", "1 + 1")
        notebook = quickstart.read(file)
        quickstart.write(file, notebook)
        before = json.loads(file.read_text())
        quickstart.run(notebook, folder=tmp_path)
        quickstart.write(file, notebook)
        after = json.loads(file.read_text())
        for cell in before["cells"][1:]:
            cell |= {"outputs": [], "execution_count": None}
        for cell in after["cells"][1:]:
            cell |= {"outputs": [], "execution_count": None}
        assert after == before

    def test_a_prompt_is_echoed_whole(self, tmp_path: Path) -> None:
        """An answer without its question means nothing: of a prompt cell more than the first line is said."""
        magic = (
            "from IPython.core.magic import register_cell_magic\n@register_cell_magic\ndef llm(_, cell): ..."
        )
        file = write_notebook(tmp_path / NOTEBOOK, magic, "%%llm chain=a\nName three\nfruits.")
        assert echo_of(file) == [
            "In [1]: from IPython.core.magic import register_cell_magic",
            "",
            "In [2]: %%llm chain=a",
            "   ...: Name three",
            "   ...: fruits.",
            "",
        ]

    def test_a_long_prompt_is_cut(self, tmp_path: Path) -> None:
        """Five lines are enough to know which prompt it was; a mark says that there are more."""
        magic = "from IPython.core.magic import register_cell_magic as r\n@r\ndef llm(_, cell): ..."
        file = write_notebook(tmp_path / NOTEBOOK, magic, "%%llm\n" + "\n".join("abcde"))
        expected = ["In [2]: %%llm", *(f"   ...: {line}" for line in "abcd"), "   ...: …", ""]
        assert echo_of(file)[2:] == expected

    def test_a_cell_that_was_interrupted_is_an_interrupt(self, tmp_path: Path) -> None:
        """Where the kernel heard Ctrl-C, the person meant the run, not the cell."""
        file = write_notebook(tmp_path / NOTEBOOK, "raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            quickstart.run(quickstart.read(file), folder=tmp_path)

    def test_a_kernel_that_does_not_start_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is no interrupt, and its last words say what is wrong."""
        argv = [sys.executable, "-c", "raise SystemExit('oh no')", "{connection_file}"]
        spec = {"argv": argv, "display_name": "x", "language": "python"}
        monkeypatch.setattr(quickstart, "get_kernel_dict", lambda: spec)
        with pytest.raises(QuickstartError, match=r"could not be run: .*; its kernel said 'oh no' last$"):
            quickstart.run(quickstart.read(write_notebook(tmp_path / NOTEBOOK, "1")), folder=tmp_path)

    def test_the_kernel_is_this_interpreter_where_it_is_told_to_be(self, tmp_path: Path) -> None:
        """A kernel spec python3 of somebody else's does not decide which Python runs the notebook."""
        file = write_notebook(
            tmp_path / NOTEBOOK, "import os, sys; print(sys.executable); print(os.getcwd())"
        )
        notebook = quickstart.read(file)
        quickstart.run(notebook, folder=tmp_path)
        assert notebook.cells[1].outputs[0].text.splitlines() == [sys.executable, str(tmp_path)]

    def test_a_failing_cell_ends_the_run_and_keeps_its_outputs(self, tmp_path: Path) -> None:
        """What ran is echoed and kept, the failure too; what comes after it did not run."""
        file = write_notebook(tmp_path / NOTEBOOK, "1 + 1", "1 / 0", "3")
        notebook = quickstart.read(file)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), pytest.raises(QuickstartError) as caught:
            quickstart.run(notebook, folder=tmp_path, echo=True)
        quickstart.write(file, notebook)
        expected = "code cell 2 of 01_quickstart.ipynb failed: ZeroDivisionError: division by zero"
        assert (str(caught.value), outputs(file)) == (expected, [["execute_result"], ["error"], []])
        assert said.getvalue().splitlines()[3:] == [
            "In [2]: 1 / 0",
            "ZeroDivisionError: division by zero",
            "",
        ]

    def test_a_failing_cell_leaves_no_kernel(self, tmp_path: Path) -> None:
        """However a run ends, its kernel is gone then."""
        file = write_notebook(tmp_path / NOTEBOOK, "import os; print(os.getpid())", "1 / 0")
        notebook = quickstart.read(file)
        with pytest.raises(QuickstartError):
            quickstart.run(notebook, folder=tmp_path)
        with pytest.raises(ProcessLookupError):
            os.kill(int(notebook.cells[1].outputs[0].text), 0)

    def test_a_kernel_that_dies_is_told_with_its_last_words(self, tmp_path: Path) -> None:
        """A dead kernel is told in a line, not in a traceback."""
        file = write_notebook(tmp_path / NOTEBOOK, "import os; os.write(2, b'oh no\\n'); os._exit(3)")
        with pytest.raises(QuickstartError) as caught:
            quickstart.run(quickstart.read(file), folder=tmp_path)
        expected = "01_quickstart.ipynb could not be run: Kernel died; its kernel said 'oh no' last"
        assert str(caught.value) == expected


class TestLabCommand:
    def test_it_is_this_interpreters_jupyterlab(self) -> None:
        """The JupyterLab beside the package opens the file, with the person's options."""
        command = quickstart._lab_command(Path("/n.ipynb"), ["--port=1"], is_root=False)
        expected = ["/n.ipynb", "--LabApp.default_url=/lab/tree/n.ipynb", "--port=1"]
        assert command == [sys.executable, "-m", "jupyterlab", *expected]

    def test_root_is_allowed(self) -> None:
        """As root, JupyterLab would refuse to start without being told."""
        command = quickstart._lab_command(Path("/n.ipynb"), [], is_root=True)
        assert command[-1] == "--allow-root"
