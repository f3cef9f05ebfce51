"""Drafts of samples: requests that are whole but for the sender's proof."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from hookline.daemon.sources.body import UnreadableBodyError, read_body
from hookline.daemon.sources.declared import UNREADABLE, DeclaredSource
from hookline.daemon.sources.fields import Field
from hookline.daemon.sources.fresh import Moment, fill_header, renew
from hookline.daemon.sources.places import follow
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, RequestRejected
from hookline.daemon.sources.sample_bodies import as_fields, bare_body, bodies_of, encoded, retyped, wrapped
from hookline.daemon.sources.sample_changes import apply_changes
from hookline.daemon.sources.source_type import SampleForm, SourceType
from hookline.rules import Json

_HEADER_SAFE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A sample before its sender proves itself."""

    kind: SourceType
    source: DeclaredSource
    moment: Moment
    event_type: str
    form: SampleForm
    content_type: str
    body: bytes = b""
    query: tuple[tuple[str, str], ...] = ()
    public_url: str | None = None

    def request(self) -> IncomingRequest:
        """Return it as the sender would send it, but for the proof."""
        sender_id = next((event.sender_id for event in self.events()), None)
        return self._request(sender_id or self.moment.identity)

    def events(self) -> tuple[NormalizedEvent, ...]:
        """Read its events; none if it cannot be taken at all."""
        try:
            return self.source.normalize(self._request(self.moment.identity))
        except RequestRejected:
            return ()

    def _request(self, sender_id: str) -> IncomingRequest:
        query = dict(self.query)
        headers = self._headers(sender_id, query)
        subpath = self.source.path_token or ""
        path = with_query(path_of(self.source), query)
        return IncomingRequest(
            method=self.form.method,
            subpath=subpath,
            url=self._url(path),
            headers=tuple(headers.items()),
            query=tuple(query.items()),
            client_ip="127.0.0.1",
            body=self.body,
            received_at=self.moment.now,
        )

    def _url(self, path: str) -> str | None:
        if self.source.public_url is not None:
            _, mark, query = path.partition("?")
            return f"{self.source.public_url}{mark}{query}"
        return f"{self.public_url.rstrip('/')}{path}" if self.public_url else None

    def _headers(self, sender_id: str, query: dict[str, str]) -> dict[str, str]:
        headers = {"content-type": self.content_type} if self.body else {}
        if self.form.headers:
            document = read_or_none(self.body, self.content_type)
            for name, template in self.form.headers.items():
                _add(headers, name, fill_header(template, document, self.event_type, sender_id, self.moment))
            return headers
        # Nothing says how the sender does it: so they stand wherever they are read.
        fields = self.source.declaration.fields
        for field, value in ((fields.type, self.event_type), (fields.id, sender_id), (fields.key, sender_id)):
            for name in field.headers if field else ():
                if name not in headers:
                    _add(headers, name, value)
            for name in field.query if field else ():
                query.setdefault(name, value)
        return headers

    def with_document(self, document: Json) -> Draft:
        """Return it with another body. Raises `ValueError` if it cannot be written as its sender does."""
        if self.form.method == "GET":
            return replace(self, query=tuple(as_fields(document)))
        said = self.kind.declaration.get("body")
        json_at = said.get("json_at") if isinstance(said, dict) else None
        return replace(self, body=encoded(copy.deepcopy(document), self.content_type, json_at))


def path_of(source: DeclaredSource) -> str:
    """Return the path that a source is reached by."""
    return f"/hooks/{source.name}" + (f"/{source.path_token}" if source.path_token else "")


def with_query(path: str, query: Mapping[str, str]) -> str:
    """Return a path with a query behind it, if there is one."""
    return f"{path}?{urlencode(query)}" if query else path


def read_or_none(body: bytes, content_type: str) -> Json:
    """Return what a body holds, None if it cannot be read."""
    try:
        return read_body(body, content_type)
    except UnreadableBodyError:
        return None


def draft_of(kind: SourceType, source: DeclaredSource, wanted: str, moment: Moment) -> Draft | None:
    """Make a request whose events are of the type that is wanted; None if no sample can be made so."""
    form = kind.sample.of(wanted)
    empty = _empty(kind, source, wanted, form, moment)
    for document, is_own in bodies_of(kind, wanted):
        renew(document, form.fresh, moment)
        draft = empty.with_document(document)
        if is_own or _is_of(draft, wanted):
            return draft
        for changed in _retyped(draft, document):
            if _is_of(changed, wanted):
                return changed
    return None


def bare_draft(kind: SourceType, source: DeclaredSource, wanted: str, moment: Moment, *, split: Json) -> Draft:
    """Make a request of a declaration alone: type, id and time stand where they are read."""
    fields = source.declaration.fields
    places = {"type": fields.type, "id": fields.id, "key": fields.key, "time": fields.time}
    document = wrapped(bare_body(places, wanted, moment), split)
    methods = source.declaration.methods
    form = kind.sample if kind.sample.method in methods else replace(kind.sample, method=min(methods))
    return _empty(kind, source, wanted, form, moment).with_document(document)


def given_draft(kind: SourceType, source: DeclaredSource, body: bytes, event_type: str | None, moment: Moment) -> Draft:
    """Make a request of a body as it is. Raises `ValueError` if its event type must be told, since it is not in it."""
    form = kind.sample.of(event_type or "")
    draft = _empty(kind, source, event_type or "", form, moment)
    draft = replace(draft, body=body, content_type=_content_type(body, form))
    if event_type is not None:
        return draft
    # With a header that no field reads, so that nothing is put where the type would be looked for.
    plain = replace(draft, form=replace(form, headers={"user-agent": "sample"}))
    found = next((event.type for event in plain.events()), "")
    headers = source.declaration.fields.type.headers
    if found == UNREADABLE and headers and read_or_none(body, draft.content_type) is not None:
        raise ValueError(
            f"which event type is it? The sender of {source.name} says it in {' or '.join(sorted(headers))}"
        )
    return replace(draft, event_type=found)


def changed_draft(draft: Draft, changes: tuple[str, ...]) -> Draft:
    """Return a draft with values of its body changed. Raises `ValueError` naming the change that cannot be made."""
    try:
        document: Json = dict(draft.query) if draft.form.method == "GET" else read_body(draft.body, draft.content_type)
    except UnreadableBodyError as error:
        raise ValueError(f"--set needs a body that can be read: {error}") from error
    apply_changes(document, changes)
    changed = draft.with_document(document)
    if draft.source.declaration.fields.type.headers:
        return changed
    # A change of what it is called shows in the headers too.
    found = next((event.type for event in changed.events()), UNREADABLE)
    return changed if found == UNREADABLE else replace(changed, event_type=found)


def _empty(kind: SourceType, source: DeclaredSource, event_type: str, form: SampleForm, moment: Moment) -> Draft:
    return Draft(
        kind=kind, source=source, moment=moment, event_type=event_type, form=form, content_type=form.content_type
    )


def _retyped(draft: Draft, document: Json) -> Iterator[Draft]:
    field: Field = draft.source.declaration.fields.type
    for event in draft.events():
        element = document if event.pointer is None else follow(document, event.pointer)
        for _ in retyped(element, field, draft.event_type, draft.kind.declaration.get("maps")):
            yield draft.with_document(document)


def _is_of(draft: Draft, wanted: str) -> bool:
    events = draft.events()
    return bool(events) and all(event.type == wanted for event in events)


def _content_type(body: bytes, form: SampleForm) -> str:
    start = body.lstrip()[:1]
    if start in {b"{", b"["}:
        return form.content_type if "json" in form.content_type else "application/json"
    return "application/xml" if start == b"<" else form.content_type


def _add(headers: dict[str, str], name: str, value: str | None) -> None:
    # A type or id from a user's file may hold what a header cannot.
    if value is not None and _HEADER_SAFE.fullmatch(value):
        headers[name.lower()] = value
