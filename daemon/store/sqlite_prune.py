"""Retention, in transactions small enough that nobody waits for them. Runs on the writing connection's thread."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hookline.daemon.store.sqlite_rows import STATES
from hookline.daemon.store.sqlite_statements import run_many, statements
from hookline.daemon.store.sqlite_writer import SqliteWriter

#: So many rows in one transaction take about 10 ms (RELIABILITY A15).
ROWS_AT_ONCE = 1_000
#: How many dedupe keys are looked at in one go, and how many events.
KEYS_AT_ONCE = 10_000
EVENTS_AT_ONCE = 200

_SQL = statements("sqlite_queue")
_HIGHEST_KEY = b"\xff" * 17


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one look at a table did: how many rows it removed, and where the next one begins; None at the end."""

    removed: int
    following: int | bytes | None


def prune_keys(writer: SqliteWriter, *, after: bytes, older_than: int, room: int) -> Stretch:
    """Remove keys of events below `older_than` from the stretch after `after`."""
    end = writer.connection.execute(_SQL["end_of_stretch"], (after, KEYS_AT_ONCE - 1)).fetchone()
    last = _HIGHEST_KEY if end is None else end[0]
    most = min(room, ROWS_AT_ONCE)
    with writer.transaction():
        removed = writer.connection.execute(_SQL["delete_keys"], (after, last, older_than, most)).rowcount
    if removed == most:
        return Stretch(removed, after)
    return Stretch(removed, None if end is None else last)


def prune_events(writer: SqliteWriter, *, after: int, older_than: int, dead_before: int, room: int) -> Stretch:
    """Remove finished events below `older_than`, with all that hangs on them, from the stretch after `after`.

    Dead letters stay, and their events with them, unless they died before `dead_before`.
    """
    connection = writer.connection
    room = min(room, ROWS_AT_ONCE)
    with writer.transaction() as counters:
        query = (dead_before, dead_before, after, older_than, EVENTS_AT_ONCE)
        stretch = json.loads(connection.execute(_SQL["old_events"], query).fetchone()[0])
        following: int | None = stretch[-1][0] if len(stretch) == EVENTS_AT_ONCE else None
        events: list[tuple[int]] = []
        requests: set[int] = set()
        deliveries: list[tuple[int]] = []
        for number, request, count, must_stay in stretch:
            left = room - len(events) - len(deliveries)
            if must_stay:
                continue
            if left == 0:
                following = after
                break
            # Deliveries before their event: what the limit cuts in two is found again by the next call.
            found = json.loads(connection.execute(_SQL["deliveries_of"], (number, left)).fetchone()[0]) if count else []
            deliveries += [(delivery,) for delivery, _ in found]
            for _, state in found:
                counters[STATES[state].value] -= 1
            if count < left:
                events.append((number,))
                requests.add(request)
            else:
                following = after
                break
        run_many(connection, _SQL["delete_attempts"], deliveries)
        run_many(connection, _SQL["delete_extras"], deliveries)
        run_many(connection, _SQL["delete_deliveries"], deliveries)
        run_many(connection, _SQL["delete_events"], events)
        run_many(connection, _SQL["delete_requests"], [(request,) for request in sorted(requests)])
        counters["events"] -= len(events)
    return Stretch(len(events) + len(deliveries), following)


def prune_hours(writer: SqliteWriter, *, before_hour: int, room: int) -> int:
    """Remove what was refused, received, matched and tried before an hour (since 1970)."""
    room = min(room, ROWS_AT_ONCE)
    removed = 0
    with writer.transaction():
        for statement in ("delete_rejections", "delete_hours", "delete_rule_hours", "delete_lane_hours"):
            removed += writer.connection.execute(_SQL[statement], (before_hour, room - removed)).rowcount
    return removed


def prune_memories(writer: SqliteWriter, *, over_by: int, untouched_since: int, room: int) -> int:
    """Remove what `once` and `changed` need no longer remember."""
    room = min(room, ROWS_AT_ONCE)
    with writer.transaction():
        removed = writer.connection.execute(_SQL["delete_windows"], (over_by, room)).rowcount
        removed += writer.connection.execute(_SQL["delete_values"], (untouched_since, room - removed)).rowcount
    return removed
