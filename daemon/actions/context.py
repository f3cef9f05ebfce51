"""The means an action is given for one attempt, and what was seen of it."""

from __future__ import annotations

import json as json_codec
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

import anyio.from_thread
from multidict import CIMultiDict
from yarl import URL

from hookline.daemon.actions.options import Target
from hookline.daemon.outbound.addresses import COMPUTED_PORTS, AddressPolicy, IPNetwork, parse_url
from hookline.daemon.outbound.connections import Outbound
from hookline.daemon.outbound.progress import Progress
from hookline.daemon.secrets import MASK
from hookline.plugins import Delivery, Log, PermanentError, Reply, Tls

#: Counts how often an event has passed through a Hookline; every request of ours carries it.
HOPS_HEADER = "Hookline-Hops"
MAX_HOPS = 5
_HOPS_KEY = HOPS_HEADER.lower()

_METHOD = re.compile(r"[A-Z]{1,20}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HOPS = re.compile(r"[0-9]{1,3}", re.ASCII)
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]{0,16384}")
# They belong to the connection, and two answers to where a request ends are a request smuggled.
_CONNECTION_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te",
     "trailer", "transfer-encoding", "upgrade", _HOPS_KEY}
)  # fmt: skip
# What is shorter would hide half of an answer, and is no secret.
_SHORTEST_CREDENTIAL = 8
# A literal host may lie in any network, so all of them share one pool.
_LITERAL = AddressPolicy(is_literal=True)


class AttemptContext:
    """What `deliver` gets as `context` (the `Context` of `hookline.plugins`), and its own `http`."""

    def __init__(  # noqa: PLR0913 - what one attempt consists of
        self,
        delivery: Delivery,
        *,
        outbound: Outbound,
        targets: frozenset[Target],
        allow_networks: tuple[IPNetwork, ...],
        log: Log,
        limit: timedelta,
    ) -> None:
        """`targets`: hosts that the operator wrote; all others must be public or in `allow_networks`."""
        self._ends_at = time.monotonic() + limit.total_seconds()
        self._outbound = outbound
        self._targets = targets
        self._allow_networks = allow_networks
        self._hops = _hops_of(delivery)
        self._progress: list[Progress] = []
        self._was_connected = False
        self.log = log
        self.idempotency_key = delivery.id
        #: The last answer, for the attempt's record; None if none came.
        self.reply: Reply | None = None
        #: Whether the last answer came from a host that the operator wrote.
        self.is_reply_literal = False

    @property
    def http(self) -> AttemptContext:
        """Itself: one object an attempt is enough."""
        return self

    @property
    def seconds_left(self) -> float:
        """As `hookline.plugins.Context.seconds_left` promises."""
        return max(0.0, self._ends_at - time.monotonic())

    @property
    def was_sent(self) -> bool:
        """Whether something has left the house, so that it may have happened even if nobody said so."""
        return self._was_connected or any(progress.was_sent for progress in self._progress)

    async def post(self, url: str, **options: Any) -> Reply:
        """Send a POST; as `request`."""
        return await self.request("POST", url, **options)

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
        """As `hookline.plugins.Http.request` promises."""
        if not _METHOD.fullmatch(method) or method in {"CONNECT", "TRACE"}:
            raise PermanentError(f"the method {method[:20]!a} is not one that is sent")
        if self._hops >= MAX_HOPS:
            raise PermanentError(f"the event has passed through Hookline {self._hops} times: a loop of forwards")
        try:
            target = parse_url(url)
        except ValueError as error:
            raise PermanentError(str(error)) from error
        is_literal = self._is_literal(target.raw_host or "", target.port or 0)
        self._check_computed(target, is_literal=is_literal)
        ready = _checked_headers(headers or {})
        ready[HOPS_HEADER] = str(self._hops + 1)
        if json is not None:
            content = _json_bytes(json)
            ready.setdefault("Content-Type", "application/json")
        progress = Progress()
        if not is_aside:
            self._progress.append(progress)
        # What an earlier request of the same attempt was told is not how this one ends.
        self.reply = None
        reply = await self._outbound.request(
            method,
            target,
            headers=ready,
            content=content,
            policy=self._policy(is_literal=is_literal),
            progress=progress,
            tls=tls,
        )
        if not is_aside:
            self.reply = _without_credential(reply, ready.get("Authorization", ""))
            self.is_reply_literal = is_literal
        return reply

    async def connect(self, host: str, port: int) -> socket.socket:
        """As `hookline.plugins.Context.connect` promises."""
        if self._hops >= MAX_HOPS:
            raise PermanentError(f"the event has passed through Hookline {self._hops} times: a loop of forwards")
        policy = self._policy(is_literal=self._is_literal(host, port))
        connection = await self._outbound.connect(host, port, policy=policy)
        self._was_connected = True
        return connection

    def _is_literal(self, host: str, port: int) -> bool:
        name = host.lower()
        return (name, port) in self._targets or (name, None) in self._targets

    def _policy(self, *, is_literal: bool) -> AddressPolicy:
        return _LITERAL if is_literal else AddressPolicy(is_literal=False, allow_networks=self._allow_networks)

    def _check_computed(self, url: URL, *, is_literal: bool) -> None:
        if is_literal or self._allow_networks:
            return
        # RFC 6761, 6.3: it is this machine, whatever a resolver says of it.
        if (url.raw_host or "").lower().rstrip(".").rpartition(".")[2] == "localhost":
            raise PermanentError("blocked address: localhost is this machine, and a template computed the host")
        # Elsewhere listen databases and mail servers, which read a request as commands of their own.
        if url.port not in COMPUTED_PORTS:
            ports = ", ".join(map(str, sorted(COMPUTED_PORTS)))
            raise PermanentError(f"blocked address: a template computed the host, so the port must be one of {ports}")


class BlockingContext:
    """The same for a plain function in a thread: calls wait instead of being awaited."""

    def __init__(self, context: AttemptContext) -> None:
        """Wrap the attempt's own."""
        self._context = context
        self.log = context.log
        self.idempotency_key = context.idempotency_key

    @property
    def http(self) -> BlockingContext:
        """Itself."""
        return self

    @property
    def seconds_left(self) -> float:
        """As `Context.seconds_left`."""
        return self._context.seconds_left

    def request(self, method: str, url: str, **options: Any) -> Reply:
        """As `Http.request`, without await."""
        reply: Reply = self._wait(lambda: self._context.request(method, url, **options))
        return reply

    def post(self, url: str, **options: Any) -> Reply:
        """As `Http.post`, without await."""
        return self.request("POST", url, **options)

    def connect(self, host: str, port: int) -> socket.socket:
        """As `Context.connect`, without await; the socket blocks."""
        connection: socket.socket = self._wait(lambda: self._context.connect(host, port))
        connection.setblocking(True)
        return connection

    @staticmethod
    def _wait(call: Callable[[], Any]) -> Any:
        return anyio.from_thread.run(call)


class MaskingLog:
    """A log that hides secrets in whatever an action writes to it."""

    def __init__(self, log: Any, delivery: Delivery, mask: Callable[[str], str]) -> None:
        """Every line names the delivery, its event and its destination."""
        self._log = log
        self._delivery = delivery
        self._mask = mask

    def debug(self, event: str, **fields: Any) -> None:
        """Write for whoever hunts a fault."""
        self._bound.debug(self._mask(event), **self._masked(fields))

    def info(self, event: str, **fields: Any) -> None:
        """Write for whoever reads the log."""
        self._bound.info(self._mask(event), **self._masked(fields))

    def warning(self, event: str, **fields: Any) -> None:
        """Write for whoever must act."""
        self._bound.warning(self._mask(event), **self._masked(fields))

    @property
    def _bound(self) -> Any:
        # Bound when something is written: most attempts write nothing.
        about = self._delivery
        return self._log.bind(delivery_id=about.id, event_id=about.event.id, destination=about.destination)

    def _masked(self, value: Any) -> Any:
        match value:
            case str():
                return self._mask(value)
            case dict():
                return {key: self._masked(item) for key, item in value.items()}
            case list() | tuple():
                return [self._masked(item) for item in value]
            case _:
                return value


def _hops_of(delivery: Delivery) -> int:
    value = delivery.event.headers.get(_HOPS_KEY, "")
    # What is no count is not ours, and no reason to refuse an event.
    return int(value) if _HOPS.fullmatch(value) else 0


# The names are those that actions and their options write, again and again.
@lru_cache(maxsize=256)
def _refusal_of_name(name: str) -> str | None:
    if not _HEADER_NAME.fullmatch(name):
        return f"{name[:50]!a} is not a header name"
    if name.lower() in _CONNECTION_HEADERS:
        return f"the header {name} is the connection's own and cannot be set"
    return None


def _checked_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    for name, value in headers.items():
        if refusal := _refusal_of_name(name):
            raise PermanentError(refusal)
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise PermanentError(f"the value of the header {name} holds a line break or a control character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PermanentError(f"the value of the header {name} is not text that can be sent") from None
    return CIMultiDict(headers)


def _without_credential(reply: Reply, authorization: str) -> Reply:
    """Hide what was sent as `Authorization`: a token that was asked for is in no option, so nothing else hides it."""
    credential = authorization.rpartition(" ")[2].encode()
    if len(credential) < _SHORTEST_CREDENTIAL:
        return reply
    body = reply.body.replace(credential, MASK.encode()).replace(credential.replace(b"/", b"\\/"), MASK.encode())
    return reply if body == reply.body else replace(reply, body=body)


def _json_bytes(value: Any) -> bytes:
    try:
        # NaN and Infinity are not JSON (RFC 8259), and receivers choke on them.
        text = json_codec.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError(f"the body cannot be written as JSON: {error}") from error
    try:
        return text.encode()
    except UnicodeEncodeError:  # lone surrogates: JSON can write them as escapes, UTF-8 cannot
        return json_codec.dumps(value, separators=(",", ":"), allow_nan=False).encode()
