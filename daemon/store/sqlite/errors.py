"""What goes wrong with the file, said for whoever runs the daemon."""

from __future__ import annotations

import errno
import os
import pwd
import sqlite3
from pathlib import Path
from typing import Final

from hookline.daemon.store.disk import room
from hookline.daemon.store.port import StoreError, StoreTrouble

_READ_ONLY_MOUNT: Final = "its file system is read-only: look at the kernel's log, and mount it for writing again"


def store_error(error: Exception, path: Path) -> StoreError:
    """Say what an error of SQLite's means."""
    # The lowest byte is the kind, the others say where.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind: StoreTrouble
    match code:
        case sqlite3.SQLITE_FULL:
            kind, meaning = "disk_full", "the disk is full: make room, and it goes on by itself"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            kind = "read_only"
            meaning = "cannot write: check owner and mode of the file and of its folder, and the mount"
        case sqlite3.SQLITE_IOERR if _is_read_only(path):
            # SQLite has no word for EROFS: a mount that the kernel made read-only after an error of the disk's. What
            # was not written is not in doubt, so it may go on when the mount does.
            kind, meaning = "read_only", _READ_ONLY_MOUNT
        case sqlite3.SQLITE_IOERR:
            kind, meaning = "io", "the disk fails: look at the kernel's log"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            kind, meaning = "locked", "another program holds its lock: end it, and it goes on by itself"
        case sqlite3.SQLITE_NOTADB:
            kind, meaning = "corrupt", f"not a SQLite database: correct `store:`, or {damage_advice()}"
        case sqlite3.SQLITE_CORRUPT:
            kind, meaning = "corrupt", f"the file is damaged: {damage_advice()}"
        case _:
            kind, meaning = "other", "the store cannot do it"
    return StoreError(f"{path}: {meaning} ({error})", kind=kind)


def replaced(path: Path) -> StoreError:
    """Return what is to be said of a file that is not the one that was opened."""
    return StoreError(
        f"{path}: the file, its -wal or -shm file, or its folder was removed or replaced while in use: nothing more is "
        "stored",
        kind="replaced",
    )


def damage_advice() -> str:
    """Say what to do with a damaged file."""
    return "stop hookline, then `hookline restore` a backup, or save what can be read with `hookline recover`"


def system_error(error: OSError, path: Path) -> StoreError:
    """Say why the operating system does not let us have a file or folder."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return StoreError(f"{path}: the disk is full, or has no inodes left: make room", kind="disk_full")
        case errno.EROFS:
            return StoreError(f"{path}: cannot be opened: {_READ_ONLY_MOUNT}", kind="read_only")
        case errno.EACCES | errno.EPERM:
            return StoreError(f"{path}: cannot be opened: {_whose(path)}", kind="read_only")
        case errno.EIO:
            return StoreError(f"{path}: cannot be opened: the disk fails: look at the kernel's log", kind="io")
        case _:
            return StoreError(f"{path}: cannot be opened: {error.strerror}", kind="read_only")


def _whose(path: Path) -> str:
    """Say who may do what there, and who we are."""
    us = _user(os.geteuid())
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except OSError:
            continue
        if not os.access(place, os.W_OK, effective_ids=True):
            what = "the file" if place == path else place
            mode = f"{found.st_mode & 0o7777:04o}"
            return f"{what} belongs to {_user(found.st_uid)}, mode {mode}, and we are {us}: chown -R {us} {path.parent}"
        break
    return f"we are {us}, and may not: check owner and mode of {path.parent} and of the folders above it"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _is_read_only(path: Path) -> bool:
    try:
        return room(path.parent).is_read_only
    except OSError:
        return False
