"""Asks conditions of a value that stands alone, through the one evaluator."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from hookline.rules.condition import All, Any, Check, Condition, Named, Not, Reference, Test
from hookline.rules.evaluate import evaluate
from hookline.rules.event import Event, EventId, Json
from hookline.rules.subject import Subject, look_at

_ROOT = look_at("$")
_EVENT = Event(
    id=EventId("evt_0"),
    source="",
    type="",
    sender_id=None,
    key="",
    tenant=None,
    occurred_at=None,
    received_at=datetime(1970, 1, 1, tzinfo=UTC),
    headers={},
    query={},
    client_ip="",
    payload=None,
    envelope=None,
)

#: An event that says nothing, for checks that ask nothing of it.
NOWHERE: Final = Subject(_EVENT)


def holds_of(condition: Condition, value: Json) -> bool:
    """Tell whether a condition, whose tests all look at one place, holds where just this value is there."""
    return evaluate(_moved(condition), Subject(replace(_EVENT, payload=value)))


def _moved(condition: Condition) -> Condition:
    match condition:
        case Test():
            return replace(condition, look=_ROOT)
        case Not(test=inner):
            return Not(_moved(inner))
        case All(tests=tests):
            return All(tuple(_moved(test) for test in tests))
        case Any(tests=tests):
            return Any(tuple(_moved(test) for test in tests))
        case Named(name=name, condition=inner):
            return Named(name, _moved(inner))


def asks_only_the_value(condition: Condition, *, place: str | None = None) -> bool:
    """Tell whether the answer depends on nothing but what is at `place`; None: anywhere in the payload."""
    match condition:
        case Test(look=look):
            is_there = look.text == place if place is not None else look.text.startswith("$")
            return (
                is_there
                and all(_is_fixed(check) for check in (*condition.count, *condition.absent, *condition.present))
                and all(asks_only_the_value(inner) for inner in (condition.where, condition.every) if inner is not None)
            )
        case Not(test=inner) | Named(condition=inner):
            return asks_only_the_value(inner, place=place)
        case All(tests=tests) | Any(tests=tests):
            return all(asks_only_the_value(test, place=place) for test in tests)


def _is_fixed(check: Check) -> bool:
    """Tell whether it compares with the same for every event: with no path, and no time from its receipt."""
    if check.operator in ("before", "after") and not check.operands:
        return False
    return not any(isinstance(operand, Reference) for operand in check.operands)
