"""Finds operators that no single value passes, by the kinds of values that they take and the bounds that they set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from hookline.rules.condition import Check, Constant
from hookline.rules.event import Json
from hookline.rules.lone_value import NOWHERE
from hookline.rules.units import parse_duration
from hookline.rules.values import Conversion, is_number

_ALL_KINDS = frozenset({"text", "number", "boolean", "null", "array", "object"})
_WITNESSES: dict[str, tuple[Json, ...]] = {
    "text": ("",),
    "number": (0, 0.5),
    "boolean": (True,),
    "null": (None,),
    "array": ([],),
    "object": ({},),
}
_KINDS_OF = {
    **dict.fromkeys(("starts_with", "ends_with", "matches", "glob", "cidr"), frozenset({"text"})),
    "contains": frozenset({"text", "array"}),
    # As senders write times: text, or seconds since 1970.
    **dict.fromkeys(("before", "after", "during"), frozenset({"text", "number"})),
}
_KINDS_READ_AS: dict[Conversion | None, frozenset[str]] = {
    None: _ALL_KINDS,
    "number": frozenset({"number"}),
    "text": frozenset({"text"}),
    "lower": frozenset({"text"}),
    "time": frozenset({"number"}),
}
_LOWER = {"gt": True, "gte": False, "after": True}
_UPPER = {"lt": True, "lte": False, "before": True}
_DISTANCE = re.compile(r"(?:before|after) ([+-])(\S+)")

#: A check of a value, and the test that it stands in as people read it.
Asked: TypeAlias = "tuple[Check, str]"


@dataclass(frozen=True, slots=True)
class _Bound:
    """One end of what a check lets pass."""

    value: Json
    is_strict: bool
    text: str


def bounds_conflict(asked: Iterable[Asked], conversion: Conversion | None) -> tuple[str, ...] | None:
    """Return the texts of two tests (or of one, twice at odds) whose checks no value passes; None if one may."""
    asked = tuple(asked)
    return _kinds_conflict(asked, conversion) or _order_conflict(asked)


def _kinds_conflict(asked: tuple[Asked, ...], conversion: Conversion | None) -> tuple[str, ...] | None:
    if not asked:
        return None
    left = _KINDS_READ_AS[conversion]
    for number, (check, text) in enumerate(asked):
        kinds = _kinds(check)
        if not left & kinds:
            # The one of those before that is at odds, if it is one.
            other = next((text for earlier, text in asked[:number] if not _kinds(earlier) & kinds), text)
            return tuple(dict.fromkeys((other, text)))
        left &= kinds
    return None


def _kinds(check: Check) -> frozenset[str]:
    """Return the kinds of values that may pass."""
    if check.operator in _KINDS_OF:
        return _KINDS_OF[check.operator]
    if check.operator == "is":
        return frozenset(
            kind for kind, values in _WITNESSES.items() if any(check.accepts(value, NOWHERE) for value in values)
        )
    is_order = check.operator in ("gt", "gte", "lt", "lte")
    kinds = [_kind(operand.value) if isinstance(operand, Constant) else None for operand in check.operands]
    if None in kinds or not kinds:
        return frozenset({"text", "number"}) if is_order else _ALL_KINDS
    return frozenset(kind for kind in kinds if kind is not None)


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "text"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "number"


def _order_conflict(asked: tuple[Asked, ...]) -> tuple[str, ...] | None:
    """Compare every lower bound with every upper one on the same scale."""
    lower: list[tuple[str, _Bound]] = []
    upper: list[tuple[str, _Bound]] = []
    for check, text in asked:
        for sides, strict in ((lower, _LOWER), (upper, _UPPER)):
            placed = _bound(check, text, strict[check.operator]) if check.operator in strict else None
            if placed is not None:
                sides.append(placed)
    for scale, low in lower:
        for other, high in upper:
            if scale == other and _is_empty(low, high):
                return tuple(dict.fromkeys((low.text, high.text)))
    return None


def _bound(check: Check, text: str, is_strict: bool) -> tuple[str, _Bound] | None:  # noqa: FBT001 - half of a bound
    """Return a bound with the scale that it stands on; None if it differs from event to event."""
    if not check.operands:
        found = _DISTANCE.fullmatch(check.text)
        if found is None:
            return None
        distance = parse_duration(found[2]).total_seconds()
        return "received", _Bound(-distance if found[1] == "-" else distance, is_strict, text)
    match check.operands:
        case (Constant(value=value),) if isinstance(value, str) or is_number(value):
            is_time = check.operator in ("before", "after")
            return ("time" if is_time else _kind(value)), _Bound(value, is_strict, text)
    return None


def _is_empty(low: _Bound, high: _Bound) -> bool:
    match low.value, high.value:
        case (str(least), str(most)) | (int() | float() as least, int() | float() as most):
            return least > most or (least == most and (low.is_strict or high.is_strict))  # type: ignore[operator]
    return False
