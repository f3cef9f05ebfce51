"""What was done by hand, and day by day what retention removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from hookline.daemon.api.endpoint import Area, Call
from hookline.daemon.api.paging import limit_of
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.system import AuditPage, AuditRow
from hookline.daemon.store.stored import StoredAudit

AUDIT = Area("audit", "What was done by hand, and by retention.")

# Larger numbers are no rows of any store.
_MOST_NUMBER: Final = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAsked:
    """Which rows to list."""

    since: Annotated[datetime | None, "Not older."] = None
    limit: Annotated[int, "How many at most, 1 to 500."] = 50
    before: Annotated[str | None, "`next` of the page above."] = None


@AUDIT.get("/audit")
async def list_audit(call: Call[AuditAsked]) -> AuditPage:
    """List what was done by hand, newest first, and day by day what retention removed. Kept for a year."""
    asked, reader = call.asked, call.daemon.reader
    limit, before = limit_of(asked.limit), _number(asked.before)
    # One more than is shown says whether another page follows.
    rows = await reader.audit(limit=limit + 1, before=before, since=asked.since)
    under_way = {*await reader.deletions()}
    return {
        "audit": [audit_row(row, is_under_way=row.id in under_way) for row in rows[:limit]],
        "next": str(rows[limit - 1].id) if len(rows) > limit else None,
    }


def audit_row(row: StoredAudit, *, is_under_way: bool) -> AuditRow:
    """Write one row."""
    return {
        "id": row.id,
        "at": row.at.isoformat(),
        "who": row.who,
        "what": row.what,
        "subject": row.subject,
        "count": row.count,
        "counts": dict(row.counts),
        "reason": row.reason,
        "under_way": is_under_way,
    }


def _number(before: str | None) -> int | None:
    if before is None:
        return None
    if not (before.isascii() and before.isdecimal() and len(before) < 20 and int(before) < _MOST_NUMBER):
        raise ProblemError(400, "Bad parameter", "`before` is the `next` of another page")
    return int(before)
