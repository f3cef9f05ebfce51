"""What is written to a store, and what it answers: values, so that batches can be built, tested and repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, TypeAlias

from hookline.rules import Event, EventId

#: `dlv_…`; sorts by time of creation.
DeliveryId = NewType("DeliveryId", str)
#: Fences a claim: a result that comes with another token changes nothing.
Token = NewType("Token", int)
#: A queue of its own: a destination's name, or `step:<hash>` for an action in place.
Lane = NewType("Lane", str)


class State(StrEnum):
    """Where a delivery is in its life (DESIGN 7)."""

    #: Waits for `due_at`, or for room in its lane.
    PENDING = "pending"
    #: Claimed by a worker until its lease ends.
    RUNNING = "running"
    #: Succeeded; never sent again.
    DELIVERED = "delivered"
    #: Will not be tried again unless someone replays it.
    DEAD = "dead"
    #: An operator said no.
    CANCELLED = "cancelled"
    #: `once` counted it with an earlier one.
    SUPPRESSED = "suppressed"
    #: Waits in a `digest`.
    COLLECTED = "collected"


class Outcome(StrEnum):
    """How one attempt ended."""

    DELIVERED = "delivered"
    #: It failed in a way that may pass.
    TRANSIENT = "transient"
    #: It failed in a way that will not.
    PERMANENT = "permanent"
    #: It was sent and no answer came.
    UNKNOWN = "unknown"
    #: The process died while it ran; found out at the next start or when its lease ended.
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A body as received, stored once however many events it holds."""

    #: Byte for byte.
    body: bytes
    #: Content type as received, "" if none.
    content_type: str
    #: As in `Event`: credentials removed.
    headers: Mapping[str, str]
    #: As in `Event`.
    query: Mapping[str, str]
    #: As in `Event`.
    client_ip: str
    #: What the events were read from, as JSON, if it is not what `read_body` makes of the body; None if it is.
    document: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery that a rule asked for."""

    id: DeliveryId
    #: Name of the rule; "" for a fallback.
    rule: str
    #: Hash of the step, kept with `Store.keep` before.
    step: str
    lane: Lane
    #: What people call it: the destination's name, or the action's if it stands in place.
    destination: str
    #: A token if the lane had room: then it is inserted running and the claim is made inside the accept.
    token: Token | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """One event of a request, with the deliveries that its rules ask for."""

    event: Event
    #: Where it stands in the parsed body, such as `("events", 3)`; None if it is the whole body.
    pointer: tuple[str | int, ...] | None
    #: Hash of the rule set that routed it.
    rules_version: str
    #: True if matching failed for a reason nobody foresaw: it is routed again when the rules change.
    is_unrouted: bool = False
    #: Names of the rules that matched, dry runs included.
    matched: tuple[str, ...] = ()
    deliveries: tuple[NewDelivery, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """Store a request, its events and their deliveries; events whose key is known become duplicates."""

    request: Request
    events: tuple[NewEvent, ...]
    #: How long a key is remembered.
    dedupe_window: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer to one event of an `Accept`: stored, or known already."""

    #: The stored event; of a duplicate, the first one.
    event_id: EventId
    is_duplicate: bool = False
    #: The same key came with another body; the first is kept.
    is_conflict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a delivery."""

    #: 1 for the first.
    number: int
    started_at: datetime
    duration: timedelta
    outcome: Outcome
    #: The other side's status code, if there was one.
    status: int | None = None
    #: What the action said, or the error's text; at most 1,000 characters.
    note: str = ""
    #: A bounded piece of the answer; at most 4,096 characters.
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record how an attempt ended and where that leaves the delivery. A stale token changes nothing."""

    delivery_id: DeliveryId
    token: Token
    #: None if nothing was tried (our own shutdown or trouble): spends no attempt.
    attempt: Attempt | None
    #: DELIVERED, DEAD, or PENDING to be tried again.
    state: State
    #: With PENDING: how long from now until it is due.
    due_in: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Give a stored event the deliveries of a rule set: an unrouted one, or a replay by the rules of now."""

    event_id: EventId
    rules_version: str
    matched: tuple[str, ...]
    deliveries: tuple[NewDelivery, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Make a new delivery out of an old one, with `replay_of`; the answer is its id, or None if the old one is gone."""

    delivery_id: DeliveryId
    new_id: DeliveryId


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancel a delivery that waits. The answer is whether it did."""

    delivery_id: DeliveryId


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLane:
    """Hold a lane or release it. Held deliveries wait, and spend no attempt."""

    lane: Lane
    is_held: bool
    #: Why, for whoever looks at it.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Count requests that were refused. Bounded: a row for each source, reason and hour."""

    source: str
    #: From a closed set, such as `signature`.
    reason: str
    #: The last one's detail, at most 500 characters.
    detail: str
    client_ip: str
    count: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a change that no store can make: an id that is none, a row that is there already."""

    reason: str


#: Everything that can be written. Answers: `Accept` -> tuple[Accepted, ...], in order of its events; `Record` -> bool
#: (the token was good); `Route` -> bool (the event exists); `Replay` -> DeliveryId | None; `Cancel` -> bool;
#: `SetLane`, `Reject` -> None; any of them `Refused`, which `GroupCommit` raises as a `StoreError`.
Change: TypeAlias = Accept | Record | Route | Replay | Cancel | SetLane | Reject
Answer: TypeAlias = "tuple[Accepted, ...] | bool | DeliveryId | Refused | None"
