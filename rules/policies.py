"""How deliveries of a step or of a destination are carried out: the values that modifiers and bounds are read into."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import TypeAlias

from hookline.rules.event import Json
from hookline.rules.units import Rate

#: What a key is made of, each as written: a path into the payload (`$.data.id`) or a field of the event (`tenant`).
Selectors: TypeAlias = "tuple[str, ...]"


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When to try again."""

    #: Waits before the second, third, … attempt; when they are used up, the delivery is dead.
    schedule: tuple[timedelta, ...]
    #: Share of each wait that chance may add or take, 0 to 1.
    jitter: float = 0.2
    #: Whether to try again when it was sent and no answer came.
    retry_unknown: bool = True
    #: Statuses that may pass, as ranges with both ends in them; None: 408, 425, 429 and 500 to 599.
    on: tuple[tuple[int, int], ...] | None = None
    #: Counted from when the delivery was made: no attempt begins later. None: as long as the schedule lasts.
    give_up_after: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Once:
    """`once`: for each value of `per`, act on the first event and count those that follow within a time."""

    per: Selectors
    within: timedelta
    #: Whether one line tells of the others when the time is over.
    summary: bool = False


@dataclass(frozen=True, kw_only=True)
class Digest:
    """`digest`: collect the events of each value of `per`, then act once with all of them."""

    #: How long after the first one.
    every: timedelta
    #: Empty: all in one.
    per: Selectors = ()
    #: As many are sent at once, sooner if need be.
    max: int = 200
    #: Whether a stop of the daemon sends what was collected; else it waits for its time, across the restart.
    flush_on_stop: bool = False


@dataclass(frozen=True, kw_only=True)
class Changed:
    """`changed`: act only if a value differs from what it was in the last event with the same `per`."""

    of: str
    per: Selectors
    #: What it must have been, and must be; None: anything.
    from_: tuple[Json, ...] | None = None
    to: tuple[Json, ...] | None = None
    #: Whether the first value ever seen counts as a change from nothing.
    first: bool = False


@dataclass(frozen=True, kw_only=True)
class Modifiers:
    """What stands beside an action's options; None where nothing was said, so that the destination's hold."""

    retry: RetryPolicy | None = None
    timeout: timedelta | None = None
    dry_run: bool | None = None
    delay: timedelta | None = None
    #: First in, first out for each value and destination.
    order_by: Selectors | None = None
    once: Once | None = None
    digest: Digest | None = None
    changed: Changed | None = None
    #: Windows of the week as written; it waits until one is open.
    during: tuple[str, ...] | None = None

    def over(self, defaults: Modifiers) -> Modifiers:
        """Return these, with what they do not say taken from `defaults`."""
        said = {name: value for name in _MODIFIER_FIELDS if (value := getattr(self, name)) is not None}
        return replace(defaults, **said) if said else defaults

    @property
    def is_plain(self) -> bool:
        """True if a delivery may begin the moment its event is accepted: nothing defers, orders, or joins it."""
        return (
            self.delay is None
            and not self.order_by
            and self.once is None
            and self.digest is None
            and self.changed is None
            and self.during is None
        )


_MODIFIER_FIELDS = tuple(one.name for one in fields(Modifiers))


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """When a destination counts as down, so that it is asked seldom until it answers."""

    #: It opens when as great a share of attempts failed, 0 to 1,
    share: float = 0.5
    #: of at least so many
    least: int = 10
    #: within so long.
    within: timedelta = timedelta(minutes=1)
    #: How long until one attempt may try whether it is back.
    pause: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What bounds a destination as a whole; rules cannot change it."""

    rate: Rate | None = None
    #: None: `breaker: none`.
    breaker: Breaker | None = Breaker()
    #: Maintenance windows as written (`hold: {during: …}`): nothing is sent while one is open.
    hold_during: tuple[str, ...] = ()
    #: A destination that only failed for as long is held.
    failure_budget: timedelta = timedelta(days=5)
