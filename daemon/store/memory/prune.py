"""Retention in the in-memory store."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TypeVar

from hookline.daemon.store.changes import Audit
from hookline.daemon.store.memory.audit import audit
from hookline.daemon.store.memory.tables import Tables, event_made_at
from hookline.daemon.store.port import AUDIT_KEPT
from hookline.rules import EventId

T = TypeVar("T")
Name = TypeVar("Name", bound=str)


def remove_old(tables: Tables, *, events: datetime, dedupe: datetime, dead: datetime, limit: int) -> int:
    """Remove at most `limit` rows of before these times, and tell of them; return how many."""
    removed: Counter[str] = Counter()
    old_keys = [key for key, known in tables.keys.items() if event_made_at(known.event_id) < dedupe]
    for key in old_keys[:limit]:
        del tables.keys[key]
        removed["keys"] += 1
    for event_id in sorted(tables.events):
        if removed.total() >= limit:
            break
        if event_made_at(event_id) < events:
            _remove_event(tables, event_id, dead, removed, limit)
    before_hour = events.replace(minute=0, second=0, microsecond=0)
    for bucket in [bucket for bucket in tables.rejections if bucket[2] < before_hour][: limit - removed.total()]:
        del tables.rejections[bucket]
        removed["rejections"] += 1
    told = dict(removed)
    removed[""] += _prune_hours(tables.hours, before_hour, limit - removed.total())
    removed[""] += _prune_hours(tables.rule_hours, before_hour, limit - removed.total())
    removed[""] += _prune_hours(tables.lane_hours, before_hour, limit - removed.total())
    left = limit - removed.total()
    removed[""] += tables.memories.prune(over_by=tables.clock(), untouched_since=dedupe, limit=left)
    old_rows = [row for row in tables.audit if row.at < tables.since(AUDIT_KEPT)][: limit - removed.total()]
    tables.audit = [row for row in tables.audit if row not in old_rows]
    if told:
        audit(tables, Audit(who="daemon", what="prune", count=sum(told.values()), counts=told, by_day=True))
    return removed.total() + len(old_rows)


def _remove_event(tables: Tables, event_id: EventId, dead: datetime, removed: Counter[str], limit: int) -> None:
    rows = [row for row in tables.deliveries.values() if row.event_id == event_id]
    if tables.events[event_id].is_unrouted or any(tables.is_needed(row, dead_since=dead) for row in rows):
        return
    # Deliveries before their event, so that what the limit cuts in two can be removed by the next call.
    for row in rows:
        if removed.total() >= limit:
            return
        del tables.deliveries[row.id]
        removed["deliveries"] += 1
    if removed.total() < limit:
        del tables.events[event_id]
        removed["events"] += 1


def _prune_hours(hours: dict[tuple[Name, datetime], T], before_hour: datetime, room: int) -> int:
    """Remove at most `room` rows before an hour, but each name's last one, and return how many."""
    last = dict(sorted(hours))
    old = [(name, hour) for name, hour in hours if hour < min(before_hour, last[name])][:room]
    for one in old:
        del hours[one]
    return len(old)
