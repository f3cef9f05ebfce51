"""What keeps the store from being written now: told by whoever fails, and looked at every second."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn, Protocol

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.store.disk import Room, file_system, free_bytes, room
from hookline.daemon.store.holders import holders_of_snapshots, named
from hookline.daemon.store.port import ENDS_THE_PROCESS, LASTING, StoreError, StoreTrouble
from hookline.daemon.store.sqlite.errors import replaced

_MIB: Final = 1 << 20
#: Room is enough again when there is so much more than the floor: else it would be refused and taken by turns.
_LEAST_MARGIN: Final = _MIB
#: A -wal file of this size does not shrink by itself: something reads, and keeps it from being written back.
_LARGE_WAL: Final = 64 * _MIB
_HUGE_WAL: Final = 256 * _MIB
_RESCUE_S: Final = 1.0
_NEXT_STEP: Final[dict[StoreTrouble, str]] = {
    "disk_full": "make room; senders are told to come again, and it goes on by itself within seconds",
    "read_only": "make it writable; senders are told to come again, and it goes on by itself within seconds",
    "away": "senders are told to come again, and it goes on by itself as soon as the server answers",
    "locked": "end the other program; senders are told to come again, and it goes on by itself within seconds",
    "io": "look at the kernel's log; the daemon ends, and what was acknowledged is found by the next start",
    "replaced": "put back what was there; the daemon ends, and the next start says what it finds",
    "corrupt": "`hookline restore` or `hookline recover`; the daemon ends, and will not start on this file",
}


class Probed(Protocol):
    """What is known of the store here."""

    async def probe(self) -> None:
        """Commit something small, durably. Raises `StoreError`."""
        ...

    async def rescue(self) -> None:
        """Bring all that was acknowledged into the file that is open. Raises `StoreError`."""
        ...

    def condemn(self, error: StoreError) -> None:
        """Learn that something is the matter with its file; it tells `StoreWatch.failed`."""
        ...


class Trouble(Protocol):
    """What is known of `StoreWatch` by those who write."""

    #: Why nothing new may be written now; None if it may.
    trouble: StoreError | None

    def wrote(self) -> None:
        """Learn that something was committed."""
        ...


class NoTrouble:
    """Stands in where nobody watches."""

    trouble: StoreError | None = None

    def wrote(self) -> None:
        """Learn nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen when it was looked at last."""

    free_bytes: int
    wal_bytes: int


class StoreWatch:
    """Knows the store's trouble, says once when it begins and when it is over, and finds out by itself that it is.

    Of two causes the graver counts: what failed before what is only short of room.
    """

    def __init__(  # noqa: PLR0913 - each by name
        self,
        path: Path,
        *,
        store: Probed,
        floor_bytes: Callable[[], int],
        clock: Callable[[], datetime],
        log: FilteringBoundLogger,
        on_change: Callable[[StoreError | None], None],
        on_look: Callable[[Look], None] = lambda _: None,
        every: timedelta = timedelta(seconds=1),
    ) -> None:
        """`path` is the store's file, `floor_bytes` how much room there must be, asked each time.

        `on_change` is called with each new trouble, and with None when it is over; `on_look` after each look.
        """
        self.trouble: StoreError | None = None
        #: Since when it is in trouble.
        self.since: datetime | None = None
        self._path = path
        self._files = tuple(path.with_name(path.name + ending) for ending in ("", "-wal", "-shm"))
        self._store = store
        self._floor_bytes = floor_bytes
        self._clock = clock
        self._log = log
        self._on_change = on_change
        self._on_look = on_look
        self._every_s = every.total_seconds()
        self._failure: StoreError | None = None
        self._shortage: StoreError | None = None
        self._identity: tuple[tuple[int, int], ...] | None = None
        self._room = Room(free_bytes=0, size_bytes=0, is_read_only=False)
        self._folder = str(path.parent)
        #: With so much room there is nothing to be said; known after the first look.
        self._enough_bytes = sys.maxsize
        self._told_wal = 0
        self._told_floor: tuple[int, int] | None = None
        self._woken = anyio.Event()

    def to_json(self) -> dict[str, str] | None:
        """Say for people and programs what is the matter; None if nothing is."""
        if self.trouble is None or self.since is None:
            return None
        return {"kind": self.trouble.kind, "why": str(self.trouble), "since": self.since.isoformat()}

    def failed(self, error: StoreError) -> None:
        """Learn that the store could not do something. Kinds that do not last are nothing to this."""
        is_final = self._failure is not None and self._failure.kind in ENDS_THE_PROCESS
        if error.kind not in LASTING or is_final:
            return
        is_news = self.trouble is None or error.kind in ENDS_THE_PROCESS
        self._failure = error
        self._settle()
        if is_news:
            # A probe follows at once, or the end.
            self._woken.set()

    def wrote(self) -> None:
        """Learn that something was committed: there may be less room than before."""
        # After each batch and not only every second: large bodies fill a small disk sooner.
        if self.trouble is not None or free_bytes(self._folder) < self._enough_bytes:
            self._measure()
            self._settle()

    async def run(self) -> None:
        """Look until cancelled. Raises `StoreError` of a kind in `ENDS_THE_PROCESS`."""
        self._identity = self._identify()
        self._warn_of_place()
        while True:
            self._woken = anyio.Event()
            await self._look()
            if self.trouble is not None and self.trouble.kind in ENDS_THE_PROCESS:
                await self._leave(self.trouble)
            # At its beginning at once, then every second.
            with anyio.move_on_after(self._every_s):
                await self._woken.wait()

    async def _leave(self, trouble: StoreError) -> NoReturn:
        if trouble.kind == "replaced":
            # The names are gone, what we have open is not.
            with anyio.move_on_after(_RESCUE_S):
                await self._store.rescue()
        raise StoreError(str(trouble), kind=trouble.kind)

    async def _look(self) -> None:
        if self._identity is not None and self._identify() != self._identity:
            self._store.condemn(replaced(self._path))
        self._measure()
        failure = self._failure
        if failure is not None and failure.kind not in ENDS_THE_PROCESS and self._has_room(failure):
            await self._probe()
        self._settle()
        self._watch_wal()

    def _has_room(self, failure: StoreError) -> bool:
        """Say whether it is worth a try: the last free page of a full disk must not count as the end of it."""
        return failure.kind != "disk_full" or self._shortage is None

    async def _probe(self) -> None:
        try:
            await self._store.probe()
        except StoreError as error:
            self.failed(error)
        else:
            if self._failure is not None and self._failure.kind not in ENDS_THE_PROCESS:
                self._failure = None

    def _measure(self) -> None:
        """Compare the room with the floor. A file system that does not say has enough."""
        try:
            self._room = room(self._path.parent)
        except OSError:
            # The folder is gone: the look at the files says so.
            return
        free, size, floor = self._room.free_bytes, self._room.size_bytes, self._floor()
        self._enough_bytes = floor
        margin = max(floor // 10, min(_LEAST_MARGIN, size // 8))
        is_full = self._failure is not None and self._failure.kind == "disk_full"
        is_short_already = is_full or self._shortage is not None
        if not size or free >= floor + (margin if is_short_already else 0):
            self._shortage = None
        elif self._shortage is None:
            # Once: its text must not change with each byte.
            self._shortage = StoreError(
                f"{self._path}: {_megabytes(free)} are left on its disk, and `limits.free_space` wants "
                f"{_megabytes(max(floor, margin))}",
                kind="disk_full",
            )

    def _floor(self) -> int:
        """Return the floor, cut down on a disk that is not four times as large."""
        configured, most = self._floor_bytes(), self._room.size_bytes // 4
        if configured <= most or not self._room.size_bytes:
            return configured
        if self._told_floor != (configured, most):
            self._told_floor = (configured, most)
            self._log.warning(
                "store.small_disk",
                free_space=_megabytes(configured),
                used_instead=_megabytes(most),
                next_step="set `limits.free_space`, or give the store a larger disk",
            )
        return most

    def _settle(self) -> None:
        """Say what changed."""
        before, now = self.trouble, self._failure or self._shortage
        self.trouble = now
        if now is None:
            if before is not None and self.since is not None:
                lasted = self._clock() - self.since
                self.since = None
                self._log.warning("store.recovered", kind=before.kind, seconds=round(lasted.total_seconds(), 1))
                self._on_change(None)
        elif before is None or before.kind != now.kind:
            self.since = self.since or self._clock()
            self._log.error("store.trouble", kind=now.kind, why=str(now), next_step=_NEXT_STEP[now.kind])
            self._on_change(now)

    def _identify(self) -> tuple[tuple[int, int], ...] | None:
        """Return which files these are; None if one is missing."""
        try:
            # The folder too: one that was moved away takes its files along.
            found = [os.stat(place) for place in (self._path.parent, *self._files)]  # noqa: PTH116 - as in the writer
        except OSError:
            return None
        return tuple((one.st_dev, one.st_ino) for one in found)

    def _watch_wal(self) -> None:
        try:
            wal_bytes = self._files[1].stat().st_size
        except OSError:
            return
        self._on_look(Look(free_bytes=self._room.free_bytes, wal_bytes=wal_bytes))
        bound = _HUGE_WAL if wal_bytes >= _HUGE_WAL else _LARGE_WAL if wal_bytes > _LARGE_WAL else 0
        if bound > self._told_wal:
            self._log.warning(
                "store.wal_large",
                size=_megabytes(wal_bytes),
                read_by=named(holders_of_snapshots(self._path)),
                next_step="end the program that reads the store without an end; events are still taken",
            )
        self._told_wal = bound

    def _warn_of_place(self) -> None:
        place = file_system(self._path)
        if place is not None and place.kind == "memory":
            self._log.warning(
                "store.in_memory", file_system=place.type, next_step="put `store:` on a disk: a boot forgets all of it"
            )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
