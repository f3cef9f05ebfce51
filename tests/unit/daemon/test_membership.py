"""A node among others, on a store that answers as the test says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import anyio
import pytest
import structlog
from structlog.testing import capture_logs

from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.nodes.leading import Leading
from hookline.daemon.nodes.membership import About, Membership, NodePace
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sharing import DUE, SHARED, Node, NodeId, NodeReport, Shared, SharedStore

pytestmark = pytest.mark.anyio

AT = datetime(2026, 5, 4, tzinfo=UTC)
PACE = NodePace(lease=timedelta(seconds=10), every=timedelta(seconds=2), patience=timedelta(seconds=5))


class Table:
    """What the store says, and who reported what."""

    def __init__(self) -> None:
        self.reports: dict[int, NodeReport] = {}
        self.revision = 0
        self.view = 0
        self.left: list[int] = []
        self.trouble: StoreError | None = None
        self.leads = True
        self.hears: Callable[[Collection[str]], None] = lambda _: None
        #: Called in each meeting, before its answer is made.
        self.during: Callable[[], None] = lambda: None

    async def meet(self, report: NodeReport, *, lease: timedelta) -> Shared:
        assert lease == PACE.lease
        await anyio.lowlevel.checkpoint()
        if self.trouble is not None:
            raise self.trouble
        self.during()
        if report.id not in self.reports:
            self.view += 1
        self.reports[report.id] = report
        nodes = tuple(_node(one) for one in self.reports.values())
        return Shared(
            now=AT,
            revision=self.revision,
            view=self.view,
            members=nodes,
            nodes=nodes,
            held={},
            failing={},
            breakers={},
            paused={},
            strays={},
        )

    async def leave(self, node: NodeId) -> None:
        self.left.append(node)

    async def lead(self) -> bool:
        return self.leads

    def on_news(self, told: Callable[[Collection[str]], None]) -> None:
        self.hears = told


def _node(report: NodeReport) -> Node:
    said = {name: getattr(report, name) for name in NodeReport.__dataclass_fields__}
    return Node(**said, seen_at=AT, is_member=True, slot=0)


class Clock:
    def __init__(self) -> None:
        self.heard_at: list[tuple[datetime, float]] = []

    def asked(self) -> float:
        return 7.0

    def heard(self, at: datetime, *, asked_s: float) -> None:
        self.heard_at.append((at, asked_s))


class Work:
    running_in: Mapping[Lane, int] = {}

    def __init__(self) -> None:
        self.wakes = 0

    def told(self) -> None:
        self.wakes += 1


class World:
    def __init__(self) -> None:
        self.table, self.clock, self.work, self.seconds = Table(), Clock(), Work(), 100.0
        self.one = self.node(1)

    def node(self, number: int) -> Membership:
        one = Membership(
            store=cast(SharedStore, self.table),
            about=About(
                id=NodeId(number),
                name=f"node{number}",
                version="1",
                started_at=AT,
                rules=lambda: "r",
                address=lambda: "a",
            ),
            clock=self.clock,
            policies=lambda _: LanePolicy(concurrency=4),
            log=structlog.get_logger(),
            pace=PACE,
            passed=lambda: self.seconds,
        )
        one.work = self.work
        return one


@pytest.fixture
def world() -> World:
    return World()


async def test_nothing_may_begin_before_a_node_is_a_member(world: World) -> None:
    assert not world.one.may_begin()
    assert world.one.policy(Lane("erp")).concurrency == 0
    await world.one.join()
    assert world.one.may_begin()
    assert world.one.policy(Lane("erp")).concurrency == 4
    assert world.clock.heard_at == [(AT, 7.0)] * 2


async def test_what_a_node_acts_by_is_said_at_once(world: World) -> None:
    await world.one.join()
    assert (world.table.reports[1].view, world.table.reports[1].revision) == (1, 0)


async def test_followers_know_of_a_revision_before_it_is_said_that_this_node_acts_by_it(world: World) -> None:
    told: list[int] = []
    world.one.followers.append(lambda shared: told.append(shared.revision))
    await world.one.join()
    world.table.revision = 5
    world.table.during = lambda: told.append(-world.table.reports[1].revision)
    await world.one.settle()
    assert told[told.index(5) :] == [5, -0, 5], told
    assert world.table.reports[1].revision == 5


async def test_what_cannot_be_read_anew_is_not_acted_by(world: World) -> None:
    await world.one.join()

    async def fails() -> None:
        raise StoreError("away", kind="away")

    world.one.readers.append(fails)
    world.table.revision = 5
    with pytest.raises(StoreError):
        await world.one.join()
    assert world.table.reports[1].revision == 0


async def test_a_node_that_was_not_seen_for_its_lease_begins_nothing(world: World) -> None:
    await world.one.join()
    world.seconds += 9.9
    assert world.one.may_begin()
    world.seconds += 0.1
    assert not world.one.may_begin()
    await world.one.join()
    assert world.one.may_begin()


async def test_the_lease_counts_from_before_the_meeting(world: World) -> None:
    def slow() -> None:
        world.seconds += 6

    world.table.during = slow
    await world.one.join()
    # Two meetings; the second was asked for at 106 and answered at 112.
    world.seconds = 115.9
    assert world.one.may_begin()
    world.seconds = 116
    assert not world.one.may_begin()


async def test_settling_waits_until_the_others_act_by_the_revision(world: World) -> None:
    other = world.node(2)
    await world.one.join()
    await other.join()
    world.table.revision = 3
    meetings = 0

    def follows() -> None:
        nonlocal meetings
        meetings += 1
        if meetings == 4:
            said = world.table.reports[2]
            fields = {name: getattr(said, name) for name in NodeReport.__dataclass_fields__}
            world.table.reports[2] = NodeReport(**fields | {"revision": 3})

    world.table.during = follows
    with capture_logs() as logs:
        await world.one.settle()
    assert meetings >= 4
    assert logs == []


async def test_who_does_not_follow_is_named(world: World) -> None:
    other = world.node(2)
    await world.one.join()
    await other.join()
    world.table.revision = 3

    def passes() -> None:
        world.seconds += 1

    world.table.during = passes
    with capture_logs() as logs:
        await world.one.settle()
    assert [(line["event"], line["nodes"]) for line in logs] == [("nodes.do_not_follow", ["node2"])]


async def test_news_of_what_is_due_wake_the_work(world: World) -> None:
    await world.one.join()
    world.table.hears({SHARED})
    assert world.work.wakes == 0
    world.table.hears({DUE})
    assert world.work.wakes == 1


async def test_news_of_what_is_shared_are_read_at_once(world: World) -> None:
    await world.one.join()
    seen: list[int] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.one.run)
        with anyio.fail_after(20):
            while not world.one.is_leader:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            await anyio.wait_all_tasks_blocked()
            world.table.revision = 9
            world.table.during = lambda: seen.append(9)
            world.table.hears({SHARED})
            while world.table.reports[1].revision != 9:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    assert seen == [9, 9]


async def test_who_has_left_comes_not_back(world: World) -> None:
    await world.one.join()
    await world.one.leave()
    assert world.table.left == [1]
    assert not world.one.may_begin()
    before = world.table.reports.pop(1)
    world.seconds += 10
    await world.one.settle()
    assert before.id not in world.table.reports
    with anyio.fail_after(30):
        await world.one.run()


async def test_duties_are_done_while_a_node_leads() -> None:
    leads, began, ended = True, anyio.Event(), anyio.Event()

    async def duty() -> None:
        try:
            began.set()
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:
        leading = Leading([duty], is_leader=lambda: leads, log=cast(Any, structlog.get_logger()))
        tasks.start_soon(leading.run)
        with anyio.fail_after(20):
            await began.wait()
            leads = False
            await ended.wait()
            began, ended = anyio.Event(), anyio.Event()
            leads = True
            await began.wait()
        tasks.cancel_scope.cancel()
