"""What is told of an attempt once the store has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hookline.daemon.store.changes import Attempt, Record, State
from hookline.daemon.store.stored import Claimed
from hookline.rules import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An attempt that stands in the store, and what became of its delivery by it."""

    claimed: Claimed
    #: Of a digest: the first one. None if the store has it no more, or it was not read.
    event: Event | None
    attempt: Attempt
    #: What the delivery is now.
    state: State
    #: When that was.
    at: datetime
    #: From receipt to delivered; None if it was not delivered, or is a replay, which came when somebody asked for it.
    seconds: float | None


def recorded_of(claimed: Claimed, record: Record, event: Event | None, at: datetime) -> Recorded | None:
    """Return what is to be told of a record that the store took; None if nothing was tried."""
    if record.attempt is None:
        return None
    is_first = record.state is State.DELIVERED and event is not None and not claimed.is_replay
    return Recorded(
        claimed=claimed,
        event=event,
        attempt=record.attempt,
        state=record.state,
        at=at,
        seconds=max(0.0, (at - event.received_at).total_seconds()) if is_first and event is not None else None,
    )
