"""What keeps a lane from running all that its concurrency allows. Pure: time and policy are arguments."""

from __future__ import annotations

from datetime import datetime, timedelta

from hookline.daemon.lanes.adopted_breaker import AdoptedBreaker
from hookline.daemon.lanes.breaker import CircuitBreaker
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.lanes.ramp import Ramp
from hookline.daemon.lanes.rate import Allowance
from hookline.daemon.store.sharing import OpenBreaker
from hookline.rules import Rate
from hookline.rules.windows import closes_in, is_open, opens_in

#: Where there is no rate: more than any lane runs.
_PLENTY = 1 << 30


class Throttle:
    """Breaker, slow start, rate and maintenance windows of one lane. None of them spends an attempt."""

    __slots__ = ("_allowance", "_looked_at", "_maintenance", "_ramp", "_share", "_windows", "breaker")

    def __init__(self, breaker: CircuitBreaker | AdoptedBreaker | None = None) -> None:
        """Begin with nothing in the way. `breaker` is its own if None."""
        self.breaker = breaker or CircuitBreaker()
        self._ramp: Ramp | None = None
        self._allowance: Allowance | None = None
        #: Where nodes share the rate: this one's share, and by which view.
        self._share: tuple[int, Rate] | None = None
        #: Of the windows that were looked at last: whether one is open, until when that is so, and since when known.
        self._windows: tuple[str, ...] = ()
        self._maintenance: tuple[bool, datetime] | None = None
        self._looked_at: datetime | None = None

    @property
    def is_easy(self) -> bool:
        """True if the lane neither is down nor comes back: more than it runs may be at hand."""
        return self._ramp is None and not self.breaker.is_open

    @property
    def is_ramping(self) -> bool:
        """True while the lane comes back."""
        return self._ramp is not None

    @property
    def has_memory(self) -> bool:
        """True if forgetting it would let a lane run more than its rate."""
        return self._allowance is not None

    def start_slowly(self) -> None:
        """Let the lane come back from whatever it was: one at a time, then more."""
        self.breaker.close()
        self._ramp = Ramp()

    def adopt(self, down: OpenBreaker | None, *, is_elsewhere: bool) -> None:
        """Learn how the breaker stands that nodes share, and whether its probe is another node's."""
        if not isinstance(self.breaker, AdoptedBreaker):
            return
        was_open = self.breaker.is_open
        self.breaker.adopt(down.tries_at if down else None, is_elsewhere=is_elsewhere)
        if self.breaker.is_open != was_open:
            self._ramp = None if self.breaker.is_open else Ramp()

    def limit(self, policy: LanePolicy, now: datetime) -> int:
        """Return how many places may be taken at one time; 0: none before `goes_on_at`."""
        if policy.bounds.hold_during and self.maintenance_until(policy, now) is not None:
            return 0
        if self.breaker.is_open:
            if policy.bounds.breaker is not None or self.breaker.is_shared:
                return 0 if self.breaker.blocks(now) else 1
            self.start_slowly()
        return policy.concurrency if self._ramp is None else min(self._ramp.limit, policy.concurrency)

    def allowed(self, policy: LanePolicy, now: datetime) -> int:
        """Return how many the rate lets begin now."""
        rate = policy.bounds.rate
        if rate is None:
            return _PLENTY
        return self._allowance_of(policy, rate, now).left(rate, now)

    def begin(self, policy: LanePolicy, now: datetime) -> None:
        """Count one that begins; where the lane is down, it is the probe."""
        self.breaker.begin()
        rate = policy.bounds.rate
        if rate is not None:
            self._allowance_of(policy, rate, now).use(rate, now)

    def end(self, policy: LanePolicy, now: datetime, *, has_answered: bool) -> None:
        """Count one that ended, and was tried."""
        if self._ramp is not None:
            self._ramp.note(has_answered=has_answered)
            if self._ramp.limit >= policy.concurrency:
                self._ramp = None
        breaker = policy.bounds.breaker
        if breaker is not None and self.breaker.note(breaker, now, has_answered=has_answered):
            self._ramp = None if self.breaker.is_open else Ramp()

    def put_off(self, by: timedelta) -> None:
        """Let what it waits for be as far away as before the time was set ahead; windows keep to the time."""
        self.breaker.put_off(by)
        if self._allowance is not None:
            self._allowance.put_off(by)

    def goes_on_at(self, policy: LanePolicy, now: datetime, *, spoken_for: int) -> datetime | None:
        """Return when more may be taken than now by the mere passing of time; None if something else must happen.

        `spoken_for`: how many places are taken whose deliveries have not begun.
        """
        until = self.maintenance_until(policy, now)
        if until is not None:
            return until
        if self.breaker.blocks(now):
            return self.breaker.tries_at
        return self.rate_until(policy, now, spoken_for=spoken_for)

    def rate_until(self, policy: LanePolicy, now: datetime, *, spoken_for: int) -> datetime | None:
        """Return when the rate lets another one begin; None if it does now."""
        rate = policy.bounds.rate
        if rate is None or self._allowance is None or self._allowance.left(rate, now) > spoken_for:
            return None
        return self._allowance.next_at(rate, now, spoken_for=spoken_for)

    def _allowance_of(self, policy: LanePolicy, rate: Rate, now: datetime) -> Allowance:
        if self._allowance is None:
            self._allowance = Allowance(now)
        if policy.view is not None:
            share = (policy.view, rate)
            if share != self._share:
                self._change_share(share, now)
        return self._allowance

    def _change_share(self, share: tuple[int, Rate], now: datetime) -> None:
        """Go by another share; what is more than before was another node's until now."""
        before, self._share = self._share, share
        is_next = before is not None and share[0] - before[0] in {0, 1}
        if before is None or not is_next or share[1].count * before[1].per > before[1].count * share[1].per:
            assert self._allowance is not None  # noqa: S101 - made by who calls
            self._allowance.take_over(share[1], now)

    def maintenance_until(self, policy: LanePolicy, now: datetime) -> datetime | None:
        """Return when the maintenance window that is open ends; None if none is."""
        windows = policy.bounds.hold_during
        if not windows:
            return None
        known, looked_at = self._maintenance, self._looked_at
        if known is None or looked_at is None or windows != self._windows or not looked_at <= now < known[1]:
            was_closed = known is not None and known[0]
            is_closed = is_open(windows, now)
            until = now + (closes_in(windows, now) if is_closed else opens_in(windows, now))
            known = self._maintenance = (is_closed, until)
            self._windows, self._looked_at = windows, now
            if was_closed and not is_closed:
                self.start_slowly()
        return known[1] if known[0] else None
