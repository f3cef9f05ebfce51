"""How many may begin in how long. Pure: time is an argument."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from hookline.rules import Rate

_SECOND = timedelta(seconds=1)
_LEAST = timedelta(microseconds=1)
#: A rate of one an hour must not wait an hour each time that a node comes or goes.
_LONGEST_HANDOVER = timedelta(minutes=1)


class Allowance:
    """What a rate still allows. It may save up one second's worth, and at least one.

    Kept as the moment up to which it is used (GCRA, ITU-T I.371): whole microseconds, so that nothing drifts, and a
    rate that a reload changed counts from there on.
    """

    __slots__ = ("_used_until",)

    def __init__(self, now: datetime) -> None:
        """Begin with all that may be saved."""
        self._used_until = now

    def left(self, rate: Rate, now: datetime) -> int:
        """Return how many may begin now."""
        interval, saved = _terms(rate)
        owed = max(self._used_until, now) - now
        return (saved - owed) // interval + 1 if owed <= saved else 0

    def use(self, rate: Rate, now: datetime) -> None:
        """Count one that begins now."""
        self._used_until = max(self._used_until, now) + _terms(rate)[0]

    def take_over(self, rate: Rate, now: datetime) -> None:
        """Begin with nothing saved: another node may have begun one a moment ago. Waits no longer than a minute."""
        interval, saved = _terms(rate)
        self._used_until = max(self._used_until, now + min(interval, _LONGEST_HANDOVER) + saved)

    def put_off(self, by: timedelta) -> None:
        """Let as much be used as before the time was set ahead."""
        self._used_until += by

    def next_at(self, rate: Rate, now: datetime, *, spoken_for: int = 0) -> datetime:
        """Return when one may begin besides those that are spoken for; `now` or earlier if it may at once."""
        interval, saved = _terms(rate)
        return max(self._used_until, now) + interval * spoken_for - saved


@lru_cache(maxsize=1024)
def _terms(rate: Rate) -> tuple[timedelta, timedelta]:
    """Return how far apart two are, and how far ahead of that the first of many may be."""
    # Rounded up: never faster than it says.
    interval = max(_LEAST, -(-rate.per // rate.count))
    return interval, interval * (max(1, _SECOND // interval) - 1)
