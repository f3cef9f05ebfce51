"""Accepting many requests in one transaction: dedupe keys, events and deliveries, with few statements."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from hookline.daemon.ids import lowest_at
from hookline.daemon.store.changes import Accept, Accepted, DeliveryId, NewDelivery, NewEvent, Request
from hookline.daemon.store.gates import Body, is_plain
from hookline.daemon.store.named_sql import Row, named_statements
from hookline.daemon.store.placing import Coming
from hookline.daemon.store.postgres import breakers
from hookline.daemon.store.postgres.gates import place
from hookline.daemon.store.postgres.keys import Key, Keys, Presented, learn
from hookline.daemon.store.postgres.rows import bound, bound_or_null, columns, names_or_null
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
from hookline.daemon.store.sharing import DUE

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Batch

_SQL = named_statements(__package__, "write")
_PENDING, _RUNNING = 0, 1
_REQUEST_COLUMNS, _EVENT_COLUMNS, _DELIVERY_COLUMNS = 9, 14, 11


@dataclass(slots=True)
class _Rows:
    """The rows of a batch, by table."""

    #: Lanes in which nothing begins now.
    shut: AbstractSet[int]
    requests: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    deliveries: list[Row] = field(default_factory=list)
    #: Deliveries that are more than a row.
    coming: list[Coming] = field(default_factory=list)
    #: Keys whose window was over.
    rearmed: dict[bytes, Key] = field(default_factory=dict)
    #: By the rules that matched: how many events, and the last one.
    matches: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Duplicates and conflicts by the event that they repeat.
    repeats: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: Those that had a token and wait, by their event.
    kept_back: dict[int, tuple[DeliveryId, ...]] = field(default_factory=dict)

    def keep_back(self, event: int, delivery: NewDelivery) -> None:
        """Note that a delivery waits although it had a token."""
        self.kept_back[event] = (*self.kept_back.get(event, ()), delivery.id)


class _Event(NamedTuple):
    """An event, with what is computed of it once."""

    new: NewEvent
    number: int
    digest: bytes
    content: int

    def presented(self, oldest: int) -> Presented:
        """Return its key."""
        return Presented(self.digest, Key(self.number, self.content), oldest)


class _Prepared(NamedTuple):
    """A request, with what is computed of it once."""

    change: Accept
    body: bytes
    #: The lowest number of an event that still counts for its keys.
    oldest: int
    events: tuple[_Event, ...]


async def accept(batch: Batch, accepts: Sequence[Accept]) -> list[tuple[Accepted, ...]]:
    """Make the changes, in order, and answer them. Lanes and stripes are locked by the caller."""
    if not accepts:
        return []
    requests = [_prepare(batch, change) for change in accepts]
    presented = [event.presented(one.oldest) for one in requests for event in one.events]
    keys = await learn(batch.connection, presented)
    rows = _Rows(shut=await _shut(batch, accepts))
    await _note_void(batch, requests, keys, rows)
    answers = []
    for one in requests:
        fresh: list[_Event] = []
        answers.append(tuple([_decide(event, keys, rows, fresh, one.oldest) for event in one.events]))
        if fresh:
            _collect(batch, rows, one, fresh)
    if rows.events:
        await _store(batch, rows)
    wakes = await place(batch, rows.coming) if rows.coming else set()
    if rows.rearmed:
        rearmed = [(digest, *key) for digest, key in rows.rearmed.items()]
        await batch.connection.execute(_SQL["rearm_keys"], *columns(rearmed, 3))
    if rows.repeats:
        repeats = [(number, *counts) for number, counts in rows.repeats.items()]
        await batch.connection.execute(_SQL["count_duplicates"], *columns(repeats, 3))
    batch.counters["events"] += len(rows.events)
    batch.counters["duplicates"] += sum(duplicates for duplicates, _ in rows.repeats.values())
    return _completed(answers, wakes, rows.kept_back)


def _prepare(batch: Batch, change: Accept) -> _Prepared:
    body = hashlib.sha256(change.request.body).digest()
    events = [
        _Event(new, event_number(new.event.id), key_digest(new.event), content_number(new, body))
        for new in change.events
    ]
    return _Prepared(change, body, lowest_at(batch.moment.since(change.dedupe_window)), tuple(events))


async def _shut(batch: Batch, accepts: Sequence[Accept]) -> AbstractSet[int]:
    """Return the lanes of these in which nothing begins, of those in which something would."""
    lanes = {
        batch.names.step(delivery)[1]
        for change in accepts
        for new in change.events
        for delivery in new.deliveries
        if delivery.token is not None
    }
    return await breakers.shut(batch, lanes) if lanes else frozenset()


async def _note_void(batch: Batch, requests: Sequence[_Prepared], keys: Keys, rows: _Rows) -> None:
    """Find the claims that a repeated batch was not given, or has lost since."""
    claims = {
        delivery_number(delivery.id): (event.number, delivery)
        for one in requests
        for event in one.events
        if event.number in keys.stored
        for delivery in event.new.deliveries
        if delivery.token is not None
    }
    if not claims:
        return
    good = dict(await batch.connection.fetch(_SQL["good_claims"], list(claims)))
    for number, (event, delivery) in claims.items():
        if good.get(number) != delivery.token:
            rows.keep_back(event, delivery)


def _decide(event: _Event, keys: Keys, rows: _Rows, fresh: list[_Event], oldest: int) -> Accepted:
    """Answer one event; put it with the fresh ones, or count it for the one that it repeats."""
    presented, known = event.presented(oldest), keys.known[event.digest]
    if known.event != event.number and not presented.replaces(known):
        is_conflict = known.content != event.content
        duplicates, conflicts = rows.repeats.get(known.event, (0, 0))
        rows.repeats[known.event] = (duplicates + 1, conflicts + is_conflict)
        return Accepted(event_id=event_id(known.event), is_duplicate=True, is_conflict=is_conflict)
    if known.event != event.number:
        keys.known[event.digest] = rows.rearmed[event.digest] = presented.key
    if event.number not in keys.stored:
        keys.stored.add(event.number)
        fresh.append(event)
    return Accepted(event_id=event.new.event.id)


def _collect(batch: Batch, rows: _Rows, one: _Prepared, fresh: Sequence[_Event]) -> None:
    """Add the rows of a request's new events."""
    numbers = [event.number for event in fresh]
    request, body = one.change.request, Body(len(one.change.request.body))
    rows.requests.append(_request_row(request, one.body, numbers))
    for new, number, *_ in fresh:
        rows.events.append(_event_row(batch, new, number, min(numbers)))
        # Several fallbacks may have matched, which are counted as one.
        for rule in new.matched if len(new.matched) < 2 else set(new.matched):
            count, last = rows.matches.get(rule, (0, 0))
            rows.matches[rule] = (count + 1, max(last, number))
        for delivery in new.deliveries:
            if delivery.token is not None and batch.names.step(delivery)[1] in rows.shut:
                rows.keep_back(number, delivery)
                asked = replace(delivery, token=None)
            else:
                asked = delivery
            if is_plain(asked):
                rows.deliveries.append(delivery_row(batch, asked, delivery_number(asked.id), number))
            else:
                rows.coming.append(Coming(asked, number, body))


def _request_row(request: Request, digest: bytes, numbers: Sequence[int]) -> Row:
    return (
        min(numbers),
        max(numbers),
        bound(request.content_type),
        bound(request.client_ip),
        json_object(request.headers),
        json_object(request.query),
        digest,
        request.body,
        bound_or_null(request.document),
    )


def _event_row(batch: Batch, new: NewEvent, number: int, request_id: int) -> Row:
    event = new.event
    return (
        number,
        request_id,
        batch.names.rule_set(new.rules_version),
        bound(event.source),
        bound(event.type),
        bound_or_null(event.sender_id),
        bound(event.key),
        bound_or_null(event.tenant),
        bound_or_null(event.subject),
        None if event.occurred_at is None else micros(event.occurred_at),
        micros(event.received_at),
        json_or_null(new.pointer),
        names_or_null(new.matched),
        new.is_unrouted,
    )


async def _store(batch: Batch, rows: _Rows) -> None:
    """Insert what plain requests are, and count their sources and rules."""
    _note_waiting(batch, rows.deliveries)
    await batch.connection.execute(
        _SQL["store"],
        *columns(rows.requests, _REQUEST_COLUMNS),
        *columns(rows.events, _EVENT_COLUMNS),
        *columns(rows.deliveries, _DELIVERY_COLUMNS),
        *columns(_sources(rows.events), 4),
        *columns([(bound(rule), *counts) for rule, counts in sorted(rows.matches.items())], 3),
        batch.moment.now // HOUR,
        batch.node,
    )


def _sources(events: Sequence[Row]) -> list[Row]:
    """Return how many events each source sent, the last of them, and its type, by the rows of a batch's events."""
    added: dict[str, Row] = {}
    for number, _, _, source, kind, *_ in events:
        known = added.get(source)
        added[source] = (source, 1 if known is None else known[1] + 1, number, kind)
    return sorted(added.values())


def delivery_row(batch: Batch, new: NewDelivery, number: int, event: int) -> Row:
    """Return the columns of a plain delivery: pending, or running if its lane had room."""
    step_id, lane_id = batch.names.step(new)
    replay_of = None if new.replay_of is None else delivery_number(new.replay_of)
    claim = (None, None, None) if new.token is None else (new.token, batch.moment.lease_until, batch.node)
    state = _PENDING if new.token is None else _RUNNING
    now = batch.moment.now
    return (number, event, step_id, lane_id, state, now, replay_of, new.is_replay, *claim)


async def insert_deliveries(batch: Batch, rows: Sequence[Row]) -> None:
    """Insert what `delivery_row` made."""
    if rows:
        _note_waiting(batch, rows)
        await batch.connection.execute(_SQL["insert_deliveries"], *columns(rows, _DELIVERY_COLUMNS))


def _note_waiting(batch: Batch, rows: Sequence[Row]) -> None:
    """Count plain deliveries, and tell the others of those that wait."""
    running = sum(row[4] for row in rows)
    batch.counters["running"] += running
    batch.counters["pending"] += len(rows) - running
    if len(rows) > running:
        batch.news.add(DUE)


async def add_to_rules(batch: Batch, matches: Mapping[str, tuple[int, int]], hour: int) -> None:
    """Count what rules matched in an hour: by name, how many events, and the last one."""
    if matches:
        rows = [(bound(rule), *counts) for rule, counts in sorted(matches.items())]
        await batch.connection.execute(_SQL["add_to_rules"], *columns(rows, 3), hour, batch.node)


def _completed(
    answers: list[tuple[Accepted, ...]], wakes: set[int], kept_back: Mapping[int, tuple[DeliveryId, ...]]
) -> list[tuple[Accepted, ...]]:
    """Return the answers, marked where an event made something due at once, or waits for another node's reasons."""
    if not wakes and not kept_back:
        return answers
    return [tuple([_marked(one, wakes, kept_back) for one in answer]) for answer in answers]


def _marked(one: Accepted, wakes: set[int], kept_back: Mapping[int, tuple[DeliveryId, ...]]) -> Accepted:
    number = event_number(one.event_id)
    if one.is_duplicate:
        return one
    return replace(one, wakes=number in wakes, kept_back=kept_back.get(number, ()))
