"""Copying a store's pages as they are at one moment, while others write."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hookline.daemon.store.port import StoreError

#: Told while pages are copied: how many are done, and of how many.
Progress = Callable[[int, int], None]

_PAGES_A_STEP: Final = 256
_BUSY_TIMEOUT_MS: Final = 3_000
_MB: Final = 1 << 20


@contextmanager
def snapshot(store: Path) -> Iterator[sqlite3.Connection]:
    """Open the store as it is at this moment: whatever is read inside belongs together. Raises `sqlite3.Error`.

    The connection cannot write, and so never takes part in a checkpoint. What others write meanwhile stays in the -wal
    file until this ends.
    """
    connection = sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("BEGIN")
        # A transaction begins with its first read. Without one that is open, the backup begins anew whenever another
        # process writes, and may never end.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        yield connection
    finally:
        connection.close()


def size_of(connection: sqlite3.Connection) -> int:
    """Return how many bytes a copy takes."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages * size)


def copy_pages(source: sqlite3.Connection, target: Path, *, progress: Progress = lambda _done, _all: None) -> None:
    """Copy every page into a new file that only we may read, and fsync it. Raises `sqlite3.Error` and `OSError`."""
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        copy = sqlite3.connect(target, isolation_level=None)

        def stepped(_status: int, remaining: int, total: int) -> None:
            # In pieces: one large fsync at the end would hold up those of the daemon.
            os.fdatasync(descriptor)
            progress(total - remaining, total)

        try:
            # It is thrown away if it does not come to its end.
            copy.execute("PRAGMA journal_mode = OFF")
            copy.execute("PRAGMA synchronous = OFF")
            source.backup(copy, pages=_PAGES_A_STEP, progress=stepped)
        finally:
            copy.close()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_room(folder: Path, needed: int, *, what: str, keep_free: int = 0) -> None:
    """Raise `StoreError` with the numbers if `needed` bytes do not fit into a folder, or leave too little there."""
    free = shutil.disk_usage(folder).free
    if free < needed + keep_free:
        rest = f", and {in_words(keep_free)} must stay free there" if keep_free else ""
        raise StoreError(
            f"{what} needs about {in_words(needed)}{rest}; {in_words(free)} are free on {folder}: make room there",
            kind="disk_full",
        )


def in_words(size: int) -> str:
    """Write a size for people."""
    if size >= 1000 * _MB:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{max(1, size // 1000)} kB"


def is_full(error: OSError | sqlite3.Error) -> bool:
    """Whether there was no room."""
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def reason(error: OSError | sqlite3.Error) -> str:
    """Say in words what failed."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
