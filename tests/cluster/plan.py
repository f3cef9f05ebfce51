"""What a cluster was told to do, as the checker is told it: not by reading the configuration, but in its own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPlan:
    """When a lane counts as down."""

    share: float
    least: int
    within_s: float
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlan:
    """What bounds a lane, in all nodes together."""

    concurrency: int
    #: How many in a second.
    rate: float | None = None
    breaker: BreakerPlan | None = None
    #: What an event says under it is its place in an order; None: there is no order.
    order_by: str | None = None
    #: `once`, `digest` or `changed`, by what the event says under `key`.
    gate: str | None = None
    #: How many a digest takes.
    most: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of it. Times are seconds."""

    lanes: Mapping[str, LanePlan]
    #: For each type of event, in which lanes it makes one delivery each. More than one set: the rules were changed, and
    #: which of them holds depends on the version that routed the event.
    routes: Mapping[str, tuple[frozenset[str], ...]]
    #: How long a claim lasts, and after how long without a sign a node counts as gone.
    lease_s: float
    node_lease_s: float
    #: How late an action may begin after it was told to: the machine is busy.
    slack_s: float = 0.5
    #: Lanes whose deliveries may end as dead letters.
    may_die: frozenset[str] = field(default_factory=frozenset)
