"""A copy of the store from before its schema changes, for whoever must go back to the older Hookline."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hookline.daemon.backup.pages import check_room, copy_pages, is_full, reason, size_of, snapshot
from hookline.daemon.folder_sync import sync_folder
from hookline.daemon.store.port import StoreError


def copy_before_migration(path: Path, schema: int) -> Path | None:
    """Copy the store, whole and fsynced, to `<name>.schema-<schema>` beside it; None if it holds nothing yet.

    `schema` is the one that it has now. An older copy of the same schema is replaced. Raises `StoreError` if there is
    no room or it cannot be written, `sqlite3.Error` if the store cannot be read.
    """
    target = path.with_name(f"{path.name}.schema-{schema}")
    unfinished = target.with_name(f"{target.name}.new")
    with snapshot(path) as store:
        if not _holds_data(store):
            return None
        try:
            unfinished.unlink(missing_ok=True)
            check_room(path.parent, size_of(store), what="the copy of the store before its upgrade")
            copy_pages(store, unfinished)
            unfinished.replace(target)
            sync_folder(path.parent)
        except (OSError, sqlite3.Error) as error:
            unfinished.unlink(missing_ok=True)
            raise StoreError(
                f"{path}: cannot be copied to {target} before its upgrade ({reason(error)}): make that possible, and "
                "start again",
                kind="disk_full" if is_full(error) else "other",
            ) from error
    return target


def _holds_data(store: sqlite3.Connection) -> bool:
    """Whether anything was ever accepted: a file with tables alone is made anew in a moment."""
    has_events = store.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'events'").fetchone()
    if has_events is None:
        return False
    return any(store.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in ("events", "dedupe", "texts"))  # noqa: S608
