"""How far a path got into a document that it selects nothing from: the answer to "why did my rule not match?"."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from hookline.rules.event import Json
from hookline.rules.path_cursor import shown
from hookline.rules.path_grammar import Index, Name, Segment, Slice, Wildcard

_MAX_NAMES = 12


def progress(
    text: str,
    segments: tuple[Segment, ...],
    select_until: Callable[[int, Json], list[Json]],
    document: Json,
) -> str:
    """Describe the first step that selects nothing; "" if every step selects something."""
    reached: list[Json] = [document]
    for number, segment in enumerate(segments):
        selected = select_until(number + 1, document)
        if not selected:
            before = text[: segments[number - 1].end] if number else "$"
            if len(reached) > 1:
                return _of_many(before, segment, reached)
            return _of_one(before, text[segment.end :], segment, reached[0])
        reached = selected
    return ""


def _of_many(before: str, segment: Segment, reached: list[Json]) -> str:
    message = f"none of the {len(reached)} values of {shown(before)} has {_wanted(segment)}"
    mapping = next((value for value in reached if isinstance(value, dict)), None)
    return f"{message} {_names(mapping)}" if mapping is not None else message


def _of_one(before: str, after: str, segment: Segment, value: Json) -> str:  # noqa: PLR0911 - a sentence for each case
    place, wanted = shown(before), _wanted(segment)
    if segment.is_descendant:
        return f"nothing in {place} has {wanted}"
    match value, segment.selectors:
        case dict(), (Name(name=name),):
            near = get_close_matches(name, value, n=1, cutoff=0.6)
            did_you_mean = f', did you mean "{shown(near[0])}"?' if near else ""
            return f"{place} has no {wanted}{did_you_mean} {_names(value)}"
        case dict(), (Index() | Slice(), *_):
            return f"{place} is an object, it has no elements {_names(value)}"
        case list(), (Name(name=name),):
            if not value:
                return f"{place} is an empty array"
            return f"{place} is an array: did you mean {place}[*].{shown(name)}{shown(after)}?"
        case list(), (Index(), *_):
            return f"{place} has {len(value)} element{'' if len(value) == 1 else 's'}, it has no {wanted}"
        case ((list() | dict()), (Wildcard(), *_)):
            return f"{place} is empty"
        case ((list() | dict()), _):
            return f"none of the {len(value)} values in {place} is selected by {wanted}"
        case str(), _ if value[:1] in ("{", "["):
            return f"{place} is text that holds JSON, not an object; it has no {wanted}"
        case _:
            return f"{place} is {kind(value)}, it has no {wanted}"


def kind(value: Json) -> str:
    """Name the JSON type of a value as people do."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "an array"
        case dict():
            return "an object"


def _wanted(segment: Segment) -> str:
    match segment.selectors:
        case (Name(name=name),):
            return f'"{shown(name)}"'
        case (Index(index=index),):
            return f"[{index}]"
        case (Wildcard(),):
            return "members or elements"
        case (Slice(),):
            return "elements in that slice"
        case _:
            return "the filter"


def _names(value: dict[str, Json]) -> str:
    if not value:
        return "(it is empty)"
    names = ", ".join(shown(name) for name in sorted(value)[:_MAX_NAMES])
    return f"(it has: {names}, …)" if len(value) > _MAX_NAMES else f"(it has: {names})"
