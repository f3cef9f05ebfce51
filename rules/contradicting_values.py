"""Finds tests of one place that cannot hold together.

Where a test allows but a few values, each of them is put to the evaluator; else kinds and bounds are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeAlias

from hookline.rules.condition import Condition, Constant, Test
from hookline.rules.contradicting_bounds import bounds_conflict
from hookline.rules.event import Json
from hookline.rules.lone_value import NOWHERE, asks_only_the_value, holds_of
from hookline.rules.name_filter import NameFilter
from hookline.rules.path_grammar import Index, Name
from hookline.rules.same_condition import condition_key
from hookline.rules.subject import Look
from hookline.rules.values import equal

# More are not tried: to compare two lists of thousands would take as many evaluations.
_MAX_CANDIDATES = 64
_MAX_FACTS = 16


@dataclass(frozen=True, slots=True)
class Fact:
    """A test that must hold, or must not."""

    test: Test
    is_denied: bool = False

    @property
    def text(self) -> str:
        """The test as people read it."""
        return f"not {self.test.text}" if self.is_denied else self.test.text


#: Who asks something of a value (or of a number of values), as people read it, and whether the value will do.
_Demand: TypeAlias = "tuple[str, Callable[[Json], bool]]"


def selects_one(look: Look) -> bool:
    """Tell whether at most one value is there, whatever the event."""
    return look.path is None or all(
        not segment.is_descendant and len(segment.selectors) == 1 and isinstance(segment.selectors[0], Name | Index)
        for segment in look.path.segments
    )


def conflict_at(facts: Sequence[Fact], names: tuple[str, NameFilter] | None = None) -> tuple[str, ...] | None:
    """Return the texts of what cannot hold together of the tests of one place; None if it may.

    `names`, where the place is `source` or `type`: what `from` or `on` (the first) lets pass.
    """
    if len(facts) > _MAX_FACTS or (len(facts) == 1 and names is None and _is_plain(facts[0])):
        return None
    is_one = selects_one(facts[0].test.look)
    return (
        _opposites(facts)
        or _sizes_conflict(facts, is_one=is_one)
        or _bounds_conflict(facts, is_one=is_one)
        or _candidates_conflict(facts, names, is_one=is_one)
    )


def _is_plain(fact: Fact) -> bool:
    """Tell whether it has nothing to be at odds with in itself."""
    test = fact.test
    asked = len(test.present) + len(test.absent) + (test.where is not None) + (test.every is not None)
    return fact.is_denied or (asked < 2 and test.exists is None and not test.count and test.convert is None)


def _opposites(facts: Sequence[Fact]) -> tuple[str, ...] | None:
    """Find a test and its denial."""
    denied = {key: fact for fact in facts if fact.is_denied and (key := condition_key(fact.test)) is not None}
    for fact in facts if denied else ():
        found = denied.get(condition_key(fact.test) or "")
        if found is not None and not fact.is_denied:
            return fact.text, found.text
    return None


def _smallest(demands: Sequence[_Demand], values: Sequence[Json]) -> tuple[str, ...] | None:
    """Return the texts of the fewest demands that no value meets; None if one meets all, or if there is none to ask."""
    if not values or any(all(holds(value) for _, holds in demands) for value in values):
        return None
    for count in (1, 2):
        for some in combinations(demands, count):
            if not any(all(holds(value) for _, holds in some) for value in values):
                return tuple(dict.fromkeys(text for text, _ in some))
    return tuple(dict.fromkeys(text for text, _ in demands))


def _sizes_conflict(facts: Sequence[Fact], *, is_one: bool) -> tuple[str, ...] | None:
    """Find what no number of values meets: `exists: false` beside a value, a `count` that is out of reach."""
    demands = [(fact.text, demand) for fact in facts if (demand := _size_demand(fact)) is not None]
    counted = {
        operand.value
        for fact in facts
        for check in fact.test.count
        for operand in check.operands
        if isinstance(operand, Constant) and isinstance(operand.value, int)
    }
    # Between the numbers that they name, all sizes are answered alike.
    sizes = {0, 1} if is_one else {0, 1, *(size + step for size in counted for step in (-1, 0, 1) if size + step >= 0)}
    return _smallest(demands, sorted(sizes))


def _size_demand(fact: Fact) -> Callable[[Json], bool] | None:
    test = fact.test
    asks_value = bool(test.present) or test.where is not None or test.every is not None
    if not (asks_value or test.exists is not None or test.count):
        return None
    if fact.is_denied and (asks_value or test.absent or test.convert is not None):
        return None  # It may be denied for its values' sake.

    def holds(size: Json) -> bool:
        meets = (test.exists is None or bool(size) is test.exists) and (bool(size) or not asks_value)
        return (meets and all(check.accepts(size, NOWHERE) for check in test.count)) is not fact.is_denied

    return holds


def _bounds_conflict(facts: Sequence[Fact], *, is_one: bool) -> tuple[str, ...] | None:
    affirmed = [fact.test for fact in facts if not fact.is_denied]
    # Two tests of a place with several values may each mean another of them.
    groups = (
        [
            [test for test in affirmed if test.conversion == reading]
            for reading in {test.conversion for test in affirmed}
        ]
        if is_one
        else [[test] for test in affirmed]
    )
    for tests in groups:
        found = bounds_conflict([(check, test.text) for test in tests for check in test.present], tests[0].conversion)
        if found is not None:
            return found
    return None


def _candidates_conflict(
    facts: Sequence[Fact], names: tuple[str, NameFilter] | None, *, is_one: bool
) -> tuple[str, ...] | None:
    """Find a test that allows a few values of which the others allow none."""
    for base in facts:
        values = None if base.is_denied else _candidates(base.test)
        if values is not None:
            demands = list(_demands(facts, base, is_one=is_one))
            found = _smallest([*demands, *_named(names)] if base.test.convert is None else demands, values)
            if found is not None:
                return found if base.text in found else (base.text, *found)
    allowed = names[1].names if names is not None else None
    if names is None or not allowed or len(allowed) > _MAX_CANDIDATES:
        return None
    free = [fact for fact in facts if asks_only_the_value(fact.test, place=fact.test.look.text)]
    found = _smallest([(fact.text, _whole(fact)) for fact in free], sorted(allowed))
    return None if found is None else (f"{names[0]} {names[1]}", *found)


def _named(names: tuple[str, NameFilter] | None) -> Iterator[_Demand]:
    if names is not None:
        key, accepted = names
        yield f"{key} {accepted}", lambda value: isinstance(value, str) and accepted.accepts(value)


def _candidates(test: Test) -> list[Json] | None:
    """Return all values that the test allows, as its checks see them; None if they are not but a few."""
    for check in test.present:
        if check.operator not in ("eq", "in") or not 0 < len(check.operands) <= _MAX_CANDIDATES:
            continue
        constants = [operand.value for operand in check.operands if isinstance(operand, Constant)]
        variants = [_variants(constant) for constant in constants]
        if len(constants) < len(check.operands) or None in variants:
            continue
        values = [value for some in variants if some is not None for value in some]
        convert = test.convert
        # The tests convert what they are asked of, so a value must be its own conversion.
        if convert is None or all(_is_same(convert(value), value) for value in values):
            return values
    return None


def _variants(value: Json) -> list[Json] | None:
    """Return the values that are equal to one and that a test may tell apart; None if they are too many."""
    if isinstance(value, list | dict):
        return None if _holds_number(value) else [value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [value]
    if value == 0:
        return [0, 0.0, -0.0]
    found: list[Json] = [value]
    if isinstance(value, int) and abs(value) < 1 << 1023 and float(value) == value:
        found.append(float(value))
    elif isinstance(value, float) and value.is_integer():
        found.append(int(value))
    return found


def _holds_number(value: Json) -> bool:
    if isinstance(value, list | dict):
        return any(_holds_number(each) for each in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_same(one: Json, other: Json) -> bool:
    return type(one) is type(other) and equal(one, other)


def _demands(facts: Sequence[Fact], base: Fact, *, is_one: bool) -> Iterator[_Demand]:
    """Return what must hold of a value that passes `base`."""
    for fact in facts:
        test = fact.test
        if base.test.convert is not None and test.conversion != base.test.conversion:
            continue  # The value itself is not known, only how it is read.
        if not asks_only_the_value(test, place=test.look.text):
            continue
        if is_one:
            yield fact.text, _whole(fact)
        elif fact is base:
            yield fact.text, _part(replace(test, exists=None, count=()))
        elif not fact.is_denied and (test.absent or test.every is not None):
            # These are said of every value that is there; the rest may be met by another one.
            yield fact.text, _part(replace(test, exists=None, count=(), present=(), where=None))
        elif fact.is_denied and not (test.exists is not None or test.count or test.absent or test.every is not None):
            yield fact.text, _whole(fact)


def _whole(fact: Fact) -> Callable[[Json], bool]:
    return lambda value: holds_of(fact.test, value) is not fact.is_denied


def _part(condition: Condition) -> Callable[[Json], bool]:
    return lambda value: holds_of(condition, value)
