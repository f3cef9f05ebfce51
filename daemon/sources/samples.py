"""Samples: realistic requests, signed as their sender would, to try rules with."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any, Final
from urllib.parse import urlencode

from hookline.daemon.sources.build import declared_source
from hookline.daemon.sources.builtin_types import SOURCE_TYPES, SourceType, source_type
from hookline.daemon.sources.declared import DeclaredSource
from hookline.daemon.sources.fields import Field, Placeholder
from hookline.daemon.sources.places import parse_direct
from hookline.daemon.sources.port import IncomingRequest, SourceSettings
from hookline.daemon.sources.proofs import CannotProveError
from hookline.daemon.sources.split import SplitPath
from hookline.rules import Json
from hookline.rules.suggestion import suggest

_FOLDER: Final = resources.files("hookline.daemon.sources") / "samples"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_TYPE: Final = "sample.created"
_HEADER_SAFE: Final = re.compile(r"[\x21-\x7e]{1,255}")
# Only for reading a declaration: a sample is never stored.
_WHATEVER: Final = timedelta(days=1)
_MOST_EVENTS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A request, ready to be posted to the public listener."""

    #: With the query, if there is one.
    path: str
    headers: Mapping[str, str]
    body: bytes
    #: The header that proves the sender; "" if something else does, or nothing.
    proof: str


def sample_types(type_name: str) -> list[str]:
    """Return the event types that there are samples of; the first is what is sent if none is asked for."""
    if type_name not in SOURCE_TYPES:
        return []
    files = _files(type_name)
    siblings = {name.partition(".")[0] for name in files}
    more = source_type(type_name).event_types or ()
    return [*files, *(name for name in more if name not in files and name.partition(".")[0] in siblings)]


def make_sample(
    settings: SourceSettings,
    event_type: str | None,
    *,
    now: datetime,
    body: bytes | None = None,
    fresh_id: str | None = None,
) -> Sample:
    """Make a request that the source accepts at `now`.

    A sample's ids and times are renewed, so that it is no duplicate of one made at another time or with another
    `fresh_id`; a `body` is sent as it is. Raises `ValueError`, with a message for people, for an event type without
    a sample, and where the configuration alone cannot sign.
    """
    source = declared_source(settings, batch_limit=_MOST_EVENTS, dedupe_window=_WHATEVER)
    kind = source_type(settings.type)
    identity = fresh_id or f"sample-{(now - _EPOCH) // timedelta(microseconds=1)}"
    headers = {"content-type": "application/json"}
    query: dict[str, str] = {}
    if body is None:
        document = _document(kind, source, event_type, identity, now)
        said = event_type or _first_type(kind)
        body = json.dumps(document, indent=2, ensure_ascii=False).encode()
    else:
        said = event_type or _type_in(source, body)
    for name, template in kind.sample_headers.items():
        _add(headers, name, template.replace("{type}", said).replace("{id}", _id_in(source, body) or identity))
    fields = source.declaration.fields
    for field, value in ((fields.type, said), (fields.id, identity), (fields.key, identity)):
        _add_where_read(field, value, headers, query)
    draft = IncomingRequest(
        method="POST",
        subpath=source.path_token or "",
        url=None,
        headers=tuple(headers.items()),
        query=tuple(query.items()),
        client_ip="127.0.0.1",
        body=body,
        received_at=now,
    )
    return _signed(source, draft)


def forge(sample: Sample) -> Sample:
    """Return the sample with a wrong signature, or as a stranger would send it."""
    if sample.proof:
        right = sample.headers[sample.proof]
        # Not the last character: in base64 it may hold bits that say nothing.
        at = max(0, len(right) - 4)
        wrong = right[:at] + ("b" if right[at] == "a" else "a") + right[at + 1 :]
        return replace(sample, headers={**sample.headers, sample.proof: wrong})
    path, mark, _ = sample.path.partition("?")
    return replace(sample, path=f"{path}?" if mark else f"{path.rstrip('/')}/forged")


def _signed(source: DeclaredSource, draft: IncomingRequest) -> Sample:
    try:
        proof = source.declaration.verification.verifier.prove(draft)
    except CannotProveError as error:
        raise ValueError(f"a sample of {source.name} cannot be signed: {error}") from error
    query = {**dict(draft.query), **proof.query}
    path = f"/hooks/{source.name}" + (f"/{draft.subpath}" if draft.subpath else "")
    return Sample(
        path=f"{path}?{urlencode(query)}" if query else path,
        headers={**dict(draft.headers), **proof.headers},
        body=draft.body,
        proof=list(proof.headers)[-1] if proof.headers else "",
    )


def _files(type_name: str) -> list[str]:
    folder = _FOLDER / type_name
    if not folder.is_dir():
        return []
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def _first_type(kind: SourceType) -> str:
    return next(iter(_files(kind.name)), _ANY_TYPE)


def _document(kind: SourceType, source: DeclaredSource, event_type: str | None, identity: str, now: datetime) -> Json:
    fields = source.declaration.fields
    files = _files(kind.name)
    if event_type is not None and kind.event_types is not None and event_type not in sample_types(kind.name):
        known = sample_types(kind.name)
        raise ValueError(f'no sample "{event_type}"; {suggest(event_type, known, what="there are")}')
    wanted = event_type or _first_type(kind)
    family = wanted.partition(".")[0]
    file = wanted if wanted in files else next((name for name in files if name.partition(".")[0] == family), None)
    file = file or next(iter(files), None)
    document: Any = json.loads((_FOLDER / kind.name / f"{file}.json").read_bytes()) if file else {"data": {}}
    if file != wanted:
        _write(document, fields.type, wanted)
    for path, renewal in kind.sample_fresh.items():
        _renew(document, parse_direct(path) or (), renewal, identity, now)
    if not kind.sample_fresh:
        for field, value in ((fields.id, identity), (fields.key, identity), (fields.time, _iso(now))):
            if field is not None:
                _write(document, field, value)
    return _wrapped(document, source.declaration.split) if source.declaration.split else document


def _write(document: Any, field: Field, text: str) -> None:
    """Put `text` where the field's first alternative reads it; a format is taken apart at its fixed text."""
    pieces = field.alternatives[0].pieces
    pattern = "".join(re.escape(piece) if isinstance(piece, str) else "(.*?)" for piece in pieces)
    found = re.fullmatch(pattern, text, re.DOTALL)
    looked_up = [piece for piece in pieces if isinstance(piece, Placeholder)]
    for number, piece in enumerate(looked_up, 1):
        steps = parse_direct(piece.expression) if piece.expression.startswith("$") else None
        part = found[number] if found else text
        if steps and not any(step is None for step in steps):
            # Who lowers what is upper case sends it in upper case.
            _put(document, steps, part.upper() if str.lower in piece.filters else part)


def _put(document: Any, steps: tuple[str | int | None, ...], value: Json) -> None:
    at = document
    for step in steps[:-1]:
        if not isinstance(at, dict) or not isinstance(step, str):
            return
        at = at.setdefault(step, {})
    if isinstance(at, dict) and isinstance(steps[-1], str):
        at[steps[-1]] = value


def _renew(document: Any, steps: tuple[str | int | None, ...], renewal: str, identity: str, now: datetime) -> None:
    at = document
    for step in steps[:-1]:
        at = at.get(step) if isinstance(at, dict) else None
    if not isinstance(at, dict) or steps[-1] not in at:
        return
    since = now - _EPOCH
    at[steps[-1]] = {
        "id": identity,
        "number": int(hashlib.sha256(identity.encode()).hexdigest()[:8], 16),
        "iso": _iso(now),
        "s": since // timedelta(seconds=1),
        "ms": since // timedelta(milliseconds=1),
        "us": since // timedelta(microseconds=1),
    }[renewal]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _wrapped(element: Json, path: SplitPath) -> Json:
    for step in reversed(path):
        element = [element] if step is None else {step: element}
    return element


def _type_in(source: DeclaredSource, body: bytes) -> str:
    return _first_event(source, body)[0]


def _id_in(source: DeclaredSource, body: bytes) -> str | None:
    return _first_event(source, body)[1]


def _first_event(source: DeclaredSource, body: bytes) -> tuple[str, str | None]:
    request = IncomingRequest(
        method="POST",
        subpath="",
        url=None,
        headers=(("content-type", "application/json"),),
        query=(),
        client_ip="",
        body=body,
        received_at=_EPOCH,
    )
    events = source.normalize(request)
    return (events[0].type, events[0].sender_id) if events else ("", None)


def _add(headers: dict[str, str], name: str, value: str) -> None:
    # A type or id from a user's file may hold what a header cannot.
    if _HEADER_SAFE.fullmatch(value):
        headers[name.lower()] = value


def _add_where_read(field: Field | None, value: str, headers: dict[str, str], query: dict[str, str]) -> None:
    if field is None:
        return
    for name in field.headers:
        if name not in headers:
            _add(headers, name, value)
    for name in field.query:
        query.setdefault(name, value)
