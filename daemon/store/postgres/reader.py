"""Looking into the PostgreSQL store: each question is a transaction that only reads, and sees one moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from hookline.daemon.store.changes import Attempt, DeliveryId, State
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.asking import ask
from hookline.daemon.store.postgres.events import list_events, these_events
from hookline.daemon.store.postgres.lanes import LaneCounts
from hookline.daemon.store.postgres.rows import attempt_from, bound, matched_from, unbound
from hookline.daemon.store.postgres.search import search_events
from hookline.daemon.store.postgres.search_deliveries import (
    list_deliveries,
    list_parts,
    place_of,
    search_deliveries,
    these_deliveries,
)
from hookline.daemon.store.postgres.tally import tally
from hookline.daemon.store.reader_rows import ReaderRows
from hookline.daemon.store.rows import HIGHEST_ID, HOUR, micros, moment, number_or_none
from hookline.daemon.store.stored import (
    Deletion,
    DeliveryFilter,
    DeliveryPage,
    EventFilter,
    EventPage,
    EventSearch,
    Fact,
    LaneActivity,
    LaneState,
    Pause,
    RuleActivity,
    SourceActivity,
    StoredAudit,
    StoredDelivery,
    StoredEvent,
    StoredRejection,
    StoredToken,
    Tally,
)
from hookline.rules import EventId

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection
    from hookline.daemon.store.postgres.server import Server

T = TypeVar("T")

_ROWS = ReaderRows(unbound, matched_from)


class PostgresReader:
    """Reads on the server's connections for reading, which are not those that write."""

    def __init__(self, server: Server) -> None:
        """`server` stays the caller's, to close."""
        self._server = server
        self._lane_counts = LaneCounts()
        self._is_closed = False

    async def event(self, event_id: EventId) -> StoredEvent | None:
        """Return one event, or None."""
        number = number_or_none("evt", event_id)
        if number is None:
            return None
        found = await self._read(lambda connection: these_events(connection, [number]))
        return found.get(number)

    async def events(self, where: EventFilter, *, limit: int, before: EventId | None = None) -> list[StoredEvent]:
        """List events, newest first."""
        return await self._read(lambda connection: list_events(connection, where, limit=limit, before=before))

    async def event_page(self, where: EventSearch, *, limit: int, before: EventId | None = None) -> EventPage:
        """Search events without their bodies, at bounded cost."""
        return await self._read(lambda connection: search_events(connection, where, limit=limit, before=before))

    async def delivery(self, delivery_id: DeliveryId) -> StoredDelivery | None:
        """Return one delivery, or None."""

        async def one(connection: Connection) -> StoredDelivery | None:
            place = await place_of(connection, delivery_id)
            found = [] if place is None else await these_deliveries(connection, [(place.id, place.event_id)])
            return found[0] if found else None

        return await self._read(one)

    async def deliveries(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> list[StoredDelivery]:
        """List deliveries, newest first."""
        return await self._read(lambda connection: list_deliveries(connection, where, limit=limit, before=before))

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> DeliveryPage:
        """Search deliveries, at bounded cost."""
        return await self._read(lambda connection: search_deliveries(connection, where, limit=limit, before=before))

    async def attempts(self, delivery_id: DeliveryId) -> list[Attempt]:
        """Return the attempts of a delivery, first to last."""

        async def all_of(connection: Connection) -> list[Attempt]:
            place = await place_of(connection, delivery_id)
            if place is None:
                return []
            rows = await ask(connection, "attempts", id=place.id, event_id=place.event_id)
            return list(map(attempt_from, rows))

        return await self._read(all_of)

    async def members(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredEvent]:
        """Return the events that were collected into a digest, first to last."""

        async def collected(connection: Connection) -> list[StoredEvent]:
            place = await place_of(connection, delivery_id)
            if place is None or not place.is_digest or place.parts_of is None:
                return []
            parts = await list_parts(connection, place.parts_of, limit=limit, is_collected=True)
            found = await these_events(connection, [event for _, event in parts])
            return [found[event] for _, event in parts if event in found]

        return await self._read(collected)

    async def parts(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredDelivery]:
        """Return the deliveries that this one acts for, first to last."""

        async def all_of(connection: Connection) -> list[StoredDelivery]:
            place = await place_of(connection, delivery_id)
            if place is None:
                return []
            whole = place.id if place.parts_of is None else place.parts_of
            parts = await list_parts(connection, whole, limit=limit)
            return (await these_deliveries(connection, parts))[::-1]

        return await self._read(all_of)

    async def lanes(self) -> list[LaneState]:
        """Return every lane that has unfinished deliveries, is held, or fails."""
        return await self._read(self._lane_counts.states)

    async def lane_activity(self, *, since: datetime) -> list[LaneActivity]:
        """Return what was tried in each lane, by name, from its rows of hours."""
        return await self._rows("lane_activity", read=_ROWS.lane_activity, hour=micros(since) // HOUR)

    async def rejections(self, *, source: str | None = None, limit: int = 100) -> list[StoredRejection]:
        """Return refused requests, the latest first."""
        if source is None:
            return await self._rows("rejections", "latest_rejections", read=_ROWS.rejection, limit=limit)
        parts = ("rejections", "rejections_of_source", "latest_rejections")
        return await self._rows(*parts, read=_ROWS.rejection, source=bound(source), limit=limit)

    async def activity(self, *, since: datetime) -> list[SourceActivity]:
        """Return what each source received, by name, from the rows of hours of all nodes."""
        return await self._rows("activity", read=_ROWS.activity, hour=micros(since) // HOUR)

    async def rule_activity(self, *, since: datetime) -> list[RuleActivity]:
        """Return what each rule that ever matched did, by name, from the rows of hours of all nodes."""
        return await self._rows("rule_activity", read=_ROWS.rule_activity, hour=micros(since) // HOUR)

    async def rules_counted_since(self) -> datetime:
        """Return since when matches are counted."""
        (since,) = await self._rows("rules_counted_since", read=lambda row: moment(row[0]))
        return since

    async def text(self, digest: str) -> str | None:
        """Return a text kept by its hash."""
        found = await self._rows("text", read=lambda row: str(row[0], "utf-8", "surrogatepass"), digest=bound(digest))
        return found[0] if found else None

    async def last_good_rules(self) -> str | None:
        """Return the version that went live last, or None."""
        found = await self._rows("last_good_rules", read=lambda row: unbound(str(row[0])))
        return found[0] if found else None

    async def audit(self, *, limit: int, before: int | None = None, since: datetime | None = None) -> list[StoredAudit]:
        """Return what was done by hand and by retention, newest first."""
        return await self._rows(
            "audit",
            read=_ROWS.audit,
            before=HIGHEST_ID if before is None else before,
            since=0 if since is None else micros(since),
            limit=limit,
        )

    async def tally(self, which: Deletion) -> Tally:
        """Count what a deletion would remove."""
        return await self._read(lambda connection: tally(connection, which))

    async def deletions(self) -> list[int]:
        """Return the numbers of the deletions under way, oldest first."""
        return await self._rows("deletions", read=lambda row: int(row[0]))

    async def paused(self) -> Mapping[str, Pause]:
        """Return the sources that are paused."""
        return dict(await self._rows("paused", read=_ROWS.pause))

    async def tokens(self) -> list[StoredToken]:
        """Return the admin API's tokens, by name."""
        return await self._rows("tokens", read=_ROWS.token)

    async def facts(self) -> Mapping[str, Fact]:
        """Return what the daemon noted of its own upkeep, by name."""
        return dict(await self._rows("facts", read=_ROWS.fact))

    async def counts(self) -> Mapping[str, int]:
        """Return `events`, `duplicates`, `rejected`, and deliveries by state; kept by each node, not counted."""
        found: dict[str, int] = dict(await self._rows("counters", read=tuple))
        return {"events": 0, "duplicates": 0, "rejected": 0, **{state.value: 0 for state in State}, **found}

    async def close(self) -> None:
        """Answer nothing any more."""
        self._is_closed = True

    async def _rows(self, *parts: str, read: Callable[[Row], T], **values: Any) -> list[T]:
        return [read(row) for row in await self._read(lambda connection: ask(connection, *parts, **values))]

    async def _read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        if self._is_closed:
            raise StoreError(f"{self._server.place}: the reader is closed")
        return await self._server.read(work)
