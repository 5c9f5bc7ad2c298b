"""Which project files the user trusts: each by its path and the SHA-256 of its content.

The list is ``trusted.json`` in the user's configuration folder, and nowhere else: wherever the settings are,
no project can bring one along. A list that is damaged trusts nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from llm_failover_nb.settings.types import SettingsError

__all__ = ["accept", "problem", "trust_path", "trusted", "withdraw"]


def trust_path() -> Path:
    """Where the list is."""
    return platformdirs.user_config_path("llm-failover-nb", appauthor=False) / "trusted.json"


def trusted(path: Path, content: bytes) -> bool:
    """Whether the user trusts this file with this content.

    A list that cannot be read trusts nothing; :func:`problem` says what is wrong with it.

    Args:
        path: The file.
        content: All of it, as it was read; what is asked about is not read again.
    """
    with contextlib.suppress(SettingsError):
        return _read().get(_name(path)) == _digest(content)
    return False


def problem() -> str:
    """Why nothing is trusted although there is a list; empty when nothing is wrong with it."""
    try:
        _read()
    except SettingsError as error:
        return f"{error}; until then nothing is trusted"
    return ""


def accept(path: Path, content: bytes) -> None:
    """Trust this file as long as it has this content. A damaged list is begun anew.

    Args:
        path: The file.
        content: What was shown to the user, whatever the file holds by now.

    Raises:
        SettingsError: When the list cannot be written.
    """
    with _changing() as files:
        files[_name(path)] = _digest(content)


def withdraw(path: Path) -> bool:
    """Trust this file no longer; whether any content of it was trusted.

    Raises:
        SettingsError: When the list cannot be written.
    """
    with _changing() as files:
        return files.pop(_name(path), None) is not None


def _name(path: Path) -> str:
    return os.path.abspath(path)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read() -> dict[str, str]:
    path = trust_path()
    try:
        files: object = json.loads(path.read_bytes())["trusted"]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(
            f"the list of trusted files cannot be read: {error.strerror}; mend it, or delete it", path=path
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        files = None
    if isinstance(files, dict) and all(isinstance(digest, str) for digest in files.values()):
        return files
    raise SettingsError("the list of trusted files is damaged; delete it, and trust anew", path=path)


@contextlib.contextmanager
def _changing() -> Iterator[dict[str, str]]:
    """The list, to be changed within, by one at a time over all processes."""
    path = trust_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            try:
                files = _read()
            except SettingsError:
                files = {}
            yield files
            _write(path, json.dumps({"trusted": files}, indent=1, sort_keys=True))
    except OSError as error:
        raise SettingsError(
            f"the list of trusted files cannot be written: {error.strerror}", path=path
        ) from None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _write(path: Path, text: str) -> None:
    """All of it, or nothing: whoever reads meanwhile finds the old list or the new one."""
    file, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # readable for the user alone
    try:
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
