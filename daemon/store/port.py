"""The store, as receiver and dispatcher know it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from hookline.daemon.store.changes import Answer, Attempt, Audit, Change, DeliveryId, Lane, Token
from hookline.daemon.store.stored import (
    Claimed,
    Deletion,
    DeletionStep,
    DeliveryFilter,
    DeliveryPage,
    EventFilter,
    EventPage,
    EventSearch,
    Fact,
    Health,
    LaneActivity,
    LaneState,
    Pause,
    RuleActivity,
    SourceActivity,
    StoredAudit,
    StoredDelivery,
    StoredEvent,
    StoredRejection,
    StoredToken,
    Tally,
)
from hookline.rules import EventId, Json

#: What keeps a store from working. `refused`: one change, by its own fault; to repeat it is no use. `replaced`: its
#: file was removed, or another one stands in its place. `unfit`: a file that this program cannot work with wherever it
#: lies (a newer Hookline's, another program's), or a place that cannot keep it (a network file system).
#: `away`: its server does not answer, or is not the one that takes writes.
StoreTrouble = Literal[
    "disk_full", "read_only", "io", "locked", "away", "corrupt", "replaced", "unfit", "refused", "other"
]

#: After these nothing more is written by this process: what the disk holds is unknown, and the next start finds out.
ENDS_THE_PROCESS: Final = frozenset[StoreTrouble]({"io", "corrupt", "replaced"})
#: These last until their cause is gone; of others each failure stands for itself.
LASTING: Final = frozenset[StoreTrouble]({"disk_full", "read_only", "locked", "away"}) | ENDS_THE_PROCESS
#: To start again does not help against these: somebody has to do something first (exit 78).
NEEDS_A_PERSON: Final = frozenset[StoreTrouble]({"corrupt", "unfit"})

#: Rows of the audit go after that.
AUDIT_KEPT: Final = timedelta(days=366)


class StoreError(Exception):
    """The store cannot do it now. Caught by the receiver (503), the dispatcher (waits) and commands (exit 1).

    Whether the change was made is unknown; to repeat it is safe.
    """

    def __init__(self, message: str, *, kind: StoreTrouble = "other") -> None:
        """Say what happened, for people, and of what kind it is, for code."""
        super().__init__(message)
        self.kind: StoreTrouble = kind


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

    async def event_page(self, where: EventSearch, *, limit: int, before: EventId | None = None) -> EventPage:
        """Search events without their bodies. Its cost is bounded, however many there are and whatever is asked.

        A page may hold fewer than `limit`, or none, and not be the last: it says how far it looked. Stretches in which
        the source received nothing, or the rule matched nothing, are skipped. `limit` is at least 1.
        """
        ...

    async def delivery(self, delivery_id: DeliveryId) -> StoredDelivery | None:
        """Return one delivery, or None."""
        ...

    async def deliveries(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> list[StoredDelivery]:
        """List deliveries."""
        ...

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> DeliveryPage:
        """Search deliveries, at bounded cost as `event_page`."""
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
        """Return every lane that has unfinished deliveries, is held, or fails.

        Where many wait, how many may be as it was some seconds ago: asking often costs little.
        """
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

    async def audit(self, *, limit: int, before: int | None = None, since: datetime | None = None) -> list[StoredAudit]:
        """Return what was done by hand and by retention."""
        ...

    async def tally(self, which: Deletion) -> Tally:
        """Count what a deletion would remove. Its cost grows with the number of all events."""
        ...

    async def deletions(self) -> list[int]:
        """Return the numbers of the deletions under way, oldest first."""
        ...

    async def paused(self) -> Mapping[str, Pause]:
        """Return the sources that are paused."""
        ...

    async def tokens(self) -> list[StoredToken]:
        """Return the admin API's tokens, by name; expired ones too."""
        ...

    async def facts(self) -> Mapping[str, Fact]:
        """Return what the daemon noted of its own upkeep, by name."""
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

    async def note(self, name: str, value: Json) -> None:
        """Remember a fact of the daemon's own upkeep, in place of what was noted under that name before."""
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

    async def unrouted(
        self, *, limit: int, source: str | None = None, but: Collection[str] = (), after: EventId | None = None
    ) -> list[EventId]:
        """Return events that are yet to be routed, oldest first: of one source, or of all but some; later than `after`.

        One that cannot be matched stays unrouted: `after` goes past it.
        """
        ...

    async def latest(self) -> datetime | None:
        """Return when the newest event or delivery was made, None if there is none."""
        ...

    async def put_off(self, by: timedelta, *, after: datetime) -> int:
        """Let all that is due after `after` be due later, memories of `once` too; return how many deliveries.

        What was asked before counts by the old time, whatever is asked afterwards by the new one.
        """
        ...

    async def pull_in(self, to: datetime) -> int:
        """Let all that is due after `to` be due then; return how many deliveries that were."""
        ...

    async def prune(self, *, events: timedelta, dedupe: timedelta, dead: timedelta, limit: int) -> int:
        """Remove at most `limit` rows that are older; return how many. Nothing unfinished or held goes."""
        ...

    async def begin_deletion(self, which: Deletion, audit: Audit) -> int:
        """Note what is to be removed for good, durably, and return its number: the id of its row of the audit.

        The row's counts grow with each step.
        """
        ...

    async def continue_deletion(self, number: int) -> DeletionStep:
        """Remove some of a deletion's events, with every trace of what was in them, and what waits for them.

        Deliveries that wait are cancelled; an event of which one runs is left to a later step. What acts for several
        events goes on for the others. Raises `KeyError` if no such deletion is under way.
        """
        ...

    async def end_deletion(self, number: int) -> None:
        """Note that nothing is left to do for it."""
        ...

    async def checkpoint(self) -> bool:
        """Take the log of changes into the file, and empty it; False while somebody still reads what stands in it."""
        ...

    async def shrink(self) -> int:
        """Give some of the room that removed rows left back to the file system; return how many bytes.

        0 if there is too little of it to be worth that.
        """
        ...

    def reader(self) -> Reader:
        """Return a reader; close it after use."""
        ...
