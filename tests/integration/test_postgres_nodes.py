"""What nodes know together, on a real server: who is a member, what is held or down, and whose turn a probe is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.lanes.breaker import CircuitBreaker
from hookline.daemon.store.changes import Lane, LaneResult, Outcome, SetLane, State
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres import breakers
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId, NodeReport, Shared
from hookline.daemon.store.stored import Claimed
from hookline.rules import Breaker
from tests.contract.conftest import LEASE, Clock, Values

pytestmark = pytest.mark.anyio

NODE_LEASE = timedelta(seconds=10)
ERP = Lane("erp")
POLICY = Breaker(share=0.5, least=4, within=timedelta(seconds=60), pause=timedelta(seconds=30))


class Node:
    """A store, and who opened it."""

    def __init__(self, number: int, place: PostgresDatabase, clock: Clock) -> None:
        self.values = Values(clock, Ids(clock))
        self.values.ids.take_slot(number, of=8)
        self.clock = clock
        self.id = NodeId(number)
        self.store = PostgresStore(place, node=self.id, ids=self.values.ids, clock=clock, accept_lease=LEASE)
        self.shared: Shared | None = None

    async def meets(self, **changed: object) -> Shared:
        said = self.shared
        report = NodeReport(
            id=self.id,
            name=f"node{self.id}",
            version="1",
            rules="r" * 8,
            address="127.0.0.1:80",
            started_at=self.clock(),
            view=-1 if said is None else said.view,
            revision=-1 if said is None else said.revision,
            is_leader=False,
            is_leaving=False,
        )
        self.shared = await self.store.meet(replace(report, **changed), lease=NODE_LEASE)  # type: ignore[arg-type]
        return self.shared

    async def deliver(self, count: int = 1, lane: Lane = ERP) -> None:
        """Accept an event with so many deliveries, which wait."""
        new = tuple(self.values.delivery(lane) for _ in range(count))
        await self.store.write([self.values.accept(*new, key=f"{self.id}-{new[0].id}")])

    async def claims(self, count: int = 1, lane: Lane = ERP) -> list[Claimed]:
        return await self.store.claim({lane: count}, lease=LEASE)

    async def ends(self, one: Claimed, *, answered: bool, policy: Breaker | None = POLICY) -> None:
        result = LaneResult(lane=one.lane, breaker=policy, has_answered=answered)
        outcome = Outcome.DELIVERED if answered else Outcome.TRANSIENT
        state = State.DELIVERED if answered else State.DEAD
        record = self.values.record(
            one.id, one.token, state, attempt=self.values.attempt(one.attempts + 1, outcome), result=result
        )
        assert await self.store.write([record]) == [True]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def two(postgres_place: PostgresDatabase, clock: Clock) -> AsyncIterator[tuple[Node, Node]]:
    nodes = Node(1, postgres_place, clock), Node(2, postgres_place, clock)
    for one in nodes:
        await one.store.open()
    yield nodes
    for one in nodes:
        await one.store.close()


async def open_breaker(one: Node) -> None:
    await one.deliver(POLICY.least)
    for claimed in await one.claims(POLICY.least):
        await one.ends(claimed, answered=False)


async def test_a_node_is_a_member_until_it_was_not_seen_for_its_lease(two: tuple[Node, Node], clock: Clock) -> None:
    one, other = two
    assert [node.id for node in (await one.meets()).members] == [1]
    both = await other.meets()
    assert [node.id for node in both.members] == [1, 2]
    assert len({node.slot for node in both.nodes}) == 2
    clock.pass_(seconds=10)
    assert (await other.meets()).view == both.view
    clock.pass_(seconds=1)
    alone = await other.meets()
    assert [node.id for node in alone.members] == [2]
    assert alone.view == both.view + 1
    assert [(node.id, node.is_member) for node in alone.nodes] == [(1, False), (2, True)]


async def test_what_a_node_says_is_what_the_others_read(two: tuple[Node, Node]) -> None:
    one, other = two
    await one.meets()
    await one.meets(is_leader=True, over=frozenset({ERP, Lane("a\0b")}))
    (said, _) = (await other.meets()).members
    assert (said.name, said.is_leader, said.over) == ("node1", True, frozenset({ERP, Lane("a\0b")}))
    assert said.view == 1


async def test_who_leaves_is_gone_at_once_and_its_claims_are_free(two: tuple[Node, Node]) -> None:
    one, other = two
    await one.meets()
    await other.meets()
    await one.deliver()
    assert len(await one.claims()) == 1
    before = await other.meets()
    assert (before.strays, await other.store.lost(limit=9)) == ({}, [])
    await one.store.leave(one.id)
    after = await other.meets()
    assert [node.id for node in after.members] == [2]
    assert after.view == before.view + 1
    assert len(await other.store.lost(limit=9)) == 1


async def test_what_runs_at_a_node_that_is_gone_is_a_stray_until_its_lease_ends(
    two: tuple[Node, Node], clock: Clock
) -> None:
    one, other = two
    await one.meets()
    await one.deliver(3)
    assert len(await one.claims(2)) == 2
    clock.pass_(seconds=11)
    assert (await other.meets()).strays == {ERP: 2}
    clock.pass_(seconds=60)
    assert (await other.meets()).strays == {}


async def test_a_hold_raises_the_revision_and_is_read(two: tuple[Node, Node]) -> None:
    one, other = two
    before = await other.meets()
    await one.store.write([SetLane(lane=ERP, is_held=True, reason="by hand")])
    after = await other.meets()
    assert after.held == {ERP: "by hand"}
    assert after.revision > before.revision
    assert (await other.meets()).revision == after.revision


async def test_the_failures_of_two_nodes_open_a_breaker_together(two: tuple[Node, Node], clock: Clock) -> None:
    one, other = two
    await one.deliver(6)
    mine, theirs = await one.claims(2), await other.claims(2)
    for node, claimed in ((one, mine[0]), (other, theirs[0]), (one, mine[1])):
        await node.ends(claimed, answered=False)
    assert (await one.meets()).breakers == {}
    await other.ends(theirs[1], answered=False)
    down = (await one.meets()).breakers[ERP]
    assert (down.tries_at, down.probed_by) == (clock() + POLICY.pause, None)
    assert await one.claims(2) == []


async def test_an_accept_begins_nothing_in_a_lane_that_another_node_found_down(two: tuple[Node, Node]) -> None:
    one, other = two
    await open_breaker(one)
    new = other.values.delivery(ERP, is_running=True)
    ((accepted,),) = await other.store.write([other.values.accept(new, key="of the other")])  # type: ignore[misc]
    assert accepted.kept_back == (new.id,)  # type: ignore[union-attr]


async def test_one_claim_of_all_nodes_is_the_probe_and_its_answer_closes(two: tuple[Node, Node], clock: Clock) -> None:
    one, other = two
    await open_breaker(one)
    await one.deliver(5)
    clock.pass_(seconds=31)
    (probe,) = await other.claims(3)
    assert await one.claims(3) == []
    assert (await one.meets()).breakers[ERP].probed_by == other.id
    await other.ends(probe, answered=True)
    assert (await one.meets()).breakers == {}
    assert len(await one.claims(3)) == 3


async def test_of_two_claims_at_the_same_moment_one_is_the_probe(
    two: tuple[Node, Node], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    await open_breaker(one)
    await one.deliver(3)
    clock.pass_(seconds=30)
    # Between what a statement sees and what it locks, another node's transaction may be made: let that last.
    lock = breakers._SQL["lock_half_open"].replace("WHERE", "WHERE pg_sleep(0.5) IS NOT NULL AND", 1)
    slow = {**breakers._SQL, "lock_half_open": lock}
    with monkeypatch.context() as slowly:
        slowly.setattr(breakers, "_SQL", slow)
        late = asyncio.create_task(other.claims())
        await asyncio.sleep(0.25)
        assert not late.done()
    (probe,) = await one.claims()
    assert await late == []
    assert (await other.meets()).breakers[ERP].probed_by == one.id
    await one.ends(probe, answered=True)
    assert (await other.meets()).breakers == {}


async def test_a_probe_that_fails_doubles_the_pause_and_others_say_nothing(
    two: tuple[Node, Node], clock: Clock
) -> None:
    one, other = two
    await one.deliver(1)
    (old,) = await one.claims()
    await open_breaker(other)
    await other.deliver(3)
    for pauses in (2, 4, 8, 10, 10):
        clock.pass_(seconds=301)
        (probe,) = await other.claims(2)
        await other.ends(probe, answered=False)
        await other.deliver(1)
        assert (await one.meets()).breakers[ERP].tries_at == clock() + pauses * POLICY.pause
    await one.ends(old, answered=True)
    assert ERP in (await one.meets()).breakers


async def test_a_probe_whose_node_died_is_free_when_its_lease_ends(two: tuple[Node, Node], clock: Clock) -> None:
    one, other = two
    await open_breaker(one)
    await one.deliver(3)
    clock.pass_(seconds=31)
    assert len(await other.claims(2)) == 1
    clock.pass_(seconds=59)
    assert await one.claims(2) == []
    clock.pass_(seconds=2)
    assert len(await one.claims(2)) == 1


async def test_a_release_closes_a_breaker_and_forgets_what_was_counted(two: tuple[Node, Node]) -> None:
    one, other = two
    await open_breaker(one)
    await other.store.write([SetLane(lane=ERP, is_held=False)])
    assert (await one.meets()).breakers == {}
    await one.deliver(POLICY.least)
    *before, last = await one.claims(POLICY.least)
    for claimed in before:
        await one.ends(claimed, answered=False)
    await other.store.write([SetLane(lane=ERP, is_held=False)])
    await one.ends(last, answered=False)
    assert (await one.meets()).breakers == {}


async def test_what_opened_a_breaker_does_not_count_again_when_it_is_closed(
    two: tuple[Node, Node], clock: Clock
) -> None:
    one, other = two
    await open_breaker(one)
    await one.deliver(2)
    clock.pass_(seconds=31)
    (probe,) = await one.claims()
    await one.ends(probe, answered=True)
    # Within the minute in which the others failed.
    (claimed,) = await other.claims()
    await other.ends(claimed, answered=False)
    assert (await one.meets()).breakers == {}


async def test_a_breaker_that_the_configuration_has_no_more_closes_with_its_probe(
    two: tuple[Node, Node], clock: Clock
) -> None:
    one, _ = two
    await open_breaker(one)
    await one.deliver(1)
    clock.pass_(seconds=31)
    (probe,) = await one.claims()
    await one.ends(probe, answered=False, policy=None)
    assert (await one.meets()).breakers == {}


@pytest.mark.parametrize("seed", range(3))
async def test_it_opens_and_closes_as_one_that_counts_for_itself(
    two: tuple[Node, Node], clock: Clock, seed: int
) -> None:
    chance = random.Random(seed)
    alone = CircuitBreaker()
    # Both begin a step of the window at the same time: 6 s.
    assert clock().timestamp() % 6 == 0
    await two[0].deliver(60)
    for _ in range(60):
        clock.pass_(seconds=chance.choice([6, 6, 12, 36]))
        node = chance.choice(two)
        claimed = await node.claims()
        assert bool(claimed) == (not alone.blocks(clock()))
        for one in claimed:
            answered = chance.random() < 0.6
            alone.begin()
            alone.note(POLICY, clock(), has_answered=answered)
            await node.ends(one, answered=answered)
        down = (await node.meets()).breakers.get(ERP)
        assert (None if down is None else down.tries_at) == alone.tries_at
