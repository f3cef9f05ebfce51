"""From a runner's result to what is recorded and logged."""

from __future__ import annotations

from datetime import datetime

from hookline.daemon.delivery.retry import Decision
from hookline.daemon.delivery.runner import Result
from hookline.daemon.store.changes import Accept, Attempt, Outcome, Record, State
from hookline.daemon.store.port import Claimed
from hookline.plugins import Log
from hookline.rules import Event

_MAX_NOTE_CHARACTERS = 1_000
_MAX_ANSWER_CHARACTERS = 4_096
_MAX_DECISION_CHARACTERS = 300


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


def log_attempt(log: Log, claimed: Claimed, attempt: Attempt, decision: Decision, event: Event | None) -> None:
    """Write the one line that every attempt gets; `event` is None if the store has it no more."""
    log.info(
        "delivery.attempted",
        event_type=event.type if event else None,
        event_id=claimed.event_id,
        delivery_id=claimed.id,
        destination=claimed.destination,
        outcome=attempt.outcome.value,
        status=attempt.status,
        milliseconds=round(attempt.duration.total_seconds() * 1000, 1),
        attempt=attempt.number,
        state=decision.state.value,
        due_in_s=decision.due_in.total_seconds() if decision.state is State.PENDING else None,
    )
