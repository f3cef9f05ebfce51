"""What happened lately, minute by minute, as the API writes it."""

from __future__ import annotations

from typing import TypedDict


class Percentiles(TypedDict):
    """Milliseconds that half, and that 95 of a hundred, did not exceed, at most 19 % off; None if there was nothing."""

    p50: float | None
    p95: float | None


class Totals(TypedDict):
    """What happened in a stretch of time."""

    #: Events that were stored, each once; of those, a rule with a name matched, or none did.
    received: int
    matched: int
    unmatched: int
    #: Requests whose event was known, and requests that were refused.
    duplicates: int
    rejected: int
    #: Attempts that ended delivered, and that did not.
    delivered: int
    failed: int
    #: Deliveries that ended dead.
    dead: int


class Minute(Totals):
    """What happened in one minute."""

    #: When it began.
    at: str


class Statistics(TypedDict):
    """What happened lately, and what waits now."""

    #: Minutes, oldest first; the last one is not over. Those in which the daemon did not run are not among them.
    minutes: list[Minute]
    #: Since when minutes are known; a day at most.
    known_since: str
    #: Of these minutes, and of all that are known.
    totals: Totals
    day: Totals
    #: From the request's head to its answer, and from receipt to delivered; of these minutes.
    answer_ms: Percentiles
    delivery_ms: Percentiles
    #: Deliveries that wait for their turn, their time or their destination, and that run.
    waiting: int
    running: int
    #: When what has waited longest was due.
    oldest_due_at: str | None
    #: Destinations that are not `ok`, with their state: by name, the first hundred. Actions in place by rule and name.
    failing: dict[str, str]
