"""What an action is given: the delivery to make, and the means to make it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from hookline.plugins.retry_after import parse_retry_after
from hookline.plugins.tls import Tls
from hookline.rules import Event, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One step of one matched rule for one event, on one attempt."""

    #: Ours, `dlv_…`; the same on every attempt.
    id: str
    #: What was accepted.
    event: Event
    #: The request's body as received, byte for byte.
    body: bytes
    #: The body's content type as received, "" if none was sent.
    content_type: str
    #: True if `event` is one element of a batch, so `body` holds others besides.
    is_split: bool
    #: Name of the rule that asked for it; "" for a fallback.
    rule: str
    #: Name of the destination, or of the action if it stands in place.
    destination: str
    #: 1 for the first try.
    attempt: int
    #: Of a digest: every event that was collected, first to last; `event` is the first. Empty for all others.
    events: tuple[Event, ...] = ()
    #: Of `changed`: what the value was before.
    previous: Json = None
    #: It tells of others that `once` suppressed: how many. 0 for all others.
    suppressed: int = 0
    #: Somebody asked for it again.
    is_replay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, its body cut off after the bound that `Http` keeps."""

    status: int
    #: By lower-case name.
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace")

    @property
    def retry_after(self) -> timedelta | None:
        """What `Retry-After` asks for (RFC 9110, 10.2.3), between 0 and 24 h; None if absent or unreadable."""
        return parse_retry_after(self.headers.get("retry-after"))


class Http(Protocol):
    """HTTP for actions: no redirects, no cookies, no proxies, bounded answers, every dialled address checked."""

    async def request(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: Any = None,
        tls: Tls | None = None,
        is_aside: bool = False,
    ) -> Reply:
        """Send one request and return the answer whatever its status.

        `tls`: certificates other than the system's. `is_aside`: this is not the delivery itself, such as asking for a
        token, so neither its sending nor its answer says how the attempt ended, and its answer is not kept.

        Raises `TransientError` if no answer came (`is_unknown` if the request had been sent) or the files of `tls`
        cannot be read, and `PermanentError` if the URL or the address is not allowed.
        """
        ...

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: Any = None,
        tls: Tls | None = None,
    ) -> Reply:
        """Send a POST; as `request`."""
        ...


class Log(Protocol):
    """A structured logger bound to the delivery: `context.log.info("sent", parts=3)`."""

    def debug(self, event: str, **fields: Any) -> Any:
        """Log for whoever hunts a fault."""
        ...

    def info(self, event: str, **fields: Any) -> Any:
        """Log for whoever reads the log."""
        ...

    def warning(self, event: str, **fields: Any) -> Any:
        """Log for whoever must act."""
        ...


class Context(Protocol):
    """The means to make one attempt."""

    @property
    def http(self) -> Http:
        """HTTP under the address rules of this delivery."""
        ...

    @property
    def log(self) -> Log:
        """A logger that knows the delivery."""
        ...

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt of the delivery, and on no other delivery."""
        ...

    @property
    def seconds_left(self) -> float:
        """Until the attempt is ended; who ends before can say what had been sent by then."""
        ...

    async def connect(self, host: str, port: int) -> socket.socket:
        """Open a TCP connection under the address rules of this delivery, for protocols other than HTTP.

        Raises as `Http.request` does.
        """
        ...
