"""Take fields out of a JSON document, or mask them, before it leaves the house."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hookline.rules.path import PathError, compile_path
from hookline.rules.path_grammar import Index, Name, Segment, Wildcard

#: What stands where a value was masked.
MASK = "***"


def check_redaction_path(text: str) -> str:
    """Return the path if it is made of names, indexes and wildcards. Raises `ValueError` that says what to write."""
    try:
        segments = compile_path(text).segments
    except PathError as error:
        raise ValueError(str(error)) from error
    for segment in segments:
        plain = len(segment.selectors) == 1 and isinstance(segment.selectors[0], Name | Index | Wildcard)
        if segment.is_descendant or not plain:
            raise ValueError(f"{text}: only names, indexes and [*] are read here, such as $.data.lines[*].card")
    if not segments:
        raise ValueError("$ is the whole document; name what to leave out")
    return text


def redact(document: Any, *, omit: Sequence[str], mask: Sequence[str]) -> Any:
    """Return a copy of `document` without what `omit` selects and with `***` for what `mask` selects."""
    for path in omit:
        document = _change(document, compile_path(path).segments, is_omitted=True)
    for path in mask:
        document = _change(document, compile_path(path).segments, is_omitted=False)
    return document


def _change(value: Any, segments: Sequence[Segment], *, is_omitted: bool) -> Any:
    """Copy what lies on the way, share the rest: the document belongs to others too."""
    selector, rest = segments[0].selectors[0], segments[1:]
    keys: Sequence[Any] = ()
    match selector, value:
        case Name(name), dict():
            keys = (name,) if name in value else ()
        case Index(index), list():
            keys = (index % len(value),) if -len(value) <= index < len(value) else ()
        case Wildcard(), dict():
            keys = tuple(value)
        case Wildcard(), list():
            keys = range(len(value))
    if not keys:
        return value
    if not rest and is_omitted:
        gone = frozenset(keys)
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if key not in gone}
        return [item for place, item in enumerate(value) if place not in gone]
    changed = value.copy()
    for key in keys:
        changed[key] = _change(value[key], rest, is_omitted=is_omitted) if rest else MASK
    return changed
