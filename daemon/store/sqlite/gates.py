"""Inserting deliveries that have gates, orders or marks: all of a batch with few statements."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.gates import Known, Memories, OpenDigest, Placed, Window
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.placing import Coming, Effects, Placing, ask_all
from hookline.daemon.store.rows import (
    BEHIND,
    NUMBER_OF_STATE,
    STATES,
    delivery_id,
    delivery_number,
    event_id,
    event_number,
    length,
    micros,
    moment,
    queue_number,
)
from hookline.daemon.store.sqlite.batch import Batch
from hookline.daemon.store.sqlite.orders import last_places
from hookline.daemon.store.sqlite.rows import bound, bound_or_null
from hookline.daemon.store.sqlite.statements import run_many, select_many, statements

_SQL = statements("gates")
_RUNNING = NUMBER_OF_STATE[State.RUNNING]


def place(batch: Batch, coming: Sequence[Coming]) -> set[int]:
    """Ask the gates, insert what comes of it, and return the events that made a digest full.

    Raises `ValueError` for one that has a token and cannot run yet.
    """
    memories = _recall(batch.connection, coming)
    effects = ask_all(coming, memories, step=batch.names.step, now=batch.moment.at)
    insert_placed(batch, effects.placings)
    _take_effect(batch, effects)
    _keep(batch.connection, memories, coming)
    return effects.wakes


def insert_placed(batch: Batch, placings: Sequence[Placing]) -> None:
    """Insert deliveries where they were put; those with an order at the end of their queues."""
    queues = [None if one.placed.order is None else queue_number(one.lane, one.placed.order) for one in placings]
    places = last_places(batch.connection, [queue for queue in queues if queue is not None])
    rows: list[Row] = []
    extras: list[Row] = []
    ordered: list[Row] = []
    for one, queue in zip(placings, queues, strict=True):
        number, state = delivery_number(one.placed.id), NUMBER_OF_STATE[one.placed.state]
        if queue is not None:
            if queue in places:
                state = BEHIND
            places[queue] = places.get(queue, 0) + 1
            ordered.append((number, queue, places[queue], one.lane_id))
        lease_until = None
        if one.token is not None:
            state, lease_until = _RUNNING, batch.moment.lease_until
        due_at = batch.moment.now + length(one.placed.due_in)
        replay_of = _number(one.placed.replay_of)
        rows.append((number, one.event, one.step_id, one.lane_id, state, due_at, one.token, lease_until, replay_of))
        extras.append(_extras(one.placed, number))
        batch.counters[STATES[state].value] += 1
    run_many(batch.connection, statements("write")["insert_deliveries"], rows)
    run_many(batch.connection, _SQL["insert_extras"], extras)
    run_many(batch.connection, _SQL["insert_ordered"], ordered)


def _extras(placed: Placed, number: int) -> Row:
    return (
        number,
        bound_or_null(placed.order),
        bound_or_null(placed.previous),
        None if placed.previous_from is None else event_number(placed.previous_from),
        bound(placed.why),
        _number(placed.part_of),
        _number(placed.parts_of),
        placed.is_digest,
        placed.stands_for,
        placed.is_replay,
    )


def _number(written: DeliveryId | None) -> int | None:
    return None if written is None else delivery_number(written)


def _take_effect(batch: Batch, effects: Effects) -> None:
    run_many(batch.connection, _SQL["count_parts"], list(effects.counted.items()))
    run_many(batch.connection, _SQL["move_summaries"], list(effects.moved.items()))
    run_many(batch.connection, _SQL["make_due"], [(number, batch.moment.now) for number in effects.full])


def _recall(connection: sqlite3.Connection, coming: Sequence[Coming]) -> Memories:
    """Read what the gates of these deliveries remember."""
    changed = {one.new.changed.memory for one in coming if one.new.changed}
    once = {one.new.once.memory for one in coming if one.new.once}
    digest = {one.new.digest.memory for one in coming if one.new.digest}
    return Memories(
        values={
            memory: Known(value, moment(touched_at), None if event is None else event_id(event))
            for memory, value, touched_at, event in _known(connection, "known_values", changed)
        },
        windows={
            memory: Window(moment(until), delivery_id(first), None if summary is None else delivery_id(summary))
            for memory, until, first, summary in _known(connection, "known_windows", once)
        },
        digests={
            memory: OpenDigest(delivery_id(number), bool(flush), members, size)
            for memory, number, flush, members, size in _known(connection, "known_digests", digest)
        },
    )


def _known(connection: sqlite3.Connection, name: str, memories: Collection[str]) -> Iterable[list[Any]]:
    found = select_many(connection, _SQL[name], [(memory,) for memory in sorted(memories)])
    return [row for (rows,) in found for row in json.loads(rows)]


def _keep(connection: sqlite3.Connection, memories: Memories, coming: Sequence[Coming]) -> None:
    """Write what the gates remember now."""
    values = [
        (memory, known.value, micros(known.touched_at), None if known.event is None else event_number(known.event))
        for memory, known in memories.values.items()
    ]
    windows = [
        (memory, micros(window.until), delivery_number(window.first), _number(window.summary))
        for memory, window in memories.windows.items()
    ]
    digests = [
        (memory, delivery_number(digest.id), digest.flush_on_stop, digest.members, digest.size)
        for memory, digest in memories.digests.items()
    ]
    closed = {one.new.digest.memory for one in coming if one.new.digest} - memories.digests.keys()
    run_many(connection, _SQL["keep_values"], values)
    run_many(connection, _SQL["keep_windows"], windows)
    run_many(connection, _SQL["forget_digests"], [(memory,) for memory in sorted(closed)])
    run_many(connection, _SQL["keep_digests"], digests)
