"""The store in one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from hookline.daemon.ids import Ids, lowest_at
from hookline.daemon.store import sqlite_prune as pruning
from hookline.daemon.store import sqlite_queue as queue
from hookline.daemon.store.changes import Answer, Change, DeliveryId, Lane, Token
from hookline.daemon.store.port import Claimed, Health, StoreError
from hookline.daemon.store.sqlite_batch import Moment
from hookline.daemon.store.sqlite_file import FileLock, connect, on_thread, prepare_path, set_up, store_error
from hookline.daemon.store.sqlite_reader import SqliteReader
from hookline.daemon.store.sqlite_rows import HOUR, micros
from hookline.daemon.store.sqlite_writer import SqliteWriter
from hookline.rules import EventId

T = TypeVar("T")

_ACCEPT_LEASE = timedelta(seconds=60)
_MOST_CLAIMED = 1_000


class SqliteStore:
    """Keeps events in one file, durably, for one process. See `Store` for what each method promises."""

    def __init__(
        self, path: Path, *, clock: Callable[[], datetime], ids: Ids, accept_lease: timedelta = _ACCEPT_LEASE
    ) -> None:
        """`accept_lease` is the lease of deliveries that are inserted running."""
        self._path = path
        self._clock = clock
        self._ids = ids
        self._accept_lease = accept_lease
        self._lock = FileLock(path)
        self._connection: aiosqlite.Connection | None = None
        self._writer: SqliteWriter | None = None
        self._readers: list[SqliteReader] = []
        self._kept: set[str] = set()
        self._pruned_keys_to = b""
        #: True after a failed fsync or read. What the disk holds is unknown until the daemon is restarted, because a
        #: commit that failed may be there after all (RELIABILITY A11); so nothing is written any more.
        self.is_broken = False

    async def open(self) -> None:
        """Lock, migrate, prove that a commit is durable, and end the leases of what a dead process left running."""
        if self._connection is not None:
            raise StoreError(f"{self._path}: is open already")
        self._lock.take()
        try:
            prepare_path(self._path)
            self._connection = await connect(self._path, mode="rw")
            self._writer = await on_thread(self._connection, partial(self._set_up, moment=self._moment()))
            await self._run(queue.end_leases)
        except BaseException as error:
            # The connection's thread would keep the process from ever ending, and systemd from starting it again
            # (RELIABILITY, finding 4).
            await self.close()
            if isinstance(error, sqlite3.Error):
                raise store_error(error, self._path) from error
            raise

    def _set_up(self, connection: sqlite3.Connection, *, moment: Moment) -> SqliteWriter:
        set_up(connection, self._path)
        writer = SqliteWriter(connection, self._path)
        # A commit of its own, so that a disk that cannot do it is found now and not by the first event.
        writer.note_start(moment)
        writer.note_files()
        return writer

    async def close(self) -> None:
        """Finish what was begun, close readers too, and let go."""
        for reader in self._readers:
            await reader.close()
        self._readers.clear()
        connection, self._connection = self._connection, None
        self._writer = None
        try:
            if connection is not None:
                # Stands in the thread's queue behind all that was begun. Shielded: see `open`.
                await asyncio.shield(asyncio.ensure_future(connection.close()))
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

    async def unrouted(self, *, limit: int) -> list[EventId]:
        """Return events that are yet to be routed, oldest first."""
        return await self._run(partial(queue.unrouted, limit=limit))

    async def prune(self, *, events: timedelta, dedupe: timedelta, dead: timedelta, limit: int) -> int:
        """Remove at most `limit` rows (keys, events, deliveries, rejections) that are older; return how many.

        Each thousand is a transaction of its own, and other work may come in between.
        """
        now = self._clock()
        removed = await self._prune_keys(older_than=lowest_at(now - dedupe), limit=limit)
        after: int | bytes | None = 0
        older_than, dead_before = lowest_at(now - events), micros(now - dead)
        while removed < limit and isinstance(after, int):
            stretch = await self._run(
                partial(
                    pruning.prune_events,
                    after=after,
                    older_than=older_than,
                    dead_before=dead_before,
                    room=limit - removed,
                )
            )
            removed, after = removed + stretch.removed, stretch.following
        if removed < limit:
            before_hour = micros(now - events) // HOUR
            removed += await self._run(partial(pruning.prune_hours, before_hour=before_hour, room=limit - removed))
        if removed < limit:
            forget = partial(pruning.prune_memories, over_by=micros(now), untouched_since=micros(now - dedupe))
            removed += await self._run(partial(forget, room=limit - removed))
        return removed

    async def _prune_keys(self, *, older_than: int, limit: int) -> int:
        """Go once around the keys, from where the last call ended."""
        removed = 0
        start, has_turned = self._pruned_keys_to, False
        while removed < limit and not (has_turned and self._pruned_keys_to >= start):
            work = partial(pruning.prune_keys, after=self._pruned_keys_to, older_than=older_than, room=limit - removed)
            stretch = await self._run(work)
            removed += stretch.removed
            if isinstance(stretch.following, bytes):
                self._pruned_keys_to = stretch.following
            else:
                self._pruned_keys_to, has_turned = b"", True
        return removed

    def reader(self) -> SqliteReader:
        """Return a reader with a connection of its own."""
        reader = SqliteReader(self._path)
        self._readers.append(reader)
        return reader

    def _moment(self) -> Moment:
        return Moment.of(self._clock(), accept_lease=self._accept_lease)

    async def _run(self, work: Callable[[SqliteWriter], T]) -> T:
        """Run work on the writing connection's thread, to its end even if the caller is cancelled."""
        connection, writer = self._connection, self._writer
        if connection is None or writer is None:
            raise StoreError(f"{self._path}: the store is not open")
        if self.is_broken:
            raise StoreError(f"{self._path}: nothing is stored since the disk failed: restart hookline", kind="io")
        try:
            return await on_thread(connection, lambda _: work(writer))
        except sqlite3.Error as error:
            failure = store_error(error, self._path)
            if failure.kind == "io":
                self.is_broken = True
            raise failure from error
