"""A backlog costs nobody else anything: counted in steps of SQLite's machine, which no load on the computer changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    DeliveryId,
    Lane,
    NewDelivery,
    NewEvent,
    Record,
    Request,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.rows import delivery_id
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import Event

pytestmark = pytest.mark.anyio

T = TypeVar("T")

ERP, DEAD = Lane("erp"), Lane("dead")
LEASE = timedelta(seconds=60)
BACKLOG = 100_000

# The delivery `:id` once more, so many times, with all that hangs on it. Ids far below those of the clock.
_MULTIPLY = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) INSERT INTO deliveries
SELECT :base + i, event_id, step_id, lane_id, state, due_at, token, lease_until, attempts, crashes, replay_of
FROM deliveries, n WHERE id = :id
"""
_MULTIPLY_EXTRAS = """
INSERT INTO delivery_extras
SELECT d.id, order_key, previous, why, part_of, parts_of, is_digest, stands_for, is_replay, previous_from
FROM deliveries AS d, delivery_extras AS x
WHERE x.delivery_id = :id AND d.id > :base AND d.id <= :base + :count
"""
_MULTIPLY_ORDERED = """
INSERT INTO ordered SELECT d.id, o.queue, o.place + d.id - :base, o.lane_id FROM deliveries AS d, ordered AS o
WHERE o.delivery_id = :id AND d.id > :base AND d.id <= :base + :count
"""


class House:
    """A store, and what is put into it."""

    def __init__(self, store: SqliteStore, ids: Ids, now: datetime) -> None:
        self.store = store
        self.ids = ids
        self.now = now
        self._base = 0

    async def accept(self, *lanes: Lane, order: str | None = None) -> list[DeliveryId]:
        """Accept an event with a delivery for each lane."""
        new = [
            NewDelivery(id=self.ids.delivery(), rule="r", step="s", lane=lane, destination=lane, order=order)
            for lane in lanes
        ]
        event = Event(
            id=self.ids.event(),
            source="shop",
            type="t",
            sender_id=None,
            key=str(self.ids.token()),
            tenant=None,
            occurred_at=None,
            received_at=self.now,
            headers={},
            query={},
            client_ip="",
            payload={},
            envelope=None,
        )
        request = Request(body=b"{}", content_type="application/json", headers={}, query={}, client_ip="")
        wrapped = NewEvent(event=event, pointer=None, rules_version="v", deliveries=tuple(new))
        await self.store.write([Accept(request=request, events=(wrapped,), dedupe_window=LEASE)])
        return [one.id for one in new]

    async def multiply(self, delivery: DeliveryId, count: int) -> None:
        """Put so many copies of a delivery beside it."""
        connection = self.store._connection
        assert connection is not None
        (number,) = (await (await connection.execute("SELECT max(id) FROM deliveries")).fetchone()) or (0,)
        self._base += count + 1
        values = {"id": number, "count": count, "base": self._base}
        for sql in (_MULTIPLY, _MULTIPLY_EXTRAS, _MULTIPLY_ORDERED):
            await connection.execute(sql, values)
        assert delivery_id(number) == delivery, "the newest delivery is the one that is multiplied"

    async def steps(self, work: Callable[[], Awaitable[T]]) -> tuple[int, T]:
        """Return how many steps it takes, and its answer."""
        connection = self.store._connection
        assert connection is not None
        taken = 0

        def step() -> int:
            nonlocal taken
            taken += 1
            return 0

        await connection.set_progress_handler(step, 1)
        try:
            answer = await work()
        finally:
            await connection.set_progress_handler(None, 1)  # type: ignore[arg-type]
        return taken, answer


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    now = datetime(2026, 5, 4, tzinfo=UTC)
    ids = Ids(lambda: now)
    store = SqliteStore(tmp_path / "hookline.db", clock=lambda: now, ids=ids)
    await store.open()
    yield House(store, ids, now)
    await store.close()


async def _one_round(house: House) -> dict[str, int]:
    """Return what it costs to accept, claim and record, while others wait."""
    taken = {}
    taken["accept"], (plain, *_) = await house.steps(lambda: house.accept(ERP))
    taken["accept behind"], _ = await house.steps(lambda: house.accept(DEAD, order='["x"]'))
    taken["claim"], claimed = await house.steps(lambda: house.store.claim({ERP: 9, DEAD: 9}, lease=LEASE))
    assert plain in {one.id for one in claimed}
    records = [Record(delivery_id=one.id, token=one.token, attempt=None, state=State.DELIVERED) for one in claimed]
    taken["record"], _ = await house.steps(lambda: house.store.write(records))
    taken["waiting"], _ = await house.steps(house.store.waiting)
    taken["lost"], _ = await house.steps(lambda: house.store.lost(limit=9))
    return taken


async def test_a_hundred_thousand_behind_one_head_cost_nothing(house: House) -> None:
    await house.accept(DEAD, order='["x"]')
    (behind,) = await house.accept(DEAD, order='["x"]')
    before = await _one_round(house)
    (behind,) = await house.accept(DEAD, order='["x"]')
    await house.multiply(behind, BACKLOG)
    after = await _one_round(house)
    assert {name: after[name] - before[name] for name in before if after[name] > before[name] + 100} == {}
    assert (await house.store.reader().lanes())[0].pending > BACKLOG


async def test_a_hundred_thousand_in_a_held_lane_cost_nothing(house: House) -> None:
    await house.store.write([SetLane(lane=DEAD, is_held=True)])
    (waits,) = await house.accept(DEAD)
    before = await _one_round(house)
    (waits,) = await house.accept(DEAD)
    await house.multiply(waits, BACKLOG)
    after = await _one_round(house)
    assert {name: after[name] - before[name] for name in before if after[name] > before[name] + 100} == {}


async def test_a_thousand_lanes_are_looked_at_once_each(house: House) -> None:
    lanes = [Lane(f"lane {number:04}") for number in range(1000)]
    await house.accept(*lanes)
    before, waiting = await house.steps(house.store.waiting)
    assert waiting == dict.fromkeys(lanes, house.now)
    (waits,) = await house.accept(lanes[0])
    await house.multiply(waits, BACKLOG)
    after, _ = await house.steps(house.store.waiting)
    assert after <= before + 100
    one, _ = await house.steps(lambda: house.store.claim({lanes[500]: 1}, lease=LEASE))
    assert one < 1000


async def test_steps_are_really_counted(house: House) -> None:
    await house.accept(DEAD)
    few, _ = await house.steps(house.store.reader().lanes)
    assert few == 0, "a reader has a connection of its own"
    few, _ = await house.steps(lambda: house.store.claim({DEAD: 1}, lease=LEASE))
    await house.accept(*(DEAD for _ in range(50)))
    many, claimed = await house.steps(lambda: house.store.claim({DEAD: 50}, lease=LEASE))
    assert len(claimed) == 50
    assert many > 10 * few
    assert Token(0) not in {one.token for one in claimed}
