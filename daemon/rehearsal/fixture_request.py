"""A request that would bring a stored event once more: its body, and what must be said beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from hookline.daemon.redaction.places import Location, leaves_under, places_of, value_at, written
from hookline.daemon.redaction.plan import Replacement, apply
from hookline.daemon.rehearsal.sample_events import Given
from hookline.daemon.sources.body import UnreadableBodyError, read_body
from hookline.daemon.store.stored import StoredEvent
from hookline.rules import Json
from hookline.rules.path import PathError, compile_path

#: They speak of the body as it came, and a fixture's is written anew.
_OF_THE_BODY: Final = frozenset(("content-encoding", "content-length", "content-type", "transfer-encoding"))
_CREDENTIAL: Final = re.compile(r"auth|cookie|password|secret|signature|token|api-?key|hmac|\bsig\b")

#: What is redacted as one: the body, headers and query, so that a value is replaced alike in all.
BODY, HEADERS, QUERY = "body", "headers", "query"


class CannotSaveError(Exception):
    """The event cannot become a test. Caught by `events save`, which says why."""


@dataclass(frozen=True, slots=True)
class FixtureRequest:
    """A body as it would be sent again, with all that may be said beside it."""

    whole: dict[str, Json]
    #: Where the payload stands in the body.
    payload: Location
    given: Given

    def with_whole(self, whole: Json) -> FixtureRequest:
        """Return it with another body, other headers and another query."""
        assert isinstance(whole, dict)  # noqa: S101 - a copy of what was one
        headers, query = (
            tuple((name, str(value)) for name, value in _entries(whole[part])) for part in (HEADERS, QUERY)
        )
        return FixtureRequest(whole, self.payload, replace(self.given, headers=headers, query=query))


def bodies(stored: StoredEvent) -> Iterator[tuple[Json, Location]]:
    """Yield bodies to try, each with where the payload stands in it, the smallest first."""
    event = stored.event
    if stored.pointer is not None:
        yield event.payload, ()
        alone = _alone(event.envelope, stored.pointer)
        if alone is not None:
            yield alone
        return
    yield event.payload, ()
    try:
        document = read_body(stored.body, stored.content_type)
    except UnreadableBodyError:
        return
    if document != event.payload:
        yield document, ()


def _alone(envelope: Json, pointer: Location) -> tuple[Json, Location] | None:
    """Return the batch with one element in it, if it is a list that it stands in."""
    at = next((depth for depth in range(len(pointer) - 1, -1, -1) if isinstance(pointer[depth], int)), None)
    if at is None:
        return None
    only = [value_at(envelope, pointer[: at + 1])]
    if at == 0:
        return list(only), (0, *pointer[1:])
    place = pointer[:at]
    replacement = Replacement(places=(place,), value=only, is_asked_for=False)
    return apply(envelope, [replacement]), (*place, 0, *pointer[at + 1 :])


def givens(stored: StoredEvent) -> Iterator[Given]:
    """Yield what may be said beside a body, the least first."""
    event = stored.event
    least = Given(
        received_at=event.received_at,
        headers=tuple((name, value) for name, value in event.headers.items() if _may_be_written(name)),
        query=tuple((name, value) for name, value in event.query.items() if not _CREDENTIAL.search(name.lower())),
        client_ip=event.client_ip or Given().client_ip,
    )
    yield least
    yield replace(least, type=event.type)
    yield replace(least, type=event.type, tenant=event.tenant, sender_id=event.sender_id)


def _may_be_written(header: str) -> bool:
    return header not in _OF_THE_BODY and not _CREDENTIAL.search(header)


def fewer(given: Given) -> Iterator[Callable[[Given], Given]]:
    """Yield ways of leaving one thing out."""
    yield from (partial(_without_header, pair=pair) for pair in given.headers)
    yield from (partial(_without_parameter, pair=pair) for pair in given.query)
    yield lambda now: replace(now, client_ip=Given().client_ip)
    yield lambda now: replace(now, sender_id=None)
    yield lambda now: replace(now, tenant=None)
    yield lambda now: replace(now, type=None)


def _without_header(given: Given, pair: tuple[str, str]) -> Given:
    return replace(given, headers=tuple(one for one in given.headers if one != pair))


def _without_parameter(given: Given, pair: tuple[str, str]) -> Given:
    return replace(given, query=tuple(one for one in given.query if one != pair))


def selected(paths: Iterable[str], request: FixtureRequest) -> set[Location]:
    """Return the leaves below what the paths name. Raises `CannotSaveError` for a path that names nothing."""
    found: set[Location] = set()
    for path in paths:
        group, _, name = path.partition(".")
        if group in ("header", "query"):
            part = HEADERS if group == "header" else QUERY
            wanted = name.lower() if group == "header" else name
            if wanted in _names(request.whole[part]):
                found.add((part, wanted))
                continue
            raise CannotSaveError(f"{path} is not in this event, or never written into a test.")
        found |= set(_leaves_of(path, request))
    return found


def _leaves_of(path: str, request: FixtureRequest) -> Iterator[Location]:
    start: Location = (BODY, *request.payload)
    try:
        compiled = compile_path(path)
        payload = value_at(request.whole, start)
        places = places_of(compiled, payload)
    except PathError as error:
        raise CannotSaveError(f"{error}.") from error
    if not places:
        raise CannotSaveError(f"{path} selects nothing in this event: {compiled.how_far(payload)}.")
    for place in places:
        yield from (leaf for leaf, _ in leaves_under(request.whole, (*start, *place)))


def paths_of(replacements: Iterable[Replacement], payload: Location) -> Iterator[str]:
    """Write places as they are said on the command line; what surrounds the element of a batch as `envelope.$…`."""
    found = sorted({place for one in replacements for place in one.places}, key=lambda place: tuple(map(str, place)))
    for place in found:
        part, rest = place[0], place[1:]
        if part != BODY:
            yield f"{'header' if part == HEADERS else 'query'}.{place[1]}"
        elif rest[: len(payload)] == payload:
            yield written(rest[len(payload) :])
        else:
            yield f"envelope.{written(rest)}"


def _entries(value: Json) -> Any:
    return value.items() if isinstance(value, dict) else ()


def _names(value: Json) -> Any:
    return value if isinstance(value, dict) else ()
