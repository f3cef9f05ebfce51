"""What the in-memory store holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from hookline.daemon.ids import decode, made_at
from hookline.daemon.store.changes import DeliveryId, Lane, State, Token
from hookline.daemon.store.gates import Memories
from hookline.daemon.store.memory.rows import DeliveryRow
from hookline.daemon.store.stored import (
    Deletion,
    Fact,
    Health,
    Pause,
    StoredAudit,
    StoredEvent,
    StoredRejection,
    StoredToken,
)
from hookline.rules import Event, EventId


@dataclass(slots=True)
class Key:
    """A dedupe key that is remembered, also when its event was pruned."""

    event_id: EventId
    #: Hash of what it came with: a later request with another is a conflict.
    content: str


@dataclass(slots=True)
class Tables:
    """All rows."""

    clock: Callable[[], datetime]
    #: Returns the time before which what is stored is older than an age.
    since: Callable[[timedelta], datetime]
    #: The lease of deliveries that are inserted running.
    accept_lease: timedelta
    events: dict[EventId, StoredEvent] = field(default_factory=dict)
    #: Which events came in one request: its number by event.
    requests: dict[EventId, int] = field(default_factory=dict)
    deliveries: dict[DeliveryId, DeliveryRow] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    #: Lane -> why it is held.
    held: dict[Lane, str] = field(default_factory=dict)
    failing: dict[Lane, Health] = field(default_factory=dict)
    #: What gates remember.
    memories: Memories = field(default_factory=Memories)
    #: By lane and order: the deliveries that have not ended, in their order.
    queues: dict[tuple[Lane, str], list[DeliveryId]] = field(default_factory=dict)
    #: By source, reason and hour.
    rejections: dict[tuple[str, str, datetime], StoredRejection] = field(default_factory=dict)
    #: By source and hour: how many events, and the last one.
    hours: dict[tuple[str, datetime], tuple[int, Event]] = field(default_factory=dict)
    #: By rule and hour: how many events, and the last one.
    rule_hours: dict[tuple[str, datetime], tuple[int, EventId]] = field(default_factory=dict)
    #: By lane and hour: attempts that delivered, and that did not.
    lane_hours: dict[tuple[Lane, datetime], tuple[int, int]] = field(default_factory=dict)
    #: When it was opened first.
    counted_since: datetime | None = None
    last_good_rules: str | None = None
    duplicates: int = 0
    audit: list[StoredAudit] = field(default_factory=list)
    #: The rows of `audit` that sum up a day, by what and day.
    days: dict[tuple[str, date], int] = field(default_factory=dict)
    #: Those under way: what is to go, and the last event there was.
    deletions: dict[int, tuple[Deletion, EventId]] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    tokens: dict[str, StoredToken] = field(default_factory=dict)
    keys: dict[tuple[str, str], Key] = field(default_factory=dict)

    def of_state(self, state: State) -> list[DeliveryRow]:
        """Return the deliveries that stand so."""
        return [row for row in self.deliveries.values() if row.state is state]

    def fenced(self, delivery_id: DeliveryId, token: Token) -> DeliveryRow | None:
        """Return the delivery if the token is the one that it runs under."""
        row = self.deliveries.get(delivery_id)
        return row if row is not None and row.state is State.RUNNING and row.token == token else None

    def is_behind(self, row: DeliveryRow) -> bool:
        """Whether an earlier one of its order has not ended."""
        queue = [] if row.order is None else self.queues.get((row.lane, row.order), [])
        return row.id in queue[1:]

    def is_needed(self, row: DeliveryRow, *, dead_since: datetime) -> bool:
        """Whether work is left to do with it, or it is a dead letter still to be shown, or is part of such a one."""
        acting = [row]
        if row.state is State.COLLECTED:
            acting = [other for other in self.deliveries.values() if other.parts_of == row.part_of]
        return any(
            other.has_work_left or (other.state is State.DEAD and other.ended_at >= dead_since) for other in acting
        )

    def close_digest(self, digest: DeliveryId | None) -> None:
        """Let the digest take no more events."""
        for memory, opened in tuple(self.memories.digests.items()):
            if opened.id == digest:
                del self.memories.digests[memory]


def hour_of(moment: datetime) -> datetime:
    """Return the full hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def event_made_at(event_id: EventId) -> datetime:
    """Return when the event was accepted."""
    return made_at(decode("evt", event_id))
