"""Intake, store, dispatcher, own events and replays as the daemon joins them, without sockets and with a set clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import pytest

from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.delivery.runner import Inspection, Result, Work
from hookline.daemon.ids import Ids
from hookline.daemon.intake import Intake
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.own.events import OwnEvents
from hookline.daemon.pausing import Pauses
from hookline.daemon.replaying.replayer import Replayer
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent
from hookline.daemon.steady_clock import SteadyClock
from hookline.daemon.store.changes import Accepted, Lane, Outcome
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import Store
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import DeliveryFilter, EventFilter, StoredDelivery, StoredEvent
from hookline.daemon.streaming.hub import Hub
from hookline.daemon.streaming.telling import Telling
from hookline.plugins import Delivery
from hookline.rules import EventId, Problem, RuleSet, Step, World, load_rules
from hookline.rules.world import NoLookup

START = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
QUICK = timedelta(milliseconds=3)
DELIVERED = Result(outcome=Outcome.DELIVERED, duration=QUICK, status=200, note="sent")
REFUSED = Result(outcome=Outcome.PERMANENT, duration=QUICK, status=422, note="422 Unprocessable")
PLAIN = LanePolicy(concurrency=4)


@dataclass
class Clock:
    """Stands still until moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Log:
    """Keeps what is logged."""

    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    info = warning = error = exception = debug

    def is_enabled_for(self, level: int) -> bool:
        return True

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]


class Runner:
    """Delivers, unless a destination was given an answer, or a real runner."""

    def __init__(self) -> None:
        self.seen: list[Delivery] = []
        self.answers: dict[str, Result] = {}
        self.real: dict[str, Any] = {}

    async def inspect(self) -> Inspection:
        return Inspection(actions={}, problems=())

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        return ()

    async def run(self, work: Work) -> Result:
        self.seen.append(work.delivery)
        real = self.real.get(work.delivery.destination)
        if real is not None:
            result: Result = await real.run(work)
            return result
        return self.answers.get(work.delivery.destination, DELIVERED)

    async def render(self, delivery: Delivery, step: Step) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        return


class Shop:
    """A source."""

    def __init__(self, name: str = "shop") -> None:
        self.name = name

    dedupe_window = timedelta(days=90)
    credential_headers: frozenset[str] = frozenset()
    credential_query: frozenset[str] = frozenset()


def rules_of(text: str) -> RuleSet:
    world = World(
        sources={"shop": None, "till": None},
        destinations={"erp": "forward", "mail": "email", "ops": "email"},
        actions={"forward", "email", "log"},
        lookup=NoLookup(),
        version="1",
    )
    return load_rules({"rules.yaml": text}, world)


class Spine:
    """All of it."""

    def __init__(self, store: Store, clock: Clock | SteadyClock, ids: Ids, rules: str) -> None:
        self.store, self.clock, self.ids, self.log, self.runner = store, clock, ids, Log(), Runner()
        self.rules: Any = rules_of(rules)
        self.policies: dict[str, LanePolicy] = {}
        self.hub = Hub()
        self.telling = Telling(self.hub, clock=clock)
        self.commit = GroupCommit(store, on_written=lambda changes, answers, _: self.telling.written(changes, answers))
        joined: dict[str, Any] = {
            "rules": lambda: self.rules, "policies": self.policy, "commit": self.commit, "ids": ids, "log": self.log,
        }  # fmt: skip
        self.own = OwnEvents(**joined, clock=clock, dedupe_window=lambda: timedelta(days=90), on_stored=self._wake)
        self.dispatcher = Dispatcher(
            store=store, commit=self.commit, runner=self.runner, policies=self.policy, clock=clock,
            chance=lambda: 0.5, ids=ids, log=self.log, notices=self.own, age=getattr(clock, "age", None),
            on_recorded=self.telling.attempted,
        )  # fmt: skip
        self.replayer = Replayer(**joined, dispatcher=self.dispatcher, store=store, clock=clock)
        self.pauses = Pauses(
            sources=lambda: {"shop", "till"}, store=store, commit=self.commit, replayer=self.replayer, log=self.log
        )
        self.intake = Intake(**joined, dispatcher=self.dispatcher, keeping=self.pauses.keeping)
        self._keys = 0

    def _wake(self) -> None:
        self.dispatcher.wake()

    def policy(self, lane: Lane) -> LanePolicy:
        return self.policies.get(lane, PLAIN)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Spine]:
        await self.store.keep(self.rules.texts)
        async with anyio.create_task_group() as group:
            group.start_soon(self.commit.run)
            await group.start(self.dispatcher.run)
            await self.pauses.open()
            group.start_soon(self.pauses.run)
            yield self
            group.cancel_scope.cancel()

    async def send(self, payload: Any = None, **said: Any) -> EventId:
        """Take in one event, as the receiver would, and return its id once it is stored."""
        (answer,) = await self.offer(payload, **said)
        return answer.event_id

    def offer(
        self, payload: Any = None, *, type_: str = "paid", key: str = "", headers: Any = (), source: str = "shop"
    ) -> asyncio.Future[tuple[Accepted, ...]]:
        """Give one event to the intake, and return what will be its answer."""
        self._keys += 1
        request = IncomingRequest(
            method="POST", subpath="", url=None, client_ip="", body=json.dumps(payload or {}).encode(),
            received_at=self.clock(), headers=[("content-type", "application/json"), *headers], query=[],
        )  # fmt: skip
        event = NormalizedEvent(
            type=type_, sender_id=None, key=key or f"k{self._keys}", tenant=None, occurred_at=None,
            payload=payload or {}, envelope=None, pointer=None,
        )  # fmt: skip
        return self.intake.accept(Shop(source), request, (event,))  # type: ignore[arg-type] # what is used of it

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Let everything else go on until it holds."""
        with anyio.fail_after(20):
            while not await holds():
                await anyio.lowlevel.checkpoint()

    async def until_seen(self, count: int) -> None:
        """Wait for so many attempts in all, and for their records."""

        async def holds() -> bool:
            return len(self.runner.seen) >= count and self.dispatcher.unsettled == 0

        await self.until(holds)
        assert len(self.runner.seen) == count

    async def pass_(self, **duration: float) -> None:
        """Let time go by."""
        assert isinstance(self.clock, Clock)
        self.clock.now += timedelta(**duration)
        self.dispatcher.wake()

    async def deliveries(self, **where: Any) -> list[StoredDelivery]:
        """Return the deliveries, oldest first."""
        reader = self.store.reader()
        try:
            return list(reversed(await reader.deliveries(DeliveryFilter(**where), limit=10_000)))
        finally:
            await reader.close()

    async def states(self, **where: Any) -> list[str]:
        return [one.state.value for one in await self.deliveries(**where)]

    async def own_events(self) -> list[StoredEvent]:
        """Return the events about ourselves, oldest first."""
        reader = self.store.reader()
        try:
            return list(reversed(await reader.events(EventFilter(source="hookline"), limit=1000)))
        finally:
            await reader.close()


AtWork: TypeAlias = Callable[[str], AbstractAsyncContextManager[Spine]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ids(clock: Clock) -> Ids:
    return Ids(clock)


@pytest.fixture(params=["memory", "sqlite"])
async def work(request: pytest.FixtureRequest, clock: Clock, ids: Ids, tmp_path: Path) -> AsyncIterator[AtWork]:
    """Return a maker of spines at work on a store: `async with work(rules) as spine`."""
    store: Store = (
        MemoryStore(clock=clock, ids=ids)
        if request.param == "memory"
        else SqliteStore(tmp_path / "hookline.db", clock=clock, ids=ids)
    )
    await store.open()
    yield lambda rules: Spine(store, clock, ids, rules).at_work()
    await store.close()
