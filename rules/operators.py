"""The operators that compare: each makes, from what a rule wrote, a question that is asked of one value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from hookline.rules.condition import Check, Constant, Operand
from hookline.rules.event import Json
from hookline.rules.subject import Subject
from hookline.rules.values import JSON_TYPES, ORDERS, IpNetwork, compile_glob, compile_pattern, equal, in_network
from hookline.rules.windows import Window, from_microseconds, microseconds

Accepts = Callable[[Json, Subject], bool]
Convert = Callable[[Json], Json]

_MICROSECOND = timedelta(microseconds=1)


def _values(operand: Operand, subject: Subject, convert: Convert | None) -> Sequence[Json]:
    """Return what an operand stands for now: constants were converted at load, values of the event are here."""
    if isinstance(operand, Constant):
        return (operand.value,)
    found = subject.values(operand.look)
    if convert is None:
        return found
    # None is what a conversion returns for what it cannot read: such a value compares with nothing.
    return [read for read in map(convert, found) if read is not None]


def _any_of(operands: tuple[Operand, ...], relation: Callable[[Json, Json], bool], convert: Convert | None) -> Accepts:
    """Return whether a value stands in `relation` to any of the operands."""
    if len(operands) == 1 and isinstance(operands[0], Constant):
        constant = operands[0].value
        return lambda value, _: relation(value, constant)
    if all(isinstance(operand, Constant) for operand in operands):
        constants = tuple(operand.value for operand in operands if isinstance(operand, Constant))
        return lambda value, _: any(relation(value, constant) for constant in constants)
    return lambda value, subject: any(
        relation(value, other) for operand in operands for other in _values(operand, subject, convert)
    )


def equality(operator: str, operands: tuple[Operand, ...], text: str, convert: Convert | None) -> Check:
    """Make `eq`, `in`, and what `ne` and `not_in` deny. A path under `in` stands for its values and their elements."""
    if operator in ("eq", "ne"):
        return Check(operator, operands, text, _any_of(operands, equal, convert))
    if all(isinstance(operand, Constant) for operand in operands):
        return Check(operator, operands, text, _among(operands))

    def accepts(value: Json, subject: Subject) -> bool:
        return any(equal(value, other) for operand in operands for other in _opened(operand, subject, convert))

    return Check(operator, operands, text, accepts)


def _among(operands: tuple[Operand, ...]) -> Accepts:
    # Text is looked up by its hash, so that a list of thousands costs no more than one of two.
    constants = [operand.value for operand in operands if isinstance(operand, Constant)]
    texts = frozenset(constant for constant in constants if isinstance(constant, str))
    others = tuple(constant for constant in constants if not isinstance(constant, str))
    return lambda value, _: (
        value in texts if isinstance(value, str) else any(equal(value, constant) for constant in others)
    )


def _opened(operand: Operand, subject: Subject, convert: Convert | None) -> Iterator[Json]:
    if isinstance(operand, Constant):
        yield operand.value
        return
    for value in subject.values(operand.look):
        for each in (value, *value) if isinstance(value, list) else (value,):
            read = each if convert is None else convert(each)
            if read is not None or convert is None:
                yield read


def order(operator: str, operands: tuple[Operand, ...], text: str, convert: Convert | None) -> Check:
    """Make `gt gte lt lte`."""
    return Check(operator, operands, text, _any_of(operands, ORDERS[operator], convert))


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
    return Check(operator, operands, text, _any_of(operands, _TEXT_RELATIONS[operator], convert))


def pattern(operator: str, patterns: Sequence[str], text: str) -> Check:
    """Make `matches` and `glob`. Raises `PatternError`."""
    compile_one = compile_pattern if operator == "matches" else compile_glob
    searches = tuple(compile_one(each) for each in patterns)
    return Check(
        operator, (), text, lambda value, _: isinstance(value, str) and any(search(value) for search in searches)
    )


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
    compare = _any_of((operand,), earlier, read)
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
