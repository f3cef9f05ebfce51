"""Changes that come one at a time: what operators, reloads and lanes ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

from hookline.daemon.ids import made_at
from hookline.daemon.store.changes import (
    Accept,
    Answer,
    Audit,
    Cancel,
    Change,
    DeliveryId,
    DropToken,
    FlushDigests,
    KeepToken,
    Lane,
    Record,
    Reject,
    Replay,
    Route,
    SetHealth,
    SetLane,
    SetSourceState,
    State,
    UseToken,
)
from hookline.daemon.store.gates import Body, Placed, is_plain
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.placing import Coming, Placing
from hookline.daemon.store.postgres.accept import accept, add_to_rules, delivery_row, insert_deliveries
from hookline.daemon.store.postgres.access import change_access
from hookline.daemon.store.postgres.audit import audit
from hookline.daemon.store.postgres.breakers import closed
from hookline.daemon.store.postgres.gates import insert_placed, place
from hookline.daemon.store.postgres.nodes import raise_revision
from hookline.daemon.store.postgres.orders import promote
from hookline.daemon.store.postgres.rows import bound, matched_from, names_or_null, unbound
from hookline.daemon.store.rows import (
    HOUR,
    delivery_id,
    delivery_number,
    event_id,
    micros,
    number_or_none,
    queue_number,
)

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Batch, Connection

_SQL = named_statements(__package__, "operate")
_MAX_DETAIL = 500


async def prepare(connection: Connection, changes: Sequence[Change]) -> tuple[set[int], set[str]]:
    """Return the orders and memories that cancelling and repeating touch: their locks are taken with all others.

    To be asked before anything else in the transaction: it keeps retention out where that has to wait.
    """
    if any(isinstance(change, Route | Replay) for change in changes):
        await connection.execute(_SQL["share_retention"])
    named = [change.delivery_id for change in changes if isinstance(change, Cancel | Replay)]
    numbers = [number for written in named if (number := number_or_none("dlv", written)) is not None]
    if not numbers:
        return set(), set()
    queues: set[int] = set()
    memories: set[str] = set()
    for queue, lane, order, memory in await connection.fetch(_SQL["orders_and_memories"], numbers):
        if memory is not None:
            memories.add(memory)
        else:
            queues.add(queue if order is None else queue_number(Lane(unbound(lane)), unbound(order)))
    return queues, memories


async def make_one(batch: Batch, change: Change) -> Answer:
    """Make a change and answer it, under the locks that it needs; its names are numbered."""
    answer: Answer = None
    match change:
        case Route():
            answer = await route(batch, change)
        case Replay():
            answer = await replay(batch, change)
        case Cancel():
            answer = await cancel(batch, change)
        case SetLane():
            await set_lane(batch, change)
        case SetHealth():
            await set_health(batch, change)
        case FlushDigests():
            answer = await flush_digests(batch)
        case Reject():
            await reject(batch, change)
        case SetSourceState() | KeepToken() | UseToken() | DropToken():
            answer = await change_access(batch, change)
        case Audit():
            await audit(batch.connection, change, batch.moment.now)
        case Accept() | Record():
            raise TypeError("these are made in runs")
        case _:
            assert_never(change)
    return answer


async def route(batch: Batch, change: Route) -> bool:
    """Route an event; return whether it is there."""
    event = number_or_none("evt", change.event_id)
    found = await batch.connection.fetchrow(_SQL["matched_before"], event)
    if event is None or found is None:
        return False
    if change.is_first and not found["is_unrouted"]:
        return True
    rule_set = batch.names.rule_set(change.rules_version)
    await batch.connection.execute(_SQL["route_event"], event, rule_set, names_or_null(change.matched))
    # Each event once for a rule, however often it is routed, and in the hour in which it came.
    new = set(change.matched) - set(matched_from(found["matched"]))
    await add_to_rules(batch, dict.fromkeys(new, (1, event)), micros(made_at(event)) // HOUR)
    numbered = {delivery_number(delivery.id): delivery for delivery in change.deliveries}
    # A change that is repeated finds its own rows.
    for row in await batch.connection.fetch(_SQL["deliveries_of_event"], event):
        numbered.pop(row["id"], None)
    rows = [delivery_row(batch, delivery, number, event) for number, delivery in numbered.items() if is_plain(delivery)]
    await insert_deliveries(batch, rows)
    coming = [delivery for delivery in numbered.values() if not is_plain(delivery)]
    if coming:
        body = Body(await batch.connection.fetchval(_SQL["body_size"], event))
        await place(batch, [Coming(delivery, event, body) for delivery in coming])
    return True


async def replay(batch: Batch, change: Replay) -> DeliveryId | None:
    """Make a new delivery out of an old one; return its id, None if there is no old one."""
    old = number_or_none("dlv", change.delivery_id)
    found = await batch.connection.fetchrow(_SQL["to_replay"], old)
    if found is None:
        return None
    if await batch.connection.fetchval(_SQL["is_known"], delivery_number(change.new_id)):
        return change.new_id
    event, step_id, lane_id, lane, order, previous, previous_from, parts_of, is_digest, stands_for = found
    if parts_of is not None:
        # Both act for the same events.
        await batch.connection.execute(_SQL["close_digests"], [parts_of])
    placed = Placed(
        id=change.new_id,
        due_in=change.due_in,
        order=unbound(order),
        previous=unbound(previous),
        previous_from=None if previous_from is None else event_id(previous_from),
        parts_of=None if parts_of is None else delivery_id(parts_of),
        is_digest=is_digest,
        stands_for=0 if parts_of is None else stands_for,
        replay_of=change.delivery_id,
    )
    placing = Placing(placed=placed, event=event, step_id=step_id, lane_id=lane_id, lane=Lane(unbound(lane)))
    await insert_placed(batch, [placing])
    return change.new_id


async def cancel(batch: Batch, change: Cancel) -> bool:
    """Cancel a delivery that waits; return whether it did."""
    number = number_or_none("dlv", change.delivery_id)
    if number is None:
        return False
    connection = batch.connection
    waited = await connection.fetchrow(_SQL["cancel_waiting"], number)
    if waited is not None:
        _count(batch, State.PENDING)
        if waited["order_queue"] is not None:
            await promote(batch, [waited["order_queue"]])
        await connection.execute(_SQL["close_digests"], [number])
        return True
    collected = await connection.fetchrow(_SQL["cancel_collected"], number)
    if collected is None:
        return False
    _count(batch, State.COLLECTED)
    digest, members = collected
    await connection.execute(_SQL["leave_digest"], digest)
    await connection.execute(_SQL["leave_whole"], digest)
    if members == 1:
        await cancel(batch, Cancel(delivery_id=delivery_id(digest)))
    return True


def _count(batch: Batch, before: State) -> None:
    batch.counters[before.value] -= 1
    batch.counters[State.CANCELLED.value] += 1


async def set_lane(batch: Batch, change: SetLane) -> None:
    """Hold a lane or release it; tell of it if it was not so before."""
    lane = batch.names.lane(change.lane)
    found = await batch.connection.fetchval(_SQL["set_lane"], lane, change.is_held, bound(change.reason))
    if not change.is_held:
        await closed(batch, [lane])
    if found is not None:
        await accept(batch, [] if change.own is None else [change.own])
        await raise_revision(batch)


async def set_health(batch: Batch, change: SetHealth) -> None:
    """Note whether a lane fails, and what was told of it; tell it if no other node did."""
    lane = batch.names.lane(change.lane)
    if change.is_failing:
        found = await batch.connection.fetchval(_SQL["set_failing"], lane, batch.moment.now, change.told)
    else:
        found = await batch.connection.fetchval(_SQL["set_well"], lane)
    if found is not None:
        await accept(batch, [] if change.own is None else [change.own])
        await raise_revision(batch)


async def flush_digests(batch: Batch) -> int:
    """Make digests due that are sent when the daemon stops; return how many were not yet."""
    found = await batch.connection.fetch(_SQL["flush_digests"], batch.moment.now)
    if found:
        batch.news.add("due")
    return len(found)


async def reject(batch: Batch, change: Reject) -> None:
    """Count refused requests."""
    now = batch.moment.now
    row = (
        bound(change.source),
        change.reason,
        now // HOUR,
        now,
        change.count,
        bound(change.detail[:_MAX_DETAIL]),
        bound(change.client_ip),
    )
    await batch.connection.execute(_SQL["reject"], *row)
    batch.counters["rejected"] += change.count
