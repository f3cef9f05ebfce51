"""Deletion for good in the in-memory store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from operator import attrgetter

from hookline.daemon.sources.stored_payload import payload_and_envelope, read_document
from hookline.daemon.store.changes import Audit, Cancel, DeliveryId, State
from hookline.daemon.store.cutting import Content, without
from hookline.daemon.store.memory.audit import add_to_audit, audit
from hookline.daemon.store.memory.changes import cancel
from hookline.daemon.store.memory.filters import is_meant
from hookline.daemon.store.memory.rows import DeliveryRow
from hookline.daemon.store.memory.tables import Tables
from hookline.daemon.store.stored import Deletion, DeletionStep, StoredEvent
from hookline.rules import EventId

_SILENCED = "what it said was removed with an event"


def begin(tables: Tables, which: Deletion, told: Audit) -> int:
    """Note what is to be removed; return the number of the row of the audit."""
    number = audit(tables, told)
    tables.deletions[number] = (which, max(tables.events, default=EventId("")))
    return number


def step(tables: Tables, number: int) -> DeletionStep:
    """Remove all that nothing runs for."""
    which, up_to = tables.deletions[number]
    meant = [event_id for event_id, one in tables.events.items() if event_id <= up_to and is_meant(one, which)]
    own = {event_id: whose for event_id, whose in _own_events(tables, meant).items() if event_id not in meant}
    running: set[DeliveryId] = set()
    busy: set[EventId] = set()
    for row in _of(tables, [*meant, *own]):
        runs = _running_for(tables, row)
        running.update(one.id for one in runs)
        busy.update([own.get(row.event_id, row.event_id)] if runs else [])
    for row in sorted(_of(tables, [*meant, *own]), key=attrgetter("id")):
        if own.get(row.event_id, row.event_id) in busy:
            cancel(tables, Cancel(delivery_id=row.id))
    free = [event_id for event_id in meant if event_id not in busy]
    free_own = [event_id for event_id, whose in own.items() if whose not in busy]
    counts = _remove(tables, {*free, *free_own}, forgets_keys=which.forgets_keys)
    counts += Counter(events=len(free), own_events=len(free_own))
    if free:
        add_to_audit(tables, number, counts, count=len(free))
    return DeletionStep(events=len(free), is_over=not busy, is_round_over=True, waits_for=tuple(sorted(running)))


def _of(tables: Tables, events: Collection[EventId]) -> list[DeliveryRow]:
    return [row for row in tables.deliveries.values() if row.event_id in events]


def _own_events(tables: Tables, events: Collection[EventId]) -> dict[EventId, EventId]:
    """Return the events about ourselves that tell of these events' deliveries, and whose they are."""
    found = {}
    for row in _of(tables, events):
        known = tables.keys.get(("hookline", f"delivery.dead/{row.id}"))
        if known is not None and known.event_id in tables.events:
            found[known.event_id] = row.event_id
    return found


def _running_for(tables: Tables, row: DeliveryRow) -> list[DeliveryRow]:
    """Return what runs of a delivery, or for it."""
    acting = [] if row.part_of is None else _acting(tables, row.part_of)
    return [one for one in (row, *acting) if one.state is State.RUNNING]


def _acting(tables: Tables, whole: DeliveryId) -> list[DeliveryRow]:
    return [row for row in tables.deliveries.values() if row.parts_of == whole]


def _remove(tables: Tables, events: Collection[EventId], *, forgets_keys: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    doomed = _of(tables, events)
    for row in doomed:
        if row.parts_of is None:
            _drop(tables, row, counts)
    for whole in {whole for row in doomed for whole in (row.part_of, row.parts_of) if whole is not None}:
        _settle(tables, whole, events, counts)
    _forget(tables, events)
    for event_id in events:
        stored = tables.events.pop(event_id)
        key = (stored.event.source, stored.event.key)
        if forgets_keys and key in tables.keys and tables.keys[key].event_id == event_id:
            del tables.keys[key]
            counts["keys"] += 1
        if stored.pointer is not None:
            _cut(tables, stored, stored.pointer)
    return counts


def _drop(tables: Tables, row: DeliveryRow, counts: Counter[str]) -> None:
    if row.state is State.PENDING:
        # The next of its order, and its digest, see to themselves.
        cancel(tables, Cancel(delivery_id=row.id))
    del tables.deliveries[row.id]
    counts["deliveries"] += 1


def _settle(tables: Tables, whole: DeliveryId, events: Collection[EventId], counts: Counter[str]) -> None:
    """See to what acts for parts of which some are gone."""
    parts = sorted((row for row in tables.deliveries.values() if row.part_of == whole), key=lambda row: row.id)
    for row in _acting(tables, whole):
        if parts or row.event_id not in events:
            row.tries = [replace(one, note="", answer="", decision=_SILENCED) for one in row.tries]
            row.stands_for = len(parts)
        if row.event_id in events and parts:
            row.event_id = parts[-1].event_id
        elif row.event_id in events:
            for window in tables.memories.windows.values():
                window.summary = None if window.summary == row.id else window.summary
            _drop(tables, row, counts)
        elif not parts:
            cancel(tables, Cancel(delivery_id=row.id))
    first = tables.deliveries.get(whole)
    if first is not None:
        first.stands_for = len(parts)
    for opened in tables.memories.digests.values():
        if opened.id == whole:
            opened.members = sum(row.state is State.COLLECTED for row in parts)


def _forget(tables: Tables, events: Collection[EventId]) -> None:
    """Forget what `changed` and the sources' hours know from these events."""
    for hour, (count, last) in tables.hours.items():
        if last.id in events:
            tables.hours[hour] = (count, replace(last, type=""))
    values = tables.memories.values
    for memory in [memory for memory, known in values.items() if known.event in events]:
        del values[memory]
    for row in tables.deliveries.values():
        if row.previous_from in events:
            row.previous = row.previous_from = None
            if row.why.startswith("changed from "):
                row.why = "changed from what was removed, which is not asked for"


def _cut(tables: Tables, gone: StoredEvent, pointer: tuple[str | int, ...]) -> None:
    """Take an event out of the body that others of its request share."""
    for event_id, one in tables.events.items():
        if tables.requests[event_id] != tables.requests[gone.event.id]:
            continue
        content = Content(body=one.body, content_type=one.content_type, document=one.document)
        left = without(content, [json.loads(json.dumps(pointer))])
        whole = read_document(left.body, left.content_type, left.document)
        payload, envelope = payload_and_envelope(whole, one.pointer)
        tables.events[event_id] = replace(
            one,
            body=left.body,
            content_type=left.content_type,
            document=left.document,
            event=replace(one.event, payload=payload, envelope=envelope),
        )
