"""A whole daemon whose database dies under it: senders are told to come again, and it goes on by itself."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.living import CONFIG, Answer, Living, exchange, living
from tests.integration.under_load import say
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

RULES = "rules:\n  - {name: orders, from: shop, on: order.paid, do: [erp]}\n"


@pytest.fixture
def own_postgres(has_postgres: None) -> Iterator[PostgresServer]:
    """Return a server that a test may hurt."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


class Destination:
    """Counts what it is sent, and says that all is well."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: Counter[str] = Counter()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        self.seen[json.loads(await reader.readexactly(length))["id"]] += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def destination() -> AsyncIterator[Destination]:
    made = Destination()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


class Senders:
    """Send one event after another, each until it is taken."""

    def __init__(self, daemon: Living) -> None:
        self.taken: set[str] = set()
        self.refusals: list[Answer] = []
        self.slowest_refusal_s = 0.0
        self._daemon = daemon
        self._numbers = itertools.count()
        self._is_over = False

    async def run(self) -> None:
        while not self._is_over:
            await self._send(f"order-{next(self._numbers)}")

    async def _send(self, key: str) -> None:
        while True:
            began = time.monotonic()
            body = json.dumps({"event": "order.paid", "id": key}).encode()
            answer = await exchange(self._daemon.public, "POST", "/hooks/shop", body=body)
            if answer.status == 200:
                self.taken.add(key)
                return
            self.refusals.append(answer)
            self.slowest_refusal_s = max(self.slowest_refusal_s, time.monotonic() - began)
            await asyncio.sleep(0.02)

    async def take(self, more: int) -> None:
        wanted = len(self.taken) + more
        async with asyncio.timeout(60):
            while len(self.taken) < wanted:  # noqa: ASYNC110 - in other tasks
                await asyncio.sleep(0.01)

    def stop(self) -> None:
        self._is_over = True


async def test_a_daemon_outlives_its_database(own_postgres: PostgresServer, tmp_path: Path) -> None:
    async with destination() as erp:
        config = CONFIG.replace("sqlite:hookline.db", own_postgres.url).replace(
            "127.0.0.1:9/erp", f"127.0.0.1:{erp.port}/"
        )
        async with living(tmp_path, config=config, rules=RULES) as daemon, asyncio.TaskGroup() as group:
            senders = Senders(daemon)
            sending = [group.create_task(senders.run()) for _ in range(8)]
            await senders.take(30)
            own_postgres.kill()
            async with asyncio.timeout(60):
                while len(senders.refusals) < 100:  # noqa: ASYNC110 - in other tasks
                    await asyncio.sleep(0.01)
            health = await daemon.ask("/system")
            assert health.status in {200, 503}
            await asyncio.to_thread(own_postgres.start)
            began = time.monotonic()
            await senders.take(30)
            say(
                f"kill -9: events were taken {time.monotonic() - began:.2f} s after the server's start; "
                f"{len(senders.taken)} taken, {len(senders.refusals)} refused, the slowest after "
                f"{senders.slowest_refusal_s:.2f} s"
            )
            senders.stop()
            await asyncio.gather(*sending)
            await daemon.settled()
        assert {answer.status for answer in senders.refusals} == {503}
        assert all(int(answer.headers["retry-after"]) > 0 for answer in senders.refusals)
        assert senders.taken <= erp.seen.keys(), "what was acknowledged is delivered"
    counted = own_postgres.sql("SELECT count(*), count(DISTINCT key) FROM hookline.events").split("|")
    assert counted[0] == counted[1]
    assert int(counted[0]) >= len(senders.taken)
