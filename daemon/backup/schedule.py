"""The backups that the daemon makes by itself: when one is due, and what is told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.backup.making import Wanted
from hookline.daemon.config.settings import Backup, Settings
from hookline.daemon.store.places import SqliteFile
from hookline.daemon.store.port import Store, StoreError
from hookline.rules import Json

#: The facts: the last backup that was made and verified, and the last one of those that the daemon made by itself.
LAST_BACKUP: Final = "backup"
LAST_SCHEDULED: Final = "backup_scheduled"

#: What is noted of one.
NOTED: Final = ("path", "at", "bytes", "events", "seconds", "by")

#: After a start, so that what waited goes first.
_SETTLING: Final = timedelta(minutes=1)
#: After one that failed.
_AGAIN: Final = timedelta(hours=1)
# Of a clock that is being set.
_SKEW: Final = timedelta(minutes=1)
# How often it is looked whether one is due: the settings may change, and so may the clock.
_LOOK_S: Final = 15.0


def due_at(backup: Backup, *, last: datetime | None, failed: datetime | None, now: datetime) -> datetime:
    """Return when the next one is due: by the last one's time, also after a restart; `failed`: the last try since."""
    # A clock that was ahead must not put it off for years.
    due = now if last is None else min(last, now) + backup.every
    return due if failed is None else max(due, min(failed, now) + min(_AGAIN, backup.every))


@dataclass(slots=True, kw_only=True, eq=False)
class BackupSchedule:
    """Makes backups when they are due, one at a time, each in a process of its own."""

    #: Asked each time: they may change.
    settings: Callable[[], Settings]
    store: Store
    #: Makes one; raises `StoreError` and `OSError`.
    make: Callable[[Wanted], Awaitable[dict[str, Any]]]
    clock: Callable[[], datetime]
    log: FilteringBoundLogger
    #: Told when the last one was made.
    on_made: Callable[[datetime], None]
    settling: timedelta = _SETTLING
    look_s: float = _LOOK_S
    _last: datetime | None = field(default=None, init=False)
    _failed: datetime | None = field(default=None, init=False)

    async def run(self) -> None:
        """Make them until cancelled. The store must be open."""
        await self._recall()
        await anyio.sleep(self.settling.total_seconds())
        while True:
            settings, now = self.settings(), self.clock()
            backup = settings.backup
            # Of a database the configuration has none.
            file = settings.store
            if (
                isinstance(file, SqliteFile)
                and backup is not None
                and now >= due_at(backup, last=self._last, failed=self._failed, now=now)
            ):
                await self._make_one(file.path, backup, keep_free=settings.limits.free_space_bytes)
            await anyio.sleep(self.look_s)

    async def noted(self, said: Mapping[str, Any]) -> None:
        """Note a backup that somebody else made and verified. Raises `ValueError` if it says no such, `StoreError`."""
        at = datetime.fromisoformat(str(said["at"])) if "at" in said else None
        if at is None or at.tzinfo is None or at > self.clock() + _SKEW:
            raise ValueError("say when it was made: `at`, with its offset, and not in the future")
        kept: dict[str, Json] = {name: said[name] for name in NOTED if isinstance(said.get(name), str | int | float)}
        await self.store.note(LAST_BACKUP, kept)
        self.on_made(at)

    async def _recall(self) -> None:
        reader = self.store.reader()
        try:
            facts = await reader.facts()
        except StoreError as error:
            self.log.warning("backup.unknown", why=str(error), next_step="one is made now")
            return
        finally:
            await reader.close()
        if LAST_SCHEDULED in facts:
            self._last = facts[LAST_SCHEDULED].at
        if LAST_BACKUP in facts:
            self.on_made(facts[LAST_BACKUP].at)

    async def _make_one(self, store: Path, backup: Backup, *, keep_free: int) -> None:
        wanted = Wanted(store=store, folder=backup.to, keep=backup.keep, keep_free=keep_free)
        try:
            made = await self.make(wanted)
            at = datetime.fromisoformat(made["at"]).astimezone(UTC)
            self._last, self._failed = at, None
            self.on_made(at)
            self.log.info(
                "backup.made",
                path=made["path"],
                bytes=made["bytes"],
                events=made["events"],
                seconds=made["seconds"],
                removed=made["removed"],
            )
            for warning in made["warnings"]:
                self.log.warning("backup.odd", why=warning, next_step="hookline doctor")
            kept: dict[str, Json] = {**{name: made[name] for name in NOTED if name in made}, "by": "daemon"}
            await self.store.note(LAST_SCHEDULED, kept)
            await self.store.note(LAST_BACKUP, kept)
        except (StoreError, OSError) as error:
            self._failed = self.clock()
            self.log.error(  # noqa: TRY400 - it says what to do, not where
                "backup.failed",
                why=str(error),
                next_step=f"mend it, then: hookline backup {backup.to}; it is tried again within an hour",
            )
