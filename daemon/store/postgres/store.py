"""The store in a PostgreSQL database that several nodes share. See `Store` and `SharedStore` for what is promised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Answer, Audit, Change, DeliveryId, Lane, Token
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import AUDIT_KEPT, StoreError
from hookline.daemon.store.postgres import clock as clocks
from hookline.daemon.store.postgres import deleting, nodes, queue, secrets
from hookline.daemon.store.postgres.moving import refuse_half_moved
from hookline.daemon.store.postgres.news import News
from hookline.daemon.store.postgres.partitions import Partitions
from hookline.daemon.store.postgres.prune import Ages, prune
from hookline.daemon.store.postgres.reader import PostgresReader
from hookline.daemon.store.postgres.schema import set_up
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.postgres.size import size
from hookline.daemon.store.postgres.writer import PostgresWriter
from hookline.daemon.store.sharing import SHARED, NodeId, NodeReport, Shared
from hookline.daemon.store.stored import Claimed, Deletion, DeletionStep, Health
from hookline.rules import EventId, Json

_ACCEPT_LEASE = timedelta(seconds=60)
_MOST_CLAIMED = 1_000
#: What has many rows is partitioned by the day of its event.
_SPAN = timedelta(days=1)


class PostgresStore:
    """Keeps events in a database, durably, for any number of processes."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        place: PostgresDatabase,
        *,
        node: NodeId,
        ids: Ids,
        clock: Callable[[], datetime] | None = None,
        accept_lease: timedelta = _ACCEPT_LEASE,
        span: timedelta = _SPAN,
        on_failure: Callable[[StoreError], None] = lambda _: None,
    ) -> None:
        """`node` is who we are. `clock` is the server's if None, and a test's otherwise.

        `span` is how long the events of one partition are apart at most. `on_failure` as in `SqliteStore`.
        """
        self._ids = ids
        self._server = Server(place, clock=clock, on_failure=on_failure)
        self._partitions = Partitions(self._server, span=span)
        self._news = News(self._server)
        self._writer = PostgresWriter(
            self._server, self._partitions, node=node, accept_lease=accept_lease, news=self._news
        )
        self._node = node
        #: Of claims whose commit was not answered: nobody runs what they took, and nobody died of it either.
        self._in_doubt: set[int] = set()

    async def open(self) -> None:
        """Connect, migrate, prove that a commit is durable, and end the leases of what this node left running."""
        await self._server.open()
        try:
            await set_up(self._server)
            await refuse_half_moved(self._server)
            await self._partitions.open()
            await self._writer.note_start()
            await nodes.end_leases(self._server, self._node)
            await self._news.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was begun, and let go."""
        await self._news.close()
        await self._server.close()

    async def keep(self, texts: Mapping[str, str]) -> None:
        """Keep texts by their hash, durably; known ones cost nothing."""
        await self._writer.keep(texts)

    async def keep_rules(self, version: str) -> None:
        """Note that this rule set went live."""
        await self._writer.keep_rules(version)

    async def probe(self) -> None:
        """Commit something small, to see whether it can be."""
        await self._writer.probe()

    async def note(self, name: str, value: Json) -> None:
        """Remember a fact of the daemon's own upkeep."""
        await self._writer.note(name, value)

    async def write(self, changes: Sequence[Change]) -> list[Answer]:
        """Make the changes in one durable transaction and answer each, in order."""
        return await self._writer.write(changes)

    async def claim(self, room: Mapping[Lane, int], *, lease: timedelta) -> list[Claimed]:
        """Claim due deliveries, at most `room[lane]` of each lane and a thousand in all, longest due first."""
        count = min(sum(max(0, places) for places in room.values()), _MOST_CLAIMED)
        if not count:
            return []
        await self._take_back()
        tokens = [self._ids.token() for _ in range(count)]
        try:
            return await queue.claim(self._writer, room, tokens, lease)
        except StoreError:
            self._in_doubt.update(tokens)
            raise

    async def renew(self, tokens: Mapping[DeliveryId, Token], *, lease: timedelta) -> set[DeliveryId]:
        """Extend leases; return those whose token was still good."""
        return await queue.renew(self._server, tokens, lease) if tokens else set()

    async def lost(self, *, limit: int) -> list[Claimed]:
        """Return running deliveries whose lease has ended, at most `limit`, the longest ended first."""
        return await queue.lost(self._server, limit=limit)

    async def waiting(self) -> Mapping[Lane, datetime]:
        """Return for each lane that waits and is not held when its first delivery is due."""
        await self._take_back()
        return await queue.waiting(self._server)

    async def held(self) -> Mapping[Lane, str]:
        """Return the held lanes and why."""
        return await queue.held(self._server)

    async def failing(self) -> Mapping[Lane, Health]:
        """Return the lanes that fail."""
        return await queue.failing(self._server)

    async def unrouted(
        self, *, limit: int, source: str | None = None, but: Collection[str] = (), after: EventId | None = None
    ) -> list[EventId]:
        """Return events that are yet to be routed, oldest first."""
        return await queue.unrouted(self._server, limit=limit, source=source, but=but, after=after)

    async def latest(self) -> datetime | None:
        """Return when the newest event or delivery was made, None if there is none."""
        return await clocks.latest(self._server)

    async def put_off(self, by: timedelta, *, after: datetime) -> int:
        """Let all that is due after `after` be due later; return how many deliveries that are."""
        return await clocks.put_off(self._server, by, after=after)

    async def pull_in(self, to: datetime) -> int:
        """Let all that is due after `to` be due then; return how many deliveries that were."""
        return await clocks.pull_in(self._server, to)

    async def prune(self, *, events: timedelta, dedupe: timedelta, dead: timedelta, limit: int) -> int:
        """Remove what is older: whole days at once, and at most `limit` rows of what else there is."""
        ages = Ages(events=events, dedupe=dedupe, dead=dead, audit=AUDIT_KEPT)
        return await prune(self._server, self._partitions, ages, limit=limit)

    async def begin_deletion(self, which: Deletion, audit: Audit) -> int:
        """Note what is to be removed for good; return its number."""
        return await deleting.begin(self._writer, which, audit)

    async def continue_deletion(self, number: int) -> DeletionStep:
        """Remove some of a deletion's events. Raises `KeyError`."""
        return await deleting.step(self._writer, number)

    async def end_deletion(self, number: int) -> None:
        """Note that nothing is left to do for it."""
        await deleting.end(self._writer, number)

    async def checkpoint(self) -> bool:
        """Do nothing: that is the server's affair."""
        return True

    async def shrink(self) -> int:
        """Do nothing: autovacuum gives room back for use, and dropped days give it back to the file system."""
        return 0

    async def meet(self, report: NodeReport, *, lease: timedelta) -> Shared:
        """Say that this node lives, and read what all know."""
        shared, has_changed = await nodes.meet(self._server, report, lease=lease)
        if has_changed:
            self._news.tell({SHARED})
        return shared

    async def leave(self, node: NodeId) -> None:
        """Take this node out of the view, and end the leases of what it left running."""
        await nodes.leave(self._server, node)
        self._news.tell({SHARED})

    async def lead(self) -> bool:
        """Say whether this node leads, trying to if nobody does."""
        return await self._news.lead()

    async def secrets(self, prefix: str) -> tuple[datetime, Mapping[str, bytes]]:
        """Return what is kept under names with that prefix, and the server's time."""
        return await secrets.kept(self._server, prefix)

    async def change_secret(
        self, name: str, change: Callable[[bytes | None, datetime], bytes | None]
    ) -> tuple[datetime, bytes | None]:
        """Make one what `change` says of it; return the server's time, and what it is now."""
        return await secrets.change(self._server, name, change)

    def on_news(self, told: Callable[[Collection[str]], None]) -> None:
        """Have `told` called with what is new: `DUE`, `SHARED`, or both; also when we may have missed that."""
        self._news.on_news(told)

    async def size(self) -> int:
        """Return how many bytes it takes. Raises `StoreError`."""
        return await size(self._server)

    async def _take_back(self) -> None:
        if self._in_doubt:
            await queue.take_back(self._writer, self._in_doubt)
            self._in_doubt.clear()

    def reader(self) -> PostgresReader:
        """Return a reader; it shares the server's connections."""
        return PostgresReader(self._server)
