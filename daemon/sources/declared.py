"""A source that does what its declaration says."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Final

from hookline.daemon.sources.body import UnreadableBodyError, media_type, read_body
from hookline.daemon.sources.declaration import Declaration
from hookline.daemon.sources.places import Facts
from hookline.daemon.sources.port import Answer, IncomingRequest, NormalizedEvent, RequestRejected
from hookline.daemon.sources.split import NotSplittableError, Pointer, elements
from hookline.daemon.sources.stamps import read_time
from hookline.rules import Json

#: The type of what was authentic but could not be read.
UNREADABLE: Final = "unreadable"
#: Longer texts are cut, with a hash of the whole behind, so that two of them stay two.
MAX_TEXT_LENGTH: Final = 255

# What every store can index and compare; anything else becomes its hash.
_PLAIN_KEY: Final = re.compile(r"(?!body:|hash:)[\x21-\x7e]{1,255}")
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
    answer: Answer = field(default_factory=Answer)

    @cached_property
    def credential_headers(self) -> frozenset[str]:
        """Lower-case names of headers that are neither matched on nor stored."""
        return self.declaration.verification.verifier.credential_headers

    @cached_property
    def credential_query(self) -> frozenset[str]:
        """Names of query parameters that are neither matched on nor stored."""
        return self.declaration.verification.verifier.credential_query

    @cached_property
    def _is_key_signed(self) -> bool:
        key = self.declaration.fields.key or self.declaration.fields.id
        return key is not None and self.declaration.verification.verifier.vouches_for(key.headers, key.query)

    @cached_property
    def _path(self) -> bytes:
        return (self.path_token or "").encode()

    @cached_property
    def _names(self) -> tuple[frozenset[str], frozenset[str]]:
        return self.declaration.fields.headers, self.declaration.fields.query

    def verify(self, request: IncomingRequest) -> None:
        """Raise `RequestRejected`: 404 for a wrong path, 401 for anything that does not prove its sender."""
        given = request.subpath.encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(given, self._path):
            raise RequestRejected("path", 404, "no such source")
        self.declaration.verification.verifier.verify(request)

    def normalize(self, request: IncomingRequest) -> tuple[NormalizedEvent, ...]:
        """Read the events of a verified request; one `unreadable` event if the body is not what it should be.

        A batch may be empty. Raises `RequestRejected` (415) for multipart alone.
        """
        digest = _Digest(request.body)
        content_type = _content_type(request)
        if media_type(content_type).startswith("multipart/"):
            raise RequestRejected("body", 415, "multipart is not taken: send JSON")
        try:
            document = read_body(request.body, content_type)
            found = self._split(document)
        except (UnreadableBodyError, NotSplittableError) as error:
            return (self._unreadable(digest, None, str(error)),)
        if len(found) > self.batch_limit:
            return (self._unreadable(digest, None, f"a batch of more than {self.batch_limit} events"),)
        headers, query = self._names
        seen_headers = _once(request.headers, headers) if headers else {}
        seen_query = _once(request.query, query) if query else {}
        return tuple(
            [
                self._event(Facts(payload, document, pointer, seen_headers, seen_query), digest)
                for pointer, payload in found
            ]
        )

    def _split(self, document: Json) -> list[tuple[Pointer | None, Json]]:
        if self.declaration.split is None:
            return [(None, document)]
        found: list[tuple[Pointer | None, Json]] = []
        for pointer, element in elements(document, self.declaration.split):
            found.append((pointer, element))
            if len(found) > self.batch_limit:
                break
        return found

    def _event(self, facts: Facts, digest: _Digest) -> NormalizedEvent:
        fields = self.declaration.fields
        kind = fields.type.text(facts)
        if kind is None:
            return self._unreadable(digest, facts.pointer, f"no event type at {' or '.join(fields.type.specs)}")
        if len(kind) > MAX_TEXT_LENGTH:
            return self._unreadable(digest, facts.pointer, f"an event type of more than {MAX_TEXT_LENGTH} characters")
        if kind == UNREADABLE:
            return self._unreadable(digest, facts.pointer, f"the sender calls it {UNREADABLE}, which is a word of ours")
        sender_id = fields.id.text(facts) if fields.id else None
        tenant = fields.tenant.text(facts) if fields.tenant else None
        return NormalizedEvent(
            type=_storable(kind),
            sender_id=_bounded(sender_id),
            key=self._key(facts, digest),
            tenant=_bounded(tenant),
            occurred_at=read_time(fields.time.value(facts)) if fields.time else None,
            payload=facts.payload,
            envelope=facts.envelope if facts.pointer is not None else None,
            pointer=facts.pointer,
        )

    def _key(self, facts: Facts, digest: _Digest) -> str:
        # An id that the signature does not cover is no key: a captured body could be sent again under a fresh one.
        named_by = self.declaration.fields.key or self.declaration.fields.id
        identity = named_by.identity(facts) if named_by and self._is_key_signed else None
        if identity is None:
            return digest.key(facts.pointer)
        if _PLAIN_KEY.fullmatch(identity):
            return identity
        return f"hash:{hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def _unreadable(self, digest: _Digest, pointer: Pointer | None, why: str) -> NormalizedEvent:
        return NormalizedEvent(
            type=UNREADABLE,
            sender_id=None,
            key=digest.key(pointer),
            tenant=None,
            occurred_at=None,
            payload=None,
            envelope=None,
            pointer=pointer,
            why_unreadable=why,
        )


class _Digest:
    """The hash of a body, made once and only if a key needs it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    @cached_property
    def _whole(self) -> str:
        return hashlib.sha256(self._body).hexdigest()

    def key(self, pointer: Pointer | None) -> str:
        """Return the dedupe key of the body, or of an element by its place in the body."""
        if pointer is None:
            return f"body:{self._whole}"
        # Names are the declaration's, the same for all elements, so the indexes tell them apart.
        return f"body:{self._whole}{''.join(f'[{step}]' for step in pointer if isinstance(step, int))}"


def _content_type(request: IncomingRequest) -> str:
    for name, value in request.headers:
        if name == "content-type":
            return value
    return ""


def _once(pairs: Sequence[tuple[str, str]], names: frozenset[str]) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {}
    for name, value in pairs:
        if name in names:
            found[name] = None if name in found else value
    return found


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
