"""Writing the store's file anew: nothing is left in it of what was removed, and it is as small as it can be."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from hookline.daemon.backup.offline import fold, locked, note, writing
from hookline.daemon.backup.ownership import own_like
from hookline.daemon.backup.pages import check_room
from hookline.daemon.folder_sync import sync_folder
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.errors import store_error
from hookline.daemon.store.sqlite.file import check_schema


def rewrite(store: Path) -> tuple[int, int]:
    """Put a new file with the same rows in the store's place; return how many bytes it had and has.

    SQLite overwrites what is removed, but when pages are split or merged copies of short rows stay behind in their
    unused parts: only a new file is free of them. A kill leaves the old file or the new one. Raises `InUseError` while
    a daemon has the store, `StoreError`, and `OSError`.
    """
    new = store.with_name(f"{store.name}.vacuum")
    with locked(store):
        try:
            before = _copy(store, new)
            # As it would be found after the rename.
            with writing(new) as connection:
                note(connection, "vacuum", {"bytes": before - new.stat().st_size, "by": "cli"})
            own_like(new, store)
            _sync(new)
            after = new.stat().st_size
            new.replace(store)
            sync_folder(store.parent)
        except sqlite3.Error as error:
            raise store_error(error, store) from error
        finally:
            new.unlink(missing_ok=True)
    return before, after


def _copy(store: Path, new: Path) -> int:
    with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
        check_schema(connection, store, is_new_fine=False)
        fold(connection, store)
        before = store.stat().st_size
        check_room(store.parent, before, what="a new file beside the store")
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        # Of the new file: it can give room back by itself from then on.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM INTO ?", (str(new),))
        found = connection.execute("ATTACH ? AS made", (str(new),)).execute("PRAGMA made.quick_check").fetchone()
    if found != ("ok",):
        raise StoreError(f"{store}: the copy is damaged ({found[0]}): hookline recover", kind="corrupt")
    return before


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
