"""Counting what a deletion would remove, in one reading transaction."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hookline.daemon.store.changes import State
from hookline.daemon.store.postgres.asking import ask
from hookline.daemon.store.postgres.rows import bound
from hookline.daemon.store.postgres.walk import range_of
from hookline.daemon.store.rows import STATES, event_id, number_or_none
from hookline.daemon.store.stored import Deletion, Tally

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection


async def tally(connection: Connection, which: Deletion) -> Tally:
    """Return how many events are meant, and what hangs on them."""
    parts, values = _meant(which)
    ((count, first, last),) = await ask(connection, "tally_events", *parts, **values)
    deliveries: Counter[State] = Counter()
    for state, number in await ask(connection, "tally_deliveries", *parts, "by_state", **values):
        deliveries[STATES[state]] += number
    return Tally(
        events=count,
        first=None if first is None else event_id(first),
        last=None if last is None else event_id(last),
        deliveries=deliveries,
    )


def _meant(which: Deletion) -> tuple[list[str], dict[str, Any]]:
    """Return the statements that pick the events, and their values."""
    where = which.where
    if where is None:
        ids = [number for event in which.events if (number := number_or_none("evt", event)) is not None]
        return ["of_named"], {"ids": ids}
    low, high = range_of(where, None)
    given = {"source": where.source, "type": where.type, "tenant": where.tenant}
    values = {name: bound(text) for name, text in given.items() if text is not None}
    return ["some_events", *(f"of_{name}" for name in values)], {**values, "low": low, "high": high}
