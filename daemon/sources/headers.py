"""A request's headers and parameters, each read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hookline.daemon.sources.port import IncomingRequest


def content_type_of(request: IncomingRequest) -> str:
    """Return the content type as it was sent, "" if there is none."""
    for name, value in request.headers:
        if name == "content-type":
            return value
    return ""


def once(pairs: Sequence[tuple[str, str]], names: frozenset[str]) -> Mapping[str, str | None]:
    """Return those of some names; None for one that is repeated, since nobody can say which one counts."""
    found: dict[str, str | None] = {}
    for name, value in pairs:
        if name in names:
            found[name] = None if name in found else value
    return found


def renamed(request: IncomingRequest, others: Mapping[str, str]) -> IncomingRequest:
    """Return the request as if headers that it lacks stood there, where it has them by their other name."""
    present = {name for name, _ in request.headers}
    names = {other: name for name, other in others.items() if name not in present and other in present}
    if not names:
        return request
    return replace(request, headers=tuple((names.get(name, name), value) for name, value in request.headers))
