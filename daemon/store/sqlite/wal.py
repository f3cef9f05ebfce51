"""The -wal file: written back when it is large, with errors that are heard, or left alone where nothing is certain."""

from __future__ import annotations

import os
import sqlite3
import struct
from pathlib import Path
from typing import Final

# 16 MB. Measured with 40,000 events in groups of 32, each delivered: at 1,000 pages an event costs 3.25 written pages,
# here 2.95, at 10,000 pages 2.81; a checkpoint, which holds up a batch, takes 12, 22 and 40 ms of CPU.
CHECKPOINT_PAGES: Final = 4_000
#: https://www.sqlite.org/walformat.html#wal_index_header: where the -shm file says how many pages the -wal file holds.
_FRAMES: Final = 16


class Wal:
    """The -wal file of the writing connection. Made and used on its thread.

    SQLite's own checkpoint says nothing of an error: after a flush that failed it tries again, the second one succeeds
    without the pages that the kernel gave up, and the only good copy of them is overwritten (RELIABILITY A11).
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Take it over from SQLite. `connection` has been written with, so that the files are there."""
        self._connection = connection
        self._path = path
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # Not closed before `close`: the kernel would take from us all locks that SQLite has on the file.
        self._index = os.open(path.with_name(path.name + "-shm"), os.O_RDONLY | os.O_CLOEXEC)
        # Whoever closes the file last writes the -wal file back, and removes it. While this one, which cannot, is open,
        # the writing one is not the last.
        self._witness = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        self._witness.execute("SELECT count(*) FROM sqlite_schema").fetchall()

    def after_commit(self) -> None:
        """Write it back if it is large. Raises `sqlite3.Error` if the disk fails: then what it holds is unknown."""
        (frames,) = struct.unpack("=I", os.pread(self._index, 4, _FRAMES))
        if frames < CHECKPOINT_PAGES:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.OperationalError as error:
            # Of a full disk the next change says more; what was committed stays in the -wal file.
            if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise

    def rescue(self) -> None:
        """Bring what it holds into the file, though it, or its index, was removed: both are open here, and only here.

        Raises `sqlite3.Error`.
        """
        (is_busy, frames, taken) = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not is_busy and frames == taken and not self._path.with_name(self._path.name + "-wal").exists():
            # Without this the next start would take the -wal file for lost.
            self._path.with_name(self._path.name + "-shm").unlink(missing_ok=True)

    def let_go(self) -> None:
        """Let the writing connection be the last one, if all is well; before it is closed."""
        self._witness.close()

    def close(self) -> None:
        """Close what is left, after the writing connection. Safe after `let_go`."""
        self._witness.close()
        os.close(self._index)
