"""A store in plain dicts: the fake that tests run on. It forgets everything when the process ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

import anyio.lowlevel

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Answer, Audit, Change, DeliveryId, Lane, State, Token
from hookline.daemon.store.memory import deleting
from hookline.daemon.store.memory.changes import make
from hookline.daemon.store.memory.prune import remove_old
from hookline.daemon.store.memory.reader import MemoryReader
from hookline.daemon.store.memory.rows import NEVER
from hookline.daemon.store.memory.tables import Tables, event_made_at
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.stored import Claimed, Deletion, DeletionStep, Fact, Health
from hookline.rules import EventId, Json

_ACCEPT_LEASE = timedelta(seconds=60)


class MemoryStore:
    """Keeps the `Store` protocol's word in everything but durability; `close` and `open` again act as a restart."""

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        ids: Ids,
        since: Callable[[timedelta], datetime] | None = None,
        accept_lease: timedelta = _ACCEPT_LEASE,
    ) -> None:
        """`accept_lease` and `since` as for `SqliteStore`."""
        self._clock = clock
        self._ids = ids
        self._since = since or (lambda age: clock() - age)
        self._tables = Tables(clock=clock, since=self._since, accept_lease=accept_lease)
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

    async def note(self, name: str, value: Json) -> None:
        """Remember a fact of the daemon's own upkeep."""
        await self._turn()
        self._tables.facts[name] = Fact(value=value, at=self._clock())

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

    async def unrouted(
        self, *, limit: int, source: str | None = None, but: Collection[str] = (), after: EventId | None = None
    ) -> list[EventId]:
        """Return events that are yet to be routed, oldest first."""
        await self._turn()
        found = [
            event_id
            for event_id, stored in self._tables.events.items()
            if stored.is_unrouted and source in (None, stored.event.source) and stored.event.source not in but
        ]
        return sorted(found if after is None else [one for one in found if one > after])[:limit]

    async def latest(self) -> datetime | None:
        """Return when the newest event or delivery was made, None if there is none."""
        await self._turn()
        made = [event_made_at(event) for event in self._tables.events]
        return max([*made, *(row.created_at for row in self._tables.deliveries.values())], default=None)

    async def put_off(self, by: timedelta, *, after: datetime) -> int:
        """Let all that is due after `after` be due later; return how many deliveries that are."""
        await self._turn()
        late = [row for row in self._tables.of_state(State.PENDING) if row.due_at > after]
        for row in late:
            row.due_at += by
        for window in self._tables.memories.windows.values():
            if window.until > after:
                window.until += by
        return len(late)

    async def pull_in(self, to: datetime) -> int:
        """Let all that is due after `to` be due then; return how many deliveries that were."""
        await self._turn()
        late = [row for row in self._tables.of_state(State.PENDING) if row.due_at > to]
        for row in late:
            row.due_at = to
        return len(late)

    async def prune(self, *, events: timedelta, dedupe: timedelta, dead: timedelta, limit: int) -> int:
        """Remove at most `limit` rows (keys, events, deliveries, rejections) that are older."""
        await self._turn()
        since = self._since
        return remove_old(self._tables, events=since(events), dedupe=since(dedupe), dead=since(dead), limit=limit)

    async def begin_deletion(self, which: Deletion, audit: Audit) -> int:
        """Note what is to be removed for good; return its number."""
        await self._turn()
        return deleting.begin(self._tables, which, audit)

    async def continue_deletion(self, number: int) -> DeletionStep:
        """Remove all of a deletion's events that nothing runs for. Raises `KeyError`."""
        await self._turn()
        return deleting.step(self._tables, number)

    async def end_deletion(self, number: int) -> None:
        """Note that nothing is left to do for it."""
        await self._turn()
        self._tables.deletions.pop(number, None)

    async def checkpoint(self) -> bool:
        """Do nothing: there is no log of changes."""
        await self._turn()
        return True

    async def shrink(self) -> int:
        """Do nothing: what is removed gives its room back by itself."""
        await self._turn()
        return 0

    def reader(self) -> MemoryReader:
        """Return a reader of the same dicts."""
        return MemoryReader(self._tables)

    async def _turn(self) -> None:
        # A real store yields to other tasks: what would race there shall race here.
        await anyio.lowlevel.checkpoint()
        if not self._is_open:
            raise StoreError("the store is not open")
