"""What conditions ask, as closures that are made once, when a rule is loaded; `evaluate` says what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from hookline.rules.event import Json
from hookline.rules.subject import Look, Subject

if TYPE_CHECKING:
    from hookline.rules.condition import Check, Condition, Test

#: Whether a condition holds. Total: never raises.
Ask: TypeAlias = Callable[[Subject], bool]
#: Whether one value passes. Total: never raises.
Accepts: TypeAlias = Callable[[Json, Subject], bool]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A check that is one relation to one constant; it is written out where it is asked, instead of called."""

    #: Exact types that may stand in the relation; a value of any other does not pass.
    kinds: frozenset[type]
    #: Whether a value passes, as in `relation(value, constant)`.
    relation: Callable[[Any, Any], bool]
    constant: str | float


def ask_all(asks: Sequence[Ask]) -> Ask:
    """Ask whether all hold; true of none."""
    # One and two are most of what there is, and need no loop.
    if not asks:
        return lambda _: True
    if len(asks) == 1:
        return asks[0]
    if len(asks) == 2:
        first, second = asks
        return lambda subject: first(subject) and second(subject)
    each = tuple(asks)

    def ask(subject: Subject) -> bool:
        for one in each:  # noqa: SIM110 - a generator for `all` would cost as much as a condition
            if not one(subject):
                return False
        return True

    return ask


def ask_any(asks: Sequence[Ask]) -> Ask:
    """Ask whether one holds; false of none."""
    each = tuple(asks)

    def ask(subject: Subject) -> bool:
        for one in each:  # noqa: SIM110 - as above
            if one(subject):
                return True
        return False

    return ask


def ask_not(denied: Ask) -> Ask:
    """Ask whether it does not hold."""
    return lambda subject: not denied(subject)


def ask_test(test: Test) -> Ask:
    """Ask a test, in the shortest of some ways: most have nothing but operators that one value must satisfy."""
    if test.exists is not None or test.every is not None or test.count:
        return _in_full(test)
    if test.absent:
        is_all = not test.present and test.where is None and test.convert is None
        return _no_value(test.look, test.absent) if is_all else _in_full(test)
    if test.convert is not None:
        return _some_read(test.look, test.convert, _passes(_each_asked(test.present, test.where)))
    if test.where is None:
        match [check.comparison for check in test.present]:
            case [Comparison() as only]:
                return _some_compared(test.look, only)
            case [Comparison() as first, Comparison() as second]:
                return _some_compared_twice(test.look, first, second)
    return _some_value(test.look, _passes(_each_asked(test.present, test.where)))


def _some_value(look: Look, accepts: Accepts) -> Ask:
    text = look.text

    def ask(subject: Subject) -> bool:
        # `Subject.values`, without the price of a call.
        values = subject.found.get(text)
        if values is None:
            values = subject.values(look)
        for value in values:  # noqa: SIM110 - as above
            if accepts(value, subject):
                return True
        return False

    return ask


# These three are what rules that no index can help mostly ask: they call nothing of ours.
def _some_compared(look: Look, comparison: Comparison) -> Ask:
    text = look.text
    kinds, relation, constant = comparison.kinds, comparison.relation, comparison.constant

    def ask(subject: Subject) -> bool:
        values = subject.found.get(text)
        if values is None:
            values = subject.values(look)
        for value in values:  # noqa: SIM110 - as above
            if type(value) in kinds and relation(value, constant):
                return True
        return False

    return ask


def _none_compared(look: Look, comparison: Comparison) -> Ask:
    text = look.text
    kinds, relation, constant = comparison.kinds, comparison.relation, comparison.constant

    def ask(subject: Subject) -> bool:
        values = subject.found.get(text)
        if values is None:
            values = subject.values(look)
        for value in values:  # noqa: SIM110 - as above
            if type(value) in kinds and relation(value, constant):
                return False
        return True

    return ask


def _some_compared_twice(look: Look, first: Comparison, second: Comparison) -> Ask:
    text = look.text
    kinds, relation, constant = first.kinds, first.relation, first.constant
    other_kinds, other_relation, other_constant = second.kinds, second.relation, second.constant

    def ask(subject: Subject) -> bool:
        values = subject.found.get(text)
        if values is None:
            values = subject.values(look)
        for value in values:
            if (
                type(value) in kinds
                and relation(value, constant)
                and type(value) in other_kinds
                and other_relation(value, other_constant)
            ):
                return True
        return False

    return ask


def _some_read(look: Look, convert: Callable[[Json], Json], accepts: Accepts) -> Ask:
    def ask(subject: Subject) -> bool:
        for value in subject.values(look):
            read = convert(value)
            # None is what a conversion returns for what it cannot read.
            if read is not None and accepts(read, subject):
                return True
        return False

    return ask


def _no_value(look: Look, denied: Sequence[Check]) -> Ask:
    checks = tuple(check.accepts for check in denied)
    match [check.comparison for check in denied]:
        case [Comparison() as only]:
            return _none_compared(look, only)

    def ask(subject: Subject) -> bool:
        for value in subject.values(look):
            for accepts in checks:
                if accepts(value, subject):
                    return False
        return True

    return ask


def _each_asked(checks: Sequence[Check], where: Condition | None) -> list[Accepts]:
    """List all that one value must pass: checks, and `where`."""
    accepts = [check.accepts for check in checks]
    if where is not None:
        ask_inside = where.ask
        accepts.append(lambda value, subject: ask_inside(subject.inside(value)))
    return accepts


def _passes(accepts: Sequence[Accepts]) -> Accepts:
    if len(accepts) == 1:
        return accepts[0]
    each = tuple(accepts)
    return lambda value, subject: all(one(value, subject) for one in each)


def select_of(test: Test) -> Callable[[Subject], list[Json] | None]:
    """Return what finds the values that a test is about, converted; None if it fails before it looks at any of them.

    `exists`, `count`, `ne` and `not_in` ask about the selection.
    """
    # Names for the parts, here and below: a closure that held the test, which holds it, would never be freed again
    # once the collector leaves the rules alone.
    look, exists, convert, is_about_all = test.look, test.exists, test.convert, test.every is not None
    counted = tuple(check.accepts for check in test.count)
    denied = tuple(check.accepts for check in test.absent)

    def select(subject: Subject) -> list[Json] | None:
        values = subject.values(look)
        if exists is not None and bool(values) is not exists:
            return None
        for accepts in counted:
            if not accepts(len(values), subject):
                return None
        if convert is not None:
            # None is what a conversion returns for what it cannot read.
            read = list(map(convert, values))
            if is_about_all and None in read:
                return None
            values = [value for value in read if value is not None]
        for accepts in denied:
            for value in values:
                if accepts(value, subject):
                    return None
        return values

    return select


def _in_full(test: Test) -> Ask:
    select = select_of(test)
    every = None if test.every is None else test.every.ask
    accepts = _each_asked(test.present, test.where)
    passes = _passes(accepts) if accepts else None

    def ask(subject: Subject) -> bool:
        values = select(subject)
        if values is None:
            return False
        if every is not None:
            if not values:
                return False
            for value in values:
                if not every(subject.inside(value)):
                    return False
        return passes is None or any(passes(value, subject) for value in values)

    return ask
