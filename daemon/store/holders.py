"""Which other programs hold locks on the store's files, as the kernel lists them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOCKS: Final = Path("/proc/locks")
# https://www.sqlite.org/walformat.html#wal_locks: bytes of the -shm file. A reader of a snapshot that the -wal file
# holds has one of the marks from the second on; whoever writes has the first byte.
_WRITING: Final = 120
_FIRST_SNAPSHOT, _LAST_SNAPSHOT = 124, 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds a lock."""

    pid: int
    #: What runs in it; "" if that may not be known.
    name: str


def holders_of_lock(path: Path, *, locks: Path = _LOCKS) -> list[Holder]:
    """Return who keeps us from writing to the store at `path`; nothing where the kernel does not say."""
    return _holders(path, locks, lambda kind, first, last: kind == "WRITE" and first <= _WRITING <= last)


def holders_of_snapshots(path: Path, *, locks: Path = _LOCKS) -> list[Holder]:
    """Return who reads the store at `path` at this moment, ourselves apart."""
    return _holders(path, locks, lambda _, first, last: first <= _LAST_SNAPSHOT and last >= _FIRST_SNAPSHOT)


def named(holders: list[Holder]) -> str:
    """Say who they are."""
    return ", ".join(f"process {one.pid}{f' ({one.name})' if one.name else ''}" for one in holders)


def _holders(path: Path, locks: Path, holds: Callable[[str, int, int], bool]) -> list[Holder]:
    try:
        inode = path.with_name(path.name + "-shm").stat().st_ino
        lines = locks.read_text().splitlines()
    except OSError:
        return []
    found: dict[int, Holder] = {}
    for line in lines:
        # proc_locks(5): "1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF"
        fields = line.split()
        if len(fields) != 8 or fields[1] not in {"POSIX", "OFDLCK"} or fields[5].rpartition(":")[2] != str(inode):
            continue
        pid, first, last = int(fields[4]), int(fields[6]), fields[7]
        if pid != os.getpid() and holds(fields[3], first, sys.maxsize if last == "EOF" else int(last)):
            found[pid] = Holder(pid=pid, name=_name(pid))
    return list(found.values())


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
