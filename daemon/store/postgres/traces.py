"""Removing events with every trace of what was in them. In a transaction of the caller's, under its locks."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hookline.daemon.store.changes import Cancel, State
from hookline.daemon.store.cutting import Content, without
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres.operate import cancel
from hookline.daemon.store.postgres.orders import promote
from hookline.daemon.store.postgres.rows import bound, bound_or_null, unbound
from hookline.daemon.store.rows import BEHIND, NUMBER_OF_STATE, STATES, delivery_id, scoped_key_digest

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Batch

_SQL = named_statements(__package__, "deleting")
_OPERATE = named_statements(__package__, "operate")
_PENDING, _RUNNING = NUMBER_OF_STATE[State.PENDING], NUMBER_OF_STATE[State.RUNNING]


class Doomed(NamedTuple):
    """A delivery of an event that is to go."""

    id: int
    event: int
    state: int
    part_of: int | None
    parts_of: int | None

    @property
    def has_ended(self) -> bool:
        """Whether it stands in `deliveries`."""
        return self.state not in {_PENDING, _RUNNING, BEHIND}


@dataclass(slots=True)
class Removal:
    """Events that are to go together."""

    #: Event -> its request.
    events: dict[int, int]
    deliveries: list[Doomed]
    #: How many rows went, by table; for the audit.
    counts: Counter[str] = field(default_factory=Counter)

    async def make(self, batch: Batch, *, forgets_keys: bool) -> None:
        """Remove them."""
        numbers = list(self.events)
        connection = batch.connection
        if forgets_keys:
            await self._forget_keys(batch, numbers)
        cuts = await self._cuts(batch, numbers)
        # Those that act for others have no order.
        await self._delete(batch, [one for one in self.deliveries if one.parts_of is None])
        wholes = {whole for one in self.deliveries for whole in (one.part_of, one.parts_of) if whole is not None}
        for whole in sorted(wholes):
            await self._settle(batch, whole)
        for forget in (
            "forget_types",
            "forget_values",
            "forget_previous_waiting",
            "forget_previous_ended",
            "delete_events",
        ):
            await connection.execute(_SQL[forget], numbers)
        batch.counters["events"] -= len(numbers)
        await connection.execute(_SQL["delete_requests"], sorted(set(self.events.values())))
        await _cut(batch, cuts)

    async def _delete(self, batch: Batch, doomed: Sequence[Doomed]) -> None:
        if not doomed:
            return
        ids, events = [one.id for one in doomed], sorted({one.event for one in doomed})
        await batch.connection.execute(_SQL["delete_attempts"], events, ids)
        await batch.connection.execute(_SQL["delete_ended"], events, ids)
        left = await batch.connection.fetch(_SQL["delete_waiting"], ids)
        await promote(batch, {queue for (queue,) in left if queue is not None})
        batch.counters.subtract(STATES[one.state].value for one in doomed)
        self.counts["deliveries"] += len(doomed)

    async def _settle(self, batch: Batch, whole: int) -> None:
        """See to what acts for parts of which some are gone: it goes with the last of them, and is silent about it."""
        connection = batch.connection
        left, collected, last = await connection.fetchrow(_SQL["parts_left"], whole)
        found = await connection.fetch(_SQL["acting"], [whole])
        acting = [Doomed(number, event, state, None, whole) for _, number, event, state in found]
        homeless = [one for one in acting if one.event in self.events]
        stay = [one for one in acting if left or one.event not in self.events]
        await connection.execute(_SQL["silence_attempts"], [one.event for one in stay], [one.id for one in stay])
        await connection.execute(_SQL["recount_waiting"], whole, left)
        await connection.execute(_SQL["recount_ended"], whole, left)
        await connection.execute(_SQL["recount_digest"], whole, collected)
        if left:
            event = await connection.fetchval(_SQL["event_of_part"], whole, last)
            for one in homeless:
                await connection.execute(
                    _SQL["move_ended" if one.has_ended else "move_waiting"], one.event, one.id, event
                )
                await connection.execute(_SQL["move_attempts"], one.event, one.id, event)
            return
        gone = [one.id for one in homeless]
        await connection.execute(_SQL["forget_summaries"], gone)
        await connection.execute(_OPERATE["close_digests"], gone)
        await self._delete(batch, homeless)
        for one in stay:
            if one.state == _PENDING:
                await cancel(batch, Cancel(delivery_id=delivery_id(one.id)))

    async def _forget_keys(self, batch: Batch, numbers: list[int]) -> None:
        found = await batch.connection.fetch(_SQL["keys_of"], numbers)
        keys = sorted((scoped_key_digest(unbound(source), unbound(key)), number) for number, source, key in found)
        row = [digest for digest, _ in keys], [number for _, number in keys]
        self.counts["keys"] += len(await batch.connection.fetch(_SQL["forget_keys"], *row))

    async def _cuts(self, batch: Batch, numbers: list[int]) -> dict[int, list[tuple[str | int, ...]]]:
        """Return where the events stand in bodies, by request."""
        cuts: dict[int, list[tuple[str | int, ...]]] = defaultdict(list)
        for request, pointer in await batch.connection.fetch(_SQL["places_in"], numbers):
            cuts[request].append(tuple(json.loads(pointer)))
        return cuts


async def _cut(batch: Batch, cuts: dict[int, list[tuple[str | int, ...]]]) -> None:
    """Take the events out of the bodies that others still need."""
    for request, pointers in cuts.items():
        found = await batch.connection.fetchrow(_SQL["shared_request"], request)
        if found is not None:
            content_type, body, document = found
            shared = Content(body=body, content_type=unbound(content_type), document=unbound(document))
            left = without(shared, pointers)
            digest = hashlib.sha256(left.body).digest()
            row = (bound(left.content_type), left.body, bound_or_null(left.document), digest)
            await batch.connection.execute(_SQL["rewrite_request"], request, *row)


async def deliveries_of(batch: Batch, events: Collection[int]) -> list[Doomed]:
    """Return the deliveries of these events."""
    if not events:
        return []
    return [Doomed(*columns) for columns in await batch.connection.fetch(_SQL["deliveries_to_delete"], sorted(events))]


async def own_events(batch: Batch, deliveries: Sequence[Doomed]) -> dict[int, tuple[int, int]]:
    """Return the events about ourselves that tell of these deliveries: each with its request, and whose it is."""
    keys = {scoped_key_digest("hookline", f"delivery.dead/{delivery_id(one.id)}"): one.event for one in deliveries}
    found = await batch.connection.fetch(_SQL["known_own"], list(keys)) if keys else []
    return {number: (request, keys[digest]) for digest, number, request in found}


async def running_for(batch: Batch, deliveries: Sequence[Doomed]) -> list[tuple[int, int]]:
    """Return what runs of these deliveries, or for them, each with the event that has to wait for it."""
    found = [(one.id, one.event) for one in deliveries if one.state == _RUNNING]
    parts = defaultdict(set)
    for one in deliveries:
        if one.part_of is not None:
            parts[one.part_of].add(one.event)
    if parts:
        for whole, number, _, state in await batch.connection.fetch(_SQL["acting"], sorted(parts)):
            if state == _RUNNING:
                found += [(number, event) for event in parts[whole]]
    return found
