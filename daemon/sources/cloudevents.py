"""Read CloudEvents over HTTP (CloudEvents 1.0, HTTP binding): every mode becomes the JSON of structured mode."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from hookline.daemon.sources.body import UnreadableBodyError, is_xml, media_type, read_body
from hookline.daemon.sources.fields import Field, Placeholder
from hookline.daemon.sources.port import RequestRejected
from hookline.rules import Json

#: Headers whose names begin so are attributes, in binary mode.
PREFIX: Final = "ce-"
_JSON: Final = "application/json"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")
_DATA: Final = re.compile(r"\$\.data(?:_base64)?(?![^.\[])")
_ESCAPED: Final = re.compile(r"\\(.)")
# These are what else the event holds, and no attributes.
_RESERVED: Final = frozenset({"data", "data_base64", "datacontenttype"})


def is_binary(headers: Sequence[tuple[str, str]], content_type: str) -> bool:
    """Tell whether attributes stand in headers: all that are required are there, and the content type is the data's."""
    if media_type(content_type).startswith("application/cloudevents"):
        return False
    names = {name for name, _ in headers}
    return all(PREFIX + name in names for name in _REQUIRED)


def header_names(field: Field) -> frozenset[str]:
    """Return the headers that a field of a binary event is read from: attributes; the data stands in the body."""
    places = [
        piece.expression
        for alternative in field.alternatives
        for piece in alternative.pieces
        if isinstance(piece, Placeholder)
    ]
    attributes = {place.removeprefix("$.") for place in places if place.startswith("$") and not _DATA.match(place)}
    return frozenset(PREFIX + attribute for attribute in attributes)


def read_cloudevents(body: bytes, headers: Sequence[tuple[str, str]], content_type: str) -> Json:
    """Return the event, or the list of events of a batch.

    What is no CloudEvent by its content type and headers is read as it is: many senders mislabel structured mode.
    Raises `UnreadableBodyError`, and `RequestRejected` (415) for a format that is not JSON.
    """
    kind = media_type(content_type)
    if kind.startswith("application/cloudevents"):
        is_batch = kind.startswith("application/cloudevents-batch")
        if kind not in {"application/cloudevents+json", "application/cloudevents-batch+json"}:
            detail = f"CloudEvents in JSON alone are taken: application/cloudevents{'-batch' * is_batch}+json"
            raise RequestRejected("body", 415, detail)
        document = read_body(body, _JSON)
        if not isinstance(document, list if is_batch else dict):
            raise UnreadableBodyError("a batch of CloudEvents is no array" if is_batch else "a CloudEvent is no object")
        return document
    if is_binary(headers, content_type):
        return _read_binary(body, headers, content_type)
    return read_body(body, content_type)


def _read_binary(body: bytes, headers: Sequence[tuple[str, str]], content_type: str) -> Json:
    event: dict[str, Json] = dict.fromkeys(_REQUIRED)
    seen: set[str] = set()
    for header, value in headers:
        name = header.removeprefix(PREFIX)
        if name == header or name in _RESERVED or not _ATTRIBUTE.fullmatch(name):
            continue
        if name in seen:
            raise UnreadableBodyError(f"the header {header[:60]} stands twice")
        seen.add(name)
        event[name] = _decoded(header, value)
    if content_type:
        event["datacontenttype"] = content_type
    if body:
        event |= _data(body, content_type)
    return event


def _decoded(header: str, value: str) -> str:
    """Undo double quotes with their escapes, then percent-encoding, once (3.1.3.2)."""
    value = value.strip(" \t")
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    try:
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeError as error:
        raise UnreadableBodyError(f"the header {header[:60]} is not UTF-8 once decoded") from error


def _data(body: bytes, content_type: str) -> Mapping[str, Json]:
    kind = media_type(content_type) or _JSON
    if kind.endswith(("/json", "+json")):
        return {"data": read_body(body, _JSON)}
    # As JSON format has it: what is text is a text, whatever language it is in.
    if kind.startswith("text/") or is_xml(kind):
        try:
            return {"data": body.decode()}
        except UnicodeDecodeError:
            pass
    return {"data_base64": b64encode(body).decode()}
