"""Making changes in one transaction of a database that several nodes write to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg

from hookline.daemon.store.changes import (
    Accept,
    Answer,
    Change,
    Lane,
    NewDelivery,
    Record,
    Refused,
    Route,
    SetHealth,
    SetLane,
)
from hookline.daemon.store.moment import Moment
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres import locks
from hookline.daemon.store.postgres.accept import accept
from hookline.daemon.store.postgres.batch import Batch, Connection
from hookline.daemon.store.postgres.connections import savepoint
from hookline.daemon.store.postgres.errors import FAILURES, is_own_fault
from hookline.daemon.store.postgres.names import Names
from hookline.daemon.store.postgres.operate import make_one, prepare
from hookline.daemon.store.postgres.record import record
from hookline.daemon.store.postgres.rows import bound, columns
from hookline.daemon.store.rows import event_number, number_or_none, queue_number
from hookline.daemon.store.sharing import NodeId
from hookline.rules import Json

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.news import News
    from hookline.daemon.store.postgres.partitions import Partitions
    from hookline.daemon.store.postgres.server import Server

_T = TypeVar("_T")
_SQL = named_statements(__package__, "write")


class _UnmakeableError(Exception):
    """The server cannot take what a change holds: it is made `Refused`."""


# What a change brings on itself: a row that is there already, an id that is none, a value that no column takes.
_OWN_FAULTS: Final = (_UnmakeableError, OverflowError, ValueError, TypeError, RecursionError)


class PostgresWriter:
    """Makes a node's changes, each batch in a transaction."""

    def __init__(
        self, server: Server, partitions: Partitions, *, node: NodeId, accept_lease: timedelta, news: News
    ) -> None:
        """`accept_lease` is the lease of deliveries that are inserted running."""
        self.names = Names(server)
        self._server = server
        self._partitions = partitions
        self._node = node
        self._accept_lease = accept_lease
        self._news = news
        self._kept: set[str] = set()

    async def batch(self, work: Callable[[Batch], Awaitable[_T]], *, lanes: Iterable[int] = ()) -> _T:
        """Run `work` in a transaction, store what it counted, and tell the other nodes its news after the commit.

        `lanes` are those in which it begins something, by their numbers. It may be run more than once: see
        `Server.write`. Raises `StoreError`.
        """
        numbers = list(lanes)
        return await self._run(work, lambda connection: locks.take(connection, shared=numbers))

    async def _run(self, work: Callable[[Batch], Awaitable[_T]], lock: Callable[[Connection], Awaitable[None]]) -> _T:
        async def run(connection: Connection) -> tuple[_T, set[str]]:
            await lock(connection)
            # Looked at under the locks: whoever comes later has the later time.
            at = await self._server.now(connection)
            batch = Batch(
                connection=connection,
                names=self.names,
                moment=Moment.of(at, accept_lease=self._accept_lease, since=lambda age: at - age),
                node=self._node,
                counters=Counter(),
                news=set(),
            )
            answer = await work(batch)
            await _count(batch)
            return answer, batch.news

        answer, news = await self._server.write(run)
        self._news.tell(news)
        return answer

    async def write(self, changes: Sequence[Change]) -> list[Answer]:
        """Make the changes in one transaction and answer each, in order. Raises `StoreError`."""
        try:
            await self._prepare(changes)
            return await self._run(
                lambda batch: _raising(_make(batch, changes)), lambda connection: self._lock(connection, changes)
            )
        except _OWN_FAULTS as error:
            if isinstance(error.__cause__, asyncpg.CheckViolationError):
                # A day is gone that was there when we looked.
                self._partitions.forget()
            # One of them cannot be made. Seldom enough to do the rest again, each guarded by itself.
            return await self._write_each(changes)

    async def _write_each(self, changes: Sequence[Change]) -> list[Answer]:
        refused: dict[int, Refused] = {}
        for place, change in enumerate(changes):
            try:
                await self._prepare([change])
            except _OWN_FAULTS as error:
                refused[place] = _refused(change, error)

        async def make(batch: Batch) -> list[Answer]:
            return [refused.get(place) or await _guarded(batch, change) for place, change in enumerate(changes)]

        makeable = [change for place, change in enumerate(changes) if place not in refused]
        return await self._run(make, lambda connection: self._lock(connection, makeable))

    async def _prepare(self, changes: Sequence[Change]) -> None:
        """Give names numbers and make room, in transactions before. Raises `ValueError` for an id that is none."""
        accepts = list(_accepts(changes))
        routes = [change for change in changes if isinstance(change, Route)]
        events = [new for change in accepts for new in change.events]
        await self.names.rule_sets({new.rules_version for new in events} | {one.rules_version for one in routes})
        await self.names.steps(_deliveries(changes))
        await self.names.lanes(_lanes(changes))
        await self._partitions.ensure([event_number(new.event.id) for new in events])

    async def _lock(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Take the locks of all that the changes decide about."""
        wanted = _Wanted()
        others = [change for change in changes if not isinstance(change, Accept | Record)]
        if others:
            wanted.queues, wanted.memories = await prepare(connection, others)
        for delivery in _deliveries(changes):
            wanted.add(delivery, self.names)
        exclusive = {self.names.lane(change.lane) for change in others if isinstance(change, SetLane | SetHealth)}
        ended = [number_or_none("dlv", change.delivery_id) for change in changes if isinstance(change, Record)]
        await locks.take(
            connection,
            shared=wanted.lanes,
            exclusive=exclusive,
            queues=wanted.queues,
            memories=wanted.memories,
            deliveries=[number for number in ended if number is not None],
        )

    async def note_start(self) -> None:
        """Count the start, durably; the first one is since when matches are counted."""

        async def work(batch: Batch) -> None:
            batch.counters["starts"] += 1
            await batch.connection.execute(_SQL["one_at_a_time"])
            await batch.connection.execute(_SQL["count_rules_since"], batch.moment.now)

        await self.batch(work)

    async def keep(self, texts: Mapping[str, str]) -> None:
        """Keep texts by their hash, durably; known ones cost nothing."""
        new = {digest: text for digest, text in texts.items() if digest not in self._kept}
        if new:
            rows = [(bound(digest), text.encode("utf-8", "surrogatepass")) for digest, text in new.items()]
            await self._server.write(lambda connection: connection.execute(_SQL["keep_texts"], *columns(rows, 2)))
            self._kept.update(new)

    async def keep_rules(self, version: str) -> None:
        """Note that this rule set went live, unless it is the one that is."""
        await self.names.rule_sets([version])

        async def work(batch: Batch) -> None:
            await batch.connection.execute(_SQL["one_at_a_time"])
            number = batch.names.rule_set(version)
            if await batch.connection.fetchval(_SQL["live_rule_set"]) != number:
                await batch.connection.execute(_SQL["insert_went_live"], number, batch.moment.now)

        await self.batch(work)

    async def probe(self) -> None:
        """Commit something, to see whether it can be."""

        async def work(batch: Batch) -> None:
            # Somebody else's lock of a table that keeps accepts out keeps this out too.
            await batch.connection.execute(_SQL["touch_tables"])
            batch.counters["probes"] += 1

        await self.batch(work)

    async def note(self, name: str, value: Json) -> None:
        """Remember a fact."""

        async def work(batch: Batch) -> None:
            await batch.connection.execute(_SQL["note"], bound(name), json.dumps(value), batch.moment.now)

        await self.batch(work)


@dataclass(slots=True)
class _Wanted:
    """What new deliveries need to be locked."""

    lanes: set[int] = field(default_factory=set)
    queues: set[int] = field(default_factory=set)
    memories: set[str] = field(default_factory=set)

    def add(self, new: NewDelivery, names: Names) -> None:
        """Add what this one needs."""
        if new.token is not None:
            self.lanes.add(names.lane(new.lane))
        if new.order is not None:
            self.queues.add(queue_number(new.lane, new.order))
        self.memories |= {gate.memory for gate in (new.changed, new.once, new.digest) if gate is not None}


def _accepts(changes: Iterable[Change]) -> Iterator[Accept]:
    """Return what is accepted, events about ourselves too."""
    for change in changes:
        if isinstance(change, Accept):
            yield change
        elif isinstance(change, Record | SetLane | SetHealth) and change.own is not None:
            yield change.own


def _deliveries(changes: Sequence[Change]) -> Iterator[NewDelivery]:
    for accepted in _accepts(changes):
        for new in accepted.events:
            yield from new.deliveries
    for change in changes:
        if isinstance(change, Route):
            yield from change.deliveries


def _lanes(changes: Sequence[Change]) -> Iterator[Lane]:
    """Return the lanes that are named beside deliveries'."""
    for change in changes:
        if isinstance(change, SetLane | SetHealth):
            yield change.lane
        elif isinstance(change, Record) and change.result is not None:
            yield change.result.lane


async def _make(batch: Batch, changes: Sequence[Change]) -> list[Answer]:
    answers: list[Answer] = []
    for kind, run in groupby(changes, key=type):
        if kind is Accept:
            answers += await accept(batch, [change for change in run if isinstance(change, Accept)])
        elif kind is Record:
            answers += await record(batch, [change for change in run if isinstance(change, Record)])
        else:
            answers += [await make_one(batch, change) for change in run]
    return answers


async def _guarded(batch: Batch, change: Change) -> Answer:
    """Make a change, or nothing of it."""
    own = replace(batch, counters=Counter(), news=set())
    try:
        async with savepoint(batch.connection):
            (answer,) = await _raising(_make(own, [change]))
    except _OWN_FAULTS as error:
        return _refused(change, error)
    batch.counters.update(own.counters)
    batch.news.update(own.news)
    return answer


async def _raising(making: Awaitable[_T]) -> _T:
    """Raise what the server says of a change's values as an error that is not the server's."""
    try:
        return await making
    except FAILURES as error:
        if not is_own_fault(error):
            raise
        # What is wrong with a value is said with the value, and an array of them holds other changes' too.
        said = error.args[0] if isinstance(error, asyncpg.IntegrityConstraintViolationError) else "a value is too large"
        raise _UnmakeableError(said) from error


def _refused(change: Change, error: Exception) -> Refused:
    return Refused(f"{type(change).__name__}: {error}")


async def _count(batch: Batch) -> None:
    changed = sorted((name, count) for name, count in batch.counters.items() if count)
    if changed:
        await batch.connection.execute(_SQL["add_to_counters"], *columns(changed, 2), batch.node)
