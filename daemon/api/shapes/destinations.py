"""Destinations, as the API and the command line write them."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from hookline.daemon.api.shapes.deliveries import DeliverySummary
from hookline.daemon.config.settings import Destination
from hookline.daemon.destinations.states import DestinationState
from hookline.rules import Modifiers
from hookline.rules.modifiers import DEFAULT_RETRY
from hookline.rules.written_modifiers import written_bounds, written_modifiers


class LaneLive(TypedDict):
    """What the dispatcher knows of a lane."""

    concurrency: int
    #: How many may run now: fewer than `concurrency` while it comes back.
    limit: int
    #: `closed`, `open` or `half-open`.
    breaker: str
    tries_at: str | None
    ramping: bool
    maintenance_until: str | None
    rate_until: str | None


class DestinationShape(TypedDict):
    """One destination, or an action in place that has something unfinished."""

    destination: str
    lane: str
    action: str
    rule: str | None
    configured: bool
    #: The worst that is to be said of it: `held`, `maintenance`, `open`, `probing`, `failing`, `ramping`, `limited`,
    #: `ok`.
    state: str
    held: bool
    reason: str
    failing_since: str | None
    waiting: int
    oldest_due_at: str | None
    running: int
    delivered_24h: int
    failed_24h: int
    last_delivered_hour: str | None
    live: LaneLive | None


class DestinationsShape(TypedDict):
    """All destinations, in the order of the configuration, then what else has something unfinished."""

    destinations: list[DestinationShape]


class DestinationDetail(DestinationShape):
    """One destination with its limits and what was sent there lately."""

    #: What bounds it, as the configuration writes it; empty for an action in place.
    limits: dict[str, object]
    #: The newest deliveries.
    latest: list[DeliverySummary]
    #: The newest dead ones that nobody sent again.
    dead: list[DeliverySummary]


class HeldDestination(TypedDict):
    """Whether a destination is held."""

    destination: str
    held: bool


class SentTestShape(TypedDict):
    """A test that was stored, and is under way."""

    event: str
    delivery: str


class HoldAsked(TypedDict, total=False):
    """Why it is held."""

    reason: str


class TestAsked(TypedDict, total=False):
    """What rules would give."""

    options: dict[str, object]


def destination_shape(state: DestinationState) -> DestinationShape:
    """Write how a destination stands."""
    work, lately, live = state.work, state.lately, state.live
    return {
        "destination": state.name,
        "lane": state.lane,
        "action": state.action,
        "rule": state.rule,
        "configured": state.is_configured,
        "state": state.condition,
        "held": work is not None and work.is_held,
        "reason": work.reason if work else "",
        "failing_since": _text(work.failing_since if work else None),
        "waiting": work.pending if work else 0,
        "oldest_due_at": _text(work.oldest_due_at if work else None),
        "running": live.running if live else work.running if work else 0,
        "delivered_24h": lately.delivered if lately else 0,
        "failed_24h": lately.failed if lately else 0,
        "last_delivered_hour": _text(state.last_delivered_at),
        "live": None
        if live is None
        else {
            "concurrency": live.concurrency,
            "limit": live.limit,
            "breaker": live.breaker,
            "tries_at": _text(live.tries_at),
            "ramping": live.is_ramping,
            "maintenance_until": _text(live.maintenance_until),
            "rate_until": _text(live.rate_until),
        },
    }


def limits_of(destination: Destination | None) -> dict[str, object]:
    """Write what bounds a destination, defaults filled in."""
    if destination is None:
        return {}
    modifiers = destination.modifiers.over(Modifiers(retry=DEFAULT_RETRY))
    return {
        "concurrency": destination.concurrency,
        **written_bounds(destination.bounds),
        **written_modifiers(modifiers),
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
