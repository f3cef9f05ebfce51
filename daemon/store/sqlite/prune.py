"""Retention, in transactions small enough that nobody waits for them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from hookline.daemon.ids import lowest_at
from hookline.daemon.store.changes import Audit
from hookline.daemon.store.rows import HOUR, STATES, micros
from hookline.daemon.store.sqlite.audit import audit
from hookline.daemon.store.sqlite.pace import Pace
from hookline.daemon.store.sqlite.statements import run_many, statements
from hookline.daemon.store.sqlite.writer import SqliteWriter

T = TypeVar("T")

#: In one transaction, however fast it is.
ROWS_AT_ONCE = 1_000
#: How many dedupe keys are looked at in one go, and how many events.
KEYS_AT_ONCE = 10_000
EVENTS_AT_ONCE = 200
#: So many bytes of a body are as much work as a row.
BYTES_A_ROW = 4_096

_SQL = statements("queue")
_UPKEEP = statements("upkeep")
_HIGHEST_KEY = b"\xff" * 17
#: Every statement, the name of what it counts, and whether the audit tells of it: that which only sums up is not told.
_HOURS = (
    ("delete_rejections", "rejections"),
    ("delete_hours", ""),
    ("delete_rule_hours", ""),
    ("delete_lane_hours", ""),
)


class Run(Protocol):
    """Runs work on the writing connection's thread, and rests."""

    def __call__(self, work: Callable[[SqliteWriter], T], pace: Pace) -> Awaitable[T]:
        """Return what it returns; `pace` knows how much it was."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """Before when things are old."""

    #: Now.
    at: datetime
    events: datetime
    dedupe: datetime
    dead: datetime
    audit: datetime


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one look at a table did: how many rows it removed, and where the next one begins; None at the end."""

    removed: int
    following: int | bytes | None
    #: How much work that was.
    units: int


class SqlitePruner:
    """Goes around the tables, and knows from one call to the next how far it has come."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._keys_to = b""
        self._events_to = 0
        self._paces: dict[str, Pace] = {}

    async def prune(self, ages: Ages, *, limit: int) -> int:
        """Remove at most `limit` rows; return how many: fewer than that once all was looked at."""
        removed = await self._prune_keys(ages, limit=limit)
        removed += await self._prune_events(ages, limit=limit - removed)
        for kind, prune in (
            ("hours", partial(prune_hours, before_hour=micros(ages.events) // HOUR, at=ages.at)),
            ("memories", partial(prune_memories, over_by=micros(ages.at), untouched_since=micros(ages.dedupe))),
            ("audit", partial(prune_audit, before=micros(ages.audit))),
        ):
            while removed < limit:
                stretch = await self._paced(kind, prune, room=limit - removed)
                removed += stretch.removed
                if stretch.following is None:
                    break
        return removed

    async def _prune_keys(self, ages: Ages, *, limit: int) -> int:
        """Go once around the keys, from where the last call ended."""
        removed = 0
        start, has_turned = self._keys_to, False
        while removed < limit and not (has_turned and self._keys_to >= start):
            work = partial(prune_keys, after=self._keys_to, older_than=lowest_at(ages.dedupe), at=ages.at)
            stretch = await self._paced("keys", work, room=limit - removed)
            removed += stretch.removed
            if isinstance(stretch.following, bytes):
                self._keys_to = stretch.following
            else:
                self._keys_to, has_turned = b"", True
        return removed

    async def _prune_events(self, ages: Ages, *, limit: int) -> int:
        """Go on through the events to the end, from where the last call had to stop: what must stay is passed once."""
        removed = 0
        older_than, dead_before = lowest_at(ages.events), micros(ages.dead)
        while removed < limit:
            work = partial(
                prune_events, after=self._events_to, older_than=older_than, dead_before=dead_before, at=ages.at
            )
            stretch = await self._paced("events", work, room=limit - removed)
            removed += stretch.removed
            if not isinstance(stretch.following, int):
                self._events_to = 0
                break
            self._events_to = stretch.following
        return removed

    async def _paced(self, kind: str, work: Callable[..., Stretch], *, room: int) -> Stretch:
        """Do as much as fits."""
        pace = self._paces.setdefault(kind, Pace(most=ROWS_AT_ONCE))

        def timed(writer: SqliteWriter) -> Stretch:
            began = time.monotonic()
            stretch = work(writer, room=room, units=pace.units)
            pace.took(stretch.units, time.monotonic() - began)
            return stretch

        return await self._run(timed, pace)


def prune_keys(  # noqa: PLR0913 - where, what and how much, each by name
    writer: SqliteWriter, *, after: bytes, older_than: int, at: datetime, room: int, units: int
) -> Stretch:
    """Remove keys of events below `older_than` from the stretch after `after`."""
    end = writer.connection.execute(_SQL["end_of_stretch"], (after, KEYS_AT_ONCE - 1)).fetchone()
    last = _HIGHEST_KEY if end is None else end[0]
    most = min(room, units)
    with writer.transaction():
        removed = writer.connection.execute(_SQL["delete_keys"], (after, last, older_than, most)).rowcount
        _tell(writer, {"keys": removed}, at)
    if removed == most:
        return Stretch(removed, after, removed)
    return Stretch(removed, None if end is None else last, removed)


@dataclass(slots=True)
class _Chosen:
    """What one transaction removes."""

    #: How many rows may still be, and how much work.
    room: int
    left: int
    events: list[tuple[int]] = field(default_factory=list)
    requests: set[int] = field(default_factory=set)
    deliveries: list[tuple[int]] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)

    @property
    def is_full(self) -> bool:
        return self.room <= 0 or self.left <= 0

    def take_deliveries(self, found: list[tuple[int, int, int]]) -> bool:
        """Take as many as fit; return whether those were all."""
        for delivery, state, tries in found:
            if self.is_full:
                return False
            self.deliveries.append((delivery,))
            self.states[STATES[state].value] -= 1
            self.room -= 1
            self.left -= 1 + tries
        return not self.is_full

    def take_event(self, number: int, request: int, size: int) -> None:
        self.events.append((number,))
        self.requests.add(request)
        self.room -= 1
        self.left -= 1 + size // BYTES_A_ROW


def prune_events(  # noqa: PLR0913 - where, what and how much, each by name
    writer: SqliteWriter, *, after: int, older_than: int, dead_before: int, at: datetime, room: int, units: int
) -> Stretch:
    """Remove finished events below `older_than`, with all that hangs on them, from the stretch after `after`.

    Dead letters stay, and their events with them, unless they died before `dead_before`.
    """
    connection = writer.connection
    chosen = _Chosen(room=min(room, ROWS_AT_ONCE), left=units)
    with writer.transaction() as counters:
        query = (dead_before, dead_before, after, older_than, EVENTS_AT_ONCE)
        stretch = json.loads(connection.execute(_SQL["old_events"], query).fetchone()[0])
        following: int | None = stretch[-1][0] if len(stretch) == EVENTS_AT_ONCE else None
        for number, request, size, count, must_stay in stretch:
            if must_stay:
                continue
            if chosen.is_full:
                following = number - 1
                break
            # Deliveries before their event: what the limit cuts in two is found again by the next call.
            query_of = (number, min(chosen.room, chosen.left))
            found = json.loads(connection.execute(_SQL["deliveries_of"], query_of).fetchone()[0]) if count else []
            if not chosen.take_deliveries(found):
                following = number - 1
                break
            chosen.take_event(number, request, size)
        _remove(writer, chosen)
        counters.update(chosen.states)
        counters["events"] -= len(chosen.events)
        _tell(writer, {"events": len(chosen.events), "deliveries": len(chosen.deliveries)}, at)
    removed = len(chosen.events) + len(chosen.deliveries)
    return Stretch(removed, following, units - chosen.left)


def _remove(writer: SqliteWriter, chosen: _Chosen) -> None:
    connection = writer.connection
    run_many(connection, _SQL["delete_attempts"], chosen.deliveries)
    run_many(connection, _SQL["delete_extras"], chosen.deliveries)
    run_many(connection, _SQL["delete_deliveries"], chosen.deliveries)
    run_many(connection, _SQL["delete_events"], chosen.events)
    run_many(connection, _SQL["delete_requests"], [(request,) for request in sorted(chosen.requests)])


def prune_hours(writer: SqliteWriter, *, before_hour: int, at: datetime, room: int, units: int) -> Stretch:
    """Remove what was refused, received, matched and tried before an hour (since 1970)."""
    room = min(room, units)
    removed: Counter[str] = Counter()
    with writer.transaction():
        for statement, name in _HOURS:
            left = room - removed.total()
            removed[name] += writer.connection.execute(_SQL[statement], (before_hour, left)).rowcount
        _tell(writer, {"rejections": removed["rejections"]}, at)
    return _bounded(removed.total(), room)


def prune_memories(writer: SqliteWriter, *, over_by: int, untouched_since: int, room: int, units: int) -> Stretch:
    """Remove what `once` and `changed` need no longer remember."""
    room = min(room, units)
    with writer.transaction():
        removed = writer.connection.execute(_SQL["delete_windows"], (over_by, room)).rowcount
        removed += writer.connection.execute(_SQL["delete_values"], (untouched_since, room - removed)).rowcount
    return _bounded(removed, room)


def prune_audit(writer: SqliteWriter, *, before: int, room: int, units: int) -> Stretch:
    """Remove what was done before a time."""
    room = min(room, units)
    with writer.transaction():
        removed = writer.connection.execute(_UPKEEP["delete_audit"], (before, room)).rowcount
    return _bounded(removed, room)


def _bounded(removed: int, room: int) -> Stretch:
    return Stretch(removed, removed if removed == room else None, removed)


def _tell(writer: SqliteWriter, counts: Mapping[str, int], at: datetime) -> None:
    """Add to the day's row of the audit."""
    some = {name: count for name, count in counts.items() if count}
    if some:
        told = Audit(who="daemon", what="prune", count=sum(some.values()), counts=some, by_day=True)
        audit(writer.connection, told, micros(at))
