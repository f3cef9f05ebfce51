"""What the dispatcher asks: claim, renew, free, wait. Runs on the writing connection's thread, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from hookline.daemon.ids import made_at
from hookline.daemon.store.changes import Attempt, DeliveryId, Lane, Outcome, State, Token
from hookline.daemon.store.port import Claimed
from hookline.daemon.store.sqlite_rows import (
    NUMBER_OF_STATE,
    attempt_columns,
    bound,
    delivery_id,
    event_id,
    length,
    micros,
    moment,
    number_or_none,
    unbound,
)
from hookline.daemon.store.sqlite_statements import Row, run_many, statements
from hookline.daemon.store.sqlite_writer import SqliteWriter
from hookline.rules import EventId

#: A delivery that was running when its process died this often is not tried again: it may be what kills it.
CRASHES_UNTIL_DEAD = 3
#: A lease that never ends before this: for "all that run".
FOR_EVER = (1 << 63) - 1

_SQL = statements("sqlite_queue")


def claim(
    writer: SqliteWriter, room: Mapping[Lane, int], tokens: Sequence[int], now: datetime, lease: timedelta
) -> list[Claimed]:
    """Claim due deliveries, longest due first, as many as there are tokens at most."""
    at = micros(now)
    with writer.transaction() as counters:
        due = [
            (lane, row)
            for lane, count in room.items()
            if count > 0
            for row in writer.connection.execute(_SQL["due"], (bound(lane), at, min(count, len(tokens)))).fetchall()
        ]
        due.sort(key=lambda found: (found[1][3], found[1][0]))
        claimed = [_claimed(lane, row, Token(token)) for (lane, row), token in zip(due, tokens, strict=False)]
        until = at + length(lease)
        rows = [(row[0], at, token, until) for (_, row), token in zip(due, tokens, strict=False)]
        run_many(writer.connection, _SQL["claim"], rows)
        counters["pending"] -= len(rows)
        counters["running"] += len(rows)
    return claimed


def _claimed(lane: Lane, row: Row, token: Token) -> Claimed:
    number, event, attempts, _, rule, step, destination = row
    return Claimed(
        id=delivery_id(number),
        token=token,
        event_id=event_id(event),
        rule=unbound(rule),
        step=unbound(step),
        lane=lane,
        destination=unbound(destination),
        attempts=attempts,
        created_at=made_at(number),
    )


def renew(writer: SqliteWriter, tokens: Mapping[DeliveryId, Token], now: datetime, lease: timedelta) -> set[DeliveryId]:
    """Extend leases; return those whose token was still good."""
    until = micros(now) + length(lease)
    with writer.transaction():
        return {
            written
            for written, token in tokens.items()
            if writer.connection.execute(_SQL["renew"], (until, number_or_none("dlv", written), token)).rowcount == 1
        }


def free(writer: SqliteWriter, now: datetime, *, ended_by: int, limit: int) -> int:
    """End at most `limit` claims whose lease ended by `ended_by` (FOR_EVER: all). A crash spends no attempt."""
    at = micros(now)
    with writer.transaction() as counters:
        lost = writer.connection.execute(_SQL["lost"], (ended_by, limit)).fetchall()
        ended: list[Row] = []
        attempts: list[Row] = []
        for number, tried, crashes, began in lost:
            state = State.DEAD if crashes + 1 >= CRASHES_UNTIL_DEAD else State.PENDING
            ended.append((number, NUMBER_OF_STATE[state], at, 0, 1))
            attempt = Attempt(
                number=tried + 1,
                started_at=moment(began),
                duration=timedelta(microseconds=max(0, at - began)),
                outcome=Outcome.CRASHED,
                note="the process that ran it ended; whether it was sent is not known",
            )
            attempts.append((number, tried + crashes, *attempt_columns(attempt)))
            counters[state.value] += 1
        counters["running"] -= len(lost)
        writer.end_claims(ended, attempts)
    return len(lost)


def waiting(writer: SqliteWriter) -> dict[Lane, datetime]:
    """Return for each lane that waits and is not held when its first delivery is due."""
    return {Lane(unbound(name)): moment(first) for name, first in writer.connection.execute(_SQL["waiting"]).fetchall()}


def held(writer: SqliteWriter) -> dict[Lane, str]:
    """Return the held lanes and why."""
    return {Lane(unbound(name)): unbound(reason) for name, reason in writer.connection.execute(_SQL["held"]).fetchall()}


def unrouted(writer: SqliteWriter, *, limit: int) -> list[EventId]:
    """Return events that are yet to be routed, oldest first."""
    return [event_id(number) for (number,) in writer.connection.execute(_SQL["unrouted"], (limit,)).fetchall()]
