"""How each change changes the in-memory store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from hookline.daemon.ids import decode
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
    NewDelivery,
    Outcome,
    Record,
    Refused,
    Reject,
    Replay,
    Route,
    SetHealth,
    SetLane,
    SetSourceState,
    State,
    UseToken,
)
from hookline.daemon.store.gates import Body, Placed, check_token
from hookline.daemon.store.memory.accept import accept, count, count_matches, insert, place
from hookline.daemon.store.memory.access import change_access
from hookline.daemon.store.memory.audit import audit
from hookline.daemon.store.memory.rows import DeliveryRow
from hookline.daemon.store.memory.tables import Tables, event_made_at, hour_of
from hookline.daemon.store.stored import Health, StoredRejection

_MAX_DETAIL = 500


def make(tables: Tables, change: Change) -> Answer:
    """Make one change and answer it; a refused one changes nothing."""
    return _refusal(change, tables) or _make(tables, change)


def _make(tables: Tables, change: Change) -> Answer:
    answer: Answer = None
    match change:
        case Accept():
            answer = accept(tables, change)
        case Record():
            answer = _record(tables, change)
        case Route():
            answer = _route(tables, change)
        case Replay():
            answer = _replay(tables, change)
        case Cancel():
            answer = cancel(tables, change)
        case SetLane():
            _set_lane(tables, change)
        case SetHealth():
            _set_health(tables, change)
        case FlushDigests():
            answer = _flush(tables)
        case Reject():
            _reject(tables, change)
        case SetSourceState() | KeepToken() | UseToken() | DropToken():
            answer = change_access(tables, change)
        case Audit():
            audit(tables, change)
        case _:
            assert_never(change)
    return answer


def _end(tables: Tables, row: DeliveryRow, state: State, *, due_at: datetime) -> None:
    """End a delivery's claim or its wait; the next of its order, if it has ended for good, is no longer behind."""
    row.end(state, now=tables.clock(), due_at=due_at)
    if row.order is None or row.has_work_left:
        return
    queue = tables.queues[row.lane, row.order]
    was_head = queue[0] == row.id
    queue.remove(row.id)
    if not queue:
        del tables.queues[row.lane, row.order]
    elif was_head:
        following = tables.deliveries[queue[0]]
        following.due_at = max(following.due_at, tables.clock())


def _record(tables: Tables, change: Record) -> bool:
    row = tables.fenced(change.delivery_id, change.token)
    if row is None:
        return False
    if change.attempt is not None:
        is_crash = change.attempt.outcome is Outcome.CRASHED
        row.crashes += is_crash
        row.attempts += not is_crash
        row.tries.append(change.attempt)
        _count_attempt(tables, row.lane, change.attempt.outcome)
    _end(tables, row, change.state, due_at=tables.clock() + change.due_in)
    if change.own is not None:
        accept(tables, change.own)
    return True


def _count_attempt(tables: Tables, lane: Lane, outcome: Outcome) -> None:
    hour = (lane, hour_of(tables.clock()))
    delivered, failed = tables.lane_hours.get(hour, (0, 0))
    is_delivered = outcome is Outcome.DELIVERED
    tables.lane_hours[hour] = (delivered + is_delivered, failed + (not is_delivered))


def _route(tables: Tables, change: Route) -> bool:
    stored = tables.events.get(change.event_id)
    if stored is None:
        return False
    if change.is_first and not stored.is_unrouted:
        return True
    new = set(change.matched) - set(stored.matched)
    count_matches(tables, new, change.event_id, event_made_at(change.event_id))
    tables.events[change.event_id] = replace(
        stored, rules_version=change.rules_version, matched=change.matched, is_unrouted=False
    )
    insert(tables, change.event_id, change.deliveries, Body(len(stored.body)))
    return True


def _replay(tables: Tables, change: Replay) -> DeliveryId | None:
    old = tables.deliveries.get(change.delivery_id)
    if old is None:
        return None
    if change.new_id in tables.deliveries:
        return change.new_id
    # Both act for the same events.
    tables.close_digest(old.parts_of)
    again = NewDelivery(id=change.new_id, rule=old.rule, step=old.step, lane=old.lane, destination=old.destination)
    placed = Placed(
        id=change.new_id,
        due_in=change.due_in,
        order=old.order,
        previous=old.previous,
        previous_from=old.previous_from,
        parts_of=old.parts_of,
        is_digest=old.is_digest,
        stands_for=0 if old.parts_of is None else old.stands_for,
        replay_of=old.id,
    )
    place(tables, placed, again, old.event_id)
    return change.new_id


def cancel(tables: Tables, change: Cancel) -> bool:
    """Cancel a delivery that waits; return whether it did."""
    row = tables.deliveries.get(change.delivery_id)
    if row is None:
        return False
    if row.state is State.COLLECTED:
        return _take_out(tables, row)
    if row.state is not State.PENDING:
        return False
    _end(tables, row, State.CANCELLED, due_at=row.due_at)
    tables.close_digest(row.id)
    return True


def _take_out(tables: Tables, row: DeliveryRow) -> bool:
    """Cancel a collected delivery while its digest still takes events; with its last one the digest goes."""
    opened = next((one for one in tables.memories.digests.values() if one.id == row.part_of), None)
    if opened is None:
        return False
    row.end(State.CANCELLED, now=tables.clock(), due_at=row.due_at)
    row.part_of = None
    opened.members -= 1
    count(tables, opened.id, -1)
    if not opened.members:
        cancel(tables, Cancel(delivery_id=opened.id))
    return True


def _set_lane(tables: Tables, change: SetLane) -> None:
    if change.is_held:
        tables.held[change.lane] = change.reason
    else:
        tables.held.pop(change.lane, None)
    if change.own is not None:
        accept(tables, change.own)


def _set_health(tables: Tables, change: SetHealth) -> None:
    if change.is_failing:
        known = tables.failing.get(change.lane)
        tables.failing[change.lane] = Health(since=known.since if known else tables.clock(), told=change.told)
    else:
        tables.failing.pop(change.lane, None)
    if change.own is not None:
        accept(tables, change.own)


def _flush(tables: Tables) -> int:
    now = tables.clock()
    rows = [tables.deliveries[opened.id] for opened in tables.memories.digests.values() if opened.flush_on_stop]
    early = [row for row in rows if row.due_at > now]
    for row in early:
        row.due_at = now
    return len(early)


def _reject(tables: Tables, change: Reject) -> None:
    now = tables.clock()
    bucket = (change.source, change.reason, hour_of(now))
    known = tables.rejections.get(bucket)
    tables.rejections[bucket] = StoredRejection(
        source=change.source,
        reason=change.reason,
        first_at=known.first_at if known else now,
        last_at=now,
        count=change.count + (known.count if known else 0),
        detail=change.detail[:_MAX_DETAIL],
        client_ip=change.client_ip,
    )


def _refusal(change: Change, tables: Tables) -> Refused | None:
    """Return why no store can make this change; None if it can."""
    try:
        match change:
            case Accept():
                _check_events(change, tables)
            case Route():
                _check_deliveries(change.deliveries)
            case Replay():
                decode("dlv", change.new_id)
            case Record(state=State.RUNNING):
                return Refused("Record: a result cannot leave its delivery running")
            case Record(own=Accept() as own) | SetLane(own=Accept() as own) | SetHealth(own=Accept() as own):
                _check_events(own, tables)
    except ValueError as error:
        return Refused(f"{type(change).__name__}: {error}")
    return None


def _check_events(change: Accept, tables: Tables) -> None:
    for new in change.events:
        decode("evt", new.event.id)
        known = tables.keys.get((new.event.source, new.event.key))
        is_repeated = known is not None and known.event_id == new.event.id
        _check_deliveries(new.deliveries)
        for delivery in new.deliveries:
            if delivery.id in tables.deliveries and not is_repeated:
                raise ValueError(f"{delivery.id} is there already")


def _check_deliveries(deliveries: Iterable[NewDelivery]) -> None:
    for new in deliveries:
        decode("dlv", new.id)
        check_token(new)
