"""Room on the store's disk, and what kind of file system it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, counted, ok, size_text, warn, wrong
from hookline.daemon.doctor.sight import GROWTH_WINDOW, Sight, StoreSight
from hookline.daemon.store.disk import FileSystem, Room, file_system, room
from hookline.daemon.store.places import SqliteFile

_FEW_INODES: Final = 1000
#: Growth is only said where this many events were stored meanwhile.
_FEW_EVENTS: Final = 1000
_SOON: Final = timedelta(days=14)
_TOO_SOON: Final = timedelta(days=2)


def check_room(sight: Sight) -> list[Finding]:
    """Say whether there is room for what comes."""
    if isinstance(sight.settings, Failed):
        return []
    folder = sight.settings.state
    # A database is on another disk, which its server's own tools watch.
    if not isinstance(sight.settings.store, SqliteFile) or not folder.exists():
        return []
    store = sight.store if isinstance(sight.store, StoreSight) else None
    return [
        *judge_file_system(file_system(folder), folder),
        judge_free(room(folder), sight.settings.limits.free_space_bytes, folder, _growth(sight, store)),
        *_inodes(folder),
        *_backups_beside(sight, folder),
    ]


def _inodes(folder: Path) -> list[Finding]:
    found = os.statvfs(folder)
    # Some file systems do not count them, and say 0.
    if not found.f_files or found.f_favail >= _FEW_INODES:
        return []
    text = f"{counted(found.f_favail, 'inode')} left on the disk of {folder}: no file can be made without one"
    return [wrong("disk", text, "remove small files there: mail and session folders, old kernels")]


def judge_file_system(found: FileSystem | None, folder: Path) -> list[Finding]:
    """Judge where the store lies."""
    if found is None:
        return []
    if found.kind == "network":
        text = f"{folder} lies on {found.type}, a network file system: SQLite's locks and fsync do not hold there"
        return [wrong("disk", text, "put the store on a local disk: `store:` in hookline.yaml")]
    if found.kind == "memory":
        text = f"{folder} lies on {found.type}: all of it is gone after a restart of the machine"
        return [warn("disk", text, "put the store on a disk: `store:` in hookline.yaml")]
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How fast a store grows."""

    bytes_a_day: float
    #: How much larger it will be once it holds all that retention keeps.
    still_to_come: float


def judge_free(  # noqa: PLR0911 - a table
    found: Room, floor: int, folder: Path, growth: Growth | None
) -> Finding:
    """Judge the room that is free against the floor below which nothing is accepted, and the store's growth."""
    text = f"{size_text(found.free_bytes)} free of {size_text(found.size_bytes)} at {folder}"
    if found.is_read_only:
        return wrong("disk", f"{folder} is mounted read-only", "see the kernel's log (dmesg), mend it, and remount")
    step = "make room, or lower `retention`: see Files in docs/operations.md"
    if found.free_bytes <= floor:
        return wrong("disk", f"{text}: less than limits.free_space ({size_text(floor)}), nothing is accepted", step)
    if growth is not None and growth.bytes_a_day > 0:
        # What is free inside the file is used before the file grows; `still_to_come` has it in.
        days = (found.free_bytes - floor) / growth.bytes_a_day
        text += f"; the store grows by {size_text(growth.bytes_a_day)} a day"
        if growth.still_to_come <= found.free_bytes - floor:
            return ok("disk", f"{text}, and all that `retention` keeps fits")
        left = f"{text}: full in about {counted(round(days), 'day')}"
        if days < _TOO_SOON.days:
            return wrong("disk", left, step)
        return warn("disk", left, step) if days < _SOON.days else ok("disk", left)
    if found.free_bytes < 2 * floor:
        return warn("disk", f"{text}; below {size_text(floor)} nothing is accepted any more", step)
    return ok("disk", text)


def _growth(sight: Sight, store: StoreSight | None) -> Growth | None:
    if store is None or store.file is None or isinstance(sight.settings, Failed):
        return None
    kept = sum(one.events for one in store.kept)
    lately = sum(one.events for one in store.lately)
    # A store that is younger than the window had less time; of its first hours nothing can be said.
    window = min(GROWTH_WINDOW, max(sight.now - store.rules_counted_since, timedelta(days=1)))
    retention = sight.settings.retention.events
    return growth_of(
        used=store.file.size - store.file.free_inside,
        free_inside=store.file.free_inside,
        kept=kept,
        a_day=lately / (window / timedelta(days=1)),
        retention=retention,
    )


def growth_of(*, used: int, free_inside: int, kept: int, a_day: float, retention: timedelta) -> Growth | None:
    """Reckon growth from a store's bytes, the events it holds, and how many come a day; None if they are too few."""
    if a_day * GROWTH_WINDOW.days < _FEW_EVENTS or kept <= 0:
        return None
    each = used / kept
    in_the_end = each * a_day * (retention / timedelta(days=1))
    return Growth(bytes_a_day=each * a_day, still_to_come=max(in_the_end - used - free_inside, 0))


def _backups_beside(sight: Sight, folder: Path) -> list[Finding]:
    settings = sight.settings
    if isinstance(settings, Failed) or settings.backup is None:
        return []
    to = settings.backup.to
    if not to.is_dir():
        return []
    if to.stat().st_dev != folder.stat().st_dev:
        return []
    text = f"{to} lies on the store's own disk: a backup there goes with it"
    return [ok("backup", text, "copy them elsewhere, or set backup.to")]
