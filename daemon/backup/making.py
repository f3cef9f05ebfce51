"""Making a backup: copied, checked, packed, read again, and only then given its name."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hookline.daemon.admin_token import admin_token_file
from hookline.daemon.backup.archive import (
    ADMIN_TOKEN,
    CONFIG,
    LEARNED_SECRETS,
    STORE,
    Manifest,
    digest_of,
    read_archive,
    write_archive,
)
from hookline.daemon.backup.inspection import Contents, at_rest, counted_contents, faults_of, kept_contents
from hookline.daemon.backup.ownership import own_like
from hookline.daemon.backup.pages import check_room, copy_pages, is_full, reason, size_of, snapshot
from hookline.daemon.folder_sync import sync_folder
from hookline.daemon.sources.learned import learned_secrets_folder
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.errors import store_error
from hookline.daemon.store.sqlite.file import check_schema
from hookline.daemon.version import VERSION

#: Told what is being done, and how far it has come: `copying`, `checking`, `packing`, `verifying`; from 0 to 1.
Stage = Callable[[str, float], None]

#: Ends the names of those that the daemon makes by itself, and removes when there are enough.
_SCHEDULED: Final = "-scheduled"
_UNFINISHED: Final = ".hookline-backup-"
_LOCK: Final = ".hookline-backup.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What backup to make."""

    store: Path
    #: The folder that it is put into.
    folder: Path
    #: Its name there; None: one is made of the host's name and the time.
    name: str | None = None
    #: How many that were made by the schedule stay, this one among them; None: it is not made by the schedule.
    keep: int | None = None
    #: So many bytes must stay free where the store lies.
    keep_free: int = 0
    #: Configuration and rules that it holds too, by their names inside.
    config: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A backup that was made and verified."""

    path: Path
    size: int
    #: What the store's copy takes unpacked.
    store_size: int
    at: datetime
    seconds: float
    contents: Contents
    #: What is in it besides the store.
    others: tuple[str, ...]
    #: Older ones that were removed.
    removed: tuple[Path, ...] = ()
    #: What is odd about the store, though it is whole.
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "path": str(self.path),
            "bytes": self.size,
            "store_bytes": self.store_size,
            "at": self.at.isoformat(),
            "seconds": round(self.seconds, 1),
            "events": self.contents.events,
            "counts": dict(self.contents.counts),
            "also": list(self.others),
            "removed": [str(path) for path in self.removed],
            "warnings": list(self.warnings),
        }


def make_backup(wanted: Wanted, *, stage: Stage = lambda _what, _share: None) -> Made:
    """Make a backup of a store, whether a daemon has it open or not; nothing is left behind if it fails.

    Raises `StoreError` with the next step, `ArchiveError` if what was written does not read back.
    """
    began = time.monotonic()
    at = datetime.now(UTC).replace(microsecond=0)
    target = wanted.folder / (wanted.name or _name(at, is_scheduled=wanted.keep is not None))
    try:
        _make_folder(wanted.folder, like=wanted.store.parent)
        with _alone(wanted.folder):
            copy = wanted.folder / f"{_UNFINISHED}{os.getpid()}.db"
            packed = copy.with_suffix(".tar.gz")
            try:
                _refuse_taken(target)
                contents, warnings = _copy_store(wanted, copy, stage)
                files = {STORE: copy, **_others(wanted)}
                manifest = _manifest(wanted, contents, files, at)
                _pack(packed, manifest, files, stage)
                copy.unlink()
                own_like(packed, wanted.folder)
                _refuse_taken(target)
                packed.rename(target)
                sync_folder(wanted.folder)
            finally:
                for path in (copy, packed):
                    path.unlink(missing_ok=True)
            removed = () if wanted.keep is None else _remove_oldest(wanted.folder, wanted.keep, but=target)
            return Made(
                path=target,
                size=target.stat().st_size,
                store_size=manifest.parts[STORE].size,
                at=at,
                seconds=time.monotonic() - began,
                contents=contents,
                others=tuple(name for name in files if name != STORE),
                removed=removed,
                warnings=warnings,
            )
    except OSError as error:
        where = error.filename or wanted.folder
        if is_full(error):
            raise StoreError(f"{where}: {reason(error)}: make room there", kind="disk_full") from error
        raise StoreError(f"{where}: {reason(error)}: choose a folder that can be written to") from error


def _refuse_taken(target: Path) -> None:
    if target.exists():
        raise StoreError(f"{target}: is there already: name another file")


def _copy_store(wanted: Wanted, copy: Path, stage: Stage) -> tuple[Contents, tuple[str, ...]]:
    """Copy and check the store; return what it holds, and what is odd about it."""
    try:
        with snapshot(wanted.store) as store:
            check_schema(store, wanted.store, is_new_fine=True)
            _check_room(wanted, size_of(store))
            kept = kept_contents(store)
            copy_pages(store, copy, progress=lambda done, total: stage("copying", done / max(1, total)))
    except sqlite3.Error as error:
        if is_full(error):
            raise StoreError(f"{wanted.folder}: full: make room there", kind="disk_full") from error
        raise store_error(error, wanted.store) from error
    stage("checking", 0)
    with at_rest(copy) as copied:
        faults = faults_of(copied)
        if faults:
            raise StoreError(
                f"{wanted.store}: is damaged, and so would the backup be ({faults[0]}): keep those that there are, "
                "stop the daemon, and run `hookline recover`",
                kind="corrupt",
            )
        if kept_contents(copied) != kept:
            raise StoreError(f"{wanted.store}: the copy is not what the store was: make the backup again")
        counted = counted_contents(copied)
    if counted == kept:
        return counted, ()
    odd = [
        f"{name}: {kept.counts[name]} kept, {count} counted"
        for name, count in counted.counts.items()
        if kept.counts[name] != count
    ]
    return counted, (f"the store's counters are not what it holds ({', '.join(odd)})",)


def _check_room(wanted: Wanted, size: int) -> None:
    # The copy, and what it is packed into: JSON to a fifth, but bodies may be packed already.
    is_same_disk = wanted.folder.stat().st_dev == wanted.store.stat().st_dev
    keep_free = wanted.keep_free if is_same_disk else 0
    check_room(wanted.folder, size + size // 2, what="the backup", keep_free=keep_free)


def _others(wanted: Wanted) -> dict[str, Path]:
    """Return what belongs to a store besides its file, by the names inside."""
    secrets = learned_secrets_folder(wanted.store.parent)
    found = {}
    if secrets.is_dir():
        # What ends so was being written.
        kept = sorted(path for path in secrets.iterdir() if path.is_file() and path.suffix != ".new")
        found = {f"{LEARNED_SECRETS}{path.name}": path for path in kept}
    token = admin_token_file(wanted.store.parent)
    if token.is_file():
        found[ADMIN_TOKEN] = token
    return found | {f"{CONFIG}{name}": path for name, path in wanted.config.items()}


def _manifest(wanted: Wanted, contents: Contents, files: Mapping[str, Path], at: datetime) -> Manifest:
    return Manifest(
        version=VERSION,
        schema=contents.schema,
        made_at=at,
        host=platform.node(),
        store=str(wanted.store),
        counts=contents.counts,
        newest=contents.newest,
        parts={name: digest_of(path) for name, path in files.items()},
    )


def _pack(packed: Path, manifest: Manifest, files: Mapping[str, Path], stage: Stage) -> None:
    total = max(1, sum(part.size for part in manifest.parts.values()))
    done = 0

    def seen(count: int) -> None:
        nonlocal done
        done += count
        stage("packing", done / total)

    write_archive(packed, manifest, files, seen=seen)
    stage("verifying", 0)
    read_archive(packed, take=lambda _name, _manifest: None)


def _name(at: datetime, *, is_scheduled: bool) -> str:
    host = re.sub(r"[^A-Za-z0-9.]+", "-", platform.node()).strip("-.") or "host"
    return f"hookline-{host}-{at:%Y%m%dT%H%M%SZ}{_SCHEDULED if is_scheduled else ''}.tar.gz"


def _remove_oldest(folder: Path, keep: int, *, but: Path) -> tuple[Path, ...]:
    """Remove what the schedule made but the newest, on this host or on one that had the folder before."""
    made = re.compile(rf"hookline-.+-(\d{{8}}T\d{{6}}Z){_SCHEDULED}\.tar\.gz")
    times = {path: found[1] for path in folder.iterdir() if (found := made.fullmatch(path.name)) and path != but}
    old = sorted(times, key=lambda path: times[path])[: max(0, len(times) - keep + 1)]
    for path in old:
        path.unlink(missing_ok=True)
    return tuple(old)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make one backup at a time in a folder, and clear away what one that was killed has left there."""
    lock = folder / _LOCK
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{folder}: another backup is being made there: wait until it is done") from None
        own_like(lock, folder)
        for left in folder.glob(f"{_UNFINISHED}*.*"):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def _make_folder(folder: Path, *, like: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        own_like(folder, like)
