"""The dispatcher of a node that shares its store with others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from hookline.daemon.delivery.dispatcher import Pace
from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Answer, Change, Lane, LaneResult, Record, State
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.sharing import NodeId, OpenBreaker, Shared
from hookline.daemon.store.stored import Claimed
from hookline.rules import Breaker
from tests.integration.test_dispatcher import REFUSED, SECOND, START, Clock, House, at_work, step_for

pytestmark = pytest.mark.anyio

ERP = Lane("erp")
_ME = NodeId(1)
NOTHING = Shared(
    now=START,
    revision=1,
    view=1,
    members=(),
    nodes=(),
    held={},
    failing={},
    breakers={},
    paused={},
    strays={},
)


@dataclass
class Peers:
    """The other nodes, as the test says."""

    me: NodeId = _ME
    is_alone: bool = False
    seconds: float = 0.0
    is_member: bool = True
    settled: int = 0

    def passed(self) -> float:
        return self.seconds

    def may_begin(self) -> bool:
        return self.is_member

    async def settle(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.settled += 1


class SlowStore(MemoryStore):
    """Does something while it answers, and remembers what it was given."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        super().__init__(clock=clock, ids=ids)
        self.meanwhile: Callable[[], None] = lambda: None
        self.records: list[Record] = []
        self.claims = 0

    async def write(self, changes: Sequence[Change]) -> list[Answer]:
        self.records += [change for change in changes if isinstance(change, Record)]
        answers = await super().write(changes)
        self.meanwhile()
        return answers

    async def claim(self, room: Mapping[Lane, int], *, lease: timedelta) -> list[Claimed]:
        self.claims += 1
        claimed = await super().claim(room, lease=lease)
        self.meanwhile()
        return claimed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(clock: Clock) -> AsyncIterator[SlowStore]:
    made = SlowStore(clock, Ids(clock))
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def peers() -> Peers:
    return Peers()


@pytest.fixture
async def house(store: SlowStore, clock: Clock, peers: Peers) -> AsyncIterator[House]:
    async with at_work(store, clock, Ids(clock), peers=peers) as made:
        yield made


async def turns(count: int = 50) -> None:
    """Let everything else go on for a while."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def test_an_accept_that_took_longer_than_its_lease_begins_nothing(
    house: House, store: SlowStore, peers: Peers
) -> None:
    def slow() -> None:
        peers.seconds += Pace().lease.total_seconds()
        store.meanwhile = lambda: None

    store.meanwhile = slow
    (delivery,) = await house.accept(step_for("erp"))
    await house.until(lambda: bool(store.records))
    # Given back; then it is claimed anew, and made once.
    assert (store.records[0].state, store.records[0].attempt) == (State.PENDING, None)
    await house.until_tries(1)
    await house.settle()
    assert await house.state(delivery) is State.DELIVERED


async def test_an_accept_within_its_lease_begins_at_once(house: House, store: SlowStore, peers: Peers) -> None:
    def slow() -> None:
        peers.seconds = Pace().lease.total_seconds() - 1

    store.meanwhile = slow
    await house.accept(step_for("erp"))
    await house.settle()
    assert [record.state for record in store.records] == [State.DELIVERED]


async def test_a_claim_that_took_longer_than_its_lease_is_not_begun(
    house: House, store: SlowStore, peers: Peers
) -> None:
    def slow() -> None:
        if store.claims == 1:
            peers.seconds += 61

    store.meanwhile = slow
    (delivery,) = await house.accept(step_for("erp"), start=False)
    await house.until(lambda: bool(store.records))
    assert (store.records[0].state, store.records[0].attempt) == (State.PENDING, None)
    await house.until_tries(1)
    await house.settle()
    assert await house.state(delivery) is State.DELIVERED


async def test_what_waits_here_begins_while_its_lease_is_renewed(store: SlowStore, clock: Clock, peers: Peers) -> None:
    async with at_work(store, clock, Ids(clock), peers=peers, concurrency=1) as house:
        gate = anyio.Event()
        house.runner.waits_for("erp", gate)
        await house.accept(step_for("erp"))
        await house.until_tries(1)
        peers.seconds = 59
        await house.dispatcher.tend()
        peers.seconds = 118
        gate.set()
        await house.settle()
    assert [record.state for record in store.records] == [State.DELIVERED]


async def test_a_node_that_may_be_gone_begins_and_claims_nothing(house: House, store: SlowStore, peers: Peers) -> None:
    peers.is_member = False
    (delivery,) = await house.accept(step_for("erp"))
    assert delivery.token is None
    before = store.claims
    house.dispatcher.told()
    await turns()
    assert (store.claims, house.runner.seen) == (before, [])
    peers.is_member = True
    house.dispatcher.adopt(NOTHING)
    await house.until_tries(1)


async def test_a_node_that_is_gone_before_its_accept_is_stored_begins_nothing(
    house: House, store: SlowStore, peers: Peers
) -> None:
    def is_gone() -> None:
        peers.is_member = False

    store.meanwhile = is_gone
    await house.accept(step_for("erp"))
    await house.until(lambda: bool(store.records))
    assert (store.records[0].attempt, house.runner.seen) == (None, [])


async def test_results_go_to_the_breaker_that_nodes_share(house: House, store: SlowStore) -> None:
    house.runner.answers("erp", REFUSED)
    await house.accept(step_for("erp"), step_for("mail"))
    await house.until(lambda: len(store.records) == 2)
    assert {record.result.lane: record.result for record in store.records if record.result} == {
        lane: LaneResult(lane=Lane(lane), breaker=Breaker(), has_answered=answered)
        for lane, answered in (("erp", False), ("mail", True))
    }


async def test_a_hold_returns_when_the_others_act_by_it(house: House, peers: Peers) -> None:
    await house.dispatcher.hold(ERP, "a test")
    assert peers.settled == 1
    await house.dispatcher.release(ERP)
    assert peers.settled == 2


async def test_what_another_node_holds_is_held_here(house: House) -> None:
    house.dispatcher.adopt(replace(NOTHING, held={ERP: "by hand"}))
    await house.accept(step_for("erp"))
    await turns()
    assert house.runner.seen == []
    house.dispatcher.adopt(NOTHING)
    await house.until_tries(1)


async def test_an_older_reading_does_not_undo_a_hold_that_is_on_its_way(house: House, store: SlowStore) -> None:
    def reads() -> None:
        house.dispatcher.adopt(NOTHING)

    store.meanwhile = reads
    await house.dispatcher.hold(ERP, "a test")
    assert house.dispatcher.lane_status(ERP).is_held


async def test_a_lane_that_is_down_begins_nothing_but_its_own_probe(house: House, clock: Clock) -> None:
    down = OpenBreaker(tries_at=clock() + 30 * SECOND, probed_by=None)
    house.dispatcher.adopt(replace(NOTHING, breakers={ERP: down}))
    await house.accept(step_for("erp"), start=False)
    await turns()
    assert house.runner.seen == []
    clock.advance(31 * SECOND)
    house.dispatcher.adopt(replace(NOTHING, breakers={ERP: replace(down, probed_by=NodeId(2))}))
    await turns()
    assert (house.runner.seen, house.dispatcher.lane_status(ERP).breaker) == ([], "open")
    house.dispatcher.adopt(replace(NOTHING, breakers={ERP: replace(down, probed_by=NodeId(1))}))
    await house.until_tries(1)
    assert house.dispatcher.lane_status(ERP).breaker == "half-open"


async def test_a_lane_that_is_up_again_comes_back_slowly(house: House, clock: Clock) -> None:
    down = OpenBreaker(tries_at=clock(), probed_by=NodeId(2))
    house.dispatcher.adopt(replace(NOTHING, breakers={ERP: down}))
    house.dispatcher.adopt(NOTHING)
    assert (house.dispatcher.lane_status(ERP).is_ramping, house.dispatcher.lane_status(ERP).limit) == (True, 1)


async def test_a_lane_of_which_nothing_is_this_nodes_is_not_asked_for(
    store: SlowStore, clock: Clock, peers: Peers
) -> None:
    async with at_work(store, clock, Ids(clock), peers=peers, concurrency=0) as house:
        (delivery,) = await house.accept(step_for("erp"))
        assert delivery.token is None
        for _ in range(20):
            house.dispatcher.told()
            await turns(5)
        assert (store.claims, house.runner.seen) == (0, [])


async def test_what_another_node_left_is_found_without_news(house: House, store: SlowStore, clock: Clock) -> None:
    await house.until(lambda: house.dispatcher._claims.is_idle)
    step = step_for("erp")
    async with at_work(store, clock, house.ids, peers=Peers(is_member=False)) as other:
        await other.accept(step)
        with anyio.fail_after(20):
            while not house.runner.seen:  # noqa: ASYNC110 - it looks every second
                await anyio.sleep(0.01)


@pytest.mark.parametrize("is_alone", [True, False])
async def test_the_last_node_sends_what_is_to_be_sent_at_a_stop(house: House, peers: Peers, *, is_alone: bool) -> None:
    peers.is_alone = is_alone
    flushed: list[bool] = []

    async def flush() -> None:
        flushed.append(True)

    house.dispatcher._flush = flush  # type: ignore[method-assign]
    await house.dispatcher.drain(timedelta(seconds=1))
    assert flushed == [True] * is_alone
