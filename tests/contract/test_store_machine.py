"""Stores against a model of them in dicts, by whatever sequence of changes Hypothesis thinks of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import cycle, pairwise
from pathlib import Path
from typing import ClassVar, Literal, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Attempt,
    Audit,
    Cancel,
    Change,
    ChangedGate,
    DeliveryId,
    DigestGate,
    FlushDigests,
    Lane,
    NewDelivery,
    NewEvent,
    OnceGate,
    Outcome,
    Record,
    Replay,
    Request,
    Route,
    SetHealth,
    SetLane,
    SetSourceState,
    State,
    Token,
)
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import Deletion, DeliveryFilter, EventFilter, EventRow, EventSearch
from hookline.rules import Event, EventId, Json
from tests.contract.store_model import LEASE, WINDOW, WORK_LEFT, Model
from tests.postgres import PostgresServer

LANES = [Lane("a"), Lane("b"), Lane("c")]
WITHIN = timedelta(minutes=40)

Kind = Literal["plain", "running", "delayed", "x", "y", "once", "summed", "changed 1", "changed 2", "digest", "flushed"]
KINDS: tuple[Kind, ...] = (
    "plain", "running", "delayed", "x", "y", "once", "summed", "changed 1", "changed 2", "digest", "flushed"
)  # fmt: skip


class StoreMachine(RuleBasedStateMachine):
    """Every rule does the same to the store and to the model, and compares their answers."""

    deliveries = Bundle("deliveries")
    accepts = Bundle("accepts")
    #: Several nodes use the store.
    is_shared = False

    def make_store(self, folder: Path) -> Store:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(is_shared=self.is_shared)
        self.ids = Ids(lambda: self.model.now)
        self.stack = contextlib.ExitStack()
        self.loop = self.stack.enter_context(asyncio.Runner())
        self.store = self.make_store(Path(self.stack.enter_context(tempfile.TemporaryDirectory())))
        self.loop.run(self.store.open())
        self.reader: Reader = self.store.reader()
        #: What must never happen is looked for beside the model.
        self.delivered: set[DeliveryId] = set()
        self.ended: dict[tuple[Lane, str], list[int]] = defaultdict(list)
        #: Those with `once`: under which memory, and when they came.
        self.asked: dict[DeliveryId, tuple[str, datetime]] = {}
        self.members: dict[DeliveryId, list[EventId]] = {}

    def teardown(self) -> None:
        self.loop.run(self.reader.close())
        self.loop.run(self.store.close())
        self.stack.close()

    def write(self, *changes: Change) -> None:
        assert self.loop.run(self.store.write(changes)) == [self.model.make(change) for change in changes]

    def new_delivery(self, lane: Lane, kind: Kind) -> NewDelivery:
        fields: dict[str, object] = {}
        id_ = self.ids.delivery()
        match kind:
            case "running":
                fields = {"token": Token(self.ids.token())}
            case "delayed":
                fields = {"due_in": timedelta(minutes=30), "order": "x"}
            case "x" | "y":
                fields = {"order": kind}
            case "once" | "summed":
                summary = self.ids.delivery() if kind == "summed" else None
                self.asked[id_] = f"{lane} once", self.model.now
                fields = {"once": OnceGate(memory=f"{lane} once", within=WITHIN, summary_id=summary)}
            case "changed 1" | "changed 2":
                fields = {"changed": ChangedGate(memory=f"{lane} changed", value=kind[-1])}
            case "digest" | "flushed":
                fields = {
                    "digest": DigestGate(
                        memory=f"{lane} {kind}",
                        digest_id=self.ids.delivery(),
                        every=timedelta(minutes=50),
                        most=3,
                        flush_on_stop=kind == "flushed",
                    )
                }
        row: dict[str, object] = {"id": id_, "rule": "r", "step": "5" * 32, "destination": lane}
        return NewDelivery(**row | {"lane": lane} | fields)  # type: ignore[arg-type]

    @initialize(target=accepts)
    def nothing_yet(self) -> object:
        return multiple()

    @rule(
        target=accepts,
        keys=st.lists(st.sampled_from("klmn"), min_size=1, max_size=3),
        lanes=st.lists(st.tuples(st.sampled_from(LANES), st.sampled_from(KINDS)), max_size=3),
        is_unrouted=st.booleans(),
    )
    def accept(self, keys: list[str], lanes: list[tuple[Lane, Kind]], is_unrouted: bool) -> Accept:
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
                deliveries=tuple(self.new_delivery(lane, kind) for lane, kind in lanes),
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
        # Only those whose outcome can still be unknown are repeated: the ones of this moment. What somebody has seen,
        # and had removed, is known.
        known = {event_id for event_id, _ in self.model.keys.values()}
        is_removed = any(new.event.id in known - self.model.events.keys() for new in change.events)
        if not is_removed and all(new.event.received_at == self.model.now for new in change.events):
            self.write(change)

    @rule(change=accepts)
    def send_again(self, change: Accept) -> None:
        again = [
            NewEvent(
                event=Event(**{name: getattr(new.event, name) for name in Event.__slots__} | {"id": self.ids.event()}),
                pointer=new.pointer,
                rules_version="v",
                deliveries=(self.new_delivery(LANES[0], "running"),),
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
        assert not expected & self.delivered
        for one in claimed:
            row = self.model.deliveries[one.id]
            assert (one.lane, one.attempts, one.crashes) == (row.lane, row.attempts, row.crashes)
            assert (one.event_id, one.order, one.previous) == (row.event_id, row.order, row.previous)
            assert (one.is_digest, one.is_replay) == (row.is_digest, row.is_replay)
            assert one.suppressed == (row.stands_for if row.whole and not row.is_digest else 0)
            self.model.begin(one.id, one.token)
            if one.is_digest:
                found = self.loop.run(self.reader.members(one.id, limit=99))
                members = [stored.event.id for stored in found]
                assert members == self.members.setdefault(row.whole or one.id, members)
                assert len(members) == row.stands_for
        return multiple(*((one.id, one.token) for one in claimed))

    @rule(
        claimed=st.lists(deliveries, min_size=1, max_size=4),
        state=st.sampled_from([State.DELIVERED, State.DEAD, State.PENDING]),
        is_tried=st.booleans(),
        minutes=st.integers(0, 3),
    )
    def record(self, claimed: list[tuple[DeliveryId, Token]], state: State, is_tried: bool, minutes: int) -> None:
        outcome = Outcome.UNKNOWN if is_tried else None
        self.record_all([(id_, token) for id_, token in claimed], state, outcome, timedelta(minutes=minutes))

    def record_all(
        self, claimed: list[tuple[DeliveryId, Token]], state: State, outcome: Outcome | None, due_in: timedelta
    ) -> None:
        attempt = None
        if outcome is not None:
            attempt = Attempt(number=1, started_at=self.model.now, duration=LEASE, outcome=outcome)
        ran = {id_ for id_, row in self.model.deliveries.items() if row.state is State.RUNNING}
        self.write(
            *(
                Record(delivery_id=id_, token=token, attempt=attempt, state=state, due_in=due_in)
                for id_, token in claimed
            )
        )
        for id_, _ in claimed:
            row = self.model.deliveries.get(id_)
            if row is not None and id_ in ran and row.state is not State.RUNNING:
                ran.discard(id_)
                if row.state is State.DELIVERED:
                    self.delivered.add(id_)
                if row.order is not None and row.state not in WORK_LEFT:
                    self.ended[row.lane, row.order].append(row.number)

    @rule(data=st.data(), state=st.sampled_from([State.DELIVERED, State.DEAD, State.PENDING]))
    def record_what_runs(self, data: st.DataObject, state: State) -> None:
        running = sorted(id_ for id_, row in self.model.deliveries.items() if row.state is State.RUNNING)
        if running:
            id_ = data.draw(st.sampled_from(running))
            token = self.model.deliveries[id_].token
            assert token is not None
            self.record_all([(id_, token), (id_, token)], state, Outcome.UNKNOWN, timedelta(minutes=1))

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

    @rule(data=st.data(), what=st.sampled_from(["cancel", "replay"]), minutes=st.integers(0, 9))
    def operate(self, data: st.DataObject, what: str, minutes: int) -> None:
        if self.model.deliveries:
            id_ = data.draw(st.sampled_from(sorted(self.model.deliveries)))
            self.write(
                Cancel(delivery_id=id_)
                if what == "cancel"
                else Replay(delivery_id=id_, new_id=self.ids.delivery(), due_in=timedelta(minutes=minutes))
            )

    @rule(data=st.data(), lane=st.sampled_from(LANES), kind=st.sampled_from(KINDS))
    def route(self, data: st.DataObject, lane: Lane, kind: Kind) -> None:
        if self.model.events:
            event_id = data.draw(st.sampled_from(sorted(self.model.events)))
            new = self.new_delivery(lane, kind)
            self.write(Route(event_id=event_id, rules_version="w", matched=(), deliveries=(new,)))

    @rule(lane=st.sampled_from(LANES), is_held=st.booleans())
    def set_lane(self, lane: Lane, is_held: bool) -> None:
        self.write(SetLane(lane=lane, is_held=is_held, reason="asked for"))

    @rule(lane=st.sampled_from(LANES), is_failing=st.booleans())
    def set_health(self, lane: Lane, is_failing: bool) -> None:
        self.write(SetHealth(lane=lane, is_failing=is_failing))

    @rule(source=st.sampled_from(["shop", "bank"]), is_paused=st.booleans())
    def pause(self, source: str, is_paused: bool) -> None:
        self.write(SetSourceState(source=source, is_paused=is_paused))

    @rule()
    def flush(self) -> None:
        self.write(FlushDigests())

    @rule(minutes=st.integers(1, 90))
    def time_passes(self, minutes: int) -> None:
        self.model.now += timedelta(minutes=minutes)
        self.find_the_lost()

    @rule()
    def restart(self) -> None:
        self.loop.run(self.reader.close())
        self.loop.run(self.store.close())
        self.loop.run(self.store.open())
        self.reader = self.store.reader()
        for row in self.model.deliveries.values():
            row.lease_until = self.model.now
        self.find_the_lost()

    def find_the_lost(self) -> None:
        lost = self.loop.run(self.store.lost(limit=1000))
        assert {one.id for one in lost} == self.model.lost()
        for is_last in (False, True):
            crashed = [(one.id, one.token) for one in lost if (one.crashes >= 2) is is_last]
            state = State.DEAD if is_last else State.PENDING
            self.record_all(crashed, state, Outcome.CRASHED, timedelta(seconds=1))

    @rule(limit=st.integers(1, 5))
    def prune(self, limit: int) -> None:
        events, dedupe, dead = timedelta(hours=1), 2 * WINDOW, timedelta(hours=4)
        while self.loop.run(self.store.prune(events=events, dedupe=dedupe, dead=dead, limit=limit)):
            pass
        self.model.prune(events=events, dedupe=dedupe, dead=dead)

    @rule(data=st.data(), forgets_keys=st.booleans())
    def delete(self, data: st.DataObject, forgets_keys: bool) -> None:
        if self.model.events:
            events = data.draw(st.sets(st.sampled_from(sorted(self.model.events)), min_size=1, max_size=3))
            self.loop.run(self.delete_all(events, forgets_keys=forgets_keys))

    async def delete_all(self, events: set[EventId], *, forgets_keys: bool) -> None:
        """Do one round of a deletion."""
        which = Deletion(events=tuple(sorted(events)), forgets_keys=forgets_keys)
        number = await self.store.begin_deletion(which, Audit(who="ada", what="events.delete"))
        waits: set[DeliveryId] = set()
        removed = 0
        while True:
            step = await self.store.continue_deletion(number)
            waits |= set(step.waits_for)
            removed += step.events
            if step.is_round_over:
                break
        before = set(self.model.events)
        assert waits == self.model.delete(events, forgets_keys=forgets_keys)
        assert removed == len(before - set(self.model.events))
        assert step.is_over == (events.isdisjoint(self.model.events))
        await self.store.end_deletion(number)
        assert not await self.reader.deletions()
        # A digest that ran may have lost members, and so may its repeat.
        self.members.clear()

    @invariant()
    def store_and_model_agree(self) -> None:
        self.loop.run(self.compare())

    async def compare(self) -> None:
        rows = await self.reader.deliveries(DeliveryFilter(), limit=10_000)
        assert {row.id: (row.event_id, row.lane, row.state, row.attempts, row.crashes) for row in rows} == {
            id_: (row.event_id, row.lane, row.state, row.attempts, row.crashes)
            for id_, row in self.model.deliveries.items()
        }
        for row in rows:
            model = self.model.deliveries[row.id]
            assert (row.order, row.part_of, row.stands_for) == (model.order, model.part_of, model.stands_for)
            assert (row.is_digest, row.is_replay) == (model.is_digest, model.is_replay)
            assert row.is_behind == self.model.is_behind(row.id)
            assert bool(row.why) == (row.state is State.SUPPRESSED)
            if row.state is State.PENDING:
                assert row.due_at == model.due_at
            assert (row.last_attempt.outcome if row.last_attempt else None) == (
                model.outcomes[-1] if model.outcomes else None
            )
            if row.stands_for:
                assert [part.id for part in await self.reader.parts(row.id, limit=99)] == self.model.parts(row.id)
        events = await self.reader.events(EventFilter(), limit=10_000)
        assert {found.event.id: (found.event.key, found.duplicates, found.is_unrouted) for found in events} == {
            event_id: (event.key, event.duplicates, event.is_unrouted) for event_id, event in self.model.events.items()
        }
        assert all(found.event.payload == 1 for found in events)
        counts = await self.reader.counts()
        states = Counter(row.state for row in rows)
        assert counts["events"] == len(events)
        assert {state: counts[state] for state in State} == {state: states[state] for state in State}
        assert set(await self.store.waiting()) == {
            row.lane
            for id_, row in self.model.deliveries.items()
            if row.state is State.PENDING and row.lane not in self.model.held and not self.model.is_behind(id_)
        }
        assert set(await self.store.held()) == self.model.held
        failing = await self.store.failing()
        assert {lane: health.since for lane, health in failing.items()} == self.model.failing
        pending = {
            lane: sum(row.lane == lane and row.state is State.PENDING for row in rows)
            for lane in {row.lane for row in rows if row.state in WORK_LEFT} | self.model.held | set(failing)
        }
        assert {lane.lane: lane.pending for lane in await self.reader.lanes()} == pending
        await self.compare_pages()

    async def compare_pages(self) -> None:
        model = self.model
        assert {source: pause.since for source, pause in (await self.reader.paused()).items()} == model.paused
        unrouted = sorted(event_id for event_id, event in model.events.items() if event.is_unrouted)
        left = [] if "shop" in model.paused else unrouted
        assert await self.store.unrouted(limit=99, but=set(model.paused)) == left[:99]
        assert await self.store.unrouted(limit=3, source="shop") == unrouted[:3]
        expected: dict[EventSearch, set[EventId]] = {
            EventSearch(): set(model.events),
            EventSearch(source="shop"): set(model.events),
            EventSearch(outcome="unrouted"): set(unrouted),
            EventSearch(outcome="duplicated"): {id_ for id_, event in model.events.items() if event.duplicates},
            EventSearch(outcome="waiting"): self.events_of(State.PENDING),
            EventSearch(outcome="dead"): self.events_of(State.DEAD),
        }
        for where, ids in expected.items():
            found: list[EventRow] = []
            before: EventId | None = None
            while True:
                page = await self.reader.event_page(where, limit=7, before=before)
                found += page.rows
                before = page.next
                if before is None:
                    break
            assert [row.id for row in found] == sorted(ids, reverse=True), where
            for row in found:
                states = Counter(one.state for one in model.deliveries.values() if one.event_id == row.id)
                assert row.deliveries == states
        for state in (None, *State):
            one = DeliveryFilter(state=state)
            page_of = await self.reader.delivery_page(one, limit=1000)
            assert list(page_of.rows) == await self.reader.deliveries(one, limit=1000)

    def events_of(self, state: State) -> set[EventId]:
        return {row.event_id for row in self.model.deliveries.values() if row.state is state}

    @invariant()
    def of_each_order_one_goes_first_and_in_its_turn(self) -> None:
        rows = self.loop.run(self.reader.deliveries(DeliveryFilter(), limit=10_000))
        heads = Counter((row.lane, row.order) for row in rows if row.state in WORK_LEFT and not row.is_behind)
        assert all(count == 1 for (_, order), count in heads.items() if order is not None)
        for numbers in self.ended.values():
            assert numbers == sorted(set(numbers))

    @invariant()
    def of_each_window_one_acts(self) -> None:
        rows = self.loop.run(self.reader.deliveries(DeliveryFilter(), limit=10_000))
        acted: dict[str, list[datetime]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row.id):
            if row.id in self.asked and row.state is not State.SUPPRESSED:
                memory, at = self.asked[row.id]
                acted[memory].append(at)
        for times in acted.values():
            assert all(later - earlier >= WITHIN for earlier, later in pairwise(times))


class MemoryMachine(StoreMachine):
    def make_store(self, folder: Path) -> Store:
        return MemoryStore(clock=lambda: self.model.now, ids=self.ids, accept_lease=LEASE)


class SqliteMachine(StoreMachine):
    def make_store(self, folder: Path) -> Store:
        return SqliteStore(folder / "hookline.db", clock=lambda: self.model.now, ids=self.ids, accept_lease=LEASE)


class PostgresMachine(StoreMachine):
    is_shared = True
    server: ClassVar[PostgresServer]

    def make_store(self, folder: Path) -> Store:
        self.place = self.server.place(f"machine_{folder.name}".lower())
        self.stack.callback(self.drop)
        return self.node(1)

    def node(self, number: int) -> PostgresStore:
        return PostgresStore(
            self.place,
            node=NodeId(number),
            ids=self.ids,
            clock=lambda: self.model.now,
            accept_lease=LEASE,
            span=timedelta(hours=1),
        )

    def drop(self) -> None:
        self.server.sql(f'SET client_min_messages = error; DROP SCHEMA "{self.place.schema}" CASCADE')


class PostgresInTurnMachine(PostgresMachine):
    """Two nodes: each asks for every second thing, and the answers are those of one."""

    def make_store(self, folder: Path) -> Store:
        return cast("Store", InTurn(super().make_store(folder), self.node(2)))


class InTurn:
    """Passes each call on to the next of some stores."""

    def __init__(self, *stores: Store) -> None:
        self._stores = stores
        self._turns = cycle(stores)

    async def open(self) -> None:
        for store in self._stores:
            await store.open()

    async def close(self) -> None:
        for store in self._stores:
            await store.close()

    def __getattr__(self, name: str) -> object:
        return getattr(next(self._turns), name)


@pytest.fixture
def server_of_machines(postgres: PostgresServer) -> None:
    """Hypothesis makes the machines itself."""
    PostgresMachine.server = postgres


_QUICK = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = _QUICK
TestSqliteMachine = SqliteMachine.TestCase
TestSqliteMachine.settings = _QUICK
TestPostgresMachine = pytest.mark.usefixtures("server_of_machines")(PostgresMachine.TestCase)
TestPostgresMachine.settings = settings(_QUICK, max_examples=8)
TestPostgresInTurnMachine = pytest.mark.usefixtures("server_of_machines")(PostgresInTurnMachine.TestCase)
TestPostgresInTurnMachine.settings = settings(_QUICK, max_examples=8)
