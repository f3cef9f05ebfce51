"""A source type's declaration: what a user writes under `type: generic`, and what the built-in types are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from hookline.daemon.sources.cloudevents import PREFIX
from hookline.daemon.sources.fields import Field, as_text, compile_field
from hookline.daemon.sources.filters import Maps
from hookline.daemon.sources.handshake_declaration import Handshake, read_handshakes
from hookline.daemon.sources.options import Options, Path, kind_of
from hookline.daemon.sources.port import Answer, OptionProblem
from hookline.daemon.sources.reading import Reading, read_reading
from hookline.daemon.sources.split import Split, parse_splits
from hookline.daemon.sources.verification import LEARNED, Verification, read_verification
from hookline.rules import Json
from hookline.rules.suggestion import suggest

#: The type of an event whose sender says none, where the source type does not promise one.
UNTYPED: Final = "untyped"
_DEFAULT_TYPE: Final = ("$.type", "$.event_type", "$.event", UNTYPED)
_METHODS: Final = ("POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS")
_BODILESS: Final = frozenset({204, 205})
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_FIELD_HINT: Final = (
    'write a path ($.id), header.NAME, query.NAME, a format ("{$.type}.{$.action}"), or a list of these'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Where an event says what it is."""

    type: Field
    #: What the sender calls it.
    id: Field | None
    #: What makes two requests the same event, if that is not `id`.
    key: Field | None
    tenant: Field | None
    time: Field | None
    #: What it is about.
    subject: Field | None = None
    #: What is added to a body's digest, though nobody vouches for it.
    digest_with: Field | None = None

    def _all(self) -> tuple[Field, ...]:
        fields = (self.type, self.id, self.key, self.tenant, self.time, self.subject, self.digest_with)
        return tuple(field for field in fields if field is not None)

    @property
    def headers(self) -> frozenset[str]:
        """Lower-case names of all headers that they read."""
        return frozenset[str]().union(*(field.headers for field in self._all()))

    @property
    def query(self) -> frozenset[str]:
        """Names of all query parameters that they read."""
        return frozenset[str]().union(*(field.query for field in self._all()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """How a source verifies its requests and reads events from them."""

    verification: Verification
    fields: Fields
    #: Where the events of a batch stand; None if a request is one event.
    split: Split | None
    #: Methods that bring events, in upper case.
    methods: frozenset[str] = frozenset({"POST"})
    #: Other names of headers, both in lower case: what stands for a name that a request does not have, by that name.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Tried in order before anything else.
    handshakes: tuple[Handshake, ...] = ()
    #: How the document is read; None: as `read_body` does.
    body: Reading | None = None
    answer: Answer = field(default_factory=Answer)


def read_declaration(
    values: Mapping[str, Json],
    *,
    has_public_url: bool,
    problems: list[OptionProblem],
    learned: Callable[[], tuple[str, ...]] | None = None,
) -> Declaration | None:
    """Read a declaration; None, with problems, if something is wrong.

    `learned` gives the secrets that the sender has brought itself, for a source that takes them.
    """
    before = len(problems)
    options = Options(values, (), problems)
    verification = read_verification(
        options.get("verify"), path=("verify",), has_public_url=has_public_url, problems=problems, learned=learned
    )
    fields = _read_fields(options, _read_maps(options))
    split = _read_split(options)
    methods = _read_methods(options)
    body = read_reading(options)
    headers = _read_headers(options, body)
    handshakes = read_handshakes(options)
    answer = _read_answer(options)
    options.finish()
    if verification is not None and verification.learns and not any(one.learn for one in handshakes or ()):
        hint = "write a handshake with `learn`, or the secret itself"
        message = "it waits for a secret that no handshake brings, so every event would be refused"
        problems.append(OptionProblem(path=_learned_place(options.get("verify")), message=message, hint=hint))
    if verification is None or handshakes is None or len(problems) > before:
        return None
    return Declaration(
        verification=verification,
        fields=fields,
        split=split,
        methods=methods,
        headers=headers,
        handshakes=handshakes,
        body=body,
        answer=answer,
    )


def _learned_place(verify: Json) -> Path:
    ways = verify if isinstance(verify, list) else [verify]
    number = next(n for n, way in enumerate(ways) if isinstance(way, dict) and way.get("secret") == LEARNED)
    return ("verify", number, "secret") if isinstance(verify, list) else ("verify", "secret")


def _read_maps(options: Options) -> Maps:
    below, names = _table(options, "maps", hint="write {verb: {create: created}}")
    found: dict[str, Mapping[str, str]] = {}
    for name in names:
        # A table with a mistake in it is one all the same: that `map` names it is right.
        table, keys = _table(below, name, hint="write {create: created}")
        found[name] = {key: _read_word(table, key) for key in keys}
    return found


def _table(options: Options, key: str, *, hint: str) -> tuple[Options, tuple[str, ...]]:
    """Return a mapping whose names are the user's, and the names; an empty one if it is not there or wrong."""
    below = options.below(key, hint=hint)
    value = options.get(key)
    names = tuple(value) if isinstance(value, dict) else ()
    return below or Options({}, options.path_of(key), options.problems), names


def _read_word(table: Options, key: str) -> str:
    value = table.get(key)
    word = as_text(value)
    if word is None:
        table.problem(key, f"expected a text, saw {kind_of(value)}", "write what stands for it, such as created")
    return word or ""


def _read_methods(options: Options) -> frozenset[str]:
    methods = options.texts("methods") if "methods" in options else None
    options.get("methods")
    for method in methods or ():
        if method not in _METHODS:
            hint = suggest(method.upper(), _METHODS, what="there are")
            options.problem("methods", f'"{method[:40]}" is no method that brings events', hint)
    return frozenset(methods or ("POST",))


def _read_headers(options: Options, body: Reading | None) -> Mapping[str, str]:
    below, names = _table(options, "headers", hint="write {svix-id: webhook-id}")
    found: dict[str, str] = {}
    for name in names:
        other = below.text(name, "").lower()
        if not isinstance(below.get(name), str):
            continue
        wrong = next((one for one in (name, other) if not _HEADER_NAME.fullmatch(one)), None)
        if wrong is not None:
            below.problem(name, f"{wrong[:60]!r} is no header's name", "letters, digits and - alone")
        elif body is not None and body.is_cloudevents and name.lower().startswith(PREFIX):
            below.problem(name, "the reader cloudevents knows its headers by their own names alone", "take it away")
        elif other == name.lower() or other in found.values():
            below.problem(name, f"{other} cannot stand for two headers", "take one of the two away")
        found[name.lower()] = other
    return found


def _read_answer(options: Options) -> Answer:
    below = options.below("answer", hint='write {status: 200, body: ""}')
    if below is None:
        return Answer()
    status = below.get("status") if "status" in below else 200
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 299:
        said = status if isinstance(status, int) and not isinstance(status, bool) else kind_of(status)
        below.problem("status", f"expected a status from 200 to 299, saw {said}", "a refusal is not for stored events")
        status = 200
    body = below.text("body", "")
    content_type = below.text("content_type", "text/plain; charset=utf-8" if body else "")
    if not (content_type.isascii() and content_type.isprintable()):
        below.problem("content_type", "it holds what a header cannot carry", "write such as text/xml")
    if "content_type" in below and not body:
        below.problem(
            "content_type", "there is no body that it could say something of", "write `body`, or take it away"
        )
    if body and status in _BODILESS:
        below.problem("body", f"an answer {status} has no body", "write another status, or take the body away")
    below.finish()
    # HTTP knows no body for these, so there is none, though none was asked for.
    is_given = "body" in below or status in _BODILESS
    return Answer(status=status, body=body.encode() if is_given else None, content_type=content_type)


def _read_split(options: Options) -> Split | None:
    paths = options.texts("split") if "split" in options else None
    options.get("split")
    if paths is None:
        return None
    try:
        return parse_splits(paths)
    except ValueError as error:
        options.problem("split", str(error))
        return None


def _read_fields(options: Options, maps: Maps) -> Fields:
    event = options.below("event", hint="write {type: $.type, id: $.id}") or Options({}, ("event",), options.problems)
    fields = Fields(
        type=_read_field(event, "type", maps, default=_DEFAULT_TYPE, allow_literal=True) or _field(_DEFAULT_TYPE),
        id=_read_field(event, "id", maps),
        key=_read_field(event, "key", maps),
        tenant=_read_field(event, "tenant", maps, allow_literal=True),
        time=_read_field(event, "time", maps),
        subject=_read_field(event, "subject", maps),
        digest_with=_read_field(event, "digest_with", maps),
    )
    event.finish()
    return fields


def _field(specs: tuple[str, ...]) -> Field:
    return compile_field(specs, allow_literal=True)


def _read_field(
    event: Options, key: str, maps: Maps, *, default: tuple[str, ...] | None = None, allow_literal: bool = False
) -> Field | None:
    specs = event.texts(key) if key in event else default
    event.get(key)
    if specs is None:
        return None
    try:
        return compile_field(specs, allow_literal=allow_literal, maps=maps)
    except ValueError as error:
        hint = getattr(error, "hint", None)
        event.problem(key, str(error), hint or _FIELD_HINT)
        return None
