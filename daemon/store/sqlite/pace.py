"""How much work fits into one transaction, so that nobody waits long for the writer."""

from __future__ import annotations

from typing import Final

#: Nothing that can wait holds the writer for more than 20 ms: this leaves room for what a commit takes at times.
TARGET_S: Final = 0.008
#: So many times as long as it worked it rests.
REST: Final = 3
#: Fewer would not be faster: it is the disk's sync then that takes so long, and a single row waits for that, too.
_LEAST: Final = 100
_MOST_GROWTH: Final = 1.5


class Pace:
    """Learns from how long transactions took. Units are its owner's: rows, pages."""

    def __init__(self, *, most: int) -> None:
        """Never allow more than `most` units."""
        self._most = most
        #: How many may be done next.
        self.units = min(_LEAST, most)
        #: How many were done last.
        self.last = 0

    def took(self, units: int, seconds: float) -> None:
        """Note how long so many took."""
        self.last = units
        fitting = units * TARGET_S / max(seconds, 1e-6)
        # Fewer than were allowed say nothing of more, but may say that even they were too many.
        if seconds > TARGET_S or 2 * units >= self.units:
            self.units = max(_LEAST, int(min(fitting, self.units * _MOST_GROWTH, self._most)))
