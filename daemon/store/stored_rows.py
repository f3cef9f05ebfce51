"""Stored events, deliveries and attempts out of rows, and attempts into them: the same columns in every database.

How text stands in a column is the database's: `bound` writes it, `unbound` reads it back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

from hookline.daemon.ids import made_at
from hookline.daemon.sources.stored_payload import payload_and_envelope, read_document
from hookline.daemon.store.changes import Attempt, Lane, Outcome
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.rows import (
    BEHIND,
    MAX_ANSWER,
    MAX_DECISION,
    MAX_NOTE,
    STATES,
    delivery_id,
    event_id,
    length,
    micros,
    moment,
)
from hookline.daemon.store.stored import StoredDelivery, StoredEvent
from hookline.rules import Event

Bound: TypeAlias = Callable[[str], str | bytes]
Unbound: TypeAlias = Callable[[Any], Any]


def attempt_columns(attempt: Attempt, bound: Bound) -> Row:
    """Return number, started_at, duration, outcome, status, note, answer, decision."""
    return (
        attempt.number,
        micros(attempt.started_at),
        length(attempt.duration),
        attempt.outcome.value,
        attempt.status,
        bound(attempt.note[:MAX_NOTE]),
        bound(attempt.answer[:MAX_ANSWER]),
        bound(attempt.decision[:MAX_DECISION]),
    )


def attempt_from(row: Row, unbound: Unbound) -> Attempt:
    """Read back what `attempt_columns` wrote."""
    number, started_at, duration, outcome, status, note, answer, decision = row
    return Attempt(
        number=number,
        started_at=moment(started_at),
        duration=timedelta(microseconds=duration),
        outcome=Outcome(outcome),
        status=status,
        note=unbound(note),
        answer=unbound(answer),
        decision=unbound(decision),
    )


def event_from(row: Row, unbound: Unbound, names: Callable[[Any], tuple[str, ...]]) -> StoredEvent:
    """Read an event out of these columns; its payload is read out of the body again.

    Of `events` id, source, type, sender_id, key, tenant, subject, occurred_at, received_at, pointer, matched,
    is_unrouted, duplicates, conflicts; the rule set's version; of `requests` content_type, client_ip, headers, query,
    body, document, digest. `names` reads the rules that matched; NULL: none did.
    """
    number, source, type_, sender_id, key, tenant, subject, occurred_at, received_at, pointer_text, *rest = row
    matched, is_unrouted, duplicates, conflicts, version, *request = rest
    content_type, client_ip, headers, query, body, document, digest = request
    pointer = None if pointer_text is None else tuple(json.loads(pointer_text))
    content_type = unbound(content_type)
    document = unbound(document)
    whole = None if type_ == "unreadable" else read_document(body, content_type, document)
    payload, envelope = payload_and_envelope(whole, pointer)
    return StoredEvent(
        event=Event(
            id=event_id(number),
            source=unbound(source),
            type=unbound(type_),
            sender_id=unbound(sender_id),
            key=unbound(key),
            tenant=unbound(tenant),
            subject=unbound(subject),
            occurred_at=None if occurred_at is None else moment(occurred_at),
            received_at=moment(received_at),
            headers=json.loads(headers),
            query=json.loads(query),
            client_ip=unbound(client_ip),
            payload=payload,
            envelope=envelope,
        ),
        body=body,
        content_type=content_type,
        pointer=pointer,
        rules_version=unbound(version),
        is_unrouted=bool(is_unrouted),
        matched=() if matched is None else names(matched),
        duplicates=duplicates,
        conflicts=conflicts,
        document=document,
        is_damaged=hashlib.sha256(body).digest() != digest,
    )


def delivery_from(row: Row, unbound: Unbound) -> StoredDelivery:
    """Read a delivery out of these columns.

    Id, event_id, the event's source and type, the step's rule and digest, the lane's name, the step's destination,
    state, due_at, attempts, crashes, replay_of, order_key, why, part_of, is_digest, stands_for, is_replay; then those
    of the last attempt as `attempt_from` takes them, or NULLs.
    """
    number, event, source, event_type, rule, step, lane, destination, state, due_at, attempts, crashes, *rest = row
    replay_of, order, why, part_of, is_digest, stands_for, is_replay, *last_attempt = rest
    return StoredDelivery(
        id=delivery_id(number),
        event_id=event_id(event),
        source=unbound(source),
        event_type=unbound(event_type),
        rule=unbound(rule),
        step=unbound(step),
        lane=Lane(unbound(lane)),
        destination=unbound(destination),
        state=STATES[state],
        created_at=made_at(number),
        due_at=moment(due_at),
        attempts=attempts,
        crashes=crashes,
        replay_of=None if replay_of is None else delivery_id(replay_of),
        last_attempt=None if last_attempt[0] is None else attempt_from(tuple(last_attempt), unbound),
        is_replay=bool(is_replay),
        why=unbound(why),
        part_of=None if part_of is None else delivery_id(part_of),
        stands_for=stands_for,
        is_digest=bool(is_digest),
        order=unbound(order),
        is_behind=state == BEHIND,
    )
