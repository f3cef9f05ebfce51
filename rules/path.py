"""A path into a JSON document: compiled once, asked often, never raising.

Names, indexes, wildcards, slices and `..` are looked up directly; jsonpath-ng evaluates the filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from jsonpath_ng import DatumInContext
from jsonpath_ng.ext.parser import parse as parse_jsonpath

from hookline.rules.event import Json
from hookline.rules.path_cursor import PathError
from hookline.rules.path_grammar import Filter, Index, Name, Segment, Selector, Slice, Wildcard, read_path
from hookline.rules.path_progress import progress

__all__ = ["Path", "PathError", "compile_path"]

#: Selects from one value; the second argument is the whole document, for filters that name `$`.
_Step = Callable[[Json, Json], Iterable[Json]]


@lru_cache(maxsize=16384)
def compile_path(text: str) -> Path:
    """Compile a path that begins with `$`. Raises `PathError` for what we do not read, and says what to write."""
    return Path(text, read_path(text))


class Path:
    """A compiled path. Two paths are equal if they are written alike."""

    __slots__ = ("_steps", "segments", "select", "text")

    def __init__(self, text: str, segments: tuple[Segment, ...]) -> None:
        """Build the look-ups; `compile_path` is the way to make one."""
        #: As written.
        self.text = text
        self.segments = segments
        self._steps = tuple(_step(segment) for segment in segments)
        #: Return the selected values in document order; a `null` is a value. Never raises.
        self.select: Callable[[Json], list[Json]] = _by_names(segments) or self._select

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Path({self.text!r})"

    def select_until(self, count: int, document: Json) -> list[Json]:
        """Return what the first `count` segments select."""
        values: list[Json] = [document]
        for step in self._steps[:count]:
            values = [found for value in values for found in step(value, document)]
            if not values:
                break
        return values

    def _select(self, document: Json) -> list[Json]:
        return self.select_until(len(self._steps), document)

    def how_far(self, document: Json) -> str:
        """Say why the path selects nothing: how far it got, and what is there instead. "" if it selects something."""
        return progress(self.text, self.segments, self.select_until, document)


def _by_names(segments: tuple[Segment, ...]) -> Callable[[Json], list[Json]] | None:
    """Return the look-up of the most frequent kind of path, names only; None for others."""
    names: list[str] = []
    for segment in segments:
        match segment:
            case Segment(selectors=(Name(name=name),), is_descendant=False):
                names.append(name)
            case _:
                return None
    steps = tuple(names)

    def select(document: Json) -> list[Json]:
        value: Any = document
        for name in steps:
            if not isinstance(value, dict) or name not in value:
                return []
            value = value[name]
        return [value]

    return select


def _step(segment: Segment) -> _Step:
    selects = tuple(_selection(selector) for selector in segment.selectors)
    step = selects[0] if len(selects) == 1 else _in_turn(selects)
    return _at_every_depth(step) if segment.is_descendant else step


def _in_turn(selects: tuple[_Step, ...]) -> _Step:
    def select(value: Json, document: Json) -> Iterator[Json]:
        for one in selects:
            yield from one(value, document)

    return select


def _at_every_depth(step: _Step) -> _Step:
    def select(value: Json, document: Json) -> Iterator[Json]:
        # A stack of our own: documents may be nested deeper than Python's.
        waiting = [value]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict | list):
                yield from step(node, document)
                children = node.values() if isinstance(node, dict) else node
                waiting.extend(child for child in reversed(children) if isinstance(child, dict | list))

    return select


def _selection(selector: Selector) -> _Step:
    match selector:
        case Name(name=name):
            return lambda value, _: (value[name],) if isinstance(value, dict) and name in value else ()
        case Index(index=index):
            return lambda value, _: (
                (value[index],) if isinstance(value, list) and -len(value) <= index < len(value) else ()
            )
        case Wildcard():
            return lambda value, _: (
                value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
            )
        case Slice(step=0):
            return lambda _, __: ()
        case Slice(start=start, stop=stop, step=step):
            return lambda value, _: value[start:stop:step] if isinstance(value, list) else ()
        case Filter(expression=expression):
            return _filtered(expression)


def _filtered(expression: str) -> _Step:
    compiled = parse_jsonpath(f"@[?{expression}]")

    def select(value: Json, document: Json) -> list[Json]:
        if not isinstance(value, dict | list):
            return []
        # The context is how jsonpath-ng finds what `$` means.
        whole = DatumInContext(document)
        datum = whole if value is document else DatumInContext(value, context=whole)
        return [found.value for found in compiled.find(datum)]

    return select
