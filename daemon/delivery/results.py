"""From a runner's result to what is recorded and logged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hookline.daemon.delivery.retry import Decision
from hookline.daemon.delivery.runner import Result
from hookline.daemon.store.changes import Accept, Attempt, Outcome, Record
from hookline.daemon.store.stored import Claimed
from hookline.plugins import Log
from hookline.plugins.trace import trace_id
from hookline.rules import Event

_MAX_NOTE_CHARACTERS = 1_000
_MAX_ANSWER_CHARACTERS = 4_096
_MAX_DECISION_CHARACTERS = 300
_MAX_LOGGED_CHARACTERS = 300
#: Of a digest: so many of its events are named in its line.
_MAX_MEMBERS = 200


def has_answered(result: Result) -> bool | None:
    """Say what a result says of its destination; None if nothing."""
    if result.is_unrunnable or result.is_interrupted:
        return None
    return result.outcome in {Outcome.DELIVERED, Outcome.PERMANENT}


def attempt_of(claimed: Claimed, result: Result, started_at: datetime, decision: Decision) -> Attempt:
    """Return the attempt to record, bounded as the store promises."""
    return Attempt(
        number=claimed.attempts + 1,
        started_at=started_at,
        duration=result.duration,
        outcome=result.outcome,
        status=result.status,
        note=result.note[:_MAX_NOTE_CHARACTERS],
        answer=result.answer[:_MAX_ANSWER_CHARACTERS],
        decision=decision.why[:_MAX_DECISION_CHARACTERS],
    )


def record_of(claimed: Claimed, attempt: Attempt | None, decision: Decision, own: Accept | None = None) -> Record:
    """Return the change that ends the claim; `own` is the event about ourselves that it causes."""
    return Record(
        delivery_id=claimed.id,
        token=claimed.token,
        attempt=attempt,
        state=decision.state,
        due_in=decision.due_in,
        own=own,
    )


def log_attempt(  # noqa: PLR0913 - what the line tells of, each once
    log: Log,
    claimed: Claimed,
    attempt: Attempt,
    decision: Decision,
    event: Event | None,
    *,
    members: Sequence[Event] = (),
) -> None:
    """Write the one line that every attempt gets.

    `event` is None if the store has it no more; `members` are those of a digest, of which the first are named.
    """
    is_digest = len(members) > 1
    log.info(
        "delivery.attempted",
        event_type=event.type if event else None,
        event_id=claimed.event_id,
        delivery_id=claimed.id,
        rule=claimed.rule or "fallback",
        destination=claimed.destination,
        attempt=attempt.number,
        is_replay=claimed.is_replay,
        outcome=attempt.outcome.value,
        status=attempt.status,
        milliseconds=round(attempt.duration.total_seconds() * 1000, 1),
        state=decision.state.value,
        decision=decision.why or None,
        trace=trace_id(event.headers) if event and not is_digest else None,
        **({"events": [one.id for one in members[:_MAX_MEMBERS]], "of": len(members)} if is_digest else {}),
    )


def log_postponed(log: Log, claimed: Claimed, decision: Decision, result: Result) -> None:
    """Say that a delivery waits although its turn had come, by no fault of its own, and that it spent no attempt."""
    log.info(
        "delivery.postponed",
        event_id=claimed.event_id,
        delivery_id=claimed.id,
        destination=claimed.destination,
        why=decision.hold or result.note[:_MAX_LOGGED_CHARACTERS],
    )
