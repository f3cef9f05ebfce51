"""Split a batch: where its events stand in the body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from hookline.rules import Json

#: A key, or None for each element of an array.
SplitPath = tuple[str | None, ...]
Pointer = tuple[str | int, ...]

_STEP: Final = re.compile(r"\.([^\s.\[\]{}()?*'\"@|,:$]+)|\[\*\]|\['([^'\\]+)'\]")


class NotSplittableError(ValueError):
    """A body without the array that a batch promises. Caught by normalize, which keeps it as `unreadable`."""


def parse_split(text: str) -> SplitPath:
    """Read `$.events[*]`, `$[*]`, `$.a[*].b[*]`. Raises `ValueError`, with a message for people, for other paths."""
    steps: list[str | None] = []
    position = 1
    while text.startswith("$") and position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            break
        steps.append(found[1] or found[2])
        position = found.end()
    if position != len(text) or not steps or steps[-1] is not None:
        raise ValueError(f"{text[:80]!r} is not names that end in [*], as in $.events[*], $[*] or $.a[*].b[*]")
    return tuple(steps)


def elements(document: Json, path: SplitPath) -> Iterator[tuple[Pointer, Json]]:
    """Give each element with where it stands, in order. A null in place of an array holds none.

    Raises `NotSplittableError` where something else stands, or nothing.
    """
    return _walk(document, path, ())


def _walk(value: Json, path: SplitPath, pointer: Pointer) -> Iterator[tuple[Pointer, Json]]:
    for depth, step in enumerate(path):
        if step is not None:
            if not isinstance(value, dict) or step not in value:
                raise NotSplittableError(f"no {step!r} in {_place(pointer)}")
            value, pointer = value[step], (*pointer, step)
            continue
        if value is None:
            return
        if not isinstance(value, list):
            raise NotSplittableError(f"no array in {_place(pointer)}")
        rest = path[depth + 1 :]
        for index, element in enumerate(value):
            yield from _walk(element, rest, (*pointer, index))
        return
    yield pointer, value


def _place(pointer: Pointer) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in pointer)
