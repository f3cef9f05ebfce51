"""The audit as rows: what was done by hand, and by retention day by day."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hookline.daemon.store.changes import Audit
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres.rows import bound
from hookline.daemon.store.rows import DAY

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

#: The longest subject and reason.
MAX_SAID = 500

_SQL = named_statements(__package__, "audit")


async def audit(connection: Connection, change: Audit, now: int) -> int:
    """Write a row, or add to the day's; return its id. In a transaction of the caller's."""
    day = now // DAY if change.by_day else None
    row = (now, bound(change.who), change.what, bound(change.subject[:MAX_SAID]), bound(change.reason[:MAX_SAID]), day)
    if day is None:
        counts = json.dumps(dict(change.counts))
        number: int = await connection.fetchval(_SQL["insert_audit"], *row, change.count, counts)
        return number
    # Empty at first, so that two nodes that begin the day add to one row.
    await connection.execute(_SQL["begin_day"], *row)
    number = await connection.fetchval(_SQL["audit_of_day"], change.what, day)
    await add_to_audit(connection, number, change.counts, count=change.count, now=now)
    return number


async def add_to_audit(connection: Connection, number: int, counts: Mapping[str, int], *, count: int, now: int) -> None:
    """Add to a row that is there."""
    text = await connection.fetchval(_SQL["counts"], number)
    sums = Counter(json.loads(text)) + Counter(counts)
    await connection.execute(_SQL["add_to_audit"], number, now, count, json.dumps(sums))
