"""The values of an event that others of its values are compared with, made ready once for each event.

A sender decides how many there are on both sides: no answer may cost more than a look-up, whatever it sends.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import cached_property

from hookline.rules.condition import Constant, Operand
from hookline.rules.event import Json
from hookline.rules.subject import Subject
from hookline.rules.values import equal, is_number

#: So many texts are looked for inside of a text; those behind them are not.
MAX_PARTS = 100
# What is nested deeper than any source reads is told apart by comparing.
_MAX_DEPTH = 100


class Others:
    """What stands behind an operator, some of it places in the event."""

    def __init__(
        self, operands: tuple[Operand, ...], convert: Callable[[Json], Json] | None, *, is_opened: bool = False
    ) -> None:
        """`is_opened`: an array that is there stands for its elements too."""
        self._operands = operands
        self._convert = convert
        self._is_opened = is_opened

    def of(self, subject: Subject) -> Values:
        """Return what the operands stand for now."""
        found = subject.compared.get(self)
        if found is None:
            found = subject.compared[self] = Values(list(self._values(subject)))
        return found

    def _values(self, subject: Subject) -> Iterator[Json]:
        for operand in self._operands:
            if isinstance(operand, Constant):
                yield operand.value  # converted at load
                continue
            for value in subject.values(operand.look):
                for each in (value, *value) if self._is_opened and isinstance(value, list) else (value,):
                    read = each if self._convert is None else self._convert(each)
                    # None is what a conversion returns for what it cannot read: it compares with nothing.
                    if read is not None or self._convert is None:
                        yield read


class Values:
    """Values that are asked together."""

    def __init__(self, values: list[Json]) -> None:
        """Sort nothing yet: each question has its own order."""
        self._values = values

    def hold(self, value: Json) -> bool:
        """Tell whether one of them is equal to a value."""
        return any(equal(value, other) for other in self._by_key.get(_key(value), ()))

    def least(self, value: Json) -> Json:
        """Return the least of those that a value can be ordered with; None if there is none."""
        return self._ends[isinstance(value, str)][0]

    def greatest(self, value: Json) -> Json:
        """As `least`."""
        return self._ends[isinstance(value, str)][1]

    def are_part(self, operator: str, value: Json) -> bool:
        """Tell whether a value contains, starts with or ends with one of them."""
        if isinstance(value, list):
            return operator == "contains" and any(map(self.hold, value))
        if not isinstance(value, str):
            return False
        if operator == "contains":
            return any(text in value for text in self._texts[:MAX_PARTS])
        if operator == "starts_with":
            return any(value[:length] in texts for length, texts in self._by_length.items())
        return any(value[max(0, len(value) - length) :] in texts for length, texts in self._by_length.items())

    @cached_property
    def _by_key(self) -> dict[Hashable, list[Json]]:
        # Of values with one key the first will do, unless they are nested too deep for their key to tell.
        found: dict[Hashable, list[Json]] = {}
        for value in self._values:
            alike = found.setdefault(_key(value), [])
            if not alike or not equal(alike[0], value):
                alike.append(value)
        return found

    @cached_property
    def _ends(self) -> tuple[tuple[Json, Json], tuple[Json, Json]]:
        # What is not equal to itself is no number, and has no order.
        numbers = [each for each in self._values if isinstance(each, int | float) and is_number(each) and each == each]  # noqa: PLR0124
        texts = [value for value in self._values if isinstance(value, str)]
        return (
            (min(numbers), max(numbers)) if numbers else (None, None),
            (min(texts), max(texts)) if texts else (None, None),
        )

    @cached_property
    def _texts(self) -> list[str]:
        return list(dict.fromkeys(value for value in self._values if isinstance(value, str)))

    @cached_property
    def _by_length(self) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for text in self._texts:
            found.setdefault(len(text), set()).add(text)
        return found


def _key(value: Json, depth: int = 0) -> Hashable:
    """Return what equal values have in common, and hardly any others."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and is_number(value):
        # As text, since a sender could choose numbers of one hash. `1` and `1.0` are equal.
        is_whole = isinstance(value, int) or value.is_integer()
        return ("number", hex(int(value)) if is_whole else float(value).hex())
    if isinstance(value, list | dict) and depth == _MAX_DEPTH:
        return "deep"
    if isinstance(value, list):
        return ("array", *(_key(each, depth + 1) for each in value))
    if isinstance(value, dict):
        return ("object", frozenset((name, _key(each, depth + 1)) for name, each in value.items()))
    return ("other", value)
