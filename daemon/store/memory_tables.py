"""What the in-memory store holds, and how each change changes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import assert_never

from hookline.daemon.ids import decode, made_at
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
    Refused,
    Reject,
    Replay,
    Request,
    Route,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.port import StoredEvent, StoredRejection
from hookline.rules import Event, EventId

_MOST_CRASHES = 3
_MAX_DETAIL = 500
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Key:
    """A dedupe key that is remembered, also when its event was pruned."""

    event_id: EventId
    #: Hash of what it came with: a later request with another is a conflict.
    content: str


@dataclass(slots=True, kw_only=True)
class DeliveryRow:
    """A delivery as it stands."""

    id: DeliveryId
    event_id: EventId
    rule: str
    step: str
    lane: Lane
    destination: str
    created_at: datetime
    due_at: datetime
    replay_of: DeliveryId | None
    state: State = State.PENDING
    attempts: int = 0
    crashes: int = 0
    #: While it runs: whose it is, since when, and until when.
    token: Token | None = None
    started_at: datetime = _NEVER
    lease_ends: datetime | None = None
    #: When its last claim ended, in whatever state.
    ended_at: datetime = _NEVER
    tries: list[Attempt] = field(default_factory=list)

    def begin(self, token: Token, *, now: datetime, lease: timedelta) -> None:
        """Claim it."""
        self.state, self.token, self.started_at, self.lease_ends = State.RUNNING, token, now, now + lease

    def end(self, state: State, *, now: datetime, due_at: datetime) -> None:
        """End the claim; a result with its token comes too late from here on."""
        self.state, self.token, self.lease_ends = state, None, None
        self.due_at, self.ended_at = due_at, now


@dataclass(slots=True)
class Tables:
    """All rows."""

    clock: Callable[[], datetime]
    #: The lease of deliveries that are inserted running.
    accept_lease: timedelta
    events: dict[EventId, StoredEvent] = field(default_factory=dict)
    deliveries: dict[DeliveryId, DeliveryRow] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    #: Lane -> why it is held.
    held: dict[Lane, str] = field(default_factory=dict)
    #: By source, reason and hour.
    rejections: dict[tuple[str, str, datetime], StoredRejection] = field(default_factory=dict)
    #: By source and hour: how many events, and the last one.
    hours: dict[tuple[str, datetime], tuple[int, Event]] = field(default_factory=dict)
    #: By rule and hour: how many events, and the last one.
    rule_hours: dict[tuple[str, datetime], tuple[int, EventId]] = field(default_factory=dict)
    #: When it was opened first.
    counted_since: datetime | None = None
    last_good_rules: str | None = None
    duplicates: int = 0
    keys: dict[tuple[str, str], Key] = field(default_factory=dict)

    def of_state(self, state: State) -> list[DeliveryRow]:
        """Return the deliveries that stand so."""
        return [row for row in self.deliveries.values() if row.state is state]

    def fenced(self, delivery_id: DeliveryId, token: Token) -> DeliveryRow | None:
        """Return the delivery if the token is the one that it runs under."""
        row = self.deliveries.get(delivery_id)
        return row if row is not None and row.state is State.RUNNING and row.token == token else None

    def crash(self, row: DeliveryRow) -> None:
        """End a claim whose process is gone; no attempt is spent, but the third time it is dead."""
        now = self.clock()
        row.crashes += 1
        row.tries.append(
            Attempt(
                number=row.attempts + 1,
                started_at=row.started_at,
                duration=max(timedelta(0), now - row.started_at),
                outcome=Outcome.CRASHED,
                note="the process that ran it ended",
            )
        )
        row.end(State.DEAD if row.crashes >= _MOST_CRASHES else State.PENDING, now=now, due_at=now)

    def change(self, change: Change) -> Answer:
        """Make one change and answer it; a refused one changes nothing."""
        answer: Answer = _refusal(change, self)
        match change:
            case _ if answer is not None:
                pass
            case Accept():
                answer = tuple(self._accept(change, new) for new in change.events)
            case Record():
                answer = self._record(change)
            case Route():
                answer = self._route(change)
            case Replay():
                answer = self._replay(change)
            case Cancel():
                answer = self._cancel(change)
            case SetLane():
                self._set_lane(change)
            case Reject():
                self._reject(change)
            case _:
                assert_never(change)
        return answer

    def _accept(self, change: Accept, new: NewEvent) -> Accepted:
        event = new.event
        key = (event.source, event.key)
        content = _content(new, change.request)
        known = self.keys.get(key)
        # The very same event again is a batch that is repeated after an unknown outcome.
        if known is not None and known.event_id == event.id:
            return Accepted(event_id=event.id)
        if known is not None and event_made_at(known.event_id) > self.clock() - change.dedupe_window:
            return self._count_duplicate(known, is_conflict=known.content != content)
        self.keys[key] = Key(event_id=event.id, content=content)
        self.events[event.id] = _stored(new, change.request)
        hour = (event.source, _hour(self.clock()))
        self.hours[hour] = (self.hours.get(hour, (0, event))[0] + 1, event)
        self._count_matches(new.matched, event.id, self.clock())
        self._insert(event.id, new.deliveries)
        return Accepted(event_id=event.id)

    def _count_matches(self, rules: Iterable[str], event_id: EventId, at: datetime) -> None:
        for rule in set(rules):
            events, last = self.rule_hours.get((rule, _hour(at)), (0, event_id))
            self.rule_hours[rule, _hour(at)] = (events + 1, max(last, event_id))

    def _count_duplicate(self, known: Key, *, is_conflict: bool) -> Accepted:
        self.duplicates += 1
        first = self.events.get(known.event_id)
        if first is not None:
            duplicates, conflicts = first.duplicates + 1, first.conflicts + is_conflict
            self.events[known.event_id] = replace(first, duplicates=duplicates, conflicts=conflicts)
        return Accepted(event_id=known.event_id, is_duplicate=True, is_conflict=is_conflict)

    def _insert(
        self, event_id: EventId, deliveries: Iterable[NewDelivery], *, replay_of: DeliveryId | None = None
    ) -> None:
        now = self.clock()
        for new in deliveries:
            if new.id in self.deliveries:
                continue
            row = DeliveryRow(
                id=new.id,
                event_id=event_id,
                rule=new.rule,
                step=new.step,
                lane=new.lane,
                destination=new.destination,
                created_at=made_at(decode("dlv", new.id)),
                due_at=now,
                replay_of=replay_of,
            )
            if new.token is not None:
                row.begin(new.token, now=now, lease=self.accept_lease)
            self.deliveries[new.id] = row

    def _record(self, change: Record) -> bool:
        row = self.fenced(change.delivery_id, change.token)
        if row is None:
            return False
        if change.attempt is not None:
            row.attempts += 1
            row.tries.append(change.attempt)
        row.end(change.state, now=self.clock(), due_at=self.clock() + change.due_in)
        return True

    def _route(self, change: Route) -> bool:
        stored = self.events.get(change.event_id)
        if stored is None:
            return False
        new = set(change.matched) - set(stored.matched)
        self._count_matches(new, change.event_id, event_made_at(change.event_id))
        self.events[change.event_id] = replace(
            stored, rules_version=change.rules_version, matched=change.matched, is_unrouted=False
        )
        self._insert(change.event_id, change.deliveries)
        return True

    def _replay(self, change: Replay) -> DeliveryId | None:
        old = self.deliveries.get(change.delivery_id)
        if old is None:
            return None
        again = NewDelivery(id=change.new_id, rule=old.rule, step=old.step, lane=old.lane, destination=old.destination)
        self._insert(old.event_id, [again], replay_of=old.id)
        return change.new_id

    def _cancel(self, change: Cancel) -> bool:
        row = self.deliveries.get(change.delivery_id)
        if row is None or row.state not in (State.PENDING, State.COLLECTED):
            return False
        row.end(State.CANCELLED, now=self.clock(), due_at=row.due_at)
        return True

    def _set_lane(self, change: SetLane) -> None:
        if change.is_held:
            self.held[change.lane] = change.reason
        else:
            self.held.pop(change.lane, None)

    def _reject(self, change: Reject) -> None:
        now = self.clock()
        bucket = (change.source, change.reason, _hour(now))
        known = self.rejections.get(bucket)
        self.rejections[bucket] = StoredRejection(
            source=change.source,
            reason=change.reason,
            first_at=known.first_at if known else now,
            last_at=now,
            count=change.count + (known.count if known else 0),
            detail=change.detail[:_MAX_DETAIL],
            client_ip=change.client_ip,
        )


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def event_made_at(event_id: EventId) -> datetime:
    """Return when the event was accepted."""
    return made_at(decode("evt", event_id))


def _content(new: NewEvent, request: Request) -> str:
    # Of a split event its element: the others of its batch may change.
    said = request.body if new.pointer is None else json.dumps(new.event.payload, sort_keys=True).encode()
    return hashlib.sha256(said).hexdigest()


def _refusal(change: Change, tables: Tables) -> Refused | None:
    """Return why no store can make this change; None if it can."""
    try:
        match change:
            case Accept():
                for new in change.events:
                    decode("evt", new.event.id)
                    known = tables.keys.get((new.event.source, new.event.key))
                    is_repeated = known is not None and known.event_id == new.event.id
                    for delivery in new.deliveries:
                        decode("dlv", delivery.id)
                        if delivery.id in tables.deliveries and not is_repeated:
                            return Refused(f"Accept: {delivery.id} is there already")
            case Route():
                for delivery in change.deliveries:
                    decode("dlv", delivery.id)
            case Replay():
                decode("dlv", change.new_id)
            case Record(state=State.RUNNING):
                return Refused("Record: a result cannot leave its delivery running")
    except ValueError as error:
        return Refused(f"{type(change).__name__}: {error}")
    return None


def _stored(new: NewEvent, request: Request) -> StoredEvent:
    return StoredEvent(
        event=new.event,
        body=request.body,
        content_type=request.content_type,
        pointer=new.pointer,
        rules_version=new.rules_version,
        is_unrouted=new.is_unrouted,
        matched=new.matched,
        duplicates=0,
        conflicts=0,
    )
