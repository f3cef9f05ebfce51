"""Retention on a real PostgreSQL: whole days go at once, and nobody waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest

from hookline.daemon.ids import Ids, lowest_at
from hookline.daemon.store.changes import Accept, Lane, Replay, State
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres import dropping, operate
from hookline.daemon.store.postgres.partitions import Partitions
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId
from hookline.daemon.store.stored import DeliveryFilter, EventFilter
from tests.contract.conftest import LEASE, Clock, Values

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
ERP = Lane("erp")

Nodes = Callable[[int], Awaitable[PostgresStore]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def values(clock: Clock) -> Values:
    return Values(clock, Ids(clock))


@pytest.fixture
async def nodes(postgres_place: PostgresDatabase, clock: Clock, values: Values) -> AsyncIterator[Nodes]:
    """Start nodes by their numbers."""
    async with AsyncExitStack() as stack:

        async def start(number: int) -> PostgresStore:
            store = PostgresStore(postgres_place, node=NodeId(number), ids=values.ids, clock=clock, accept_lease=LEASE)
            await store.open()
            stack.push_async_callback(store.close)
            return store

        yield start


@pytest.fixture
async def server(postgres_place: PostgresDatabase, clock: Clock) -> AsyncIterator[Server]:
    server = Server(postgres_place, clock=clock)
    await server.open()
    yield server
    await server.close()


async def _prune(store: PostgresStore, *, limit: int = 1000) -> None:
    while await store.prune(events=30 * DAY, dedupe=90 * DAY, dead=60 * DAY, limit=limit):
        pass


async def _days(server: Server) -> list[str]:
    """Return the tables that hold events."""
    found = await server.read(
        lambda connection: connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(current_schema()) AND relkind = 'r' "
            "AND relname ~ 'events_' ORDER BY 1"
        )
    )
    return [row["relname"] for row in found]


async def _is_counted_right(store: PostgresStore) -> bool:
    reader = store.reader()
    counts = await reader.counts()
    rows = await reader.deliveries(DeliveryFilter(), limit=999)
    events = await reader.events(EventFilter(), limit=999)
    by_state = all(counts[state] == sum(row.state is state for row in rows) for state in State)
    return by_state and counts["events"] == len(events)


async def _deliver(store: PostgresStore, values: Values, count: int, state: State = State.DELIVERED) -> list[Accept]:
    new = [values.delivery(is_running=True) for _ in range(count)]
    changes = [values.accept(one) for one in new]
    await store.write([*changes, *(values.record(one.id, one.token, state) for one in new)])
    return changes


async def test_days_are_made_ahead_and_dropped_as_a_whole(
    nodes: Nodes, server: Server, values: Values, clock: Clock
) -> None:
    store = await nodes(1)
    for _ in range(3):
        await _deliver(store, values, 4)
        clock.pass_(days=1)
    await _prune(store)
    assert await _days(server) == [f"events_2026050{day}" for day in (4, 5, 6, 7, 8, 9)]
    # At noon of the third of June the fourth of May is past as a whole, the day after it is not.
    clock.pass_(days=28)
    await _prune(store)
    assert (await _days(server))[:2] == ["events_20260505", "events_20260506"]
    assert len(await store.reader().events(EventFilter(), limit=99)) == 8
    assert await _is_counted_right(store)
    (told,) = [row for row in await store.reader().audit(limit=9) if row.what == "prune"]
    assert told.counts == {"events": 4, "deliveries": 4}


async def test_of_a_day_in_which_something_must_stay_the_rest_goes_row_by_row(
    nodes: Nodes, server: Server, values: Values, clock: Clock
) -> None:
    store = await nodes(1)
    await _deliver(store, values, 5)
    (dead,) = await _deliver(store, values, 1, State.DEAD)
    clock.pass_(days=32)
    assert await store.prune(events=30 * DAY, dedupe=90 * DAY, dead=60 * DAY, limit=3) == 3
    assert await _is_counted_right(store)
    await _prune(store, limit=3)
    assert [row.event.id for row in await store.reader().events(EventFilter(), limit=9)] == [dead.events[0].event.id]
    assert await _is_counted_right(store)
    clock.pass_(days=30)
    await _prune(store)
    assert "events_20260504" not in await _days(server)
    assert await _is_counted_right(store)


async def test_what_a_node_left_between_taking_out_and_dropping_is_counted_and_dropped_by_the_next(
    nodes: Nodes, server: Server, values: Values, clock: Clock
) -> None:
    store, other = await nodes(1), await nodes(2)
    await _deliver(store, values, 5)
    clock.pass_(days=32)
    (day,) = await dropping.past(server, lowest_at(clock() - 30 * DAY))
    partitions = Partitions(server, span=DAY)
    assert await dropping.take_out(server, partitions, *day, dead_before=0)
    # And then it died.
    assert "gone_events_20260504" in await _days(server)
    assert not await _is_counted_right(other)
    await asyncio.gather(_prune(other), _prune(store))
    assert "gone_events_20260504" not in await _days(server)
    assert await _is_counted_right(other)


async def test_a_long_search_puts_a_drop_off_and_accepts_do_not_wait_for_it(
    nodes: Nodes, server: Server, values: Values, clock: Clock
) -> None:
    store = await nodes(1)
    await _deliver(store, values, 5)
    clock.pass_(days=32)
    await store.write([values.accept()])
    searching, is_over = asyncio.Event(), asyncio.Event()

    async def search(connection: Any) -> None:
        await connection.fetch("SELECT count(*) FROM events, deliveries, requests")
        searching.set()
        await is_over.wait()

    reading = asyncio.ensure_future(server.read(search))
    await searching.wait()
    pruning = asyncio.ensure_future(_prune(store))
    # While one day after the other waits for the search, or gives up, events come in.
    accepted = 0
    while not pruning.done() or accepted < 20:
        accepted += len(await store.write([values.accept()]))
    assert "events_20260504" in await _days(server)
    is_over.set()
    await reading
    await _deliver(store, values, 1)
    await _prune(store)
    assert "events_20260504" not in await _days(server)
    assert await _is_counted_right(store)


async def test_a_body_stays_while_an_event_of_the_day_after_needs_it(
    nodes: Nodes, server: Server, values: Values, clock: Clock
) -> None:
    store = await nodes(1)
    clock.now = datetime.fromisoformat("2026-05-04T23:59:59.999+00:00")
    first = values.event(1, pointer=(0,), envelope=[1, 2])
    clock.pass_(milliseconds=1)
    second = values.event(2, pointer=(1,), envelope=[1, 2])
    await store.write([values.request(first, second, body=b"[1, 2]")])
    clock.pass_(days=30)
    await _prune(store)
    reader = store.reader()
    assert await reader.event(first.event.id) is None
    left = await reader.event(second.event.id)
    assert left is not None
    assert left.body == b"[1, 2]"
    clock.pass_(days=1)
    await _prune(store)
    assert await reader.event(second.event.id) is None
    assert await server.read(lambda connection: connection.fetchval("SELECT count(*) FROM requests")) == 0


async def test_what_is_repeated_while_its_day_goes_stays_or_is_gone_and_nothing_between(
    nodes: Nodes, values: Values, clock: Clock
) -> None:
    store, other = await nodes(1), await nodes(2)
    changes = await _deliver(store, values, 20)
    clock.pass_(days=32)

    async def repeat(change: Accept) -> list[Any]:
        (new,) = change.events[0].deliveries
        return await other.write([Replay(delivery_id=new.id, new_id=values.ids.delivery())])

    answers = [answer for (answer,) in (await asyncio.gather(_prune(store), *map(repeat, changes)))[1:]]
    reader = other.reader()
    for change, answer in zip(changes, answers, strict=True):
        assert (await reader.event(change.events[0].event.id) is not None) == (answer is not None)
    claimed = await other.claim({ERP: 99}, lease=LEASE)
    assert sorted(one.id for one in claimed) == sorted(answer for answer in answers if answer is not None)
    assert await _is_counted_right(store)


@pytest.mark.parametrize("has_dead", [False, True])
async def test_what_is_being_repeated_stays_until_that_is_done(
    nodes: Nodes, server: Server, values: Values, clock: Clock, has_dead: bool
) -> None:
    store = await nodes(1)
    (change,) = await _deliver(store, values, 1)
    # With a dead letter beside it, it would go by itself, else with its day.
    await _deliver(store, values, int(has_dead), State.DEAD)
    clock.pass_(days=32)
    repeat = Replay(delivery_id=change.events[0].deliveries[0].id, new_id=values.ids.delivery())
    repeating, may_go_on = asyncio.Event(), asyncio.Event()

    async def begin(connection: Any) -> None:
        await operate.prepare(connection, [repeat])
        repeating.set()
        await may_go_on.wait()

    begun = asyncio.ensure_future(server.write(begin))
    await repeating.wait()
    pruning = asyncio.ensure_future(_prune(store))
    while not pruning.done() and not await _is_kept_out(server):
        pass
    assert await store.reader().event(change.events[0].event.id) is not None
    may_go_on.set()
    await begun
    await pruning
    await _prune(store)
    assert await store.reader().event(change.events[0].event.id) is None


async def _is_kept_out(server: Server) -> bool:
    """Say whether retention waits for whoever repeats."""
    waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 4 AND NOT granted)"
    is_kept_out: bool = await server.read(lambda connection: connection.fetchval(waits))
    return is_kept_out


async def test_an_event_of_a_day_that_another_node_dropped_is_stored(
    nodes: Nodes, server: Server, values: Values, clock: Clock
) -> None:
    slow, store = await nodes(1), await nodes(2)
    old = values.event({"total": 1})
    await _deliver(slow, values, 1)
    clock.pass_(days=40)
    await _prune(store)
    assert "events_20260504" not in await _days(server)
    # As a request that was received then, and waited for the database since.
    late = values.request(old, body=b'{"total": 1}')
    assert [answer[0].event_id for answer in await slow.write([late]) if isinstance(answer, tuple)] == [old.event.id]
    assert await slow.reader().event(old.event.id) is not None


async def test_partitions_are_made_by_several_at_once(nodes: Nodes, server: Server, clock: Clock) -> None:
    await nodes(1)
    several = [Partitions(server, span=DAY) for _ in range(4)]
    first = lowest_at(clock() + 100 * DAY)
    await asyncio.gather(*(one.ensure([first, first + 5]) for one in several))
    assert await _days(server) == ["events_20260812"]
