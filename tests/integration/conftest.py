"""Real servers on loopback, and the runner that actions run in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.config.settings import Address, Admin, Destination, Limits, Retention, Settings
from hookline.daemon.delivery.runner import Work
from hookline.daemon.outbound.connections import Listeners
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.places import SqliteFile
from hookline.plugins import Delivery
from hookline.rules import Event, EventId, Modifiers, Step

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Received:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} came {len(found)} times"
        return found[0] if found else None


@dataclass
class Peer:
    """A server that records what it gets and answers with the bytes it was told to."""

    port: int = 0
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    #: Bytes to answer with, or a function that plays the rest of the conversation.
    answer: bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = OK
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.answer = "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.rstrip("\r\n").split("\r\n")
                headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
                length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
                method, path, _ = first.split(" ")
                self.requests.append(Received(method, path, headers, await reader.readexactly(length)))
                self.arrived.set()
                if callable(self.answer):
                    await self.answer(reader, writer)
                    break
                writer.write(self.answer)
                await writer.drain()
        writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Return a peer that listens on loopback."""
    made = Peer()
    talking: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await made.talk(reader, writer)
        talking.discard(task)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    for task in [*talking]:
        task.cancel()
    await asyncio.gather(*talking, return_exceptions=True)


def new_event(payload: Any = None, **changes: Any) -> Event:
    facts: dict[str, Any] = {
        "id": EventId("evt_1"),
        "source": "shop",
        "type": "order.paid",
        "sender_id": "s-1",
        "key": "k-1",
        "tenant": None,
        "occurred_at": None,
        "received_at": datetime(2026, 11, 22, 10, 0, tzinfo=UTC),
        "headers": {},
        "query": {},
        "client_ip": "192.0.2.1",
        "payload": {"number": "INV-1", "total": 5000} if payload is None else payload,
        "envelope": None,
    }
    return Event(**facts | changes)


@pytest.fixture
def make_delivery() -> Callable[..., Delivery]:
    """Return a maker of deliveries: `make_delivery(payload, body=…, headers=…)`."""

    def make(payload: Any = None, *, event: Mapping[str, Any] | None = None, **changes: Any) -> Delivery:
        facts: dict[str, Any] = {
            "id": "dlv_1",
            "event": new_event(payload, **event or {}),
            "body": b'{ "number": "INV-1",  "total": 5000 }',
            "content_type": "application/json",
            "is_split": False,
            "rule": "paid",
            "destination": "erp",
            "attempt": 1,
        }
        return Delivery(**facts | changes)

    return make


class Bench:
    """A runner with its configuration, and steps to run in it."""

    def __init__(self, folder: Path, environ: Mapping[str, str], plugins: Path | None, listeners: Listeners) -> None:
        self.destinations: dict[str, Destination] = {}
        self.settings = Settings(
            path=folder / "hookline.yaml",
            listen=(Address(host="127.0.0.1", port=0),),
            public_url=None,
            trusted_proxies=(),
            admin=Admin(listen=Address(host="127.0.0.1", port=1), token=None),
            store=SqliteFile(folder / "hookline.db"),
            state=folder,
            rules=(),
            plugins=plugins,
            workers=0,
            retention=Retention(),
            limits=Limits(),
            vars={"team": "ops"},
            sources={},
            destinations=self.destinations,
        )
        self.runner = LocalRunner(self.settings, Secrets(environ, folder=folder), listeners=listeners)

    def destination(self, name: str, action: str, options: Mapping[str, Any], **more: Any) -> None:
        facts: dict[str, Any] = {"modifiers": Modifiers(), "concurrency": 1, **more}
        self.destinations[name] = Destination(name=name, action=action, options=options, **facts)

    @staticmethod
    def step(
        options: Mapping[str, Any] | None = None,
        *,
        action: str | None = None,
        to: str | None = None,
        variables: Mapping[str, Any] | None = None,
        **modifiers: Any,
    ) -> Step:
        return Step(
            rule="paid",
            rule_facts={"name": "paid"},
            destination=to,
            action=action,
            options=options or {},
            modifiers=Modifiers(**modifiers),
            vars=variables or {},
        )

    async def run(self, delivery: Delivery, step: Step, *, limit: float = 5.0) -> Any:
        return await self.runner.run(Work(delivery=delivery, step=step, limit=timedelta(seconds=limit)))


@pytest.fixture
async def make_bench(tmp_path: Path) -> AsyncIterator[Callable[..., Bench]]:
    """Return a maker of benches: `make_bench(environ=…, plugins=…, listeners=…)`; closed at the end."""
    made: list[Bench] = []

    def make(
        environ: Mapping[str, str] | None = None, *, plugins: Path | None = None, listeners: Listeners = tuple
    ) -> Bench:
        made.append(Bench(tmp_path, environ or {}, plugins, listeners))
        return made[-1]

    yield make
    for bench in made:
        await bench.runner.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Return a bench without plug-ins and secrets."""
    return make_bench()
