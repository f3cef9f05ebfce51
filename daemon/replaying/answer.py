"""What is said of many deliveries that an operator asked about: what would be done, or what was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from hookline.daemon.store.changes import DeliveryId, State
from hookline.rules import EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRow:
    """One delivery that would be repeated, cancelled, or made."""

    #: The one that is there; None if it would be made by the live rules.
    delivery: DeliveryId | None
    event: EventId
    event_type: str
    source: str
    #: Its name; "" for a fallback.
    rule: str
    destination: str
    state: State | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be done."""

    count: int
    #: What is counted: with `by: now` the events that the live rules would be asked about.
    of: Literal["deliveries", "events"]
    #: The first ones.
    sample: tuple[PreviewRow, ...]
    skipped: int
    #: Until the last one is due.
    lasts: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What was made."""

    count: int
    #: None if nothing was.
    first: DeliveryId | None
    last: DeliveryId | None
    #: How many were picked and nothing was made of them: under way, or gone meanwhile.
    skipped: int
    #: Until the last one is due.
    lasts: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """What was cancelled."""

    count: int
    #: How many were picked and did not wait any more.
    skipped: int
