"""The SQLite file: locked, opened, brought up to date, and what its errors mean."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import aiosqlite

from hookline.daemon.backup.before_migration import copy_before_migration
from hookline.daemon.log import get_logger
from hookline.daemon.store.disk import file_system
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.errors import damage_advice, system_error

T = TypeVar("T")

#: Tells our files from other people's databases: "Hook".
APPLICATION_ID = 0x486F6F6B
#: STRICT tables.
OLDEST_SQLITE = (3, 37, 0)

BUSY_TIMEOUT_MS = 3_000
_WAL_BYTES_KEPT = 64 << 20
_CACHE_KIB = 16 << 10
# A dozen statements in up to 33 sizes each (statements.py), 5 MB when all are there.
_STATEMENTS_KEPT = 512
_SCHEMA = re.compile(r"schema_(\d+)\.sql")


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
        except OSError as error:
            raise system_error(error, self._path.parent) from error
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise system_error(error, self._path) from error
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
        self._file = file
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self.release()
            raise system_error(error, self._path) from error

    def release(self) -> None:
        """Let go. The file stays: to remove it would let two daemons lock two files of one name."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def refuse_place(path: Path) -> None:
    """Raise `StoreError` for a file system that is shared between machines: SQLite's locks do not hold there."""
    place = file_system(path)
    if place is not None and place.kind == "network":
        raise StoreError(
            f"{path}: lies on a network file system ({place.type}, mounted at {place.at}), where a store is corrupted "
            "sooner or later: set `store:` to a path on a local disk",
            kind="unfit",
        )


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


def prepare_path(path: Path) -> bool:
    """See that there is a file that only we may read; return whether it was left open. Raises `StoreError`."""
    wal = path.with_name(path.name + "-wal")
    try:
        size = path.stat().st_size if path.exists() else None
        has_wal = wal.exists() and wal.stat().st_size > 0
        if has_wal and not size:
            # SQLite would delete the -wal file, and with it what may be the only copy of the last events.
            raise StoreError(
                f"{path}: missing or empty, but {wal.name} beside it holds data: put the file back, or put both aside",
                kind="corrupt",
            )
        if size == 0:
            # Not as we made it: ours is never empty, not even for a moment.
            raise StoreError(
                f"{path}: empty, what was in it is gone: `hookline restore` a backup, or remove the file to begin anew",
                kind="corrupt",
            )
        index = path.with_name(path.name + "-shm")
        if size and index.exists() and not wal.exists():
            # Whoever closes the file removes this one first. SQLite would go on without a word.
            raise StoreError(
                f"{path}: {wal.name} was removed, and with it the last events: put it back, or `hookline restore` a "
                f"backup; to go on without them, remove {index.name}",
                kind="corrupt",
            )
        if size is None:
            _make(path)
        # What SQLite says of a file that it may not write is less.
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        raise system_error(error, path) from error
    return has_wal


def _make(path: Path) -> None:
    """Make a file that is ours and holds nothing yet, in one step."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        # Only an empty file can be told: it can give room back later, a little at a time.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    new.rename(path)


def set_up(connection: sqlite3.Connection, path: Path) -> None:
    """Make a new connection ready to write: settings, schema, and a look at its health.

    Raises `StoreError` with what to do, or `sqlite3.Error`.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(
            f"Python is linked to SQLite {sqlite3.sqlite_version}, and {oldest} is the oldest that will do",
            kind="unfit",
        )
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    check_schema(connection, path, is_new_fine=True)
    for setting in (
        "secure_delete = ON",  # what is removed is overwritten: less than 1 % of what accepting costs
        "mmap_size = 0",  # an I/O error in mapped memory is a signal, not an error
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "temp_store = MEMORY",
        f"cache_size = -{_CACHE_KIB}",
        f"journal_size_limit = {_WAL_BYTES_KEPT}",
        "synchronous = FULL",
    ):
        connection.execute(f"PRAGMA {setting}")
    (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    if (journal, synchronous) != ("wal", 2):
        raise StoreError(
            f"{path}: SQLite would not promise durability here (journal_mode {journal}, synchronous {synchronous}): "
            "put the store on a local disk",
            kind="unfit",
        )
    _copy_before_migration(connection, path)
    migrate(connection)
    (health,) = connection.execute("PRAGMA quick_check('deliveries')").fetchone()
    if health != "ok":
        raise StoreError(f"{path}: the file is damaged: {damage_advice()} ({health.splitlines()[0]})", kind="corrupt")


def schemas() -> dict[int, str]:
    """Return the script of each schema, which makes it of the one before."""
    found = {}
    for file in files(__package__).iterdir():
        named = _SCHEMA.fullmatch(file.name)
        if named:
            found[int(named.group(1))] = file.read_text("utf-8")
    return dict(sorted(found.items()))


def newest_schema() -> int:
    """Return the schema that this Hookline writes."""
    return max(schemas())


def check_schema(connection: sqlite3.Connection, path: Path, *, is_new_fine: bool) -> None:
    """Raise `StoreError` if the file is not ours, or of a newer Hookline; `sqlite3.Error` if it is no database."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    newest = newest_schema()
    if application != APPLICATION_ID and tables:
        raise StoreError(f"{path}: a database, but not one of Hookline's: correct `store:`", kind="unfit")
    if version > newest:
        raise StoreError(
            f"{path}: written by a newer Hookline (schema {version}; this one knows {newest}): install that one again, "
            f"or put back {path.name}.schema-{newest}, the copy from before the upgrade",
            kind="unfit",
        )
    if version < newest and not is_new_fine:
        raise StoreError(
            f"{path}: written by an older Hookline (schema {version}): start the daemon once to upgrade it"
        )


def _copy_before_migration(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not 0 < version < newest_schema():
        return
    copied = copy_before_migration(path, version)
    if copied is not None:
        next_step = "remove it once the new version has proven itself"
        get_logger().warning("store.copied", path=str(copied), schema=version, next_step=next_step)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date; nothing if it is. Raises `sqlite3.Error`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in schemas().items():
        if number <= version:
            continue
        try:
            # One transaction: a kill in the middle leaves the old schema whole.
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
