"""Keep to a pace that the other side has asked for."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

#: Keys remembered; one that is forgotten may be a little too fast once.
MAX_KEYS = 10_000


class Pace:
    """One thing at a time for each key, an interval apart; of one process."""

    def __init__(self, interval: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`interval`: seconds between two of a key."""
        self._interval = interval
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, key: str) -> float:
        """Return in how many seconds there is room for one more."""
        return max(0.0, self._free_at.get(key, 0.0) - self._clock())

    def take(self, key: str) -> None:
        """Take that room."""
        self._set(key, self._clock() + self.wait(key) + self._interval)

    def rest(self, key: str, seconds: float) -> None:
        """Leave no room for a while, because the other side said so."""
        self._set(key, max(self._free_at.get(key, 0.0), self._clock() + seconds))

    def _set(self, key: str, free_at: float) -> None:
        self._free_at[key] = free_at
        self._free_at.move_to_end(key)
        if len(self._free_at) > MAX_KEYS:
            self._free_at.popitem(last=False)
