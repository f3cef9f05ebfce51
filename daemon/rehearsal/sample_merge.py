"""Merge changes over the events of a request before its source reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hookline.daemon.rehearsal.unverified_source import MOST_EVENTS
from hookline.daemon.sources.body import UnreadableBodyError, read_body
from hookline.daemon.sources.declaration import Declaration
from hookline.daemon.sources.headers import content_type_of
from hookline.daemon.sources.options import kind_of
from hookline.daemon.sources.port import IncomingRequest, RequestRejected
from hookline.daemon.sources.sample_bodies import as_fields
from hookline.daemon.sources.split import NotSplittableError
from hookline.rules import Json
from hookline.rules.options import lay_over


def merged_request(declaration: Declaration, request: IncomingRequest, changes: Mapping[str, Json]) -> IncomingRequest:
    """Return a request with changes merged over the payload of each of its events, as rules see it.

    Mappings are merged deep, the rest is replaced. Raises `ValueError`, with a message for people, if the body cannot
    be read or a payload is no mapping.
    """
    if not request.body and request.query:
        return replace(request, query=tuple(as_fields(merged(dict(request.query), changes))))
    content_type = content_type_of(request)
    reading, split = declaration.body, declaration.split
    try:
        if reading is None:
            document = read_body(request.body, content_type)
        else:
            document, _ = reading.document(request, content_type)
        places = [()] if split is None else [place for place, _, _ in split.elements(document, most=MOST_EVENTS)]
    except (UnreadableBodyError, NotSplittableError, RequestRejected) as error:
        raise ValueError(f"the body that it would be merged over cannot be read: {error}") from error
    for place in places:
        document = _merged_at(document, place, changes)
    # Whatever it was written in, every source reads the same document from JSON.
    written_in = "application/json"
    if reading is not None and reading.is_cloudevents:
        written_in = f"application/cloudevents{'-batch' * isinstance(document, list)}+json"
    return replace(request, body=as_body(document), headers=tuple(_with_type(request, written_in)))


def merged(document: Json, changes: Mapping[str, Json]) -> dict[str, Json]:
    """Return a mapping with changes merged over it. Raises `ValueError` for anything else."""
    if not isinstance(document, dict):
        raise ValueError(f"a mapping can be merged over a mapping alone; the payload is {kind_of(document)}")  # noqa: TRY004 - of what a file says
    return lay_over(document, changes)


def as_body(document: Json) -> bytes:
    """Write a document as a body of JSON."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _merged_at(document: Any, place: tuple[str | int, ...], changes: Mapping[str, Json]) -> Any:
    if not place:
        return merged(document, changes)
    document[place[0]] = _merged_at(document[place[0]], place[1:], changes)
    return document


def _with_type(request: IncomingRequest, content_type: str) -> Iterator[tuple[str, str]]:
    yield from (pair for pair in request.headers if pair[0] != "content-type")
    yield "content-type", content_type
