"""The store in one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Answer, Audit, Change, DeliveryId, Lane, Token
from hookline.daemon.store.holders import holders_of_lock, named
from hookline.daemon.store.moment import Moment
from hookline.daemon.store.port import AUDIT_KEPT, ENDS_THE_PROCESS, StoreError
from hookline.daemon.store.sqlite import clock as clocks
from hookline.daemon.store.sqlite import deleting, queue
from hookline.daemon.store.sqlite import shrink as shrinking
from hookline.daemon.store.sqlite.errors import store_error, system_error
from hookline.daemon.store.sqlite.file import (
    BUSY_TIMEOUT_MS,
    FileLock,
    connect,
    on_thread,
    prepare_path,
    refuse_place,
    set_up,
)
from hookline.daemon.store.sqlite.pace import REST, Pace
from hookline.daemon.store.sqlite.prune import Ages, SqlitePruner
from hookline.daemon.store.sqlite.reader import SqliteReader
from hookline.daemon.store.sqlite.wal import Wal
from hookline.daemon.store.sqlite.writer import SqliteWriter
from hookline.daemon.store.stored import Claimed, Deletion, DeletionStep, Health
from hookline.rules import EventId, Json

T = TypeVar("T")

_ACCEPT_LEASE = timedelta(seconds=60)
_MOST_CLAIMED = 1_000


class SqliteStore:
    """Keeps events in one file, durably, for one process. See `Store` for what each method promises."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        path: Path,
        *,
        clock: Callable[[], datetime],
        ids: Ids,
        since: Callable[[timedelta], datetime] | None = None,
        accept_lease: timedelta = _ACCEPT_LEASE,
        on_failure: Callable[[StoreError], None] = lambda _: None,
    ) -> None:
        """`accept_lease` is the lease of deliveries that are inserted running.

        `since` returns the time before which what is stored is older than an age; by default, by `clock` alone.
        `on_failure` is told of each failure of the file's, before whoever asked for the work is.
        """
        self._path = path
        self._clock = clock
        self._ids = ids
        self._since = since or (lambda age: clock() - age)
        self._accept_lease = accept_lease
        self._lock = FileLock(path)
        self._connection: aiosqlite.Connection | None = None
        self._writer: SqliteWriter | None = None
        self._wal: Wal | None = None
        self._readers: list[SqliteReader] = []
        self._kept: set[str] = set()
        self._upkeep = shrinking.UpkeepLog()
        self._pruner = SqlitePruner(self._rested)
        self._deletion_pace = Pace(most=deleting.ROWS_AT_ONCE)
        self._shrinker = shrinking.SqliteShrinker()
        self._on_failure = on_failure
        #: Why nothing is written any more: after a failed fsync or read what the disk holds is unknown until the daemon
        #: is restarted, because a commit that failed may be there after all (RELIABILITY A11).
        self.broken: StoreError | None = None
        #: Whether the file was left by a process that did not close it; known once it is open.
        self.was_unclean = False

    async def open(self) -> None:
        """Lock, migrate, prove that a commit is durable, and end the leases of what a dead process left running."""
        if self._connection is not None:
            raise StoreError(f"{self._path}: is open already")
        refuse_place(self._path)
        self._lock.take()
        try:
            self.was_unclean = prepare_path(self._path)
            self._connection = await connect(self._path, mode="rw")
            self._writer = await on_thread(self._connection, partial(self._set_up, moment=self._moment()))
            await self._run(queue.end_leases)
        except BaseException as error:
            # The connection's thread would keep the process from ever ending, and systemd from starting it again
            # (RELIABILITY, finding 4).
            await self.close()
            if isinstance(error, sqlite3.Error):
                raise store_error(error, self._path) from error
            if isinstance(error, OSError):
                raise system_error(error, self._path) from error
            raise

    def _set_up(self, connection: sqlite3.Connection, *, moment: Moment) -> SqliteWriter:
        set_up(connection, self._path)
        writer = SqliteWriter(connection, self._path)
        # A commit of its own, so that a disk that cannot do it is found now and not by the first event.
        writer.note_start(moment)
        self._wal = writer.note_files()
        return writer

    async def close(self) -> None:
        """Finish what was begun, close readers too, and let go."""
        for reader in self._readers:
            await reader.close()
        self._readers.clear()
        connection, self._connection = self._connection, None
        self._writer = None
        try:
            if self._wal is not None and (self.broken is None or self.broken.kind == "replaced"):
                # A -wal file that was removed is written back from what we have open; of other files SQLite keeps off.
                self._wal.let_go()
            if connection is not None:
                # Stands in the thread's queue behind all that was begun. Shielded: see `open`.
                await asyncio.shield(asyncio.ensure_future(connection.close()))
            if self._wal is not None:
                self._wal.close()
                self._wal = None
        finally:
            self._lock.release()

    async def keep(self, texts: Mapping[str, str]) -> None:
        """Keep texts by their hash, durably; known ones cost nothing."""
        new = {digest: text for digest, text in texts.items() if digest not in self._kept}
        if new:
            await self._run(lambda writer: writer.keep(new))
            self._kept.update(new)

    async def keep_rules(self, version: str) -> None:
        """Note that this rule set went live."""
        moment = self._moment()
        await self._run(lambda writer: writer.keep_rules(version, moment))

    async def probe(self) -> None:
        """Commit something small, to see whether it can be."""
        await self._run(SqliteWriter.probe)

    async def rescue(self) -> None:
        """Bring all that was acknowledged into the file that is open, after its names were taken away."""
        connection, wal = self._connection, self._wal
        if connection is None or wal is None:
            return
        try:
            await on_thread(connection, lambda _: wal.rescue())
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self._path}: what its -wal file held is not in it ({error})", kind="replaced"
            ) from error

    async def note(self, name: str, value: Json) -> None:
        """Remember a fact of the daemon's own upkeep."""
        moment = self._moment()
        await self._run(lambda writer: writer.note(name, value, moment))

    async def write(self, changes: Sequence[Change]) -> list[Answer]:
        """Make the changes in one durable transaction and answer each, in order."""
        moment = self._moment()
        return await self._run(lambda writer: writer.write(changes, moment))

    async def claim(self, room: Mapping[Lane, int], *, lease: timedelta) -> list[Claimed]:
        """Claim due deliveries, at most `room[lane]` of each lane and a thousand in all, longest due first."""
        count = min(sum(max(0, places) for places in room.values()), _MOST_CLAIMED)
        # Made here: `Ids` is not for two threads.
        tokens = [self._ids.token() for _ in range(count)]
        now = self._clock()
        return await self._run(lambda writer: queue.claim(writer, room, tokens, now, lease)) if count else []

    async def renew(self, tokens: Mapping[DeliveryId, Token], *, lease: timedelta) -> set[DeliveryId]:
        """Extend leases; return those whose token was still good."""
        now = self._clock()
        return await self._run(lambda writer: queue.renew(writer, tokens, now, lease)) if tokens else set()

    async def lost(self, *, limit: int) -> list[Claimed]:
        """Return running deliveries whose lease has ended, at most `limit`, the longest ended first."""
        return await self._run(partial(queue.lost, now=self._clock(), limit=limit))

    async def waiting(self) -> Mapping[Lane, datetime]:
        """Return for each lane that waits and is not held when its first delivery is due."""
        return await self._run(queue.waiting)

    async def held(self) -> Mapping[Lane, str]:
        """Return the held lanes and why."""
        return await self._run(queue.held)

    async def failing(self) -> Mapping[Lane, Health]:
        """Return the lanes that fail."""
        return await self._run(queue.failing)

    async def unrouted(
        self, *, limit: int, source: str | None = None, but: Collection[str] = (), after: EventId | None = None
    ) -> list[EventId]:
        """Return events that are yet to be routed, oldest first."""
        return await self._run(partial(queue.unrouted, limit=limit, source=source, but=but, after=after))

    async def latest(self) -> datetime | None:
        """Return when the newest event or delivery was made, None if there is none."""
        return await self._run(clocks.latest)

    async def put_off(self, by: timedelta, *, after: datetime) -> int:
        """Let all that is due after `after` be due later; return how many deliveries that are."""
        return await self._run(partial(clocks.put_off, by=by, after=after))

    async def pull_in(self, to: datetime) -> int:
        """Let all that is due after `to` be due then; return how many deliveries that were."""
        return await self._run(partial(clocks.pull_in, to=to))

    async def prune(self, *, events: timedelta, dedupe: timedelta, dead: timedelta, limit: int) -> int:
        """Remove at most `limit` rows (keys, events, deliveries, rejections) that are older; return how many.

        Other work comes in between: see `SqlitePruner`.
        """
        ages = Ages(
            at=self._clock(),
            events=self._since(events),
            dedupe=self._since(dedupe),
            dead=self._since(dead),
            audit=self._since(AUDIT_KEPT),
        )
        return await self._pruner.prune(ages, limit=limit)

    async def begin_deletion(self, which: Deletion, audit: Audit) -> int:
        """Note what is to be removed for good; return its number."""
        moment = self._moment()
        return await self._run(lambda writer: deleting.begin(writer, which, audit, moment))

    async def continue_deletion(self, number: int) -> DeletionStep:
        """Remove some of a deletion's events. Raises `KeyError`."""
        moment, pace = self._moment(), self._deletion_pace
        return await self._rested(lambda writer: deleting.step(writer, number, moment, pace), pace)

    async def end_deletion(self, number: int) -> None:
        """Note that nothing is left to do for it."""
        await self._run(lambda writer: deleting.end(writer, number))

    async def checkpoint(self) -> bool:
        """Take the -wal file's pages into the file, and empty it; False while a reader still needs them."""
        return await self._run(partial(shrinking.checkpoint, busy_timeout_ms=BUSY_TIMEOUT_MS))

    async def shrink(self) -> int:
        """Give some room back to the file system; return how many bytes."""
        return await self._rested(self._shrinker.step, self._shrinker.pace)

    async def _rested(self, work: Callable[[SqliteWriter], T], pace: Pace) -> T:
        """Run work that can wait, keep its log short, and rest in proportion."""
        began = time.monotonic()
        answer = await self._run(work)
        if self._upkeep.is_due(pace.last):
            await self._run(self._upkeep.fold)
        await asyncio.sleep((time.monotonic() - began) * REST)
        return answer

    def reader(self) -> SqliteReader:
        """Return a reader with a connection of its own."""
        reader = SqliteReader(self._path, on_failure=self._note_unreadable)
        self._readers = [*(one for one in self._readers if not one.is_closed), reader]
        return reader

    def _moment(self) -> Moment:
        return Moment.of(self._clock(), accept_lease=self._accept_lease, since=self._since)

    async def _run(self, work: Callable[[SqliteWriter], T]) -> T:
        """Run work on the writing connection's thread, to its end even if the caller is cancelled."""
        connection, writer = self._connection, self._writer
        if connection is None or writer is None:
            raise StoreError(f"{self._path}: the store is not open")
        if self.broken is not None:
            raise StoreError(str(self.broken), kind=self.broken.kind)
        try:
            return await on_thread(connection, lambda _: work(writer))
        except StoreError as error:
            self.condemn(error)
            raise
        except sqlite3.Error as error:
            failure = store_error(error, self._path)
            if failure.kind == "locked" and (holders := holders_of_lock(self._path)):
                failure = StoreError(f"{failure}: {named(holders)}", kind="locked")
            self.condemn(failure)
            raise failure from error

    def condemn(self, error: StoreError) -> None:
        """Learn that something is the matter with the file; of a kind in `ENDS_THE_PROCESS`, write no more to it."""
        if error.kind in ENDS_THE_PROCESS and self.broken is None:
            self.broken = error
        self._on_failure(error)

    def _note_unreadable(self, error: StoreError) -> None:
        """Learn that a reader failed: that it may not open the file says nothing of what is open here."""
        if error.kind in ENDS_THE_PROCESS:
            self.condemn(error)
