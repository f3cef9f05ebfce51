"""A time that does not jump when the machine's clock does, by which whatever is kept and waits is dated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

#: What the clock may be off at a look without having jumped: time servers correct as much, and drift is less.
LEAST_JUMP: Final = timedelta(seconds=2)
#: A start so long after the last sign of life may be a clock that is wrong, as well as a machine that was off.
LONGEST_ABSENCE: Final = timedelta(days=1)
#: So long the clock must have stood by a jump before what was kept counts as older by it.
BELIEVED_AFTER: Final = timedelta(days=3)
#: How fast the time goes that is ahead of the clock, until the clock is there: it never goes back.
_SLOW: Final = 0.9
_NOTHING: Final = timedelta(0)
_LEAST: Final = timedelta(milliseconds=1)


def utc_now() -> datetime:
    """Return the machine's time, aware."""
    return datetime.now(UTC)


def seconds_passed() -> float:
    """Return seconds that nobody sets; they pass while the machine sleeps, too, where the system counts that."""
    # Not on every system that Python runs on.
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()  # pragma: no cover - Linux has the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """What a look at the clock found, or a start."""

    #: How far the clock went by itself; negative: back.
    by: timedelta
    #: How far our time followed, which it does ahead only.
    followed: timedelta
    #: Our time before.
    before: datetime
    #: How far our time is ahead of the clock now.
    ahead: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A stretch of our time of which nobody knows yet whether it passed: the clock jumped over it."""

    at: datetime
    gap: timedelta


class SteadyClock:
    """Returns, when called, a time that never goes back.

    It is the machine's as long as that goes on evenly. Between two looks it goes by seconds that nobody sets. At a look
    it follows a clock that went ahead, at once; it does not follow one that was set back, but goes slower until the
    clock is there.
    """

    def __init__(self, *, wall: Callable[[], datetime] = utc_now, passed: Callable[[], float] = seconds_passed) -> None:
        """Begin at the clock's time. `wall` returns it, aware; `passed` returns seconds that never go back."""
        self._wall = wall
        self._passed = passed
        self._rate = 1.0
        self._base, self._since_s = wall(), passed()
        #: How far the clock was ahead of our time at the last look: never, so 0 or less.
        self._away = _NOTHING
        self.doubt: Doubt | None = None

    def __call__(self) -> datetime:
        """Return our time, aware."""
        return self._base + timedelta(seconds=(self._passed() - self._since_s) * self._rate)

    @property
    def ahead(self) -> timedelta:
        """How far our time was ahead of the clock at the last look."""
        return -self._away

    def begin(self, latest: datetime | None, doubt: Doubt | None = None) -> Jump | None:
        """Go on after the latest time that is stored; say by how much the clock is away from it, if that is odd.

        `doubt` is what the process before this one had.
        """
        now, wall = self._rebase(), self._wall()
        self.doubt = doubt
        if latest is None:
            return None
        absence = wall - latest
        if absence < _NOTHING:
            # Later than what is stored, so that ids go on to rise.
            self._base = max(now, latest + _LEAST)
            self._settle(wall)
            return (
                Jump(by=absence, followed=_NOTHING, before=latest, ahead=self.ahead) if -absence > LEAST_JUMP else None
            )
        if absence <= LONGEST_ABSENCE:
            return None
        self._doubt(latest, absence)
        return Jump(by=absence, followed=absence, before=latest, ahead=self.ahead)

    def look(self) -> Jump | None:
        """Compare with the clock, and follow it if it is ahead; say what happened if it jumped."""
        since_s, rate = self._since_s, self._rate
        before = self._rebase()
        wall = self._wall()
        away = wall - before
        caught_up = timedelta(seconds=(self._since_s - since_s) * (1 - rate))
        by = away - (self._away + caught_up)
        followed = max(away, _NOTHING)
        self._base += followed
        self._settle(wall)
        if abs(by) <= LEAST_JUMP:
            self._believe()
            return None
        if followed:
            self._doubt(before, followed)
        return Jump(by=by, followed=followed, before=before, ahead=self.ahead)

    def age(self, moment: datetime) -> timedelta:
        """Return how long ago a time of ours was, not counting what the clock jumped over."""
        age = self() - moment
        if self.doubt is not None and moment <= self.doubt.at:
            age -= self.doubt.gap
        return max(_NOTHING, age)

    def since(self, age: timedelta) -> datetime:
        """Return the time of ours before which everything is older than `age`."""
        moment = self() - age
        if self.doubt is None or moment > self.doubt.at + self.doubt.gap:
            return moment
        return moment - self.doubt.gap

    def _rebase(self) -> datetime:
        passed = self._passed()
        self._base += timedelta(seconds=(passed - self._since_s) * self._rate)
        self._since_s = passed
        return self._base

    def _settle(self, wall: datetime) -> None:
        self._away = min(wall - self._base, _NOTHING)
        self._rate = 1.0 if self._away == _NOTHING else _SLOW

    def _doubt(self, at: datetime, gap: timedelta) -> None:
        self.doubt = Doubt(at=at, gap=gap + (self.doubt.gap if self.doubt else _NOTHING))

    def _believe(self) -> None:
        """Take a gap for time that passed once the clock has stood by it; one that was set back never does."""
        doubt = self.doubt
        if doubt is not None and not self._away and self._base - doubt.at - doubt.gap > BELIEVED_AFTER:
            self.doubt = None
