"""The operators that compare: each makes, from what a rule wrote, a question that is asked of one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from hookline.rules.asking import Accepts, Comparison
from hookline.rules.condition import Check, Constant, Operand
from hookline.rules.event import Json
from hookline.rules.others import Others
from hookline.rules.subject import Subject
from hookline.rules.values import (
    COMPARISONS,
    JSON_TYPES,
    NUMBERS,
    ORDERS,
    IpNetwork,
    compile_glob,
    compile_pattern,
    equal,
    glob_pattern,
    in_network,
    is_number,
)
from hookline.rules.windows import Window, from_microseconds, microseconds

Convert = Callable[[Json], Json]

_TEXT = frozenset({str})
_MICROSECOND = timedelta(microseconds=1)


def _constants(operands: tuple[Operand, ...]) -> list[Json] | None:
    """Return what operands stand for; None if one of them is a place in the event."""
    constants = [operand.value for operand in operands if isinstance(operand, Constant)]
    return constants if len(constants) == len(operands) else None


def equality(operator: str, operands: tuple[Operand, ...], text: str, convert: Convert | None) -> Check:
    """Make `eq`, `in`, and what `ne` and `not_in` deny. A path under `in` stands for its values and their elements."""
    match operator, operands:
        case (("eq" | "ne"), (Constant(value=constant),)):
            comparison = _comparison("eq", constant)
            if comparison is not None:
                return _compared(operator, operands, text, comparison)
            return Check(operator, operands, text, _equal_to(constant))
    constants = _constants(operands)
    if constants is not None:
        return Check(operator, operands, text, _among(constants))
    others = Others(operands, convert, is_opened=operator in ("in", "not_in"))
    return Check(operator, operands, text, lambda value, subject: others.of(subject).hold(value))


def _equal_to(constant: Json) -> Accepts:
    """Return `equal` with one side known."""
    if constant is None or isinstance(constant, bool):
        return lambda value, _: value is constant
    return lambda value, _: equal(value, constant)


def _comparison(operator: str, constant: Json) -> Comparison | None:
    """Return equality or order as a plain comparison; None for constants that it is more than that for."""
    relation = COMPARISONS[operator]
    if isinstance(constant, str):
        return Comparison(_TEXT, relation, constant)
    # `true` is none of them, though Python holds `True == 1`.
    if isinstance(constant, int | float) and is_number(constant):
        return Comparison(NUMBERS, relation, constant)
    return None


def _compared(operator: str, operands: tuple[Operand, ...], text: str, comparison: Comparison) -> Check:
    kinds, relation, constant = comparison.kinds, comparison.relation, comparison.constant
    return Check(
        operator,
        operands,
        text,
        lambda value, _: type(value) in kinds and relation(value, constant),
        comparison=comparison,
    )


def _among(constants: Sequence[Json]) -> Accepts:
    # Looked up by their hash, so that a list of thousands costs no more than one of two.
    texts = frozenset(constant for constant in constants if isinstance(constant, str))
    numbers = frozenset(constant for constant in constants if is_number(constant))
    others = tuple(constant for constant in constants if not isinstance(constant, str) and not is_number(constant))

    def accepts(value: Json, _: Subject) -> bool:
        if isinstance(value, str):
            return value in texts
        if type(value) is int or type(value) is float:
            return value in numbers
        return any(equal(value, constant) for constant in others)

    return accepts


def order(operator: str, operands: tuple[Operand, ...], text: str, convert: Convert | None) -> Check:
    """Make `gt gte lt lte`."""
    match operands:
        case (Constant(value=constant),):
            comparison = _comparison(operator, constant)
            if comparison is not None:
                return _compared(operator, operands, text, comparison)
    return Check(operator, operands, text, _ordered(operator, operands, convert))


def _ordered(operator: str, operands: tuple[Operand, ...], convert: Convert | None) -> Accepts:
    """Return whether a value stands so to one of the operands; that is, to their least or greatest."""
    relation = ORDERS[operator]
    others = Others(operands, convert)
    if operator in ("gt", "gte"):
        return lambda value, subject: relation(value, others.of(subject).least(value))
    return lambda value, subject: relation(value, others.of(subject).greatest(value))


def _contains(value: Json, part: Json) -> bool:
    if isinstance(value, str):
        return isinstance(part, str) and part in value
    return isinstance(value, list) and any(equal(element, part) for element in value)


_TEXT_RELATIONS: dict[str, Callable[[Json, Json], bool]] = {
    "contains": _contains,
    "starts_with": lambda value, part: isinstance(value, str) and isinstance(part, str) and value.startswith(part),
    "ends_with": lambda value, part: isinstance(value, str) and isinstance(part, str) and value.endswith(part),
}


def part(operator: str, operands: tuple[Operand, ...], text: str, convert: Convert | None) -> Check:
    """Make `contains` (a text in a text, or an element in an array), `starts_with` and `ends_with`."""
    constants = _constants(operands)
    if constants is None:
        others = Others(operands, convert)
        return Check(operator, operands, text, lambda value, subject: others.of(subject).are_part(operator, value))
    relation = _TEXT_RELATIONS[operator]
    if len(constants) == 1:
        constant = constants[0]
        return Check(operator, operands, text, lambda value, _: relation(value, constant))
    return Check(operator, operands, text, lambda value, _: any(relation(value, each) for each in constants))


def pattern(operator: str, patterns: Sequence[str], text: str) -> Check:
    """Make `matches` and `glob`. Raises `PatternError`."""
    is_glob = operator == "glob"
    searches = tuple(map(compile_glob if is_glob else compile_pattern, patterns))
    written = tuple(map(glob_pattern, patterns)) if is_glob else tuple(patterns)
    if len(searches) == 1:
        return Check(operator, (), text, _matching(written[0], searches[0]), written)
    return Check(
        operator,
        (),
        text,
        lambda value, _: isinstance(value, str) and any(search(value) for search in searches),
        written,
    )


def _matching(pattern: str, search: Callable[[str], bool]) -> Accepts:
    # To search again for what was found already costs more than all else that a rule asks.
    return lambda value, subject: isinstance(value, str) and ((pattern, value) in subject.matched or search(value))


def json_type(names: Sequence[str], text: str) -> Check:
    """Make `is`; the names are known ones."""
    tests = tuple(JSON_TYPES[name] for name in names)
    return Check("is", (), text, lambda value, _: any(test(value) for test in tests))


def network(networks: tuple[IpNetwork, ...], text: str) -> Check:
    """Make `cidr`."""
    return Check("cidr", (), text, lambda value, _: isinstance(value, str) and in_network(value, networks))


def moment(operator: str, operand: Operand | timedelta, text: str, read: Convert) -> Check:
    """Make `before` and `after`; a `timedelta` counts from the receipt of the event. `read` makes times of values."""
    earlier = ORDERS["lt"] if operator == "before" else ORDERS["gt"]
    if isinstance(operand, timedelta):
        offset = operand // _MICROSECOND

        def accepts(value: Json, subject: Subject) -> bool:
            return earlier(read(value), microseconds(subject.event.received_at) + offset)

        return Check(operator, (), text, accepts)
    compare = _ordered("lt" if operator == "before" else "gt", (operand,), read)
    return Check(operator, (operand,), text, lambda value, subject: compare(read(value), subject))


def during(windows: tuple[Window, ...], text: str, read: Convert) -> Check:
    """Make `during`: within any of the windows. `read` makes times of values."""

    def accepts(value: Json, _: Subject) -> bool:
        time = read(value)
        if not isinstance(time, int):
            return False
        instant = from_microseconds(time)
        return any(window.contains(instant) for window in windows)

    return Check("during", (), text, accepts)
