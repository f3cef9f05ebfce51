"""Removing events with every trace of what was in them. In a transaction of the caller's."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hookline.daemon.store.changes import Cancel, State
from hookline.daemon.store.cutting import Content, without
from hookline.daemon.store.rows import NUMBER_OF_STATE, STATES, delivery_id, scoped_key_digest
from hookline.daemon.store.sqlite.batch import Batch
from hookline.daemon.store.sqlite.operate import cancel
from hookline.daemon.store.sqlite.orders import leave_queues
from hookline.daemon.store.sqlite.rows import bound, unbound
from hookline.daemon.store.sqlite.statements import run_many, select_many, statements

_SQL = statements("deleting")
_QUEUE = statements("queue")
_GATES = statements("gates")
_PENDING = NUMBER_OF_STATE[State.PENDING]


class Doomed(NamedTuple):
    """A delivery of an event that is to go."""

    id: int
    event: int
    state: int
    part_of: int | None
    parts_of: int | None


@dataclass(slots=True)
class Removal:
    """Events that are to go together."""

    #: Event -> its request.
    events: dict[int, int]
    deliveries: list[Doomed]
    #: How many rows went, by table; for the audit.
    counts: Counter[str] = field(default_factory=Counter)

    def make(self, batch: Batch, *, forgets_keys: bool) -> None:
        """Remove them."""
        rows = [(number,) for number in self.events]
        if forgets_keys:
            self._forget_keys(batch, rows)
        cuts = self._cuts(batch, rows)
        # Those that act for others have no order.
        alone = [one for one in self.deliveries if one.parts_of is None]
        leave_queues(batch.connection, [one.id for one in alone], now=batch.moment.now)
        self._delete(batch, alone)
        wholes = {whole for one in self.deliveries for whole in (one.part_of, one.parts_of) if whole is not None}
        for whole in sorted(wholes):
            self._settle(batch, whole)
        run_many(batch.connection, _SQL["forget_types"], rows)
        run_many(batch.connection, _SQL["forget_values"], rows)
        run_many(batch.connection, _SQL["forget_previous"], rows)
        run_many(batch.connection, _QUEUE["delete_events"], rows)
        batch.counters["events"] -= len(rows)
        run_many(batch.connection, _QUEUE["delete_requests"], [(one,) for one in sorted(set(self.events.values()))])
        _cut(batch, cuts)

    def _delete(self, batch: Batch, doomed: Sequence[Doomed]) -> None:
        rows = [(one.id,) for one in doomed]
        for statement in ("delete_attempts", "delete_extras", "delete_deliveries"):
            run_many(batch.connection, _QUEUE[statement], rows)
        batch.counters.subtract(STATES[one.state].value for one in doomed)
        self.counts["deliveries"] += len(doomed)

    def _settle(self, batch: Batch, whole: int) -> None:
        """See to what acts for parts of which some are gone: it goes with the last of them, and is silent about it."""
        connection = batch.connection
        left, collected, last = connection.execute(_SQL["parts_left"], (whole,)).fetchone()
        acting = [
            Doomed(number, event, state, None, whole) for _, number, event, state in _ask(batch, "acting", [whole])
        ]
        homeless = [one for one in acting if one.event in self.events]
        stay = [one for one in acting if left or one.event not in self.events]
        run_many(connection, _SQL["silence_attempts"], [(one.id,) for one in stay])
        connection.execute(_SQL["recount_parts"], (left, whole))
        connection.execute(_SQL["recount_first"], (left, whole))
        connection.execute(_SQL["recount_digest"], (collected, whole))
        if left:
            for one in homeless:
                connection.execute(_SQL["move_acting"], (last, one.id))
            return
        run_many(connection, _SQL["forget_summaries"], [(one.id,) for one in homeless])
        run_many(connection, _GATES["close_digests"], [(one.id,) for one in homeless])
        self._delete(batch, homeless)
        for one in stay:
            if one.state == _PENDING:
                cancel(batch, Cancel(delivery_id=delivery_id(one.id)))

    def _forget_keys(self, batch: Batch, rows: Sequence[tuple[int]]) -> None:
        found = select_many(batch.connection, _SQL["keys_of"], rows)
        keys = [(scoped_key_digest(unbound(source), unbound(key)), number) for number, source, key in found]
        self.counts["keys"] += run_many(batch.connection, _SQL["forget_keys"], keys)

    def _cuts(self, batch: Batch, rows: Sequence[tuple[int]]) -> dict[int, list[tuple[str | int, ...]]]:
        """Return where the events stand in bodies, by request."""
        cuts: dict[int, list[tuple[str | int, ...]]] = defaultdict(list)
        for request, pointer in select_many(batch.connection, _SQL["places_in"], rows):
            cuts[request].append(tuple(json.loads(pointer)))
        return cuts


def _cut(batch: Batch, cuts: dict[int, list[tuple[str | int, ...]]]) -> None:
    """Take the events out of the bodies that others still need."""
    for request, pointers in cuts.items():
        found = batch.connection.execute(_SQL["shared_request"], (request,)).fetchone()
        if found is not None:
            content_type, body, document = found
            shared = Content(body=body, content_type=unbound(content_type), document=unbound(document))
            left = without(shared, pointers)
            digest = hashlib.sha256(left.body).digest()
            row = (bound(left.content_type), left.body, left.document, digest, request)
            batch.connection.execute(_SQL["rewrite_request"], row)


def deliveries_of(batch: Batch, events: Collection[int]) -> list[Doomed]:
    """Return the deliveries of these events."""
    return [Doomed(*columns) for columns in _ask(batch, "deliveries_to_delete", sorted(events))]


def own_events(batch: Batch, deliveries: Sequence[Doomed]) -> dict[int, tuple[int, int]]:
    """Return the events about ourselves that tell of these deliveries: each with its request, and whose it is."""
    keys = {scoped_key_digest("hookline", f"delivery.dead/{delivery_id(one.id)}"): one.event for one in deliveries}
    found = _ask(batch, "known_own", list(keys))
    return {number: (request, keys[bytes.fromhex(digest)]) for digest, number, request in found}


def running_for(batch: Batch, deliveries: Sequence[Doomed]) -> list[tuple[int, int]]:
    """Return what runs of these deliveries, or for them, each with the event that has to wait for it."""
    runs = NUMBER_OF_STATE[State.RUNNING]
    found = [(one.id, one.event) for one in deliveries if one.state == runs]
    parts = defaultdict(set)
    for one in deliveries:
        if one.part_of is not None:
            parts[one.part_of].add(one.event)
    for whole, number, _, state in _ask(batch, "acting", sorted(parts)):
        if state == runs:
            found += [(number, event) for event in parts[whole]]
    return found


def _ask(batch: Batch, name: str, values: Sequence[int | bytes]) -> list[list[Any]]:
    found = select_many(batch.connection, _SQL[name], [(value,) for value in values])
    return [row for (rows,) in found for row in json.loads(rows)]
