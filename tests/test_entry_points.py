"""Providers that other packages bring: one that pip has installed, as anybody's, and one that is broken."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

import llm_failover_nb
from llm_failover_nb.engine.registry import ENTRY_POINTS

PROVIDER = '''
    """A provider of somebody else's."""

    from llm_failover_nb import Chunk, ProviderError, Response


    class Tiny:
        """Answers with the model's name, but for one that is never there."""

        def complete(self, request):
            if request.model == "gone":
                raise ProviderError("no such model", status=404)
            return Response(text=f"tiny says {request.model}")

        def stream(self, request):
            yield Chunk(text=self.complete(request).text)
'''

POINTS = f"""
    [{ENTRY_POINTS}]
    tiny = tiny_llm:Tiny
    broken = tiny_llm.broken:Provider
"""


def wheel(folder: Path) -> Path:
    """A wheel written by hand, as the specification has it: files, metadata, and a record of them all."""
    info = "tiny_llm-1.0.dist-info"
    files = {
        "tiny_llm/__init__.py": PROVIDER,
        "tiny_llm/broken.py": "import tiny_llm_needs_this\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-llm\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": POINTS,
    }
    written = {name: textwrap.dedent(text).lstrip().encode() for name, text in files.items()}
    record = [f"{name},{_digest(data)},{len(data)}" for name, data in written.items()]
    written[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    path = folder / "tiny_llm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in written.items():
            archive.writestr(name, data)
    return path


def _digest(data: bytes) -> str:
    encoded = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"sha256={encoded.decode().rstrip('=')}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed it."""
    folder = tmp_path_factory.mktemp("tiny")
    target = folder / "site"
    options = ["--no-index", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(wheel(folder))]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target


def run(installed: Path, script: str) -> list[str]:
    """What a script prints, a line each, in a process of its own that has the package on its path."""
    path = os.pathsep.join([str(installed), str(Path(llm_failover_nb.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": path},
        cwd=installed,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_an_installed_provider_answers_in_a_chain(installed: Path) -> None:
    """It is named like any other, and the chain knows nothing of its package."""
    script = """
        import llm_failover_nb as fo
        chain = fo.parse_chain("tiny/gone, tiny/model")
        response = chain.complete("hi")
        print(response.text, response.model, sep="|")
        print("".join(chunk.text for chunk in chain.stream("hi")))
    """
    assert run(installed, script) == ["tiny says model|tiny/model", "tiny says model"]


def test_a_broken_provider_names_its_package_and_the_cause(installed: Path) -> None:
    """The chain cannot be built; the import's own error is the cause."""
    script = """
        import llm_failover_nb as fo
        try:
            fo.parse_chain("sim/echo, broken/model")
        except fo.ChainSpecError as error:
            print(error)
            print(repr(error.__cause__))
    """
    said, cause = run(installed, script)
    missing = "No module named 'tiny_llm_needs_this'"
    assert cause == f'ModuleNotFoundError("{missing}")'
    assert said == (
        "'broken/model': the provider 'broken' of the package tiny-llm cannot be used: "
        f"ModuleNotFoundError: {missing}; update that package, or uninstall it"
    )


def test_both_are_listed(installed: Path) -> None:
    """The one that works, and the other with its error; the built-in ones beside them as ever."""
    script = """
        import llm_failover_nb as fo
        for info in fo.Registry().providers():
            if info.source == "installed" or info.name == "sim":
                print(info.name, info.source, info.missing[:70], sep="|")
    """
    assert run(installed, script) == [
        "broken|installed|the provider 'broken' of the package tiny-llm cannot be used: ModuleNo",
        "sim|built in|",
        "tiny|installed|",
    ]


def test_a_misspelt_name_may_be_near_to_an_installed_one(installed: Path) -> None:
    """They have been looked through by then."""
    script = """
        import llm_failover_nb as fo
        try:
            fo.parse_chain("tyny/model")
        except fo.ChainSpecError as error:
            print(error)
    """
    (said,) = run(installed, script)
    assert said.startswith("'tyny/model': unknown provider 'tyny'; did you mean 'tiny'?")
