"""The server's time, as a node knows it: what nodes compare with each other must not be by their own clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from hookline.daemon.steady_clock import Doubt, seconds_passed, utc_now

#: How fast the time goes that is ahead of the server's, until that is there: it never goes back.
_SLOW: Final = 0.9
_NOTHING: Final = timedelta(0)


class ServerClock:
    """Returns, when called, the server's time, aware; it stands in where `SteadyClock` does.

    Between two answers of the server's it goes by seconds that nobody sets. It follows a server that is ahead at once,
    and goes slower while it is ahead itself: it never goes back, but at the first answer. Before that it is the
    machine's.
    """

    #: The server's clock is its keeper's affair: nothing here says that it jumped over a time that did not pass.
    doubt: Doubt | None = None

    def __init__(self, *, wall: Callable[[], datetime] = utc_now, passed: Callable[[], float] = seconds_passed) -> None:
        """Begin at the machine's time. `passed` returns seconds that never go back."""
        self._passed = passed
        self._base, self._since_s = wall(), passed()
        self._rate = 1.0
        self._is_known = False
        #: How far our time was ahead of the server's at its last answer, at least.
        self.ahead = _NOTHING
        #: How far our time may be off, by how long that answer took.
        self.within: timedelta | None = None

    def __call__(self) -> datetime:
        """Return the server's time, as far as we know."""
        return self._base + timedelta(seconds=(self._passed() - self._since_s) * self._rate)

    def asked(self) -> float:
        """Return the seconds that `heard` wants: taken before the server is asked."""
        return self._passed()

    def heard(self, at: datetime, *, asked_s: float) -> None:
        """Learn what time it was at the server, some time between `asked_s` and now."""
        now, heard_s = self(), self._passed()
        took = timedelta(seconds=max(0.0, heard_s - asked_s))
        # There it is now no earlier than it was, and no later than if it had looked the moment that it was asked.
        earliest, latest = at, at + took
        self._base, self._since_s = (now if self._is_known else at + took / 2), heard_s
        self._is_known = True
        self.within = took
        self._base = max(self._base, earliest)
        self.ahead = max(_NOTHING, self._base - latest)
        self._rate = _SLOW if self.ahead else 1.0

    def age(self, moment: datetime) -> timedelta:
        """Return how long ago a time of the server's was."""
        return max(_NOTHING, self() - moment)

    def since(self, age: timedelta) -> datetime:
        """Return the time before which everything is older than `age`."""
        return self() - age
