"""Places in a request, such as `$.id` or `header.X-Id`, and how to look there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from hookline.daemon.sources.split import Pointer
from hookline.rules import Json
from hookline.rules.path import compile_path

_DIRECT: Final = re.compile(r"\.([^\s.\[\]{}()?*'\"@|,:$]+)|\[([0-9]{1,9})\]|\['([^'\\]+)'\]|\[(\*)\]")
_NAMED: Final = re.compile(r"(header|query)\.([^\s{}|]+)")


class Facts(NamedTuple):
    """What the fields of one event are read from: a tuple, since one is made for each event and soon gone."""

    #: The event as the sender documents it; of a split batch, the element.
    payload: Json
    #: The whole body.
    envelope: Json
    #: Where the element stands in the body; None if it is the whole body.
    pointer: Pointer | None
    #: By lower-case name; None for a header that is repeated, since nobody can say which one counts.
    headers: Mapping[str, str | None]
    #: As `headers`.
    query: Mapping[str, str | None]
    #: What tells the element from the others of its batch, if its indexes alone do not: see `Split.place`.
    place: str | None = None


#: Returns what stands at a place, None if nothing does.
Look = Callable[[Facts], Json]


def is_place(expression: str) -> bool:
    """Tell whether it looks like one, so that a mistake in it is a mistake and not plain text."""
    return expression.startswith(("$", "envelope.$")) or _NAMED.fullmatch(expression) is not None


def compile_look(expression: str, headers: set[str], query: set[str]) -> Look:
    """Compile `$.id`, `envelope.$.id`, `header.X-Id` or `query.id`; the names that it reads are added to the sets.

    Raises `ValueError` with a message for people.
    """
    if expression.startswith("envelope.$"):
        return _in_envelope(expression.removeprefix("envelope."))
    if expression.startswith("$"):
        steps = parse_direct(expression)
        if steps is not None and None not in steps:
            return _direct(tuple(step for step in steps if step is not None))
        path = compile_path(expression)

        def select(facts: Facts) -> Json:
            return next(iter(path.select(facts.payload)), None)

        return select
    named = _NAMED.fullmatch(expression)
    if named is None:
        raise ValueError(
            f"{expression[:80]!r} is no place in a request; write $.name, header.NAME, query.NAME or envelope.$.name"
        )
    if named[1] == "header":
        header = named[2].lower()
        headers.add(header)
        return lambda facts: facts.headers.get(header)
    parameter = named[2]
    query.add(parameter)
    return lambda facts: facts.query.get(parameter)


def parse_direct(path: str) -> tuple[str | int | None, ...] | None:
    """Read a path of names, indexes and `[*]` (None); None if it holds more than these."""
    steps: list[str | int | None] = []
    position = 1
    while position < len(path):
        found = _DIRECT.match(path, position)
        if found is None:
            return None
        name, index, quoted, _ = found.groups()
        steps.append(int(index) if index is not None else name or quoted)
        position = found.end()
    return tuple(steps)


def follow(value: Json, steps: tuple[str | int, ...]) -> Json:
    """Return what stands there; None if nothing does."""
    for step in steps:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _direct(steps: tuple[str | int, ...]) -> Look:
    names = tuple(step for step in steps if isinstance(step, str))
    if len(names) < len(steps):
        return lambda facts: follow(facts.payload, steps)

    def look(facts: Facts) -> Json:
        value = facts.payload
        for name in names:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return look


def _in_envelope(path: str) -> Look:
    steps = parse_direct(path)
    if steps is None:
        raise ValueError(f"envelope.{path[:80]} holds more than names, indexes and [*]")

    def look(facts: Facts) -> Json:
        pointer = facts.pointer or ()
        bound: list[str | int] = []
        for position, step in enumerate(steps):
            own = step if step is not None or position >= len(pointer) else pointer[position]
            # [*] is the element's own place, and so means nothing in an array that the element does not stand in.
            if own is None or (step is None and (isinstance(own, str) or pointer[:position] != tuple(bound))):
                return None
            bound.append(own)
        return follow(facts.envelope, tuple(bound))

    return look
