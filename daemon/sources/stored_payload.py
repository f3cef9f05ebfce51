"""Read an event's payload out of what is stored of its request, as its receiver did."""

from __future__ import annotations

import json
from typing import Any

from hookline.daemon.sources.body import UnreadableBodyError, read_body
from hookline.rules import Json


def read_document(body: bytes, content_type: str, document: str | None) -> Json:
    """Return what a request's events were read from; None if it cannot be read, as its receiver had it.

    `document`: that itself as JSON, where reading the body again does not give it.
    """
    if document is not None:
        read: Json = json.loads(document)
        return read
    try:
        return read_body(body, content_type)
    except ValueError:
        return None


def payload_and_envelope(whole: Json, pointer: tuple[str | int, ...] | None) -> tuple[Json, Json]:
    """Return an event's payload, which stands at `pointer` in the whole, and its envelope."""
    if pointer is None:
        return whole, None
    element: Any = whole
    try:
        for step in pointer:
            element = element[step]
    except (LookupError, TypeError):
        return None, whole
    return element, whole


def why_unreadable(body: bytes, content_type: str) -> str:
    """Say what is wrong with a body that was kept unread."""
    try:
        read_body(body, content_type)
    except UnreadableBodyError as error:
        return str(error)
    return "it can be read, but not as its source promises: no event type in it, or too many events"
