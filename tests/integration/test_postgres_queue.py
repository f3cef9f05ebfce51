"""The queue of several nodes on a real PostgreSQL: claims, and what they cost; and how the tables come to be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Accepted, Audit, Cancel, DigestGate, Lane, SetHealth, SetLane, State, Token
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres import schema
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId, NodeReport
from hookline.daemon.store.stored import Claimed, Deletion, DeliveryFilter, EventFilter
from tests.contract.conftest import LEASE, Clock, Values
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio

ERP = Lane("erp")
_SQL: Final = named_statements("hookline.daemon.store.postgres", "queue")

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


async def test_what_a_claim_took_whose_commit_was_not_answered_is_claimed_again_at_once(
    nodes: Nodes, values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await nodes(1)
    new = [values.delivery() for _ in range(3)]
    await store.write([values.accept(delivery) for delivery in new])
    commit = Server._commit

    async def unanswered(server: Server, connection: Any) -> None:
        await commit(server, connection)
        connection.terminate()
        raise ConnectionResetError("the answer was lost")

    with monkeypatch.context() as lost:
        lost.setattr(Server, "_commit", unanswered)
        with pytest.raises(StoreError):
            await store.claim({ERP: 3}, lease=LEASE)
    assert (await store.reader().counts())["running"] == 3
    # As the dispatcher does after a failure: it asks what waits, and claims only there.
    assert ERP in await store.waiting()
    claimed = await store.claim({ERP: 5}, lease=LEASE)
    assert {one.id for one in claimed} == {one.id for one in new}
    assert [one.crashes for one in claimed] == [0, 0, 0]
    counts = await store.reader().counts()
    assert (counts["running"], counts["pending"]) == (3, 0)


async def test_each_delivery_is_claimed_by_one_node_and_the_longest_due_go_first(
    nodes: Nodes, values: Values, clock: Clock
) -> None:
    first, second = await nodes(1), await nodes(2)
    new = [values.delivery() for _ in range(60)]
    for delivery in new:
        await first.write([values.accept(delivery)])
        clock.pass_(seconds=1)
    room = {ERP: 7}
    rounds = [await asyncio.gather(*(node.claim(room, lease=LEASE) for node in (first, second) * 2)) for _ in range(3)]
    claimed = [one.id for claims in rounds for claim in claims for one in claim]
    assert sorted(claimed) == sorted(one.id for one in new)
    assert all([one.id for one in claim] == sorted(one.id for one in claim) for claims in rounds for claim in claims)
    # Nobody of a later round was due longer than those of the round before.
    assert max(one.id for claim in rounds[0] for one in claim) < min(one.id for claim in rounds[1] for one in claim)


async def test_a_lane_that_one_node_holds_gives_the_others_nothing_while_claims_are_under_way(
    nodes: Nodes, values: Values
) -> None:
    first, second = await nodes(1), await nodes(2)
    await first.write([values.accept(values.delivery()) for _ in range(40)])

    async def claim_all() -> int:
        claimed = 0
        while found := await second.claim({ERP: 1}, lease=LEASE):
            claimed += len(found)
        return claimed

    claiming = asyncio.ensure_future(claim_all())
    await second.waiting()
    await first.write([SetLane(lane=ERP, is_held=True, reason="they move house")])
    after = (await first.reader().counts())["running"]
    assert await claiming == after
    assert await second.claim({ERP: 99}, lease=LEASE) == []
    await first.write([SetLane(lane=ERP, is_held=False)])
    assert len(await second.claim({ERP: 99}, lease=LEASE)) == 40 - after


async def test_a_digest_takes_events_until_it_is_claimed_and_loses_none(
    nodes: Nodes, values: Values, clock: Clock
) -> None:
    first, second = await nodes(1), await nodes(2)
    wanted: set[str] = set()
    acted: list[str] = []
    is_over = asyncio.Event()

    async def collect() -> None:
        for _ in range(30):
            gate = DigestGate(memory="a" * 32, digest_id=values.ids.delivery(), every=timedelta(0), most=99)
            change = values.accept(values.delivery(digest=gate))
            wanted.add(change.events[0].event.id)
            await first.write([change])
        is_over.set()

    async def act() -> None:
        reader = second.reader()
        while True:
            was_over = is_over.is_set()
            claimed = await second.claim({ERP: 9}, lease=LEASE)
            for one in claimed:
                acted.extend(event.event.id for event in await reader.members(one.id, limit=99))
            await second.write([values.record(one.id, one.token) for one in claimed])
            if was_over and not claimed:
                return

    await asyncio.gather(collect(), act())
    assert sorted(acted) == sorted(wanted)


async def test_what_another_token_renews_stays_as_it_was(nodes: Nodes, values: Values, clock: Clock) -> None:
    first, second = await nodes(1), await nodes(2)
    await first.write([values.accept(values.delivery()), values.accept(values.delivery())])
    one, other = await first.claim({ERP: 9}, lease=LEASE)
    clock.pass_(seconds=40)
    assert await first.renew({one.id: one.token, other.id: Token(other.token + 1)}, lease=LEASE) == {one.id}
    clock.pass_(seconds=40)
    assert [found.id for found in await second.lost(limit=9)] == [other.id]


async def test_what_is_told_of_a_lane_is_told_by_one_node(nodes: Nodes, values: Values) -> None:
    first, second = await nodes(1), await nodes(2)

    async def told(*changes: SetLane | SetHealth) -> int:
        before = (await first.reader().counts())["events"]
        await asyncio.gather(*(node.write([change]) for node, change in zip((first, second), changes, strict=True)))
        return (await first.reader().counts())["events"] - before

    def fails(budget: int) -> SetHealth:
        return SetHealth(lane=ERP, is_failing=True, told=budget, own=values.accept())

    def held(is_held: bool) -> SetLane:
        return SetLane(lane=ERP, is_held=is_held, own=values.accept())

    assert await told(fails(0), fails(0)) == 1
    assert await told(fails(50), fails(50)) == 1
    assert await told(fails(0), fails(50)) == 0
    assert (await second.failing())[ERP].told == 50
    well = SetHealth(lane=ERP, is_failing=False, own=values.accept())
    assert await told(well, SetHealth(lane=ERP, is_failing=False, own=values.accept())) == 1
    assert await told(held(True), held(True)) == 1
    assert await told(held(False), held(False)) == 1


async def test_cancelling_the_head_of_an_order_at_two_nodes_moves_it_up_once(nodes: Nodes, values: Values) -> None:
    first, second = await nodes(1), await nodes(2)
    new = [values.delivery(order='"x"') for _ in range(3)]
    await first.write([values.accept(one) for one in new])
    answers = await asyncio.gather(*(node.write([Cancel(delivery_id=new[0].id)]) for node in (first, second)))
    assert sorted(answers) == [[False], [True]]
    assert [one.id for one in await second.claim({ERP: 9}, lease=LEASE)] == [new[1].id]


async def test_a_lane_that_is_down_is_tried_by_one_node_at_a_time(
    nodes: Nodes, server: Server, values: Values, clock: Clock
) -> None:
    several = [await nodes(number) for number in (1, 2, 3)]
    await several[0].write([values.accept(values.delivery()) for _ in range(9)])
    await server.write(lambda connection: connection.execute("UPDATE lanes SET tries_at = 1 WHERE name = 'erp'"))
    found = await asyncio.gather(*(node.claim({ERP: 3}, lease=LEASE) for node in several))
    assert sorted(map(len, found)) == [0, 0, 1]
    clock.pass_(seconds=90)
    found = await asyncio.gather(*(node.claim({ERP: 3}, lease=LEASE) for node in several))
    assert sorted(map(len, found)) == [0, 0, 1]


async def test_what_is_deleted_is_claimed_by_nobody_and_what_is_claimed_is_waited_for(
    nodes: Nodes, values: Values
) -> None:
    first, second = await nodes(1), await nodes(2)
    changes = [values.accept(values.delivery()) for _ in range(30)]
    await first.write(changes)
    which = Deletion(events=tuple(one.events[0].event.id for one in changes))
    number = await first.begin_deletion(which, Audit(who="ada", what="events.delete"))

    async def claim_all() -> list[Claimed]:
        claimed: list[Claimed] = []
        while found := await second.claim({ERP: 2}, lease=LEASE):
            claimed += found
        return claimed

    claimed, step = await asyncio.gather(claim_all(), first.continue_deletion(number))
    assert set(step.waits_for) <= {one.id for one in claimed}
    assert step.events + len(claimed) == 30
    assert await second.write([values.record(one.id, one.token) for one in claimed]) == [True] * len(claimed)
    while not step.is_over:
        step = await first.continue_deletion(number)
    assert await second.reader().events(EventFilter(), limit=99) == []
    assert set((await second.reader().counts()).values()) == {0}


# What a claim costs


async def _explain(server: Server, name: str, *values: Any) -> dict[str, Any]:
    async def work(connection: Any) -> dict[str, Any]:
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_SQL[name]}", *values)
        plan: dict[str, Any] = json.loads(text)[0]["Plan"]
        return plan

    return await server.write(work)


def _nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes_of(child))]


async def _fill(server: Server, count: int, *, lane: int, due_at: int, state: int = 0) -> None:
    """Put deliveries into the queue that wait, as a dead destination leaves them."""

    async def work(connection: Any) -> None:
        await connection.execute(
            "INSERT INTO queue (id, event_id, step_id, lane_id, state, due_at, order_queue, place) "
            "SELECT $3::bigint + n, $3::bigint + n, 1, $1, $5::smallint, $4::bigint + n, CASE $5::smallint WHEN 7 THEN 1 END, CASE $5::smallint WHEN 7 THEN n END "
            "FROM generate_series(1, $2) AS n",
            lane,
            count,
            lane * 10_000_000,
            due_at,
            state,
        )

    await server.write(work)


async def test_a_claim_looks_at_what_it_takes_however_much_waits(
    nodes: Nodes, server: Server, values: Values, clock: Clock
) -> None:
    store = await nodes(1)
    lanes = [Lane("erp"), Lane("mail"), Lane("shop")]
    await store.write([values.accept(values.delivery(lane)) for lane in lanes])
    await store.claim(dict.fromkeys(lanes, 9), lease=LEASE)
    now = int(clock().timestamp() * 1_000_000)
    await _fill(server, 30_000, lane=1, due_at=now - 40_000)  # long due
    await _fill(server, 30_000, lane=2, due_at=now + 1_000_000)  # not due yet
    await _fill(server, 30_000, lane=3, due_at=now - 40_000, state=7)  # behind others of their order
    await server.write(lambda connection: connection.execute("ANALYZE queue"))
    room, places, tokens = [1, 2, 3], [10, 10, 10], list(range(1, 31))
    plan = await _explain(server, "claim", room, places, now, tokens, now + 1, 1)
    scans = [node for node in _nodes_of(plan) if node.get("Relation Name") == "queue" and "Scan" in node["Node Type"]]
    assert {node["Node Type"] for node in scans} == {"Index Scan"}
    assert plan["Actual Rows"] == 10
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in scans)
    # A look into three lanes, ten rows found by their ids and changed in six indexes: not hundreds of pages.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 700


async def test_waiting_and_lost_ask_indexes_only(nodes: Nodes, server: Server, values: Values, clock: Clock) -> None:
    store = await nodes(1)
    await store.write([values.accept(values.delivery())])
    now = int(clock().timestamp() * 1_000_000)
    await _fill(server, 30_000, lane=1, due_at=now)
    await server.write(lambda connection: connection.execute("ANALYZE queue"))
    for name, values_ in (("waiting", ()), ("lost", (now, 10))):
        plan = await _explain(server, name, *values_)
        scans = [node for node in _nodes_of(plan) if node.get("Relation Name") == "queue"]
        assert scans
        assert all("Seq Scan" not in node["Node Type"] for node in scans), name
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 50, name


# How the tables come to be


async def test_nodes_that_start_at_once_make_the_tables_once(postgres_place: PostgresDatabase, values: Values) -> None:
    stores = [PostgresStore(postgres_place, node=NodeId(number), ids=values.ids) for number in range(1, 5)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        await stores[0].write([values.accept(is_unrouted=True)])
        assert len(await stores[3].unrouted(limit=9)) == 1
    finally:
        await asyncio.gather(*(store.close() for store in stores))


def _migration(number: int, *, survived_by: int) -> schema.Migration:
    return schema.Migration(
        number=number,
        survived_by=survived_by,
        sql=f"CREATE TABLE more_{number} (); ALTER TABLE texts ADD x{number} text",
    )


async def test_a_change_that_older_nodes_survive_is_made_under_them(
    nodes: Nodes, server: Server, values: Values, clock: Clock
) -> None:
    store = await nodes(1)
    await store.meet(_report(clock), lease=LEASE)
    await schema.set_up(server, migrations=[*schema.MIGRATIONS, _migration(2, survived_by=1)])
    assert len(await store.write([values.accept()])) == 1
    again = await nodes(2)
    assert len(await again.write([values.accept()])) == 1


async def test_a_change_that_older_nodes_do_not_survive_waits_until_they_are_gone_and_shuts_them_out(
    nodes: Nodes, server: Server, clock: Clock
) -> None:
    store = await nodes(1)
    await store.meet(_report(clock), lease=LEASE)
    newer = [*schema.MIGRATIONS, _migration(2, survived_by=2)]
    with pytest.raises(StoreError, match=r"node ham \(Hookline 1\.2\) would not survive .* stop them") as refused:
        await schema.set_up(server, migrations=newer, patience=timedelta(0))
    assert refused.value.kind == "unfit"
    await store.leave(NodeId(1))
    await schema.set_up(server, migrations=newer, patience=timedelta(0))
    await schema.set_up(server, migrations=newer, patience=timedelta(0))  # once is enough
    with pytest.raises(StoreError, match="has changed the tables of this store") as shut_out:
        await nodes(2)
    assert shut_out.value.kind == "unfit"


def _report(clock: Clock) -> NodeReport:
    return NodeReport(
        id=NodeId(1), name="ham", version="1.2", rules="", address="", started_at=clock(), view=0, revision=0,
        is_leader=False, is_leaving=False,
    )  # fmt: skip


async def test_who_may_not_make_the_tables_is_told_what_an_administrator_runs(
    postgres: PostgresServer, postgres_place: PostgresDatabase
) -> None:
    name, role = postgres_place.schema, f"poor_{postgres_place.schema[-6:]}"
    postgres.sql(f"CREATE ROLE {role} LOGIN")
    place = postgres.place(name, user=role)
    try:
        said = await _refusal(place)
        assert f'CREATE SCHEMA "{name}" AUTHORIZATION "{role}";' in said
        postgres.sql(f'CREATE SCHEMA "{name}"')
        said = await _refusal(place)
        grant = f'GRANT USAGE, CREATE ON SCHEMA "{name}" TO "{role}";'
        assert grant in said
        postgres.sql(grant)
        server = Server(place)
        await schema.set_up(server)
        await server.close()
        # Whoever follows under another name could not make the days' tables.
        postgres.sql(f"CREATE ROLE {role}_2 LOGIN; GRANT USAGE, CREATE ON SCHEMA {name} TO {role}_2")
        assert f"belong to the role {role}" in await _refusal(postgres.place(name, user=f"{role}_2"))
    finally:
        postgres.sql(f'DROP SCHEMA "{name}" CASCADE')
        postgres.sql(f"DROP ROLE IF EXISTS {role}, {role}_2")


async def test_a_database_that_does_not_hold_every_text_is_refused(
    postgres: PostgresServer, postgres_place: PostgresDatabase
) -> None:
    name = f"latin_{postgres_place.schema[-6:]}"
    postgres.sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    url = postgres.url.rpartition("/")[0] + f"/{name}"
    try:
        assert "createdb --encoding=UTF8" in await _refusal(PostgresDatabase(url=url, shown=url))
    finally:
        postgres.sql(f"DROP DATABASE {name}")


async def _refusal(place: PostgresDatabase) -> str:
    server = Server(place)
    try:
        with pytest.raises(StoreError) as refused:
            await schema.set_up(server)
    finally:
        await server.close()
    assert refused.value.kind == "unfit"
    return str(refused.value)


async def test_a_repeated_batch_finds_its_rows_at_another_node(nodes: Nodes, values: Values) -> None:
    first, second = await nodes(1), await nodes(2)
    change = values.accept(values.delivery())
    answer = [(Accepted(event_id=change.events[0].event.id),)]
    assert await first.write([change]) == answer
    assert await second.write([change]) == answer
    assert len(await second.reader().events(EventFilter(), limit=9)) == 1
    assert [one.state for one in await second.reader().deliveries(DeliveryFilter(), limit=9)] == [State.PENDING]
