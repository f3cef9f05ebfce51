"""Stores against a model of them in dicts, by whatever sequence of changes Hypothesis thinks of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Accepted,
    Answer,
    Attempt,
    Cancel,
    Change,
    DeliveryId,
    Lane,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Replay,
    Request,
    Route,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.memory import MemoryStore
from hookline.daemon.store.port import DeliveryFilter, EventFilter, Store
from hookline.daemon.store.sqlite import SqliteStore
from hookline.rules import Event, EventId, Json

WINDOW = timedelta(hours=2)
LEASE = timedelta(minutes=1)
LANES = [Lane("a"), Lane("b"), Lane("c")]
START = datetime(2026, 5, 4, tzinfo=UTC)


@dataclass
class ModelDelivery:
    event_id: EventId
    lane: Lane
    state: State
    due_at: datetime
    token: Token | None = None
    lease_until: datetime = START
    attempts: int = 0
    crashes: int = 0
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass
class ModelEvent:
    key: str
    made_at: datetime
    duplicates: int = 0
    is_unrouted: bool = False


class Model:
    """What a store is, said as shortly as can be."""

    def __init__(self) -> None:
        self.now = START
        self.events: dict[EventId, ModelEvent] = {}
        self.keys: dict[str, tuple[EventId, datetime]] = {}
        self.deliveries: dict[DeliveryId, ModelDelivery] = {}
        self.held: set[Lane] = set()

    def insert(self, new: NewDelivery, event_id: EventId) -> None:
        self.deliveries[new.id] = ModelDelivery(
            event_id=event_id,
            lane=new.lane,
            state=State.RUNNING if new.token else State.PENDING,
            due_at=self.now,
            token=new.token,
            lease_until=self.now + LEASE,
        )

    def make(self, change: Change) -> Answer:  # noqa: PLR0911 - one for each kind
        match change:
            case Accept():
                return tuple(self.accept(new) for new in change.events)
            case Record():
                row = self.deliveries.get(change.delivery_id)
                if row is None or row.state is not State.RUNNING or row.token != change.token:
                    return False
                if change.attempt is not None:
                    row.attempts += 1
                    row.outcomes.append(change.attempt.outcome)
                row.state, row.due_at, row.token = change.state, self.now + change.due_in, None
                return True
            case Cancel():
                row = self.deliveries.get(change.delivery_id)
                if row is None or row.state is not State.PENDING:
                    return False
                row.state = State.CANCELLED
                return True
            case Replay():
                row = self.deliveries.get(change.delivery_id)
                if row is None:
                    return None
                self.deliveries[change.new_id] = ModelDelivery(row.event_id, row.lane, State.PENDING, self.now)
                return change.new_id
            case Route():
                event = self.events.get(change.event_id)
                if event is None:
                    return False
                event.is_unrouted = False
                for new in change.deliveries:
                    self.insert(new, change.event_id)
                return True
            case SetLane():
                (self.held.add if change.is_held else self.held.discard)(change.lane)
                return None
        raise AssertionError(change)

    def accept(self, new: NewEvent) -> Accepted:
        key, event_id = new.event.key, new.event.id
        known = self.keys.get(key)
        if known is not None and known[0] == event_id:
            return Accepted(event_id=event_id)
        if known is not None and known[1] > self.now - WINDOW:
            if known[0] in self.events:
                self.events[known[0]].duplicates += 1
            return Accepted(event_id=known[0], is_duplicate=True)
        self.keys[key] = event_id, self.now
        self.events[event_id] = ModelEvent(key, self.now, is_unrouted=new.is_unrouted)
        for delivery in new.deliveries:
            self.insert(delivery, event_id)
        return Accepted(event_id=event_id)

    def due(self, lane: Lane) -> list[DeliveryId]:
        rows = [
            (row.due_at, id_) for id_, row in self.deliveries.items() if row.lane == lane and row.state is State.PENDING
        ]
        return [id_ for due_at, id_ in sorted(rows) if due_at <= self.now and lane not in self.held]

    def free(self, *, everything: bool = False) -> int:
        freed = 0
        for row in self.deliveries.values():
            if row.state is State.RUNNING and (everything or row.lease_until <= self.now):
                freed += 1
                row.crashes += 1
                row.outcomes.append(Outcome.CRASHED)
                row.state = State.DEAD if row.crashes == 3 else State.PENDING
                row.due_at, row.token = self.now, None
        return freed

    def prune(self, *, events: timedelta, dead: timedelta) -> None:
        for event_id, event in list(self.events.items()):
            rows = {id_: row for id_, row in self.deliveries.items() if row.event_id == event_id}
            if event.made_at >= self.now - events or event.is_unrouted:
                continue
            if any(row.state in {State.PENDING, State.RUNNING} for row in rows.values()):
                continue
            if any(row.state is State.DEAD and row.due_at >= self.now - dead for row in rows.values()):
                continue
            del self.events[event_id]
            for id_ in rows:
                del self.deliveries[id_]


class StoreMachine(RuleBasedStateMachine):
    """Every rule does the same to the store and to the model, and compares their answers."""

    deliveries = Bundle("deliveries")
    accepts = Bundle("accepts")

    def make_store(self, folder: Path) -> Store:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.ids = Ids(lambda: self.model.now)
        self.stack = contextlib.ExitStack()
        self.loop = self.stack.enter_context(asyncio.Runner())
        self.store = self.make_store(Path(self.stack.enter_context(tempfile.TemporaryDirectory())))
        self.loop.run(self.store.open())
        self.reader = self.store.reader()

    def teardown(self) -> None:
        self.loop.run(self.reader.close())
        self.loop.run(self.store.close())
        self.stack.close()

    def write(self, *changes: Change) -> None:
        assert self.loop.run(self.store.write(changes)) == [self.model.make(change) for change in changes]

    def new_delivery(self, lane: Lane, *, is_running: bool) -> NewDelivery:
        return NewDelivery(
            id=self.ids.delivery(),
            rule="r",
            step="5" * 32,
            lane=lane,
            destination=lane,
            token=Token(self.ids.token()) if is_running else None,
        )

    @initialize(target=accepts)
    def nothing_yet(self) -> object:
        return multiple()

    @rule(
        target=accepts,
        keys=st.lists(st.sampled_from("klmn"), min_size=1, max_size=3),
        lanes=st.lists(st.tuples(st.sampled_from(LANES), st.booleans()), max_size=2),
        is_unrouted=st.booleans(),
    )
    def accept(self, keys: list[str], lanes: list[tuple[Lane, bool]], is_unrouted: bool) -> Accept:
        self.model.now += timedelta(milliseconds=1)
        body: Json = [1 for _ in keys]
        events = [
            NewEvent(
                event=Event(
                    id=self.ids.event(),
                    source="shop",
                    type="t",
                    sender_id=None,
                    key=key,
                    tenant=None,
                    occurred_at=None,
                    received_at=self.model.now,
                    headers={},
                    query={},
                    client_ip="",
                    payload=1,
                    envelope=body,
                ),
                pointer=(number,),
                rules_version="v",
                is_unrouted=is_unrouted,
                deliveries=tuple(self.new_delivery(lane, is_running=is_running) for lane, is_running in lanes),
            )
            for number, key in enumerate(keys)
        ]
        # One body for all: which bodies conflict is tested elsewhere.
        request = Request(
            body=json.dumps([1, 1, 1]).encode(), content_type="application/json", headers={}, query={}, client_ip=""
        )
        change = Accept(request=request, events=tuple(events), dedupe_window=WINDOW)
        self.write(change)
        return change

    @rule(change=accepts)
    def repeat(self, change: Accept) -> None:
        # Only those whose outcome can still be unknown are repeated: the ones of this moment.
        if all(new.event.received_at == self.model.now for new in change.events):
            self.write(change)

    @rule(change=accepts)
    def send_again(self, change: Accept) -> None:
        again = [
            NewEvent(
                event=Event(**{name: getattr(new.event, name) for name in Event.__slots__} | {"id": self.ids.event()}),
                pointer=new.pointer,
                rules_version="v",
                deliveries=(self.new_delivery(LANES[0], is_running=True),),
            )
            for new in change.events
        ]
        self.write(Accept(request=change.request, events=tuple(again), dedupe_window=WINDOW))

    @rule(
        target=deliveries,
        room=st.fixed_dictionaries({lane: st.integers(0, 3) for lane in LANES}),
    )
    def claim(self, room: dict[Lane, int]) -> object:
        expected = {id_ for lane, count in room.items() for id_ in self.model.due(lane)[:count]}
        claimed = self.loop.run(self.store.claim(room, lease=LEASE))
        assert {one.id for one in claimed} == expected
        for one in claimed:
            row = self.model.deliveries[one.id]
            assert (one.lane, one.attempts, one.event_id) == (row.lane, row.attempts, row.event_id)
            row.state, row.token, row.lease_until = State.RUNNING, one.token, self.model.now + LEASE
        return multiple(*((one.id, one.token) for one in claimed))

    @rule(
        claimed=st.lists(deliveries, min_size=1, max_size=4),
        state=st.sampled_from([State.DELIVERED, State.DEAD, State.PENDING]),
        is_tried=st.booleans(),
        minutes=st.integers(0, 3),
    )
    def record(self, claimed: list[tuple[DeliveryId, Token]], state: State, is_tried: bool, minutes: int) -> None:
        changes = [
            Record(
                delivery_id=id_,
                token=token,
                attempt=Attempt(number=1, started_at=self.model.now, duration=LEASE, outcome=Outcome.UNKNOWN)
                if is_tried
                else None,
                state=state,
                due_in=timedelta(minutes=minutes),
            )
            for id_, token in claimed
        ]
        self.write(*changes)

    @rule(data=st.data(), state=st.sampled_from([State.DELIVERED, State.DEAD, State.PENDING]))
    def record_what_runs(self, data: st.DataObject, state: State) -> None:
        running = sorted(id_ for id_, row in self.model.deliveries.items() if row.state is State.RUNNING)
        if running:
            id_ = data.draw(st.sampled_from(running))
            token = self.model.deliveries[id_].token
            assert token is not None
            self.record([(id_, token), (id_, token)], state, is_tried=True, minutes=1)

    @rule(claimed=st.lists(deliveries, max_size=4))
    def renew(self, claimed: list[tuple[DeliveryId, Token]]) -> None:
        tokens = dict(claimed)
        good = {
            id_
            for id_, token in tokens.items()
            if (row := self.model.deliveries.get(id_)) and row.state is State.RUNNING and row.token == token
        }
        assert self.loop.run(self.store.renew(tokens, lease=LEASE)) == good
        for id_ in good:
            self.model.deliveries[id_].lease_until = self.model.now + LEASE

    @rule(data=st.data(), what=st.sampled_from(["cancel", "replay"]))
    def operate(self, data: st.DataObject, what: str) -> None:
        if self.model.deliveries:
            id_ = data.draw(st.sampled_from(sorted(self.model.deliveries)))
            self.write(
                Cancel(delivery_id=id_) if what == "cancel" else Replay(delivery_id=id_, new_id=self.ids.delivery())
            )

    @rule(data=st.data(), lane=st.sampled_from(LANES))
    def route(self, data: st.DataObject, lane: Lane) -> None:
        if self.model.events:
            event_id = data.draw(st.sampled_from(sorted(self.model.events)))
            new = self.new_delivery(lane, is_running=False)
            self.write(Route(event_id=event_id, rules_version="w", matched=(), deliveries=(new,)))

    @rule(lane=st.sampled_from(LANES), is_held=st.booleans())
    def set_lane(self, lane: Lane, is_held: bool) -> None:
        self.write(SetLane(lane=lane, is_held=is_held, reason="asked for"))

    @rule(minutes=st.integers(1, 90))
    def time_passes(self, minutes: int) -> None:
        self.model.now += timedelta(minutes=minutes)
        assert self.loop.run(self.store.free()) == self.model.free()

    @rule()
    def restart(self) -> None:
        self.loop.run(self.reader.close())
        self.loop.run(self.store.close())
        self.loop.run(self.store.open())
        self.reader = self.store.reader()
        self.model.free(everything=True)

    @rule(limit=st.integers(1, 5))
    def prune(self, limit: int) -> None:
        events, dead = timedelta(hours=1), timedelta(hours=4)
        while self.loop.run(self.store.prune(events=events, dedupe=2 * WINDOW, dead=dead, limit=limit)):
            pass
        self.model.prune(events=events, dead=dead)
        for key, (_, made_at) in list(self.model.keys.items()):
            if made_at < self.model.now - 2 * WINDOW:
                del self.model.keys[key]

    @invariant()
    def store_and_model_agree(self) -> None:
        self.loop.run(self.compare())

    async def compare(self) -> None:
        reader = self.reader
        rows = await reader.deliveries(DeliveryFilter(), limit=10_000)
        assert {row.id: (row.event_id, row.lane, row.state, row.attempts, row.crashes) for row in rows} == {
            id_: (row.event_id, row.lane, row.state, row.attempts, row.crashes)
            for id_, row in self.model.deliveries.items()
        }
        for row in rows:
            model = self.model.deliveries[row.id]
            if row.state is State.PENDING:
                assert row.due_at == model.due_at
            assert (row.last_attempt.outcome if row.last_attempt else None) == (
                model.outcomes[-1] if model.outcomes else None
            )
        events = await reader.events(EventFilter(), limit=10_000)
        assert {found.event.id: (found.event.key, found.duplicates, found.is_unrouted) for found in events} == {
            event_id: (event.key, event.duplicates, event.is_unrouted) for event_id, event in self.model.events.items()
        }
        assert all(found.event.payload == 1 for found in events)
        counts = await reader.counts()
        states = Counter(row.state for row in rows)
        assert counts["events"] == len(events)
        assert {state: counts[state] for state in State} == {state: states[state] for state in State}
        waiting = await self.store.waiting()
        assert set(waiting) == {
            row.lane
            for row in self.model.deliveries.values()
            if row.state is State.PENDING and row.lane not in self.model.held
        }
        assert set(await self.store.held()) == self.model.held


class MemoryMachine(StoreMachine):
    def make_store(self, folder: Path) -> Store:
        return MemoryStore(clock=lambda: self.model.now, ids=self.ids, accept_lease=LEASE)


class SqliteMachine(StoreMachine):
    def make_store(self, folder: Path) -> Store:
        return SqliteStore(folder / "hookline.db", clock=lambda: self.model.now, ids=self.ids, accept_lease=LEASE)


_QUICK = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = _QUICK
TestSqliteMachine = SqliteMachine.TestCase
TestSqliteMachine.settings = _QUICK
