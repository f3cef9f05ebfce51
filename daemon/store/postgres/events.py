"""Events with all that they say, in one reading transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.postgres.asking import ask
from hookline.daemon.store.postgres.rows import bound, event_from
from hookline.daemon.store.postgres.walk import range_of
from hookline.daemon.store.rows import event_number
from hookline.daemon.store.stored import EventFilter, StoredEvent
from hookline.rules import EventId

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection


async def these_events(connection: Connection, ids: Sequence[int]) -> dict[int, StoredEvent]:
    """Return those of the events that there are, newest first, by their numbers."""
    rows = await ask(connection, "event_rows", "these_events", ids=ids) if ids else []
    return await _with_requests(connection, rows)


async def list_events(
    connection: Connection, where: EventFilter, *, limit: int, before: EventId | None
) -> list[StoredEvent]:
    """Return the newest events that the filter lets pass."""
    low, high = range_of(where, None if before is None else event_number(before))
    given = {"source": where.source, "type": where.type, "tenant": where.tenant}
    values = {name: bound(text) for name, text in given.items() if text is not None}
    parts = [f"of_{name}" for name in values]
    if where.is_unrouted:
        parts.append("unrouted")
    rows = await ask(
        connection,
        *("event_rows", "some_events", *parts, "newest_events"),
        **values,
        low=low,
        high=high,
        limit=limit,
    )
    return list((await _with_requests(connection, rows)).values())


async def _with_requests(connection: Connection, rows: Sequence[Row]) -> dict[int, StoredEvent]:
    """Put to events what came with them. Not by a join: the planner would look into every partition of requests."""
    ids = list({row[-1] for row in rows})
    requests = {row[0]: row[1:] for row in await ask(connection, "request_rows", ids=ids)} if ids else {}
    # A day that retention drops just now may be gone from one table and not yet from the other.
    return {row[0]: event_from((*row[:-1], *requests[row[-1]])) for row in rows if row[-1] in requests}
