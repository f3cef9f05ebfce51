"""What an event must show for a condition to hold: the equalities and patterns that an index can look up.

Clues only ever leave out rules that cannot match. Whether one that is left matches, the evaluator says.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeAlias, assert_never

from hookline.rules.condition import All, Any, Check, Condition, Constant, Named, Not, Test
from hookline.rules.event import Json
from hookline.rules.rule import Rule
from hookline.rules.subject import Subject, look_at
from hookline.rules.values import CONVERSIONS, Conversion

#: A condition that names more values than this is asked, not looked up.
MAX_CLUES = 256
#: Of how many of its tests the best to look up is chosen.
MAX_CHOICES = 16


class Reading(NamedTuple):
    """Where a clue is looked for, and how it is read."""

    #: Text of the `Look`.
    text: str
    conversion: Conversion | None
    #: Whether clues there are patterns; else they are values.
    is_pattern: bool

    def values_of(self) -> Callable[[Subject], list[Json]]:
        """Return what looks there."""
        look = look_at(self.text)
        if self.conversion is None:
            return lambda subject: subject.values(look)
        convert = CONVERSIONS[self.conversion]
        # None is what a conversion returns for what it cannot read.
        return lambda subject: [read for read in map(convert, subject.values(look)) if read is not None]


class Clue(NamedTuple):
    """One thing that an event may show."""

    reading: Reading
    #: A `key_of` a value, or the text of a pattern.
    key: Hashable


#: Of these an event must show one, or the condition does not hold. Of none: it never holds.
Clues: TypeAlias = tuple[Clue, ...]


def key_of(value: Json) -> Hashable:
    """Return what equal values have in common. Others may have it too: `true` and 1, and all arrays."""
    return type(value) if isinstance(value, list | dict) else value


class ClueFinder:
    """Finds the clues of rules that share named conditions."""

    def __init__(self) -> None:
        """Know no named condition."""
        # Many rules name one condition, which may be large. The condition is kept, so that its id stays its own.
        self._named: dict[int, tuple[Condition, list[Clues]]] = {}

    def of_rule(self, rule: Rule) -> list[Clues]:
        """Return each way to look the rule up; none if it can only be asked."""
        found = [clues for condition in rule.conditions for clues in self._of(condition)]
        if rule.sources.names is not None:
            found.append(_of_values(Reading("source", None, is_pattern=False), rule.sources.names))
        return [clues for clues in found if len(clues) <= MAX_CLUES][:MAX_CHOICES]

    def _of(self, condition: Condition) -> list[Clues]:
        match condition:
            case Test():
                return [clues for check in condition.present for clues in _of_check(condition, check)]
            case All(tests=tests):
                return [clues for test in tests for clues in self._of(test)][:MAX_CHOICES]
            case Any(tests=tests):
                return self._of_any(tests)
            case Not():
                return []
            case Named(condition=named):
                known = self._named.get(id(named))
                if known is None:
                    known = self._named[id(named)] = (named, self._of(named))
                return known[1]
            case _ as never:
                assert_never(never)

    def _of_any(self, tests: Iterable[Condition]) -> list[Clues]:
        together: list[Clue] = []
        for test in tests:
            found = self._of(test)
            if not found:
                return []
            shortest = min(found, key=len)
            together += shortest
            if len(together) > MAX_CLUES:
                return []
        return [tuple(dict.fromkeys(together))]


def _of_check(test: Test, check: Check) -> list[Clues]:
    if check.operator in ("eq", "in"):
        constants = [operand.value for operand in check.operands if isinstance(operand, Constant)]
        if len(constants) == len(check.operands):
            return [_of_values(Reading(test.look.text, test.conversion, is_pattern=False), map(key_of, constants))]
    if check.patterns:
        reading = Reading(test.look.text, test.conversion, is_pattern=True)
        return [_of_values(reading, check.patterns)]
    return []


def _of_values(reading: Reading, keys: Iterable[Hashable]) -> Clues:
    return tuple(Clue(reading, key) for key in dict.fromkeys(keys))
