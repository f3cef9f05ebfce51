"""The SQLite file: locked, opened, brought up to date, and what its errors mean."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sqlite3
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import aiosqlite

from hookline.daemon.store.port import StoreError, StoreTrouble

T = TypeVar("T")

#: Tells our files from other people's databases: "Hook".
APPLICATION_ID = 0x486F6F6B
#: STRICT tables.
OLDEST_SQLITE = (3, 37, 0)

_BUSY_TIMEOUT_MS = 3_000
# 16 MB. Measured with 40,000 events in groups of 32, each delivered: at the default of 1,000 pages an event costs 3.25
# written pages, here 2.95, at 10,000 pages 2.81; a checkpoint, which holds up a batch, takes 12, 22 and 40 ms of CPU.
_CHECKPOINT_PAGES = 4_000
_WAL_BYTES_KEPT = 64 << 20
_CACHE_KIB = 16 << 10
# A dozen statements in up to 33 sizes each (sqlite_statements.py), 5 MB when all are there.
_STATEMENTS_KEPT = 512
_SCHEMA = re.compile(r"sqlite_schema_(\d+)\.sql")


def store_error(error: Exception, path: Path) -> StoreError:
    """Say what an error of SQLite's means for whoever runs the daemon."""
    # The lowest byte is the kind, the others say where.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind: StoreTrouble
    match code:
        case sqlite3.SQLITE_FULL:
            kind, meaning = "disk_full", "the disk is full: make room, and it goes on by itself"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            kind, meaning = (
                "read_only",
                "cannot write: check owner and mode of the file and of its folder, and the mount",
            )
        case sqlite3.SQLITE_IOERR:
            kind, meaning = "io", "the disk fails: look at the kernel's log, and restart when it is mended"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            kind, meaning = "locked", "another program holds its lock: end it"
        case sqlite3.SQLITE_NOTADB:
            kind, meaning = "corrupt", "not a SQLite database: correct `store:`, or put the file aside"
        case sqlite3.SQLITE_CORRUPT:
            kind, meaning = "corrupt", _damage_advice(path)
        case _:
            kind, meaning = "other", "the store cannot do it"
    return StoreError(f"{path}: {meaning} ({error})", kind=kind)


def _damage_advice(path: Path) -> str:
    return (
        "the file is damaged: stop, copy it with its -wal file, and restore a backup or salvage it with "
        f"`sqlite3 {path.name} .recover | sqlite3 recovered.db`"
    )


def has_wal_reset_bug(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite may corrupt a WAL file when two connections write (https://www.sqlite.org/wal.html#walresetbug).

    Ours has one that writes and checkpoints, which keeps clear of it; other programs' connections would not.
    """
    is_mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return not is_mended


class FileLock:
    """The lock that keeps a second daemon off the file; the kernel lets go of it however the process ends."""

    def __init__(self, path: Path) -> None:
        """`path` is the store's; the lock is a file beside it."""
        self._store = path
        self._path = path.with_name(path.name + ".lock")
        self._file: int | None = None

    def take(self) -> None:
        """Take the lock or raise `StoreError`."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be opened: {error.strerror}", kind="read_only") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise StoreError(
                f"{self._store}: in use by another hookline (process {owner}): stop that one, "
                "or give this one a `store:` of its own",
                kind="locked",
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let go. The file stays: to remove it would let two daemons lock two files of one name."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


async def connect(path: Path, *, mode: str) -> aiosqlite.Connection:
    """Open a connection, `mode` ro or rw, on a thread of its own. It must be closed, or the process never ends.

    Raises `sqlite3.Error`.
    """
    # A path as URI, so that its own characters are not read as the URI's.
    uri = f"{path.absolute().as_uri()}?mode={mode}"  # noqa: ASYNC240 - reads the working directory, no disk
    connection = aiosqlite.connect(uri, uri=True, isolation_level=None, cached_statements=_STATEMENTS_KEPT)
    # A cancelled connect would leave a handle that nobody closes (aiosqlite#259), and aiosqlite ends its thread itself
    # only if connecting fails.
    opening = asyncio.ensure_future(_opened(connection))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: done.exception() or connection.stop())
        raise


async def _opened(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connection


async def on_thread(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """Run `function` as a whole on the connection's thread; it is not stopped if the caller is cancelled.

    aiosqlite offers each statement as a step of its own. Between two steps another task could slip its statements into
    our transaction, and a cancelled caller would leave it open for ever (RELIABILITY, findings 1 and 2). Its `_execute`
    hands a whole callable to the thread, and nothing else runs there until it returns. It is not part of the public
    interface: tests/integration/test_sqlite_store.py holds what we rely on.
    """
    call: Callable[[], T] = partial(function, connection._conn)  # noqa: SLF001 - see above
    # Shielded: what runs there cannot be called back, and whoever is cancelled must not take the others' answer along.
    answer: T = await asyncio.shield(connection._execute(call))  # type: ignore[no-untyped-call] # noqa: SLF001 - see above
    return answer


def prepare_path(path: Path) -> None:
    """Make an empty file that only we may read, if there is none. Raises `StoreError`."""
    wal = path.with_name(path.name + "-wal")
    try:
        is_empty = not path.exists() or path.stat().st_size == 0
        if is_empty and wal.exists() and wal.stat().st_size > 0:
            # SQLite would delete the -wal file, and with it what may be the only copy of the last events.
            raise StoreError(
                f"{path}: missing or empty, but {wal.name} beside it holds data: put the file back, or put both aside",
                kind="corrupt",
            )
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened: {error.strerror}", kind="read_only") from error


def set_up(connection: sqlite3.Connection, path: Path) -> None:
    """Make a new connection ready to write: settings, schema, and a look at its health.

    Raises `StoreError` with what to do, or `sqlite3.Error`.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(
            f"Python is linked to SQLite {sqlite3.sqlite_version}, and {oldest} is the oldest that will do"
        )
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    check_schema(connection, path, is_new_fine=True)
    for setting in (
        "mmap_size = 0",  # an I/O error in mapped memory is a signal, not an error
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "temp_store = MEMORY",
        f"cache_size = -{_CACHE_KIB}",
        f"journal_size_limit = {_WAL_BYTES_KEPT}",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        "synchronous = FULL",
    ):
        connection.execute(f"PRAGMA {setting}")
    (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    if (journal, synchronous) != ("wal", 2):
        raise StoreError(
            f"{path}: SQLite would not promise durability here (journal_mode {journal}, synchronous {synchronous}): "
            "put the store on a local disk"
        )
    _migrate(connection)
    (health,) = connection.execute("PRAGMA quick_check('deliveries')").fetchone()
    if health != "ok":
        raise StoreError(f"{path}: {_damage_advice(path)} ({health.splitlines()[0]})", kind="corrupt")


def _schemas() -> dict[int, str]:
    found = {}
    for file in files(__package__).iterdir():
        named = _SCHEMA.fullmatch(file.name)
        if named:
            found[int(named.group(1))] = file.read_text("utf-8")
    return dict(sorted(found.items()))


def check_schema(connection: sqlite3.Connection, path: Path, *, is_new_fine: bool) -> None:
    """Raise `StoreError` if the file is not ours, or of a newer Hookline; `sqlite3.Error` if it is no database."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    newest = max(_schemas())
    if application != APPLICATION_ID and tables:
        raise StoreError(f"{path}: a database, but not one of Hookline's: correct `store:`")
    if version > newest:
        raise StoreError(
            f"{path}: written by a newer Hookline (schema {version}; this one knows {newest}): install that one again, "
            "or restore the backup from before the upgrade"
        )
    if version < newest and not is_new_fine:
        raise StoreError(
            f"{path}: written by an older Hookline (schema {version}): start the daemon once to upgrade it"
        )


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in _schemas().items():
        if number <= version:
            continue
        try:
            # One transaction: a kill in the middle leaves the old schema whole.
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
