"""A store moved: copied in pieces, read back from both sides, and only then given to daemons."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from hookline.daemon.migrating.checking import compare, compare_readers
from hookline.daemon.migrating.secrets_kept import secrets_beside
from hookline.daemon.migrating.source import Source
from hookline.daemon.migrating.tables import TABLES, Table
from hookline.daemon.migrating.target import Target
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.partitions import Partitions
from hookline.daemon.store.postgres.reader import PostgresReader
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.sqlite.reader import SqliteReader

#: As `PostgresStore` has it.
_SPAN: Final = timedelta(days=1)

#: What is done, and which share of it.
Stage = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What came, and how."""

    #: By table.
    rows: Mapping[str, int]
    #: Of these, an earlier run had moved so many.
    found_rows: int
    #: Of the file, nearly.
    bytes: int
    #: Events and deliveries that were looked at through both readers.
    looked_at: int
    secrets: int
    copy_seconds: float
    check_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "rows": dict(self.rows),
            "rows_of_earlier_run": self.found_rows,
            "bytes": self.bytes,
            "looked_at": self.looked_at,
            "secrets": self.secrets,
            "copy_seconds": round(self.copy_seconds, 3),
            "check_seconds": round(self.check_seconds, 3),
        }


async def plan(source: Source, place: PostgresDatabase) -> tuple[dict[str, int], Mapping[str, int]]:
    """Return how many rows each table has, and how many of them are there. Writes nothing. Raises as `move`."""
    server = Server(place)
    await server.open()
    try:
        there = await Target(server, Partitions(server, span=_SPAN)).look(source.fingerprint())
        return source.counts(), there
    finally:
        await server.close()


async def move(source: Source, place: PostgresDatabase, *, stage: Stage, anew: bool = False) -> Moved:
    """Move everything. If it is interrupted, the next call goes on where it was; no daemon begins there until then.

    Raises `AlreadyMovedError`, `UnequalError`, and `StoreError` for a database that is away or not empty.
    """
    server = Server(place)
    await server.open()
    try:
        target = Target(server, Partitions(server, span=_SPAN))
        fingerprint = source.fingerprint()
        found = await target.begin(fingerprint, anew=anew)
        counts = await asyncio.to_thread(source.counts)
        began = time.monotonic()
        await _copy(source, target, _Progress(counts, dict(found), stage))
        copied = time.monotonic()
        secrets = secrets_beside(source.path)
        checked = _Progress(counts, {}, stage, verb="reading back")
        sample = await compare(source, target, counts, every=checked.is_at)
        looked_at = await _look(source, server, sample)
        moved = Moved(
            rows=counts,
            found_rows=sum(found.values()),
            bytes=source.size(),
            looked_at=looked_at,
            secrets=len(secrets),
            copy_seconds=copied - began,
            check_seconds=time.monotonic() - copied,
        )
        stage("ending", 0)
        await target.end(moved.to_json() | {"fingerprint": fingerprint, "from": str(source.path)}, secrets)
        return moved
    finally:
        await server.close()


class _Progress:
    """How far all tables together have come."""

    def __init__(self, counts: Mapping[str, int], done: dict[str, int], stage: Stage, verb: str = "copying") -> None:
        self.done = done
        self._all = max(1, sum(counts.values()))
        self._stage = stage
        self._verb = verb

    def is_at(self, table: str, rows: int) -> None:
        self.done[table] = rows
        self._stage(f"{self._verb} {table}", sum(self.done.values()) / self._all)


async def _copy(source: Source, target: Target, progress: _Progress) -> None:
    for table in TABLES:
        await _copy_table(source, target, table, progress)


async def _copy_table(source: Source, target: Target, table: Table, progress: _Progress) -> None:
    after = progress.done.get(table.name, 0)
    pieces = source.pieces(table, after=after)
    piece = await asyncio.to_thread(next, pieces, None)
    while piece is not None:
        # The next one is read while this one is written.
        _, following = await asyncio.gather(
            target.put(table, piece, after=after), asyncio.to_thread(next, pieces, None)
        )
        after += len(piece)
        progress.is_at(table.name, after)
        piece = following


async def _look(source: Source, server: Server, sample: Mapping[str, list[int]]) -> int:
    here, there = SqliteReader(source.path), PostgresReader(server)
    try:
        deliveries = [*sample["queue"], *sample["deliveries"]]
        return await compare_readers(here, there, events=sample["events"], deliveries=deliveries)
    finally:
        await here.close()
