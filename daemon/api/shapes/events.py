"""Events and what was refused, as the API and the command line write them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypedDict

from hookline.daemon.deleting.deleter import Progress
from hookline.daemon.ids import decode, made_at
from hookline.daemon.sources.stored_payload import why_unreadable
from hookline.daemon.store.changes import State
from hookline.daemon.store.stored import EventPage, EventRow, StoredEvent, StoredRejection, Tally
from hookline.plugins.trace import trace_id
from hookline.rules import EventId

#: Of the deliveries that a deletion waits for.
_MOST_NAMED: Final = 20


class DeliveryCounts(TypedDict):
    """How many deliveries of an event are in each state."""

    pending: int
    running: int
    delivered: int
    dead: int
    cancelled: int
    suppressed: int
    collected: int


class EventFacts(TypedDict):
    """What is known of an event besides what it says."""

    id: str
    source: str
    type: str
    sender_id: str | None
    key: str
    tenant: str | None
    #: What it is about, in a word or two of the sender's; None if its source names none.
    subject: str | None
    occurred_at: str | None
    received_at: str
    #: Rules that matched, dry runs included; "" stands for a fallback.
    matched: list[str]
    #: It is yet to be matched: its source was paused, or matching failed.
    unrouted: bool
    duplicates: int
    conflicts: int
    #: Bytes of the request's body.
    size: int


class EventSummary(EventFacts):
    """An event without what it says, as lists show it."""

    deliveries: DeliveryCounts


class EventContent(EventFacts):
    """An event with what it says."""

    client_ip: str
    content_type: str
    #: Without credentials: those are never stored.
    headers: dict[str, str]
    query: dict[str, str]
    #: What rules see.
    payload: Any
    #: Where it stands in the request's body; None: it is the whole.
    pointer: list[str | int] | None
    #: Version of the rule set that routed it.
    rules: str
    trace: str | None
    #: The stored body is not the one that was accepted; nothing read from it is to be trusted.
    damaged: bool
    #: Why its body cannot be read; None if it can.
    unreadable: str | None


class EventDetail(EventContent):
    """An event with everything that is known of it."""

    #: What stood around it, if it was split from a batch.
    envelope: Any
    deliveries: DeliveryCounts


class Searched(TypedDict):
    """How much was looked at for a page."""

    #: How many were looked at.
    events: int
    #: When the oldest of them was received; None if none was looked at.
    back_to: str | None
    #: Whether there is nothing older. If not, `next` goes on.
    all: bool


class EventsPage(TypedDict):
    """Some events, newest first."""

    events: list[EventSummary]
    #: `before` of the next page; None if there is none.
    next: str | None
    searched: Searched


class SavedTest(TypedDict):
    """A stored event as a fixture and a rule test, personal data and secrets replaced. Nothing is written."""

    #: Where they would stand, from the folder of the rules.
    fixture_file: str
    test_file: str
    #: The event's body.
    fixture: str
    #: YAML.
    test: str
    #: Rules that match, fallbacks apart.
    rules: list[str]
    #: Places of what was replaced, and of what was not, as other rules would match without it.
    redacted: list[str]
    kept: list[str]


class EndOfDeletion(TypedDict):
    """The first or the last event of those meant."""

    id: str
    at: str


class MeantEvents(TypedDict, total=False):
    """Which events are meant; every field narrows. It says `tenant` or `source`."""

    source: str
    type: str
    tenant: str
    since: str
    until: str


class DeletionAsked(TypedDict, total=False):
    """What to remove for good: by id, or by a filter."""

    events: list[str]
    filter: MeantEvents
    #: For the audit; only `dry_run` needs none.
    reason: str
    #: Also forget that they were seen: a repeat is then a new event.
    forget_key: bool
    dry_run: bool


class DeletionPreview(TypedDict):
    """What a deletion would remove."""

    dry_run: bool
    events: int
    first: EndOfDeletion | None
    last: EndOfDeletion | None
    #: Their deliveries by state, those states that there are.
    deliveries: dict[str, int]


class DeletionProgress(TypedDict):
    """How far a deletion has come."""

    deletion: int
    #: How many events are gone.
    events: int
    over: bool
    #: Deliveries that have to end first; the first of them.
    waits_for: list[str]


class Rejection(TypedDict):
    """Refused requests of one source, cause and hour."""

    #: "" for requests to no source.
    source: str
    reason: Annotated[str, "From a closed set, such as `signature`."]
    first_at: str
    last_at: str
    count: int
    #: The last one's.
    detail: str
    client_ip: str


class RejectionsPage(TypedDict):
    """Refused requests, the latest first."""

    rejections: list[Rejection]


def event_summary(row: EventRow) -> EventSummary:
    """Write a row of a page."""
    return {
        "id": row.id,
        "source": row.source,
        "type": row.type,
        "sender_id": row.sender_id,
        "key": row.key,
        "tenant": row.tenant,
        "subject": row.subject,
        "occurred_at": _moment(row.occurred_at),
        "received_at": row.received_at.isoformat(),
        "matched": list(row.matched),
        "unrouted": row.is_unrouted,
        "duplicates": row.duplicates,
        "conflicts": row.conflicts,
        "size": row.size,
        "deliveries": delivery_counts(row.deliveries),
    }


def event_content(stored: StoredEvent) -> EventContent:
    """Write an event as it stands in the store."""
    event = stored.event
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "sender_id": event.sender_id,
        "key": event.key,
        "tenant": event.tenant,
        "subject": event.subject,
        "occurred_at": _moment(event.occurred_at),
        "received_at": event.received_at.isoformat(),
        "client_ip": event.client_ip,
        "content_type": stored.content_type,
        "headers": dict(event.headers),
        "query": dict(event.query),
        "payload": event.payload,
        "pointer": None if stored.pointer is None else list(stored.pointer),
        "rules": stored.rules_version,
        "matched": list(stored.matched),
        "unrouted": stored.is_unrouted,
        "duplicates": stored.duplicates,
        "conflicts": stored.conflicts,
        "size": len(stored.body),
        "trace": trace_id(event.headers),
        "damaged": stored.is_damaged,
        "unreadable": why_unreadable(stored.body, stored.content_type) if event.type == "unreadable" else None,
    }


def event_detail(stored: StoredEvent, deliveries: Mapping[State, int]) -> EventDetail:
    """Write an event, and how many deliveries it has in each state."""
    return {
        **event_content(stored),
        "envelope": stored.event.envelope,
        "deliveries": delivery_counts(deliveries),
    }


def delivery_counts(deliveries: Mapping[State, int]) -> DeliveryCounts:
    """Write how many there are in each state, none of them left out."""
    return {
        "pending": deliveries.get(State.PENDING, 0),
        "running": deliveries.get(State.RUNNING, 0),
        "delivered": deliveries.get(State.DELIVERED, 0),
        "dead": deliveries.get(State.DEAD, 0),
        "cancelled": deliveries.get(State.CANCELLED, 0),
        "suppressed": deliveries.get(State.SUPPRESSED, 0),
        "collected": deliveries.get(State.COLLECTED, 0),
    }


def events_page(page: EventPage) -> EventsPage:
    """Write what a search found."""
    return {
        "events": list(map(event_summary, page.rows)),
        "next": page.next,
        "searched": {"events": page.looked_at, "back_to": _moment(page.back_to), "all": page.next is None},
    }


def deletion_preview(tally: Tally) -> DeletionPreview:
    """Write what a deletion would remove."""
    return {
        "dry_run": True,
        "events": tally.events,
        "first": _end(tally.first),
        "last": _end(tally.last),
        "deliveries": {state.value: count for state, count in sorted(tally.deliveries.items()) if count},
    }


def deletion_progress(progress: Progress) -> DeletionProgress:
    """Write how far a deletion has come."""
    return {
        "deletion": progress.number,
        "events": progress.events,
        "over": progress.is_over,
        "waits_for": list(progress.waits_for[:_MOST_NAMED]),
    }


def rejection(row: StoredRejection) -> Rejection:
    """Write requests that were refused."""
    return {
        "source": row.source,
        "reason": row.reason,
        "first_at": row.first_at.isoformat(),
        "last_at": row.last_at.isoformat(),
        "count": row.count,
        "detail": row.detail,
        "client_ip": row.client_ip,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _end(event: EventId | None) -> EndOfDeletion | None:
    return None if event is None else {"id": event, "at": made_at(decode("evt", event)).isoformat()}
