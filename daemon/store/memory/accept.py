"""How the in-memory store takes events and their deliveries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from hookline.daemon.ids import decode, made_at
from hookline.daemon.store.changes import Accept, Accepted, DeliveryId, NewDelivery, NewEvent, Request, State
from hookline.daemon.store.gates import Body, Placed, ask, is_plain
from hookline.daemon.store.memory.rows import DeliveryRow
from hookline.daemon.store.memory.tables import Key, Tables, event_made_at, hour_of
from hookline.daemon.store.stored import StoredEvent
from hookline.rules import EventId


def accept(tables: Tables, change: Accept) -> tuple[Accepted, ...]:
    """Take the events that are new, and answer each."""
    body = Body(len(change.request.body))
    request = max(tables.requests.values(), default=0) + 1
    return tuple(_accept_one(tables, change, new, body, request) for new in change.events)


def _accept_one(tables: Tables, change: Accept, new: NewEvent, body: Body, request: int) -> Accepted:
    event = new.event
    key = (event.source, event.key)
    content = _content(new, change.request)
    known = tables.keys.get(key)
    # The very same event again is a batch that is repeated after an unknown outcome.
    if known is not None and known.event_id == event.id:
        return Accepted(event_id=event.id)
    if known is not None and event_made_at(known.event_id) > tables.since(change.dedupe_window):
        return _count_duplicate(tables, known, is_conflict=known.content != content)
    tables.keys[key] = Key(event_id=event.id, content=content)
    tables.events[event.id] = _stored(new, change.request)
    tables.requests[event.id] = request
    hour = (event.source, hour_of(tables.clock()))
    tables.hours[hour] = (tables.hours.get(hour, (0, event))[0] + 1, event)
    count_matches(tables, new.matched, event.id, tables.clock())
    return Accepted(event_id=event.id, wakes=insert(tables, event.id, new.deliveries, body))


def count_matches(tables: Tables, rules: Iterable[str], event_id: EventId, at: datetime) -> None:
    """Count an event for the rules that matched it, in the hour of `at`."""
    for rule in set(rules):
        events, last = tables.rule_hours.get((rule, hour_of(at)), (0, event_id))
        tables.rule_hours[rule, hour_of(at)] = (events + 1, max(last, event_id))


def _count_duplicate(tables: Tables, known: Key, *, is_conflict: bool) -> Accepted:
    tables.duplicates += 1
    first = tables.events.get(known.event_id)
    if first is not None:
        duplicates, conflicts = first.duplicates + 1, first.conflicts + is_conflict
        tables.events[known.event_id] = replace(first, duplicates=duplicates, conflicts=conflicts)
    return Accepted(event_id=known.event_id, is_duplicate=True, is_conflict=is_conflict)


def insert(tables: Tables, event_id: EventId, deliveries: Iterable[NewDelivery], body: Body) -> bool:
    """Insert new deliveries, and return whether that made a digest full."""
    now, wakes = tables.clock(), False
    for new in deliveries:
        if new.id in tables.deliveries:
            continue
        if is_plain(new):
            place(tables, Placed(id=new.id, replay_of=new.replay_of), new, event_id)
        else:
            verdict = ask(new, tables.memories, body, event=event_id, now=now)
            for placed in verdict.rows:
                place(tables, placed, new, event_id)
            for counted in verdict.counted:
                count(tables, counted, 1)
            summary = None if verdict.moved is None else tables.deliveries.get(verdict.moved)
            if summary is not None and summary.state is State.PENDING:
                summary.event_id = event_id
            if verdict.full is not None:
                tables.deliveries[verdict.full].due_at = now
                wakes = True
        if new.token is not None:
            tables.deliveries[new.id].begin(new.token, now=now, lease=tables.accept_lease)
    return wakes


def place(tables: Tables, placed: Placed, new: NewDelivery, event_id: EventId) -> None:
    """Insert a delivery where the gates put it; `new` is the one that came."""
    tables.deliveries[placed.id] = DeliveryRow(
        id=placed.id,
        event_id=event_id,
        rule=new.rule,
        step=new.step,
        lane=new.lane,
        destination=new.destination,
        created_at=made_at(decode("dlv", placed.id)),
        due_at=tables.clock() + placed.due_in,
        replay_of=placed.replay_of,
        state=placed.state,
        order=placed.order,
        previous=placed.previous,
        previous_from=placed.previous_from,
        why=placed.why,
        part_of=placed.part_of,
        parts_of=placed.parts_of,
        is_digest=placed.is_digest,
        stands_for=placed.stands_for,
        is_replay=placed.is_replay or placed.replay_of is not None,
    )
    if placed.order is not None:
        tables.queues.setdefault((new.lane, placed.order), []).append(placed.id)


def count(tables: Tables, delivery_id: DeliveryId, added: int) -> None:
    """Let a delivery stand for more."""
    # The first of `once` may be pruned by now.
    if delivery_id in tables.deliveries:
        tables.deliveries[delivery_id].stands_for += added


def _content(new: NewEvent, request: Request) -> str:
    # Of a split event its element: the others of its batch may change.
    said = request.body if new.pointer is None else json.dumps(new.event.payload, sort_keys=True).encode()
    return hashlib.sha256(said).hexdigest()


def _stored(new: NewEvent, request: Request) -> StoredEvent:
    return StoredEvent(
        event=new.event,
        body=request.body,
        content_type=request.content_type,
        pointer=new.pointer,
        rules_version=new.rules_version,
        is_unrouted=new.is_unrouted,
        matched=new.matched,
        duplicates=0,
        conflicts=0,
        document=request.document,
    )
