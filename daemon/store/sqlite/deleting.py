"""Deletion for good, step by step. Runs on the writing connection's thread, and nowhere else."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from hookline.daemon.ids import lowest_at
from hookline.daemon.store.changes import Audit, Cancel
from hookline.daemon.store.moment import Moment
from hookline.daemon.store.rows import HIGHEST_ID, delivery_id, number_or_none
from hookline.daemon.store.sqlite.audit import add_to_audit, audit
from hookline.daemon.store.sqlite.batch import Batch
from hookline.daemon.store.sqlite.operate import cancel
from hookline.daemon.store.sqlite.pace import Pace
from hookline.daemon.store.sqlite.rows import bound_or_null
from hookline.daemon.store.sqlite.statements import select_many, statements
from hookline.daemon.store.sqlite.traces import Removal, deliveries_of, own_events, running_for
from hookline.daemon.store.sqlite.writer import SqliteWriter
from hookline.daemon.store.stored import Deletion, DeletionStep, EventFilter

#: In one transaction, however fast it is.
ROWS_AT_ONCE = 1_000
#: How many events are looked at in one go, to find those that are meant.
_LOOKED_AT = 2_000

_SQL = statements("deleting")


def begin(writer: SqliteWriter, which: Deletion, told: Audit, moment: Moment) -> int:
    """Note what is to be removed; return the number of the row of the audit."""
    with writer.transaction():
        number = audit(writer.connection, told, moment.now)
        writer.connection.execute(_SQL["begin_deletion"], (number, json.dumps(_written(which))))
    return number


def _written(which: Deletion) -> dict[str, Any]:
    """Return the criteria as they are kept."""
    where = which.where or EventFilter()
    return {
        "events": [number for event in which.events if (number := number_or_none("evt", event)) is not None],
        "is_named": which.where is None,
        "source": where.source,
        "type": where.type,
        "tenant": where.tenant,
        "from": 0 if where.since is None else lowest_at(where.since),
        "to": HIGHEST_ID if where.until is None else lowest_at(where.until) - 1,
        "forgets_keys": which.forgets_keys,
    }


def end(writer: SqliteWriter, number: int) -> None:
    """Note that nothing is left to do."""
    with writer.transaction():
        writer.connection.execute(_SQL["end_deletion"], (number,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What one step takes: events with their requests, and how far it looked; `to` is None at the end."""

    events: dict[int, int]
    to: int | None
    #: How much work that is.
    cost: int


def step(writer: SqliteWriter, number: int, moment: Moment, pace: Pace) -> DeletionStep:
    """Remove as many as fit into one transaction. Raises `KeyError`."""
    began = time.monotonic()
    found = writer.connection.execute(_SQL["deletion"], (number,)).fetchone()
    if found is None:
        raise KeyError(number)
    criteria, up_to, after, left = found
    asked = json.loads(criteria)
    with writer.transaction() as counters:
        batch = Batch(connection=writer.connection, names=writer.names, moment=moment, counters=counters)
        chosen = _choose(batch, asked, after=after, up_to=up_to, units=pace.units)
        removed, waits_for = _remove(batch, chosen, number, forgets_keys=asked["forgets_keys"])
        left += len(chosen.events) - removed
        following = (chosen.to, left) if chosen.to is not None else (0, 0)
        writer.connection.execute(_SQL["move_on"], (*following, number))
    pace.took(chosen.cost, time.monotonic() - began)
    return DeletionStep(
        events=removed,
        is_over=chosen.to is None and not left,
        is_round_over=chosen.to is None,
        waits_for=tuple(delivery_id(one) for one in waits_for),
    )


def _choose(batch: Batch, asked: dict[str, Any], *, after: int, up_to: int, units: int) -> _Found:
    connection, after, up_to = batch.connection, max(after, asked["from"] - 1), min(up_to, asked["to"])
    if asked["is_named"]:
        named = [one for one in sorted(asked["events"]) if after < one <= up_to]
        part = named[: max(1, units)]
        rows = [row for (text,) in select_many(connection, _SQL["named_to_delete"], [(one,) for one in part])
                for row in json.loads(text)]  # fmt: skip
        end = part[-1] if len(part) < len(named) else None
    else:
        last = connection.execute(_SQL["end_of_events"], (after, up_to, _LOOKED_AT)).fetchone()
        values: dict[str, Any] = {name: bound_or_null(asked[name]) for name in ("source", "type", "tenant")}
        values |= {"after": after, "to": up_to if last is None else last[0], "limit": max(1, units)}
        rows = json.loads(connection.execute(_SQL["to_delete"], values).fetchone()[0])
        end = None if last is None else last[0]
        if len(rows) == max(1, units):
            end = rows[-1][0]
    return _fitting(sorted(rows), end, units)


def _fitting(rows: list[list[int]], end: int | None, units: int) -> _Found:
    """Take the first rows that fit, one at the least; those of one request together, so that its body is cut once."""
    events: dict[int, int] = {}
    cost = 0
    last_request: int | None = None
    for number, request, price in rows:
        if events and cost + price > units and request != last_request:
            return _Found(events=events, to=max(events), cost=cost)
        # Of a batch the body is paid for once.
        cost += price if request != last_request else 1
        events[number], last_request = request, request
    return _Found(events=events, to=end, cost=cost)


def _remove(batch: Batch, chosen: _Found, number: int, *, forgets_keys: bool) -> tuple[int, list[int]]:
    """Remove what is not busy; return how many events that were, and what runs of the others."""
    if not chosen.events:
        return 0, []
    doomed = deliveries_of(batch, chosen.events)
    own = {event: of for event, of in own_events(batch, doomed).items() if event not in chosen.events}
    own_doomed = deliveries_of(batch, own)
    owner = {event: whose for event, (_, whose) in own.items()}
    running = running_for(batch, [*doomed, *own_doomed])
    busy = {owner.get(event, event) for _, event in running}
    waits = [one for one in (*doomed, *own_doomed) if owner.get(one.event, one.event) in busy]
    for one in sorted(waits, key=attrgetter("id")):
        # What does not run yet shall not begin to. In order: what is left of a digest depends on who goes first.
        cancel(batch, Cancel(delivery_id=delivery_id(one.id)))
    free = {event: request for event, request in chosen.events.items() if event not in busy}
    free_own = {event: request for event, (request, whose) in own.items() if whose not in busy}
    removal = Removal(
        events=free | free_own,
        deliveries=[one for one in (*doomed, *own_doomed) if owner.get(one.event, one.event) not in busy],
    )
    removal.make(batch, forgets_keys=forgets_keys)
    removal.counts["events"] += len(free)
    removal.counts["own_events"] += len(free_own)
    counts: Counter[str] = +removal.counts
    if free:
        add_to_audit(batch.connection, number, counts, count=len(free), now=batch.moment.now)
    return len(free), sorted({one for one, _ in running})
