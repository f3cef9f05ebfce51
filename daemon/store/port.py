"""The store, as receiver and dispatcher know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from hookline.daemon.store.changes import Answer, Attempt, Change, DeliveryId, Lane, State, Token
from hookline.rules import Event, EventId

#: What keeps a store from working. `refused`: one change, by its own fault; to repeat it is no use. `replaced`: its
#: file was removed, or another one stands in its place. `unfit`: a file that this program cannot work with wherever it
#: lies (a newer Hookline's, another program's), or a place that cannot keep it (a network file system).
StoreTrouble = Literal["disk_full", "read_only", "io", "locked", "corrupt", "replaced", "unfit", "refused", "other"]

#: After these nothing more is written by this process: what the disk holds is unknown, and the next start finds out.
ENDS_THE_PROCESS: Final = frozenset[StoreTrouble]({"io", "corrupt", "replaced"})
#: To start again does not help against these: somebody has to do something first (exit 78).
NEEDS_A_PERSON: Final = frozenset[StoreTrouble]({"corrupt", "unfit"})


class StoreError(Exception):
    """The store cannot do it now. Caught by the receiver (503), the dispatcher (waits) and commands (exit 1).

    Whether the change was made is unknown; to repeat it is safe.
    """

    def __init__(self, message: str, *, kind: StoreTrouble = "other") -> None:
        """Say what happened, for people, and of what kind it is, for code."""
        super().__init__(message)
        self.kind: StoreTrouble = kind


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


class Reader(Protocol):
    """Look without blocking writes. Every list is newest first and bounded by `limit`.

    Pages follow on with `before`: the id of the last row of the page above.
    """

    async def event(self, event_id: EventId) -> StoredEvent | None:
        """Return one event, or None."""
        ...

    async def events(self, where: EventFilter, *, limit: int, before: EventId | None = None) -> list[StoredEvent]:
        """List events."""
        ...

    async def delivery(self, delivery_id: DeliveryId) -> StoredDelivery | None:
        """Return one delivery, or None."""
        ...

    async def deliveries(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> list[StoredDelivery]:
        """List deliveries."""
        ...

    async def attempts(self, delivery_id: DeliveryId) -> list[Attempt]:
        """Return the attempts of a delivery, first to last."""
        ...

    async def members(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredEvent]:
        """Return the events that were collected into a digest, first to last."""
        ...

    async def parts(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredDelivery]:
        """Return the deliveries that this one acts for, first to last: collected into it, or suppressed by `once`."""
        ...

    async def lanes(self) -> list[LaneState]:
        """Return every lane that has unfinished deliveries, is held, or fails."""
        ...

    async def lane_activity(self, *, since: datetime) -> list[LaneActivity]:
        """Return what was tried in each lane, by name; counted from the full hour of `since`.

        Its cost does not grow with the number of deliveries.
        """
        ...

    async def rejections(self, *, source: str | None = None, limit: int = 100) -> list[StoredRejection]:
        """Return refused requests, the latest first."""
        ...

    async def activity(self, *, since: datetime) -> list[SourceActivity]:
        """Return what each source that ever stored an event received, by name; counted from the full hour of `since`.

        Its cost does not grow with the number of events.
        """
        ...

    async def rule_activity(self, *, since: datetime) -> list[RuleActivity]:
        """Return what each rule that ever matched did, by name; counted from the full hour of `since`.

        An event counts once for a rule, however often it is routed again. Hours that retention removed are not
        counted, but the last match is known.
        """
        ...

    async def rules_counted_since(self) -> datetime:
        """Return since when matches are counted: a rule without any may have matched before."""
        ...

    async def text(self, digest: str) -> str | None:
        """Return a text kept by its hash: a rule file, a rule set's manifest, a step."""
        ...

    async def last_good_rules(self) -> str | None:
        """Return the version that `Store.keep_rules` was last told of, or None."""
        ...

    async def counts(self) -> Mapping[str, int]:
        """Return `events`, `duplicates`, `rejected`, and deliveries by state; for `demo`, tests and small stores."""
        ...

    async def close(self) -> None:
        """Close; nothing may be asked afterwards."""
        ...


class Store(Protocol):
    """Events, deliveries and what is known about them, durably.

    All methods may be called concurrently, but `write` is cheapest with whole batches, one in flight:
    `GroupCommit` stands in front. Every method may raise `StoreError`.
    """

    async def open(self) -> None:
        """Lock, migrate, and prove that a commit is durable. The leases of what a dead process left running end."""
        ...

    async def close(self) -> None:
        """Finish what was begun, and let go. Safe to call twice."""
        ...

    async def keep(self, texts: Mapping[str, str]) -> None:
        """Keep texts by their hash, durably; known ones cost nothing."""
        ...

    async def keep_rules(self, version: str) -> None:
        """Note that this rule set went live; `version` is the hash of its manifest, kept before."""
        ...

    async def write(self, changes: Sequence[Change]) -> list[Answer]:
        """Make the changes in one durable transaction and answer each, in order.

        A change that is refused (a stale token, a duplicate) undoes only itself. On `StoreError` the outcome is
        unknown and repeating the batch is safe. Not undone if the caller is cancelled.
        """
        ...

    async def claim(self, room: Mapping[Lane, int], *, lease: timedelta) -> list[Claimed]:
        """Claim due deliveries, at most `room[lane]` of each lane, longest due first; held lanes give none.

        Of an order, only the first that has not ended. A digest that is claimed takes no more events.
        """
        ...

    async def renew(self, tokens: Mapping[DeliveryId, Token], *, lease: timedelta) -> set[DeliveryId]:
        """Extend the leases of deliveries that still run; return those whose token was still good."""
        ...

    async def lost(self, *, limit: int) -> list[Claimed]:
        """Return running deliveries whose lease has ended: who ran them is gone. `Record` ends them by their token."""
        ...

    async def waiting(self) -> Mapping[Lane, datetime]:
        """Return for each lane that has pending deliveries and is not held when its first one is due."""
        ...

    async def held(self) -> Mapping[Lane, str]:
        """Return the held lanes and why."""
        ...

    async def failing(self) -> Mapping[Lane, Health]:
        """Return the lanes that fail, as `SetHealth` said."""
        ...

    async def unrouted(self, *, limit: int) -> list[EventId]:
        """Return events that are yet to be routed, oldest first."""
        ...

    async def prune(self, *, events: timedelta, dedupe: timedelta, dead: timedelta, limit: int) -> int:
        """Remove at most `limit` rows that are older; return how many. Nothing unfinished or held goes."""
        ...

    def reader(self) -> Reader:
        """Return a reader; close it after use."""
        ...
