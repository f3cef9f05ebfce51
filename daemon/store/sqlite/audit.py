"""The audit as rows: what was done by hand, and by retention day by day."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping

from hookline.daemon.store.changes import Audit
from hookline.daemon.store.rows import DAY
from hookline.daemon.store.sqlite.rows import bound
from hookline.daemon.store.sqlite.statements import statements

#: The longest subject and reason.
MAX_SAID = 500

_SQL = statements("upkeep")


def audit(connection: sqlite3.Connection, change: Audit, now: int) -> int:
    """Write a row, or add to the day's; return its id. In a transaction of the caller's."""
    day = now // DAY if change.by_day else None
    found = None if day is None else connection.execute(_SQL["audit_of_day"], (change.what, day)).fetchone()
    if found is not None:
        add_to_audit(connection, found[0], change.counts, count=change.count, now=now)
        number: int = found[0]
        return number
    row = (
        now,
        bound(change.who),
        change.what,
        bound(change.subject[:MAX_SAID]),
        change.count,
        json.dumps(dict(change.counts)),
        bound(change.reason[:MAX_SAID]),
        day,
    )
    new = connection.execute(_SQL["insert_audit"], row).lastrowid
    if new is None:  # pragma: no cover - an INSERT that succeeded has one
        raise sqlite3.InternalError("no row number")
    return new


def add_to_audit(
    connection: sqlite3.Connection, number: int, counts: Mapping[str, int], *, count: int, now: int
) -> None:
    """Add to a row that is there."""
    (_, text) = connection.execute(_SQL["audit_by_id"], (number,)).fetchone()
    sums = Counter(json.loads(text)) + Counter(counts)
    connection.execute(_SQL["add_to_audit"], (now, count, json.dumps(sums), number))
