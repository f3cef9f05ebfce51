"""What a store is, said as shortly as can be: the state machine compares stores with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hookline.daemon.store.changes import (
    Accept,
    Accepted,
    Answer,
    Cancel,
    Change,
    DeliveryId,
    FlushDigests,
    Lane,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Replay,
    Route,
    SetHealth,
    SetLane,
    SetSourceState,
    State,
    Token,
)
from hookline.rules import EventId

WINDOW = timedelta(hours=2)
LEASE = timedelta(minutes=1)
START = datetime(2026, 5, 4, tzinfo=UTC)
#: How much retention removes together, where several nodes use the store.
SPAN = timedelta(hours=1)

WORK_LEFT = frozenset({State.PENDING, State.RUNNING})


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
    order: str | None = None
    previous: str | None = None
    previous_from: EventId | None = None
    part_of: DeliveryId | None = None
    #: The digest or first whose parts it acts for.
    whole: DeliveryId | None = None
    is_digest: bool = False
    stands_for: int = 0
    is_replay: bool = False
    #: When its place in its order was given, counted.
    number: int = 0


@dataclass
class ModelEvent:
    key: str
    made_at: datetime
    duplicates: int = 0
    is_unrouted: bool = False


class Model:
    def __init__(self, *, is_shared: bool = False) -> None:
        #: Several nodes use the store.
        self.is_shared = is_shared
        self.now = START
        self.events: dict[EventId, ModelEvent] = {}
        self.keys: dict[str, tuple[EventId, datetime]] = {}
        self.deliveries: dict[DeliveryId, ModelDelivery] = {}
        self.held: set[Lane] = set()
        self.failing: dict[Lane, datetime] = {}
        self.paused: dict[str, datetime] = {}
        self.queues: dict[tuple[Lane, str], list[DeliveryId]] = defaultdict(list)
        self.values: dict[str, tuple[str, datetime, EventId]] = {}
        #: By memory: until when, the one that acted, and the one that sums up.
        self.windows: dict[str, tuple[datetime, DeliveryId, DeliveryId | None]] = {}
        #: By memory: the digest that takes events.
        self.open: dict[str, DeliveryId] = {}
        self.flushed: set[DeliveryId] = set()
        self.placed = 0

    def put(self, id_: DeliveryId, new: NewDelivery, event_id: EventId, **fields: object) -> ModelDelivery:
        self.placed += 1
        row = ModelDelivery(event_id, new.lane, State.PENDING, self.now, number=self.placed)
        for name, value in fields.items():
            setattr(row, name, value)
        self.deliveries[id_] = row
        if row.order is not None:
            self.queues[row.lane, row.order].append(id_)
        return row

    def insert(self, new: NewDelivery, event_id: EventId) -> bool:
        """Insert a delivery, and return whether a digest is full with it."""
        previous = None
        if new.changed is not None:
            previous, _, previous_from = self.values.get(new.changed.memory, (None, None, None))
            self.values[new.changed.memory] = new.changed.value, self.now, event_id
            if previous in {None, new.changed.value}:
                self.put(new.id, new, event_id, state=State.SUPPRESSED)
                return False
        else:
            previous_from = None
        if new.once is not None:
            until, first, summary = self.windows.get(new.once.memory, (START, new.id, None))
            if self.now < until:
                self.put(new.id, new, event_id, state=State.SUPPRESSED, part_of=first)
                self.suppress(new, event_id, until, first, summary)
                return False
            self.windows[new.once.memory] = self.now + new.once.within, new.id, None
        if new.digest is not None:
            return self.collect(new, event_id)
        row = self.put(new.id, new, event_id, due_at=self.now + new.due_in, order=new.order, previous=previous)
        row.previous_from = previous_from
        if new.token:
            row.state, row.token, row.lease_until = State.RUNNING, new.token, self.now + LEASE
        return False

    def suppress(
        self, new: NewDelivery, event_id: EventId, until: datetime, first: DeliveryId, summary: DeliveryId | None
    ) -> None:
        assert new.once is not None
        if first in self.deliveries:
            self.deliveries[first].stands_for += 1
        if summary is None and new.once.summary_id is not None:
            summary = new.once.summary_id
            self.put(summary, new, event_id, due_at=until, whole=first)
            self.windows[new.once.memory] = until, first, summary
        if summary is not None and (row := self.deliveries.get(summary)):
            row.stands_for += 1
            if row.state is State.PENDING:
                row.event_id = event_id

    def collect(self, new: NewDelivery, event_id: EventId) -> bool:
        gate = new.digest
        assert gate is not None
        if gate.memory not in self.open:
            self.open[gate.memory] = gate.digest_id
            self.put(gate.digest_id, new, event_id, due_at=self.now + gate.every, whole=gate.digest_id, is_digest=True)
            if gate.flush_on_stop:
                self.flushed.add(gate.digest_id)
        digest = self.open[gate.memory]
        self.put(new.id, new, event_id, state=State.COLLECTED, part_of=digest)
        self.deliveries[digest].stands_for += 1
        is_full = self.deliveries[digest].stands_for >= gate.most
        if is_full:
            self.close(digest)
            self.deliveries[digest].due_at = self.now
        return is_full

    def close(self, digest: DeliveryId | None) -> None:
        self.open = {memory: id_ for memory, id_ in self.open.items() if id_ != digest}

    def end(self, id_: DeliveryId, state: State, due_at: datetime) -> None:
        row = self.deliveries[id_]
        row.state, row.due_at, row.token = state, due_at, None
        if row.order is not None and state not in WORK_LEFT:
            queue = self.queues[row.lane, row.order]
            was_head = queue[0] == id_
            queue.remove(id_)
            if was_head and queue:
                head = self.deliveries[queue[0]]
                head.due_at = max(head.due_at, self.now)

    def is_behind(self, id_: DeliveryId) -> bool:
        row = self.deliveries[id_]
        return row.order is not None and id_ in self.queues[row.lane, row.order][1:]

    def make(self, change: Change) -> Answer:  # noqa: PLR0911 - one for each kind
        match change:
            case Accept():
                return tuple(self.accept(new) for new in change.events)
            case Record():
                return self.record(change)
            case Cancel():
                return self.cancel(change.delivery_id)
            case Replay():
                return self.replay(change)
            case Route():
                event = self.events.get(change.event_id)
                if event is None:
                    return False
                event.is_unrouted = False
                for new in change.deliveries:
                    self.insert(new, change.event_id)
                return True
            case SetLane() | SetHealth() | SetSourceState() | FlushDigests():
                return self.steer(change)
        raise AssertionError(change)

    def steer(self, change: SetLane | SetHealth | SetSourceState | FlushDigests) -> int | None:
        match change:
            case SetSourceState():
                since = self.paused.pop(change.source, self.now)
                if change.is_paused:
                    self.paused[change.source] = since
                return None
            case SetLane():
                (self.held.add if change.is_held else self.held.discard)(change.lane)
                return None
            case SetHealth():
                if change.is_failing:
                    self.failing.setdefault(change.lane, self.now)
                else:
                    self.failing.pop(change.lane, None)
                return None
            case FlushDigests():
                early = [self.deliveries[id_] for id_ in self.open.values() if id_ in self.flushed]
                early = [row for row in early if row.due_at > self.now]
                for row in early:
                    row.due_at = self.now
                return len(early)

    def record(self, change: Record) -> bool:
        row = self.deliveries.get(change.delivery_id)
        if row is None or row.state is not State.RUNNING or row.token != change.token:
            return False
        if change.attempt is not None:
            is_crash = change.attempt.outcome is Outcome.CRASHED
            row.crashes += is_crash
            row.attempts += not is_crash
            row.outcomes.append(change.attempt.outcome)
        self.end(change.delivery_id, change.state, self.now + change.due_in)
        return True

    def cancel(self, id_: DeliveryId) -> bool:
        row = self.deliveries.get(id_)
        if row is None:
            return False
        whole = row.part_of
        if row.state is State.COLLECTED and whole is not None and whole in self.open.values():
            row.part_of, row.state = None, State.CANCELLED
            self.deliveries[whole].stands_for -= 1
            if not self.deliveries[whole].stands_for:
                self.cancel(whole)
            return True
        if row.state is not State.PENDING:
            return False
        self.end(id_, State.CANCELLED, row.due_at)
        self.close(id_)
        return True

    def replay(self, change: Replay) -> DeliveryId | None:
        old = self.deliveries.get(change.delivery_id)
        if old is None:
            return None
        self.close(old.whole)
        self.placed += 1
        self.deliveries[change.new_id] = ModelDelivery(
            old.event_id,
            old.lane,
            State.PENDING,
            self.now + change.due_in,
            order=old.order,
            previous=old.previous,
            previous_from=old.previous_from,
            whole=old.whole,
            is_digest=old.is_digest,
            stands_for=old.stands_for if old.whole else 0,
            is_replay=True,
            number=self.placed,
        )
        if old.order is not None:
            self.queues[old.lane, old.order].append(change.new_id)
        return change.new_id

    def accept(self, new: NewEvent) -> Accepted:
        key, event_id = new.event.key, new.event.id
        known = self.keys.get(key)
        if known is not None and known[0] == event_id:
            return Accepted(event_id=event_id, kept_back=self.kept_back(new, self.is_void))
        if known is not None and known[1] > self.now - WINDOW:
            if known[0] in self.events:
                self.events[known[0]].duplicates += 1
            return Accepted(event_id=known[0], is_duplicate=True)
        self.keys[key] = event_id, self.now
        self.events[event_id] = ModelEvent(key, self.now, is_unrouted=new.is_unrouted)
        kept_back = self.kept_back(new, lambda delivery: delivery.lane in self.held)
        deliveries = [replace(one, token=None) if one.id in kept_back else one for one in new.deliveries]
        full = [self.insert(delivery, event_id) for delivery in deliveries]
        return Accepted(event_id=event_id, wakes=any(full), kept_back=kept_back)

    def kept_back(self, new: NewEvent, waits: Callable[[NewDelivery], bool]) -> tuple[DeliveryId, ...]:
        """Those that have a token and wait nevertheless, where other nodes may have a say."""
        return tuple(one.id for one in new.deliveries if self.is_shared and one.token is not None and waits(one))

    def is_void(self, new: NewDelivery) -> bool:
        row = self.deliveries.get(new.id)
        return row is None or row.state is not State.RUNNING or row.token != new.token

    def due(self, lane: Lane) -> list[DeliveryId]:
        rows = [
            (row.due_at, id_)
            for id_, row in self.deliveries.items()
            if row.lane == lane and row.state is State.PENDING and not self.is_behind(id_)
        ]
        return [id_ for due_at, id_ in sorted(rows) if due_at <= self.now and lane not in self.held]

    def begin(self, id_: DeliveryId, token: Token) -> None:
        row = self.deliveries[id_]
        row.state, row.token, row.lease_until = State.RUNNING, token, self.now + LEASE
        if row.is_digest:
            self.close(row.whole)

    def lost(self) -> set[DeliveryId]:
        return {
            id_ for id_, row in self.deliveries.items() if row.state is State.RUNNING and row.lease_until <= self.now
        }

    def parts(self, id_: DeliveryId) -> list[DeliveryId]:
        whole = self.deliveries[id_].whole or id_
        return sorted(part for part, row in self.deliveries.items() if row.part_of == whole)

    def prune(self, *, events: timedelta, dedupe: timedelta, dead: timedelta) -> None:
        def is_needed(row: ModelDelivery) -> bool:
            return row.state in WORK_LEFT or (row.state is State.DEAD and row.due_at >= self.now - dead)

        # What an event needs does not change while others go: a whole outlives its parts.
        wholes = {row.whole for row in self.deliveries.values() if row.is_digest and is_needed(row)}
        for event_id, event in list(self.events.items()):
            rows = {id_: row for id_, row in self.deliveries.items() if row.event_id == event_id}
            if self.end_of_span(event.made_at) > self.now - events or event.is_unrouted:
                continue
            if any(is_needed(row) or (row.state is State.COLLECTED and row.part_of in wholes) for row in rows.values()):
                continue
            del self.events[event_id]
            for id_ in rows:
                del self.deliveries[id_]
        for key, (_, made_at) in list(self.keys.items()):
            if made_at < self.now - dedupe:
                del self.keys[key]
        for memory, (_, touched_at, _) in list(self.values.items()):
            if touched_at < self.now - dedupe:
                del self.values[memory]

    def end_of_span(self, made_at: datetime) -> datetime:
        """After when an event counts as old: where several nodes use the store, at the end of all of its hour."""
        if not self.is_shared:
            return made_at + timedelta(microseconds=1)
        return made_at.replace(minute=0, second=0, microsecond=0) + SPAN

    def delete(self, event_ids: set[EventId], *, forgets_keys: bool) -> set[DeliveryId]:
        """Remove events that nothing runs for, cancel what waits of the others, and return what runs."""
        running: set[DeliveryId] = set()
        busy: set[EventId] = set()
        rows = {id_: row for id_, row in self.deliveries.items() if row.event_id in event_ids}
        for id_, row in rows.items():
            acting = {one for one, other in self.deliveries.items() if row.part_of and other.whole == row.part_of}
            runs = {one for one in {id_, *acting} if self.deliveries[one].state is State.RUNNING}
            running |= runs
            busy |= {row.event_id} if runs else set()
        for id_, row in sorted(rows.items()):
            if row.event_id in busy:
                self.cancel(id_)
        gone = event_ids - busy
        rows = {id_: row for id_, row in rows.items() if row.event_id in gone}
        for id_, row in rows.items():
            if row.whole is None:
                self.drop(id_)
        for whole in sorted({one for row in rows.values() for one in (row.part_of, row.whole) if one}):
            self.settle(whole, gone)
        for row in self.deliveries.values():
            if row.previous_from in gone:
                row.previous = row.previous_from = None
        self.values = {memory: known for memory, known in self.values.items() if known[2] not in gone}
        for event_id in gone:
            key = self.events.pop(event_id).key
            if forgets_keys and self.keys.get(key, (None,))[0] == event_id:
                del self.keys[key]
        return running

    def drop(self, id_: DeliveryId) -> None:
        self.cancel(id_) if self.deliveries[id_].state is State.PENDING else None
        del self.deliveries[id_]

    def settle(self, whole: DeliveryId, gone: set[EventId]) -> None:
        left = sorted(id_ for id_, row in self.deliveries.items() if row.part_of == whole)
        for id_, row in list(self.deliveries.items()):
            if whole in {id_, row.whole}:
                row.stands_for = len(left)
            if row.whole != whole:
                continue
            if row.event_id in gone and left:
                row.event_id = self.deliveries[left[-1]].event_id
            elif row.event_id in gone:
                self.drop(id_)
                self.windows = {
                    memory: (until, first, None if summary == id_ else summary)
                    for memory, (until, first, summary) in self.windows.items()
                }
            elif not left:
                self.cancel(id_)
