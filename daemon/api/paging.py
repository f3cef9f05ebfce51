"""How lists are asked for: how many at once, and what follows on."""

from __future__ import annotations

from typing import Final

from hookline.daemon.api.problem import ProblemError
from hookline.daemon.ids import decode
from hookline.daemon.store.changes import DeliveryId
from hookline.rules import EventId

#: Rows of one page.
MOST_ROWS: Final = 500


def limit_of(asked: int, *, most: int = MOST_ROWS) -> int:
    """Return how many are asked for. Raises `ProblemError` unless it is between 1 and `most`."""
    if not 1 <= asked <= most:
        raise ProblemError(400, "Bad parameter", f"`limit` is between 1 and {most:,}, not {asked}")
    return asked


def after_event(before: str | None) -> EventId | None:
    """Return what a page of events follows on. Raises `ProblemError` for what is no event's id."""
    return None if before is None else EventId(_cursor("evt", before))


def after_delivery(before: str | None) -> DeliveryId | None:
    """Return what a page of deliveries follows on. Raises `ProblemError` for what is no delivery's id."""
    return None if before is None else DeliveryId(_cursor("dlv", before))


def _cursor(prefix: str, before: str) -> str:
    try:
        decode(prefix, before)
    except ValueError as error:
        raise ProblemError(400, "Bad parameter", f"`before` is the `next` of another page: {error}") from error
    return before
