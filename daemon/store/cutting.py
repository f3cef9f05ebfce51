"""Take single events out of a request's body that others share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from hookline.daemon.sources.stored_payload import read_document
from hookline.rules import Json

Pointer = tuple[str | int, ...]

_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a request's events are read from. As in `Request`."""

    body: bytes
    content_type: str
    document: str | None


def without(content: Content, pointers: Iterable[Pointer]) -> Content:
    """Return the content with null where these events stood: the others stay where their pointers say.

    It becomes the JSON of what was read: a form or XML cannot be cut, and bytes that were signed are signed no more.
    """
    whole = read_document(content.body, content.content_type, content.document)
    for pointer in pointers:
        _blank(whole, pointer)
    # ASCII: lone surrogates have no UTF-8.
    return Content(body=json.dumps(whole).encode(), content_type=_JSON, document=None)


def _blank(whole: Json, pointer: Pointer) -> None:
    element = whole
    *way, last = pointer
    for step in way:
        match element, step:
            case dict(), str():
                element = element.get(step)
            case list(), int() if step < len(element):
                element = element[step]
            case _:
                return
    match element, last:
        case dict(), str() if last in element:
            element[last] = None
        case list(), int() if last < len(element):
            element[last] = None
        case _:
            return
