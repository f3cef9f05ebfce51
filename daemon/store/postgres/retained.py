"""What retention tells of what it removed: the counters and the audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from hookline.daemon.store.changes import Audit
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres.audit import audit
from hookline.daemon.store.rows import micros

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

_SQL = named_statements(__package__, "prune")


async def uncount(connection: Connection, gone: Counter[str]) -> None:
    """Take from the stored counters."""
    rows = sorted((name, -count) for name, count in gone.items() if count)
    if rows:
        await connection.execute(_SQL["add_to_counters"], [name for name, _ in rows], [count for _, count in rows])


async def tell(connection: Connection, counts: Mapping[str, int], at: datetime) -> None:
    """Add to the day's row of the audit."""
    some = {name: count for name, count in counts.items() if count}
    if some:
        told = Audit(who="daemon", what="prune", count=sum(some.values()), counts=some, by_day=True)
        await audit(connection, told, micros(at))
