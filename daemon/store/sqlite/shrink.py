"""Giving room back to the file system, and emptying the log of changes. Runs on the writing connection's thread."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from hookline.daemon.store.sqlite.pace import Pace
from hookline.daemon.store.sqlite.writer import SqliteWriter

#: Room that events of the next hours take again is not worth moving anything for: begun is only with more than 10 MB
#: and a fifth of the file free, and ended with a tenth.
_LEAST_PAGES: Final = 2_560
_BEGIN_SHARE: Final = 5
_END_SHARE: Final = 10
_PAGES_AT_ONCE: Final = 400
#: After so much upkeep its pages are taken from the log of changes into the file. Left to SQLite that comes every 4,000
#: pages, in a commit that may be anybody's, and takes up to 40 ms.
_UNITS_A_CHECKPOINT: Final = 400
#: auto_vacuum = INCREMENTAL.
_INCREMENTAL: Final = 2


class SqliteShrinker:
    """Gives free pages back, in small steps; knows from one to the next whether it is at it."""

    def __init__(self) -> None:
        self.pace = Pace(most=_PAGES_AT_ONCE)
        self._is_shrinking = False

    def step(self, writer: SqliteWriter) -> int:
        """Give some back; return how many bytes, 0 if there is too little.

        A file of before schema 5 has no map of its pages and stays as large as it is: its free room is used again.
        """
        connection = writer.connection
        mode, free, pages, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("auto_vacuum", "freelist_count", "page_count", "page_size")
        )
        spare = free - pages // _END_SHARE
        if not self._is_shrinking:
            self._is_shrinking = free >= _LEAST_PAGES and free * _BEGIN_SHARE > pages
        if mode != _INCREMENTAL or not self._is_shrinking or spare <= 0:
            self._is_shrinking = False
            return 0
        count = min(spare, self.pace.units)
        began = time.monotonic()
        _give_back(connection, count)
        self.pace.took(count, time.monotonic() - began)
        return int((pages - connection.execute("PRAGMA page_count").fetchone()[0]) * size)


class UpkeepLog:
    """Keeps what upkeep writes into the log of changes short, in small steps."""

    def __init__(self) -> None:
        self._units = 0

    def is_due(self, units: int) -> bool:
        """Count what was done; return whether `fold` is to come next."""
        self._units += units
        if self._units < _UNITS_A_CHECKPOINT:
            return False
        self._units = 0
        return True

    @staticmethod
    def fold(writer: SqliteWriter) -> None:
        """Take pages into the file as far as nobody reads older ones; waits for nobody."""
        writer.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def _give_back(connection: sqlite3.Connection, count: int) -> None:
    try:
        # As a script: of a statement that gives rows without columns, `execute` makes one step, which is one page.
        connection.executescript(f"BEGIN IMMEDIATE; PRAGMA incremental_vacuum({count}); COMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def checkpoint(writer: SqliteWriter, *, busy_timeout_ms: int) -> bool:
    """Take the -wal file's pages into the file, and cut it to nothing; False while a reader still needs them."""
    # Not to be waited for: nothing is accepted meanwhile.
    writer.connection.execute("PRAGMA busy_timeout = 0")
    try:
        (is_busy, _, _) = writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        writer.connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
    return not is_busy
