"""A search costs the same however much is stored: counted in steps of SQLite's machine, which no load changes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Accept, Lane, NewDelivery, NewEvent, Request, State
from hookline.daemon.store.searching import MOST_LOOKED_AT
from hookline.daemon.store.sqlite.lanes import LaneCounts
from hookline.daemon.store.sqlite.reader import SqliteReader
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import DeliveryFilter, EventSearch
from hookline.rules import Event

pytestmark = pytest.mark.anyio

#: So many rows are enough for any search to stop early.
MANY = MOST_LOOKED_AT + 5_000
_GRANULE = 100

# The newest event once more, so many times, each with a delivery in the given state.
_MULTIPLY = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO events SELECT :base + i, request_id, rule_set_id, source, type, sender_id, key, tenant, occurred_at,
    received_at, pointer, matched, is_unrouted, duplicates, conflicts, subject
FROM events, n WHERE id = :id
"""
_MULTIPLY_DELIVERIES = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO deliveries SELECT :delivery_base + i, :base + i, step_id, lane_id, :state, due_at, NULL, NULL, 1, 0, NULL
FROM deliveries, n WHERE event_id = :id
"""


class House:
    """A store of one event, and of as many copies of it as are asked for."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.reader: SqliteReader = store.reader()
        self._copies = 0

    async def multiply(self, state: int, *, is_unrouted: bool = False) -> None:
        """Add copies of the event and its delivery, newer than all others."""
        connection = self.store._connection
        assert connection is not None
        rows = await connection.execute(
            "SELECT min(id), (SELECT max(id) FROM events), (SELECT max(id) FROM deliveries) FROM events"
        )
        first, last, last_delivery = (await rows.fetchone()) or (0, 0, 0)
        values = {"id": first, "base": last, "delivery_base": last_delivery, "count": MANY, "state": state}
        for sql in (_MULTIPLY, _MULTIPLY_DELIVERIES):
            await connection.execute(sql, values)
        await connection.execute("UPDATE events SET is_unrouted = ? WHERE id > ?", (is_unrouted, last))
        # What is counted as it is changed, and decides by which way dead letters are looked for.
        for name, numbers in (("dead", "3"), ("pending", "0, 7")):
            sql = (
                f"INSERT OR REPLACE INTO counters SELECT '{name}', count(*) FROM deliveries WHERE state IN ({numbers})"
            )
            await connection.execute(sql)

    async def steps(self, where: EventSearch | DeliveryFilter) -> int:
        """Return how many hundreds of steps it takes to search."""
        await self.reader.facts()
        connection = self.reader._connection
        assert connection is not None
        taken = 0

        def step() -> int:
            nonlocal taken
            taken += 1
            return 0

        await connection.set_progress_handler(step, _GRANULE)
        try:
            if isinstance(where, EventSearch):
                await self.reader.event_page(where, limit=50)
            else:
                await self.reader.delivery_page(where, limit=50)
        finally:
            await connection.set_progress_handler(None, 1)  # type: ignore[arg-type]
        return taken


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    now = datetime(2026, 5, 4, tzinfo=UTC)
    ids = Ids(lambda: now)
    store = SqliteStore(tmp_path / "hookline.db", clock=lambda: now, ids=ids)
    await store.open()
    event = Event(
        id=ids.event(), source="shop", type="order.paid", sender_id="s", key="k", tenant="acme", occurred_at=None,
        received_at=now, headers={}, query={}, client_ip="", payload={}, envelope=None,
    )  # fmt: skip
    new = NewDelivery(id=ids.delivery(), rule="r", step="s", lane=Lane("erp"), destination="erp")
    wrapped = NewEvent(event=event, pointer=None, rules_version="v", matched=("r",), deliveries=(new,))
    request = Request(body=b'{"a": 1}', content_type="application/json", headers={}, query={}, client_ip="")
    await store.write([Accept(request=request, events=(wrapped,), dedupe_window=timedelta(days=1))])
    yield House(store)
    await store.close()


_SEARCHES: tuple[EventSearch | DeliveryFilter, ...] = (
    EventSearch(),
    EventSearch(type="none"),
    EventSearch(type_glob="*n*o*n*e*"),
    EventSearch(source="shop", tenant="none"),
    EventSearch(sender_id="none"),
    EventSearch(key="none"),
    EventSearch(rule="r", tenant="none"),
    EventSearch(outcome="unmatched"),
    EventSearch(outcome="conflicting"),
    EventSearch(outcome="waiting", tenant="none"),
    EventSearch(outcome="dead", tenant="none"),
    EventSearch(outcome="unrouted", tenant="none"),
    EventSearch(outcome="unrouted", source="shop", tenant="none"),
    EventSearch(text="nowhere"),
    EventSearch(text="a"),
    DeliveryFilter(),
    DeliveryFilter(destination="none"),
    DeliveryFilter(rule="none"),
    DeliveryFilter(source="none"),
    DeliveryFilter(destination="none", not_replayed=True),
    DeliveryFilter(state=State.DEAD, destination="none"),
    DeliveryFilter(state=State.DEAD, source="none"),
    DeliveryFilter(state=State.DEAD, not_replayed=True),
    DeliveryFilter(state=State.DELIVERED),
    DeliveryFilter(state=State.RUNNING),
    DeliveryFilter(state=State.SUPPRESSED),
    DeliveryFilter(state=State.PENDING, source="none"),
)


@pytest.mark.parametrize(("state", "is_unrouted"), [(2, False), (3, True)])
async def test_a_search_costs_the_same_in_a_store_twice_as_large(house: House, state: int, is_unrouted: bool) -> None:
    await house.multiply(state, is_unrouted=is_unrouted)
    before = {where: await house.steps(where) for where in _SEARCHES}
    await house.multiply(state, is_unrouted=is_unrouted)
    after = {where: await house.steps(where) for where in _SEARCHES}
    assert max(before.values()) > MOST_LOOKED_AT // _GRANULE, "steps are really counted"
    grown = {where: (before[where], after[where]) for where in _SEARCHES if after[where] > before[where] * 1.1 + 5}
    assert grown == {}


@pytest.mark.parametrize(("state", "outcome"), [(0, "waiting"), (7, "waiting"), (3, "dead")])
async def test_of_too_many_to_be_listed_the_newest_are_found(
    house: House, state: int, outcome: Literal["waiting", "dead"]
) -> None:
    await house.multiply(state)
    page = await house.reader.event_page(EventSearch(outcome=outcome), limit=50)
    newest = await house.reader.event_page(EventSearch(), limit=50)
    assert [row.id for row in page.rows] == [row.id for row in newest.rows]
    assert len(page.rows) == page.looked_at == 50
    other = EventSearch(outcome="dead" if outcome == "waiting" else "waiting")
    assert len((await house.reader.event_page(other, limit=50)).rows) == (outcome == "dead")


async def test_what_is_asked_twice_soon_is_counted_once(house: House, tmp_path: Path) -> None:
    """Lanes with a long backlog: how many wait is remembered for a while, whether they are held is not."""
    await house.multiply(0)
    now = [100.0]
    lanes = LaneCounts(clock=lambda: now[0])
    with closing(sqlite3.connect(tmp_path / "hookline.db", isolation_level=None)) as connection:
        (lane,) = lanes.states(connection)
        assert (lane.pending, lane.is_held) == (MANY + 1, False)
        connection.execute("UPDATE deliveries SET state = 4 WHERE state = 0 AND id % 2 = 0")
        connection.execute("UPDATE lanes SET is_held = 1, reason = 'ours'")
        now[0] += 0.2
        (lane,) = lanes.states(connection)
        assert (lane.pending, lane.is_held, lane.reason) == (MANY + 1, True, "ours")
        now[0] += 0.1
        (lane,) = lanes.states(connection)
        assert lane.pending < MANY
        # A short backlog is counted every time.
        connection.execute("UPDATE deliveries SET state = 4 WHERE id NOT IN (SELECT id FROM deliveries LIMIT 100)")
        now[0] += 1
        few = lanes.states(connection)[0].pending
        connection.execute(
            "UPDATE deliveries SET state = 4 WHERE id IN (SELECT id FROM deliveries WHERE state = 0 LIMIT 1)"
        )
        assert lanes.states(connection)[0].pending == few - 1 > 1
