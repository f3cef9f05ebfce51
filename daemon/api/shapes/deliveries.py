"""Deliveries, their attempts, and what operators do with them, as the API and the command line write them."""

from __future__ import annotations

from typing import TypedDict

from hookline.daemon.api.shapes.events import Searched
from hookline.daemon.replaying.answer import Cancelled, Preview, Replayed
from hookline.daemon.store.changes import Attempt
from hookline.daemon.store.stored import DeliveryPage, StoredDelivery


class AttemptShape(TypedDict):
    """One try at a delivery."""

    number: int
    started_at: str
    milliseconds: float
    #: `delivered`, `transient`, `permanent`, `unknown` or `crashed`.
    outcome: str
    #: The other side's; None if there was none.
    status: int | None
    #: What the action said, or the error's text.
    note: str
    #: A bounded piece of what was answered.
    answer: str
    #: What was made of it and why, for people.
    decision: str


class Attempts(TypedDict):
    """Every try at a delivery, first to last."""

    attempts: list[AttemptShape]


class DeliverySummary(TypedDict):
    """A delivery, as lists show it."""

    id: str
    event: str
    source: str
    type: str
    #: "" for a fallback.
    rule: str
    destination: str
    lane: str
    #: Hash of the step's text.
    step: str
    state: str
    #: What suppressed it, if anything did.
    why: str
    #: What acts for it.
    part_of: str | None
    #: For how many it acts.
    stands_for: int
    digest: bool
    order: str | None
    behind_another: bool
    created_at: str
    due_at: str
    attempts: int
    crashes: int
    replay: bool
    replay_of: str | None
    last_attempt: AttemptShape | None


class Part(TypedDict):
    """A delivery that another one acts for."""

    delivery: str
    event: str


class DeliveryDetail(TypedDict):
    """A delivery with all that explains how it stands."""

    delivery: DeliverySummary
    #: First to last.
    attempts: list[AttemptShape]
    #: What it acts for: the first ones.
    parts: list[Part]
    #: What it waits behind.
    behind: str | None
    #: Why its lane is held; None if it is not.
    held: str | None
    #: What would be sent: the step's options as written, secrets as `${NAME}`.
    options: dict[str, object]


class DeliveriesPage(TypedDict):
    """Some deliveries, newest first."""

    deliveries: list[DeliverySummary]
    #: `before` of the next page; None if there is none.
    next: str | None
    #: How many deliveries were looked at, as for events.
    searched: Searched


class DeadReason(TypedDict):
    """Dead letters of one destination that are dead for one reason."""

    #: What the last attempt said, and what was decided on it.
    reason: str
    count: int
    #: The newest of them.
    delivery: str


class DeadGroup(TypedDict):
    """Dead letters of one destination."""

    destination: str
    count: int
    first_at: str
    last_at: str
    #: The most frequent ones.
    reasons: list[DeadReason]


class DeadLetters(TypedDict):
    """The newest dead letters by destination, the most first."""

    groups: list[DeadGroup]
    #: Of how many that is said.
    count: int
    #: Whether there are no more.
    all: bool


class CollectedEvent(TypedDict):
    """An event that was collected into a digest."""

    id: str
    source: str
    type: str
    received_at: str


class CollectedEvents(TypedDict):
    """Events that were collected into a digest, first to last: the first ones."""

    events: list[CollectedEvent]


class PreviewRowShape(TypedDict):
    """One delivery that would be repeated, cancelled, or made."""

    #: None if it would be made by the rules that are live.
    delivery: str | None
    event: str
    event_type: str
    source: str
    rule: str
    destination: str
    state: str | None


class PreviewShape(TypedDict):
    """What would be done."""

    dry_run: bool
    count: int
    #: What is counted: `deliveries`; with `by: now`, `events`.
    of: str
    skipped: int
    #: Seconds until the last one is due.
    lasts_s: float
    #: The first ones.
    sample: list[PreviewRowShape]


class ReplayedShape(TypedDict):
    """What was made."""

    dry_run: bool
    count: int
    #: The first and the last new delivery.
    first: str | None
    last: str | None
    #: How many were picked and nothing was made of them: under way, or gone meanwhile.
    skipped: int
    #: Seconds until the last one is due.
    lasts_s: float


class CancelledShape(TypedDict):
    """What was cancelled."""

    dry_run: bool
    count: int
    #: How many were picked and did not wait any more.
    skipped: int


class PickedBy(TypedDict, total=False):
    """Which deliveries are meant; every field narrows."""

    state: str
    source: str
    destination: str
    rule: str
    since: str
    until: str


class ReplayAsked(TypedDict, total=False):
    """What to send again: by id, or by a filter."""

    events: list[str]
    deliveries: list[str]
    filter: PickedBy
    #: `then`: the same deliveries again; `now`: what the live rules ask for (events only).
    by: str
    #: How many become due, such as `20/s`.
    rate: str
    dry_run: bool


class CancelAsked(TypedDict, total=False):
    """What to cancel: by id, or by a filter."""

    deliveries: list[str]
    filter: PickedBy
    dry_run: bool


def attempt_shape(attempt: Attempt) -> AttemptShape:
    """Write an attempt."""
    return {
        "number": attempt.number,
        "started_at": attempt.started_at.isoformat(),
        "milliseconds": round(attempt.duration.total_seconds() * 1000, 1),
        "outcome": attempt.outcome.value,
        "status": attempt.status,
        "note": attempt.note,
        "answer": attempt.answer,
        "decision": attempt.decision,
    }


def delivery_summary(delivery: StoredDelivery) -> DeliverySummary:
    """Write a delivery."""
    return {
        "id": delivery.id,
        "event": delivery.event_id,
        "source": delivery.source,
        "type": delivery.event_type,
        "rule": delivery.rule,
        "destination": delivery.destination,
        "lane": delivery.lane,
        "step": delivery.step,
        "state": delivery.state.value,
        "why": delivery.why,
        "part_of": delivery.part_of,
        "stands_for": delivery.stands_for,
        "digest": delivery.is_digest,
        "order": delivery.order,
        "behind_another": delivery.is_behind,
        "created_at": delivery.created_at.isoformat(),
        "due_at": delivery.due_at.isoformat(),
        "attempts": delivery.attempts,
        "crashes": delivery.crashes,
        "replay": delivery.is_replay,
        "replay_of": delivery.replay_of,
        "last_attempt": None if delivery.last_attempt is None else attempt_shape(delivery.last_attempt),
    }


def deliveries_page(page: DeliveryPage) -> DeliveriesPage:
    """Write what a search found."""
    back_to = None if page.back_to is None else page.back_to.isoformat()
    return {
        "deliveries": list(map(delivery_summary, page.rows)),
        "next": page.next,
        "searched": {"events": page.looked_at, "back_to": back_to, "all": page.next is None},
    }


def preview_shape(preview: Preview) -> PreviewShape:
    """Write what would be done."""
    return {
        "dry_run": True,
        "count": preview.count,
        "of": preview.of,
        "skipped": preview.skipped,
        "lasts_s": preview.lasts.total_seconds(),
        "sample": [
            {
                "delivery": row.delivery,
                "event": row.event,
                "event_type": row.event_type,
                "source": row.source,
                "rule": row.rule,
                "destination": row.destination,
                "state": None if row.state is None else row.state.value,
            }
            for row in preview.sample
        ],
    }


def replayed_shape(replayed: Replayed) -> ReplayedShape:
    """Write what was made."""
    return {
        "dry_run": False,
        "count": replayed.count,
        "first": replayed.first,
        "last": replayed.last,
        "skipped": replayed.skipped,
        "lasts_s": replayed.lasts.total_seconds(),
    }


def cancelled_shape(cancelled: Cancelled) -> CancelledShape:
    """Write what was cancelled."""
    return {"dry_run": False, "count": cancelled.count, "skipped": cancelled.skipped}


def reason_of(attempt: Attempt | None) -> str:
    """Say why a delivery is dead: what its last attempt said, and what was decided on it."""
    if attempt is None:
        return "never tried"
    return "; ".join(part for part in (said_of(attempt), attempt.decision) if part)


def said_of(attempt: Attempt | None) -> str:
    """Say what came of an attempt: the other side's status, and the first line of its note."""
    if attempt is None:
        return ""
    return f"{attempt.status or ''} {attempt.note.partition(chr(10))[0]}".strip()
