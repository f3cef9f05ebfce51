"""The look into the in-memory store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from hookline.daemon.ids import decode, made_at
from hookline.daemon.store.changes import Attempt, DeliveryId, State
from hookline.daemon.store.memory.filters import is_listed, is_meant, is_picked
from hookline.daemon.store.memory.rows import DeliveryRow
from hookline.daemon.store.memory.search import row_of, search_deliveries, search_events
from hookline.daemon.store.memory.tables import Tables, event_made_at
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


class MemoryReader:
    """Keeps the `Reader` protocol's word over a store's dicts."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def event(self, event_id: EventId) -> StoredEvent | None:
        """Return one event, or None."""
        return self._tables.events.get(event_id)

    async def events(self, where: EventFilter, *, limit: int, before: EventId | None = None) -> list[StoredEvent]:
        """List events, newest first."""
        found = [
            stored
            for event_id, stored in sorted(self._tables.events.items(), reverse=True)
            if (before is None or event_id < before) and is_picked(stored, where)
        ]
        return found[:limit]

    async def event_page(self, where: EventSearch, *, limit: int, before: EventId | None = None) -> EventPage:
        """Search events without their bodies, as far as a real store would look."""
        found = search_events(self._tables, where, limit=limit, before=before)
        return EventPage(
            rows=tuple(row_of(self._tables, event_id) for event_id in found.ids),
            next=found.next,
            looked_at=found.looked_at,
            back_to=None if found.oldest is None else event_made_at(found.oldest),
        )

    async def delivery(self, delivery_id: DeliveryId) -> StoredDelivery | None:
        """Return one delivery, or None."""
        row = self._tables.deliveries.get(delivery_id)
        return self._stored(row) if row else None

    async def deliveries(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> list[StoredDelivery]:
        """List deliveries, newest first."""
        rows = sorted(self._tables.deliveries.values(), key=lambda row: row.id, reverse=True)
        found = [row for row in rows if (before is None or row.id < before) and is_listed(self._tables, row, where)]
        return [self._stored(row) for row in found[:limit]]

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> DeliveryPage:
        """Search deliveries, as far as a real store would look."""
        found = search_deliveries(self._tables, where, limit=limit, before=before)
        return DeliveryPage(
            rows=tuple(self._stored(self._tables.deliveries[number]) for number in found.ids),
            next=found.next,
            looked_at=found.looked_at,
            back_to=None if found.oldest is None else made_at(decode("dlv", found.oldest)),
        )

    async def attempts(self, delivery_id: DeliveryId) -> list[Attempt]:
        """Return the attempts of a delivery, first to last."""
        row = self._tables.deliveries.get(delivery_id)
        return list(row.tries) if row else []

    async def members(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredEvent]:
        """Return the events that were collected into a digest, first to last."""
        digest = self._tables.deliveries.get(delivery_id)
        if digest is None or not digest.is_digest:
            return []
        collected = [row for row in self._parts(digest) if row.state is State.COLLECTED]
        return [self._tables.events[row.event_id] for row in collected[:limit]]

    async def parts(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredDelivery]:
        """Return the deliveries that this one acts for, first to last."""
        row = self._tables.deliveries.get(delivery_id)
        return [] if row is None else [self._stored(part) for part in self._parts(row)[:limit]]

    def _parts(self, row: DeliveryRow) -> list[DeliveryRow]:
        whole = row.id if row.parts_of is None else row.parts_of
        return [part for _, part in sorted(self._tables.deliveries.items()) if part.part_of == whole]

    async def lanes(self) -> list[LaneState]:
        """Return every lane that has unfinished deliveries, is held, or fails."""
        tables = self._tables
        rows = [row for row in tables.deliveries.values() if row.has_work_left]
        states = []
        for lane in sorted({row.lane for row in rows} | tables.held.keys() | tables.failing.keys()):
            waits = [row for row in rows if row.lane == lane and row.state is State.PENDING]
            health = tables.failing.get(lane)
            states.append(
                LaneState(
                    lane=lane,
                    pending=len(waits),
                    running=sum(row.lane == lane and row.state is State.RUNNING for row in rows),
                    oldest_due_at=min((row.due_at for row in waits if not tables.is_behind(row)), default=None),
                    is_held=lane in tables.held,
                    reason=tables.held.get(lane, ""),
                    failing_since=None if health is None else health.since,
                )
            )
        return states

    async def lane_activity(self, *, since: datetime) -> list[LaneActivity]:
        """Return what was tried in each lane, by name."""
        start = since.replace(minute=0, second=0, microsecond=0)
        hours = {key: counts for key, counts in self._tables.lane_hours.items() if key[1] >= start}
        return [
            LaneActivity(
                lane=lane,
                delivered=sum(delivered for (name, _), (delivered, _) in hours.items() if name == lane),
                failed=sum(failed for (name, _), (_, failed) in hours.items() if name == lane),
                last_delivered_at=max(
                    (hour for (name, hour), (delivered, _) in hours.items() if name == lane and delivered), default=None
                ),
            )
            for lane in sorted({lane for lane, _ in hours})
        ]

    async def rejections(self, *, source: str | None = None, limit: int = 100) -> list[StoredRejection]:
        """Return refused requests, the latest first."""
        found = [row for row in self._tables.rejections.values() if source in (None, row.source)]
        return sorted(found, key=lambda row: row.last_at, reverse=True)[:limit]

    async def activity(self, *, since: datetime) -> list[SourceActivity]:
        """Return what each source received, by name."""
        start = since.replace(minute=0, second=0, microsecond=0)
        found = {}
        for (source, _), (_, last) in sorted(self._tables.hours.items(), key=lambda item: item[0]):
            hours = self._tables.hours.items()
            found[source] = SourceActivity(
                source=source,
                last_event_id=last.id,
                last_at=event_made_at(last.id),
                last_type=last.type,
                events=sum(count for (name, hour), (count, _) in hours if name == source and hour >= start),
            )
        return list(found.values())

    async def rule_activity(self, *, since: datetime) -> list[RuleActivity]:
        """Return what each rule that ever matched did, by name."""
        start = since.replace(minute=0, second=0, microsecond=0)
        hours = self._tables.rule_hours.items()
        last = {rule: max(event for (name, _), (_, event) in hours if name == rule) for (rule, _), _ in sorted(hours)}
        return [
            RuleActivity(
                rule=rule,
                last_event_id=event_id,
                last_at=event_made_at(event_id),
                events=sum(count for (name, hour), (count, _) in hours if name == rule and hour >= start),
            )
            for rule, event_id in last.items()
        ]

    async def rules_counted_since(self) -> datetime:
        """Return when the store was opened first."""
        assert self._tables.counted_since is not None, "open comes first"  # noqa: S101
        return self._tables.counted_since

    async def text(self, digest: str) -> str | None:
        """Return a text kept by its hash."""
        return self._tables.texts.get(digest)

    async def last_good_rules(self) -> str | None:
        """Return the version that went live last, or None."""
        return self._tables.last_good_rules

    async def audit(self, *, limit: int, before: int | None = None, since: datetime | None = None) -> list[StoredAudit]:
        """Return what was done by hand and by retention, newest first."""
        found = [
            row
            for row in reversed(self._tables.audit)
            if (before is None or row.id < before) and (since is None or row.at >= since)
        ]
        return found[:limit]

    async def tally(self, which: Deletion) -> Tally:
        """Count what a deletion would remove."""
        ids = [event_id for event_id, stored in sorted(self._tables.events.items()) if is_meant(stored, which)]
        rows = [row for row in self._tables.deliveries.values() if row.event_id in ids]
        return Tally(
            events=len(ids),
            first=ids[0] if ids else None,
            last=ids[-1] if ids else None,
            deliveries=Counter(row.state for row in rows),
        )

    async def deletions(self) -> list[int]:
        """Return the numbers of the deletions under way, oldest first."""
        return sorted(self._tables.deletions)

    async def paused(self) -> Mapping[str, Pause]:
        """Return the sources that are paused."""
        return dict(self._tables.pauses)

    async def tokens(self) -> list[StoredToken]:
        """Return the admin API's tokens, by name."""
        return [token for _, token in sorted(self._tables.tokens.items())]

    async def facts(self) -> Mapping[str, Fact]:
        """Return what the daemon noted of its own upkeep, by name."""
        return dict(self._tables.facts)

    async def counts(self) -> Mapping[str, int]:
        """Return `events`, `duplicates`, `rejected`, and deliveries by state."""
        states = Counter(row.state.value for row in self._tables.deliveries.values())
        return {
            "events": len(self._tables.events),
            "duplicates": self._tables.duplicates,
            "rejected": sum(row.count for row in self._tables.rejections.values()),
            **{state.value: states[state.value] for state in State},
        }

    async def close(self) -> None:
        """Nothing to let go of."""

    def _stored(self, row: DeliveryRow) -> StoredDelivery:
        event = self._tables.events[row.event_id].event
        return StoredDelivery(
            id=row.id,
            event_id=row.event_id,
            source=event.source,
            event_type=event.type,
            rule=row.rule,
            step=row.step,
            lane=row.lane,
            destination=row.destination,
            state=row.state,
            created_at=row.created_at,
            due_at=row.due_at,
            attempts=row.attempts,
            crashes=row.crashes,
            replay_of=row.replay_of,
            last_attempt=row.tries[-1] if row.tries else None,
            is_replay=row.is_replay,
            why=row.why,
            part_of=row.part_of,
            stands_for=row.stands_for,
            is_digest=row.is_digest,
            order=row.order,
            is_behind=self._tables.is_behind(row),
        )
