"""What only a SQLite file can be told to do."""

from __future__ import annotations

from pathlib import Path

from hookline.daemon.commands.opening import no_store
from hookline.daemon.commands.output import fail
from hookline.daemon.config.settings import Settings
from hookline.daemon.store.places import SqliteFile, UnsetStore


def store_file(settings: Settings, *, instead: str) -> Path:
    """Return the store's file; of a database say what does it `instead`, and exit 1."""
    store = settings.store
    if isinstance(store, UnsetStore):
        fail(no_store(settings))
    if not isinstance(store, SqliteFile):
        fail(f"The store is a PostgreSQL database ({store}), and Hookline leaves that to its tools: {instead}.")
    return store.path
