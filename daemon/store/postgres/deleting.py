"""Deletion for good, step by step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from hookline.daemon.ids import lowest_at
from hookline.daemon.store.changes import Audit, Cancel
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres import locks
from hookline.daemon.store.postgres.audit import add_to_audit, audit
from hookline.daemon.store.postgres.operate import cancel
from hookline.daemon.store.postgres.rows import bound_or_null
from hookline.daemon.store.postgres.traces import Removal, deliveries_of, own_events, running_for
from hookline.daemon.store.rows import HIGHEST_ID, delivery_id, number_or_none
from hookline.daemon.store.stored import Deletion, DeletionStep, EventFilter

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Batch
    from hookline.daemon.store.postgres.writer import PostgresWriter

#: How much one transaction removes: rows, and 4,096 bytes of a body for one.
_UNITS: Final = 500
#: How many events are looked at in one go, to find those that are meant.
_LOOKED_AT: Final = 2_000

_SQL = named_statements(__package__, "deleting")


async def begin(writer: PostgresWriter, which: Deletion, told: Audit) -> int:
    """Note what is to be removed; return the number of the row of the audit. Raises `StoreError`."""

    async def work(batch: Batch) -> int:
        number = await audit(batch.connection, told, batch.moment.now)
        await batch.connection.execute(_SQL["begin_deletion"], number, json.dumps(_written(which)))
        return number

    return await writer.batch(work)


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


async def end(writer: PostgresWriter, number: int) -> None:
    """Note that nothing is left to do. Raises `StoreError`."""

    async def work(batch: Batch) -> None:
        await batch.connection.execute(_SQL["end_deletion"], number)

    await writer.batch(work)


async def step(writer: PostgresWriter, number: int) -> DeletionStep:
    """Remove as many as fit into one transaction. Raises `KeyError`, `StoreError`."""
    return await writer.batch(lambda batch: _step(batch, number))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What one step takes: events with their requests, and how far it looked; `to` is None at the end."""

    events: dict[int, int]
    to: int | None


async def _step(batch: Batch, number: int) -> DeletionStep:
    await batch.connection.execute(_SQL["keep_retention_out"])
    found = await batch.connection.fetchrow(_SQL["deletion"], number)
    if found is None:
        raise KeyError(number)
    criteria, up_to, after, left = found
    asked = json.loads(criteria)
    chosen = await _choose(batch, asked, after=after, up_to=up_to)
    removed, waits_for = await _remove(batch, chosen, number, forgets_keys=asked["forgets_keys"])
    left += len(chosen.events) - removed
    following = (chosen.to, left) if chosen.to is not None else (0, 0)
    await batch.connection.execute(_SQL["move_on"], number, *following)
    return DeletionStep(
        events=removed,
        is_over=chosen.to is None and not left,
        is_round_over=chosen.to is None,
        waits_for=tuple(delivery_id(one) for one in waits_for),
    )


async def _choose(batch: Batch, asked: dict[str, Any], *, after: int, up_to: int) -> _Found:
    connection, after, up_to = batch.connection, max(after, asked["from"] - 1), min(up_to, asked["to"])
    if asked["is_named"]:
        named = [one for one in sorted(asked["events"]) if after < one <= up_to]
        part = named[:_UNITS]
        rows = await connection.fetch(_SQL["named_to_delete"], part)
        return _fitting(rows, part[-1] if len(part) < len(named) else None)
    end = await connection.fetchval(_SQL["end_of_events"], after, up_to, _LOOKED_AT)
    where = [bound_or_null(asked[name]) for name in ("source", "type", "tenant")]
    rows = await connection.fetch(_SQL["to_delete"], after, up_to if end is None else end, *where, _UNITS)
    return _fitting(rows, rows[-1]["id"] if len(rows) == _UNITS else end)


def _fitting(rows: Sequence[Sequence[int]], end: int | None) -> _Found:
    """Take the first rows that fit, one at the least; those of one request together, so that its body is cut once."""
    events: dict[int, int] = {}
    cost = 0
    last_request: int | None = None
    for number, request, price in rows:
        if events and cost + price > _UNITS and request != last_request:
            return _Found(events=events, to=max(events))
        # Of a batch the body is paid for once.
        cost += price if request != last_request else 1
        events[number], last_request = request, request
    return _Found(events=events, to=end)


async def _remove(batch: Batch, chosen: _Found, number: int, *, forgets_keys: bool) -> tuple[int, list[int]]:
    """Remove what is not busy; return how many events that were, and what runs of the others."""
    if not chosen.events:
        return 0, []
    own = await _lock(batch, list(chosen.events))
    doomed = await deliveries_of(batch, chosen.events)
    own_doomed = await deliveries_of(batch, own)
    owner = {event: whose for event, (_, whose) in own.items()}
    running = await running_for(batch, [*doomed, *own_doomed])
    busy = {owner.get(event, event) for _, event in running}
    waits = [one for one in (*doomed, *own_doomed) if owner.get(one.event, one.event) in busy]
    for one in sorted(waits, key=attrgetter("id")):
        # What does not run yet shall not begin to. In order: what is left of a digest depends on who goes first.
        await cancel(batch, Cancel(delivery_id=delivery_id(one.id)))
    free = {event: request for event, request in chosen.events.items() if event not in busy}
    free_own = {event: request for event, (request, whose) in own.items() if whose not in busy}
    removal = Removal(
        events=free | free_own,
        deliveries=[one for one in (*doomed, *own_doomed) if owner.get(one.event, one.event) not in busy],
    )
    await removal.make(batch, forgets_keys=forgets_keys)
    removal.counts["events"] += len(free)
    removal.counts["own_events"] += len(free_own)
    counts: Counter[str] = +removal.counts
    if free:
        await add_to_audit(batch.connection, number, counts, count=len(free), now=batch.moment.now)
    return len(free), sorted({one for one, _ in running})


async def _lock(batch: Batch, events: list[int]) -> dict[int, tuple[int, int]]:
    """Keep claims, results and gates away from these events; return the events about ourselves that tell of them.

    Each with its request, and whose it is. What was looked at before may have changed when the locks are taken.
    """
    own = await _own(batch, events)
    both = [*events, *own]
    found = await batch.connection.fetch(_SQL["orders_and_memories"], both)
    await locks.take(
        batch.connection,
        queues={queue for queue, _ in found if queue is not None},
        memories={memory for _, memory in found if memory is not None},
    )
    await batch.connection.execute(_SQL["lock_waiting"], both)
    return await _own(batch, events)


async def _own(batch: Batch, events: list[int]) -> dict[int, tuple[int, int]]:
    found = await own_events(batch, await deliveries_of(batch, events))
    return {event: of for event, of in found.items() if event not in events}
