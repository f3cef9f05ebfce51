"""What happened in each minute of the last day, counted in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from hookline.daemon.delivery.recorded import Recorded
from hookline.daemon.store.changes import Accepted, NewEvent, Outcome, State
from hookline.daemon.traffic.latencies import add, step_of

#: How long a minute is remembered.
KEPT: Final = timedelta(hours=24)
MINUTES_KEPT: Final = 1_440
_SECONDS: Final = 60


@dataclass(slots=True)
class Counts:
    """What happened in a stretch of time."""

    #: Events that were stored, each once.
    received: int = 0
    #: Of those: a rule with a name matched, or none did. Those that nobody has routed yet are neither.
    matched: int = 0
    unmatched: int = 0
    #: Requests whose event was known, with another body or not.
    duplicates: int = 0
    #: Requests that were refused.
    rejected: int = 0
    #: Attempts that ended delivered, and that did not.
    delivered: int = 0
    failed: int = 0
    #: Deliveries that ended dead.
    dead: int = 0


@dataclass(slots=True)
class MinuteCounts:
    """What happened in one minute."""

    #: Minutes since 1970, UTC.
    number: int
    counts: Counts = field(default_factory=Counts)
    #: From a request to its answer, of those that were answered 2xx: counts by step.
    answers: dict[int, int] = field(default_factory=dict)
    #: From an event's receipt to delivered.
    deliveries: dict[int, int] = field(default_factory=dict)

    @property
    def at(self) -> datetime:
        """When it began; aware, UTC."""
        return datetime.fromtimestamp(self.number * _SECONDS, UTC)


def total(some: Iterable[Counts]) -> Counts:
    """Return the sum."""
    rows = [astuple(counts) for counts in some]
    return Counts(*[sum(column) for column in zip(*rows, strict=True)])


class Traffic:
    """Counts what it is told of in the minute that is. To be told costs no look at the clock: `turn` looks."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """`clock` returns a time that never goes back; what it jumps over is a gap."""
        self._clock = clock
        self._now = MinuteCounts(self._minute())
        #: Minutes that are over, oldest first; one in which the daemon did not run is not among them.
        self._past: list[MinuteCounts] = []

    def adopt(self, past: Sequence[MinuteCounts]) -> None:
        """Go on from what another process counted; what is too old, or later than now, is left out."""
        self.turn()
        number = self._now.number
        known = [one for one in past if number - MINUTES_KEPT < one.number < number]
        self._past = [*known, *self._past]
        for one in past:
            if one.number == number:
                # Stopped and started within a minute.
                self._now = _sum(one, self._now)

    def accepted(self, new: NewEvent, answer: Accepted) -> None:
        """Count an event that was stored, or known already."""
        counts = self._now.counts
        if answer.is_duplicate:
            counts.duplicates += 1
            return
        counts.received += 1
        if any(new.matched):
            counts.matched += 1
        elif not new.is_unrouted:
            counts.unmatched += 1

    def rejected(self) -> None:
        """Count a request that was refused."""
        self._now.counts.rejected += 1

    def answered(self, seconds: float) -> None:
        """Count how long a request that was taken waited for its answer."""
        answers, step = self._now.answers, step_of(seconds)
        answers[step] = answers.get(step, 0) + 1

    def recorded(self, recorded: Recorded) -> None:
        """Count an attempt: how it ended, where that left its delivery, and how long after receipt that was."""
        counts = self._now.counts
        if recorded.attempt.outcome is Outcome.DELIVERED:
            counts.delivered += 1
        else:
            counts.failed += 1
        if recorded.state is State.DEAD:
            counts.dead += 1
        if recorded.seconds is not None:
            deliveries, step = self._now.deliveries, step_of(recorded.seconds)
            deliveries[step] = deliveries.get(step, 0) + 1

    def turn(self) -> bool:
        """Begin another minute if it is time, and say whether it was; to be called each second or so."""
        number = self._minute()
        if number <= self._now.number:
            return False
        self._past.append(self._now)
        self._now = MinuteCounts(number)
        oldest = number - MINUTES_KEPT
        if self._past[0].number <= oldest:
            self._past = [one for one in self._past if one.number > oldest]
        return True

    def minutes(self, most: int = MINUTES_KEPT) -> list[MinuteCounts]:
        """Return what is known of the last so many minutes, oldest first; the last is not over."""
        self.turn()
        first = self._now.number - most
        return [one for one in (*self._past, self._now) if one.number > first]

    @property
    def known_since(self) -> datetime:
        """Since when minutes are known."""
        return (self._past[0] if self._past else self._now).at

    def _minute(self) -> int:
        return int(self._clock().timestamp()) // _SECONDS


def _sum(one: MinuteCounts, other: MinuteCounts) -> MinuteCounts:
    return MinuteCounts(
        one.number,
        total([one.counts, other.counts]),
        answers=add([one.answers, other.answers]),
        deliveries=add([one.deliveries, other.deliveries]),
    )
