"""Inserting deliveries that have gates, orders or marks: all of a batch with few statements.

Under the locks of their memories' and orders' stripes (`locks.py`), which the caller took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.gates import Known, Memories, OpenDigest, Window
from hookline.daemon.store.named_sql import Row, named_statements
from hookline.daemon.store.placing import Coming, Effects, Placing, ask_all
from hookline.daemon.store.postgres.orders import last_places
from hookline.daemon.store.postgres.rows import bound, bound_or_null, columns, unbound
from hookline.daemon.store.rows import (
    BEHIND,
    NUMBER_OF_STATE,
    delivery_id,
    delivery_number,
    event_id,
    event_number,
    length,
    micros,
    moment,
    queue_number,
)
from hookline.daemon.store.sharing import DUE

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Batch, Connection

_SQL = named_statements(__package__, "gates")
_NEVER_WAITS = frozenset({State.SUPPRESSED, State.COLLECTED})
# Columns of what waits, and of what never did, which has no claim and no order.
_WAITING_COLUMNS, _ENDED_COLUMNS = 21, 16


async def place(batch: Batch, coming: Sequence[Coming]) -> set[int]:
    """Ask the gates, insert what comes of it, and return the events that made a digest full.

    Raises `ValueError` for one that has a token and cannot run yet.
    """
    memories = await _recall(batch.connection, coming)
    effects = ask_all(coming, memories, step=batch.names.step, now=batch.moment.at)
    await insert_placed(batch, effects.placings)
    await _take_effect(batch, effects)
    await _keep(batch.connection, memories, coming)
    return effects.wakes


async def insert_placed(batch: Batch, placings: Sequence[Placing]) -> None:
    """Insert deliveries where they were put; those with an order at the end of their queues."""
    queues = [None if one.placed.order is None else queue_number(one.lane, one.placed.order) for one in placings]
    places = await last_places(batch.connection, [queue for queue in queues if queue is not None])
    waiting: list[Row] = []
    ended: list[Row] = []
    for one, queue in zip(placings, queues, strict=True):
        batch.counters[one.placed.state.value if one.token is None else State.RUNNING.value] += 1
        row = _columns(one, batch.moment.now)
        if one.placed.state in _NEVER_WAITS:
            ended.append(row)
            continue
        state, place, lease_until, node = NUMBER_OF_STATE[one.placed.state], None, None, None
        if queue is not None:
            state = BEHIND if queue in places else state
            place = places[queue] = places.get(queue, 0) + 1
        if one.token is not None:
            state, lease_until, node = NUMBER_OF_STATE[State.RUNNING], batch.moment.lease_until, batch.node
        elif state != BEHIND and not one.placed.due_in:
            batch.news.add(DUE)
        waiting.append((*row[:4], state, *row[5:], one.token, lease_until, node, queue, place))
    if waiting:
        await batch.connection.execute(_SQL["insert_placed"], *columns(waiting, _WAITING_COLUMNS))
    if ended:
        await batch.connection.execute(_SQL["insert_ended"], *columns(ended, _ENDED_COLUMNS))


def _columns(one: Placing, now: int) -> Row:
    """Return what stands in `queue` and in `deliveries`."""
    placed = one.placed
    return (
        delivery_number(placed.id),
        one.event,
        one.step_id,
        one.lane_id,
        NUMBER_OF_STATE[placed.state],
        now + length(placed.due_in),
        _number(placed.replay_of),
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


async def count_parts(batch: Batch, counted: Counter[int]) -> None:
    """Let deliveries stand for so many more, wherever they are by now."""
    found = await batch.connection.fetch(_SQL["count_parts"], list(counted), list(counted.values()))
    ended = counted.keys() - {row[0] for row in found}
    if ended:
        numbers = sorted(ended)
        await batch.connection.execute(_SQL["count_parts_of_ended"], numbers, [counted[number] for number in numbers])


async def _take_effect(batch: Batch, effects: Effects) -> None:
    connection = batch.connection
    if effects.counted:
        await count_parts(batch, effects.counted)
    if effects.moved:
        moved = await connection.fetch(_SQL["move_summaries"], list(effects.moved), list(effects.moved.values()))
        for number, old, event, tries in moved:
            if tries:
                await connection.execute(_SQL["move_attempts"], old, number, event)
    if effects.full:
        await connection.execute(_SQL["make_due"], sorted(effects.full), batch.moment.now)
        batch.news.add(DUE)


async def _recall(connection: Connection, coming: Sequence[Coming]) -> Memories:
    """Read what the gates of these deliveries remember."""
    memories = Memories()
    changed = sorted({one.new.changed.memory for one in coming if one.new.changed})
    once = sorted({one.new.once.memory for one in coming if one.new.once})
    digest = sorted({one.new.digest.memory for one in coming if one.new.digest})
    if changed:
        for memory, value, touched_at, event in await connection.fetch(_SQL["known_values"], changed):
            memories.values[memory] = Known(
                unbound(value), moment(touched_at), None if event is None else event_id(event)
            )
    if once:
        for memory, until, first, summary in await connection.fetch(_SQL["known_windows"], once):
            memories.windows[memory] = Window(
                moment(until), delivery_id(first), None if summary is None else delivery_id(summary)
            )
    if digest:
        for memory, number, flush, members, size in await connection.fetch(_SQL["known_digests"], digest):
            memories.digests[memory] = OpenDigest(delivery_id(number), flush, members, size)
    return memories


async def _keep(connection: Connection, memories: Memories, coming: Sequence[Coming]) -> None:
    """Write what the gates remember now."""
    values = [
        (
            memory,
            bound(known.value),
            micros(known.touched_at),
            None if known.event is None else event_number(known.event),
        )
        for memory, known in sorted(memories.values.items())
    ]
    windows = [
        (memory, micros(window.until), delivery_number(window.first), _number(window.summary))
        for memory, window in sorted(memories.windows.items())
    ]
    digests = [
        (memory, delivery_number(digest.id), digest.flush_on_stop, digest.members, digest.size)
        for memory, digest in sorted(memories.digests.items())
    ]
    closed = {one.new.digest.memory for one in coming if one.new.digest} - memories.digests.keys()
    if values:
        await connection.execute(_SQL["keep_values"], *columns(values, len(values[0])))
    if windows:
        await connection.execute(_SQL["keep_windows"], *columns(windows, len(windows[0])))
    if closed:
        await connection.execute(_SQL["forget_digests"], sorted(closed))
    if digests:
        await connection.execute(_SQL["keep_digests"], *columns(digests, len(digests[0])))
