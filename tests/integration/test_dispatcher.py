"""The dispatcher on a store, with a runner that does as it is told and a clock that stands still until moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hookline.daemon.delivery.dispatcher import Dispatcher, LanePolicy, Material, Pace
from hookline.daemon.delivery.notices import NoNotices, Notices
from hookline.daemon.delivery.peers import Peers
from hookline.daemon.delivery.recorder import Recorder
from hookline.daemon.delivery.runner import Inspection, Result, Work
from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Answer,
    Attempt,
    Cancel,
    Change,
    DeliveryId,
    DigestGate,
    FlushDigests,
    Lane,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Replay,
    Request,
    SetHealth,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import Reader, Store, StoreError
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import Claimed, StoredDelivery
from hookline.plugins import Delivery
from hookline.rules import Bounds, Breaker, Digest, Event, Modifiers, Problem, Rate, RetryPolicy, Step

pytestmark = pytest.mark.anyio

START = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
QUICK = timedelta(milliseconds=3)
DELIVERED = Result(outcome=Outcome.DELIVERED, duration=QUICK, status=200, note="sent")
REFUSED = Result(outcome=Outcome.TRANSIENT, duration=QUICK, status=503, note="503 Service Unavailable")


@dataclass
class Clock:
    """Stands still until moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


@dataclass
class Lines:
    """Keeps what is logged."""

    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    info = warning = debug

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]


class ScriptedRunner:
    """Answers each destination by its script; a destination without one delivers at once."""

    def __init__(self) -> None:
        self.seen: list[Delivery] = []
        self.limits: list[timedelta] = []
        self.suspects: list[bool] = []
        self.scripts: dict[str, Callable[[Delivery], Awaitable[Result]]] = {}
        #: What a destination that was waited for answers.
        self.last_words: dict[str, Result] = {}
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def answers(self, destination: str, *results: Result) -> None:
        """Give these answers in turn, the last for ever."""
        left = list(results)

        async def script(delivery: Delivery) -> Result:
            return left.pop(0) if len(left) > 1 else left[0]

        self.scripts[destination] = script

    def hangs(self, destination: str) -> None:
        async def script(delivery: Delivery) -> Result:
            await anyio.sleep_forever()
            raise AssertionError

        self.scripts[destination] = script

    def waits_for(self, destination: str, event: anyio.Event) -> None:
        async def script(delivery: Delivery) -> Result:
            await event.wait()
            return self.last_words.get(destination, DELIVERED)

        self.scripts[destination] = script

    async def inspect(self) -> Inspection:
        return Inspection(actions={}, problems=())

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        return []

    async def render(self, delivery: Delivery, step: Step) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        pass

    async def run(self, work: Work) -> Result:
        delivery = work.delivery
        self.seen.append(delivery)
        self.limits.append(work.limit)
        self.suspects.append(work.is_suspect)
        name = delivery.destination
        self.running[name] += 1
        self.most[name] = max(self.most[name], self.running[name])
        try:
            script = self.scripts.get(name)
            if script is not None:
                return await script(delivery)
            await anyio.lowlevel.checkpoint()
            return DELIVERED
        finally:
            self.running[name] -= 1

    def tries(self, destination: str) -> list[int]:
        return [delivery.attempt for delivery in self.seen if delivery.destination == destination]


class FailingMemoryStore(MemoryStore):
    """A memory store that is in trouble when told to be."""

    refuses_records = False
    loses_answers = False
    refuses_claims = False

    async def write(self, changes: Sequence[Change]) -> list[Answer]:
        if self.refuses_records and any(isinstance(change, Record) for change in changes):
            await anyio.lowlevel.checkpoint()
            raise StoreError("disk full")
        answers = await super().write(changes)
        if self.loses_answers:
            self.loses_answers = False
            raise StoreError("no answer came")
        return answers

    async def claim(self, room: Mapping[Lane, int], *, lease: timedelta) -> list[Claimed]:
        if self.refuses_claims:
            await anyio.lowlevel.checkpoint()
            raise StoreError("locked")
        return await super().claim(room, lease=lease)


def step_for(destination: str, **modifiers: Any) -> Step:
    return Step(
        rule="a rule",
        rule_facts={},
        destination=destination,
        action=None,
        options={},
        modifiers=Modifiers(**modifiers),
        vars={},
    )


@dataclass
class House:
    """A dispatcher at work, with what it works with."""

    store: Store
    commit: GroupCommit
    dispatcher: Dispatcher
    runner: ScriptedRunner
    clock: Callable[[], datetime]
    ids: Ids
    log: Lines

    async def accept(self, *steps: Step, key: str | None = None, start: bool = True, **more: Any) -> list[NewDelivery]:
        """Do as the intake does; with `start=False` like an intake that finds no room anywhere.

        `more` are fields of the deliveries: one that has any has no token.
        """
        await self.store.keep({step.digest: step.text for step in steps})
        event = make_event(self.ids, self.clock(), key)
        deliveries = [
            NewDelivery(
                id=self.ids.delivery(),
                rule=step.rule,
                step=step.digest,
                lane=Lane(step.lane),
                destination=step.label,
                token=self.dispatcher.reserve(Lane(step.lane)) if start and not more else None,
                **more,
            )
            for step in steps
        ]
        (answer,) = await self.commit.submit(accept_of(event, deliveries))
        if answer.is_duplicate:
            self.dispatcher.vacate(delivery.token for delivery in deliveries if delivery.token is not None)
            return []
        for delivery, step in zip(deliveries, steps, strict=True):
            if delivery.token is None:
                self.dispatcher.queued(delivery.lane, delivery.due_in)
                continue
            self.dispatcher.start(claimed_of(delivery, event), material_of(event, step))
        return deliveries

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let everything else go on until it holds."""
        with anyio.fail_after(20):
            while not holds():
                await anyio.lowlevel.checkpoint()

    async def until_tries(self, count: int) -> None:
        await self.until(lambda: len(self.runner.seen) == count)

    async def until_recorded(self) -> None:
        """Let what is written beside records be written: it rides with a batch of its own."""
        await self.until(lambda: not self.dispatcher._recorder._turns)

    async def until_due_at(self, delivery: NewDelivery, due_at: datetime) -> None:
        with anyio.fail_after(20):
            while (await self.stored(delivery)).due_at != due_at:
                await anyio.lowlevel.checkpoint()

    async def settle(self) -> None:
        """Let everything go on until nothing runs and every result is recorded."""
        await self.until(lambda: self.dispatcher.unsettled == 0)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        reader = self.store.reader()
        try:
            yield reader
        finally:
            await reader.close()

    async def state(self, delivery: NewDelivery) -> State:
        stored = await self.stored(delivery)
        return stored.state

    async def stored(self, delivery: NewDelivery) -> StoredDelivery:
        async with self.reading() as reader:
            stored = await reader.delivery(delivery.id)
        assert stored is not None
        return stored

    async def attempts(self, delivery: NewDelivery) -> list[Attempt]:
        async with self.reading() as reader:
            return await reader.attempts(delivery.id)

    async def counts(self) -> Mapping[str, int]:
        async with self.reading() as reader:
            return await reader.counts()


def make_event(ids: Ids, now: datetime, key: str | None) -> Event:
    event_id = ids.event()
    return Event(
        id=event_id,
        source="shop",
        type="order.paid",
        sender_id=None,
        key=key or event_id,
        tenant=None,
        occurred_at=None,
        received_at=now,
        headers={},
        query={},
        client_ip="127.0.0.1",
        payload={},
        envelope=None,
    )


def accept_of(event: Event, deliveries: Sequence[NewDelivery]) -> Accept:
    return Accept(
        request=Request(body=b"{}", content_type="", headers={}, query={}, client_ip="127.0.0.1"),
        events=(NewEvent(event=event, pointer=None, rules_version="v1", deliveries=tuple(deliveries)),),
        dedupe_window=timedelta(days=1),
    )


def claimed_of(delivery: NewDelivery, event: Event) -> Claimed:
    assert delivery.token is not None
    return Claimed(
        id=delivery.id,
        token=delivery.token,
        event_id=event.id,
        rule=delivery.rule,
        step=delivery.step,
        lane=delivery.lane,
        destination=delivery.destination,
        attempts=0,
        created_at=event.received_at,
    )


def material_of(event: Event, step: Step) -> Material:
    return Material(event=event, body=b"{}", content_type="", is_split=False, step=step)


@asynccontextmanager
async def at_work(
    store: Store,
    clock: Callable[[], datetime],
    ids: Ids,
    *,
    runner: ScriptedRunner | None = None,
    concurrency: int = 4,
    pace: Pace | None = None,
    modifiers: Modifiers | None = None,
    bounds: Bounds | None = None,
    notices: Notices | None = None,
    in_trouble: Callable[[], bool] = lambda: False,
    peers: Peers | None = None,
) -> AsyncIterator[House]:
    commit = GroupCommit(store)
    runner = runner or ScriptedRunner()
    log = Lines()
    policy = LanePolicy(concurrency=concurrency, modifiers=modifiers or Modifiers(), bounds=bounds or Bounds())
    dispatcher = Dispatcher(
        store=store,
        commit=commit,
        runner=runner,
        policies=lambda _: policy,
        clock=clock,
        chance=lambda: 0.5,
        ids=ids,
        log=log,
        notices=notices,
        pace=pace,
        in_trouble=in_trouble,
        peers=peers,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(commit.run)
        await group.start(dispatcher.run)
        yield House(store, commit, dispatcher, runner, clock, ids, log)
        group.cancel_scope.cancel()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ids(clock: Clock) -> Ids:
    return Ids(clock)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, clock: Clock, ids: Ids, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    if request.param == "memory":
        made = MemoryStore(clock=clock, ids=ids)
    else:
        made = SqliteStore(tmp_path / "hookline.db", clock=clock, ids=ids)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def failing(clock: Clock, ids: Ids) -> AsyncIterator[FailingMemoryStore]:
    made = FailingMemoryStore(clock=clock, ids=ids)
    await made.open()
    yield made
    await made.close()


async def test_what_is_accepted_is_delivered_and_recorded(store: Store, clock: Clock, ids: Ids) -> None:
    async with at_work(store, clock, ids) as house:
        (delivery,) = await house.accept(step_for("erp"))
        await house.settle()
        assert await house.state(delivery) is State.DELIVERED
        (attempt,) = await house.attempts(delivery)
    assert (attempt.number, attempt.outcome, attempt.status, attempt.note) == (1, Outcome.DELIVERED, 200, "sent")
    (line,) = house.log.of("delivery.attempted")
    assert line == {
        "event_type": "order.paid",
        "event_id": house.runner.seen[0].event.id,
        "delivery_id": delivery.id,
        "rule": "a rule",
        "destination": "erp",
        "attempt": 1,
        "is_replay": False,
        "outcome": "delivered",
        "status": 200,
        "milliseconds": 3.0,
        "state": "delivered",
        "decision": None,
        "trace": None,
    }


async def test_what_found_no_room_is_claimed_later_with_all_it_needs(store: Store, clock: Clock, ids: Ids) -> None:
    async with at_work(store, clock, ids) as house:
        (delivery,) = await house.accept(step_for("erp"), start=False)
        await house.until(lambda: len(house.runner.seen) == 1)
        await house.settle()
        assert await house.state(delivery) is State.DELIVERED
    (seen,) = house.runner.seen
    assert (seen.id, seen.event.type, seen.body, seen.rule, seen.attempt) == (
        delivery.id,
        "order.paid",
        b"{}",
        "a rule",
        1,
    )


async def test_a_thousand_over_ten_lanes_are_delivered_once_each(store: Store, clock: Clock, ids: Ids) -> None:
    async with at_work(store, clock, ids, concurrency=3) as house:
        accepted: list[DeliveryId] = []

        async def send(number: int) -> None:
            for turn in range(10):
                made = await house.accept(*[step_for(f"lane{(number + turn + more) % 10}") for more in range(2)])
                accepted.extend(delivery.id for delivery in made)

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(send, number)
        await house.until(lambda: len(house.runner.seen) == 1000)
        await house.settle()
        assert (await house.counts())["delivered"] == 1000
    assert Counter(delivery.id for delivery in house.runner.seen) == Counter(accepted)
    assert max(house.runner.most.values()) == 3


async def test_a_dead_lane_delays_no_other(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    runner.hangs("dead")
    async with at_work(store, clock, ids, runner=runner) as house:
        for _ in range(50):
            await house.accept(step_for("dead"), step_for("alive"))
        await house.until(lambda: len(runner.tries("alive")) == 50)
        await house.until(lambda: runner.running["alive"] == 0)
        assert runner.running["dead"] == 4


async def test_failures_are_tried_again_by_schedule_until_dead(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    runner.answers("erp", REFUSED)
    retry = RetryPolicy(schedule=(10 * SECOND, 100 * SECOND))
    async with at_work(store, clock, ids, runner=runner, modifiers=Modifiers(retry=retry)) as house:
        (delivery,) = await house.accept(step_for("erp"))
        for tries, wait in [(1, 10 * SECOND), (2, 100 * SECOND)]:
            await house.until_tries(tries)
            await house.settle()
            stored = await house.stored(delivery)
            assert (stored.state, stored.due_at, stored.attempts) == (State.PENDING, clock() + wait, tries)
            clock.advance(wait - SECOND)
            house.dispatcher.wake()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert len(runner.seen) == tries
            clock.advance(SECOND)
            house.dispatcher.wake()
        await house.until(lambda: len(runner.seen) == 3)
        await house.settle()
        assert await house.state(delivery) is State.DEAD
        assert [attempt.number for attempt in await house.attempts(delivery)] == [1, 2, 3]
    assert [line["state"] for line in house.log.of("delivery.attempted")] == ["pending", "pending", "dead"]


async def test_a_due_time_wakes_the_sleeping_dispatcher_by_itself() -> None:
    def clock() -> datetime:
        return datetime.now(UTC)

    ids = Ids(clock)
    store = MemoryStore(clock=clock, ids=ids)
    await store.open()
    runner = ScriptedRunner()
    runner.answers("erp", REFUSED, DELIVERED)
    retry = RetryPolicy(schedule=(timedelta(milliseconds=30),))
    async with at_work(store, clock, ids, runner=runner) as house:
        (delivery,) = await house.accept(step_for("erp", retry=retry))
        await house.until(lambda: len(runner.seen) == 2)
        await house.settle()
        assert await house.state(delivery) is State.DELIVERED


async def test_retry_after_puts_off(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    asked = Result(outcome=Outcome.TRANSIENT, duration=QUICK, status=429, retry_after=timedelta(hours=2))
    runner.answers("erp", asked)
    async with at_work(store, clock, ids, runner=runner) as house:
        (delivery,) = await house.accept(step_for("erp"))
        await house.settle()
        assert (await house.stored(delivery)).due_at == clock() + timedelta(hours=2)


async def test_a_step_says_before_its_destination_how_long_and_how_often(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    runner.answers("erp", REFUSED)
    of_lane = Modifiers(timeout=7 * SECOND, retry=RetryPolicy(schedule=(SECOND,)))
    async with at_work(store, clock, ids, runner=runner, modifiers=of_lane) as house:
        (own,) = await house.accept(step_for("erp", timeout=3 * SECOND, retry=RetryPolicy(schedule=())))
        await house.settle()
        (plain,) = await house.accept(step_for("erp"))
        await house.settle()
        assert [await house.state(delivery) for delivery in (own, plain)] == [State.DEAD, State.PENDING]
    assert runner.limits == [3 * SECOND, 7 * SECOND]


async def test_gone_is_dead_and_holds_the_lane_with_what_waits_in_it(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    gone = Result(outcome=Outcome.PERMANENT, duration=QUICK, status=410, note="410 Gone", is_gone=True)
    runner.answers("erp", gone)
    async with at_work(store, clock, ids, runner=runner, concurrency=1) as house:
        first, second = await house.accept(step_for("erp"), step_for("erp"))
        await house.until(lambda: len(house.log.of("destination.held")) == 1)
        await house.settle()
        assert [await house.state(delivery) for delivery in (first, second)] == [State.DEAD, State.PENDING]
        assert await store.held() == {"erp": "410 Gone"}
        runner.answers("erp", DELIVERED)
        await house.dispatcher.release(Lane("erp"))
        await house.until(lambda: len(runner.seen) == 2)
        await house.settle()
        assert await house.state(second) is State.DELIVERED


async def test_what_cannot_be_run_is_held_and_spends_no_attempt(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    missing = Result(outcome=Outcome.TRANSIENT, duration=QUICK, note="no action discord", is_unrunnable=True)
    runner.answers("erp", missing, DELIVERED)
    async with at_work(store, clock, ids, runner=runner) as house:
        both = await house.accept(step_for("erp"), step_for("erp"))
        await house.settle()
        assert await store.held() == {"erp": "missing: no action discord"}
        assert [(await house.stored(one)).attempts for one in both] == [0, 0]
        assert [await house.state(one) for one in both] == [State.PENDING] * 2
        await house.dispatcher.release(Lane("erp"))
        await house.until(lambda: len(runner.seen) == 3)
        await house.settle()
        assert [await house.state(one) for one in both] == [State.DELIVERED] * 2
    assert [seen.attempt for seen in runner.seen] == [1] * 3, "the second saw the hold before it was sent"


async def test_a_held_lane_waits_across_a_restart(store: Store, clock: Clock, ids: Ids) -> None:
    async with at_work(store, clock, ids) as house:
        await house.dispatcher.hold(Lane("erp"), "maintenance")
        (delivery,) = await house.accept(step_for("erp"))
        assert delivery.token is None
    async with at_work(store, clock, ids) as house:
        assert house.dispatcher.reserve(Lane("erp")) is None
        (other,) = await house.accept(step_for("mail"))
        await house.settle()
        assert [await house.state(one) for one in (delivery, other)] == [State.PENDING, State.DELIVERED]
        await house.dispatcher.release(Lane("erp"))
        await house.until(lambda: len(house.runner.seen) == 2)


async def test_a_lease_is_renewed_while_it_runs(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    go_on = anyio.Event()
    runner.waits_for("erp", go_on)
    async with at_work(store, clock, ids, runner=runner) as house:
        (delivery,) = await house.accept(step_for("erp"))
        await house.until(lambda: len(runner.seen) == 1)
        for _ in range(10):
            clock.advance(20 * SECOND)
            await house.dispatcher.tend()
        go_on.set()
        await house.settle()
        stored = await house.stored(delivery)
        assert (stored.state, stored.crashes) == (State.DELIVERED, 0)
    assert len(runner.seen) == 1


async def test_a_result_whose_lease_was_lost_is_dropped(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    go_on = anyio.Event()
    runner.waits_for("erp", go_on)
    async with at_work(store, clock, ids, runner=runner) as house:
        (delivery,) = await house.accept(step_for("erp"))
        await house.until(lambda: len(runner.seen) == 1)
        clock.advance(timedelta(minutes=5))
        (lost,) = await store.lost(limit=10)
        taken = Record(delivery_id=lost.id, token=lost.token, attempt=None, state=State.PENDING)
        assert await house.commit.submit(taken) is True
        await house.dispatcher.hold(Lane("erp"), "so that it is not claimed again")
        await house.dispatcher.tend()
        go_on.set()
        await house.settle()
        assert await house.state(delivery) is State.PENDING
    assert len(house.log.of("delivery.lease_lost")) == 1
    assert len(house.log.of("delivery.result_dropped")) == 1


async def test_what_is_claimed_anew_while_its_first_attempt_runs_here_counts_once(
    store: Store, clock: Clock, ids: Ids
) -> None:
    runner = ScriptedRunner()
    go_on = anyio.Event()
    runner.waits_for("erp", go_on)
    async with at_work(store, clock, ids, runner=runner) as house:
        (delivery,) = await house.accept(step_for("erp"))
        await house.until_tries(1)
        clock.advance(timedelta(minutes=5))
        # As another node does that shares the store.
        (lost,) = await store.lost(limit=10)
        taken = Record(delivery_id=lost.id, token=lost.token, attempt=None, state=State.PENDING)
        assert await house.commit.submit(taken) is True
        house.dispatcher.wake()
        await house.until_tries(2)
        go_on.set()
        await house.settle()
        assert await house.state(delivery) is State.DELIVERED
        assert len(await house.attempts(delivery)) == 1
    assert len(house.log.of("delivery.result_dropped")) == 1


async def test_an_attempt_that_never_ends_is_given_up_on_as_unknown(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    runner.hangs("erp")
    pace = Pace(grace=timedelta(0))
    async with at_work(store, clock, ids, runner=runner, pace=pace) as house:
        (delivery,) = await house.accept(step_for("erp", timeout=timedelta(0)))
        await house.until(lambda: len(runner.seen) == 1)
        await house.dispatcher.tend()
        await house.settle()
        (attempt,) = await house.attempts(delivery)
        assert attempt.outcome is Outcome.UNKNOWN
        assert await house.state(delivery) is State.PENDING


async def test_a_drain_lets_what_runs_end(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    go_on = anyio.Event()
    runner.waits_for("erp", go_on)
    async with at_work(store, clock, ids, runner=runner) as house:
        (delivery,) = await house.accept(step_for("erp"))
        await house.until(lambda: len(runner.seen) == 1)
        async with anyio.create_task_group() as group:
            group.start_soon(house.dispatcher.drain)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            assert house.dispatcher.reserve(Lane("mail")) is None
            go_on.set()
        assert await house.state(delivery) is State.DELIVERED


async def test_a_drain_gives_back_what_does_not_end_and_the_next_start_goes_on(
    store: Store, clock: Clock, ids: Ids
) -> None:
    runner = ScriptedRunner()
    runner.hangs("erp")
    async with at_work(store, clock, ids, runner=runner) as house:
        running = [(await house.accept(step_for("erp")))[0] for _ in range(4)]
        (waiting,) = await house.accept(step_for("erp"))
        await house.until(lambda: len(runner.seen) == 4)
        await house.dispatcher.drain(timedelta(0))
        rows = [await house.stored(delivery) for delivery in (*running, waiting)]
        assert {(row.state, row.attempts, row.crashes, row.due_at) for row in rows} == {(State.PENDING, 0, 0, clock())}
        late = await house.accept(step_for("mail"))
        assert late[0].token is None
    async with at_work(store, clock, ids) as house:
        await house.until(lambda: len(house.runner.seen) == 6)
        await house.settle()
        assert (await house.counts())["delivered"] == 6
    assert all(seen.attempt == 1 for seen in house.runner.seen)


async def claimed_ahead(house: House, go_on: anyio.Event) -> list[NewDelivery]:
    """Return four deliveries of a quick lane that runs one at a time: the first runs, the others wait here."""
    await house.accept(step_for("erp"))
    await house.settle()
    house.runner.waits_for("erp", go_on)
    deliveries = [(await house.accept(step_for("erp")))[0] for _ in range(4)]
    await house.until_tries(2)
    assert [await house.state(one) for one in deliveries] == [State.RUNNING] * 4
    assert house.dispatcher.running == 1
    return deliveries


async def test_what_is_claimed_ahead_runs_one_after_the_other(store: Store, clock: Clock, ids: Ids) -> None:
    go_on = anyio.Event()
    async with at_work(store, clock, ids, concurrency=1) as house:
        deliveries = await claimed_ahead(house, go_on)
        go_on.set()
        await house.until_tries(5)
        await house.settle()
        assert [await house.state(one) for one in deliveries] == [State.DELIVERED] * 4
    assert [seen.id for seen in house.runner.seen[1:]] == [one.id for one in deliveries]
    assert house.runner.most["erp"] == 1


async def test_what_is_claimed_ahead_is_given_back_when_its_lane_is_held(store: Store, clock: Clock, ids: Ids) -> None:
    go_on = anyio.Event()
    async with at_work(store, clock, ids, concurrency=1) as house:
        deliveries = await claimed_ahead(house, go_on)
        await house.dispatcher.hold(Lane("erp"), "maintenance")
        await house.until(lambda: house.dispatcher.unsettled == 1)
        assert [await house.state(one) for one in deliveries] == [State.RUNNING] + [State.PENDING] * 3
        go_on.set()
        await house.settle()
        assert len(house.runner.seen) == 2


async def test_what_is_claimed_ahead_is_given_back_when_its_lane_turns_slow(
    store: Store, clock: Clock, ids: Ids
) -> None:
    go_on, hang = anyio.Event(), anyio.Event()
    slow = Result(outcome=Outcome.UNKNOWN, duration=15 * SECOND)
    async with at_work(store, clock, ids, concurrency=1) as house:
        house.runner.last_words["erp"] = slow
        deliveries = await claimed_ahead(house, go_on)
        house.runner.waits_for("erp", hang)
        go_on.set()
        # The first ended slowly; one of the others is claimed by itself now, and the rest wait where they are seen.
        await house.until_tries(3)
        await house.until(lambda: house.dispatcher.unsettled == 1)
        states = [await house.state(one) for one in deliveries]
        assert sorted(states) == [State.PENDING] * 3 + [State.RUNNING]
        hang.set()


async def test_a_drain_gives_back_at_once_what_is_claimed_ahead(store: Store, clock: Clock, ids: Ids) -> None:
    go_on = anyio.Event()
    async with at_work(store, clock, ids, concurrency=1) as house:
        deliveries = await claimed_ahead(house, go_on)
        async with anyio.create_task_group() as group:
            group.start_soon(house.dispatcher.drain)
            await house.until(lambda: house.dispatcher.unsettled == 1)
            go_on.set()
        rows = [await house.stored(one) for one in deliveries]
        assert [row.state for row in rows] == [State.DELIVERED] + [State.PENDING] * 3
        assert [(row.attempts, row.crashes) for row in rows[1:]] == [(0, 0)] * 3


async def test_a_delivery_that_starts_while_a_drain_cuts_off_is_given_back(
    store: Store, clock: Clock, ids: Ids
) -> None:
    async with at_work(store, clock, ids) as house:
        step = step_for("erp")
        await store.keep({step.digest: step.text})
        token = house.dispatcher.reserve(Lane("erp"))
        event = make_event(ids, clock(), None)
        delivery = NewDelivery(
            id=ids.delivery(), rule="", step=step.digest, lane=Lane("erp"), destination="erp", token=token
        )
        async with anyio.create_task_group() as group:
            group.start_soon(house.dispatcher.drain, timedelta(0))
            await house.commit.submit(accept_of(event, [delivery]))
            house.dispatcher.start(claimed_of(delivery, event), material_of(event, step))
        assert await house.state(delivery) is State.PENDING
    assert house.runner.seen == []


async def test_what_a_crash_left_running_is_resumed_with_no_attempt_spent(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    runner.hangs("erp")
    async with at_work(store, clock, ids, runner=runner) as house:
        (delivery,) = await house.accept(step_for("erp"))
        await house.until(lambda: len(runner.seen) == 1)
    await store.close()
    await store.open()
    async with at_work(store, clock, ids) as house:
        clock.advance(SECOND)
        house.dispatcher.wake()
        await house.until(lambda: len(house.runner.seen) == 1)
        await house.settle()
        stored = await house.stored(delivery)
        assert (stored.state, stored.attempts, stored.crashes) == (State.DELIVERED, 1, 1)
    assert house.runner.seen[0].attempt == 1


async def test_a_duplicate_gives_its_slots_back(store: Store, clock: Clock, ids: Ids) -> None:
    async with at_work(store, clock, ids, concurrency=1) as house:
        await house.accept(step_for("erp"), key="same")
        await house.settle()
        assert await house.accept(step_for("erp"), key="same") == []
        assert house.dispatcher.running == 0
        await house.accept(step_for("erp"), key="another")
        await house.settle()
    assert len(house.runner.seen) == 2


async def test_a_replay_is_found_when_woken(store: Store, clock: Clock, ids: Ids) -> None:
    async with at_work(store, clock, ids) as house:
        (delivery,) = await house.accept(step_for("erp"))
        await house.settle()
        new_id = ids.delivery()
        assert await house.commit.submit(Replay(delivery_id=delivery.id, new_id=new_id)) == new_id
        house.dispatcher.wake()
        await house.until(lambda: len(house.runner.seen) == 2)
    assert house.runner.seen[1].id == new_id


async def test_a_cancelled_delivery_is_not_run(store: Store, clock: Clock, ids: Ids) -> None:
    async with at_work(store, clock, ids) as house:
        await house.dispatcher.hold(Lane("erp"), "for a moment")
        first, second = await house.accept(step_for("erp"), step_for("erp"))
        assert await house.commit.submit(Cancel(delivery_id=first.id)) is True
        await house.dispatcher.release(Lane("erp"))
        await house.until(lambda: len(house.runner.seen) == 1)
        await house.settle()
    assert [seen.id for seen in house.runner.seen] == [second.id]


async def test_a_step_that_the_store_does_not_have_makes_a_visible_dead_letter(
    store: Store, clock: Clock, ids: Ids
) -> None:
    async with at_work(store, clock, ids) as house:
        event = make_event(ids, clock(), None)
        delivery = NewDelivery(id=ids.delivery(), rule="", step="0" * 32, lane=Lane("erp"), destination="erp")
        await house.commit.submit(accept_of(event, [delivery]))
        house.dispatcher.queued(delivery.lane)
        await house.until(lambda: len(house.log.of("delivery.attempted")) == 1)
        await house.settle()
        assert await house.state(delivery) is State.DEAD
        (attempt,) = await house.attempts(delivery)
    assert attempt.note == f"the store has no step {'0' * 32}: replay the event by the rules of now"


FAST_TROUBLE = Pace(pause=timedelta(milliseconds=1))


async def test_a_result_that_the_store_refuses_is_recorded_later_and_not_sent_again(
    failing: FailingMemoryStore, clock: Clock, ids: Ids
) -> None:
    async with at_work(failing, clock, ids, pace=FAST_TROUBLE) as house:
        failing.refuses_records = True
        (delivery,) = await house.accept(step_for("erp"))
        await house.until(lambda: house.dispatcher.is_troubled)
        assert house.dispatcher.reserve(Lane("mail")) is None
        (queued,) = await house.accept(step_for("mail"))
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert len(house.runner.seen) == 1
        failing.refuses_records = False
        await house.until(lambda: len(house.runner.seen) == 2)
        await house.settle()
        assert [await house.state(one) for one in (delivery, queued)] == [State.DELIVERED] * 2
    assert len(house.runner.seen) == 2
    assert len(house.log.of("store.refuses_records")) == 1
    assert len(house.log.of("store.takes_records_again")) == 1


async def test_a_record_whose_answer_was_lost_is_not_taken_for_a_lost_lease(
    failing: FailingMemoryStore, clock: Clock, ids: Ids
) -> None:
    runner = ScriptedRunner()
    go_on = anyio.Event()
    runner.waits_for("erp", go_on)
    async with at_work(failing, clock, ids, runner=runner, pace=FAST_TROUBLE) as house:
        (delivery,) = await house.accept(step_for("erp"))
        failing.loses_answers = True
        go_on.set()
        await house.settle()
        assert await house.state(delivery) is State.DELIVERED
        assert len(await house.attempts(delivery)) == 1
    assert house.log.of("delivery.result_dropped") == []


@pytest.mark.parametrize("was_committed", [True, False])
async def test_an_accept_of_unknown_outcome_leaves_nothing_stuck(
    failing: FailingMemoryStore, clock: Clock, ids: Ids, was_committed: bool
) -> None:
    async with at_work(failing, clock, ids, pace=FAST_TROUBLE, concurrency=1) as house:
        step = step_for("erp")
        await failing.keep({step.digest: step.text})
        token = house.dispatcher.reserve(Lane("erp"))
        assert token is not None
        delivery = NewDelivery(
            id=ids.delivery(), rule="", step=step.digest, lane=Lane("erp"), destination="erp", token=token
        )
        if was_committed:
            await failing.write([accept_of(make_event(ids, clock(), None), [delivery])])
        failing.refuses_records = True
        house.dispatcher.give_back({delivery.id: token})
        await house.until(lambda: house.dispatcher.is_troubled)
        failing.refuses_records = False
        await house.until(lambda: not house.dispatcher.is_troubled)
        await house.until(lambda: len(house.runner.seen) == int(was_committed))
        await house.settle()
        assert house.dispatcher.running == 0
        if was_committed:
            stored = await house.stored(delivery)
            assert (stored.state, stored.crashes) == (State.DELIVERED, 0)


async def test_a_store_that_cannot_claim_is_asked_again(failing: FailingMemoryStore, clock: Clock, ids: Ids) -> None:
    async with at_work(failing, clock, ids, pace=FAST_TROUBLE) as house:
        failing.refuses_claims = True
        await house.accept(step_for("erp"), start=False)
        await house.until(lambda: len(house.log.of("dispatcher.store_error")) == 1)
        assert house.dispatcher.running == 0
        failing.refuses_claims = False
        await house.until(lambda: len(house.runner.seen) == 1)
        await house.settle()
    assert len(house.log.of("dispatcher.store_error")) == 1


def claim_inside(house: House, step: Step) -> tuple[NewDelivery, Event]:
    """Return a delivery with a place, and the event that it is to be accepted with."""
    lane = Lane(step.lane)
    token = house.dispatcher.reserve(lane)
    assert token is not None
    delivery = NewDelivery(
        id=house.ids.delivery(), rule="", step=step.digest, lane=lane, destination=step.label, token=token
    )
    return delivery, make_event(house.ids, house.clock(), None)


async def test_while_the_store_takes_nothing_new_nothing_is_begun(store: Store, clock: Clock, ids: Ids) -> None:
    trouble: list[str] = []
    async with at_work(store, clock, ids, in_trouble=lambda: bool(trouble)) as house:
        step = step_for("mail")
        await store.keep({step.digest: step.text})
        delivery, event = claim_inside(house, step)
        await house.commit.submit(accept_of(event, [delivery]))
        trouble.append("there is no room")
        assert house.dispatcher.is_troubled
        assert house.dispatcher.reserve(Lane("erp")) is None
        house.dispatcher.start(claimed_of(delivery, event), material_of(event, step))
        await house.accept(step_for("erp"))
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert house.runner.seen == []
        trouble.clear()
        house.dispatcher.go_on()
        await house.until_tries(2)
        await house.settle()
        # Said by who knows of it, and not here again.
        assert not house.log.of("dispatcher.store_error")
        assert not house.log.of("store.takes_records_again")


@pytest.mark.parametrize("is_slow", [False, True])
async def test_what_was_accepted_before_the_trouble_begins_after_it(
    failing: FailingMemoryStore, clock: Clock, ids: Ids, is_slow: bool
) -> None:
    async with at_work(failing, clock, ids, pace=FAST_TROUBLE) as house:
        step = step_for("mail")
        # A slow lane gives back what it may not keep at hand; it is claimed again then, and read from the store.
        await failing.keep({step.digest: step.text})
        first = 0
        if is_slow:
            house.runner.answers("mail", replace(DELIVERED, duration=timedelta(seconds=2)))
            await house.accept(step)
            await house.settle()
            first = 1
        delivery, event = claim_inside(house, step)
        await house.commit.submit(accept_of(event, [delivery]))
        failing.refuses_records = True
        await house.accept(step_for("erp"))
        await house.until(lambda: house.dispatcher.is_troubled)
        house.dispatcher.start(claimed_of(delivery, event), material_of(event, step))
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert len(house.runner.tries("mail")) == first
        failing.refuses_records = False
        await house.until_tries(first + 2)
        await house.settle()
        assert await house.state(delivery) is State.DELIVERED


async def test_what_is_cut_off_before_its_first_step_is_given_back(store: Store, clock: Clock, ids: Ids) -> None:
    async with at_work(store, clock, ids) as house:
        step = step_for("erp")
        delivery, event = claim_inside(house, step)
        await house.commit.submit(accept_of(event, [delivery]))
        house.dispatcher.start(claimed_of(delivery, event), material_of(event, step))
        assert house.dispatcher._attempts is not None
        house.dispatcher._attempts.stop()
        house.dispatcher._attempts.cut_off()
        await house.dispatcher.drain(timedelta(0))
        assert house.runner.seen == []
        assert (await house.stored(delivery)).attempts == 0


async def test_what_is_due_later_is_found_behind_what_was_due_at_the_start(
    store: Store, clock: Clock, ids: Ids
) -> None:
    step = step_for("erp")
    await store.keep({step.digest: step.text})
    lane, token = Lane("erp"), Token(ids.token())
    due = NewDelivery(id=ids.delivery(), rule="", step=step.digest, lane=lane, destination="erp")
    later = NewDelivery(id=ids.delivery(), rule="", step=step.digest, lane=lane, destination="erp", token=token)
    put_off = Record(delivery_id=later.id, token=token, attempt=None, state=State.PENDING, due_in=10 * SECOND)
    await store.write([accept_of(make_event(ids, clock(), None), [due, later]), put_off])
    async with at_work(store, clock, ids) as house:
        await house.until_tries(1)
        await house.settle()
        await house.until(lambda: house.dispatcher.waiting == 1)
        assert len(house.runner.seen) == 1


async def test_a_record_that_no_store_can_make_stops_nothing(
    failing: FailingMemoryStore, clock: Clock, ids: Ids
) -> None:
    class RefusingCommit:
        async def submit_soon(self, change: Record | SetLane | SetHealth | FlushDigests) -> Answer:
            raise StoreError("Record: no such thing", kind="refused")

    log = Lines()
    recorder = Recorder(RefusingCommit(), log=log, backoff=SECOND, on_recovered=lambda: None)
    record = Record(delivery_id=ids.delivery(), token=Token(1), attempt=None, state=State.PENDING)
    assert await recorder.record(record) == (False, True)
    assert not recorder.is_troubled
    assert len(log.of("store.refused_record")) == 1


async def test_an_idle_dispatcher_asks_the_store_nothing(failing: FailingMemoryStore, clock: Clock, ids: Ids) -> None:
    class CountingStore(FailingMemoryStore):
        asked = 0

        async def _turn(self) -> None:
            type(self).asked += 1
            await super()._turn()

    counting = CountingStore(clock=clock, ids=ids)
    await counting.open()
    async with at_work(counting, clock, ids) as house:
        await house.accept(step_for("erp"))
        await house.settle()
        before = counting.asked
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        assert counting.asked == before


async def test_of_an_order_the_next_begins_when_the_one_before_it_has_ended(
    store: Store, clock: Clock, ids: Ids
) -> None:
    runner = ScriptedRunner()
    runner.answers("erp", REFUSED, DELIVERED)
    retry = RetryPolicy(schedule=(10 * SECOND,))
    async with at_work(store, clock, ids, runner=runner, modifiers=Modifiers(retry=retry)) as house:
        both = [(await house.accept(step_for("erp"), order='["a"]'))[0] for _ in range(2)]
        (other,) = await house.accept(step_for("mail"), order='["b"]')
        await house.until_tries(2)
        await house.settle()
        assert [await house.state(one) for one in (*both, other)] == [State.PENDING, State.PENDING, State.DELIVERED]
        clock.advance(10 * SECOND)
        house.dispatcher.wake()
        await house.until_tries(4)
        await house.settle()
        assert [await house.state(one) for one in both] == [State.DELIVERED] * 2
    assert [seen.id for seen in runner.seen if seen.destination == "erp"] == [both[0].id, both[0].id, both[1].id]


async def test_a_dead_head_lets_the_next_go(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    runner.answers("erp", Result(outcome=Outcome.PERMANENT, duration=QUICK, status=422), DELIVERED)
    async with at_work(store, clock, ids, runner=runner) as house:
        both = [(await house.accept(step_for("erp"), order="[1]"))[0] for _ in range(2)]
        await house.until_tries(2)
        await house.settle()
        assert [await house.state(one) for one in both] == [State.DEAD, State.DELIVERED]


async def test_a_crash_spends_no_attempt_and_the_third_is_dead_with_a_notice(
    store: Store, clock: Clock, ids: Ids
) -> None:
    dead: list[tuple[str, str]] = []

    class Telling(NoNotices):
        def delivery_dead(self, claimed: Claimed, attempt: Attempt | None, event: Event | None) -> Accept | None:
            assert attempt is not None
            assert event is not None
            dead.append((claimed.id, attempt.decision))
            return accept_of(make_event(ids, clock(), None), [])

    runner = ScriptedRunner()
    runner.answers("erp", Result(outcome=Outcome.CRASHED, duration=QUICK, note="the worker died"))
    async with at_work(store, clock, ids, runner=runner, notices=Telling()) as house:
        (delivery,) = await house.accept(step_for("erp"))
        for crashes in (1, 2, 3):
            await house.until_tries(crashes)
            await house.settle()
            stored = await house.stored(delivery)
            assert (stored.attempts, stored.crashes) == (0, crashes)
            clock.advance(SECOND)
            house.dispatcher.wake()
        assert stored.state is State.DEAD
        assert (await house.counts())["events"] == 2, "the event about ourselves is stored with it"
        decisions = [attempt.decision for attempt in await house.attempts(delivery)]
    assert decisions == [
        "again in 1 s, alone (crash 1 of 3)",
        "again in 1 s, alone (crash 2 of 3)",
        "crashed three times",
    ]
    assert dead == [(delivery.id, "crashed three times")]
    assert runner.suspects == [False, True, True]


async def test_what_crashed_is_never_claimed_ahead_of_its_turn(store: Store, clock: Clock, ids: Ids) -> None:
    """A daemon that is killed again and again counts crashes only of what had begun."""
    go_on = anyio.Event()
    async with at_work(store, clock, ids, concurrency=1) as house:
        await claimed_ahead(house, go_on)
    for _ in range(9):
        await store.close()
        await store.open()
        runner = ScriptedRunner()
        runner.hangs("erp")
        async with at_work(store, clock, ids, runner=runner, concurrency=4) as house:
            clock.advance(SECOND)
            house.dispatcher.wake()
            await house.until(lambda: len(house.runner.seen) >= 1)
            await house.until(lambda: house.dispatcher.unsettled == house.dispatcher.running)
        clock.advance(timedelta(minutes=2))
    async with at_work(store, clock, ids) as house:
        counts = await house.counts()
    # One at a time runs of those that one more crash would end: the tenth kill ended one of four.
    assert counts["dead"] == 1


async def test_an_interrupted_delivery_is_tried_again_with_nothing_spent(store: Store, clock: Clock, ids: Ids) -> None:
    runner = ScriptedRunner()
    runner.answers("erp", Result(outcome=Outcome.UNKNOWN, duration=QUICK, is_interrupted=True), DELIVERED)
    async with at_work(store, clock, ids, runner=runner) as house:
        (delivery,) = await house.accept(step_for("erp"))
        await house.until_tries(1)
        await house.settle()
        stored = await house.stored(delivery)
        assert (stored.state, stored.attempts, stored.crashes) == (State.PENDING, 0, 0)
        clock.advance(SECOND)
        house.dispatcher.wake()
        await house.until_tries(2)


async def test_a_closed_window_spends_no_attempt_and_opens_in_time(store: Store, clock: Clock, ids: Ids) -> None:
    # The clock begins on a Monday, 03:02:01.
    async with at_work(store, clock, ids) as house:
        (delivery,) = await house.accept(step_for("erp", during=("mon 09:00-10:00 UTC",)), start=False)
        await house.until(lambda: house.dispatcher.running == 0 and house.dispatcher.unsettled == 0)
        await house.until_due_at(delivery, START.replace(hour=9, minute=0, second=0))
        assert house.runner.seen == []
        clock.now = START.replace(hour=9, minute=0, second=0)
        house.dispatcher.wake()
        await house.until_tries(1)
        await house.settle()
        assert (await house.stored(delivery)).attempts == 1


async def test_a_destination_that_is_down_is_asked_once_a_pause_and_spends_no_attempts(
    store: Store, clock: Clock, ids: Ids
) -> None:
    runner = ScriptedRunner()
    runner.answers("erp", REFUSED)
    breaker = Breaker(share=0.5, least=4, within=60 * SECOND, pause=30 * SECOND)
    retry = RetryPolicy(schedule=(timedelta(hours=1),) * 9)
    async with at_work(
        store, clock, ids, runner=runner, modifiers=Modifiers(retry=retry), bounds=Bounds(breaker=breaker)
    ) as house:
        for _ in range(4):
            await house.accept(step_for("erp"))
        await house.settle()
        waiting = [(await house.accept(step_for("erp")))[0] for _ in range(20)]
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert len(runner.seen) == 4
        assert house.dispatcher.lane_status(Lane("erp")).breaker == "open"
        clock.advance(30 * SECOND)
        house.dispatcher.wake()
        await house.until_tries(5)
        await house.settle()
        assert {(await house.stored(one)).attempts for one in waiting[1:]} == {0}
        runner.answers("erp", DELIVERED)
        clock.advance(60 * SECOND)
        house.dispatcher.wake()
        await house.until(lambda: house.dispatcher.lane_status(Lane("erp")).breaker == "closed")
        await house.until_tries(24)
        await house.settle()
        assert (await house.counts())["delivered"] == 19


async def test_a_rate_lets_no_more_begin_and_loses_nothing(store: Store, clock: Clock, ids: Ids) -> None:
    async with at_work(store, clock, ids, bounds=Bounds(rate=Rate(count=2, per=SECOND))) as house:
        for _ in range(7):
            await house.accept(step_for("erp"))
        for seconds in range(4):
            expected = min(7, 2 + 2 * seconds)
            await house.until_tries(expected)
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            assert len(house.runner.seen) == expected
            for _ in range(2):
                clock.advance(SECOND / 2)
                house.dispatcher.wake()
                await house.settle()
                for _ in range(50):
                    await anyio.lowlevel.checkpoint()


async def test_a_failure_budget_that_is_used_up_holds_the_lane(store: Store, clock: Clock, ids: Ids) -> None:
    said: list[object] = []

    class Telling(NoNotices):
        def destination_failing(self, lane: Lane, *, since: datetime, share: int, last: str) -> Accept | None:
            said.append(share)
            return accept_of(make_event(ids, clock(), None), [])

        def destination_recovered(self, lane: Lane, *, since: datetime) -> Accept | None:
            said.append("recovered")
            return None

    runner = ScriptedRunner()
    runner.answers("erp", REFUSED)
    bounds = Bounds(failure_budget=timedelta(days=5), breaker=None)
    modifiers = Modifiers(retry=RetryPolicy(schedule=(timedelta(days=1),) * 9, jitter=0.0))
    for day in range(6):
        # Each day another daemon: what is known of the lane is in the store.
        async with at_work(
            store, clock, ids, runner=runner, modifiers=modifiers, bounds=bounds, notices=Telling()
        ) as house:
            if day == 0:
                (delivery,) = await house.accept(step_for("erp"))
            await house.until_tries(day + 1)
            await house.settle()
            await house.until_recorded()
        clock.advance(timedelta(days=1))
    assert said == [50, 100]
    assert await store.held() == {"erp": "failed for 5 d; hookline release erp"}
    runner.answers("erp", DELIVERED)
    async with at_work(store, clock, ids, runner=runner, bounds=bounds, notices=Telling()) as house:
        assert len(runner.seen) == 6
        await house.dispatcher.release(Lane("erp"))
        await house.until_tries(7)
        await house.settle()
        assert await house.state(delivery) is State.DELIVERED
        assert said[-1] == "recovered"
        await house.until_recorded()
        assert await store.failing() == {}


@pytest.mark.parametrize("flush_on_stop", [True, False])
async def test_a_drain_sends_the_digests_that_are_to_be_sent_at_a_stop(
    store: Store, clock: Clock, ids: Ids, flush_on_stop: bool
) -> None:
    digest = Digest(every=timedelta(hours=1), flush_on_stop=flush_on_stop)
    async with at_work(store, clock, ids) as house:
        gate = DigestGate(
            memory="0" * 32, digest_id=ids.delivery(), every=digest.every, most=9, flush_on_stop=flush_on_stop
        )
        members = [(await house.accept(step_for("erp", digest=digest), digest=gate))[0] for _ in range(3)]
        await house.dispatcher.drain()
        assert [await house.state(one) for one in members] == [State.COLLECTED] * 3
        assert [len(seen.events) for seen in house.runner.seen] == [3] * flush_on_stop
        assert house.dispatcher.unsettled == 0
