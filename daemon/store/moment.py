"""When a transaction happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from hookline.daemon.store.rows import length, micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a transaction happens, written as its rows hold it."""

    at: datetime
    #: The same in microseconds.
    now: int
    #: When claims that are made inside an accept end, in microseconds.
    lease_until: int
    #: Returns the time before which what is stored is older than an age.
    since: Callable[[timedelta], datetime]

    @classmethod
    def of(cls, at: datetime, *, accept_lease: timedelta, since: Callable[[timedelta], datetime]) -> Moment:
        """Write the times once for all rows of the transaction."""
        now = micros(at)
        return cls(at=at, now=now, lease_until=now + length(accept_lease), since=since)
