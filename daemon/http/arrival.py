"""What of a webhook can be read and refused before its source has looked at it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from hookline.daemon.sources.port import RequestRejected

_MAX_QUERY_FIELDS: Final = 100
_READ_HERE: Final = frozenset({"content-length", "content-encoding", "content-type", "x-forwarded-for"})


@dataclass(slots=True)
class Head:
    """What one walk over a request's headers finds."""

    headers: list[tuple[str, str]]
    forwarded: list[str] = field(default_factory=list)
    #: None if the body is chunked, or there is none.
    length: int | None = None
    encoding: str = ""
    media_type: str = ""


@dataclass(slots=True)
class Body:
    """A body as far as it has come."""

    pieces: list[bytes] = field(default_factory=list)
    held: int = 0
    is_whole: bool = False


def read_head(scope: Any) -> Head:
    """Read an ASGI scope's headers, in one walk."""
    head = Head([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])
    for name, value in head.headers:
        if name in _READ_HERE:
            if name == "content-length":
                # The server has checked that it is a number, and that there is one.
                head.length = int(value)
            elif name == "x-forwarded-for":
                head.forwarded.append(value)
            elif name == "content-encoding":
                head.encoding = value.strip().lower()
            else:
                head.media_type = value.lower()
    return head


def refuse_unreadable(head: Head, limit: int) -> None:
    """Refuse what can be refused before the body: alike for sources that exist and those that do not."""
    if head.encoding not in {"", "identity"}:
        raise RequestRejected("body", 415, "the body must not be compressed: no Content-Encoding is taken")
    if head.media_type.startswith("multipart/"):
        raise RequestRejected("body", 415, "multipart bodies are not taken")
    if head.length is not None and head.length > limit:
        raise too_large(limit)


def too_large(limit: int) -> RequestRejected:
    """Return the refusal of a body over the limit."""
    return RequestRejected("limit", 413, f"the body is larger than {limit} bytes")


def no_such_source(method: str) -> RequestRejected:
    """Return what a source that does not exist is answered, and a wrong path token too, word for word.

    By another method than POST that is what a source is answered that takes no other: which ones exist is not said.
    """
    if method != "POST":
        return not_taken()
    return RequestRejected("path", 404, "no such source")


def not_taken(methods: Collection[str] = ("POST",)) -> RequestRejected:
    """Return the refusal of a method that a source does not take."""
    return RequestRejected("method", 405, f"webhooks are taken by {' or '.join(sorted(methods))}")


def parse_query(raw: str) -> Sequence[tuple[str, str]]:
    """Return a query's parameters, decoded, in order. Raises `RequestRejected` if there are too many."""
    try:
        return parse_qsl(raw, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        raise RequestRejected("limit", 400, f"more than {_MAX_QUERY_FIELDS} query parameters") from None
