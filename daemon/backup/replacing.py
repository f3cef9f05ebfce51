"""Putting another file in a store's place: a kill at any moment leaves the old one there or the new one, whole."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from hookline.daemon.backup.inspection import Contents, kept_contents
from hookline.daemon.backup.offline import fold, is_ours
from hookline.daemon.backup.ownership import own_like
from hookline.daemon.folder_sync import sync_folder

_BUSY_TIMEOUT_MS = 3_000


def contents_there(store: Path) -> Contents | None:
    """Bring the -wal file into the store and return what it holds; None if it cannot be read.

    A store that is whole is one file afterwards, and so can be replaced in one step.
    Raises `StoreError` if another program reads it.
    """
    if not is_ours(store):
        return None
    try:
        connection = sqlite3.connect(f"{store.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
            fold(connection, store)
            return kept_contents(connection)
        finally:
            connection.close()
    except sqlite3.Error:
        return None


def put_in_place(new: Path, store: Path, *, why: str) -> Path | None:
    """Give a whole file the store's name, owner and mode; return where the one that was there is now, if any was.

    `why` is in that one's name: `restore`, `recover`. `contents_there` was called before. Raises `OSError`.
    """
    folder = store.parent
    wal = _beside(store, "-wal")
    aside = store.with_name(f"{store.name}.before-{why}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    _forget_links(store)
    has_old = store.exists()
    if has_old:
        os.link(store, aside)
    if wal.exists() and wal.stat().st_size:
        # What could not be brought in: it belongs to the old file, and SQLite would read it into the new one.
        os.link(wal, _beside(aside, "-wal"))
        has_old = True
    _own_as(new, store)
    sync_folder(folder)
    for suffix in ("-shm", "-wal"):
        _beside(store, suffix).unlink(missing_ok=True)
    sync_folder(folder)
    new.rename(store)
    sync_folder(folder)
    return aside if has_old else None


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _forget_links(store: Path) -> None:
    """Remove second names of the store, which a kill in the middle leaves."""
    if not store.exists():
        return
    for other in store.parent.glob(f"{store.name}.before-*"):
        if other.samefile(store):
            other.unlink()


def _own_as(new: Path, store: Path) -> None:
    if store.exists():
        new.chmod(store.stat().st_mode & 0o777)
        own_like(new, store)
    else:
        new.chmod(0o600)
        own_like(new, store.parent)
