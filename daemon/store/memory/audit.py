"""The audit of the in-memory store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from hookline.daemon.store.changes import Audit
from hookline.daemon.store.memory.tables import Tables
from hookline.daemon.store.stored import StoredAudit

_MAX_SAID = 500


def audit(tables: Tables, change: Audit) -> int:
    """Write a row, or add to the day's; return its id."""
    now = tables.clock()
    day = (change.what, now.date())
    if change.by_day and day in tables.days:
        add_to_audit(tables, tables.days[day], change.counts, count=change.count)
        return tables.days[day]
    number = tables.audit[-1].id + 1 if tables.audit else 1
    if change.by_day:
        tables.days[day] = number
    tables.audit.append(
        StoredAudit(
            id=number,
            at=now,
            who=change.who,
            what=change.what,
            subject=change.subject[:_MAX_SAID],
            count=change.count,
            counts=dict(change.counts),
            reason=change.reason[:_MAX_SAID],
        )
    )
    return number


def add_to_audit(tables: Tables, number: int, counts: Mapping[str, int], *, count: int) -> None:
    """Add to a row that is there."""
    place = next(index for index, row in enumerate(tables.audit) if row.id == number)
    row = tables.audit[place]
    sums = dict(Counter(row.counts) + Counter(counts))
    tables.audit[place] = replace(row, at=tables.clock(), count=row.count + count, counts=sums)
