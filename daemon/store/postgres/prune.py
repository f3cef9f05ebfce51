"""Retention: days that are past their time go at once; where something must stay, the rest goes row by row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from hookline.daemon.ids import lowest_at, made_at
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres import dropping
from hookline.daemon.store.postgres.retained import tell, uncount
from hookline.daemon.store.rows import HOUR, STATES, micros

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection
    from hookline.daemon.store.postgres.partitions import Partition, Partitions
    from hookline.daemon.store.postgres.server import Server

#: In one transaction.
ROWS_AT_ONCE: Final = 1_000
#: How many events are looked at in one go.
EVENTS_AT_ONCE: Final = 200

_SQL = named_statements(__package__, "prune")
_DELETING = named_statements(__package__, "deleting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How old things become."""

    events: timedelta
    dedupe: timedelta
    dead: timedelta
    audit: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Before when things are old."""

    now: datetime
    events: datetime
    dedupe: datetime
    dead: datetime
    audit: datetime

    @classmethod
    def of(cls, now: datetime, ages: Ages) -> _Times:
        return cls(
            now=now, events=now - ages.events, dedupe=now - ages.dedupe, dead=now - ages.dead, audit=now - ages.audit
        )


async def prune(server: Server, partitions: Partitions, ages: Ages, *, limit: int) -> int:
    """Remove what is old, and make the days to come; return how many rows, at most `limit`: 0 once all was looked at.

    An event goes when all of its partition's span is past its time. A partition that goes as a whole counts as one row,
    however many it had. Of two that prune at once each removes other rows, or waits. Raises `StoreError`.
    """
    now = await server.read(server.now)
    await partitions.ahead(now)
    times = _Times.of(now, ages)
    removed = await _prune_rows(
        server, times, statement="delete_keys", before=lowest_at(times.dedupe), limit=limit, told="keys"
    )
    removed += await _prune_days(server, partitions, times, limit - removed)
    # Searches skip the hours in which nothing came: those of days that are still there stay.
    days = micros(made_at(partitions.start_of(lowest_at(times.events)))) // HOUR
    for statement, before, told in (
        ("delete_rejections", micros(times.events) // HOUR, "rejections"),
        ("delete_hours", days, ""),
        ("delete_rule_hours", days, ""),
        ("delete_lane_hours", days, ""),
        ("delete_windows", micros(now), ""),
        ("delete_values", micros(times.dedupe), ""),
        ("delete_audit", micros(times.audit), ""),
    ):
        removed += await _prune_rows(
            server, times, statement=statement, before=before, limit=limit - removed, told=told
        )
    return removed


async def _prune_rows(  # noqa: PLR0913 - from where, what and how much, each by name
    server: Server, times: _Times, *, statement: str, before: int, limit: int, told: str
) -> int:
    """Remove rows of one table; the audit tells of those that have a name."""

    async def some(connection: Connection, *, most: int) -> int:
        gone = len(await connection.fetch(_SQL[statement], before, most))
        if told:
            await tell(connection, {told: gone}, times.now)
        return gone

    removed = 0
    while removed < limit:
        most = min(limit - removed, ROWS_AT_ONCE)
        gone = await server.write(partial(some, most=most))
        removed += gone
        if gone < most:
            break
    return removed


async def _prune_days(server: Server, partitions: Partitions, times: _Times, limit: int) -> int:
    """Go on through the days that are past, from where the last call had to stop: what must stay is passed once."""
    if limit <= 0:
        return 0
    has_begun = bool(partitions.pruned_to) or partitions.is_put_off
    removed = await dropping.drop_gone(server, times.now)
    removed += await _go_on(server, partitions, times, limit - removed)
    if not removed and has_begun:
        # Another node may have led in between: what was passed then need not stay any more.
        removed = await _go_on(server, partitions, times, limit)
    return removed


async def _go_on(server: Server, partitions: Partitions, times: _Times, limit: int) -> int:
    removed = 0
    for one, tables in await dropping.past(server, lowest_at(times.events)):
        if removed >= limit:
            return removed
        if partitions.pruned_to.get(one) == one.end:
            continue
        is_out = not partitions.is_put_off and await dropping.take_out(
            server, partitions, one, tables, dead_before=micros(times.dead)
        )
        if is_out:
            removed += await dropping.drop_gone(server, times.now)
        elif "events" in tables:
            removed += await _thin(server, partitions, one, times, limit - removed)
    if removed < limit:
        partitions.pruned_to.clear()
        partitions.is_put_off = False
    return removed


async def _thin(server: Server, partitions: Partitions, one: Partition, times: _Times, limit: int) -> int:
    """Remove of a day what need not stay."""
    removed = 0
    while removed < limit:
        after = partitions.pruned_to.get(one, one.lowest - 1)
        if after == one.end:
            break
        room = min(limit - removed, ROWS_AT_ONCE)
        work = partial(_thin_stretch, one=one, times=times, after=after, room=room)
        gone, partitions.pruned_to[one] = await server.write(work)
        removed += gone
    return removed


async def _thin_stretch(
    connection: Connection, *, one: Partition, times: _Times, after: int, room: int
) -> tuple[int, int]:
    """Remove what need not stay of some events; return how many rows, and how far it came."""
    await connection.execute(_SQL["keep_repeats_out"])
    stretch = await connection.fetch(_SQL["old_events"], after, one.end, EVENTS_AT_ONCE, micros(times.dead))
    requests = {row["id"]: row["request_id"] for row in stretch if not row["must_stay"]}
    found = await connection.fetch(_SQL["deliveries_of"], list(requests), room)
    deliveries = [row["id"] for row in found], [row["event_id"] for row in found], one.lowest, one.end
    await connection.execute(_SQL["delete_attempts"], *deliveries)
    states = Counter(
        STATES[row["state"]].value for row in await connection.fetch(_SQL["delete_deliveries"], *deliveries)
    )
    # What the limit cuts in two is found again by the next call.
    candidates = list(requests)[: room - len(found)]
    events = [row["id"] for row in await connection.fetch(_SQL["delete_events"], candidates)]
    await connection.execute(_DELETING["delete_requests"], sorted({requests[event] for event in events}))
    await uncount(connection, states + Counter(events=len(events)))
    await tell(connection, {"events": len(events), "deliveries": states.total()}, times.now)
    left = [event for event in requests if event not in set(events)]
    if left:
        return len(events) + len(found), left[0] - 1
    return len(events) + len(found), one.end if len(stretch) < EVENTS_AT_ONCE else stretch[-1]["id"]
