"""Turns for many replays: one after another by a clock, so that they do not drown what is live."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

#: As many are an operator's who waits for them: due at once, whatever is spread already.
AT_ONCE: Final = 10
_NOTHING: Final = timedelta(0)


class Turns:
    """When each of one request is due."""

    def __init__(self, clock: Callable[[], datetime], begin: datetime, count: int, spacing: timedelta) -> None:
        """Let the first be due at `begin`."""
        self._clock = clock
        self._next = begin
        self._spacing = spacing
        #: Until the last one is due, from now.
        self.lasts = max(_NOTHING, begin - clock()) + spacing * max(0, count - 1)

    def next_in(self) -> timedelta:
        """Return how long from now the next one is due."""
        due_at, self._next = self._next, self._next + self._spacing
        return max(_NOTHING, due_at - self._clock())


class Spread:
    """Gives each request its turns, after those that were given before."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """`clock` returns the time, aware."""
        self._clock = clock
        self._until = clock()

    def turns(self, count: int, spacing: timedelta) -> Turns:
        """Return the turns of `count` replays."""
        now = self._clock()
        if count <= AT_ONCE:
            return Turns(self._clock, now, count, _NOTHING)
        begin = max(now, self._until)
        self._until = begin + spacing * count
        return Turns(self._clock, begin, count, spacing)

    def would_last(self, count: int, spacing: timedelta) -> timedelta:
        """Return how long until the last of `count` were due, if they were asked for now."""
        if count <= AT_ONCE:
            return _NOTHING
        return max(_NOTHING, self._until - self._clock()) + spacing * (count - 1)
