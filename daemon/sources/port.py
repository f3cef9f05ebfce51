"""A source, as the receiver knows it: verify, then normalize. Pure: bytes and mappings in, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from hookline.rules import Json

#: Why a request was refused: a closed set, for metrics and the record of rejections.
Reason = Literal[
    "signature",  # missing, wrong, or not readable
    "timestamp",  # signed, but too old or from the future
    "certificate",  # what the sender signs with could not be fetched now
    "handshake",  # a sender that introduces itself wrongly, or when nobody waits for it
    "body",  # not a body that we can take
    "method",
    "path",
    "framing",
    "limit",
    "quota",
    "store",
]


class RequestRejected(Exception):  # noqa: N818 - the word of the contract; it is an answer, not a fault
    """A request that is refused: the only thing that verify and normalize raise, whatever the bytes."""

    def __init__(self, reason: Reason, status: int, detail: str, *, retry_after: int | None = None) -> None:
        """Say why (for metrics), the status to answer, and a sentence for the sender's operator without secrets.

        `retry_after`: of a 429 or 503, in how many seconds to come again; None if nobody can say.
        """
        super().__init__(detail)
        self.reason: Reason = reason
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingRequest:
    """A request as received."""

    #: `POST`, or another one that the source takes.
    method: str
    #: The part after /hooks/<source>, without the leading slash; "" if none.
    subpath: str
    #: As the sender calls it: the source's own `public_url`, or the configuration's with the path as received, and the
    #: raw query; None if neither is configured.
    url: str | None
    #: By lower-case name, in order, repeated ones apart; latin-1 decoded.
    headers: Sequence[tuple[str, str]]
    #: Decoded query parameters, in order.
    query: Sequence[tuple[str, str]]
    client_ip: str
    #: Byte for byte.
    body: bytes
    #: Aware, UTC.
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizedEvent:
    """One event of a request, before it has an id of ours. Fields as in `hookline.rules.Event`."""

    type: str
    sender_id: str | None
    key: str
    tenant: str | None
    #: What it is about, in the sender's words, such as `deal/123`.
    subject: str | None = None
    occurred_at: datetime | None
    payload: Json
    envelope: Json
    #: Where it stands in the parsed body; None if it is the whole body.
    pointer: tuple[str | int, ...] | None
    #: For people, if it is `unreadable`: what is wrong with the body.
    why_unreadable: str | None = None
    #: Whether payload and envelope are other than what `read_body` makes of the body and its content type, such as JSON
    #: in a field of a form: then the store keeps them as well, since it could not read them out of the body again.
    is_reshaped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the sender is told when its events are stored."""

    status: int = 200
    #: None: what was accepted, as JSON. b"": nothing, which some senders insist on (Xero).
    body: bytes | None = None
    #: Of a body that is given.
    content_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a request is answered that is no event: a handshake."""

    status: int = 200
    #: By lower-case name; values are printable ASCII.
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: For the log: what it was.
    detail: str = field(default="", compare=False)


class Outside(Protocol):
    """What a source may ask of the world before it can verify; bounded, and only of hosts that its scheme names."""

    async def fetch(self, url: str) -> bytes:
        """Return what stands at an HTTPS URL. Raises `RequestRejected` (503, `certificate`) if it cannot be had now."""
        ...


class LearnedSecrets(Protocol):
    """Secrets that a sender brings itself (Asana): kept for the daemon alone, or for all of its nodes."""

    def known(self, source: str) -> tuple[str, ...]:
        """Return the secrets that a source has learned, the newest first."""
        ...

    def is_waiting(self, source: str) -> bool:
        """Whether a source would take a secret now: it has none yet, or an operator asked it to wait for another."""
        ...

    async def refresh(self, *, at_once: bool = False) -> None:
        """Take over what other nodes learned or forgot, if the last look is not fresh, or `at_once`.

        Raises `RequestRejected` (503) if it cannot be looked.
        """
        ...

    async def learn(self, source: str, secret: str) -> None:
        """Keep a secret for good (fsynced) and wait no more. Raises `RequestRejected` (503) if it cannot be kept."""
        ...


class Source(Protocol):
    """A configured source. `verify` and `normalize` are pure and may be made concurrently."""

    @property
    def name(self) -> str:
        """The name in the configuration and in the path."""
        ...

    @property
    def answer(self) -> Answer:
        """What to tell the sender when its events are stored."""
        ...

    @property
    def methods(self) -> frozenset[str]:
        """Methods that it takes, in upper case: `POST`, and what its handshakes need."""
        ...

    @property
    def public_url(self) -> str | None:
        """The URL that the sender calls it by, if that is not the configuration's with the path as received."""
        ...

    @property
    def prepares(self) -> bool:
        """Whether `prepare` does anything: most sources have nothing to prepare."""
        ...

    @property
    def dedupe_window(self) -> timedelta:
        """How long a key is remembered, if the source needs longer than the configuration's."""
        ...

    @property
    def credential_headers(self) -> frozenset[str]:
        """Lower-case names of headers that hold its credentials; they are neither matched on nor stored."""
        ...

    @property
    def credential_query(self) -> frozenset[str]:
        """Names of query parameters that hold its credentials."""
        ...

    async def prepare(self, request: IncomingRequest) -> Reply | None:
        """Do what comes before `verify`: fetch a key that it needs, or answer a handshake.

        Called first, and only if `prepares`. Returns the whole answer if the request is no event. Raises
        `RequestRejected`.
        """
        ...

    def verify(self, request: IncomingRequest) -> None:
        """Check that the sender knows the secret, over the raw bytes, in constant time.

        Raises `RequestRejected` (401) in any other case.
        """
        ...

    def normalize(self, request: IncomingRequest) -> tuple[NormalizedEvent, ...]:
        """Read a verified request's events.

        A body that cannot be read as promised gives one event of type `unreadable`, so nothing authentic is lost.
        Raises `RequestRejected` only for what is no request at all (a content type that we cannot take).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What `sources.<name>` says, checked for shape; a source type reads its own options from it."""

    name: str
    #: Such as `agiled`.
    type: str
    #: All other keys, `${}` resolved: there are secrets among them.
    options: Mapping[str, Json] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionProblem:
    """A mistake in a source's options; configuration turns it into a `Problem` with its place."""

    #: Path below the source, such as `("verify", "algorithm")`.
    path: tuple[str | int, ...]
    message: str
    hint: str | None = None
