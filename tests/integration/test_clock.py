"""A clock that jumps, while it runs and across a restart: nothing is hurried, stranded, forgotten or sent twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest

from hookline.daemon.clock_watch import LONGEST_DUE_IN, ClockWatch
from hookline.daemon.delivery.runner import Result
from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.metrics.counters import Metrics
from hookline.daemon.steady_clock import BELIEVED_AFTER, SteadyClock
from hookline.daemon.store.changes import Lane, Outcome
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import Bounds, Breaker, Rate
from tests.integration.spine import QUICK, Log, Spine

pytestmark = pytest.mark.anyio

START = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TEN_YEARS = timedelta(days=3652)
JUMPS = pytest.mark.parametrize("by", [HOUR, -HOUR, 400 * DAY, -TEN_YEARS], ids=["+1 h", "-1 h", "+400 d", "-10 years"])
DOWN = Result(outcome=Outcome.TRANSIENT, duration=QUICK, status=503, note="503")
RETRIED = "rules: [{name: a, from: shop, do: {erp: {}, retry: {schedule: [60s, 60s], jitter: 0%}}}]\n"
ONCE = "rules: [{name: a, from: shop, do: {erp: {}, once: {per: $.n, within: 1d}}}]\n"
EVERY = {"events": 30 * DAY, "dedupe": 90 * DAY, "dead": 30 * DAY}


@dataclass
class Machine:
    """A clock that can be set, and seconds that cannot; it outlives the daemon."""

    wall: datetime = START
    passed: float = 1000.0


class Daemon:
    """A spine by the steady time, with its watch."""

    def __init__(self, spine: Spine, machine: Machine, watch: ClockWatch, metrics: Metrics) -> None:
        self.spine, self.machine, self.watch, self.metrics = spine, machine, watch, metrics

    async def pass_(self, duration: timedelta) -> None:
        self.machine.passed += duration.total_seconds()
        self.machine.wall += duration
        await self.watch.look()
        self.spine.dispatcher.wake()

    async def jump(self, by: timedelta) -> None:
        self.machine.wall += by
        await self.watch.look()
        self.spine.dispatcher.wake()

    async def settle(self) -> int:
        """Return how many attempts there were when nothing is left to do now."""

        async def holds() -> bool:
            return self.spine.dispatcher.unsettled == 0 and self.spine.dispatcher._claims.is_idle

        await self.spine.until(holds)
        return len(self.spine.runner.seen)


Start: TypeAlias = Callable[[str], AbstractAsyncContextManager[Daemon]]


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def start(tmp_path: Path, machine: Machine) -> Start:
    """Return what starts a daemon on the one store; it is there for as long as the block."""

    @asynccontextmanager
    async def run(rules: str) -> AsyncIterator[Daemon]:
        clock = SteadyClock(wall=lambda: machine.wall, passed=lambda: machine.passed)
        ids = Ids(clock)
        store = SqliteStore(tmp_path / "hookline.db", clock=clock, since=clock.since, ids=ids)
        await store.open()
        try:
            spine, metrics = Spine(store, clock, ids, rules), Metrics()
            watch = ClockWatch(clock=clock, store=store, waiting=spine.dispatcher, metrics=metrics, log=spine.log)  # type: ignore[arg-type] # what is used of it
            await watch.begin()
            async with spine.at_work():
                yield Daemon(spine, machine, watch, metrics)
        finally:
            await store.close()

    return run


@JUMPS
async def test_a_retry_comes_when_its_wait_is_over_and_not_before(start: Start, by: timedelta) -> None:
    async with start(RETRIED) as daemon:
        daemon.spine.runner.answers["erp"] = DOWN
        await daemon.spine.send()
        await daemon.spine.until_seen(1)
        await daemon.pass_(20 * SECOND)
        await daemon.jump(by)
        await daemon.pass_(30 * SECOND)
        assert await daemon.settle() == 1
        # A time that is ahead of the clock goes a tenth slower.
        await daemon.pass_(17 * SECOND)
        await daemon.spine.until_seen(2)
        await daemon.pass_(59 * SECOND)
        assert await daemon.settle() == 2
        await daemon.pass_(8 * SECOND)
        await daemon.spine.until_seen(3)


@JUMPS
async def test_a_retry_is_not_stranded_by_a_restart(start: Start, machine: Machine, by: timedelta) -> None:
    async with start(RETRIED) as daemon:
        daemon.spine.runner.answers["erp"] = DOWN
        await daemon.spine.send()
        await daemon.spine.until_seen(1)
    machine.wall += by
    async with start(RETRIED) as daemon:
        await daemon.pass_(67 * SECOND)
        await daemon.spine.until_seen(1)
        assert await daemon.spine.states() == ["delivered"]


@JUMPS
async def test_a_clock_that_was_wrong_and_is_set_right_while_it_is_off_strands_nothing(
    start: Start, machine: Machine, by: timedelta
) -> None:
    async with start(RETRIED) as daemon:
        await daemon.jump(by)
        await daemon.pass_(5 * MINUTE)
        daemon.spine.runner.answers["erp"] = DOWN
        await daemon.spine.send()
        await daemon.spine.until_seen(1)
    machine.wall -= by
    async with start(RETRIED) as daemon:
        await daemon.pass_(67 * SECOND)
        await daemon.spine.until_seen(1)


@JUMPS
async def test_nothing_is_forgotten_by_a_jump(start: Start, machine: Machine, by: timedelta) -> None:
    async with start(RETRIED) as daemon:
        first = await daemon.spine.send(key="once")
        await daemon.jump(by)
        assert await daemon.spine.send(key="once") == first
        assert await daemon.spine.store.prune(**EVERY, limit=1000) == 0
    async with start(RETRIED) as daemon:
        assert await daemon.spine.send(key="once") == first
        assert await daemon.spine.store.prune(**EVERY, limit=1000) == 0
        assert await daemon.spine.send(key="another") > first
        await daemon.settle()
        assert await daemon.spine.states() == ["delivered", "delivered"]


async def test_a_jump_ahead_between_two_runs_forgets_nothing_until_the_clock_has_stood_by_it(
    start: Start, machine: Machine
) -> None:
    async with start(RETRIED) as daemon:
        first = await daemon.spine.send(key="once")
        await daemon.settle()
    machine.wall += 400 * DAY
    async with start(RETRIED) as daemon:
        (line,) = daemon.spine.log.of("clock.gap")
        assert line["by"] == "400 d"
        assert await daemon.spine.send(key="once") == first
        assert await daemon.spine.store.prune(**EVERY, limit=1000) == 0
        for _ in range(BELIEVED_AFTER // HOUR + 2):
            await daemon.pass_(HOUR)
        assert await daemon.spine.store.prune(**EVERY, limit=1000) > 0
        assert await daemon.spine.send(key="once") > first


async def test_what_is_older_goes_in_time_though_the_clock_was_ahead_for_a_while(start: Start) -> None:
    async with start(RETRIED) as daemon:
        await daemon.spine.send(key="before")
        await daemon.jump(400 * DAY)
        await daemon.spine.send(key="while")
        await daemon.jump(-400 * DAY)
        await daemon.spine.send(key="after")
        await daemon.settle()
        await daemon.pass_(30 * DAY)
        assert await daemon.spine.store.prune(**EVERY, limit=1000) == 0
        # A tenth slower, until the clock is where it was when that was stored.
        await daemon.pass_(4 * DAY)
        assert await daemon.spine.store.prune(**EVERY, limit=1000) >= 6
        assert not await daemon.spine.states()


@JUMPS
async def test_ids_rise(start: Start, machine: Machine, by: timedelta) -> None:
    made = []
    async with start(RETRIED) as daemon:
        made.append(await daemon.spine.send())
        await daemon.jump(by)
        made += [await daemon.spine.send(key=f"a{n}") for n in range(20)]
    machine.wall -= 2 * by
    async with start(RETRIED) as daemon:
        made += [await daemon.spine.send(key=f"b{n}") for n in range(20)]
    assert made == sorted(set(made))


@JUMPS
async def test_a_delivery_that_runs_is_not_taken_for_lost(start: Start, by: timedelta) -> None:
    async with start(RETRIED) as daemon:
        lane, spine = Lane("erp"), daemon.spine
        spine.policies[lane] = LanePolicy(concurrency=1)
        token = spine.dispatcher.reserve(lane)
        assert token is not None
        await daemon.jump(by)
        assert not await spine.store.lost(limit=10)
        spine.dispatcher.vacate([token])


async def test_a_rate_and_a_pause_are_kept_over_a_jump_ahead(start: Start) -> None:
    bounds = Bounds(rate=Rate(count=1, per=HOUR), breaker=Breaker(share=1.0, least=5, within=MINUTE, pause=MINUTE))
    async with start(RETRIED) as daemon:
        daemon.spine.policies["erp"] = LanePolicy(concurrency=4, bounds=bounds)
        for _ in range(5):
            await daemon.spine.send()
        assert await daemon.settle() == 1
        await daemon.jump(400 * DAY)
        assert await daemon.settle() == 1
        await daemon.pass_(59 * MINUTE)
        assert await daemon.settle() == 1
        await daemon.pass_(MINUTE)
        await daemon.spine.until_seen(2)


async def test_a_jump_ahead_makes_nothing_give_up(start: Start) -> None:
    rules = RETRIED.replace("jitter: 0%", "jitter: 0%, give_up_after: 1h")
    async with start(rules) as daemon:
        daemon.spine.runner.answers["erp"] = DOWN
        await daemon.spine.send()
        await daemon.spine.until_seen(1)
        await daemon.jump(400 * DAY)
        await daemon.pass_(61 * SECOND)
        await daemon.spine.until_seen(2)
        assert await daemon.spine.states() == ["pending"]


async def test_what_once_suppresses_is_suppressed_over_a_jump_ahead(start: Start) -> None:
    async with start(ONCE) as daemon:
        await daemon.spine.send({"n": 1})
        await daemon.jump(400 * DAY)
        await daemon.spine.send({"n": 1})
        await daemon.settle()
        assert len(daemon.spine.runner.seen) == 1
        await daemon.pass_(DAY + MINUTE)
        await daemon.spine.send({"n": 1})
        await daemon.settle()
        assert len(daemon.spine.runner.seen) >= 2


async def test_it_is_said_once_and_counted(start: Start) -> None:
    async with start(RETRIED) as daemon:
        daemon.spine.runner.answers["erp"] = DOWN
        await daemon.spine.send()
        await daemon.spine.until_seen(1)
        await daemon.jump(HOUR)
        await daemon.jump(-2 * HOUR)
        for _ in range(3):
            await daemon.pass_(SECOND)
        ahead, back = daemon.spine.log.of("clock.jumped")
        assert (ahead["by"], ahead["put_off"]) == ("60 m ahead", 1)
        assert (back["by"], back["put_off"]) == ("2 h back", 0)
        assert "2 h ahead of the clock" in back["meaning"]
        value = daemon.metrics.registry.get_sample_value
        assert value("hookline_clock_jumps_total", {"direction": "ahead"}) == 1
        assert value("hookline_clock_jumps_total", {"direction": "back"}) == 1
        assert 7190 < (value("hookline_clock_ahead_seconds") or 0) <= 7200


async def test_a_start_pulls_in_what_no_rule_could_have_put_off_so_far(
    start: Start, machine: Machine, tmp_path: Path
) -> None:
    async with start(RETRIED) as daemon:
        daemon.spine.runner.answers["erp"] = DOWN
        await daemon.spine.send()
        await daemon.spine.until_seen(1)
        assert await daemon.spine.store.put_off(TEN_YEARS, after=START) == 1
    async with start(RETRIED) as daemon:
        (line,) = daemon.spine.log.of("clock.pulled_in")
        assert line["deliveries"] == 1
        (waits,) = await daemon.spine.deliveries()
        assert waits.due_at <= machine.wall + LONGEST_DUE_IN


async def test_a_store_in_trouble_does_not_end_the_watch(start: Start) -> None:
    async with start(RETRIED) as daemon:
        log = daemon.spine.log
        assert isinstance(log, Log)
        store = daemon.watch._store

        class Broken:
            async def note(self, name: str, value: object) -> None:
                raise StoreError("full", kind="disk_full")

        daemon.watch._store = Broken()  # type: ignore[assignment]
        await daemon.jump(HOUR)
        assert log.of("clock.not_written")[0]["why"] == "full"
        daemon.watch._store = store
        await daemon.pass_(SECOND)
