"""Between values and columns: text, times, ids and JSON as SQLite keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from hookline.daemon.ids import decode, encode, made_at
from hookline.daemon.sources.stored_payload import payload_and_envelope, read_document
from hookline.daemon.store.changes import Attempt, DeliveryId, NewEvent, Outcome, State
from hookline.daemon.store.sqlite_statements import Row
from hookline.daemon.store.stored import StoredDelivery, StoredEvent
from hookline.rules import Event, EventId

#: As in the schema's comment on `deliveries.state`.
STATES = (
    State.PENDING,
    State.RUNNING,
    State.DELIVERED,
    State.DEAD,
    State.CANCELLED,
    State.SUPPRESSED,
    State.COLLECTED,
    State.PENDING,
)
NUMBER_OF_STATE = {state: STATES.index(state) for state in State}
#: Pending behind an earlier one of its order.
BEHIND = 7

MAX_NOTE = 1_000
MAX_DECISION = 300
MAX_ANSWER = 4_096

#: In microseconds: rejections and activity are counted by it.
HOUR = 3_600_000_000
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Write a time as microseconds since 1970."""
    return length(moment - _EPOCH)


def moment(number: int) -> datetime:
    """Read a time back."""
    return _EPOCH + timedelta(microseconds=number)


def length(duration: timedelta) -> int:
    """Write a duration in microseconds."""
    return duration.days * DAY + duration.seconds * 1_000_000 + duration.microseconds


def bound(text: str) -> str | bytes:
    """Return text for an ANY column: as it is, or a blob if it holds lone surrogates (RELIABILITY A14)."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-8", "surrogatepass")
    return text


def bound_or_null(text: str | None) -> str | bytes | None:
    """Do the same to what may be missing."""
    return None if text is None else bound(text)


def unbound(value: Any) -> Any:
    """Read text back out of an ANY column."""
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def event_number(event_id: EventId) -> int:
    """Return the number behind an event's id. Raises `ValueError`."""
    return decode("evt", event_id)


def event_id(number: int) -> EventId:
    """Write the number as an event's id."""
    return EventId(encode("evt", number))


def delivery_number(written: DeliveryId) -> int:
    """Return the number behind a delivery's id. Raises `ValueError`."""
    return decode("dlv", written)


def delivery_id(number: int) -> DeliveryId:
    """Write the number as a delivery's id."""
    return DeliveryId(encode("dlv", number))


def number_or_none(prefix: str, written: str) -> int | None:
    """Return the number behind an id, None for what is no id: nothing is stored under it."""
    try:
        return decode(prefix, written)
    except ValueError:
        return None


def key_digest(event: Event) -> bytes:
    """Return the 16 bytes under which an event's dedupe key is remembered."""
    return scoped_key_digest(event.source, event.key)


def scoped_key_digest(source: str, key: str) -> bytes:
    """Return the 16 bytes under which a dedupe key is remembered, scoped by its source."""
    # No source's name holds a line feed, so no two pairs are written the same.
    scoped = f"{source}\n{key}"
    return hashlib.sha256(scoped.encode("utf-8", "surrogatepass")).digest()[:16]


def content_number(new: NewEvent, body_digest: bytes) -> int:
    """Return 64 bits that tell whether the same key came with the same content.

    Of a split event that is its element: the other events of its batch may change between two sendings.
    """
    digest = body_digest
    if new.pointer is not None:
        digest = hashlib.sha256(json.dumps(new.event.payload, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def json_object(value: Mapping[str, str]) -> str:
    """Write headers or a query."""
    if not value:
        return "{}"
    # What `json.dumps` writes; it makes a new encoder for each call, which takes longer than the writing.
    return "{" + ", ".join([f"{quoted(name)}: {quoted(text)}" for name, text in value.items()]) + "}"


# The same few rules match again and again.
@lru_cache(maxsize=1024)
def json_or_null(value: tuple[str | int, ...] | None) -> str | None:
    """Write a pointer or a list of names; nothing for None."""
    return None if value is None else json.dumps(value)


def attempt_columns(attempt: Attempt) -> Row:
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


def attempt_from(row: Row) -> Attempt:
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


def event_from(row: Row) -> StoredEvent:
    """Read an event out of the columns of `event_rows`; its payload is read out of the body again."""
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
        matched=() if matched is None else tuple(json.loads(matched)),
        duplicates=duplicates,
        conflicts=conflicts,
        document=document,
        is_damaged=hashlib.sha256(body).digest() != digest,
    )


def delivery_from(row: Row) -> StoredDelivery:
    """Read a delivery out of the columns of `delivery_rows`."""
    number, event, source, event_type, rule, step, lane, destination, state, due_at, attempts, crashes, *rest = row
    replay_of, order, why, part_of, is_digest, stands_for, is_replay, *last_attempt = rest
    return StoredDelivery(
        id=delivery_id(number),
        event_id=event_id(event),
        source=unbound(source),
        event_type=unbound(event_type),
        rule=unbound(rule),
        step=unbound(step),
        lane=unbound(lane),
        destination=unbound(destination),
        state=STATES[state],
        created_at=made_at(number),
        due_at=moment(due_at),
        attempts=attempts,
        crashes=crashes,
        replay_of=None if replay_of is None else delivery_id(replay_of),
        last_attempt=None if last_attempt[0] is None else attempt_from(tuple(last_attempt)),
        is_replay=bool(is_replay),
        why=unbound(why),
        part_of=None if part_of is None else delivery_id(part_of),
        stands_for=stands_for,
        is_digest=bool(is_digest),
        order=unbound(order),
        is_behind=state == BEHIND,
    )
