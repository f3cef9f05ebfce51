"""Keys of events: what `per` and `order_by` select, written so that equal values have equal texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from hookline.rules.event import Event, Json
from hookline.rules.subject import Subject, look_at

#: A key is at most this long; of a longer one a digest is kept.
MAX_KEY_CHARACTERS: Final = 512
#: What a digest begins with; a key that was written out begins with `[`.
DIGEST_MARK: Final = "sha256:"

# ASCII only, so that a lone surrogate can be stored and hashed.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False)


def values_of(event: Event, selector: str) -> Json:
    """Return what a selector selects: None for nothing, a single value as it is, several as a list. Never raises.

    `selector`: a path or a field, as conditions have them; one that is neither raises `PathError`.
    """
    return _selected(Subject(event), selector)


def key_text(event: Event, selectors: Sequence[str]) -> str:
    """Return the values of all selectors as one text, at most `MAX_KEY_CHARACTERS` long. Never raises.

    Two events have the same text if and only if the selectors select the same (a digest's collision apart).
    """
    subject = Subject(event)
    text = canonical([_selected(subject, selector) for selector in selectors])
    if len(text) <= MAX_KEY_CHARACTERS:
        return text
    return DIGEST_MARK + hashlib.sha256(text.encode("ascii")).hexdigest()


def canonical(value: Json) -> str:
    """Write a value as JSON with sorted keys and without blanks, in ASCII. Never raises.

    `1`, `1.0`, `"1"` and `true` stay different.
    """
    try:
        return _ENCODER.encode(value)
    except (RecursionError, ValueError):
        # Nested deeper than the stack allows, or an integer longer than Python writes out.
        return _by_hand(value)


def _selected(subject: Subject, selector: str) -> Json:
    found = subject.values(look_at(selector))
    if not found:
        return None
    return found[0] if len(found) == 1 else found


def _by_hand(value: Json) -> str:
    """Write as the encoder does, but without recursion: whether the stack was short must not change a key."""
    written: list[str] = []
    # Each with whether it is ready to be written.
    waiting: list[tuple[Json, bool]] = [(value, False)]
    while waiting:
        item, is_ready = waiting.pop()
        match item:
            case str() if is_ready:
                written.append(item)
            case dict():
                parts: list[tuple[Json, bool]] = [("{", True)]
                for position, name in enumerate(sorted(item)):
                    parts += [(f"{',' if position else ''}{_ENCODER.encode(name)}:", True), (item[name], False)]
                waiting += reversed([*parts, ("}", True)])
            case list():
                parts = [("[", True)]
                for position, each in enumerate(item):
                    parts += [(",", True), (each, False)] if position else [(each, False)]
                waiting += reversed([*parts, ("]", True)])
            case _:
                written.append(_scalar(item))
    return "".join(written)


def _scalar(value: Json) -> str:
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return hex(value) if isinstance(value, int) else ""
