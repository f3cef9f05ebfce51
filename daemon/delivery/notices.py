"""What the dispatcher has to say about ourselves, as a protocol: events of source `hookline` (DESIGN 7)."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from hookline.daemon.store.changes import Accept, Attempt, Lane
from hookline.daemon.store.stored import Claimed
from hookline.rules import Event


class Notices(Protocol):
    """Makes the event of each occasion, with the deliveries that rules ask for; it is committed with what caused it.

    None: there is nothing to say, as of a dead delivery of an event about ourselves. Never raises.
    """

    def delivery_dead(self, claimed: Claimed, attempt: Attempt | None, event: Event | None) -> Accept | None:
        """Tell of a dead letter: `delivery.dead`. `event` is None if it could not be read."""
        ...

    def destination_failing(self, lane: Lane, *, since: datetime, share: int, last: str) -> Accept | None:
        """Tell that a destination only fails: `destination.failing` at `share` per cent of its failure budget.

        `last`: how its last attempt ended, for people.
        """
        ...

    def destination_recovered(self, lane: Lane, *, since: datetime) -> Accept | None:
        """Tell that a destination answers again: `destination.recovered`; `since` is when it began to fail."""
        ...


class NoNotices:
    """Says nothing: for tests of everything else."""

    def delivery_dead(self, claimed: Claimed, attempt: Attempt | None, event: Event | None) -> Accept | None:
        """Say nothing."""

    def destination_failing(self, lane: Lane, *, since: datetime, share: int, last: str) -> Accept | None:
        """Say nothing."""

    def destination_recovered(self, lane: Lane, *, since: datetime) -> Accept | None:
        """Say nothing."""
