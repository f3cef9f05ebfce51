"""Where a JSONPath points to in a document: places, not values, so that what stands there can be replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from hookline.daemon.redaction.looks import spans_in
from hookline.rules import Json
from hookline.rules.path import Path, PathError
from hookline.rules.path_grammar import Filter, Index, Name, Segment, Selector, Slice

#: Keys and indexes from the top of the document.
Location: TypeAlias = tuple[str | int, ...]


def places_of(path: Path, document: Json) -> list[Location]:
    """Return where a path points to. Raises `PathError` for a path with a filter."""
    found: list[Location] = [()]
    for segment in path.segments:
        if any(isinstance(selector, Filter) for selector in segment.selectors):
            raise PathError(f"{path.text}: a filter cannot be used here", "name the field, or write [*]")
        found = list(
            dict.fromkeys(place for start in found for place in _step(segment, start, value_at(document, start)))
        )
    return found


def leaves_under(document: Json, place: Location = ()) -> Iterator[tuple[Location, Json]]:
    """Yield everything below a place that holds nothing further, in order of the document."""
    waiting: list[tuple[Location, Json]] = [(place, value_at(document, place))]
    while waiting:
        here, value = waiting.pop()
        children = _children(value)
        if children:
            waiting += [((*here, key), child) for key, child in reversed(children)]
        elif not isinstance(value, dict | list):
            yield here, value


def value_at(document: Json, place: Location) -> Json:
    """Return what stands at a place of the document."""
    value: Any = document
    for key in place:
        value = value[key]
    found: Json = value
    return found


def written(place: Location) -> str:
    """Write a place as a JSONPath; of a key that is personal itself, only that there is one."""
    text = "$"
    for key in place:
        if isinstance(key, int):
            text += f"[{key}]"
        elif key.isidentifier():
            text += f".{key}"
        elif spans_in(key):
            text += ".*"
        else:
            quoted = key.replace("\\", "\\\\").replace("'", "\\'")
            text += f"['{quoted}']"
    return text


def _children(value: Json) -> list[tuple[str | int, Json]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _step(segment: Segment, start: Location, value: Json) -> Iterator[Location]:
    waiting: list[tuple[Location, Json]] = [(start, value)]
    while waiting:
        here, node = waiting.pop()
        for selector in segment.selectors:
            for key in _selected(selector, node):
                yield (*here, key)
        if segment.is_descendant:
            waiting += [((*here, key), child) for key, child in reversed(_children(node))]


def _selected(selector: Selector, node: Json) -> list[str | int]:
    keys = [key for key, _ in _children(node)]
    match selector:
        case Name(name=name):
            return [name] if isinstance(node, dict) and name in node else []
        case Index(index=index):
            return [index % len(node)] if isinstance(node, list) and -len(node) <= index < len(node) else []
        case Slice(start=start, stop=stop, step=step):
            return keys[start:stop:step] if isinstance(node, list) and step != 0 else []
        case _:
            return keys
