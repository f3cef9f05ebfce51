"""What nodes write at the same time into one database: every answer as if there were one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

import asyncpg
import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Accepted,
    Change,
    ChangedGate,
    DeliveryId,
    DigestGate,
    Lane,
    NewDelivery,
    OnceGate,
    Refused,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import Reader
from hookline.daemon.store.postgres import locks
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.rows import scoped_key_digest
from hookline.daemon.store.sharing import DUE, NodeId
from hookline.daemon.store.stored import DeliveryFilter, EventFilter, StoredDelivery
from tests.contract.conftest import LEASE, Clock, Values
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio

NODES = 3
ERP = Lane("erp")
HOUR = timedelta(hours=1)


class Cluster:
    """Stores of several nodes on one database, with a clock for all, and values whose ids are no two's."""

    def __init__(self, place: PostgresDatabase) -> None:
        self.clock = Clock()
        self.place = place
        self.values = Values(self.clock, Ids(self.clock))
        self.stores = [self.node(number) for number in range(1, NODES + 1)]

    def node(self, number: int) -> PostgresStore:
        return PostgresStore(self.place, node=NodeId(number), ids=self.values.ids, clock=self.clock, accept_lease=LEASE)

    async def all_write(self, batches: Sequence[Sequence[Accept]]) -> list[list[Accepted]]:
        """Have each node write its own accepts of an event each at the same time; return the answers of each."""

        async def write(store: PostgresStore, batch: Sequence[Accept]) -> list[Accepted]:
            answers = [answer for answer in await store.write(batch) if isinstance(answer, tuple)]
            return [accepted for (accepted,) in answers]

        pairs = zip(self.stores, batches, strict=True)
        return list(await asyncio.gather(*(write(store, batch) for store, batch in pairs)))


@pytest.fixture
async def cluster(postgres_place: PostgresDatabase) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        cluster = Cluster(postgres_place)
        for store in cluster.stores:
            await store.open()
            stack.push_async_callback(store.close)
        yield cluster


@pytest.fixture
async def reader(cluster: Cluster) -> AsyncIterator[Reader]:
    reader = cluster.stores[0].reader()
    yield reader
    await reader.close()


@asynccontextmanager
async def session(place: PostgresDatabase) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Somebody else's session, in our schema."""
    connection = await asyncpg.connect(place.url, server_settings={"search_path": place.schema})
    try:
        yield connection
    finally:
        await connection.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again, for so long that only a defect takes longer."""
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - another session's state tells nobody
            await asyncio.sleep(0.01)


async def _is_waited_for(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    return bool(await connection.fetchval(asked))


async def _all(reader: Reader) -> list[StoredDelivery]:
    return await reader.deliveries(DeliveryFilter(), limit=10_000)


async def test_of_a_storm_of_duplicates_each_event_is_stored_once(
    cluster: Cluster, reader: Reader, postgres: PostgresServer
) -> None:
    log = postgres.folder / "log"
    before = log.read_text()
    keys = [f"key {number}" for number in range(40)]
    chance = random.Random(1)
    answers: list[Accepted] = []
    for _ in range(4):
        batches = [
            [cluster.values.accept(cluster.values.delivery(), key=key) for key in chance.sample(keys, len(keys))]
            for _ in cluster.stores
        ]
        answers += [one for own in await cluster.all_write(batches) for one in own]
    stored = [answer.event_id for answer in answers if not answer.is_duplicate]
    assert len(stored) == len(set(stored)) == len(keys)
    assert {answer.event_id for answer in answers} == set(stored)
    events = await reader.events(EventFilter(), limit=1000)
    assert Counter(found.event.key for found in events) == dict.fromkeys(keys, 1)
    assert {found.duplicates for found in events} == {4 * NODES - 1}
    assert len(await _all(reader)) == len(keys)
    counts = await reader.counts()
    assert (counts["events"], counts["duplicates"]) == (40, 40 * (4 * NODES - 1))
    # They wait for each other in one order, whatever order they came in.
    assert "deadlock" not in log.read_text()[len(before) :]


@pytest.mark.parametrize("is_known", [False, True])
async def test_keys_and_events_are_taken_in_one_order_so_that_nodes_never_wait_for_each_other(
    cluster: Cluster, is_known: bool
) -> None:
    one, two, values = *cluster.stores[:2], cluster.values
    # Given from the last to the first, and somebody has the one in the middle.
    keys = sorted(["a", "b", "c"], key=lambda key: scoped_key_digest("shop", key))
    if is_known:
        for key in keys:  # so that their events rise in the same order
            await one.write([values.accept(key=key)])
    async with session(cluster.place) as other, other.transaction():
        if is_known:
            await other.execute("SELECT 1 FROM events WHERE key = $1 FOR UPDATE", keys[1])
        else:
            digest = scoped_key_digest("shop", keys[1])
            await other.execute("INSERT INTO dedupe (digest, event_id, content) VALUES ($1, 1, 1)", digest)
        writing = asyncio.create_task(one.write([values.accept(key=key) for key in reversed(keys)]))
        await until(partial(_is_waited_for, other))
        async with asyncio.timeout(60):
            (last,) = await two.write([values.accept(key=keys[2])])
        assert isinstance(last, tuple)
        assert last[0].is_duplicate is is_known
        if not is_known:
            await other.execute("DELETE FROM dedupe WHERE event_id = 1")
    answers = [answer for answer in await writing if isinstance(answer, tuple)]
    assert [accepted.is_duplicate for (accepted,) in answers] == [True, is_known, is_known]


async def test_of_nodes_that_find_a_window_over_one_stores_the_event(cluster: Cluster, reader: Reader) -> None:
    keys = [f"key {number}" for number in range(30)]
    chance = random.Random(2)
    window = timedelta(days=1)
    for round_ in range(1, 4):
        batches = [
            [cluster.values.accept(key=key, window=window) for key in chance.sample(keys, len(keys))]
            for _ in cluster.stores
        ]
        answers = [one for own in await cluster.all_write(batches) for one in own]
        assert sum(not answer.is_duplicate for answer in answers) == len(keys)
        events = await reader.events(EventFilter(), limit=1000)
        assert Counter(found.event.key for found in events) == dict.fromkeys(keys, round_)
        cluster.clock.pass_(hours=25)


async def test_of_a_window_one_delivery_of_all_nodes_acts(cluster: Cluster, reader: Reader) -> None:
    values = cluster.values

    def once() -> NewDelivery:
        return values.delivery(once=OnceGate(memory="1" * 32, within=HOUR, summary_id=values.ids.delivery()))

    await cluster.all_write([[values.accept(once(), once()) for _ in range(10)] for _ in cluster.stores])
    rows = await _all(reader)
    states = Counter((row.state, row.rule == "large invoice" and row.stands_for) for row in rows)
    suppressed = 2 * 10 * NODES - 1
    assert states == {(State.SUPPRESSED, 0): suppressed, (State.PENDING, suppressed): 2}
    (first, summary) = sorted((row for row in rows if row.state is State.PENDING), key=lambda row: row.due_at)
    assert {row.part_of for row in rows if row.state is State.SUPPRESSED} == {first.id}
    assert summary.due_at == cluster.clock() + HOUR
    assert len(await reader.parts(summary.id, limit=100)) == suppressed


async def test_nodes_see_one_value_change_after_the_other(cluster: Cluster, reader: Reader) -> None:
    values = cluster.values

    def changed(value: int) -> NewDelivery:
        return values.delivery(changed=ChangedGate(memory="1" * 32, value=str(value), acts_first=True))

    batches = [[values.accept(changed(10 * node + turn)) for turn in range(10)] for node in range(NODES)]
    await cluster.all_write(batches)
    claimed = await cluster.stores[0].claim({ERP: 100}, lease=LEASE)
    # Each saw another before it, so all stand in one line that begins with nothing.
    assert len(claimed) == 10 * NODES
    assert len({one.previous for one in claimed}) == len(claimed)
    assert sum(one.previous is None for one in claimed) == 1


async def test_no_event_is_collected_into_a_digest_that_is_on_its_way(cluster: Cluster, reader: Reader) -> None:
    values = cluster.values
    seen: dict[DeliveryId, list[DeliveryId]] = {}
    done = asyncio.Event()

    def collected() -> NewDelivery:
        gate = DigestGate(memory="1" * 32, digest_id=values.ids.delivery(), every=timedelta(0), most=7)
        return values.delivery(digest=gate)

    async def act(store: PostgresStore) -> None:
        while not done.is_set() or await reader.deliveries(DeliveryFilter(state=State.PENDING), limit=1):
            for one in await store.claim({ERP: 5}, lease=LEASE):
                assert one.is_digest
                # What it acts for is read once it is claimed.
                seen[one.id] = [part.id for part in await reader.parts(one.id, limit=100)]
                assert await store.write([values.record(one.id, one.token)]) == [True]

    async def accept() -> None:
        for _ in range(8):
            await cluster.all_write([[values.accept(collected(), collected())] for _ in cluster.stores])
        done.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(accept())
        for store in cluster.stores:
            group.create_task(act(store))
    rows = await _all(reader)
    members = [row for row in rows if row.state is State.COLLECTED]
    assert len(members) == 8 * NODES * 2
    assert {row.id: row.part_of for row in members} == {part: whole for whole, parts in seen.items() for part in parts}
    assert {row.id: row.stands_for for row in rows if row.is_digest} == {id_: len(parts) for id_, parts in seen.items()}


async def test_of_an_order_that_all_nodes_add_to_one_runs_at_a_time_in_its_turn(
    cluster: Cluster, reader: Reader
) -> None:
    values = cluster.values
    begun: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    orders = ('"a"', '"b"')
    total = 6 * NODES * len(orders)
    turns: list[DeliveryId] = []

    async def act(store: PostgresStore, outcome: State) -> None:
        while ended.total() < total:
            claimed = {one.id: one for one in await store.claim({ERP: 5}, lease=LEASE)}
            turns.extend(claimed)
            begun.update(one.order for one in claimed.values() if one.order)
            assert all(begun[order] - ended[order] <= 1 for order in orders)
            tokens = {id_: one.token for id_, one in claimed.items()}
            assert await store.renew(tokens, lease=LEASE) == tokens.keys()
            # Counted first: with the commit the next may be claimed.
            ended.update(one.order for one in claimed.values() if one.order)
            records = [values.record(id_, token, outcome) for id_, token in tokens.items()]
            assert await store.write(records) == [True] * len(claimed)

    async def accept() -> None:
        for _ in range(6):
            batches = [[values.accept(*(values.delivery(order=order) for order in orders))] for _ in cluster.stores]
            await cluster.all_write(batches)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(accept())
        for store, outcome in zip(cluster.stores, (State.DELIVERED, State.DEAD, State.DELIVERED), strict=True):
            group.create_task(act(store, outcome))
    assert ended == dict.fromkeys(orders, total // 2)
    assert sorted(turns) == sorted(row.id for row in await _all(reader))
    assert {row.state for row in await _all(reader)} == {State.DELIVERED, State.DEAD}


async def test_who_begins_something_in_a_lane_and_who_holds_it_wait_for_each_other(
    cluster: Cluster, reader: Reader
) -> None:
    one, values = cluster.stores[0], cluster.values
    first, second = values.delivery(is_running=True), values.delivery("mail", is_running=True)
    await one.write([values.accept(values.delivery())])  # the lane has its number
    async with session(cluster.place) as other, other.transaction():
        lane_id = await other.fetchval("SELECT id FROM lanes WHERE name = $1", ERP)
        await locks.take(other, exclusive=[lane_id])
        writing = asyncio.create_task(one.write([values.accept(first, second)]))
        await until(partial(_is_waited_for, other))
        await other.execute("UPDATE lanes SET is_held = true, reason = 'asked for' WHERE id = $1", lane_id)
    ((accepted,),) = [answer for answer in await writing if isinstance(answer, tuple)]
    assert accepted.kept_back == (first.id,)
    states = {row.id: row.state for row in await _all(reader) if row.id in {first.id, second.id}}
    assert states == {first.id: State.PENDING, second.id: State.RUNNING}
    # Its token is void.
    assert await one.write([values.record(first.id, first.token)]) == [False]


async def test_what_another_node_holds_is_kept_back_until_it_is_released(cluster: Cluster, reader: Reader) -> None:
    one, two, values = *cluster.stores[:2], cluster.values
    await two.write([SetLane(lane=ERP, is_held=True, reason="asked for")])
    new, replay = values.delivery(is_running=True), values.delivery(is_running=True, is_replay=True)
    (answer,) = await one.write([values.accept(new, replay, values.delivery("mail", is_running=True))])
    assert isinstance(answer, tuple)
    assert answer[0].kept_back == (new.id, replay.id)
    assert await one.claim({ERP: 5}, lease=LEASE) == []
    await two.write([SetLane(lane=ERP, is_held=False)])
    assert {claimed.id for claimed in await one.claim({ERP: 5}, lease=LEASE)} == {new.id, replay.id}


async def test_a_batch_that_is_repeated_finds_its_rows_and_learns_which_claims_are_void(
    cluster: Cluster, reader: Reader
) -> None:
    one, two, values = *cluster.stores[:2], cluster.values
    good, lost = values.delivery(is_running=True), values.delivery(is_running=True)
    batch = [values.accept(good), values.accept(lost), values.accept(values.delivery())]
    before = await one.write(batch)
    assert await one.write(batch) == before
    # Its lease ends, and another node takes it; then the first hears that it does not know what became of its batch.
    await two.write([values.record(lost.id, lost.token, State.PENDING, attempt=None)])
    await two.claim({ERP: 1}, lease=LEASE)
    again = await one.write(batch)
    assert again[0] == before[0]
    assert again[1] == (Accepted(event_id=batch[1].events[0].event.id, kept_back=(lost.id,)),)
    counts = await reader.counts()
    assert (counts["events"], counts["running"], counts["pending"]) == (3, 2, 1)


async def test_other_nodes_are_told_of_what_waits(cluster: Cluster) -> None:
    one, two, values = *cluster.stores[:2], cluster.values
    told: list[str] = []
    two.on_news(told.extend)

    async def has_heard() -> bool:
        return DUE in told

    async def write_and_be_heard(change: Change) -> None:
        told.clear()
        await one.write([change])
        await until(has_heard)

    async def claim_the_head() -> Token:
        (claimed,) = await one.claim({ERP: 9}, lease=LEASE)
        assert claimed.id == head.id
        return claimed.token

    head = values.delivery(order='"a"')
    await write_and_be_heard(values.accept(values.delivery("mail")))
    await write_and_be_heard(values.accept(head, values.delivery(order='"a"')))
    given_back = values.record(head.id, await claim_the_head(), State.PENDING, attempt=None)
    await write_and_be_heard(given_back)
    # The one behind it moves up.
    await write_and_be_heard(values.record(head.id, await claim_the_head()))


async def test_several_events_of_a_batch_with_one_key_are_one(cluster: Cluster, reader: Reader) -> None:
    values = cluster.values
    batch = [values.accept(key="same"), values.accept(key="same"), values.accept(key="same", payload={"total": 6})]
    answers = [answer for answer in await cluster.stores[0].write(batch) if isinstance(answer, tuple)]
    first = batch[0].events[0].event.id
    assert [one for (one,) in answers] == [
        Accepted(event_id=first),
        Accepted(event_id=first, is_duplicate=True),
        Accepted(event_id=first, is_duplicate=True, is_conflict=True),
    ]
    (stored,) = await reader.events(EventFilter(), limit=9)
    assert (stored.duplicates, stored.conflicts) == (2, 1)


async def test_nodes_give_one_name_one_number(cluster: Cluster) -> None:
    values = cluster.values
    lanes = [f"lane {number}" for number in range(20)]
    batches = [[values.accept(values.delivery(lane), rules_version="v") for lane in lanes] for _ in cluster.stores]
    await cluster.all_write([batches[0], batches[1][::-1], batches[2]])
    async with session(cluster.place) as other:
        for table, count in (("lanes", 20), ("steps", 20), ("rule_sets", 1)):
            assert await other.fetchval(f"SELECT count(*) FROM {table}") == count
        assert await other.fetchval("SELECT count(DISTINCT lane_id) FROM queue") == 20


async def test_what_cannot_be_made_is_refused_alone_and_says_nothing_of_values(
    cluster: Cluster, reader: Reader
) -> None:
    one, values = cluster.stores[0], cluster.values
    known = values.delivery()
    await one.write([values.accept(known)])
    too_large = values.delivery(digest=DigestGate(memory="1", digest_id=values.ids.delivery(), every=HOUR, most=2))
    answers = await one.write(
        [
            values.accept(known),  # its delivery is there already
            values.accept(values.delivery(token=1 << 70)),
            values.accept(values.delivery(id=DeliveryId("dlv_no"))),
            values.accept(too_large, id="evt_no"),
            values.accept(values.delivery()),
        ]
    )
    assert [isinstance(answer, Refused) for answer in answers] == [True, True, True, True, False]
    said = [answer.reason for answer in answers if isinstance(answer, Refused)]
    assert said[0].startswith("Accept: duplicate key value")
    assert said[1] == "Accept: a value is too large"
    counts = await reader.counts()
    assert (counts["events"], counts["pending"]) == (2, 2)
    assert len(await reader.events(EventFilter(), limit=9)) == 2


async def test_a_day_that_is_gone_is_made_again(cluster: Cluster, reader: Reader) -> None:
    one, values = cluster.stores[0], cluster.values
    await one.write([values.accept()])
    async with session(cluster.place) as other:
        tables = await other.fetch("SELECT inhrelid::regclass::text FROM pg_inherits")
        for (table,) in tables:
            if table.split("_")[0] in {"requests", "events", "deliveries", "attempts"} and not table.endswith("key"):
                await other.execute(f"DROP TABLE IF EXISTS {table}")
    (answer,) = await one.write([values.accept()])
    assert isinstance(answer, tuple)
    assert [found.event.id for found in await reader.events(EventFilter(), limit=9)] == [answer[0].event_id]


async def test_text_that_no_column_takes_comes_back_as_it_was(cluster: Cluster, reader: Reader) -> None:
    one, values = cluster.stores[0], cluster.values
    odd = 'a\0b\ud800"c\\{},\U0010fffdé'
    new = values.delivery(is_running=True, rule=odd, destination=odd, order=None)
    change = values.accept(
        new, type=odd, key=odd, sender_id=odd, tenant=odd, subject=odd, client_ip=odd, matched=(odd, "x")
    )
    await one.write([change])
    await one.write([values.record(new.id, new.token, attempt=values.attempt(note=odd, answer=odd, decision=odd))])
    (found,) = await reader.events(EventFilter(), limit=9)
    event = found.event
    assert {event.type, event.key, event.sender_id, event.tenant, event.subject, event.client_ip} == {odd}
    assert found.matched == (odd, "x")
    stored = await reader.delivery(new.id)
    assert stored is not None
    assert (stored.rule, stored.destination) == (odd, odd)
    (attempt,) = await reader.attempts(new.id)
    assert (attempt.note, attempt.answer, attempt.decision) == (odd, odd, odd)
    ((again,),) = [answer for answer in await one.write([values.accept(key=odd)]) if isinstance(answer, tuple)]
    assert again.is_duplicate
