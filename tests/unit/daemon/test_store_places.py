"""What lies under the store, and who holds it, as the kernel tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hookline.daemon.store.disk import file_system
from hookline.daemon.store.holders import Holder, holders_of_lock, holders_of_snapshots, named
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.file import refuse_place

MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:25 / /srv rw - nfs4 nas:/export rw,vers=4.2
31 30 254:2 / /srv/local rw - xfs /dev/vdb rw
32 22 0:26 / /run rw - tmpfs tmpfs rw
33 22 0:27 / /mnt/with\\040blank rw shared:4 master:2 - fuse.sshfs me@far: rw
34 22 0:28 / /over rw - cifs //nas/share rw
35 22 254:3 / /over rw - ext4 /dev/vdc rw
not a line
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS)
    return file


@pytest.mark.parametrize(
    ("path", "type_", "kind"),
    [
        ("/var/lib/hookline/hookline.db", "ext4", "local"),
        ("/srv/hookline.db", "nfs4", "network"),
        ("/srv/local/hookline.db", "xfs", "local"),
        ("/srv2/hookline.db", "ext4", "local"),
        ("/run/hookline.db", "tmpfs", "memory"),
        ("/mnt/with blank/hookline.db", "fuse.sshfs", "network"),
        # Two on one place: the later hides the earlier.
        ("/over/hookline.db", "ext4", "local"),
    ],
)
def test_a_file_system_is_told_by_where_it_is_mounted(mounts: Path, path: str, type_: str, kind: str) -> None:
    found = file_system(Path(path), mounts=mounts)
    assert found is not None
    assert (found.type, found.kind) == (type_, kind)


def test_a_kernel_that_does_not_say_is_believed(tmp_path: Path) -> None:
    assert file_system(Path("/x"), mounts=tmp_path / "none") is None


def test_a_network_file_system_is_refused(mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_system, "__kwdefaults__", {"mounts": mounts})
    refuse_place(Path("/run/hookline.db"))
    with pytest.raises(
        StoreError, match=r"network file system \(nfs4, mounted at /srv\).* a path on a local disk"
    ) as said:
        refuse_place(Path("/srv/hookline.db"))
    assert said.value.kind == "unfit"


def test_other_programs_are_found_by_their_locks(tmp_path: Path) -> None:
    store = tmp_path / "hookline.db"
    index = tmp_path / "hookline.db-shm"
    index.touch()
    inode = index.stat().st_ino
    other, third = os.getppid(), 1 << 22
    locks = tmp_path / "locks"
    locks.write_text(
        f"1: POSIX  ADVISORY  WRITE {other} fe:01:{inode} 120 120\n"
        f"2: POSIX  ADVISORY  READ {third} fe:01:{inode} 124 124\n"
        f"3: POSIX  ADVISORY  READ {other} fe:01:{inode} 128 128\n"
        f"4: POSIX  ADVISORY  WRITE {os.getpid()} fe:01:{inode} 120 EOF\n"
        f"5: POSIX  ADVISORY  WRITE {third} fe:01:{inode + 1} 120 120\n"
        f"6: FLOCK  ADVISORY  WRITE {third} fe:01:{inode} 0 EOF\n"
        f"1: -> POSIX  ADVISORY  WRITE {third} fe:01:{inode} 120 120\n"
    )
    writing = holders_of_lock(store, locks=locks)
    assert [one.pid for one in writing] == [other]
    assert writing[0].name == Path(f"/proc/{other}/comm").read_text().strip()
    assert holders_of_snapshots(store, locks=locks) == [Holder(pid=third, name="")]
    assert named([Holder(pid=7, name="sqlite3"), Holder(pid=8, name="")]) == "process 7 (sqlite3), process 8"


def test_a_kernel_that_shows_no_locks_names_nobody(tmp_path: Path) -> None:
    assert holders_of_lock(tmp_path / "hookline.db", locks=tmp_path / "none") == []
