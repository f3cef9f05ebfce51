"""Queues of ordered deliveries: numbered when they come, moved up when one ends. Under the locks of their stripes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.sharing import DUE

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Batch, Connection

_SQL = named_statements(__package__, "gates")


async def last_places(connection: Connection, queues: Iterable[int]) -> dict[int, int]:
    """Return the last place of each queue in which anybody stands."""
    wanted = sorted(set(queues))
    return dict(await connection.fetch(_SQL["last_places"], wanted)) if wanted else {}


async def promote(batch: Batch, queues: Collection[int]) -> None:
    """Make heads due that stood behind what has left `queue`, unless they have a delay of their own."""
    if not queues:
        return
    due = await batch.connection.fetch(_SQL["promote_heads"], sorted(queues), batch.moment.now)
    if due:
        batch.news.add(DUE)
