"""What the contract suite does not ask of the in-memory store: that it is an honest fake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Accepted,
    DeliveryId,
    Lane,
    NewDelivery,
    NewEvent,
    Record,
    Refused,
    Request,
    State,
    Token,
)
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import Reader, Store, StoreError
from hookline.rules import Event

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=60)
LANE = Lane("erp")


class Clock:
    """Stands still until moved."""

    now = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ids(clock: Clock) -> Ids:
    return Ids(clock)


@pytest.fixture
async def store(clock: Clock, ids: Ids) -> MemoryStore:
    made = MemoryStore(clock=clock, ids=ids)
    await made.open()
    return made


def accept(ids: Ids, clock: Clock, *, key: str = "1", body: bytes = b"{}", token: Token | None = None) -> Accept:
    event = Event(
        id=ids.event(),
        source="shop",
        type="paid",
        sender_id=None,
        key=key,
        tenant=None,
        occurred_at=None,
        received_at=clock(),
        headers={},
        query={},
        client_ip="",
        payload={},
        envelope=None,
    )
    delivery = NewDelivery(id=ids.delivery(), rule="r", step="s", lane=LANE, destination="erp", token=token)
    return Accept(
        request=Request(body=body, content_type="", headers={}, query={}, client_ip=""),
        events=(NewEvent(event=event, pointer=None, rules_version="v", deliveries=(delivery,)),),
        dedupe_window=timedelta(days=1),
    )


def delivery_id(change: Accept) -> DeliveryId:
    return change.events[0].deliveries[0].id


def test_it_is_a_store_and_its_reader_a_reader(clock: Clock, ids: Ids) -> None:
    store = MemoryStore(clock=clock, ids=ids)
    is_store: Store = store
    is_reader: Reader = store.reader()
    assert is_store is store
    assert is_reader is not store.reader()


async def test_a_closed_store_takes_nothing(store: MemoryStore) -> None:
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        await store.write([])


async def test_every_call_lets_others_take_their_turn(store: MemoryStore) -> None:
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await store.write([])
        turns.append("own")
    assert turns == ["other", "own"]


async def test_a_repeated_batch_is_answered_as_the_first_was(store: MemoryStore, clock: Clock, ids: Ids) -> None:
    change = accept(ids, clock)
    first = await store.write([change])
    assert await store.write([change]) == first == [(Accepted(event_id=change.events[0].event.id),)]
    assert (await store.reader().counts())["pending"] == 1


async def test_a_restart_ends_the_leases_of_what_ran(store: MemoryStore, clock: Clock, ids: Ids) -> None:
    change = accept(ids, clock, token=Token(7))
    await store.write([change])
    assert await store.lost(limit=9) == []
    await store.close()
    await store.open()
    (lost,) = await store.lost(limit=9)
    assert (lost.id, lost.token) == (delivery_id(change), Token(7))


async def test_a_token_is_good_once(store: MemoryStore, clock: Clock, ids: Ids) -> None:
    change = accept(ids, clock, token=Token(7))
    await store.write([change])
    record = Record(delivery_id=delivery_id(change), token=Token(7), attempt=None, state=State.PENDING)
    assert await store.write([record, record]) == [True, False]
    (again,) = await store.claim({LANE: 1}, lease=LEASE)
    assert again.token != Token(7)
    assert await store.write([record]) == [False]


async def test_a_lease_ends_by_the_clock_that_was_given(store: MemoryStore, clock: Clock, ids: Ids) -> None:
    change = accept(ids, clock, token=Token(7))
    await store.write([change])
    clock.now += LEASE - timedelta(seconds=1)
    assert await store.lost(limit=9) == []
    assert await store.renew({delivery_id(change): Token(7)}, lease=LEASE) == {delivery_id(change)}
    clock.now += LEASE - timedelta(seconds=1)
    assert await store.lost(limit=9) == []
    clock.now += timedelta(seconds=1)
    assert [lost.id for lost in await store.lost(limit=9)] == [delivery_id(change)]


async def test_what_no_store_can_make_is_refused_and_changes_nothing(
    store: MemoryStore, clock: Clock, ids: Ids
) -> None:
    change = accept(ids, clock, token=Token(7))
    running = Record(delivery_id=delivery_id(change), token=Token(7), attempt=None, state=State.RUNNING)
    _, refused = await store.write([change, running])
    assert isinstance(refused, Refused)
    assert (await store.reader().counts())["running"] == 1
