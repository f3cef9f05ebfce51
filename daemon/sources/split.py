"""Split a batch: where its events stand in the body."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Final

from hookline.rules import Json

#: A key, or None for each element of an array; empty: the whole body.
SplitPath = tuple[str | None, ...]
Pointer = tuple[str | int, ...]
#: Where a part of a body stands, the part, and why it is no event; None if it is one. Plain, since batches are long.
Element = tuple[Pointer, Json, str | None]

_STEP: Final = re.compile(r"\.([^\s.\[\]{}()?*'\"@|,:$]+)|\[\*\]|\['([^'\\]+)'\]")


class NotSplittableError(ValueError):
    """A body without the array that a batch promises. Caught by normalize, which keeps it as `unreadable`."""


@dataclass(slots=True)
class _Node:
    """What may follow a step. Paths that begin alike share their nodes, so that each array is walked once."""

    names: dict[str, _Node] = field(default_factory=dict)
    each: _Node | None = None
    #: Whether a path ends here: what stands here is an event, unless a longer path finds its array in it.
    is_end: bool = False

    @property
    def is_leaf(self) -> bool:
        return self.is_end and self.each is None and not self.names


class Split:
    """Where the events of a body stand: one path, or several of which all that fit are walked."""

    def __init__(self, paths: tuple[SplitPath, ...]) -> None:
        """Take them in the order in which they are tried. Raises `ValueError` if one can never be reached."""
        #: As given.
        self.paths = paths
        self._root = _Node()
        #: Whether the indexes of an element tell it from all others.
        self.is_single = len([path for path in paths if path]) == 1
        for number, path in enumerate(paths):
            if path in paths[:number]:
                raise ValueError(f"{_written(path)} stands twice")
            longer = next((later for later in paths[number:] if len(later) > len(path) == _shared(path, later)), None)
            if longer is not None:
                raise ValueError(f"{_written(path)} stands before {_written(longer)}: put the last resort last")
            self._add(path)

    def _add(self, path: SplitPath) -> None:
        node = self._root
        for step in path:
            if step is None:
                node.each = node = node.each or _Node()
            else:
                node = node.names.setdefault(step, _Node())
        node.is_end = True

    def elements(self, document: Json, *, most: int) -> list[Element]:
        """Return each element with where it stands, in order, but not many more than `most`.

        A null in place of an array holds none. An element of an array in which no path finds its own is there with
        why that is. Raises `NotSplittableError` if none finds its array in the body.
        """
        found: list[Element] = []
        if not _walk(document, self._root, (), found, most):
            raise NotSplittableError(_complaint(document, self._root, ()))
        return found

    def place(self, pointer: Pointer) -> str | None:
        """Return text, up to 300 printable characters, for an element that its indexes alone do not tell apart."""
        if self.is_single:
            return None
        names = json.dumps([step for step in pointer if isinstance(step, str)])
        indexes = "".join(f"[{step}]" for step in pointer if isinstance(step, int))
        return f"[{hashlib.sha256(names.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}]{indexes}"


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


def parse_splits(texts: tuple[str, ...]) -> Split:
    """Read one path, or several that may end in `$`, the whole body. Raises `ValueError` with a message for people."""
    if texts == ("$",):
        raise ValueError("'$' alone splits nothing; leave `split` out, or write paths before it, as in [$[*], $]")
    return Split(tuple(() if text == "$" and len(texts) > 1 else parse_split(text) for text in texts))


def _walk(value: Json, node: _Node, pointer: Pointer, found: list[Element], most: int) -> bool:
    """Add what a value holds; tell whether a path found its array in it, or ended at it."""
    fits = False
    if node.each is not None and (value is None or isinstance(value, list)):
        fits = True
        if value:
            _walk_array(value, node.each, pointer, found, most)
    if node.names and isinstance(value, dict):
        for name, below in node.names.items():
            if name in value and _walk(value[name], below, (*pointer, name), found, most):
                fits = True
    if not fits and node.is_end:
        found.append((pointer, value, None))
        return True
    return fits


def _walk_array(values: list[Json], node: _Node, pointer: Pointer, found: list[Element], most: int) -> None:
    if node.is_leaf:
        found.extend([((*pointer, index), value, None) for index, value in enumerate(values[: most + 1])])
        return
    for index, value in enumerate(values):
        if len(found) > most:
            return
        place = (*pointer, index)
        if not _walk(value, node, place, found, most):
            found.append((place, value, _complaint(value, node, place)))


def _complaint(value: Json, node: _Node, pointer: Pointer) -> str:
    """Say what is missing in a value that no path fits."""
    for name, below in node.names.items():
        if isinstance(value, dict) and name in value:
            return _complaint(value[name], below, (*pointer, name))
    place = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in pointer)
    wanted = [*(["array"] if node.each else []), *(repr(name) for name in node.names)]
    return f"no {' or '.join(wanted)} in {place}"


def _shared(one: SplitPath, other: SplitPath) -> int:
    """Return how many steps two paths begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _written(path: SplitPath) -> str:
    return "$" + "".join("[*]" if step is None else f".{step}" for step in path)
