"""Rows of what a reader tells beside events and deliveries (rows.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hookline.daemon.ids import made_at
from hookline.daemon.store.changes import Lane, State
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.postgres.rows import matched_from, unbound
from hookline.daemon.store.rows import HOUR, event_id, moment
from hookline.daemon.store.stored import (
    EventRow,
    Fact,
    LaneActivity,
    Pause,
    RuleActivity,
    SourceActivity,
    StoredAudit,
    StoredRejection,
    StoredToken,
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


def fact_from(row: Row) -> tuple[str, Fact]:
    """Read a fact and its name."""
    name, value, at = row
    return name, Fact(value=json.loads(value), at=moment(at))


def pause_from(row: Row) -> tuple[str, Pause]:
    """Read a pause and its source."""
    source, since, reason = row
    return unbound(source), Pause(since=moment(since), reason=unbound(reason))


def token_from(row: Row) -> StoredToken:
    """Read a token of the admin API."""
    name, digest, scope, created_at, expires_at, last_used_at = row
    return StoredToken(
        name=unbound(name),
        digest=digest,
        scope=scope,
        created_at=moment(created_at),
        expires_at=None if expires_at is None else moment(expires_at),
        last_used_at=None if last_used_at is None else moment(last_used_at),
    )


def lane_activity_from(row: Row) -> LaneActivity:
    """Read what was tried in a lane."""
    name, delivered, failed, hour = row
    return LaneActivity(
        lane=Lane(unbound(name)),
        delivered=delivered,
        failed=failed,
        last_delivered_at=None if hour is None else moment(hour * HOUR),
    )


def activity_from(row: Row) -> SourceActivity:
    """Read what a source received."""
    source, last_id, last_type, events = row
    return SourceActivity(
        source=unbound(source),
        last_event_id=event_id(last_id),
        last_at=made_at(last_id),
        last_type=unbound(last_type),
        events=events,
    )


def rule_activity_from(row: Row) -> RuleActivity:
    """Read what a rule matched."""
    rule, last_id, events = row
    return RuleActivity(rule=unbound(rule), last_event_id=event_id(last_id), last_at=made_at(last_id), events=events)


def rejection_from(row: Row) -> StoredRejection:
    """Read refused requests."""
    source, reason, first_at, last_at, count, detail, client_ip = row
    return StoredRejection(
        source=unbound(source),
        reason=unbound(reason),
        first_at=moment(first_at),
        last_at=moment(last_at),
        count=count,
        detail=unbound(detail),
        client_ip=unbound(client_ip),
    )
