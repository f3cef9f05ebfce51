"""What is kept of one lane, and what people are told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.lanes.throttle import Throttle
from hookline.daemon.store.changes import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatus:
    """How a lane stands at this moment, for people."""

    lane: Lane
    running: int
    concurrency: int
    #: How many may run now: fewer than its concurrency while it comes back, one for a probe, none while it waits.
    limit: int
    is_held: bool
    breaker: Literal["closed", "open", "half-open"]
    #: Of a breaker that is open: when a probe is made.
    tries_at: datetime | None
    #: True while it gets more and more after it was away.
    is_ramping: bool
    #: When the maintenance window that is open ends.
    maintenance_until: datetime | None
    #: When its rate lets the next one begin; None if it does now.
    rate_until: datetime | None


@dataclass(slots=True)
class LaneBook:
    """What is known of one lane."""

    #: Slots taken: reserved for an accept, claimed, or running.
    slots: int = 0
    running: int = 0
    #: Claimed or reserved beyond its slots: each takes the next slot that is given back.
    ahead: int = 0
    #: When the first delivery that waits in the store is due; None if none is known of.
    due_at: datetime | None = None
    is_held: bool = False
    #: Until an attempt has ended nobody knows: lanes that hang from the start must not have all the slots.
    is_slow: bool = True
    #: How long an attempt takes, by the last few; None if none was made.
    took_s: float | None = None
    #: How many new deliveries may go before those that are due: as many as the last claim took of these. They are at
    #: hand, and cost neither a claim nor a look at the store; but with more the others would wait for ever.
    may_overtake: int = 0
    #: When it was last given a slot, in turns: who waited longest comes first.
    turn: int = 0
    throttle: Throttle = field(default_factory=Throttle)

    @property
    def yet_to_begin(self) -> int:
        """Places whose deliveries have not begun."""
        return self.slots + self.ahead - self.running

    @property
    def is_idle(self) -> bool:
        """True if nothing is lost by forgetting the lane."""
        return self.slots == 0 and self.due_at is None and not self.is_held and not self.throttle.has_memory

    def is_due(self, now: datetime) -> bool:
        """Say whether something that waits is due."""
        return self.due_at is not None and self.due_at <= now

    def status(self, lane: Lane, policy: LanePolicy, now: datetime) -> LaneStatus:
        """Say how the lane stands."""
        throttle, breaker = self.throttle, self.throttle.breaker
        is_waiting = breaker.blocks(now)
        return LaneStatus(
            lane=lane,
            running=self.running,
            concurrency=policy.concurrency,
            limit=0 if self.is_held else throttle.limit(policy, now),
            is_held=self.is_held,
            breaker="open" if is_waiting else "half-open" if breaker.is_open else "closed",
            tries_at=breaker.tries_at if is_waiting else None,
            is_ramping=throttle.is_ramping,
            maintenance_until=throttle.maintenance_until(policy, now),
            rate_until=throttle.rate_until(policy, now, spoken_for=self.yet_to_begin),
        )
