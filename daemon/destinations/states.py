"""How each destination stands: what the store knows of its lane, joined with what the dispatcher has in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from hookline.daemon.config.settings import Settings
from hookline.daemon.lanes.book import LaneStatus
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import LaneActivity, LaneState
from hookline.rules import Step

#: What successes and failures are counted in.
LATELY: Final = timedelta(hours=24)
_STEP_LANE: Final = "step:"

#: The worst that is to be said of a lane. `open`, `probing`, `maintenance`, `ramping` and `limited` (by its rate) are
#: known while the daemon runs.
Condition = Literal["held", "maintenance", "open", "probing", "failing", "ramping", "limited", "ok"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationState:
    """One destination, or one action in place that has something unfinished."""

    lane: Lane
    #: The destination's name, or the action's if it stands in place.
    name: str
    #: Name of the action; "" if it is not known any more.
    action: str
    #: The rule that an action in place belongs to; None for a destination.
    rule: str | None
    #: False: it is not in the configuration (any more).
    is_configured: bool
    #: What waits and runs; None if nothing does, and it is neither held nor fails.
    work: LaneState | None
    #: What was tried in the last 24 h; None if nothing was.
    lately: LaneActivity | None
    #: When something was delivered last, to the hour; None if nothing was as far back as is known.
    last_delivered_at: datetime | None
    #: What the dispatcher knows; None if no daemon runs.
    live: LaneStatus | None

    @property
    def condition(self) -> Condition:  # noqa: PLR0911 - a table
        """The worst that is to be said of it."""
        live = self.live
        if self.work is not None and self.work.is_held:
            return "held"
        if live is not None and live.maintenance_until is not None:
            return "maintenance"
        if live is not None and live.breaker == "open":
            return "open"
        if live is not None and live.breaker == "half-open":
            return "probing"
        if self.work is not None and self.work.failing_since is not None:
            return "failing"
        if live is not None and live.is_ramping:
            return "ramping"
        if live is not None and live.rate_until is not None:
            return "limited"
        return "ok"


async def destination_states(
    settings: Settings, reader: Reader | None, *, now: datetime, status: Callable[[Lane], LaneStatus] | None = None
) -> tuple[DestinationState, ...]:
    """Return every destination in the order of the configuration, then what else has something unfinished.

    `reader`: None before the daemon's first start. `status`: the running dispatcher's; None if none runs.
    """
    work = {one.lane: one for one in await reader.lanes()} if reader else {}
    lately = {one.lane: one for one in await reader.lane_activity(since=now - LATELY)} if reader else {}
    known = await reader.lane_activity(since=now - settings.retention.events) if reader else []
    last = {one.lane: one.last_delivered_at for one in known}
    configured = [Lane(name) for name in settings.destinations]
    states = []
    for lane in [*configured, *sorted(work.keys() - {*configured})]:
        destination = settings.destinations.get(lane)
        step = await _step_of(lane, reader) if destination is None else None
        states.append(
            DestinationState(
                lane=lane,
                name=step.label if step else lane,
                action=destination.action if destination else (step.action or "") if step else "",
                rule=step.rule if step else None,
                is_configured=destination is not None or step is not None,
                work=work.get(lane),
                lately=lately.get(lane),
                last_delivered_at=last.get(lane),
                live=status(lane) if status else None,
            )
        )
    return tuple(states)


async def _step_of(lane: Lane, reader: Reader | None) -> Step | None:
    """Return the step whose own lane it is."""
    if reader is None or not lane.startswith(_STEP_LANE):
        return None
    text = await reader.text(lane.removeprefix(_STEP_LANE))
    try:
        return Step.from_text(text) if text else None
    except (ValueError, KeyError, TypeError):
        # Kept by another version in a form that is not ours: its lane is shown by its hash.
        return None
