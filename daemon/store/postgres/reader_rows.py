"""Rows of what a reader tells beside events and deliveries (rows.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hookline.daemon.store.changes import State
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.postgres.rows import matched_from, unbound
from hookline.daemon.store.rows import event_id, moment
from hookline.daemon.store.stored import (
    EventRow,
    StoredAudit,
)


def event_row_from(row: Row, *, size: int, deliveries: Mapping[State, int]) -> EventRow:
    """Read the columns of `event_columns`."""
    number, source, type_, sender_id, key, tenant, subject, occurred_at, received_at, matched, *rest = row
    is_unrouted, duplicates, conflicts = rest
    return EventRow(
        id=event_id(number),
        source=unbound(source),
        type=unbound(type_),
        sender_id=unbound(sender_id),
        key=unbound(key),
        tenant=unbound(tenant),
        subject=unbound(subject),
        occurred_at=None if occurred_at is None else moment(occurred_at),
        received_at=moment(received_at),
        matched=matched_from(matched),
        is_unrouted=is_unrouted,
        duplicates=duplicates,
        conflicts=conflicts,
        size=size,
        deliveries=deliveries,
    )


def audit_from(row: Row) -> StoredAudit:
    """Read a row of the audit."""
    number, at, who, what, subject, count, counts, reason = row
    return StoredAudit(
        id=number,
        at=moment(at),
        who=unbound(who),
        what=what,
        subject=unbound(subject),
        count=count,
        counts=json.loads(counts),
        reason=unbound(reason),
    )
