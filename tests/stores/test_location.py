"""Where a store may be: addresses, and file systems of other machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_failover_nb.stores import location
from llm_failover_nb.stores.errors import StoreError
from llm_failover_nb.stores.location import check_place, file_system, path_of


def test_addresses_are_those_of_sqlalchemy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes and a path: relative, absolute, or in the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert [path_of(f"sqlite:///{name}") for name in ("a.db", "sub/b.db", "/abs/c.db", "~/d.db")] == [
        tmp_path / "a.db",
        tmp_path / "sub/b.db",
        Path("/abs/c.db"),
        Path("/home/me/d.db"),
    ]


@pytest.mark.parametrize(
    "url", ["sqlite://a.db", "sqlite:a.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro"]
)
def test_addresses_that_name_no_file_are_refused(url: str) -> None:
    """With the ways to write one."""
    with pytest.raises(ValueError, match="names no file that processes could share: write 'sqlite:///rel"):
        path_of(url)


def test_other_stores_are_not_known() -> None:
    """The error shows no password."""
    with pytest.raises(ValueError, match="address redis:// is not known") as refused:
        path_of("redis://me:hunter2@host")
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ValueError, match="address without a scheme is not known"):
        path_of("benches.db")
    with pytest.raises(TypeError, match="7 is no address"):
        path_of(7)


MOUNTS = r"""
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
me@host:/ /home/me/far\040away fuse.sshfs rw 0 0
/dev/sdb1 /home/me/disk xfs rw 0 0
tmpfs /over tmpfs rw 0 0
//server/share /over cifs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/a.db", "ext4"),
        ("/home/a.db", "nfs4"),
        ("/home/me/far away/a.db", "fuse.sshfs"),
        ("/home/me/far/a.db", "nfs4"),
        ("/home/me/disk/a.db", "xfs"),
        ("/homework/a.db", "ext4"),
        ("/over/a.db", "cifs"),
    ],
)
def test_the_nearest_mount_says_what_a_path_is_on(path: str, kind: str) -> None:
    """The last one on a point, with spaces in its name, by whole folders."""
    assert file_system(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone"])
def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """With a word on why, and where to go."""
    monkeypatch.setattr(location, "file_system", lambda path, mounts: kind)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(StoreError, match=rf"network file system \({kind}\).*choose a file on a local disk"):
        check_place(tmp_path / "a.db")


@pytest.mark.parametrize("kind", ["ext4", "overlay", "tmpfs", "fuseblk", "fuse.gocryptfs", ""])
def test_a_local_file_system_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Also one whose kind nobody knows."""
    monkeypatch.setattr(location, "file_system", lambda path, mounts: kind)
    check_place(tmp_path / "a.db")


def test_this_machines_temporary_folder_is_local(tmp_path: Path) -> None:
    """Judged by its real table of mounts."""
    check_place(tmp_path / "a.db")
