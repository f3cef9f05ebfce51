"""A world that a year is simulated in: destinations that come and go, an operator, a daemon that is restarted."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio

from hookline.daemon.delivery.dispatcher import Dispatcher, Material, Pace
from hookline.daemon.delivery.runner import Inspection, Result, Work
from hookline.daemon.ids import Ids
from hookline.daemon.routing import Planner, first_due
from hookline.daemon.store.changes import (
    Accept,
    Answer,
    Cancel,
    Change,
    Lane,
    NewEvent,
    Replay,
    Request,
    State,
)
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.stored import Claimed
from hookline.plugins import Delivery
from hookline.rules import (
    Place,
    Problem,
    Step,
)
from hookline.rules.matching import Match, Routing
from tests.integration.conftest import new_event
from tests.integration.oracle import Oracle
from tests.integration.simulated_destinations import DAY, HOUR, MINUTE, MOODS, POLICIES, WISHES, answer_of
from tests.integration.virtual_time import VirtualLoop

#: Long: what nobody renews is found at a restart, and a year of renewing every 20 s would take hours.
LEASE = 12 * HOUR


class WatchedStore(MemoryStore):
    """Tells the oracle of everything that was really written."""

    oracle: Oracle

    async def write(self, changes: Sequence[Change]) -> list[Answer]:
        answers = await super().write(changes)
        for change, answer in zip(changes, answers, strict=True):
            self.oracle.written(change, answer)
        return answers


@dataclass
class World:
    """Everything that happens in a year, by one seed."""

    loop: VirtualLoop
    seed: int
    oracle: Oracle = field(init=False)
    moods: dict[Lane, str] = field(init=False)
    is_up: bool = False

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clock = self.loop.now
        self.ids = Ids(self.clock)
        self.ids._chance = random.Random(self.seed)
        self.store = WatchedStore(clock=self.clock, ids=self.ids, accept_lease=LEASE)
        self.steps = [
            Step(
                rule=f"{lane}/{number}",
                rule_facts={},
                destination=lane,
                action=None,
                options={},
                modifiers=wish,
                vars={},
            )
            for lane in POLICIES
            for number, wish in enumerate(WISHES)
        ]
        self.oracle = self.store.oracle = Oracle(
            clock=self.clock, store=self.store, policies=POLICIES, steps={step.digest: step for step in self.steps}
        )
        self.moods = dict.fromkeys(POLICIES, "well")
        self.planner = Planner(self.ids, policies=POLICIES.__getitem__)
        #: Who writes an order into the store, so that the oracle knows it.
        self.desk = asyncio.Lock()

    async def pass_by(self, span: timedelta) -> None:
        """Let so much time pass, with all that happens in it; then heal everything and wait for every delivery."""
        await self.store.open()
        await self.store.keep({step.digest: step.text for step in self.steps})
        async with asyncio.TaskGroup() as group:
            await self._start(group)
            habits = [self._send(), self._restart(group), self._operate(), self._audit(), self._prune()]
            habits += [self._change_mood(lane) for lane in POLICIES]
            tasks = [group.create_task(habit) for habit in habits]
            await anyio.sleep(span.total_seconds())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not self.is_up:
                await self._start(group)
            await self._heal()
            await self._stop(is_crash=False)
        await self.store.close()

    async def _start(self, group: asyncio.TaskGroup) -> None:
        self.commit = GroupCommit(self.store)
        self.dispatcher = Dispatcher(
            store=self.store,
            commit=self.commit,
            runner=self,
            policies=POLICIES.__getitem__,
            clock=self.clock,
            chance=self.chance.random,
            ids=self.ids,
            log=_Silence(),
            notices=self.oracle,
            pace=Pace(lease=LEASE),
        )
        self.oracle.begin_life(self.dispatcher)
        begun = asyncio.Event()
        self.life = group.create_task(self._live(begun))
        await begun.wait()
        self.is_up = True

    async def _live(self, begun: asyncio.Event) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            async with anyio.create_task_group() as group:
                group.start_soon(self.commit.run)
                await group.start(self.dispatcher.run)
                begun.set()
                await anyio.sleep_forever()

    async def _stop(self, *, is_crash: bool) -> None:
        self.is_up = False
        if not is_crash:
            self.oracle.is_draining = True
            await self.dispatcher.drain()
            await self.commit.close()
            self.oracle.is_draining = False
        self.life.cancel()
        await asyncio.gather(self.life, return_exceptions=True)
        self.oracle.end_life()
        await self.store.close()
        await self.store.open()

    async def _restart(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._wait(4 * DAY)
            # Several in a row now and then, as in a kill storm.
            for _ in range(self.chance.choice([1, 1, 1, 4])):
                await self._stop(is_crash=self.chance.random() < 0.6)
                await self._wait(MINUTE)
                await self._start(group)
                await anyio.sleep(self.chance.random() * 3)

    async def _wait(self, mean: timedelta) -> None:
        await anyio.sleep(self.chance.expovariate(1 / mean.total_seconds()))

    async def _change_mood(self, lane: Lane) -> None:
        sick = [mood for mood in MOODS if mood != "well"]
        while True:
            mood = "well" if self.moods[lane] != "well" else self.chance.choice(sick)
            self.moods[lane] = mood
            await self._wait(MOODS[mood])

    async def _send(self) -> None:
        while True:
            await self._wait(3 * HOUR)
            count = self.chance.choice([1] * 80 + [60])
            steps = self.chance.sample(self.steps, self.chance.choice([1, 1, 2, 3]))
            for _ in range(count if self.is_up else 0):
                with contextlib.suppress(StoreError):
                    await self.accept(steps)

    async def accept(self, steps: Sequence[Step]) -> None:
        """Do as the intake does."""
        now = self.clock()
        event_id = self.ids.event()
        event = new_event(
            {"customer": self.chance.randrange(3)}, id=event_id, key=event_id, received_at=now, source="shop"
        )
        place = Place(file="rules.yaml", line=1, column=1)
        routing = Routing(
            matches=tuple(Match(rule=step.rule, steps=(step,), is_aside=False, place=place) for step in steps),
            is_fallback=False,
        )
        dispatcher = self.dispatcher
        async with self.desk:
            deliveries = self.planner.deliveries(routing, event, now=now, reserve=dispatcher.reserve)
            change = Accept(
                request=Request(body=b"{}", content_type="", headers={}, query={}, client_ip="127.0.0.1"),
                events=(NewEvent(event=event, pointer=None, rules_version="v1", deliveries=deliveries),),
                dedupe_window=DAY,
            )
            try:
                (answer,) = await self.commit.submit(change)
            except StoreError:
                dispatcher.give_back({one.id: one.token for one in deliveries if one.token})
                raise
        for delivery, step in zip(deliveries, steps, strict=True):
            if delivery.token is None:
                dispatcher.queued(delivery.lane, first_due(delivery))
                continue
            claimed = Claimed(
                id=delivery.id,
                token=delivery.token,
                event_id=event.id,
                rule=delivery.rule,
                step=delivery.step,
                lane=delivery.lane,
                destination=delivery.destination,
                attempts=0,
                created_at=now,
            )
            dispatcher.start(claimed, Material(event=event, body=b"{}", content_type="", is_split=False, step=step))
        if answer.wakes:
            dispatcher.wake()

    async def _operate(self) -> None:
        while True:
            await self._wait(8 * HOUR)
            if not self.is_up:
                continue
            with contextlib.suppress(StoreError):
                await self.chance.choice([self._hold, self._release, self._release, self._cancel, self._replay])()

    async def _hold(self) -> None:
        await self.dispatcher.hold(self.chance.choice(list(POLICIES)), "maintenance")

    async def _release(self) -> None:
        for lane in sorted(await self.store.held()):
            await self.dispatcher.release(lane)

    async def _cancel(self) -> None:
        waiting = self.oracle.of_state(State.PENDING)
        if waiting:
            await self.commit.submit(Cancel(delivery_id=self.chance.choice(waiting).id))
            self.dispatcher.wake()

    async def _replay(self) -> None:
        dead = self.oracle.of_state(State.DEAD)
        async with self.desk:
            for row in self.chance.sample(dead, min(3, len(dead))):
                await self.commit.submit(Replay(delivery_id=row.id, new_id=self.ids.delivery()))
        self.dispatcher.wake()

    async def _audit(self) -> None:
        while True:
            await anyio.sleep(2400)
            if self.is_up:
                self.oracle.audit()

    async def _prune(self) -> None:
        while True:
            await anyio.sleep(DAY.total_seconds())
            with contextlib.suppress(StoreError):
                await self.store.prune(events=DAY, dedupe=DAY, dead=DAY, limit=100_000)

    async def _heal(self) -> None:
        """Let everything end: the longest schedule takes three days and a half, and windows open within three."""
        self.moods = dict.fromkeys(POLICIES, "well")
        for _ in range(12):
            await self._release()
            await anyio.sleep(DAY.total_seconds())
            self.oracle.audit()

    # What the dispatcher knows of a runner.

    async def run(self, work: Work) -> Result:
        """Do as the destination's mood is."""
        lane = Lane(work.step.lane)
        with self.oracle.attempt(work) as note:
            mood = self.moods[lane]
            if mood == "hanging":
                await anyio.sleep(work.limit.total_seconds())
            elif mood == "slow":
                await anyio.sleep(min(29.0, work.limit.total_seconds()))
            else:
                await anyio.sleep(self.chance.choice([0.003, 0.02, 0.3]))
            result = note.result = answer_of(mood, work, self.chance)
        return result

    async def inspect(self) -> Inspection:
        return Inspection(actions={}, problems=())

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        return []

    async def render(self, delivery: Delivery, step: Step) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        pass


class _Silence:
    """Says nothing."""

    def debug(self, event: str, **fields: Any) -> None:
        pass

    info = warning = debug
