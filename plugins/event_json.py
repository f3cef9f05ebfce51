"""A delivery's event, or a digest's events, as JSON: for what is not HTTP."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hookline.plugins import Delivery, Event


def document_of(delivery: Delivery) -> bytes:
    """Return what was accepted and what for: `delivery`, `event` (of a digest `events`), `previous`, `suppressed`."""
    about = {
        "id": delivery.id,
        "rule": delivery.rule,
        "destination": delivery.destination,
        "attempt": delivery.attempt,
        "is_replay": delivery.is_replay,
    }
    what: dict[str, Any] = (
        {"events": [_plain(event) for event in delivery.events]}
        if delivery.events
        else {"event": _plain(delivery.event)}
    )
    whole = {"delivery": about, **what, "previous": delivery.previous, "suppressed": delivery.suppressed}
    return json.dumps(whole, separators=(",", ":")).encode()


def body_of(delivery: Delivery) -> bytes:
    """Return the request's body as received; of a digest, which has many, `{"events": [payload, …]}`."""
    if not delivery.events:
        return delivery.body
    return json.dumps({"events": [event.payload for event in delivery.events]}, separators=(",", ":")).encode()


def _plain(event: Event) -> dict[str, Any]:
    return {field.name: _value(getattr(event, field.name)) for field in dataclasses.fields(event)}


def _value(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case Mapping():
            return dict(value)
        case _:
            return value
