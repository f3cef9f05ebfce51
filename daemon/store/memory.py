"""A store in plain dicts: the fake that tests run on. It forgets everything when the process ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import anyio.lowlevel

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Answer, Change, DeliveryId, Lane, State, Token
from hookline.daemon.store.memory_changes import make
from hookline.daemon.store.memory_reader import MemoryReader
from hookline.daemon.store.memory_rows import NEVER
from hookline.daemon.store.memory_tables import Tables, event_made_at
from hookline.daemon.store.port import Claimed, Health, StoreError
from hookline.rules import EventId

T = TypeVar("T")
Name = TypeVar("Name", bound=str)

_ACCEPT_LEASE = timedelta(seconds=60)


class MemoryStore:
    """Keeps the `Store` protocol's word in everything but durability; `close` and `open` again act as a restart."""

    def __init__(self, *, clock: Callable[[], datetime], ids: Ids, accept_lease: timedelta = _ACCEPT_LEASE) -> None:
        """`accept_lease` is the lease of deliveries that are inserted running."""
        self._clock = clock
        self._ids = ids
        self._tables = Tables(clock=clock, accept_lease=accept_lease)
        self._is_open = False

    async def open(self) -> None:
        """End the leases of what was running: whoever ran it is gone."""
        self._is_open = True
        self._tables.counted_since = self._tables.counted_since or self._clock()
        for row in self._tables.of_state(State.RUNNING):
            row.lease_ends = NEVER

    async def close(self) -> None:
        """Refuse everything until opened again."""
        self._is_open = False

    async def keep(self, texts: Mapping[str, str]) -> None:
        """Keep texts by their hash."""
        await self._turn()
        for digest, text in texts.items():
            self._tables.texts.setdefault(digest, text)

    async def keep_rules(self, version: str) -> None:
        """Note that this rule set went live."""
        await self._turn()
        self._tables.last_good_rules = version

    async def write(self, changes: Sequence[Change]) -> list[Answer]:
        """Make the changes and answer each, in order."""
        await self._turn()
        return [make(self._tables, change) for change in changes]

    async def claim(self, room: Mapping[Lane, int], *, lease: timedelta) -> list[Claimed]:
        """Claim due deliveries, at most `room[lane]` of each lane, longest due first."""
        await self._turn()
        now = self._clock()
        left = {lane: count for lane, count in room.items() if lane not in self._tables.held}
        claimed = []
        for row in sorted(self._tables.of_state(State.PENDING), key=lambda row: (row.due_at, row.id)):
            if row.due_at > now or left.get(row.lane, 0) <= 0 or self._tables.is_behind(row):
                continue
            left[row.lane] -= 1
            row.begin(Token(self._ids.token()), now=now, lease=lease)
            if row.is_digest:
                self._tables.close_digest(row.parts_of)
            claimed.append(row.claimed())
        return claimed

    async def renew(self, tokens: Mapping[DeliveryId, Token], *, lease: timedelta) -> set[DeliveryId]:
        """Extend leases; return those whose token was still good."""
        await self._turn()
        good = set()
        for delivery_id, token in tokens.items():
            row = self._tables.fenced(delivery_id, token)
            if row is not None:
                row.lease_ends = self._clock() + lease
                good.add(delivery_id)
        return good

    async def lost(self, *, limit: int) -> list[Claimed]:
        """Return running deliveries whose lease has ended."""
        await self._turn()
        now = self._clock()
        ended = [row for row in self._tables.of_state(State.RUNNING) if row.lease_ends <= now]
        return [row.claimed() for row in sorted(ended, key=lambda row: (row.lease_ends, row.id))[:limit]]

    async def waiting(self) -> Mapping[Lane, datetime]:
        """Return for each lane that waits and is not held when its first delivery is due."""
        await self._turn()
        first: dict[Lane, datetime] = {}
        for row in self._tables.of_state(State.PENDING):
            if row.lane not in self._tables.held and not self._tables.is_behind(row):
                first[row.lane] = min(row.due_at, first.get(row.lane, row.due_at))
        return first

    async def held(self) -> Mapping[Lane, str]:
        """Return the held lanes and why."""
        await self._turn()
        return dict(self._tables.held)

    async def failing(self) -> Mapping[Lane, Health]:
        """Return the lanes that fail."""
        await self._turn()
        return dict(self._tables.failing)

    async def unrouted(self, *, limit: int) -> list[EventId]:
        """Return events that are yet to be routed, oldest first."""
        await self._turn()
        return sorted(event_id for event_id, stored in self._tables.events.items() if stored.is_unrouted)[:limit]

    async def prune(self, *, events: timedelta, dedupe: timedelta, dead: timedelta, limit: int) -> int:
        """Remove at most `limit` rows (keys, events, deliveries, rejections) that are older."""
        await self._turn()
        tables, now = self._tables, self._clock()
        old_keys = [key for key, known in tables.keys.items() if event_made_at(known.event_id) < now - dedupe][:limit]
        for key in old_keys:
            del tables.keys[key]
        removed = len(old_keys)
        for event_id in sorted(tables.events):
            rows = [row for row in tables.deliveries.values() if row.event_id == event_id]
            is_kept = (
                tables.events[event_id].is_unrouted
                or event_made_at(event_id) >= now - events
                or any(tables.is_needed(row, dead_since=now - dead) for row in rows)
            )
            if is_kept:
                continue
            # Deliveries before their event, so that what the limit cuts in two can be removed by the next call.
            for row in rows[: limit - removed]:
                del tables.deliveries[row.id]
                removed += 1
            if removed == limit:
                break
            del tables.events[event_id]
            removed += 1
        before_hour = (now - events).replace(minute=0, second=0, microsecond=0)
        old_buckets = [bucket for bucket in tables.rejections if bucket[2] < before_hour]
        for bucket in old_buckets[: limit - removed]:
            del tables.rejections[bucket]
            removed += 1
        removed += _prune_hours(tables.hours, before_hour, limit - removed)
        removed += _prune_hours(tables.rule_hours, before_hour, limit - removed)
        removed += _prune_hours(tables.lane_hours, before_hour, limit - removed)
        return removed + tables.memories.prune(over_by=now, untouched_since=now - dedupe, limit=limit - removed)

    def reader(self) -> MemoryReader:
        """Return a reader of the same dicts."""
        return MemoryReader(self._tables)

    async def _turn(self) -> None:
        # A real store yields to other tasks: what would race there shall race here.
        await anyio.lowlevel.checkpoint()
        if not self._is_open:
            raise StoreError("the store is not open")


def _prune_hours(hours: dict[tuple[Name, datetime], T], before_hour: datetime, room: int) -> int:
    """Remove at most `room` rows before an hour, but each name's last one, and return how many."""
    last = dict(sorted(hours))
    old = [(name, hour) for name, hour in hours if hour < min(before_hour, last[name])][:room]
    for one in old:
        del hours[one]
    return len(old)
