"""Searching the in-memory store: within the same bounds as a real one, and without its indexes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.memory.filters import is_listed, is_searched
from hookline.daemon.store.memory.tables import Tables
from hookline.daemon.store.searching import MOST_BODIES, MOST_BODY_BYTES, MOST_LOOKED_AT, forms
from hookline.daemon.store.stored import DeliveryFilter, EventRow, EventSearch, StoredEvent
from hookline.rules import EventId

Id = TypeVar("Id", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[Id]):
    """What a search found, and how far it looked."""

    ids: tuple[Id, ...]
    next: Id | None
    looked_at: int
    oldest: Id | None


def search_events(tables: Tables, where: EventSearch, *, limit: int, before: EventId | None) -> Found[EventId]:
    """Search events."""
    texts = _Texts(tables, where.text)

    def is_wanted(event_id: EventId) -> bool | None:
        stored = tables.events[event_id]
        return is_searched(stored, where) and texts.has(stored)

    return _walk(_candidates(tables, where), is_wanted, limit=limit, before=before)


def search_deliveries(
    tables: Tables, where: DeliveryFilter, *, limit: int, before: DeliveryId | None
) -> Found[DeliveryId]:
    """Search deliveries."""

    def is_wanted(delivery_id: DeliveryId) -> bool:
        return is_listed(tables, tables.deliveries[delivery_id], where)

    return _walk(tables.deliveries, is_wanted, limit=limit, before=before)


def _walk(
    candidates: Iterable[Id], is_wanted: Callable[[Id], bool | None], *, limit: int, before: Id | None
) -> Found[Id]:
    """Look at the candidates, newest first; None says that it was enough."""
    found: list[Id] = []
    full_at = 0
    looked: list[Id] = []
    for one in sorted(candidates, reverse=True):
        if before is not None and one >= before:
            continue
        is_one = None if len(looked) == MOST_LOOKED_AT else is_wanted(one)
        if is_one is None:
            return Found(ids=tuple(found), next=looked[-1], looked_at=len(looked), oldest=looked[-1])
        if is_one and len(found) == limit:
            return Found(ids=tuple(found), next=found[-1], looked_at=full_at, oldest=found[-1])
        looked.append(one)
        if is_one:
            found.append(one)
            full_at = len(looked)
    return Found(ids=tuple(found), next=None, looked_at=len(looked), oldest=looked[-1] if looked else None)


class _Texts:
    """Looks into bodies, until it was enough."""

    def __init__(self, tables: Tables, text: str | None) -> None:
        self._requests = tables.requests
        self._forms = () if text is None else forms(text)
        self._bodies = MOST_BODIES
        self._bytes = MOST_BODY_BYTES // max(1, len(self._forms))
        self._seen: set[int] = set()

    def has(self, stored: StoredEvent) -> bool | None:
        """Whether the text stands in what was received; None if nothing more is looked into."""
        if not self._forms:
            return True
        request = self._requests[stored.event.id]
        cost = 0 if request in self._seen else len(stored.body) * (1 + (stored.document is not None))
        if not self._bodies or (cost > self._bytes and self._bodies != MOST_BODIES):
            return None
        self._seen.add(request)
        self._bodies -= 1
        self._bytes = max(0, self._bytes - cost)
        document = (stored.document or "").encode("utf-8", "surrogatepass")
        return any(form in stored.body or form in document for form in self._forms)


def _candidates(tables: Tables, where: EventSearch) -> Iterable[EventId]:
    """Return the events that indexes of a real store lead to."""
    if where.key is not None:
        kept = [(source, key.event_id) for (source, text), key in tables.keys.items() if text == where.key]
        known = [one for source, one in kept if one in tables.events and where.source in (None, source)]
        if known:
            return known
    if where.is_unrouted or where.outcome == "unrouted":
        return [event_id for event_id, stored in tables.events.items() if stored.is_unrouted]
    if where.outcome in {"waiting", "dead"}:
        state = State.PENDING if where.outcome == "waiting" else State.DEAD
        return {row.event_id for row in tables.of_state(state)}
    return tables.events


def row_of(tables: Tables, event_id: EventId) -> EventRow:
    """Return an event without what it says."""
    stored = tables.events[event_id]
    return EventRow.of(
        stored.event,
        matched=stored.matched,
        is_unrouted=stored.is_unrouted,
        duplicates=stored.duplicates,
        conflicts=stored.conflicts,
        size=len(stored.body),
        deliveries=Counter(row.state for row in tables.deliveries.values() if row.event_id == event_id),
    )
