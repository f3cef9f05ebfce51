"""The body of a forwarded request: as received, or reshaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from hookline.plugins.delivery import Delivery
from hookline.plugins.errors import PermanentError
from hookline.plugins.redaction import redact

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


class Body(StrEnum):
    """What a `body:` of one word means; a template that computes such a word is text."""

    REQUEST = "request"
    ELEMENT = "element"
    NONE = "none"


def content_of(delivery: Delivery, body: Any, *, omit: Sequence[str], mask: Sequence[str]) -> tuple[bytes | None, str]:
    """Return what to send and its content type. Raises `PermanentError` if it must be JSON and is not.

    A digest has no one request and no one element: both words mean the payloads of all its events.
    """
    is_redacted = bool(omit or mask)
    if body is Body.NONE:
        return None, ""
    if isinstance(body, Body) and delivery.events:
        document: Any = {"events": [event.payload for event in delivery.events]}
    elif body is Body.REQUEST and not is_redacted:
        return delivery.body, delivery.content_type
    elif body is Body.REQUEST:
        document = _read_json(delivery.body)
    elif body is Body.ELEMENT:
        document = delivery.event.payload
    elif isinstance(body, str):
        return body.encode("utf-8", "replace"), _TEXT
    else:
        document = body
    return _write_json(redact(document, omit=omit, mask=mask)), _JSON


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PermanentError("omit and mask need a JSON body, and this one is not") from error


def _write_json(document: Any) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # lone surrogates have no UTF-8, but JSON can write them as escapes
        return json.dumps(document, separators=(",", ":")).encode()
