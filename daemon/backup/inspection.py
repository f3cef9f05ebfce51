"""Looking at a store's file that nobody writes to: whether it is whole, and what it holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hookline.daemon.store.changes import State
from hookline.daemon.store.rows import STATES, moment

_MOST_FAULTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a store holds."""

    schema: int
    #: `events`, and deliveries by state; those that the store keeps, or counted row by row.
    counts: Mapping[str, int]
    #: When the newest event was received; None if there is none.
    newest: datetime | None

    @property
    def events(self) -> int:
        """How many events there are."""
        return self.counts.get("events", 0)

    @property
    def waiting(self) -> int:
        """How many deliveries have not ended."""
        return self.counts.get("pending", 0) + self.counts.get("running", 0)


@contextmanager
def at_rest(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that nobody else has open and that has no -wal file; nothing appears beside it."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def faults_of(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds wrong with a file, all of it being read; nothing if it is whole."""
    try:
        connection.execute("PRAGMA cell_size_check = ON")
        found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_MOST_FAULTS})")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    # What it finds stands in lines below a heading.
    return [] if found == ["ok"] else [line for text in found for line in text.splitlines() if not line.startswith("*")]


def kept_contents(connection: sqlite3.Connection) -> Contents:
    """Return what a store says that it holds, in no time. Raises `sqlite3.Error`."""
    kept = dict(connection.execute("SELECT name, value FROM counters").fetchall())
    names = ("events", *(state.value for state in State))
    return _contents(connection, {name: kept.get(name, 0) for name in names})


def counted_contents(connection: sqlite3.Connection) -> Contents:
    """Count what a store holds, row by row. Raises `sqlite3.Error`."""
    counts = {"events": 0, **{state.value: 0 for state in State}}
    (counts["events"],) = connection.execute("SELECT count(*) FROM events").fetchone()
    for state, count in connection.execute("SELECT state, count(*) FROM deliveries GROUP BY state"):
        counts[STATES[state].value] += count
    return _contents(connection, counts)


def _contents(connection: sqlite3.Connection, counts: Mapping[str, int]) -> Contents:
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    newest = connection.execute("SELECT received_at FROM events ORDER BY id DESC LIMIT 1").fetchone()
    return Contents(schema=schema, counts=counts, newest=None if newest is None else moment(newest[0]))
