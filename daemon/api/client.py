"""Asking a running daemon from another process, over its admin listener."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlencode

import anyio
import anyio.to_thread

from hookline.daemon.api.signatures import Method, most_of, signature_of
from hookline.daemon.asked import USER_HEADER
from hookline.daemon.config.settings import Address
from hookline.daemon.store.changes import Attempt, DeliveryId
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.stored import (
    Deletion,
    DeliveryFilter,
    DeliveryPage,
    EventFilter,
    EventPage,
    EventSearch,
    Fact,
    LaneActivity,
    LaneState,
    Pause,
    RuleActivity,
    SourceActivity,
    StoredAudit,
    StoredDelivery,
    StoredEvent,
    StoredRejection,
    StoredToken,
    Tally,
)
from hookline.rules import EventId

Verb: TypeAlias = Literal["GET", "POST", "DELETE"]

_ROOT: Final = "/api/v1/"
#: Seconds that an answer may take.
ANSWER_S: Final = 30.0


class ApiError(Exception):
    """The daemon said no. Caught by commands, which print it."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        """Take what its problem details say."""
        super().__init__(f"{title}: {detail}")
        self.status = status


class NoAnswerError(Exception):
    """No daemon answers there, or something that is none. Caught by commands: they say how to start it."""


class ApiClient:
    """Asks one daemon, over one connection at a time. Not to be used by two threads at once."""

    def __init__(self, address: Address, token: str, *, user: str, timeout: float = ANSWER_S) -> None:
        """Connect when first asked. `user`: whom the audit is told of."""
        self._address = address
        #: Seconds that an answer may take.
        self.timeout = timeout
        self._headers = {
            "Authorization": f"Bearer {token}",
            # What a header cannot hold is not a name's important part.
            USER_HEADER: user.encode("ascii", "replace").decode(),
        }
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, verb: Verb, path: str, body: Any = None) -> Any:
        """Return what it answers, below /api/v1. Raises `ApiError` and `NoAnswerError`."""
        data = None if verb == "GET" else json.dumps(body).encode()
        headers = self._headers if data is None else {**self._headers, "Content-Type": "application/json"}
        try:
            status, content = self._exchange(verb, _ROOT + path, data, headers)
            said = json.loads(content) if content else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise NoAnswerError(str(error) or type(error).__name__) from error
        if status >= http.client.BAD_REQUEST:
            raise _error(status, said)
        return said

    def follow(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Return an answer that goes on, to be read by lines until `close`. Raises `ApiError` and `NoAnswerError`."""
        self.close()
        try:
            connection = self._connection = _connection(self._address, self.timeout)
            connection.request("GET", _ROOT + path, headers={**self._headers, **headers})
            reply = connection.getresponse()
            if reply.status == http.client.OK:
                return reply
            said = json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise NoAnswerError(str(error) or type(error).__name__) from error
        self.close()
        raise _error(reply.status, said)

    def close(self) -> None:
        """Let the connection go; the next question makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _exchange(self, verb: Verb, target: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        is_kept = self._connection is not None
        try:
            return self._try(verb, target, data, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.close()
            # A connection that was kept may have been closed meanwhile; what writes is never sent twice.
            if not is_kept or verb != "GET":
                raise
            return self._try(verb, target, data, headers)

    def _try(self, verb: Verb, target: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = _connection(self._address, self.timeout)
        connection = self._connection
        connection.timeout = self.timeout
        if connection.sock is not None:
            connection.sock.settimeout(self.timeout)
        connection.request(verb, target, body=data, headers=dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.read()


def _error(status: int, said: Any) -> ApiError:
    told = said if isinstance(said, dict) else {}
    reason = http.client.responses.get(status, "")
    return ApiError(status, str(told.get("title", reason)), str(told.get("detail", f"status {status}")))


class ApiReader:
    """A `Reader` that asks the daemon. It brings events a few at a time, as they come with their bodies."""

    def __init__(self, client: ApiClient) -> None:
        """Ask through `client`, which `close` closes."""
        self._client = client
        self._turns = anyio.Lock()

    async def event(self, event_id: EventId) -> StoredEvent | None:
        """As `Reader.event`, and so on."""
        found: StoredEvent | None = await self._ask("event", event_id=event_id)
        return found

    async def events(self, where: EventFilter, *, limit: int, before: EventId | None = None) -> list[StoredEvent]:
        """As `Reader.events`."""
        found: list[StoredEvent] = []
        while len(found) < limit:
            asked = min(limit - len(found), most_of("events"))
            page: list[StoredEvent] = await self._ask("events", where=where, limit=asked, before=before)
            found += page
            if len(page) < asked:
                break
            before = page[-1].event.id
        return found

    async def event_page(self, where: EventSearch, *, limit: int, before: EventId | None = None) -> EventPage:
        """As `Reader.event_page`."""
        asked = min(limit, most_of("event_page"))
        found: EventPage = await self._ask("event_page", where=where, limit=asked, before=before)
        return found

    async def delivery(self, delivery_id: DeliveryId) -> StoredDelivery | None:
        """As `Reader.delivery`."""
        found: StoredDelivery | None = await self._ask("delivery", delivery_id=delivery_id)
        return found

    async def deliveries(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> list[StoredDelivery]:
        """As `Reader.deliveries`."""
        found: list[StoredDelivery] = []
        while len(found) < limit:
            asked = min(limit - len(found), most_of("deliveries"))
            page: list[StoredDelivery] = await self._ask("deliveries", where=where, limit=asked, before=before)
            found += page
            if len(page) < asked:
                break
            before = page[-1].id
        return found

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, before: DeliveryId | None = None
    ) -> DeliveryPage:
        """As `Reader.delivery_page`."""
        asked = min(limit, most_of("delivery_page"))
        found: DeliveryPage = await self._ask("delivery_page", where=where, limit=asked, before=before)
        return found

    async def attempts(self, delivery_id: DeliveryId) -> list[Attempt]:
        """As `Reader.attempts`."""
        found: list[Attempt] = await self._ask("attempts", delivery_id=delivery_id)
        return found

    async def members(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredEvent]:
        """As `Reader.members`, of which 25 come at most."""
        asked = min(limit, most_of("members"))
        found: list[StoredEvent] = await self._ask("members", delivery_id=delivery_id, limit=asked)
        return found

    async def parts(self, delivery_id: DeliveryId, *, limit: int) -> list[StoredDelivery]:
        """As `Reader.parts`."""
        asked = min(limit, most_of("parts"))
        found: list[StoredDelivery] = await self._ask("parts", delivery_id=delivery_id, limit=asked)
        return found

    async def lanes(self) -> list[LaneState]:
        """As `Reader.lanes`."""
        found: list[LaneState] = await self._ask("lanes")
        return found

    async def lane_activity(self, *, since: datetime) -> list[LaneActivity]:
        """As `Reader.lane_activity`."""
        found: list[LaneActivity] = await self._ask("lane_activity", since=since)
        return found

    async def rejections(self, *, source: str | None = None, limit: int = 100) -> list[StoredRejection]:
        """As `Reader.rejections`."""
        asked = min(limit, most_of("rejections"))
        found: list[StoredRejection] = await self._ask("rejections", source=source, limit=asked)
        return found

    async def activity(self, *, since: datetime) -> list[SourceActivity]:
        """As `Reader.activity`."""
        found: list[SourceActivity] = await self._ask("activity", since=since)
        return found

    async def rule_activity(self, *, since: datetime) -> list[RuleActivity]:
        """As `Reader.rule_activity`."""
        found: list[RuleActivity] = await self._ask("rule_activity", since=since)
        return found

    async def rules_counted_since(self) -> datetime:
        """As `Reader.rules_counted_since`."""
        found: datetime = await self._ask("rules_counted_since")
        return found

    async def text(self, digest: str) -> str | None:
        """As `Reader.text`."""
        found: str | None = await self._ask("text", digest=digest)
        return found

    async def last_good_rules(self) -> str | None:
        """As `Reader.last_good_rules`."""
        found: str | None = await self._ask("last_good_rules")
        return found

    async def audit(self, *, limit: int, before: int | None = None, since: datetime | None = None) -> list[StoredAudit]:
        """As `Reader.audit`."""
        found: list[StoredAudit] = []
        while len(found) < limit:
            asked = min(limit - len(found), most_of("audit"))
            page: list[StoredAudit] = await self._ask("audit", limit=asked, before=before, since=since)
            found += page
            if len(page) < asked:
                break
            before = page[-1].id
        return found

    async def tally(self, which: Deletion) -> Tally:
        """As `Reader.tally`; for a token of scope admin."""
        found: Tally = await self._ask("tally", which=which)
        return found

    async def deletions(self) -> list[int]:
        """As `Reader.deletions`."""
        found: list[int] = await self._ask("deletions")
        return found

    async def paused(self) -> Mapping[str, Pause]:
        """As `Reader.paused`."""
        found: Mapping[str, Pause] = await self._ask("paused")
        return found

    async def tokens(self) -> list[StoredToken]:
        """As `Reader.tokens`; for a token of scope admin."""
        found: list[StoredToken] = await self._ask("tokens")
        return found

    async def facts(self) -> Mapping[str, Fact]:
        """As `Reader.facts`."""
        found: Mapping[str, Fact] = await self._ask("facts")
        return found

    async def counts(self) -> Mapping[str, int]:
        """As `Reader.counts`; for a token of scope admin."""
        found: Mapping[str, int] = await self._ask("counts")
        return found

    async def close(self) -> None:
        """Close the connection."""
        self._client.close()

    async def _ask(self, method: Method, **arguments: Any) -> Any:
        signature = signature_of(method)
        query = urlencode({"arguments": signature.write_arguments(arguments)})
        try:
            async with self._turns:
                said = await anyio.to_thread.run_sync(partial(self._client.ask, "GET", f"lookups/{method}?{query}"))
            return signature.answer.read(said)
        except (ApiError, NoAnswerError, ValueError) as error:
            raise StoreError(f"the daemon did not answer: {error}") from error


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a listener at a path."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect. Called by the first request."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _connection(address: Address, timeout: float) -> http.client.HTTPConnection:
    if address.unix is not None:
        return _UnixConnection(address.unix, timeout)
    return http.client.HTTPConnection(address.host or "localhost", address.port, timeout=timeout)
