"""The disk under the store: its room, and what kind of file system it is."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

#: They lock and flush between machines in ways that SQLite's -wal file does not survive.
_NETWORK: Final = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.ceph",
        "fuse.davfs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.mfs",
        "fuse.mountpoint-s3",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.smbnetfs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
    ]
)
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_MOUNTS: Final = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The room on a file system."""

    #: What a process without privileges may still take.
    free_bytes: int
    size_bytes: int
    is_read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """What lies under a path."""

    #: As the kernel calls it: `ext4`, `nfs4`, `fuse.sshfs`.
    type: str
    #: Where it is mounted.
    at: str

    @property
    def kind(self) -> Literal["local", "network", "memory"]:
        """Whether it can keep a store, cannot, or forgets it with the next boot."""
        if self.type in _NETWORK:
            return "network"
        return "memory" if self.type in _IN_MEMORY else "local"


def room(folder: Path) -> Room:
    """Measure the file system that `folder` lies on. Raises `OSError`."""
    found = os.statvfs(folder)
    return Room(
        free_bytes=found.f_bavail * found.f_frsize,
        size_bytes=found.f_blocks * found.f_frsize,
        is_read_only=bool(found.f_flag & os.ST_RDONLY),
    )


def free_bytes(folder: str) -> int:
    """Return the room alone, at little cost; all of it where the file system does not say, or the folder is gone."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return sys.maxsize
    return found.f_bavail * found.f_frsize if found.f_blocks else sys.maxsize


def file_system(path: Path, *, mounts: Path = _MOUNTS) -> FileSystem | None:
    """Return what is mounted where `path` lies, or will; None if the kernel does not say."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    real = path.resolve()
    best: FileSystem | None = None
    for line in lines:
        # proc(5): number, parent, device, root, mount point, options, optional fields up to "-", type, …
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.partition(" ")[0]
        if len(fields) < 5 or not kind:
            continue
        at = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4])
        # Of two that are mounted in one place, the later hides the earlier.
        if real.is_relative_to(at) and (best is None or len(at) >= len(best.at)):
            best = FileSystem(type=kind, at=at)
    return best
