"""Accepting many requests in one transaction: dedupe keys, events and deliveries, with few statements."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hookline.daemon.ids import lowest_at
from hookline.daemon.store.changes import Accept, Accepted, NewDelivery, NewEvent, Request
from hookline.daemon.store.gates import Body, is_plain
from hookline.daemon.store.moment import Moment
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.placing import Coming
from hookline.daemon.store.rows import (
    HOUR,
    content_number,
    delivery_number,
    event_id,
    event_number,
    json_object,
    json_or_null,
    key_digest,
    micros,
)
from hookline.daemon.store.sqlite.batch import Batch
from hookline.daemon.store.sqlite.gates import place
from hookline.daemon.store.sqlite.names import Names
from hookline.daemon.store.sqlite.rows import bound, bound_or_null
from hookline.daemon.store.sqlite.statements import run_many, select_many, statements

_SQL = statements("write")
_PENDING, _RUNNING = 0, 1


@dataclass(slots=True)
class _Rows:
    """The rows of a batch, by table."""

    requests: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    deliveries: list[Row] = field(default_factory=list)
    #: Deliveries that are more than a row.
    coming: list[Coming] = field(default_factory=list)
    #: Keys whose window was over.
    rearmed: list[Row] = field(default_factory=list)
    #: By the rules that matched: how many events, and the last one.
    matches: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Duplicates and conflicts by the event that they repeat.
    repeats: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Keys:
    """What is known of a batch's keys. Both are empty if all of them were new, which is the rule."""

    #: The event that a key stands for, and what it came with.
    known: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    #: Those of the batch's own events that are stored: it is repeated because its outcome was unknown.
    stored: set[int] = field(default_factory=set)


class _Prepared(NamedTuple):
    new: NewEvent
    number: int
    key: bytes
    content: int


def accept(batch: Batch, accepts: Sequence[Accept]) -> list[tuple[Accepted, ...]]:
    """Make the changes, in order, and answer them."""
    if not accepts:
        return []
    connection, names, moment = batch.connection, batch.names, batch.moment
    prepared: list[tuple[Accept, bytes, list[_Prepared]]] = []
    for change in accepts:
        body = hashlib.sha256(change.request.body).digest()
        events = [
            _Prepared(new, event_number(new.event.id), key_digest(new.event), content_number(new, body))
            for new in change.events
        ]
        prepared.append((change, body, events))
    keys = _insert_keys(connection, [event for _, _, events in prepared for event in events])
    rows = _Rows()
    answers = []
    oldest = {window: lowest_at(moment.since(window)) for window in {change.dedupe_window for change in accepts}}
    for change, body, events in prepared:
        fresh: list[_Prepared] = []
        answers.append(tuple([_decide(event, keys, rows, fresh, oldest[change.dedupe_window]) for event in events]))
        if fresh:
            _collect(rows, change.request, body, fresh, names, moment)
    run_many(connection, _SQL["insert_requests"], rows.requests)
    run_many(connection, _SQL["insert_events"], rows.events)
    insert_deliveries(batch, rows.deliveries)
    if rows.coming:
        answers = _wake(answers, place(batch, rows.coming))
    run_many(connection, _SQL["rearm_keys"], rows.rearmed)
    run_many(connection, _SQL["add_to_hours"], _hours(rows.events, moment))
    add_to_rules(connection, rows.matches, moment.now // HOUR)
    run_many(connection, _SQL["count_duplicates"], [(number, *counts) for number, counts in rows.repeats.items()])
    batch.counters["events"] += len(rows.events)
    batch.counters["duplicates"] += sum(duplicates for duplicates, _ in rows.repeats.values())
    return answers


def _wake(answers: list[tuple[Accepted, ...]], events: set[int]) -> list[tuple[Accepted, ...]]:
    """Return the answers, marked where an event made something due at once."""
    if not events:
        return answers
    waking = {event_id(number) for number in events}
    return [
        tuple([replace(one, wakes=not one.is_duplicate and one.event_id in waking) for one in answer])
        for answer in answers
    ]


def _insert_keys(connection: sqlite3.Connection, events: Sequence[_Prepared]) -> _Keys:
    """Insert the new keys, and find out about the others only if there are any."""
    rows = [(event.key, event.number, event.content) for event in events]
    if run_many(connection, _SQL["insert_keys"], rows) == len(rows):
        return _Keys()
    found = select_many(connection, _SQL["known_keys"], [(event.key,) for event in events])
    known = {key: (number, content) for key, number, content in found}
    own = [(event.number,) for event in events if known[event.key][0] == event.number]
    stored = {number for (number,) in select_many(connection, _SQL["known_events"], own)}
    return _Keys(known, stored)


def _decide(event: _Prepared, keys: _Keys, rows: _Rows, fresh: list[_Prepared], oldest: int) -> Accepted:
    """Answer one event; put it with the fresh ones, or count it for the one that it repeats."""
    number = event.number
    first, content = keys.known.get(event.key, (number, event.content))
    if first != number and first >= oldest:
        is_conflict = content != event.content
        duplicates, conflicts = rows.repeats.get(first, (0, 0))
        rows.repeats[first] = (duplicates + 1, conflicts + is_conflict)
        return Accepted(event_id=event_id(first), is_duplicate=True, is_conflict=is_conflict)
    if first != number:
        keys.known[event.key] = (number, event.content)
        rows.rearmed.append((event.key, number, event.content))
    if number not in keys.stored:
        keys.stored.add(number)
        fresh.append(event)
    return Accepted(event_id=event.new.event.id)


def _collect(  # noqa: PLR0913, PLR0917 - one row's ingredients; a class around them would hold nothing together
    rows: _Rows, request: Request, digest: bytes, fresh: Sequence[_Prepared], names: Names, moment: Moment
) -> None:
    numbers = [event.number for event in fresh]
    body: Body | None = None
    request_id = min(numbers)
    rows.requests.append(
        (
            request_id,
            max(numbers),
            bound(request.content_type),
            bound(request.client_ip),
            json_object(request.headers),
            json_object(request.query),
            digest,
            request.body,
            bound_or_null(request.document),
        )
    )
    for new, number, _, _ in fresh:
        event = new.event
        rows.events.append(
            (
                number,
                request_id,
                names.rule_set(new.rules_version),
                bound(event.source),
                bound(event.type),
                bound_or_null(event.sender_id),
                bound(event.key),
                bound_or_null(event.tenant),
                bound_or_null(event.subject),
                None if event.occurred_at is None else micros(event.occurred_at),
                micros(event.received_at),
                json_or_null(new.pointer),
                json_or_null(new.matched or None),
                new.is_unrouted,
            )
        )
        # Several fallbacks may have matched, which are counted as one.
        for rule in new.matched if len(new.matched) < 2 else set(new.matched):
            count, last = rows.matches.get(rule, (0, 0))
            rows.matches[rule] = (count + 1, max(last, number))
        for delivery in new.deliveries:
            if is_plain(delivery):
                rows.deliveries.append(delivery_row(delivery, delivery_number(delivery.id), number, names, moment))
            else:
                body = body or Body(len(request.body))
                rows.coming.append(Coming(delivery, number, body))


def _hours(events: Sequence[Row], moment: Moment) -> list[Row]:
    """Return what a batch adds to each source's hour, by the rows of its events."""
    hour = moment.now // HOUR
    added: dict[str | bytes, Row] = {}
    for number, _, _, source, kind, *_ in events:
        known = added.get(source)
        added[source] = (source, hour, 1 if known is None else known[2] + 1, number, kind)
    return list(added.values())


def add_to_rules(connection: sqlite3.Connection, matches: Mapping[str, tuple[int, int]], hour: int) -> None:
    """Count what rules matched in an hour: by name, how many events, and the last one."""
    run_many(connection, _SQL["add_to_rules"], [(bound(rule), hour, *counts) for rule, counts in matches.items()])


def delivery_row(new: NewDelivery, number: int, event: int, names: Names, moment: Moment) -> Row:
    """Return the columns of a plain delivery: pending, or running if its lane had room."""
    step_id, lane_id = names.step(new)
    replay_of = None if new.replay_of is None else delivery_number(new.replay_of)
    if new.token is None:
        return (number, event, step_id, lane_id, _PENDING, moment.now, None, None, replay_of)
    return (number, event, step_id, lane_id, _RUNNING, moment.now, new.token, moment.lease_until, replay_of)


def insert_deliveries(batch: Batch, rows: Sequence[Row]) -> None:
    """Insert what `delivery_row` made."""
    run_many(batch.connection, _SQL["insert_deliveries"], rows)
    running = sum(row[4] for row in rows)
    batch.counters["running"] += running
    batch.counters["pending"] += len(rows) - running
