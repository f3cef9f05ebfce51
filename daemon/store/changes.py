"""What is written to a store, and what it answers: values, so that batches can be built, tested and repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, TypeAlias

from hookline.rules import Breaker, Event, EventId

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
    #: The process died while it ran; found out at once by its parent, at the next start, or when its lease ended.
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
class ChangedGate:
    """`changed`: the delivery is made only if `value` differs from what is remembered, which it then replaces."""

    #: Under which it is remembered: 32 hexadecimal digits, a digest of rule, step and `per`'s values.
    memory: str
    #: Canonical JSON, in ASCII.
    value: str
    #: Canonical JSON of what it must have been, and must be; None: anything.
    wanted_from: tuple[str, ...] | None = None
    wanted_to: tuple[str, ...] | None = None
    #: Whether the first value ever seen counts as a change.
    acts_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceGate:
    """`once`: the delivery is made only if none was made within the time; else it is suppressed, and counted."""

    #: As in `ChangedGate`.
    memory: str
    within: timedelta
    #: With `summary: true`: the id of the delivery that tells of the suppressed ones when the time is over. It is made
    #: with the first that is suppressed, due then.
    summary_id: DeliveryId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestGate:
    """`digest`: the delivery is collected into the one that is open for its key; if none is, one is opened."""

    #: As in `ChangedGate`.
    memory: str
    #: The id of the delivery that acts for all, if it has to be opened.
    digest_id: DeliveryId
    #: How long after it was opened it is due.
    every: timedelta
    #: How many it takes; with the last it is due at once.
    most: int
    #: Whether `FlushDigests` makes it due.
    flush_on_stop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery that a rule asked for.

    Its gates are asked in this order, inside the transaction: `changed`, `once`, `digest`. A delivery with a gate, an
    order or `due_in` has no token: with one it is refused.
    """

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
    #: How long until it is due.
    due_in: timedelta = timedelta(0)
    #: Canonical JSON of its `order_by` values: first in, first out among those of its lane with the same.
    order: str | None = None
    changed: ChangedGate | None = None
    once: OnceGate | None = None
    digest: DigestGate | None = None
    #: Somebody asked again: it is marked so in what is sent.
    is_replay: bool = False
    #: The delivery that it repeats, if it repeats one.
    replay_of: DeliveryId | None = None


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
    #: Something became due sooner than the new deliveries say (a digest that is full): look at what waits.
    wakes: bool = False
    #: These had a token and wait nevertheless: another node holds their lane, or found it down. Their tokens are void.
    kept_back: tuple[DeliveryId, ...] = ()


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
    #: What was made of it and why, for people: "again in 5 m, attempt 2 of 10"; at most 300 characters.
    decision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneResult:
    """What an attempt says of its lane's circuit breaker, which several nodes share."""

    lane: Lane
    #: The lane's policy at this moment; None: it has no breaker any more, and one that is open closes with its probe.
    breaker: Breaker | None
    #: Whether the destination answered, be it with a refusal.
    has_answered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record how an attempt ended and where that leaves the delivery. A stale token changes nothing.

    When an ordered delivery ends, the next of its order becomes due in the same transaction.
    """

    delivery_id: DeliveryId
    token: Token
    #: None if nothing was tried (our own shutdown or trouble): spends no attempt. One that CRASHED is counted with the
    #: crashes, and spends none either.
    attempt: Attempt | None
    #: DELIVERED, DEAD, or PENDING to be tried again.
    state: State
    #: With PENDING: how long from now until it is due.
    due_in: timedelta = timedelta(0)
    #: The event about ourselves that this causes; it is stored only if the token is good.
    own: Accept | None = None
    #: For the breaker that nodes share; None where each process has its own, or if it says nothing of the lane.
    result: LaneResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Give a stored event the deliveries of a rule set: an unrouted one, or a replay by the rules of now."""

    event_id: EventId
    rules_version: str
    matched: tuple[str, ...]
    deliveries: tuple[NewDelivery, ...]
    #: Its first time: nothing is done if somebody routed it meanwhile.
    is_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Make a new delivery out of an old one, with `replay_of`; the answer is its id, or None if the old one is gone."""

    delivery_id: DeliveryId
    new_id: DeliveryId
    #: How long until it is due: many are spread out, so that live ones are not drowned.
    due_in: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancel a delivery that waits. The answer is whether it did. The next of its order, if any, becomes due."""

    delivery_id: DeliveryId


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLane:
    """Hold a lane or release it. Held deliveries wait, and spend no attempt."""

    lane: Lane
    is_held: bool
    #: Why, for whoever looks at it.
    reason: str = ""
    #: As in `Record`.
    own: Accept | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetHealth:
    """Note that a lane began to fail, how much of its failure budget was told of, or that it is well again."""

    lane: Lane
    #: True: it fails, since now if it was well before.
    is_failing: bool
    #: Per cent of the budget that an event told of: 0, 50, 90 or 100.
    told: int = 0
    #: As in `Record`.
    own: Accept | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushDigests:
    """Make open digests due that were told to be sent when the daemon stops. The answer is how many."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Note that somebody did something that others may ask about later. No content of events belongs in it."""

    #: The user who typed the command, where it is known; else `cli`, `api` or `daemon`.
    who: str
    #: `events.delete`, `prune`, `restore`, `recover`, `hold`, `release`, `replay`, `cancel`, `test`, `reload`,
    #: `backup`, `source.pause`, `source.resume`, `source.url`, `source.await`, `source.forget`, `token add` or
    #: `token drop`.
    what: str
    #: What it was done to: an id, a destination's name, or what picked the events; at most 500 characters.
    subject: str = ""
    #: How many events, deliveries or rows.
    count: int = 0
    #: The same by kind, where there are several kinds.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Why, for people; at most 500 characters.
    reason: str = ""
    #: Add to today's row of the same `what`, if there is one, instead of making one.
    by_day: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSourceState:
    """Pause a source or let it go on. Of a paused one, events are stored unrouted; the receiver sees to that."""

    source: str
    is_paused: bool
    #: Why, for whoever looks at it.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepToken:
    """Keep a token of the admin API by its hash. The answer is whether its name was free."""

    name: str
    #: SHA-256 of it, in hexadecimal digits.
    digest: str
    #: `read`, `operate` or `admin`.
    scope: str
    #: None: for ever.
    expires_in: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UseToken:
    """Note that a token was used in this hour."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropToken:
    """Forget a token. The answer is whether there was one of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a change that no store can make: an id that is none, a row that is there already."""

    reason: str


#: What changes who may ask the admin API, and which sources wait.
AccessChange: TypeAlias = SetSourceState | KeepToken | UseToken | DropToken

#: Everything that can be written. Answers: `Accept` -> tuple[Accepted, ...], in order of its events; `Record` -> bool
#: (the token was good); `Route` -> bool (the event exists); `Replay` -> DeliveryId | None; `Cancel` -> bool;
#: `FlushDigests` -> int; `KeepToken`, `DropToken` -> bool; `SetLane`, `SetHealth`, `SetSourceState`, `Reject`, `Audit`,
#: `UseToken` -> None; any of them `Refused`, which `GroupCommit` raises as a `StoreError`.
Change: TypeAlias = (
    Accept | Record | Route | Replay | Cancel | SetLane | SetHealth | FlushDigests | Reject | Audit | AccessChange
)
Answer: TypeAlias = "tuple[Accepted, ...] | bool | int | DeliveryId | Refused | None"
