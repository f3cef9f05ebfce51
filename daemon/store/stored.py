"""What stands in a store, as it tells it, and which of it is asked for: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Self, TypeAlias

from hookline.daemon.store.changes import Attempt, DeliveryId, Lane, State, Token
from hookline.rules import Event, EventId, Json

#: What is said of an event whose body is damaged.
DAMAGED: Final = (
    "the stored body is damaged: its digest is not what it was when it was accepted: "
    "bring it back from a backup (hookline restore), or ask its sender for it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A delivery that is ours until its lease ends."""

    id: DeliveryId
    token: Token
    event_id: EventId
    rule: str
    step: str
    lane: Lane
    destination: str
    #: Attempts made before this one.
    attempts: int
    #: When it was created: `give_up_after` counts from here.
    created_at: datetime
    #: How often a process died while it ran.
    crashes: int = 0
    #: Canonical JSON of its order, if it has one: when it ends, the next of it becomes due.
    order: str | None = None
    #: Of `changed`: canonical JSON of what the value was before; None if it asks for no change, or nothing was known.
    previous: str | None = None
    #: It acts for the events that were collected into it.
    is_digest: bool = False
    #: It tells of deliveries that `once` suppressed: how many; 0 for all others.
    suppressed: int = 0
    is_replay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it stands in the store."""

    event: Event
    body: bytes
    content_type: str
    pointer: tuple[str | int, ...] | None
    rules_version: str
    is_unrouted: bool
    matched: tuple[str, ...]
    #: How many requests came again with its key, and how many of those with another body.
    duplicates: int
    conflicts: int
    #: As in `Request`.
    document: str | None = None
    #: The body is not the one that was accepted: its digest says so. Nothing read from it is to be trusted.
    is_damaged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """A delivery as it stands in the store."""

    id: DeliveryId
    event_id: EventId
    source: str
    event_type: str
    rule: str
    step: str
    lane: Lane
    destination: str
    state: State
    created_at: datetime
    due_at: datetime
    #: How often it was tried.
    attempts: int
    #: How often a process died while it ran.
    crashes: int
    replay_of: DeliveryId | None
    #: The last attempt, if any.
    last_attempt: Attempt | None
    is_replay: bool = False
    #: Why it was suppressed, for people: "once: dlv_… acted for it", "unchanged", "the first value seen"; else "".
    why: str = ""
    #: The delivery that acts for it: its digest, or the first of `once`.
    part_of: DeliveryId | None = None
    #: For how many it acts: those in its digest, or that `once` suppressed; 0 for all others.
    stands_for: int = 0
    is_digest: bool = False
    #: Canonical JSON of its order, if it has one.
    order: str | None = None
    #: It waits for an earlier one of its order to end; `due_at` says nothing.
    is_behind: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """What waits and runs in a lane."""

    lane: Lane
    pending: int
    running: int
    #: When the pending one that has waited longest was due; None if none waits.
    oldest_due_at: datetime | None
    is_held: bool
    reason: str
    #: Since when it only fails; None if it does not.
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A lane that fails."""

    since: datetime
    #: Per cent of its failure budget that an event told of.
    told: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneActivity:
    """What was tried in a lane in the hours asked for."""

    lane: Lane
    #: Attempts that ended delivered, and that did not.
    delivered: int
    failed: int
    #: When one was delivered last, to the hour; None if none was in these hours.
    last_delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRejection:
    """Refused requests of one source, reason and hour."""

    source: str
    reason: str
    first_at: datetime
    last_at: datetime
    count: int
    detail: str
    client_ip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceActivity:
    """What a source has received, as far back as the store remembers."""

    source: str
    #: The last event, which may be pruned by now.
    last_event_id: EventId
    last_at: datetime
    last_type: str
    #: How many were stored in the hours asked for.
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleActivity:
    """What a rule has matched, as far back as the store remembers."""

    #: Its name; "" for all fallbacks together.
    rule: str
    #: The last event, which may be pruned by now.
    last_event_id: EventId
    last_at: datetime
    #: How many events of the hours asked for it matched.
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAudit:
    """What somebody did, as it stands in the store. See `Audit`."""

    #: Rises with time.
    id: int
    at: datetime
    who: str
    what: str
    subject: str
    count: int
    counts: Mapping[str, int]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What the daemon noted of its own upkeep."""

    value: Json
    #: When it was noted.
    at: datetime


#: What became of an event. `matched`: a rule with a name did; `unmatched`: none did, a fallback perhaps; `unrouted`: it
#: is yet to be matched. `duplicated`: it came again; `conflicting`: with another body. `waiting`, `dead`: a delivery of
#: it is pending, or a dead letter.
EventOutcome: TypeAlias = Literal["matched", "unmatched", "unrouted", "duplicated", "conflicting", "waiting", "dead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events to list; every field narrows."""

    source: str | None = None
    type: str | None = None
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: True: only unrouted ones.
    is_unrouted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSearch(EventFilter):
    """Which events to show on a page; every field narrows."""

    #: As in rules: `*` stands for anything, dots too, `?` for one character.
    type_glob: str | None = None
    sender_id: str | None = None
    #: Where the key is remembered, only the event that it stands for: what came again within its time are duplicates.
    key: str | None = None
    #: A rule that matched; "" for a fallback.
    rule: str | None = None
    outcome: EventOutcome | None = None
    #: Occurs in the request's body as it is written or as JSON escapes it (see `searching.forms`), or in what was kept
    #: beside it because the body alone does not say it; upper and lower case differ.
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event without what it says."""

    id: EventId
    source: str
    type: str
    sender_id: str | None
    key: str
    tenant: str | None
    subject: str | None
    occurred_at: datetime | None
    received_at: datetime
    matched: tuple[str, ...]
    is_unrouted: bool
    duplicates: int
    conflicts: int
    #: Bytes of the request's body.
    size: int
    #: How many of its deliveries are in each state; those that there are.
    deliveries: Mapping[State, int]

    @classmethod
    def of(  # noqa: PLR0913 - what stands beside an event, each by name
        cls,
        event: Event,
        *,
        matched: tuple[str, ...],
        is_unrouted: bool,
        size: int,
        deliveries: Mapping[State, int],
        duplicates: int = 0,
        conflicts: int = 0,
    ) -> Self:
        """Leave out what an event says."""
        return cls(
            id=event.id,
            source=event.source,
            type=event.type,
            sender_id=event.sender_id,
            key=event.key,
            tenant=event.tenant,
            subject=event.subject,
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            matched=matched,
            is_unrouted=is_unrouted,
            duplicates=duplicates,
            conflicts=conflicts,
            size=size,
            deliveries=deliveries,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """What a bounded search found, newest first."""

    rows: tuple[EventRow, ...]
    #: `before` of the next page; None: nothing older was left unsearched. It need not be the id of an event.
    next: EventId | None
    #: How many were looked at, not counting what indexes skip, and when the oldest of them came, to the millisecond;
    #: None if none was.
    looked_at: int
    back_to: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """Which events to remove for good."""

    #: These, or else all that the filter picks of those that are there when it begins.
    events: tuple[EventId, ...] = ()
    where: EventFilter | None = None
    #: Also forget that their keys were seen: what a sender repeats is then a new event.
    forgets_keys: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionStep:
    """What one step of a deletion did."""

    #: How many events it removed.
    events: int
    #: Nothing is left of what was to be removed. Only the log of changes may still hold it: see `checkpoint`.
    is_over: bool
    #: All were looked at once; where it is not over, the next step begins again with those that were left.
    is_round_over: bool
    #: What runs of those that this step left: it has to end first.
    waits_for: tuple[DeliveryId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many events are meant, and what hangs on them."""

    events: int
    #: The first and the last; None if there are none.
    first: EventId | None
    last: EventId | None
    #: Their deliveries by state.
    deliveries: Mapping[State, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries to list; every field narrows."""

    event_id: EventId | None = None
    source: str | None = None
    destination: str | None = None
    rule: str | None = None
    state: State | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: True: only those that no other repeats (`replay_of`).
    not_replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPage:
    """What a bounded search found, newest first."""

    rows: tuple[StoredDelivery, ...]
    #: As in `EventPage`.
    next: DeliveryId | None
    looked_at: int
    back_to: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A source that is paused."""

    since: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """A token of the admin API, as it is kept."""

    name: str
    #: SHA-256 of it, in hexadecimal digits.
    digest: str
    #: `read`, `operate` or `admin`.
    scope: str
    created_at: datetime
    #: None: never.
    expires_at: datetime | None
    #: To the hour; None: never.
    last_used_at: datetime | None
