"""Rows of what a reader tells beside events and deliveries (stored_rows.py): the same columns in every database."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hookline.daemon.ids import made_at
from hookline.daemon.store.changes import Lane, State
from hookline.daemon.store.named_sql import Row
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
from hookline.daemon.store.stored_rows import Unbound


@dataclass(frozen=True, slots=True)
class ReaderRows:
    """Reads such rows of one database."""

    unbound: Unbound
    #: Reads the rules that matched, where any did.
    names: Callable[[Any], tuple[str, ...]]

    @staticmethod
    def fact(row: Row) -> tuple[str, Fact]:
        """Read a fact and its name."""
        name, value, at = row
        return name, Fact(value=json.loads(value), at=moment(at))

    def pause(self, row: Row) -> tuple[str, Pause]:
        """Read a pause and its source."""
        source, since, reason = row
        return self.unbound(source), Pause(since=moment(since), reason=self.unbound(reason))

    def token(self, row: Row) -> StoredToken:
        """Read a token of the admin API."""
        name, digest, scope, created_at, expires_at, last_used_at = row
        return StoredToken(
            name=self.unbound(name),
            digest=digest,
            scope=scope,
            created_at=moment(created_at),
            expires_at=None if expires_at is None else moment(expires_at),
            last_used_at=None if last_used_at is None else moment(last_used_at),
        )

    def lane_activity(self, row: Row) -> LaneActivity:
        """Read what was tried in a lane."""
        name, delivered, failed, hour = row
        return LaneActivity(
            lane=Lane(self.unbound(name)),
            delivered=delivered,
            failed=failed,
            last_delivered_at=None if hour is None else moment(hour * HOUR),
        )

    def activity(self, row: Row) -> SourceActivity:
        """Read what a source received."""
        source, last_id, last_type, events = row
        return SourceActivity(
            source=self.unbound(source),
            last_event_id=event_id(last_id),
            last_at=made_at(last_id),
            last_type=self.unbound(last_type),
            events=events,
        )

    def rule_activity(self, row: Row) -> RuleActivity:
        """Read what a rule matched."""
        rule, last_id, events = row
        return RuleActivity(
            rule=self.unbound(rule), last_event_id=event_id(last_id), last_at=made_at(last_id), events=events
        )

    def event(self, row: Row, *, size: int, deliveries: Mapping[State, int]) -> EventRow:
        """Read what a list shows of an event. `size`: of its request's body, in bytes."""
        number, source, type_, sender_id, key, tenant, subject, occurred_at, received_at, matched, *rest = row
        is_unrouted, duplicates, conflicts = rest
        return EventRow(
            id=event_id(number),
            source=self.unbound(source),
            type=self.unbound(type_),
            sender_id=self.unbound(sender_id),
            key=self.unbound(key),
            tenant=self.unbound(tenant),
            subject=self.unbound(subject),
            occurred_at=None if occurred_at is None else moment(occurred_at),
            received_at=moment(received_at),
            matched=() if matched is None else self.names(matched),
            is_unrouted=bool(is_unrouted),
            duplicates=duplicates,
            conflicts=conflicts,
            size=size,
            deliveries=deliveries,
        )

    def audit(self, row: Row) -> StoredAudit:
        """Read what somebody did."""
        number, at, who, what, subject, count, counts, reason = row
        return StoredAudit(
            id=number,
            at=moment(at),
            who=self.unbound(who),
            what=what,
            subject=self.unbound(subject),
            count=count,
            counts=json.loads(counts),
            reason=self.unbound(reason),
        )

    def rejection(self, row: Row) -> StoredRejection:
        """Read refused requests."""
        source, reason, first_at, last_at, count, detail, client_ip = row
        return StoredRejection(
            source=self.unbound(source),
            reason=self.unbound(reason),
            first_at=moment(first_at),
            last_at=moment(last_at),
            count=count,
            detail=self.unbound(detail),
            client_ip=self.unbound(client_ip),
        )
