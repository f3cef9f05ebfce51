"""Looking into the SQLite file without blocking writes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from hookline.daemon.ids import lowest_at
from hookline.daemon.store.changes import Attempt, DeliveryId, State
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.reader_rows import ReaderRows
from hookline.daemon.store.rows import (
    BEHIND,
    HIGHEST_ID,
    HOUR,
    NUMBER_OF_STATE,
    STATES,
    delivery_number,
    event_id,
    event_number,
    micros,
    moment,
    number_or_none,
)
from hookline.daemon.store.sqlite.errors import store_error
from hookline.daemon.store.sqlite.file import check_schema, connect, on_thread
from hookline.daemon.store.sqlite.lanes import LaneCounts
from hookline.daemon.store.sqlite.rows import (
    attempt_from,
    bound,
    bound_or_null,
    delivery_from,
    event_from,
    matched_from,
    unbound,
)
from hookline.daemon.store.sqlite.search import search_events
from hookline.daemon.store.sqlite.search_deliveries import search_deliveries
from hookline.daemon.store.sqlite.statements import statements
from hookline.daemon.store.stored import (
    Deletion,
    DeliveryFilter,
    DeliveryPage,
    EventFilter,
    EventPage,
    EventSearch,
    Fact,
    LaneActivity,
    LaneState,
    Pause,
    RuleActivity,
    SourceActivity,
    StoredAudit,
    StoredDelivery,
    StoredEvent,
    StoredRejection,
    StoredToken,
    Tally,
)
from hookline.rules import EventId

T = TypeVar("T")

_SQL = statements("read")
_ROWS = ReaderRows(unbound, matched_from)
_BUSY_TIMEOUT_MS = 3_000


class SqliteReader:
    """Reads through a connection of its own that cannot write; it is opened when it is first asked something.

    Every answer is read to its end at once: a statement left open would keep the -wal file growing (RELIABILITY A10).
    """

    def __init__(self, path: Path, *, on_failure: Callable[[StoreError], None] = lambda _: None) -> None:
        """`path` is the store's; whether a daemon has it open does not matter. `on_failure` is told of its failures."""
        self._path = path
        self._on_failure = on_failure
        self._connection: aiosqlite.Connection | None = None
        self._is_closed = False
        self._opening = asyncio.Lock()
        self._lane_counts = LaneCounts()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be asked of it any more."""
        return self._is_closed

    async def event(self, event_id: EventId) -> StoredEvent | None:
        """Return one event, or None."""
        found = await self._rows(("event_rows", "one_event"), {"id": number_or_none("evt", event_id)}, event_from)
        return found[0] if found else None

    async def events(self, where: EventFilter, *, limit: int, before: EventId | None = None) -> list[StoredEvent]:
        """List events, newest first."""
        end = None if before is None else event_number(before)
        return await self._rows(
            ("event_rows", "some_events", *(["only_unrouted"] if where.is_unrouted else []), "newest_events"),
            {
                **_range(where.since, where.until, end),
                "source": bound_or_null(where.source),
                "type": bound_or_null(where.type),
                "tenant": bound_or_null(where.tenant),
                "limit": limit,
            },
            event_from,
        )

    async def event_page(self, where: EventSearch, *, limit: int, before: EventId | None = None) -> EventPage:
        """Search events without their bodies, at bounded cost."""
        return await self._ask(lambda raw: search_events(raw, where, limit=limit, before=before))

    async def delivery(self, delivery_id: DeliveryId) -> StoredDelivery | None:
        """Return one delivery, or None."""
        number = number_or_none("dlv", delivery_id)
        found = await self._rows(("delivery_rows", "one_delivery"), {"id": number}, delivery_from)
        return found[0] if found else None

    async def deliveries(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> list[StoredDelivery]:
        """List deliveries, newest first."""
        end = None if before is None else delivery_number(before)
        state = None if where.state is None else NUMBER_OF_STATE[where.state]
        return await self._rows(
            ("delivery_rows", *_delivery_parts(where)),
            {
                **_range(where.since, where.until, end),
                "destination": bound_or_null(where.destination),
                "rule": bound_or_null(where.rule),
                "source": bound_or_null(where.source),
                "event_id": None if where.event_id is None else number_or_none("evt", where.event_id),
                "state": state,
                "same_state": BEHIND if where.state is State.PENDING else state,
                "not_replayed": where.not_replayed,
                "limit": limit,
            },
            delivery_from,
        )

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> DeliveryPage:
        """Search deliveries, at bounded cost."""
        return await self._ask(lambda raw: search_deliveries(raw, where, limit=limit, before=before))

    async def attempts(self, delivery_id: DeliveryId) -> list[Attempt]:
        """Return the attempts of a delivery, first to last."""
        return await self._rows(("attempts",), (number_or_none("dlv", delivery_id),), attempt_from)

    async def members(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredEvent]:
        """Return the events that were collected into a digest, first to last."""
        values = {"id": number_or_none("dlv", delivery_id), "limit": limit}
        return await self._rows(("event_rows", "members_of"), values, event_from)

    async def parts(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredDelivery]:
        """Return the deliveries that this one acts for, first to last."""
        values = {"id": number_or_none("dlv", delivery_id), "limit": limit}
        return await self._rows(("delivery_rows", "parts_of"), values, delivery_from)

    async def lanes(self) -> list[LaneState]:
        """Return every lane that has unfinished deliveries, is held, or fails."""
        return await self._ask(self._lane_counts.states)

    async def lane_activity(self, *, since: datetime) -> list[LaneActivity]:
        """Return what was tried in each lane, by name, from its rows of hours."""
        return await self._rows(("lane_activity",), (micros(since) // HOUR,), _ROWS.lane_activity)

    async def rejections(self, *, source: str | None = None, limit: int = 100) -> list[StoredRejection]:
        """Return refused requests, the latest first."""
        where = () if source is None else ("only_of_source",)
        values = {"source": bound_or_null(source), "limit": limit}
        return await self._rows(("rejections", *where, "latest_rejections"), values, _ROWS.rejection)

    async def activity(self, *, since: datetime) -> list[SourceActivity]:
        """Return what each source received, by name, from its rows of hours."""
        return await self._rows(("activity",), (micros(since) // HOUR,), lambda row: _ROWS.activity(row[:4]))

    async def rule_activity(self, *, since: datetime) -> list[RuleActivity]:
        """Return what each rule that ever matched did, by name, from its rows of hours."""
        return await self._rows(("rule_activity",), (micros(since) // HOUR,), _ROWS.rule_activity)

    async def rules_counted_since(self) -> datetime:
        """Return since when matches are counted."""
        (since,) = await self._rows(("rules_counted_since",), (), lambda row: moment(row[0]))
        return since

    async def text(self, digest: str) -> str | None:
        """Return a text kept by its hash."""
        found: list[str] = await self._rows(("text",), (bound(digest),), lambda row: unbound(row[0]))
        return found[0] if found else None

    async def last_good_rules(self) -> str | None:
        """Return the version that went live last, or None."""
        found: list[str] = await self._rows(("last_good_rules",), (), lambda row: unbound(row[0]))
        return found[0] if found else None

    async def audit(self, *, limit: int, before: int | None = None, since: datetime | None = None) -> list[StoredAudit]:
        """Return what was done by hand and by retention, newest first."""
        values = (HIGHEST_ID if before is None else before, 0 if since is None else micros(since), limit)
        return await self._rows(("audit",), values, _ROWS.audit)

    async def tally(self, which: Deletion) -> Tally:
        """Count what a deletion would remove."""
        where = which.where or EventFilter()
        end = None if where.until is None else lowest_at(where.until)
        values = {
            **_range(where.since, None, end),
            "source": bound_or_null(where.source),
            "type": bound_or_null(where.type),
            "tenant": bound_or_null(where.tenant),
            "ids": json.dumps([number_or_none("evt", event) for event in which.events]),
        }
        part = "of_named" if which.where is None else "of_picked"
        ((count, first, last),) = await self._rows(("tally_events", part), values, tuple)
        states: list[Row] = await self._rows(("tally_deliveries", part, "by_state"), values, tuple)
        deliveries: Counter[State] = Counter()
        for state, number in states:
            deliveries[STATES[state]] += number
        return Tally(
            events=count,
            first=None if first is None else event_id(first),
            last=None if last is None else event_id(last),
            deliveries=deliveries,
        )

    async def deletions(self) -> list[int]:
        """Return the numbers of the deletions under way, oldest first."""
        return await self._rows(("deletions",), (), lambda row: int(row[0]))

    async def paused(self) -> Mapping[str, Pause]:
        """Return the sources that are paused."""
        return dict(await self._rows(("paused",), (), _ROWS.pause))

    async def tokens(self) -> list[StoredToken]:
        """Return the admin API's tokens, by name."""
        return await self._rows(("tokens",), (), _ROWS.token)

    async def facts(self) -> Mapping[str, Fact]:
        """Return what the daemon noted of its own upkeep, by name."""
        return dict(await self._rows(("facts",), (), _ROWS.fact))

    async def counts(self) -> Mapping[str, int]:
        """Return `events`, `duplicates`, `rejected`, and deliveries by state; kept, not counted."""
        found: list[tuple[str, int]] = await self._rows(("counters",), (), lambda row: (row[0], row[1]))
        return {"events": 0, "duplicates": 0, "rejected": 0, **{state.value: 0 for state in State}, **dict(found)}

    async def close(self) -> None:
        """Close the connection and end its thread. Safe to call twice."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.shield(asyncio.ensure_future(connection.close()))

    async def _rows(self, parts: tuple[str, ...], values: Any, read: Callable[[tuple[Any, ...]], T]) -> list[T]:
        sql = "\n".join(_SQL[part] for part in parts)
        return await self._ask(lambda raw: [read(row) for row in raw.execute(sql, values).fetchall()])

    async def _ask(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection or await self._open()
        try:
            return await on_thread(connection, ask)
        except sqlite3.Error as error:
            failure = store_error(error, self._path)
            self._on_failure(failure)
            raise failure from error

    async def _open(self) -> aiosqlite.Connection:
        async with self._opening:
            if self._connection is not None:
                return self._connection
            if self._is_closed:
                raise StoreError(f"{self._path}: the reader is closed")
            if not self._path.exists():
                raise StoreError(f"{self._path}: there is no store yet: `hookline run` makes it")
            connection: aiosqlite.Connection | None = None
            try:
                connection = await connect(self._path, mode="ro")
                await on_thread(connection, self._prepare)
            except BaseException as error:
                # Its thread would keep the process from ever ending (RELIABILITY, finding 4).
                if connection is not None:
                    await asyncio.shield(asyncio.ensure_future(connection.close()))
                if isinstance(error, sqlite3.Error):
                    failure = store_error(error, self._path)
                    self._on_failure(failure)
                    raise failure from error
                raise
            self._connection = connection
            return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA query_only = ON")
        check_schema(connection, self._path, is_new_fine=False)


def _delivery_parts(where: DeliveryFilter) -> tuple[str, ...]:
    """Return the conditions and order that let the planner take the best index for the filter."""
    if where.event_id is not None:
        of_event = ("some_deliveries", "only_of_event")
        return (*of_event, *(["only_in_state"] if where.state is not None else []), "newest_deliveries")
    match where.state:
        case None:
            return ("some_deliveries", "newest_deliveries")
        case State.PENDING:
            return ("some_pending",)
        case State.RUNNING:
            return ("some_running",)
        case State.DELIVERED:
            # The rule: the newest of them are among the newest of all.
            return ("some_deliveries", "only_in_state", "newest_deliveries")
        case _:
            return ("some_deliveries", "only_apart", "newest_deliveries")


def _range(since: datetime | None, until: datetime | None, before: int | None) -> dict[str, int]:
    """Return the ids that a list may hold: they rise with time."""
    start = 0 if since is None else min(lowest_at(since), HIGHEST_ID)
    end = HIGHEST_ID if until is None else min(lowest_at(until), HIGHEST_ID)
    return {"from": start, "to": end if before is None else min(end, before)}
