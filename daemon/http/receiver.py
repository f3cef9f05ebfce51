"""The receiver: takes requests to `/hooks/<source>` in front of the Quart application, and answers when it is stored.

An ASGI function, because Quart's routing and request objects cost as much again as the server does. Quart's limits do
not guard it, so it has its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final
from urllib.parse import unquote

from structlog.typing import FilteringBoundLogger

from hookline.daemon.config.settings import Limits
from hookline.daemon.http.answers import Response, refused, replied, store_retry_after, stored
from hookline.daemon.http.arrival import (
    Body,
    no_such_source,
    not_taken,
    parse_query,
    read_head,
    refuse_unreadable,
    too_large,
)
from hookline.daemon.http.client_address import ClientAddress
from hookline.daemon.http.protocol import TAKE
from hookline.daemon.http.quotas import Quotas
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, Reply, RequestRejected, Source
from hookline.daemon.store.changes import Accepted
from hookline.daemon.store.port import LASTING, StoreError
from hookline.rules import Rate

Intake = Callable[[Source, IncomingRequest, tuple[NormalizedEvent, ...]], Awaitable[tuple[Accepted, ...]]]

PREFIX: Final = b"/hooks/"
#: Of an exception, in a log line.
_LOGGED_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverSettings:
    """What of the configuration concerns the receiver."""

    limits: Limits
    #: As senders know us, without a slash at the end; None if not configured.
    public_url: str | None = None
    #: Peers whose `X-Forwarded-For` is believed.
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    #: How many requests a source may send, by name; the others may send what they like.
    rates: Mapping[str, Rate] = field(default_factory=dict)
    #: How long a sender waits for the store before it is told to come again. The event may be stored all the same.
    store_timeout: timedelta = timedelta(seconds=2)
    #: How long a source may take before it verifies: to fetch a key, or to keep a secret.
    prepare_timeout: timedelta = timedelta(seconds=10)


@dataclass(slots=True)
class _Seen:
    """What is known of a request so far, for its line in the log."""

    source: str
    client_ip: str = ""
    #: What a 405 says is allowed: more than `POST` only to who knows the source's whole path.
    methods: Collection[str] = ("POST",)
    #: "" if events came of it: the intake logs each.
    outcome: str = ""
    detail: str = ""


class _GoneError(Exception):
    """The sender hung up within the body; caught by the receiver, which answers nothing."""


class Receiver:
    """Receives, verifies, normalizes, and hands to the intake; answers by DESIGN 8. Everything else goes to `app`."""

    def __init__(  # noqa: PLR0913 - the ports it stands between, each given once
        self,
        *,
        app: Any,
        sources: Callable[[], Mapping[str, Source]],
        intake: Intake,
        on_rejected: Callable[[str, RequestRejected, str], None],
        settings: ReceiverSettings,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        log: FilteringBoundLogger,
        on_answered: Callable[[int, float], None] = lambda _status, _seconds: None,
    ) -> None:
        """Take the ports.

        `sources` is asked for each request, so that a reload shows at once. `intake` matches and stores; what it
        returns, best a future, is never cancelled, and may raise `StoreError` or `RequestRejected` (429). `on_rejected`
        gets the source's name ("" if there is no such source: names that senders make up must not become metrics), the
        refusal, and the sender's address. `monotonic` returns seconds. `on_answered` gets each answer's status, and how
        many seconds after the request's head it is given.
        """
        self._app = app
        self._sources = sources
        self._intake = intake
        self._on_rejected = on_rejected
        self._clock = clock
        self._monotonic = monotonic
        self._log = log
        self._on_answered = on_answered
        self._quotas = Quotas(monotonic)
        self.adopt(settings)
        #: How much of bodies is held at this moment.
        self._in_flight = 0
        # What is waited for, by whom. The loop keeps only weak references to tasks: without these an intake that is one
        # could vanish half done.
        self._intakes: dict[asyncio.Future[tuple[Accepted, ...]], asyncio.Future[None]] = {}

    def adopt(self, settings: ReceiverSettings) -> None:
        """Go by other settings from now on; bodies that are being received may see them too."""
        self._limits = settings.limits
        self._public_url = settings.public_url.rstrip("/") if settings.public_url else None
        self._client_address = ClientAddress(settings.trusted_proxies)
        self._body_seconds = settings.limits.body_timeout.total_seconds()
        self._store_seconds = settings.store_timeout.total_seconds()
        self._prepare_seconds = settings.prepare_timeout.total_seconds()
        self._quotas.adopt(settings.rates)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI request."""
        if scope["type"] == "http" and _raw_path(scope).startswith(PREFIX):
            await self._receive(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    @property
    def in_flight_bytes(self) -> int:
        """How much of bodies is held at this moment."""
        return self._in_flight

    async def settle(self, limit: timedelta) -> int:
        """Wait for intakes whose sender no longer waits; return how many are left. Call before the store closes."""
        if not self._intakes:
            return 0
        _, late = await asyncio.wait(self._intakes, timeout=limit.total_seconds())
        return len(late)

    async def _receive(self, scope: Any, receive: Any, send: Any) -> None:
        """Take one request and answer it; what brought no event is logged here, each event by the intake."""
        began = self._monotonic()
        name, _, subpath = _raw_path(scope)[len(PREFIX) :].decode("ascii", "replace").partition("/")
        source = self._sources().get(name)
        seen = _Seen(source="" if source is None else name)
        answer: Response | None = None
        try:
            answer = await self._answer(source, unquote(subpath), scope, receive, seen)
        except _GoneError:
            seen.outcome = "disconnected"
        except Exception:  # noqa: BLE001 - the reason stands below
            # One of the project's three broad handlers: what nobody foresaw in a source or the intake must not become
            # a 500, after which some senders give up for good. After a 503 they come again.
            self._log.exception("request.fault", source=seen.source, client_ip=seen.client_ip)
            seen.outcome = "fault"
            answer = refused(503, "store", "the event could not be taken now; send it again")
        seconds = self._monotonic() - began
        if seen.outcome and self._log.is_enabled_for(logging.INFO):
            self._note(seen, None if answer is None else answer[0]["status"], seconds)
        if answer is not None:
            self._on_answered(answer[0]["status"], seconds)
            await send(answer[0])
            await send(answer[1])

    def _note(self, seen: _Seen, status: int | None, seconds: float) -> None:
        self._log.info(
            "event.received",
            source=seen.source,
            outcome=seen.outcome,
            status=status,
            milliseconds=round(seconds * 1000, 2),
            client_ip=seen.client_ip,
            detail=seen.detail,
        )

    async def _answer(self, source: Source | None, subpath: str, scope: Any, receive: Any, seen: _Seen) -> Response:
        """Take a request and say what to answer, also if it is refused. Raises `_GoneError`."""
        try:
            return await self._take(source, subpath, scope, receive, seen)
        except RequestRejected as rejected:
            seen.outcome, seen.detail = rejected.reason, rejected.detail
            self._on_rejected(seen.source, rejected, seen.client_ip)
            if rejected.status == 404:
                # Word for word what a source that does not exist is answered.
                told = no_such_source(scope["method"])
                return refused(told.status, told.reason, told.detail)
            return refused(
                rejected.status,
                rejected.reason,
                rejected.detail,
                methods=seen.methods,
                retry_after=rejected.retry_after,
            )

    async def _take(self, source: Source | None, subpath: str, scope: Any, receive: Any, seen: _Seen) -> Response:
        """Receive a request whole, and serve it. Raises `RequestRejected` and `_GoneError`."""
        head = read_head(scope)
        client = scope.get("client")
        seen.client_ip = client_ip = self._client_address(client[0] if client else None, head.forwarded)
        refuse_unreadable(head, self._limits.body_bytes)
        body = await self._read_body(scope.get("extensions", {}).get(TAKE), receive)
        try:
            method = scope["method"]
            raw_query = scope["query_string"].decode("ascii", "replace")
            query = parse_query(raw_query) if raw_query else ()
            # Only now: a source that does not exist must not answer sooner, or otherwise, than one whose path token
            # is wrong.
            if source is None or (method != "POST" and method not in source.methods):
                raise no_such_source(method)
            request = IncomingRequest(
                method=method,
                subpath=subpath,
                url=self._url(source, scope, raw_query),
                headers=head.headers,
                query=query,
                client_ip=client_ip,
                body=body,
                received_at=self._clock(),
            )
            return await self._serve(source, request, seen)
        finally:
            self._in_flight -= len(body)

    async def _serve(self, source: Source, request: IncomingRequest, seen: _Seen) -> Response:
        """Prepare, verify, normalize, store. Raises `RequestRejected`."""
        seen.methods = source.methods
        if source.prepares:
            reply = await self._prepare(source, request)
            if reply is not None:
                seen.outcome, seen.detail = "handshake", f"{request.method}{reply.detail}, answered {reply.status}"
                return replied(reply)
        source.verify(request)
        if request.method not in source.methods:
            raise not_taken(source.methods)
        # After verification, lest somebody without the secret use up what its sender may; before the body is read.
        self._quotas.take(source.name)
        events = source.normalize(request)
        accepted = await self._store(source, request, events)
        duplicates = sum([one.is_duplicate for one in accepted])
        seen.outcome = "" if accepted else "empty"
        return stored(source.answer, accepted, duplicates)

    async def _prepare(self, source: Source, request: IncomingRequest) -> Reply | None:
        """Let a source do what comes before it verifies, for as long as a sender may wait. Raises `RequestRejected`."""
        try:
            async with asyncio.timeout(self._prepare_seconds) as limit:
                return await source.prepare(request)
        except TimeoutError:
            if not limit.expired():
                raise
            why = f"what comes before verification took longer than {self._prepare_seconds:g} s; send it again"
            raise RequestRejected("handshake", 503, why) from None

    def _url(self, source: Source, scope: Any, raw_query: str) -> str | None:
        url = source.public_url
        if url is None:
            if self._public_url is None:
                return None
            url = f"{self._public_url}{_raw_path(scope).decode('ascii', 'replace')}"
        return f"{url}?{raw_query}" if raw_query else url

    async def _read_body(self, take: Callable[[], Any] | None, receive: Any) -> bytes:
        """Return the whole body, counted as in flight: the caller takes it off the count. Raises as `_take` does."""
        body = Body()
        try:
            # Most bodies have come with their head: they cost no timer and no waiting.
            while take is not None and not body.is_whole and (message := take()) is not None:
                self._add(body, message)
            if not body.is_whole:
                async with asyncio.timeout(self._body_seconds):
                    while not body.is_whole:
                        self._add(body, await receive())
        except TimeoutError:
            raise RequestRejected("limit", 408, f"the body took longer than {self._body_seconds:g} s") from None
        finally:
            if not body.is_whole:
                self._in_flight -= body.held
        return body.pieces[0] if len(body.pieces) == 1 else b"".join(body.pieces)

    def _add(self, body: Body, message: Any) -> None:
        if message["type"] != "http.request":
            raise _GoneError
        piece = message.get("body", b"")
        if piece:
            body.pieces.append(piece)
            body.held += len(piece)
            self._in_flight += len(piece)
            if body.held > self._limits.body_bytes:
                raise too_large(self._limits.body_bytes)
            if self._in_flight > self._limits.in_flight_bytes:
                raise RequestRejected("limit", 503, "too many bodies are being received; send it again")
        body.is_whole = not message.get("more_body", False)

    async def _store(
        self, source: Source, request: IncomingRequest, events: tuple[NormalizedEvent, ...]
    ) -> tuple[Accepted, ...]:
        """Run the intake to its end, and wait for it as long as a sender should. Raises `RequestRejected`."""
        # Waited for without being cancelled, as a bare `await` would: if the sender hangs up, or we are stopped,
        # between BEGIN and COMMIT, the events are stored whole all the same, and its retry is a duplicate.
        loop = asyncio.get_running_loop()
        intake = asyncio.ensure_future(self._intake(source, request, events))
        # What asyncio.wait((intake,), timeout=...) does, at a third of its price.
        waiter = self._intakes[intake] = loop.create_future()
        intake.add_done_callback(self._intake_ended)
        timer = loop.call_later(self._store_seconds, _wake, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            intake.add_done_callback(partial(self._note_late, source.name, "cancelled"))
            raise
        finally:
            timer.cancel()
        if not intake.done():
            intake.add_done_callback(partial(self._note_late, source.name, "timeout"))
            raise RequestRejected("store", 503, f"the store took longer than {self._store_seconds:g} s; send it again")
        try:
            return intake.result()
        except StoreError as error:
            if error.kind not in LASTING:
                # The others were said when they began.
                self._log.debug("store.refused", source=source.name, why=str(error))
            detail = "the store cannot take it now; send it again"
            raise RequestRejected("store", 503, detail, retry_after=store_retry_after(error.kind)) from error

    def _intake_ended(self, intake: asyncio.Future[tuple[Accepted, ...]]) -> None:
        _wake(self._intakes.pop(intake))

    def _note_late(self, source: str, why: str, intake: asyncio.Future[tuple[Accepted, ...]]) -> None:
        """Say if an intake failed that nobody waits for any more."""
        if intake.cancelled() or intake.exception() is not None:
            cause = "cancelled" if intake.cancelled() else repr(intake.exception())[:_LOGGED_CHARACTERS]
            self._log.warning("request.failed_late", source=source, why=cause, left_by=why)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _raw_path(scope: Any) -> bytes:
    # Not `path`: an encoded slash or dot must not become one before the source's name is cut off.
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw
