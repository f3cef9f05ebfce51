"""The grammar of paths: which part of JSONPath (RFC 9535) we accept, read into data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from hookline.rules.path_cursor import INTEGER, LOOSE_NAME, NAME, Cursor, shown
from hookline.rules.path_filter import read_filter

MAX_PATH_CHARACTERS = 512
MAX_PATH_SEGMENTS = 32
#: In how many ways a path may reach one value, through selectors that stand side by side in brackets.
MAX_PATH_WAYS = 256


@dataclass(frozen=True, slots=True)
class Name:
    """The member with this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """The element at this place; negative counts from the end."""

    index: int


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Every member or element."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The elements of a Python slice, which RFC 9535's is; a step of 0 selects nothing."""

    start: int | None
    stop: int | None
    step: int | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Every member or element of which an expression holds."""

    #: The expression as jsonpath-ng is to read it.
    expression: str


Selector: TypeAlias = "Name | Index | Wildcard | Slice | Filter"


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a path: what it selects from each value."""

    selectors: tuple[Selector, ...]
    #: Whether it looks at every depth (`..`).
    is_descendant: bool
    #: How many characters of the path lead up to its end.
    end: int


def read_path(text: str) -> tuple[Segment, ...]:
    """Read a path that begins with `$`. Raises `PathError`."""
    cursor = Cursor(text)
    if len(text) > MAX_PATH_CHARACTERS:
        cursor.fail(f"it has {len(text)} characters, at most {MAX_PATH_CHARACTERS} are read", "look closer with where:")
    if not cursor.take("$"):
        cursor.fail("it must begin with $", f"write $.{shown(text.strip())}" if NAME.match(text.strip()) else None)
    segments: list[Segment] = []
    while not cursor.is_done:
        segments.append(_segment(cursor))
    if len(segments) > MAX_PATH_SEGMENTS:
        cursor.fail(f"it has {len(segments)} steps, at most {MAX_PATH_SEGMENTS} are read")
    if sum(segment.is_descendant for segment in segments) > 1:
        # Each `..` multiplies the work by the number of nodes: two are enough to stall on a hostile body.
        cursor.refuse("only one .. is read in a path", "name the steps between, or look closer with where:")
    if math.prod(len(segment.selectors) for segment in segments) > MAX_PATH_WAYS:
        # `[*,*]` twice selects each value four times, and ten times a thousand times.
        cursor.refuse("its brackets multiply", f"at most {MAX_PATH_WAYS} ways lead through a path: take some away")
    return tuple(segments)


def _segment(cursor: Cursor) -> Segment:
    cursor.blanks()
    if cursor.is_done:
        cursor.fail("it ends with a blank", "take the blank away")
    is_descendant = cursor.take("..")
    if is_descendant or cursor.take("."):
        if cursor.take("*"):
            return Segment((Wildcard(),), is_descendant, cursor.at)
        if not (is_descendant and cursor.peek() == "["):
            if cursor.peek() == "[":
                cursor.fail("there is a dot before [", "take the dot away")
            if cursor.peek() == "`":
                cursor.refuse("extensions in backticks are not read", "use the operators, such as count:")
            name = cursor.name()
            if cursor.peek() == "(":
                cursor.refuse("functions are not read", "use the operators, such as count: or matches:")
            return Segment((Name(name),), is_descendant, cursor.at)
    if cursor.peek() != "[":
        found = cursor.peek()
        known = {"~": "the names of members cannot be selected", "|": "unions are written [a,b]"}
        cursor.fail(known.get(found, f'"." or "[" is expected at character {cursor.at + 1}'))
    return Segment(_bracket(cursor), is_descendant, cursor.at)


def _bracket(cursor: Cursor) -> tuple[Selector, ...]:
    cursor.expect("[")
    selectors: list[Selector] = []
    while True:
        cursor.blanks()
        selectors.append(_selector(cursor))
        cursor.blanks()
        if not cursor.take(","):
            cursor.expect("]")
            return tuple(selectors)


def _selector(cursor: Cursor) -> Selector:
    # Filters are read by a module of their own, which needs the cursor of this one.
    following = cursor.peek()
    if following in ("'", '"') and following:
        return Name(cursor.quoted())
    if cursor.take("*"):
        return Wildcard()
    if cursor.take("?"):
        return Filter(read_filter(cursor))
    if following == "(":
        cursor.refuse("scripts are not read", "write [-1] for the last element, [?@.a == 1] for a filter")
    if following in ("/", "\\") and following:
        cursor.refuse("sorting is not read", "conditions do not depend on the order")
    if following == ":" or INTEGER.match(cursor.text, cursor.at) or following in ("+", "-"):
        return _index_or_slice(cursor)
    name = LOOSE_NAME.match(cursor.text, cursor.at)
    if name and NAME.fullmatch(name.group()):
        cursor.fail(f"the name {shown(name.group())} must stand in quotes", f"write ['{shown(name.group())}']")
    return cursor.fail(f"a name in quotes, an index, * or ? is expected at character {cursor.at + 1}")


def _index_or_slice(cursor: Cursor) -> Selector:
    parts: list[int | None] = []
    while True:
        cursor.blanks()
        parts.append(cursor.integer() if cursor.peek() not in (":", "]", ",", "") else None)
        cursor.blanks()
        if len(parts) == 3 or not cursor.take(":"):
            break
    if len(parts) == 1:
        return Index(parts[0] or 0)
    start, stop, step = [*parts, None][:3]
    return Slice(start, stop, step)
