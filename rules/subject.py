"""What conditions are asked of: an event, or a value inside it, and the places in it that they may look at."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from hookline.rules.event import Event, Json
from hookline.rules.path import Path, PathError, compile_path
from hookline.rules.path_cursor import shown
from hookline.rules.suggestion import did_you_mean

#: Fields without a name behind a dot. All of them are text.
FIELDS = ("type", "source", "tenant", "subject", "sender_id", "client_ip", "occurred_at", "received_at")
_NAMED_FIELDS = ("header.NAME", "query.NAME")


class Subject:
    """An event, of which each path is evaluated once at most."""

    __slots__ = ("compared", "document", "event", "found", "matched")

    def __init__(self, event: Event) -> None:
        """Ask of the event; paths begin at its payload."""
        self.event = event
        #: Where paths begin.
        self.document: Json = event.payload
        #: What was looked up, by the text of the `Look`.
        self.found: dict[str, list[Json]] = {}
        #: What was made ready to be compared with, by whoever made it.
        self.compared: dict[Hashable, Any] = {}
        #: Patterns, each with a text that is known to match it; of others nothing is known.
        self.matched: set[tuple[str, str]] = set()

    def inside(self, value: Json) -> Subject:
        """Return a subject whose paths begin at `value`; its fields stay the event's."""
        inner = Subject(self.event)
        inner.document = value
        return inner

    def values(self, look: Look) -> list[Json]:
        """Return what is there, in document order; empty if nothing is. Never raises."""
        found = self.found.get(look.text)
        if found is None:
            found = self.found[look.text] = look.read(self)
        return found


@dataclass(frozen=True, slots=True)
class Look:
    """A place that a test looks at, or takes its operand from."""

    #: As written, header names in lower case; two looks with the same text read the same.
    text: str
    #: The path, into the payload or into the envelope; None for fields.
    path: Path | None
    #: True if what is there is always text: every field but `envelope`.
    is_text: bool
    #: How it is read; asked once for each subject.
    read: Callable[[Subject], list[Json]] = field(compare=False, repr=False)

    @property
    def is_deep(self) -> bool:
        """Whether it is a path with `..`, which looks at every value below."""
        return self.path is not None and any(segment.is_descendant for segment in self.path.segments)

    def missing(self, subject: Subject) -> str:
        """Say why nothing is there."""
        if self.path is not None:
            is_envelope = self.text.startswith("envelope")
            if is_envelope and subject.event.envelope is None:
                return "the event was not split from a batch, so it has no envelope"
            far = self.path.how_far(subject.event.envelope if is_envelope else subject.document)
            return f"the path selects nothing: {far}"
        group, _, name = self.text.partition(".")
        if group == "header":
            return _missing_name("header", name, list(subject.event.headers))
        if group == "query":
            return _missing_name("query parameter", name, list(subject.event.query))
        return f"the event has no {self.text}"


def _missing_name(what: str, name: str, present: list[str]) -> str:
    names = ", ".join(shown(each) for each in sorted(present)[:12]) or "none"
    return f'there is no {what} "{shown(name)}" (there is: {names}{", …" if len(present) > 12 else ""})'


@lru_cache(maxsize=16384)
def look_at(key: str) -> Look:
    """Return the place that a key of a condition names. Raises `PathError` for what is no path and no field."""
    if key.startswith("$"):
        path = compile_path(key)
        select = path.select
        return Look(key, path, is_text=False, read=lambda subject: select(subject.document))
    if key == "envelope" or key.startswith("envelope.$"):
        return _envelope(key)
    group, dot, name = key.partition(".")
    if dot and name and group == "header":
        header = name.lower()
        return Look(f"header.{header}", None, is_text=True, read=lambda subject: _some(subject.event.headers, header))
    if dot and name and group == "query":
        return Look(key, None, is_text=True, read=lambda subject: _some(subject.event.query, name))
    if key in FIELDS:
        return Look(key, None, is_text=True, read=_FIELD_READERS[key])
    raise _unknown(key)


def _envelope(key: str) -> Look:
    path = compile_path(key.removeprefix("envelope.") if key != "envelope" else "$")
    select = path.select
    return Look(
        key,
        path,
        is_text=False,
        # An event that was not split has no envelope: not even `$` selects then.
        read=lambda subject: [] if subject.event.envelope is None else select(subject.event.envelope),
    )


def _some(texts: Mapping[str, str], name: str) -> list[Json]:
    found = texts.get(name)
    return [] if found is None else [found]


def time_text(moment: datetime) -> str:
    """Write a time as RFC 3339 does, in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _field(read: Callable[[Event], str | None]) -> Callable[[Subject], list[Json]]:
    def values(subject: Subject) -> list[Json]:
        value = read(subject.event)
        return [] if value is None else [value]

    return values


_FIELD_READERS = {
    "type": _field(lambda event: event.type),
    "source": _field(lambda event: event.source),
    "tenant": _field(lambda event: event.tenant),
    "subject": _field(lambda event: event.subject),
    "sender_id": _field(lambda event: event.sender_id),
    # "" says that the address is not known.
    "client_ip": _field(lambda event: event.client_ip or None),
    "occurred_at": _field(lambda event: time_text(event.occurred_at) if event.occurred_at else None),
    "received_at": _field(lambda event: time_text(event.received_at)),
}


def _unknown(key: str) -> PathError:
    message = f'"{shown(key)}" is not something a condition can look at'
    for prefix in ("payload.", "event.", "body."):
        rest = key.removeprefix(prefix)
        if rest != key and rest:
            return PathError(message, f"write {rest if rest in FIELDS else f'$.{shown(rest)}'}")
    if key in ("header", "headers", "query"):
        return PathError(message, f"write {key.removesuffix('s')}.NAME")
    near = did_you_mean(key, (*FIELDS, *_NAMED_FIELDS, "envelope", "all", "any", "not"))
    if near:
        return PathError(message, near)
    return PathError(message, f"a path into the payload begins with $: write $.{shown(key)}")
