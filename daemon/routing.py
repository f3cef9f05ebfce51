"""Ask the rules about an event, and turn what they want into deliveries; for the intake and for replays."""

from __future__ import annotations

from typing import Any

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Lane, NewDelivery, Token
from hookline.rules import Event, Routing, RuleSet, Step


def match_or_none(rules: RuleSet, event: Event, log: Any) -> Routing | None:
    """Match an event; None if that fails, which is logged.

    Matching is total, so a failure is a fault of ours. It may lose no event and end no daemon.
    """
    try:
        return rules.match(event)
    except Exception:
        # One of the three broad handlers: the event is stored unrouted, shown, and routed again when the rules change.
        log.exception("event.unrouted", event_id=event.id, source=event.source, event_type=event.type)
        return None


def new_delivery(ids: Ids, step: Step, token: Token | None = None) -> NewDelivery:
    """Return the delivery that a step asks for; with a token it is inserted running."""
    return NewDelivery(
        id=ids.delivery(),
        rule=step.rule,
        step=step.digest,
        lane=Lane(step.lane),
        destination=step.label,
        token=token,
    )
