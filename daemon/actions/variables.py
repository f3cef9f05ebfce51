"""What templates see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hookline.plugins import Delivery
from hookline.rules import Event, Json, Step


def template_variables(event: Event, step: Step, variables: Mapping[str, Json]) -> dict[str, Any]:
    """Return what templates see of an event; `variables` are the configuration's, under those that the rule named."""
    return {"event": event, "payload": event.payload, "vars": {**variables, **step.vars}, "rule": step.rule_facts}


def delivery_variables(
    delivery: Delivery, *, rule: Mapping[str, Json], variables: Mapping[str, Json]
) -> dict[str, Any]:
    """Return what templates see of a delivery: `events` of a digest, `event` and `payload` of any other."""
    seen: dict[str, Any] = {"vars": variables, "rule": rule}
    if delivery.events:
        return {"events": delivery.events, **seen}
    event = delivery.event
    return {
        "event": event,
        "payload": event.payload,
        "previous": delivery.previous,
        "suppressed": delivery.suppressed,
        **seen,
    }
