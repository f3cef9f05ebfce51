"""Restoring a backup: unpacked beside the store, verified, brought up to date, and only then put in its place."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from hookline.daemon.admin_token import admin_token_file
from hookline.daemon.backup.archive import (
    ADMIN_TOKEN,
    CONFIG,
    LEARNED_SECRETS,
    STORE,
    ArchiveError,
    Manifest,
    read_archive,
    read_manifest,
)
from hookline.daemon.backup.inspection import Contents, at_rest, counted_contents, faults_of
from hookline.daemon.backup.offline import note_deed, writing
from hookline.daemon.backup.ownership import own_like
from hookline.daemon.backup.pages import check_room
from hookline.daemon.backup.replacing import put_in_place
from hookline.daemon.folder_sync import sync_folder
from hookline.daemon.sources.learned import learned_secrets_folder
from hookline.daemon.store.changes import Audit
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.file import migrate, newest_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A backup that was unpacked and found whole."""

    manifest: Manifest
    #: Where it lies: names as in the archive.
    folder: Path
    contents: Contents

    @property
    def store(self) -> Path:
        """The store's file."""
        return self.folder / STORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did."""

    #: Where the store that was there is now.
    aside: Path | None
    #: Files beside the store that were missing and are back.
    brought_back: tuple[Path, ...]
    #: Files that were there and stayed as they are.
    left: tuple[Path, ...]
    #: The destinations that wait until they are released.
    held: tuple[str, ...]


@contextmanager
def unpacked(backup: Path, store: Path) -> Iterator[Unpacked]:
    """Unpack a backup beside the store and verify it; it is gone afterwards, but for what was put in place.

    Call it under the store's lock. Raises `ArchiveError` for a backup that is not whole, `StoreError`, and `OSError`.
    """
    folder = store.with_name(f".{store.name}.restoring")
    shutil.rmtree(folder, ignore_errors=True)
    manifest = read_manifest(backup)
    if manifest.schema > newest_schema():
        raise ArchiveError(
            f"{backup}: made by Hookline {manifest.version} (schema {manifest.schema}; this one knows "
            f"{newest_schema()}): install that version first"
        )
    if STORE not in manifest.parts:
        raise ArchiveError(f"{backup}: there is no store in it: use another backup")
    check_room(store.parent, sum(part.size for part in manifest.parts.values()), what="what is in the backup")
    folder.mkdir(mode=0o700)
    try:

        def take(name: str, _manifest: Manifest) -> IO[bytes]:
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            return path.open("wb")

        manifest = read_archive(backup, take=take)
        yield Unpacked(manifest=manifest, folder=folder, contents=_verified(backup, folder / STORE, manifest))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _verified(backup: Path, store: Path, manifest: Manifest) -> Contents:
    try:
        with at_rest(store) as connection:
            faults = faults_of(connection)
            if faults:
                raise ArchiveError(f"{backup}: the store in it is damaged ({faults[0]}): use another backup")
            contents = counted_contents(connection)
    except sqlite3.Error as error:
        raise ArchiveError(f"{backup}: the store in it cannot be read ({error}): use another backup") from error
    if dict(contents.counts) != dict(manifest.counts):
        raise ArchiveError(f"{backup}: the store in it does not hold what its manifest says: use another backup")
    return contents


def restore(unpacked: Unpacked, store: Path, *, backup: Path, who: str, hold: bool) -> Restored:
    """Put the backup in the store's place; what is there is put aside, never removed. Raises `StoreError`, `OSError`.

    `hold`: every destination waits until it is released.
    """
    held = _bring_up_to_date(unpacked, backup=backup, who=who, hold=hold)
    brought_back, left = _bring_back(unpacked, store)
    aside = put_in_place(unpacked.store, store, why="restore")
    return Restored(aside=aside, brought_back=brought_back, left=left, held=held)


def unpack_config(unpacked: Unpacked, target: Path) -> tuple[Path, ...]:
    """Copy the configuration and rules of a backup into a folder; return the files. Raises `OSError`."""
    made = []
    for name in unpacked.manifest.parts:
        if name.startswith(CONFIG):
            path = target / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(unpacked.folder / name, path)
            made.append(path)
    return tuple(made)


def _bring_up_to_date(unpacked: Unpacked, *, backup: Path, who: str, hold: bool) -> tuple[str, ...]:
    """Bring the unpacked store to the schema of now, note the restore, and hold its destinations if asked to."""
    at = f"{unpacked.manifest.made_at:%Y-%m-%d %H:%M:%SZ}"
    deed = Audit(
        who=who,
        what="restore",
        subject=str(backup),
        count=unpacked.contents.events,
        reason=f"the store as it was {at}",
    )
    path = unpacked.store
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            migrate(connection)
        finally:
            connection.close()
        with writing(path) as restored:
            note_deed(restored, deed)
            return hold_all(restored, f"restored {datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}") if hold else ()
    except sqlite3.Error as error:
        raise StoreError(f"{backup}: the store in it cannot be brought up to date: {error}") from error


def hold_all(connection: sqlite3.Connection, reason: str) -> tuple[str, ...]:
    """Let every destination wait that has a lane; return their names. Those that are held keep their reason."""
    connection.execute("UPDATE lanes SET is_held = 1, reason = ? WHERE is_held = 0", (reason,))
    names = connection.execute("SELECT name FROM lanes ORDER BY name").fetchall()
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for (name,) in names)


def _bring_back(unpacked: Unpacked, store: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Bring back what belongs beside the store and is missing; what is there is newer, and stays."""
    back, left = [], []
    for name in unpacked.manifest.parts:
        if name.startswith(LEARNED_SECRETS):
            path = learned_secrets_folder(store.parent) / name.removeprefix(LEARNED_SECRETS)
        elif name == ADMIN_TOKEN:
            path = admin_token_file(store.parent)
        else:
            continue
        if path.exists():
            left.append(path)
            continue
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700)
            own_like(path.parent, store.parent)
        fresh = unpacked.folder / name
        own_like(fresh, store.parent)
        fresh.rename(path)
        sync_folder(path.parent)
        back.append(path)
    return tuple(back), tuple(left)
