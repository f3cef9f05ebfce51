"""Changes that come one at a time: what operators, reloads and lanes ask for."""

from __future__ import annotations

import json

from hookline.daemon.ids import made_at
from hookline.daemon.store.changes import Cancel, DeliveryId, Reject, Replay, Route, SetHealth, SetLane, State
from hookline.daemon.store.gates import Body, Placed, is_plain
from hookline.daemon.store.placing import Coming, Placing
from hookline.daemon.store.rows import (
    BEHIND,
    HOUR,
    NUMBER_OF_STATE,
    delivery_id,
    delivery_number,
    event_id,
    json_or_null,
    micros,
    number_or_none,
)
from hookline.daemon.store.sqlite.accept import accept, add_to_rules, delivery_row, insert_deliveries
from hookline.daemon.store.sqlite.batch import Batch
from hookline.daemon.store.sqlite.gates import insert_placed, place
from hookline.daemon.store.sqlite.orders import leave_queues
from hookline.daemon.store.sqlite.rows import bound, unbound
from hookline.daemon.store.sqlite.statements import run_many, select_many, statements

_SQL = statements("write")
_GATES = statements("gates")
_PENDING, _COLLECTED = NUMBER_OF_STATE[State.PENDING], NUMBER_OF_STATE[State.COLLECTED]
_MAX_DETAIL = 500


def route(batch: Batch, change: Route) -> bool:
    """Route an event; return whether it is there."""
    event = number_or_none("evt", change.event_id)
    found = batch.connection.execute(_SQL["matched_before"], (event,)).fetchone()
    if event is None or found is None:
        return False
    if change.is_first and not found[1]:
        return True
    row = (batch.names.rule_set(change.rules_version), json_or_null(change.matched or None), event)
    batch.connection.execute(_SQL["route_event"], row)
    # Each event once for a rule, however often it is routed, and in the hour in which it came.
    new = set(change.matched) - set(json.loads(found[0] or "[]"))
    add_to_rules(batch.connection, dict.fromkeys(new, (1, event)), micros(made_at(event)) // HOUR)
    numbered = {delivery_number(delivery.id): delivery for delivery in change.deliveries}
    # A change that is repeated finds its own rows.
    for (number,) in select_many(batch.connection, _SQL["known_deliveries"], [(number,) for number in numbered]):
        del numbered[number]
    rows = [
        delivery_row(delivery, number, event, batch.names, batch.moment)
        for number, delivery in numbered.items()
        if is_plain(delivery)
    ]
    insert_deliveries(batch, rows)
    coming = [delivery for delivery in numbered.values() if not is_plain(delivery)]
    if coming:
        body = Body(batch.connection.execute(_GATES["body_size"], (event,)).fetchone()[0])
        place(batch, [Coming(delivery, event, body) for delivery in coming])
    return True


def replay(batch: Batch, change: Replay) -> DeliveryId | None:
    """Make a new delivery out of an old one; return its id, None if there is no old one."""
    old = number_or_none("dlv", change.delivery_id)
    found = batch.connection.execute(_GATES["to_replay"], (old,)).fetchone()
    if found is None:
        return None
    if select_many(batch.connection, _SQL["known_deliveries"], [(delivery_number(change.new_id),)]):
        return change.new_id
    event, step_id, lane_id, lane, order, previous, previous_from, parts_of, is_digest, stands_for = found
    if parts_of is not None:
        # Both act for the same events.
        run_many(batch.connection, _GATES["close_digests"], [(parts_of,)])
    placed = Placed(
        id=change.new_id,
        due_in=change.due_in,
        order=unbound(order),
        previous=unbound(previous),
        previous_from=None if previous_from is None else event_id(previous_from),
        parts_of=None if parts_of is None else delivery_id(parts_of),
        is_digest=bool(is_digest),
        stands_for=0 if parts_of is None else stands_for,
        replay_of=change.delivery_id,
    )
    insert_placed(batch, [Placing(placed=placed, event=event, step_id=step_id, lane_id=lane_id, lane=unbound(lane))])
    return change.new_id


def cancel(batch: Batch, change: Cancel) -> bool:
    """Cancel a delivery that waits; return whether it did."""
    number = number_or_none("dlv", change.delivery_id)
    if number is None:
        return False
    if _end_wait(batch, number, _PENDING) or _end_wait(batch, number, BEHIND):
        leave_queues(batch.connection, [number], now=batch.moment.now)
        run_many(batch.connection, _GATES["close_digests"], [(number,)])
        return True
    opened = batch.connection.execute(_GATES["open_digest_of"], (number,)).fetchone()
    if opened is None or not _end_wait(batch, number, _COLLECTED):
        return False
    digest, members = opened
    batch.connection.execute(_GATES["leave_whole"], (number,))
    batch.connection.execute(_GATES["leave_digest"], (digest,))
    run_many(batch.connection, _GATES["count_parts"], [(digest, -1)])
    if members == 1:
        cancel(batch, Cancel(delivery_id=delivery_id(digest)))
    return True


def _end_wait(batch: Batch, number: int, state: int) -> bool:
    """Cancel the delivery if it stands so; return whether it did."""
    if batch.connection.execute(_SQL["cancel"], (number, state)).rowcount != 1:
        return False
    batch.counters["collected" if state == _COLLECTED else "pending"] -= 1
    batch.counters["cancelled"] += 1
    return True


def set_lane(batch: Batch, change: SetLane) -> None:
    """Hold a lane or release it."""
    batch.connection.execute(_SQL["set_lane"], (bound(change.lane), change.is_held, bound(change.reason)))
    accept(batch, [] if change.own is None else [change.own])


def set_health(batch: Batch, change: SetHealth) -> None:
    """Note whether a lane fails, and what was told of it."""
    lane = batch.names.lane(change.lane)
    if change.is_failing:
        batch.connection.execute(_SQL["set_failing"], (batch.moment.now, change.told, lane))
    else:
        batch.connection.execute(_SQL["set_well"], (lane,))
    accept(batch, [] if change.own is None else [change.own])


def flush_digests(batch: Batch) -> int:
    """Make digests due that are sent when the daemon stops; return how many were not yet."""
    return batch.connection.execute(_GATES["flush_digests"], (batch.moment.now, batch.moment.now)).rowcount


def reject(batch: Batch, change: Reject) -> None:
    """Count refused requests."""
    now = batch.moment.now
    row = (
        bound(change.source),
        change.reason,
        now // HOUR,
        now,
        now,
        change.count,
        bound(change.detail[:_MAX_DETAIL]),
        bound(change.client_ip),
    )
    batch.connection.execute(_SQL["reject"], row)
    batch.counters["rejected"] += change.count
