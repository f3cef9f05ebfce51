"""What the dispatcher asks: claim, renew, lost, waiting. Runs on the writing connection's thread, and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain

from hookline.daemon.ids import made_at
from hookline.daemon.store.changes import DeliveryId, Lane, Token
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.rows import delivery_id, event_id, event_number, length, micros, moment, number_or_none
from hookline.daemon.store.sqlite.rows import bound, unbound
from hookline.daemon.store.sqlite.statements import run_many, statements
from hookline.daemon.store.sqlite.writer import SqliteWriter
from hookline.daemon.store.stored import Claimed, Health
from hookline.rules import EventId

_SQL = statements("queue")
_GATES = statements("gates")


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
        digests = [(row[11],) for (_, row), _ in zip(due, tokens, strict=False) if row[10]]
        run_many(writer.connection, _GATES["close_digests"], digests)
        counters["pending"] -= len(rows)
        counters["running"] += len(rows)
    return claimed


def _claimed(lane: Lane, row: Row, token: Token) -> Claimed:
    number, event, attempts, _, crashes, rule, step, destination, *rest = row
    order, previous, is_digest, parts_of, stands_for, is_replay = rest
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
        crashes=crashes,
        order=unbound(order),
        previous=unbound(previous),
        is_digest=bool(is_digest),
        suppressed=0 if parts_of is None or is_digest else stands_for,
        is_replay=bool(is_replay),
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


def end_leases(writer: SqliteWriter) -> None:
    """End the leases of all that run."""
    with writer.transaction():
        writer.connection.execute(_SQL["end_leases"])


def lost(writer: SqliteWriter, now: datetime, *, limit: int) -> list[Claimed]:
    """Return at most `limit` running deliveries whose lease has ended."""
    found = writer.connection.execute(_SQL["lost"], (micros(now), limit)).fetchall()
    return [_claimed(Lane(unbound(lane)), row, Token(token)) for *row, token, lane in found]


def waiting(writer: SqliteWriter) -> dict[Lane, datetime]:
    """Return for each lane that waits and is not held when its first delivery is due."""
    return {Lane(unbound(name)): moment(first) for name, first in writer.connection.execute(_SQL["waiting"]).fetchall()}


def held(writer: SqliteWriter) -> dict[Lane, str]:
    """Return the held lanes and why."""
    return {Lane(unbound(name)): unbound(reason) for name, reason in writer.connection.execute(_SQL["held"]).fetchall()}


def failing(writer: SqliteWriter) -> dict[Lane, Health]:
    """Return the lanes that fail."""
    return {
        Lane(unbound(name)): Health(since=moment(since), told=told)
        for name, since, told in writer.connection.execute(_SQL["failing"]).fetchall()
    }


def unrouted(
    writer: SqliteWriter, *, limit: int, source: str | None, but: Collection[str], after: EventId | None
) -> list[EventId]:
    """Return events that are yet to be routed, oldest first: of one source, or of all but some; later than `after`."""
    last = -1 if after is None else event_number(after)
    if source is None:
        found = [name for (name,) in writer.connection.execute(_SQL["unrouted_sources"]).fetchall()]
        sources = [name for name in found if unbound(name) not in but]
    else:
        sources = [] if source in but else [bound(source)]
    first = [writer.connection.execute(_SQL["unrouted"], (name, last, limit)).fetchall() for name in sources]
    return [event_id(number) for (number,) in sorted(chain.from_iterable(first))[:limit]]
