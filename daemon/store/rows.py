"""Between values and columns, whatever the database: times, ids, states, digests and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted

from hookline.daemon.ids import decode, encode
from hookline.daemon.store.changes import DeliveryId, Lane, NewEvent, State
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
#: The largest number that a column holds, and so an id.
HIGHEST_ID = (1 << 63) - 1
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


def queue_number(lane: Lane, order: str) -> int:
    """Return 64 bits that stand for a lane and an order; two that share them would only wait for each other."""
    digest = hashlib.sha256(f"{lane}\n{order}".encode("utf-8", "surrogatepass")).digest()
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
