"""Where a store's file is, and whether it may be one: its address, its file system, its first bytes.

Nothing here opens a file for writing, and nothing here knows SQL.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from llm_failover_nb.stores.errors import StoreError

__all__ = ["APPLICATION_ID", "SCHEMA", "check_file", "check_place", "path_of"]

APPLICATION_ID = 0x4C464E42  # "LFNB"
"""What marks an SQLite file as ours: https://www.sqlite.org/fileformat.html#application_id"""

SCHEMA = 1
"""The version of the tables that this package writes, as the file's ``user_version``."""

_SCHEME = "sqlite:///"
_MAGIC = b"SQLite format 3\x00"
_HEADER = 100  # bytes; user_version is at 60, application_id at 68

# Where other machines may have the file open, whose shared memory is not ours: write-ahead logging does not
# work there (https://www.sqlite.org/wal.html).
_NETWORK = frozenset(
    "9p afs beegfs ceph cifs coda davfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs panfs "
    "prl_fs pvfs2 smb2 smb3 smbfs vboxsf".split()
)
_NETWORK_FUSE = re.compile(
    r"fuse\.(?:ceph|davfs|gcsfuse|glusterfs|goofys|juicefs|mount-s3|mfs|moosefs|rclone|s3fs|sshfs|vmhgfs)"
)


def path_of(url: str) -> Path:
    """The absolute path that an address names, as SQLAlchemy writes it, with ``~`` for the home folder.

    Args:
        url: ``sqlite:///relative.db`` or ``sqlite:////absolute/path.db``.

    Raises:
        TypeError: When it is no str.
        ValueError: When it is no address of a file; it may hold a password, so only its scheme is shown.
    """
    if not isinstance(url, str):
        raise TypeError(f"{url!r} is no address of a store: give a str such as 'sqlite:///benches.db'")
    scheme = url.partition(":")[0]
    if scheme != "sqlite":
        shown = f"{scheme}://" if "://" in url else "without a scheme"
        raise ValueError(
            f"a store's address {shown} is not known here: stores are files, as in 'sqlite:///benches.db'"
        )
    name = url.removeprefix(_SCHEME)
    if name == url or name in ("", ":memory:") or "?" in name or "\0" in name:
        raise ValueError(
            f"{url!r} names no file that processes could share: "
            "write 'sqlite:///relative.db' or 'sqlite:////absolute/path.db', without options"
        )
    return Path(name).expanduser().resolve()


def check_place(path: Path) -> None:
    """Whether a store's file may be at ``path``.

    Raises:
        StoreError: When there is no such folder, ``path`` is one itself, or another machine serves it.
    """
    if not path.parent.is_dir():
        raise StoreError(
            f"the store {path} cannot be made: there is no folder {path.parent}. "
            "Create it, or choose a file in a folder that exists"
        )
    if path.is_dir():
        raise StoreError(f"the store {path} is a folder: give the name of a file in it")
    if kind := _network_file_system(path):
        raise StoreError(
            f"the store {path} is on a network file system ({kind}), where SQLite cannot share it safely "
            "between processes: choose a file on a local disk, for instance in ~/.cache"
        )


def check_file(path: Path) -> None:
    """Whether the file is a store of ours, judged by its first bytes; a missing or empty one may become one.

    Raises:
        StoreError: When it is something else, is from a newer version of this package, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"the store {path} cannot be read: {error.strerror or error}") from error
    if not header:
        return
    ours = int.from_bytes(header[68:72], "big") == APPLICATION_ID
    if not header.startswith(_MAGIC) or not ours:
        raise not_ours(path)
    check_schema(path, int.from_bytes(header[60:64], "big"))


def check_schema(path: Path, version: int) -> None:
    """Raises: StoreError: When a newer version of this package wrote the file."""
    if version > SCHEMA:
        raise StoreError(
            f"the store {path} was written by a newer version of llm-failover-nb (schema {version}, this one "
            f"knows {SCHEMA}): upgrade with `pip install -U llm-failover-nb`, or choose another file"
        )


def not_ours(path: Path) -> StoreError:
    """The refusal of somebody else's file."""
    return StoreError(
        f"the file {path} is no store of llm-failover-nb, and was left as it is: choose another name"
    )


def _network_file_system(path: Path) -> str:
    """The kind of network file system that ``path`` is on, or ``""``; known on Linux, and for UNC paths."""
    if str(path).startswith("\\\\"):
        return "UNC path"
    if not sys.platform.startswith("linux"):
        return ""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    kind = file_system(path, mounts)
    return kind if kind in _NETWORK or _NETWORK_FUSE.fullmatch(kind) else ""


def file_system(path: Path, mounts: str) -> str:
    """The kind of the file system that ``path`` is on, by a table as in ``/proc/mounts``."""
    found, kind = 0, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # A space in a name is written \040, and so on.
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
        # Of two mounts on one point the later one hides the earlier.
        if len(point) >= found and path.is_relative_to(point):
            found, kind = len(point), fields[2]
    return kind
