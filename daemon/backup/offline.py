"""Writing to a store that no daemon has open: under its lock, so that none can begin meanwhile."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hookline.daemon.backup.ownership import own_like
from hookline.daemon.store.changes import Audit
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.rows import micros
from hookline.daemon.store.sqlite.audit import audit
from hookline.daemon.store.sqlite.file import APPLICATION_ID, FileLock
from hookline.daemon.store.sqlite.statements import statements

_UPKEEP = statements("upkeep")
_BUSY_TIMEOUT_MS = 3_000


class InUseError(StoreError):
    """A daemon has the store open. Caught by commands, which say how to end it, or ask it."""


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Keep daemons off the store. Raises `InUseError` if one has it."""
    lock = FileLock(store)
    is_new = not lock_file(store).exists()
    try:
        lock.take()
    except StoreError as error:
        if error.kind == "locked":
            raise InUseError(str(error), kind="locked") from error
        raise
    try:
        if is_new:
            own_like(lock_file(store), store if store.exists() else store.parent)
        yield
    finally:
        lock.release()


def lock_file(store: Path) -> Path:
    """Return the file that the lock is on."""
    return store.with_name(f"{store.name}.lock")


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that nobody else has, in a transaction; all of it is in the one file afterwards, with no -wal beside.

    Raises `sqlite3.Error`, and `StoreError` if another program reads it.
    """
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
        fold(connection, path)
    finally:
        connection.close()


def fold(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the -wal file into the store. Raises `StoreError` if another program reads there."""
    (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise StoreError(f"{path}: another program reads it: end that one", kind="locked")


def note(connection: sqlite3.Connection, name: str, value: Any) -> None:
    """Remember a fact."""
    connection.execute(_UPKEEP["note"], (name, json.dumps(value), micros(datetime.now(UTC))))


def note_deed(connection: sqlite3.Connection, deed: Audit) -> None:
    """Write a row of the audit."""
    audit(connection, deed, micros(datetime.now(UTC)))


def is_ours(path: Path) -> bool:
    """Whether the file begins as a store of ours does, whatever follows."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return False
    return len(head) == 100 and int.from_bytes(head[68:72]) == APPLICATION_ID
