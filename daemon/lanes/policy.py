"""How much of a lane may run and how fast the dispatcher goes: values that are decided elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from hookline.rules import Bounds, Modifiers

#: How long an attempt may take where neither step nor destination says.
DEFAULT_TIMEOUT = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePolicy:
    """What the configuration says of a lane at this moment."""

    #: How many of its deliveries run at one time.
    concurrency: int
    #: The destination's; a step's own come before them.
    modifiers: Modifiers = field(default_factory=Modifiers)
    #: What bounds the lane as a whole.
    bounds: Bounds = field(default_factory=Bounds)
    #: If it is one node's share of what the configuration says: by which view of the nodes.
    view: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long and how many; the defaults are right but in tests."""

    #: A claim lasts as long unless renewed, which happens at a third of it.
    lease: timedelta = timedelta(seconds=60)
    #: How many attempts run at one time in all lanes together.
    cap: int = 64
    #: How much longer than its limit an attempt may take before it is given up on.
    grace: timedelta = timedelta(seconds=10)
    #: How long to leave a store in trouble alone, at first; also the least time between two looks at what waits.
    pause: timedelta = timedelta(milliseconds=200)
    #: How long a drain waits for the store to take what was cut off.
    last_records: timedelta = timedelta(seconds=3)
