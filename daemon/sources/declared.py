"""A source that does what its declaration says."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Final
from urllib.parse import urlencode

from hookline.daemon.sources.body import UnreadableBodyError, as_mapping, media_type, read_body
from hookline.daemon.sources.cloudevents import header_names, is_binary
from hookline.daemon.sources.declaration import Declaration
from hookline.daemon.sources.dedupe import Digest
from hookline.daemon.sources.fields import Field
from hookline.daemon.sources.handshake import greet
from hookline.daemon.sources.headers import content_type_of, once, renamed
from hookline.daemon.sources.places import Facts
from hookline.daemon.sources.port import (
    Answer,
    IncomingRequest,
    LearnedSecrets,
    NormalizedEvent,
    Outside,
    Reply,
    RequestRejected,
)
from hookline.daemon.sources.split import NotSplittableError, Pointer
from hookline.daemon.sources.stamps import read_time
from hookline.rules import Json

#: The type of what was authentic but could not be read.
UNREADABLE: Final = "unreadable"
#: Longer texts are cut, with a hash of the whole behind, so that two of them stay two.
MAX_TEXT_LENGTH: Final = 255

# What every store can index and compare; anything else becomes its hash.
_PLAIN_KEY: Final = re.compile(r"(?!body:|hash:)[\x21-\x7e]{1,255}")
# Without a body these are broken; any other method says all in its query.
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class DeclaredSource:
    """Verifies, splits, and reads what it received, by a declaration. Implements `Source`."""

    name: str
    declaration: Declaration
    #: The part of the path after the name, a secret; None if there is none.
    path_token: str | None
    #: More events than this in one request make it `unreadable`.
    batch_limit: int
    #: How long a key is remembered.
    dedupe_window: timedelta
    #: How often something should come; None if nothing was said.
    expect_every: timedelta | None
    #: For keys that have to be fetched, and handshakes that ask for it.
    outside: Outside | None = None
    #: For a sender that brings its secret.
    learned: LearnedSecrets | None = None
    #: As the sender calls it, if that is not the configuration's with the path as received.
    public_url: str | None = None

    @property
    def answer(self) -> Answer:
        """What to tell the sender when its events are stored."""
        return self.declaration.answer

    @cached_property
    def methods(self) -> frozenset[str]:
        """Methods that bring events, and what its handshakes need."""
        return self.declaration.methods | {handshake.method for handshake in self.declaration.handshakes}

    @cached_property
    def prepares(self) -> bool:
        """Whether there are handshakes, or keys that may have to be fetched."""
        return bool(self.declaration.handshakes) or self.declaration.verification.verifier.fetches

    @cached_property
    def credential_headers(self) -> frozenset[str]:
        """Lower-case names of headers that are neither matched on nor stored."""
        names = self.declaration.verification.verifier.credential_headers
        return names | {other for name, other in self.declaration.headers.items() if name in names}

    @cached_property
    def credential_query(self) -> frozenset[str]:
        """Names of query parameters that are neither matched on nor stored."""
        return self.declaration.verification.verifier.credential_query

    @cached_property
    def _named_by(self) -> Field | None:
        return self.declaration.fields.key or self.declaration.fields.id

    @cached_property
    def _is_key_signed(self) -> bool:
        return self._is_signed(frozenset(), frozenset())

    def _is_signed(self, headers: frozenset[str], query: frozenset[str]) -> bool:
        """Tell whether the sender vouches for keys, if what they are read from came from these too."""
        named_by = self._named_by
        vouches_for = self.declaration.verification.verifier.vouches_for
        return named_by is not None and vouches_for(named_by.headers | headers, named_by.query | query)

    @cached_property
    def _path(self) -> bytes:
        return (self.path_token or "").encode()

    @cached_property
    def _names(self) -> tuple[frozenset[str], frozenset[str]]:
        return self.declaration.fields.headers, self.declaration.fields.query

    async def prepare(self, request: IncomingRequest) -> Reply | None:
        """Fetch a key that `verify` needs, and answer a handshake.

        Raises `RequestRejected`: 404 for a wrong path, 405 for a method that none but a handshake comes by, 503 for a
        key that cannot be had, and what a handshake raises.
        """
        self._check_path(request)
        request = renamed(request, self.declaration.headers)
        verifier = self.declaration.verification.verifier
        url = verifier.needs(request)
        if url is not None:
            if self.outside is None:
                raise RequestRejected("certificate", 503, "the sender's key cannot be fetched here")
            verifier.add_key(url, await self.outside.fetch(url))
        if self.declaration.verification.learns and self.learned is not None:
            await self._look_again(request, self.learned)
        if self.declaration.handshakes:
            reply = await greet(
                self.declaration.handshakes,
                request,
                name=self.name,
                verify=verifier.verify,
                outside=self.outside,
                learned=self.learned,
            )
            if reply is not None:
                return reply
        if request.method not in self.declaration.methods:
            raise RequestRejected("method", 405, f"{request.method} is for a handshake, which this is not")
        return None

    async def _look_again(self, request: IncomingRequest, learned: LearnedSecrets) -> None:
        """Know what other nodes learned before what they learned it from is refused."""
        await learned.refresh()
        try:
            self.declaration.verification.verifier.verify(request)
        except RequestRejected:
            await learned.refresh(at_once=True)

    def verify(self, request: IncomingRequest) -> None:
        """Raise `RequestRejected`: 404 for a wrong path, 401 for anything that does not prove its sender."""
        self._check_path(request)
        if self.declaration.headers:
            request = renamed(request, self.declaration.headers)
        self.declaration.verification.verifier.verify(request)

    def _check_path(self, request: IncomingRequest) -> None:
        given = request.subpath.encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(given, self._path):
            raise RequestRejected("path", 404, "no such source")

    def normalize(self, request: IncomingRequest) -> tuple[NormalizedEvent, ...]:
        """Read the events of a verified request; one `unreadable` event if the body is not what it should be.

        A batch may be empty. Raises `RequestRejected` (415) for multipart, and for CloudEvents in a format but JSON.
        """
        if self.declaration.headers:
            request = renamed(request, self.declaration.headers)
        content_type = content_type_of(request)
        if content_type != "application/json" and media_type(content_type).startswith("multipart/"):
            raise RequestRejected("body", 415, "multipart is not taken: send JSON")
        shared = _Shared(request.body, is_key_signed=self._is_key_signed)
        split = self.declaration.split
        try:
            if self.declaration.body is None and request.body:
                document = read_body(request.body, content_type)
            else:
                document = self._odd_document(request, content_type, shared)
            found = None if split is None else split.elements(document, most=self.batch_limit)
        except (UnreadableBodyError, NotSplittableError) as error:
            return (self._unreadable(shared, None, str(error)),)
        headers, query = self._names
        seen_headers = once(request.headers, headers) if headers else {}
        seen_query = once(request.query, query) if query else {}
        if found is None or split is None:
            return (self._event(Facts(document, document, None, seen_headers, seen_query), shared),)
        if len(found) > self.batch_limit:
            return (self._unreadable(shared, None, f"a batch of more than {self.batch_limit} events"),)
        if split.is_single:
            places: list[str | None] = [None] * len(found)
        else:
            places = [split.place(pointer) for pointer, _, _ in found]
        return tuple(
            [
                self._event(Facts(value, document, pointer or None, seen_headers, seen_query, place), shared)
                if why is None
                else self._unreadable(shared, pointer, why, place)
                for (pointer, value, why), place in zip(found, places, strict=True)
            ]
        )

    def _odd_document(self, request: IncomingRequest, content_type: str, shared: _Shared) -> Json:
        """Read what does not stand in the body alone, or not as its content type says. Raises as `read_body` does."""
        if not request.body and request.method not in _BODY_METHODS:
            pairs = [(name, value) for name, value in request.query if name not in self.credential_query]
            shared.is_reshaped = True
            shared.is_key_signed = self._is_signed(frozenset(), frozenset(name for name, _ in request.query))
            shared.body = urlencode(pairs, errors="surrogatepass").encode()
            return as_mapping(pairs)
        reading = self.declaration.body
        if reading is None:
            return read_body(request.body, content_type)
        document, shared.is_reshaped = reading.document(request, content_type)
        if reading.is_cloudevents and is_binary(request.headers, content_type) and self._named_by is not None:
            shared.is_key_signed = self._is_signed(header_names(self._named_by), frozenset())
        return document

    def _event(self, facts: Facts, shared: _Shared) -> NormalizedEvent:
        fields = self.declaration.fields
        kind = fields.type.text(facts)
        if kind is None or len(kind) > MAX_TEXT_LENGTH or kind == UNREADABLE:
            return self._unreadable(shared, facts.pointer, self._no_type(kind), facts.place)
        return NormalizedEvent(
            type=_storable(kind),
            sender_id=_bounded(fields.id.text(facts)) if fields.id else None,
            key=self._key(facts, shared),
            tenant=_bounded(fields.tenant.text(facts)) if fields.tenant else None,
            subject=_bounded(fields.subject.text(facts)) if fields.subject else None,
            occurred_at=read_time(fields.time.value(facts)) if fields.time else None,
            payload=facts.payload,
            envelope=facts.envelope if facts.pointer is not None else None,
            pointer=facts.pointer,
            is_reshaped=shared.is_reshaped,
        )

    def _no_type(self, kind: str | None) -> str:
        """Say why this is no event type."""
        if kind is None:
            return f"no event type at {' or '.join(self.declaration.fields.type.specs)}"
        if kind == UNREADABLE:
            return f"the sender calls it {UNREADABLE}, which is a word of ours"
        return f"an event type of more than {MAX_TEXT_LENGTH} characters"

    def _key(self, facts: Facts, shared: _Shared) -> str:
        # An id that the signature does not cover is no key: a captured body could be sent again under a fresh one.
        named_by = self._named_by
        identity = named_by.identity(facts) if named_by and shared.is_key_signed else None
        if identity is None:
            with_ = self.declaration.fields.digest_with
            return shared.key(facts.pointer, facts.place, with_.text(facts) if with_ else None)
        if _PLAIN_KEY.fullmatch(identity):
            return identity
        return f"hash:{hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def _unreadable(
        self, shared: _Shared, pointer: Pointer | None, why: str, place: str | None = None
    ) -> NormalizedEvent:
        return NormalizedEvent(
            type=UNREADABLE,
            sender_id=None,
            key=shared.key(pointer, place),
            tenant=None,
            occurred_at=None,
            payload=None,
            envelope=None,
            pointer=pointer,
            why_unreadable=why,
        )


class _Shared(Digest):
    """What the events of a request have in common."""

    def __init__(self, body: bytes, *, is_key_signed: bool) -> None:
        self.body = body
        self.is_key_signed = is_key_signed
        self.is_reshaped = False


def _storable(text: str) -> str:
    # No database takes a lone surrogate, and PostgreSQL takes no NUL.
    return text if text.isascii() and "\x00" not in text else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _bounded(text: str | None) -> str | None:
    if text is None:
        return None
    if len(text) <= MAX_TEXT_LENGTH:
        return _storable(text)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{_storable(text[: MAX_TEXT_LENGTH - 17])}…{digest}"
