"""What a source's type makes of a body that nobody sent: the events that tests, `explain` and `check` ask about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from hookline.daemon.config.settings import Settings
from hookline.daemon.http.credentials import without_credentials
from hookline.daemon.own.samples import OWN_SAMPLES
from hookline.daemon.rehearsal.sample_merge import as_body, merged, merged_request
from hookline.daemon.rehearsal.unverified_source import MOST_EVENTS, unverified_source
from hookline.daemon.sources.body import UnreadableBodyError, read_body
from hookline.daemon.sources.declared import DeclaredSource
from hookline.daemon.sources.drafts import draft_of, given_draft
from hookline.daemon.sources.fields import Alternative, Field
from hookline.daemon.sources.fresh import Moment
from hookline.daemon.sources.port import IncomingRequest, RequestRejected, Source
from hookline.daemon.sources.sample_bodies import wrapped
from hookline.daemon.sources.samples import sample_types
from hookline.daemon.sources.source_type import SourceType
from hookline.daemon.sources.split import NotSplittableError
from hookline.daemon.sources.types import SourceCodeError, guarded
from hookline.rules import Event, EventId, Json
from hookline.rules.suggestion import suggest

#: The clock where none is given: a Wednesday noon, so that a window for working days is open.
DEFAULT_MOMENT: Final = datetime(2026, 1, 7, 12, tzinfo=UTC)
#: The source of events about ourselves, which is never configured.
OURSELVES: Final = "hookline"

_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What is laid over what a request itself says."""

    #: Aware, UTC.
    received_at: datetime = DEFAULT_MOMENT
    #: Of every event in it; None if the source reads it.
    type: str | None = None
    tenant: str | None = None
    sender_id: str | None = None
    client_ip: str = "127.0.0.1"
    #: In place of those of the same name that a sample has.
    headers: Sequence[tuple[str, str]] = ()
    query: Sequence[tuple[str, str]] = ()
    #: None if the body tells.
    content_type: str | None = None
    #: Merged over the payload of every event before it is read: mappings deep, the rest replaced.
    changes: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleEvent:
    """An event, and why it is `unreadable` if it is."""

    event: Event
    why_unreadable: str | None


def read_events(  # noqa: PLR0913 - the facts of a request, each once
    settings: Settings,
    source: str,
    body: bytes,
    *,
    content_type: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    query: Sequence[tuple[str, str]] = (),
    received_at: datetime,
    type: str | None = None,  # noqa: A002 - the event's own word
    tenant: str | None = None,
    sender_id: str | None = None,
) -> tuple[Event, ...]:
    """Return the events that a source's type reads from a body, unverified, with the given facts laid over.

    No secret need be set. Of a source that splits, the body may also be one element. Raises `ValueError`, with a
    message for people, for a source that is not configured and a type that the body does not tell.
    """
    given = Given(
        received_at=received_at,
        type=type,
        tenant=tenant,
        sender_id=sender_id,
        headers=headers,
        query=query,
        content_type=content_type,
    )
    return tuple(one.event for one in SampleReader(settings).read(source, body, given))


class SampleReader:
    """Reads bodies as the configured sources would; each source is built once."""

    def __init__(self, settings: Settings) -> None:
        """Build nothing yet."""
        self._settings = settings
        self._sources: dict[str, DeclaredSource | Source] = {}
        self._samples: dict[tuple[str, str, datetime], IncomingRequest] = {}

    def read(self, source: str, body: bytes, given: Given) -> tuple[SampleEvent, ...]:
        """Return the events of a body. Raises `ValueError` with a message for people."""
        if source == OURSELVES:
            return (_of_ourselves(_json(body), given),)
        reader = self._source(source)
        if not isinstance(reader, DeclaredSource):
            request = _plain_request(body, given)
            return _normalized(reader, request, given, shown=request)
        has_type = given.type is not None or _tells_type(reader, given)
        body = self._whole(reader, body, given)
        draft = given_draft(self._kind(source), reader, body, (given.type or "") if has_type else None, _moment(given))
        return self._read(reader, draft.request(), given)

    def read_sample(self, source: str, name: str, given: Given) -> tuple[SampleEvent, ...]:
        """Return the events of a sample of the source's type, made at the moment that is given.

        Raises `ValueError` with a message for people.
        """
        if source == OURSELVES:
            return (_own_sample(name, given),)
        reader = self._source(source)
        key = (source, name, given.received_at)
        request = self._samples.get(key)
        if request is None and isinstance(reader, DeclaredSource):
            draft = draft_of(self._kind(source), reader, name, _moment(given))
            request = draft.request() if draft else None
        if request is None or not isinstance(reader, DeclaredSource):
            known = sample_types(self._settings.sources[source].type, self._settings.source_types)
            hint = suggest(name, known, what="there are") or "write the payload under event:"
            raise ValueError(f'{source} has no sample "{name}"; {hint}')
        self._samples[key] = request
        return self._read(reader, request, given)

    def _read(self, reader: DeclaredSource, request: IncomingRequest, given: Given) -> tuple[SampleEvent, ...]:
        request = _laid_over(request, given)
        sent = merged_request(reader.declaration, request, given.changes) if given.changes else request
        if given.type is not None:
            fields = replace(reader.declaration.fields, type=_literal(given.type))
            reader = replace(reader, declaration=replace(reader.declaration, fields=fields))
        return _normalized(reader, sent, given, shown=request)

    def _whole(self, reader: DeclaredSource, body: bytes, given: Given) -> bytes:
        """Return the body of a batch, if what was given is one element of it."""
        split = reader.declaration.split
        if split is None:
            return body
        try:
            document = read_body(body, given.content_type or _JSON)
            split.elements(document, most=MOST_EVENTS)
        except UnreadableBodyError:
            return body
        except NotSplittableError:
            settings = self._settings.sources[reader.name]
            paths = settings.options.get("split") or self._kind(reader.name).declaration.get("split")
            return as_body(wrapped(document, paths))
        return body

    def _source(self, name: str) -> DeclaredSource | Source:
        found = self._sources.get(name)
        if found is None:
            settings = self._settings.sources.get(name)
            if settings is None:
                hint = suggest(name, self._settings.sources, what="there are") or "add it to sources:"
                raise ValueError(f'no source "{name}" is configured; {hint}')
            found = self._sources[name] = unverified_source(settings, self._kind(name))
        return found

    def _kind(self, source: str) -> SourceType:
        return self._settings.source_types.get(self._settings.sources[source].type)


def _tells_type(reader: DeclaredSource, given: Given) -> bool:
    """Whether the given headers or query hold what the type is read from."""
    fields = reader.declaration.fields.type
    renamed = reader.declaration.headers
    headers = {name.lower() for name, _ in given.headers}
    headers |= {renamed[name] for name in headers if name in renamed}
    return not fields.headers.isdisjoint(headers) or not fields.query.isdisjoint(name for name, _ in given.query)


def _moment(given: Given) -> Moment:
    return Moment(identity="sample", now=given.received_at)


def _laid_over(request: IncomingRequest, given: Given) -> IncomingRequest:
    headers = [(name.lower(), value) for name, value in given.headers]
    if given.content_type is not None:
        headers.append(("content-type", given.content_type))
    names = {name for name, _ in headers}
    asked = {name for name, _ in given.query}
    return replace(
        request,
        headers=(*(pair for pair in request.headers if pair[0] not in names), *headers),
        query=(*(pair for pair in request.query if pair[0] not in asked), *given.query),
        client_ip=given.client_ip,
    )


def _plain_request(body: bytes, given: Given) -> IncomingRequest:
    """Return a request for a package's source, of which nothing is known but what it makes of it."""
    if given.changes:
        body = as_body(merged(_json(body), given.changes))
    bare = IncomingRequest(
        method="POST",
        subpath="",
        url=None,
        headers=(("content-type", _JSON),),
        query=(),
        client_ip=given.client_ip,
        body=body,
        received_at=given.received_at,
    )
    return _laid_over(bare, given)


def _normalized(
    reader: Source, request: IncomingRequest, given: Given, *, shown: IncomingRequest
) -> tuple[SampleEvent, ...]:
    """Read the events of a request; `shown` is whose headers and query they have."""
    try:
        # A package's code may raise anything.
        is_ours = isinstance(reader, DeclaredSource)
        found = reader.normalize(request) if is_ours else guarded(partial(reader.normalize, request))
    except RequestRejected as error:
        raise ValueError(f"{reader.name} would refuse it: {error.detail}") from error
    except SourceCodeError as error:
        raise ValueError(f"{reader.name} cannot read it: {error}") from error
    headers, query = without_credentials(shown, reader)
    return tuple(
        SampleEvent(
            event=Event(
                id=EventId("evt_sample" if number == 1 else f"evt_sample{number}"),
                source=reader.name,
                type=given.type or one.type,
                sender_id=given.sender_id or one.sender_id,
                key=one.key,
                tenant=given.tenant or one.tenant,
                subject=one.subject,
                occurred_at=one.occurred_at,
                received_at=given.received_at,
                headers=headers,
                query=query,
                client_ip=given.client_ip,
                payload=one.payload,
                envelope=one.envelope,
            ),
            why_unreadable=one.why_unreadable,
        )
        for number, one in enumerate(found, 1)
    )


def _own_sample(name: str, given: Given) -> SampleEvent:
    sample = OWN_SAMPLES.get(name)
    if sample is None:
        hint = suggest(name, OWN_SAMPLES, what="there are") or "write the payload under event:"
        raise ValueError(f'{OURSELVES} has no sample "{name}"; {hint}')
    return _of_ourselves(dict(sample.payload), replace(given, type=given.type or name), subject=sample.subject)


def _of_ourselves(payload: Json, given: Given, *, subject: str | None = None) -> SampleEvent:
    if given.type is None:
        raise ValueError(f"which event type is it? An event of {OURSELVES} says it beside its payload: give its type")
    event = Event(
        id=EventId("evt_sample"),
        source=OURSELVES,
        type=given.type,
        sender_id=given.sender_id,
        key="sample",
        tenant=given.tenant,
        subject=subject,
        occurred_at=given.received_at,
        received_at=given.received_at,
        headers={},
        query={},
        client_ip="",
        payload=merged(payload, given.changes) if given.changes else payload,
        envelope=None,
    )
    return SampleEvent(event=event, why_unreadable=None)


def _json(body: bytes) -> Json:
    try:
        return read_body(body, _JSON)
    except UnreadableBodyError as error:
        raise ValueError(f"the payload cannot be read: {error}") from error


def _literal(text: str) -> Field:
    return Field(specs=(text,), alternatives=(Alternative((text,)),), headers=frozenset(), query=frozenset())
