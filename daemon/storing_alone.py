"""A store in a file of ours: its disk, its clock, its pages and its backups are this process's to watch."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hookline.daemon.admin_token import ensure_admin_token
from hookline.daemon.clock_watch import ClockWatch
from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.metrics.looking import size_of_file
from hookline.daemon.pausing import Pauses
from hookline.daemon.sources.learned import FileLearnedSecrets, learned_secrets_folder
from hookline.daemon.steady_clock import SteadyClock, utc_now
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.file import has_wal_reset_bug
from hookline.daemon.store.sqlite.integrity import IntegrityCheck
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.watch import StoreWatch
from hookline.daemon.storing import Duty, Surroundings
from hookline.daemon.traffic.keeping import FACT

#: The fact that says whether the last stop was one.
STOPPED: Final = "stopped"
_WAL_RESET_STEP: Final = "let no other program write to the store while the daemon runs; 3.51.3 or newer mends it"


class StoringAlone:
    """Implements `Storing` for SQLite."""

    #: Nobody shares it.
    peers: None = None
    traffic_fact = FACT

    def __init__(self, around: Surroundings, file: Path) -> None:
        """Make and join the parts."""
        self._around = around
        metrics, log = around.metrics, around.log
        #: What is stored goes by a time that does not jump.
        self.time = time = SteadyClock(wall=utc_now)
        self.ids = Ids(time)
        self.store = SqliteStore(file, clock=time, since=time.since, ids=self.ids, on_failure=self._failed)
        self.watch = StoreWatch(
            file,
            store=self.store,
            floor_bytes=around.floor_bytes,
            clock=utc_now,
            log=log,
            on_change=around.on_change,
            on_look=lambda look: metrics.store_seen(free_bytes=look.free_bytes, wal_bytes=look.wal_bytes),
        )
        self.learned = FileLearnedSecrets(learned_secrets_folder(around.settings.state))
        self._size = size_of_file(file)
        self._integrity = IntegrityCheck(file, store=self.store, environ=around.environ, clock=utc_now, log=log)
        self._clock_watch: ClockWatch | None = None

    def policy(self, lane: Lane) -> LanePolicy:
        """Return what the configuration says."""
        return self._around.policies(lane)

    def join(self, dispatcher: Dispatcher, pauses: Pauses) -> None:  # noqa: ARG002 - as in `Storing`
        """Have what waits put off when the clock jumps."""
        around = self._around
        self._clock_watch = ClockWatch(
            clock=self.time, store=self.store, waiting=dispatcher, metrics=around.metrics, log=around.log
        )

    def warn(self) -> None:
        """Say if this SQLite has a fault that matters here."""
        if has_wal_reset_bug():
            self._around.log.warning("sqlite.wal_reset_bug", version=sqlite3.sqlite_version, next_step=_WAL_RESET_STEP)

    async def size(self) -> int:
        """Return how large the file is. Raises `OSError`."""
        return await self._size()

    async def open(self) -> None:
        """Open the file. Raises `StoreError`."""
        await self.store.open()

    async def begin(self) -> None:
        """Go on after the latest time that is stored. Raises `StoreError`."""
        await self.store.note(STOPPED, {"clean": False})
        await self._clock().begin()

    async def admin_token(self) -> str:
        """Return the configured token, or the one beside the store. Raises `OSError`."""
        settings = self._around.settings
        return settings.admin.token or ensure_admin_token(settings.state)

    def upkeep(self, duties: Sequence[Duty]) -> Sequence[Duty]:
        """Do all there is to do."""
        return (self._clock().run, self._integrity.run, *duties)

    async def note_stop(self) -> None:
        """Note the time, and that this was a stop. Raises `StoreError`."""
        await self._clock().note()
        await self.store.note(STOPPED, {"clean": True})

    async def close(self) -> None:
        """Close the file."""
        await self.store.close()

    def _failed(self, error: StoreError) -> None:
        self.watch.failed(error)

    def _clock(self) -> ClockWatch:
        assert self._clock_watch is not None, "join comes first"  # noqa: S101
        return self._clock_watch
