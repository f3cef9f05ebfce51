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

    def __init__(self, reason: Reason, status: int, detail: str) -> None:
        """Say why (for metrics), the status to answer, and a sentence for the sender's operator without secrets."""
        super().__init__(detail)
        self.reason: Reason = reason
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingRequest:
    """A request as received."""

    method: str
    #: The part after /hooks/<source>, without the leading slash; "" if none.
    subpath: str
    #: `public_url` of the configuration with path and raw query as received; None if it is not configured.
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
    occurred_at: datetime | None
    payload: Json
    envelope: Json
    #: Where it stands in the parsed body; None if it is the whole body.
    pointer: tuple[str | int, ...] | None
    #: For people, if it is `unreadable`: what is wrong with the body.
    why_unreadable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the sender is told when its events are stored."""

    status: int = 200
    #: False: an empty body (Xero).
    has_body: bool = True


class Source(Protocol):
    """A configured source. Both calls are pure and may be made concurrently."""

    @property
    def name(self) -> str:
        """The name in the configuration and in the path."""
        ...

    @property
    def answer(self) -> Answer:
        """What to tell the sender when its events are stored."""
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
