"""What was sent where, how it went, and what an operator may do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal, TypeAlias

from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.paging import after_delivery, limit_of
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.deliveries import (
    Attempts,
    CancelAsked,
    CancelledShape,
    CollectedEvents,
    DeadGroup,
    DeadLetters,
    DeliveriesPage,
    DeliveryDetail,
    PreviewShape,
    ReplayAsked,
    ReplayedShape,
    attempt_shape,
    cancelled_shape,
    deliveries_page,
    delivery_summary,
    preview_shape,
    reason_of,
    replayed_shape,
)
from hookline.daemon.replaying.answer import Cancelled, Replayed
from hookline.daemon.replaying.request import CancelRequest, ReplayRequest
from hookline.daemon.store.changes import Audit, DeliveryId, State
from hookline.daemon.store.orders import head_of_order, why_held
from hookline.daemon.store.stored import DeliveryFilter, StoredDelivery
from hookline.rules import EventId, Step

DELIVERIES = Area("deliveries", "What was sent where, how it went, and what can be done about it.")

StateName: TypeAlias = Literal["pending", "running", "delivered", "dead", "cancelled", "suppressed", "collected"]
#: Of what a delivery acts for.
_MOST_PARTS: Final = 100
#: Dead letters that are counted at once.
_MOST_DEAD: Final = 500
_MOST_REASONS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveriesAsked:
    """Which deliveries to list; every field narrows."""

    event: Annotated[str | None, "Only of this event."] = None
    source: Annotated[str | None, "Only of events from this source."] = None
    destination: Annotated[str | None, "Only to this destination."] = None
    rule: Annotated[str | None, "Only of this rule; empty: of fallbacks."] = None
    state: Annotated[StateName | None, "Only in this state."] = None
    since: Annotated[datetime | None, "Not older."] = None
    until: Annotated[datetime | None, "Older than that."] = None
    not_replayed: Annotated[bool, "Only those that no other repeats."] = False
    limit: Annotated[int, "How many at most, 1 to 500."] = 50
    before: Annotated[str | None, "`next` of the page above."] = None

    def filter(self) -> DeliveryFilter:
        """Return it as the store takes it."""
        return DeliveryFilter(
            event_id=None if self.event is None else EventId(self.event),
            source=self.source,
            destination=self.destination,
            rule=self.rule,
            state=None if self.state is None else State(self.state),
            since=self.since,
            until=self.until,
            not_replayed=self.not_replayed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAsked:
    """One delivery."""

    delivery: Annotated[str, "Its id, `dlv_…`."]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadAsked:
    """Which dead letters to count."""

    source: Annotated[str | None, "Only of events from this source."] = None
    destination: Annotated[str | None, "Only to this destination."] = None
    rule: Annotated[str | None, "Only of this rule; empty: of fallbacks."] = None
    since: Annotated[datetime | None, "Not older."] = None
    until: Annotated[datetime | None, "Older than that."] = None

    def filter(self) -> DeliveryFilter:
        """Return it as the store takes it: dead, and not sent again."""
        return DeliveryFilter(
            source=self.source,
            destination=self.destination,
            rule=self.rule,
            state=State.DEAD,
            since=self.since,
            until=self.until,
            not_replayed=True,
        )


@DELIVERIES.get("/deliveries")
async def list_deliveries(call: Call[DeliveriesAsked]) -> DeliveriesPage:
    """List deliveries, newest first. A search is bounded as that of events is."""
    asked = call.asked
    before, limit = after_delivery(asked.before), limit_of(asked.limit)
    return deliveries_page(await call.daemon.reader.delivery_page(asked.filter(), limit=limit, before=before))


@DELIVERIES.get("/deliveries/{delivery}", also={404: "There is no such delivery."})
async def get_delivery(call: Call[DeliveryAsked]) -> DeliveryDetail:
    """Show one delivery: every attempt and what was decided on it, what it acts for, and what it waits for."""
    reader = call.daemon.reader
    delivery = await _delivery(call)
    text = await reader.text(delivery.step)
    parts = await reader.parts(delivery.id, limit=_MOST_PARTS) if delivery.stands_for else []
    head = await head_of_order(reader, delivery) if delivery.is_behind else None
    return {
        "delivery": delivery_summary(delivery),
        "attempts": list(map(attempt_shape, await reader.attempts(delivery.id))),
        "parts": [{"delivery": part.id, "event": part.event_id} for part in parts],
        "behind": None if head is None else head.id,
        "held": await why_held(reader, delivery),
        "options": {} if text is None else dict(Step.from_text(text).options),
    }


@DELIVERIES.get("/deliveries/{delivery}/attempts", also={404: "There is no such delivery."})
async def list_attempts(call: Call[DeliveryAsked]) -> Attempts:
    """List every try at a delivery and what was decided on it, first to last."""
    delivery = await _delivery(call)
    return {"attempts": list(map(attempt_shape, await call.daemon.reader.attempts(delivery.id)))}


@DELIVERIES.get("/deliveries/{delivery}/events", also={404: "There is no such delivery."})
async def list_collected_events(call: Call[DeliveryAsked]) -> CollectedEvents:
    """List the events that were collected into a digest, first to last: the first 100."""
    delivery = await _delivery(call)
    found = await call.daemon.reader.members(delivery.id, limit=_MOST_PARTS) if delivery.is_digest else []
    return {
        "events": [
            {
                "id": one.event.id,
                "source": one.event.source,
                "type": one.event.type,
                "received_at": one.event.received_at.isoformat(),
            }
            for one in found
        ]
    }


@DELIVERIES.get("/dead")
async def count_dead_letters(call: Call[DeadAsked]) -> DeadLetters:
    """Count dead letters that were not sent again, by destination and reason: the newest 500.

    Their list is `/deliveries?state=dead&not_replayed=true`.
    """
    page = await call.daemon.reader.delivery_page(call.asked.filter(), limit=_MOST_DEAD)
    by_destination: dict[str, list[StoredDelivery]] = {}
    for one in page.rows:
        by_destination.setdefault(one.destination, []).append(one)
    groups = [_group(name, dead) for name, dead in by_destination.items()]
    groups.sort(key=lambda group: group["count"], reverse=True)
    return {"groups": groups, "count": len(page.rows), "all": page.next is None}


@DELIVERIES.post("/replay", brings=ReplayAsked)
async def replay(call: Call[Nothing]) -> PreviewShape | ReplayedShape:
    """Make new deliveries: of events, of deliveries, or of all that a filter picks. With `dry_run`, say of which."""
    done = await call.daemon.replayer.replay(ReplayRequest.from_json(call.body))
    if isinstance(done, Replayed) and done.count:
        subject = done.first if done.count == 1 else f"{done.first} to {done.last}"
        audit = Audit(who=call.caller.name, what="replay", subject=str(subject), count=done.count)
        await call.daemon.commit.submit(audit)
    return replayed_shape(done) if isinstance(done, Replayed) else preview_shape(done)


@DELIVERIES.post("/cancel", brings=CancelAsked)
async def cancel(call: Call[Nothing]) -> PreviewShape | CancelledShape:
    """Cancel deliveries that wait: those named, or all that a filter picks. With `dry_run`, say which."""
    asked = CancelRequest.from_json(call.body)
    done = await call.daemon.replayer.cancel(asked)
    if isinstance(done, Cancelled) and done.count:
        subject = asked.deliveries[0] if len(asked.deliveries) == 1 else ""
        audit = Audit(who=call.caller.name, what="cancel", subject=subject, count=done.count)
        await call.daemon.commit.submit(audit)
    return cancelled_shape(done) if isinstance(done, Cancelled) else preview_shape(done)


async def _delivery(call: Call[DeliveryAsked]) -> StoredDelivery:
    delivery = await call.daemon.reader.delivery(DeliveryId(call.asked.delivery))
    if delivery is None:
        detail = f"no delivery {call.asked.delivery[:40]}: it may have been removed by retention"
        raise ProblemError(404, "Not found", detail)
    return delivery


def _group(name: str, dead: Sequence[StoredDelivery]) -> DeadGroup:
    reasons = Counter(reason_of(one.last_attempt) for one in dead)
    newest = {reason_of(one.last_attempt): one.id for one in reversed(dead)}
    return {
        "destination": name,
        "count": len(dead),
        "first_at": dead[-1].created_at.isoformat(),
        "last_at": dead[0].created_at.isoformat(),
        "reasons": [
            {"reason": reason, "count": count, "delivery": newest[reason]}
            for reason, count in reasons.most_common(_MOST_REASONS)
        ],
    }
