"""The SQLite file that is moved: under its lock, read in pieces, and told from what it was before."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hookline.daemon.backup.offline import locked
from hookline.daemon.migrating.tables import TABLES, Table
from hookline.daemon.store.named_sql import Row, named_statements
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.errors import store_error
from hookline.daemon.store.sqlite.file import check_schema

_SQL: Final = named_statements(__package__, "source")
#: What one transaction carries: little enough that a slow line moves it well within a transaction's time.
PIECE_ROWS: Final = 5_000
PIECE_BYTES: Final = 4 << 20


class Source:
    """Reads the file. It is one thread's at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Take a connection that only reads, and all of it in one transaction."""
        self._connection = connection
        self.path = path

    def counts(self) -> dict[str, int]:
        """Return how many rows each table will have."""
        return {table.name: self._one(f"SELECT count(*) FROM ({table.statement})") for table in TABLES}  # noqa: S608 - ours

    def fingerprint(self) -> str:
        """Return what changes as soon as a daemon opens the file again."""
        marks = self._connection.execute(_SQL["marks"]).fetchone()
        return hashlib.sha256(json.dumps(marks).encode()).hexdigest()[:32]

    def size(self) -> int:
        """Return how many bytes there are to move, nearly: those of the file without what is free in it."""
        pages, free, size = (self._one(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def pieces(self, table: Table, *, after: int) -> Iterator[list[Row]]:
        """Return the rows of a table as PostgreSQL keeps them, without the first `after`, in pieces of bounded size.

        Raises `StoreError`.
        """
        piece: list[Row] = []
        size = 0
        try:
            for row in self._connection.execute(f"{table.statement} LIMIT -1 OFFSET ?", (after,)):
                piece.append(table.made(row))
                size += sum(len(value) for value in row if isinstance(value, str | bytes))
                if len(piece) >= PIECE_ROWS or size >= PIECE_BYTES:
                    yield piece
                    piece, size = [], 0
        except sqlite3.Error as error:
            raise store_error(error, self.path) from error
        if piece:
            yield piece

    def _one(self, statement: str) -> int:
        (value,) = self._connection.execute(statement).fetchone()
        return int(value)


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a store that no daemon uses, and keep daemons off it.

    Raises `InUseError`, and `StoreError` for what is no store of ours, of another version, or cannot be read.
    """
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file: name the one that `store:` names")
    with locked(path):
        connection: sqlite3.Connection | None = None
        try:
            # The loop's threads take turns.
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            check_schema(connection, path, is_new_fine=False)
            connection.execute("BEGIN")
            yield Source(connection, path)
        except sqlite3.Error as error:
            raise store_error(error, path) from error
        finally:
            if connection is not None:
                connection.close()
