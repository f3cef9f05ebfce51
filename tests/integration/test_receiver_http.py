"""The receiver behind the real server and in front of a real Quart application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import anyio
import pytest
import structlog
from quart import Quart, request

from hookline.daemon.config.settings import Address, Limits
from hookline.daemon.http.listening import bind
from hookline.daemon.http.receiver import Receiver, ReceiverSettings
from hookline.daemon.http.server import Listener, serve
from hookline.daemon.sources.port import Answer, IncomingRequest, NormalizedEvent, Reply
from hookline.daemon.store.changes import Accepted
from hookline.rules import EventId

pytestmark = pytest.mark.anyio

_POST = b"POST /hooks/open HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Open:
    """A source that takes everything."""

    name: str = "open"
    answer: Answer = field(default_factory=Answer)
    dedupe_window: timedelta = timedelta()
    credential_headers: frozenset[str] = frozenset()
    credential_query: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset({"POST"})
    prepares: bool = False
    public_url: str | None = None

    def verify(self, request: IncomingRequest) -> None: ...

    async def prepare(self, request: IncomingRequest) -> Reply | None:
        return None

    def normalize(self, request: IncomingRequest) -> tuple[NormalizedEvent, ...]:
        return ()


class Site:
    """A running receiver whose store answers when it is let."""

    def __init__(self, *, limits: Limits) -> None:
        self.begun = 0
        self.stored = 0
        self.may_store = asyncio.Event()
        self.stop = anyio.Event()
        quart = Quart("behind")

        @quart.post("/echo")
        async def echo() -> Any:
            return await request.get_data()

        self.receiver = Receiver(
            app=quart,
            sources=lambda: {"open": Open()},
            intake=self._intake,
            on_rejected=lambda source, why, ip: None,
            settings=ReceiverSettings(limits=limits),
            clock=lambda: datetime.now(UTC),
            monotonic=monotonic,
            log=structlog.get_logger(),
        )
        self.listener = Listener(socket=bind(Address(host="127.0.0.1", port=0)), app=self.receiver)
        self.port = self.listener.socket.getsockname()[1]

    async def _intake(self, source: Any, request: IncomingRequest, events: Any) -> tuple[Accepted, ...]:
        self.begun += 1
        await self.may_store.wait()
        self.stored += 1
        return (Accepted(event_id=EventId(f"evt_{self.stored}")),)

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(30):
            while self.begun < count:  # noqa: ASYNC110 - a counter
                await anyio.sleep(0.005)


@asynccontextmanager
async def running(*, grace: float = 5, limits: Limits | None = None) -> AsyncIterator[Site]:
    site = Site(limits=limits or Limits())

    async def run(*, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        await serve(
            [site.listener],
            stop=site.stop,
            log=structlog.get_logger(),
            drain=timedelta(),
            grace=timedelta(seconds=grace),
            task_status=task_status,
        )

    async with anyio.create_task_group() as group:
        await group.start(run)
        try:
            yield site
        finally:
            site.stop.set()


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, Any]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, json.loads(await reader.readexactly(length))


async def test_webhooks_are_taken_in_front_and_the_rest_is_quarts() -> None:
    async with running() as site:
        site.may_store.set()
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        for number in (1, 2):
            writer.write(_POST)
            _, body = await _answer(reader)
            assert body == {"accepted": 1, "duplicates": 0, "ids": [f"evt_{number}"]}
            writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n[1,2]")
            _, body = await _answer(reader)
            assert body == [1, 2]
        writer.close()


async def test_a_sender_that_hangs_up_after_sending_loses_nothing() -> None:
    async with running() as site:
        for count in range(1, 6):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(_POST)
            await site.until_begun(count)
            writer.transport.abort()
        site.may_store.set()
        assert await site.receiver.settle(timedelta(seconds=5)) == 0
        assert site.stored == 5
        assert site.listener.traffic.faults == 0


async def test_a_request_that_is_cut_off_at_the_end_is_stored_all_the_same() -> None:
    async with running(grace=0.1) as site:
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(_POST)
        await site.until_begun(1)
        site.stop.set()
        async with asyncio.timeout(30):
            while site.listener.traffic.open:  # noqa: ASYNC110 - a counter
                await anyio.sleep(0.01)
        assert site.stored == 0
        site.may_store.set()
        assert await site.receiver.settle(timedelta(seconds=5)) == 0
        assert site.stored == 1
        writer.close()


async def test_requests_that_are_being_stored_are_answered_before_the_end() -> None:
    async with running() as site:
        clients = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(20)]
        for _, writer in clients:
            writer.write(_POST)
        await site.until_begun(20)
        site.stop.set()
        await anyio.sleep(0.05)
        site.may_store.set()
        for reader, writer in clients:
            head, body = await _answer(reader)
            assert body["accepted"] == 1
            assert b"connection: close" in head
            writer.close()


async def test_many_stalled_uploads_do_not_keep_a_webhook_out() -> None:
    limits = Limits(body_timeout=timedelta(seconds=1), in_flight_bytes=1 << 20)
    async with running(limits=limits) as site:
        site.may_store.set()
        stalled = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(400)]
        for _, writer in stalled:
            writer.write(b"POST /hooks/open HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(_POST)
        async with asyncio.timeout(30):
            head, _ = await _answer(reader)
        assert head.startswith(b"HTTP/1.1 200 ")
        writer.close()
        for reader, writer in stalled:
            head, body = await _answer(reader)
            assert head.startswith(b"HTTP/1.1 408 ")
            assert body["error"] == "limit"
            writer.close()
        assert site.receiver.in_flight_bytes == 0
