"""From what was written to what is told of it: messages for the hub, made only while somebody listens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from hookline.daemon.api.shapes.events import event_summary
from hookline.daemon.delivery.recorded import Recorded
from hookline.daemon.reload.live import LastReload
from hookline.daemon.store.changes import (
    Accept,
    Accepted,
    Answer,
    Cancel,
    Change,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Refused,
    Reject,
    Replay,
    Route,
    SetHealth,
    SetLane,
    SetSourceState,
    State,
)
from hookline.daemon.store.stored import EventRow
from hookline.daemon.streaming.hub import Hub
from hookline.daemon.streaming.message import Message
from hookline.rules.name_filter import HOOKLINE

#: Deliveries and problems named in one message.
_MOST_NAMED: Final = 20
_LONGEST_NOTE: Final = 300


class Telling:
    """Tells a hub what was written, attempted and reloaded. Nothing here raises or waits."""

    def __init__(self, hub: Hub, *, clock: Callable[[], datetime]) -> None:
        """`clock` returns the time, aware."""
        self._hub = hub
        self._clock = clock

    def written(self, changes: Sequence[Change], answers: Sequence[Answer]) -> None:
        """Tell of a batch that the store took."""
        if not self._hub.is_wanted:
            return
        at = self._clock()
        # A release begins the health of its lane anew: that is no recovery.
        released = {change.lane for change in changes if isinstance(change, SetLane) and not change.is_held}
        for change, answer in zip(changes, answers, strict=True):
            if isinstance(answer, Refused) or (isinstance(change, SetHealth) and change.lane in released):
                continue
            for message in _messages(change, answer, at):
                self._hub.publish(message)
        for message in _changed_deliveries(changes, answers, at):
            self._hub.publish(message)

    def attempted(self, recorded: Recorded) -> None:
        """Tell of an attempt."""
        if self._hub.is_wanted:
            self._hub.publish(_attempt(recorded))

    def reloaded(self, last: LastReload) -> None:
        """Tell how a start or reload ended."""
        if self._hub.is_wanted:
            facts = {"outcome": last.outcome, "problems": [str(one) for one in last.problems[:_MOST_NAMED]]}
            self._hub.publish(Message(kind="reload", at=last.at, is_trouble=bool(last.problems), facts=facts))


def event_message(row: EventRow, at: datetime) -> Message:
    """Return what is told of an event."""
    return Message(
        kind="event",
        at=at,
        source=row.source,
        type=row.type,
        tenant=row.tenant or "",
        rules=row.matched,
        # What we say of ourselves need not be of interest to any rule.
        is_trouble=row.source != HOOKLINE and (row.is_unrouted or not any(row.matched)),
        event_id=row.id,
        facts={**event_summary(row)},
    )


def _messages(change: Change, answer: Answer, at: datetime) -> Iterator[Message]:
    match change:
        case Accept() if isinstance(answer, tuple):
            yield from _accepted(change, answer, at)
        case Record() if answer is True:
            # What was tried, see `attempted`.
            yield from _own(change.own, at)
        case SetLane():
            yield _lane(change.lane, "held" if change.is_held else "released", change.reason, at)
            yield from _own(change.own, at)
        case SetHealth():
            yield _lane(change.lane, "failing" if change.is_failing else "recovered", "", at)
            yield from _own(change.own, at)
        case SetSourceState():
            facts = {"source": change.source, "what": "paused" if change.is_paused else "resumed"}
            yield Message(kind="source", at=at, source=change.source, facts={**facts, "reason": change.reason})
        case Reject():
            yield _rejected(change, at)
        case Route() if answer is True:
            yield Message(kind="delivery", at=at, rules=change.matched, facts=_routed(change))
        case _:
            # Replays and cancels are told of together; the rest is not of what happens to events.
            pass


def _own(own: Accept | None, at: datetime) -> Iterator[Message]:
    """Tell of an event about ourselves, which its cause brought with it: there is one for each occasion."""
    if own is not None:
        for new in own.events:
            yield event_message(_row(new, len(own.request.body)), at)


def _accepted(change: Accept, answer: tuple[Accepted, ...], at: datetime) -> Iterator[Message]:
    size = len(change.request.body)
    for new, one in zip(change.events, answer, strict=True):
        yield _duplicate(new, one, at) if one.is_duplicate else event_message(_row(new, size), at)


def _duplicate(new: NewEvent, answer: Accepted, at: datetime) -> Message:
    event = new.event
    facts = {
        "event": answer.event_id,
        "source": event.source,
        "type": event.type,
        "tenant": event.tenant,
        "conflict": answer.is_conflict,
    }
    return Message(
        kind="duplicate",
        at=at,
        source=event.source,
        type=event.type,
        tenant=event.tenant or "",
        is_trouble=answer.is_conflict,
        facts=facts,
    )


def _row(new: NewEvent, size: int) -> EventRow:
    return EventRow.of(
        new.event,
        matched=new.matched,
        is_unrouted=new.is_unrouted,
        size=size,
        deliveries=Counter(map(_asked_state, new.deliveries)),
    )


def _asked_state(delivery: NewDelivery) -> State:
    """Say what a delivery begins as; whether `once` or `changed` keep it back is known to the store alone."""
    if delivery.token is not None:
        return State.RUNNING
    return State.COLLECTED if delivery.digest is not None else State.PENDING


def _attempt(recorded: Recorded) -> Message:
    claimed, event, attempt = recorded.claimed, recorded.event, recorded.attempt
    facts = {
        "delivery": claimed.id,
        "event": claimed.event_id,
        "source": event and event.source,
        "type": event and event.type,
        "tenant": event and event.tenant,
        "rule": claimed.rule,
        "destination": claimed.destination,
        "number": attempt.number,
        "outcome": attempt.outcome.value,
        "status": attempt.status,
        "milliseconds": round(attempt.duration.total_seconds() * 1000, 1),
        "note": attempt.note.partition("\n")[0][:_LONGEST_NOTE],
        "decision": attempt.decision,
        "state": recorded.state.value,
        "replay": claimed.is_replay,
    }
    return Message(
        kind="attempt",
        at=recorded.at,
        source=event.source if event else "",
        type=event.type if event else "",
        tenant=(event.tenant or "") if event else "",
        destination=claimed.destination,
        rules=(claimed.rule,),
        is_trouble=attempt.outcome is not Outcome.DELIVERED,
        facts=facts,
    )


def _lane(lane: str, what: Literal["held", "released", "failing", "recovered"], reason: str, at: datetime) -> Message:
    facts = {"destination": lane, "what": what, "reason": reason}
    return Message(kind="destination", at=at, destination=lane, is_trouble=what in {"held", "failing"}, facts=facts)


def _rejected(change: Reject, at: datetime) -> Message:
    facts = {
        "source": change.source,
        "reason": change.reason,
        "count": change.count,
        "detail": change.detail,
        "client_ip": change.client_ip,
    }
    return Message(kind="rejected", at=at, source=change.source, is_trouble=True, facts=facts)


def _routed(change: Route) -> Mapping[str, Any]:
    return {
        "what": "routed",
        "event": change.event_id,
        "count": len(change.deliveries),
        "deliveries": [delivery.id for delivery in change.deliveries[:_MOST_NAMED]],
        "matched": list(change.matched),
    }


def _changed_deliveries(changes: Sequence[Change], answers: Sequence[Answer], at: datetime) -> Iterator[Message]:
    """Tell of what operators did: of a batch, together, as they do it with thousands at once."""
    done = list(zip(changes, answers, strict=True))
    cancelled = [change.delivery_id for change, answer in done if isinstance(change, Cancel) and answer is True]
    replayed = [answer for change, answer in done if isinstance(change, Replay) and isinstance(answer, str)]
    for what, ids in (("cancelled", cancelled), ("replayed", replayed)):
        if ids:
            facts = {
                "what": what,
                "event": None,
                "count": len(ids),
                "deliveries": ids[:_MOST_NAMED],
                "matched": None,
            }
            yield Message(kind="delivery", at=at, facts=facts)
