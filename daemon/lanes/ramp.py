"""Slow start: a destination that was away gets one at a time, then two, four, … as answers come."""

from __future__ import annotations


class Ramp:
    """How many may run at one time while a lane comes back."""

    __slots__ = ("_answers", "limit")

    def __init__(self) -> None:
        """Begin with one."""
        self.limit = 1
        self._answers = 0

    def note(self, *, has_answered: bool) -> None:
        """Count an attempt that ended: as many answers in a row as may run double how many may."""
        self._answers = self._answers + 1 if has_answered else 0
        if self._answers >= self.limit:
            self.limit, self._answers = self.limit * 2, 0
