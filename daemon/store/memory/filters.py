"""What the in-memory store's filters let pass."""

from __future__ import annotations

from datetime import datetime

from hookline.daemon.ids import encode, lowest_at
from hookline.daemon.store.memory.rows import DeliveryRow
from hookline.daemon.store.memory.tables import Tables
from hookline.daemon.store.stored import Deletion, DeliveryFilter, EventFilter, EventOutcome, EventSearch, StoredEvent
from hookline.rules.values import compile_glob


def is_picked(stored: StoredEvent, where: EventFilter) -> bool:
    """Whether the filter lets the event pass."""
    return (
        _is_between("evt", stored.event.id, where.since, where.until)
        and where.source in (None, stored.event.source)
        and where.type in (None, stored.event.type)
        and where.tenant in (None, stored.event.tenant)
        and (stored.is_unrouted or not where.is_unrouted)
    )


def is_meant(stored: StoredEvent, which: Deletion) -> bool:
    """Whether the deletion is of this event."""
    return stored.event.id in which.events if which.where is None else is_picked(stored, which.where)


def is_searched(stored: StoredEvent, where: EventSearch) -> bool:
    """Whether the search is for this event, whatever stands in it and has become of its deliveries."""
    return (
        is_picked(stored, where)
        and (where.type_glob is None or compile_glob(where.type_glob)(stored.event.type))
        and where.sender_id in (None, stored.event.sender_id)
        and where.key in (None, stored.event.key)
        and (where.rule is None or where.rule in stored.matched)
        and _came_to(stored, where.outcome)
    )


def _came_to(stored: StoredEvent, outcome: EventOutcome | None) -> bool:
    match outcome:
        case "matched":
            return any(stored.matched)
        case "unmatched":
            return not stored.is_unrouted and not any(stored.matched)
        case "unrouted":
            return stored.is_unrouted
        case "duplicated":
            return stored.duplicates > 0
        case "conflicting":
            return stored.conflicts > 0
        case _:
            return True


def is_listed(tables: Tables, row: DeliveryRow, where: DeliveryFilter) -> bool:
    """Whether the filter lets the delivery pass."""
    return (
        _is_between("dlv", row.id, where.since, where.until)
        and where.event_id in (None, row.event_id)
        and where.source in (None, tables.events[row.event_id].event.source)
        and where.destination in (None, row.destination)
        and where.rule in (None, row.rule)
        and where.state in (None, row.state)
        and not (where.not_replayed and any(other.replay_of == row.id for other in tables.deliveries.values()))
    )


def _is_between(prefix: str, written: str, since: datetime | None, until: datetime | None) -> bool:
    # Ids sort as their times do, so rows need no other time of their own.
    return (since is None or written >= encode(prefix, lowest_at(since))) and (
        until is None or written < encode(prefix, lowest_at(until))
    )
