"""Whether a destination counts as down. Pure: time and policy are arguments, so a reload counts at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from hookline.rules import Breaker

#: The window slides by as many steps: what is older than it is forgotten by a tenth of it late.
STEPS: Final = 10
#: A probe that fails doubles the pause, up to so many times the first.
LONGEST_PAUSES: Final = 10


class CircuitBreaker:
    """Opens on the share of failures; then one probe for each pause until one is answered."""

    __slots__ = ("_counts", "_is_probing", "_pauses", "_step", "tries_at")

    #: It counts for itself, by the policy of the moment.
    is_shared = False

    def __init__(self) -> None:
        """Begin closed."""
        #: Answers and failures of each step of the window, the latest last.
        self._counts: list[tuple[int, int]] = []
        #: When the latest step began and when it ends.
        self._step: tuple[datetime, datetime] | None = None
        #: If it is open: when a probe may be made; None if it is closed.
        self.tries_at: datetime | None = None
        #: How many pauses of the first length the last one was.
        self._pauses = 1
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """True from when it opened until a probe was answered."""
        return self.tries_at is not None

    @property
    def is_probing(self) -> bool:
        """True while the attempt is made by which it closes or stays open."""
        return self._is_probing

    def blocks(self, now: datetime) -> bool:
        """Say whether not even a probe may be made now."""
        return self.tries_at is not None and not self._is_probing and now < self.tries_at

    def begin(self) -> None:
        """Learn that an attempt begins: while it is open, that is the probe."""
        self._is_probing = self.is_open

    def give_up_probe(self) -> None:
        """Learn that nothing came of the probe: the next one may be made at once."""
        self._is_probing = False

    def note(self, policy: Breaker, now: datetime, *, has_answered: bool) -> bool:
        """Count an attempt that ended; True if the breaker opened or closed by it.

        While it is open only its probe counts: others were begun before, and say nothing new.
        """
        if self.tries_at is None:
            return self._count(policy, now, has_answered=has_answered)
        if not self._is_probing:
            return False
        self._is_probing = False
        if has_answered:
            self.close()
            return True
        self._pauses = min(self._pauses * 2, LONGEST_PAUSES)
        self.tries_at = now + policy.pause * self._pauses
        return False

    def put_off(self, by: timedelta) -> None:
        """Let what it waits for be as far away as it was before the time was set ahead."""
        if self.tries_at is not None:
            self.tries_at += by
        if self._step is not None:
            self._step = (self._step[0] + by, self._step[1] + by)

    def close(self) -> None:
        """Forget everything."""
        self.tries_at, self._is_probing, self._pauses = None, False, 1
        self._counts.clear()
        self._step = None

    def _count(self, policy: Breaker, now: datetime, *, has_answered: bool) -> bool:
        if self._step is None or not self._step[0] <= now < self._step[1]:
            self._slide(policy.within / STEPS, now)
        answers, failures = self._counts[-1]
        self._counts[-1] = (answers + has_answered, failures + (not has_answered))
        if has_answered:
            return False
        failed = sum(failures for _, failures in self._counts)
        total = failed + sum(answers for answers, _ in self._counts)
        if total < policy.least or failed < policy.share * total:
            return False
        self.close()
        self.tries_at = now + policy.pause
        return True

    def _slide(self, step: timedelta, now: datetime) -> None:
        begins, missed = now, STEPS
        if self._step is not None and now >= self._step[1]:
            # Steps follow each other without a gap: else what is old would leave the window later and later.
            missed = (now - self._step[1]) // step
            begins = self._step[1] + missed * step
        elif self._step is not None:
            # A clock that was set back begins a new step, and forgets nothing.
            missed = 0
        self._counts = [*self._counts, *[(0, 0)] * (min(missed, STEPS) + 1)][-STEPS:]
        self._step = (begins, begins + step)
