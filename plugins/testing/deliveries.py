"""Deliveries to try an action with."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from hookline.plugins.delivery import Delivery
from hookline.rules import Event, EventId, Json

_PAYLOAD: Final[Json] = {"id": "1", "number": "A-17", "total": 1250.5, "customer": {"name": "Ada"}}
_RECEIVED: Final = datetime(2026, 5, 18, 12, 0, tzinfo=UTC)


def delivery(
    payload: Any = _PAYLOAD,
    *,
    event: Mapping[str, Any] | None = None,
    events: Sequence[Any] = (),
    body: bytes | None = None,
    **changes: Any,
) -> Delivery:
    """Return a delivery of one event, `example.created` from `example`.

    `payload`: what the sender documents as the event. `event`: other fields of it, such as `{"type": "order.paid"}`.
    `events`: payloads of a digest, first to last. `body`: as received; else the payload as JSON. All other fields of
    `Delivery` can be given by name, such as `attempt=2`.
    """
    payloads = list(events) or [payload]
    made = [_event(number, one, event or {}) for number, one in enumerate(payloads, 1)]
    facts: dict[str, Any] = {
        "id": "dlv_0000000000001",
        "event": made[0],
        "body": json.dumps(payloads[0]).encode() if body is None else body,
        "content_type": "application/json",
        "is_split": False,
        "rule": "example rule",
        "destination": "example",
        "attempt": 1,
        "events": tuple(made) if events else (),
    }
    return Delivery(**facts | changes)


def _event(number: int, payload: Json, changes: Mapping[str, Any]) -> Event:
    facts: dict[str, Any] = {
        "id": EventId(f"evt_{number:013}"),
        "source": "example",
        "type": "example.created",
        "sender_id": f"sender-{number}",
        "key": f"sender-{number}",
        "tenant": None,
        "subject": None,
        "occurred_at": None,
        "received_at": _RECEIVED,
        "headers": {"content-type": "application/json"},
        "query": {},
        "client_ip": "192.0.2.1",
        # Its own: what one test does to it must not be the next one's.
        "payload": copy.deepcopy(payload),
        "envelope": None,
    }
    return Event(**{**facts, **changes})
