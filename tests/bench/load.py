"""A load generator: one process, keep-alive connections, unique signed events; prints what it measured as JSON.

Closed loop (`--rate 0`): each connection sends its next request when the answer is there, which finds the most that
the server does. Open loop (`--rate N`): requests fall due by the clock whatever the answers do, and latency counts
from when a request was due, so a server that stalls is not spared (no coordinated omission).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import time
from collections import deque

FILLER = "x" * 1000


def body_of(number: int, run: str, kinds: int = 0) -> bytes:
    """Make an event of about 1.4 KB that no other has been; with `kinds`, of the types `to.0`, `to.1`, … in turn."""
    payload = {
        "id": f"{run}-{number}",
        "event": f"to.{number % kinds}" if kinds else "invoice.paid",
        "organization_id": "org_7f3c1d",
        "occurred_at": "2026-05-18T12:00:00.000Z",
        "sent": time.monotonic_ns(),
        "data": {
            "id": f"inv_{number}", "number": f"INV-{number}", "status": "paid", "currency": "USD", "total": 1250.5,
            "lines": [{"sku": "SVC-1", "quantity": 12}, {"sku": "SVC-2", "quantity": 1}], "memo": FILLER,
        },
    }  # fmt: skip
    return json.dumps(payload).encode()


class Maker:
    """Makes signed requests."""

    def __init__(self, *, path: str, secret: str, run: str, kinds: int) -> None:
        self.prefix = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n".encode()
        self.mac = hmac.new(secret.encode(), digestmod=hashlib.sha256)
        self.run = run
        self.kinds = kinds
        self.number = 0

    def request(self) -> bytes:
        self.number += 1
        body = body_of(self.number, self.run, self.kinds)
        stamp = str(int(time.time())).encode()
        mac = self.mac.copy()
        mac.update(stamp + b"." + body)
        return b"%sX-Agiled-Webhook-Timestamp: %s\r\nX-Agiled-Webhook-Signature: %s\r\nContent-Length: %d\r\n\r\n%s" % (
            self.prefix, stamp, mac.hexdigest().encode(), len(body), body,
        )  # fmt: skip


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.load.idle(self)

    def send(self, since: float) -> None:
        self.since = since
        self.transport.write(self.load.maker.request())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        self.load.answered(self, int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.lost += not self.load.is_over


class Load:
    """All connections, and what was measured."""

    def __init__(self, maker: Maker, *, count: int, rate: float, seconds: float) -> None:
        self.maker = maker
        self.count = count
        self.rate = rate
        self.seconds = seconds
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.lost = 0
        self.sent = 0
        self.is_over = False
        self.free: deque[Connection] = deque()
        self.due: deque[float] = deque()
        self.done = asyncio.Event()

    def idle(self, connection: Connection) -> None:
        if self.rate:
            if self.due:
                connection.send(self.due.popleft())
            else:
                self.free.append(connection)
        elif self.sent < self.count and time.perf_counter() < self.end:
            self.sent += 1
            connection.send(time.perf_counter())
        elif len(self.latencies) >= self.sent:
            self.done.set()

    def answered(self, connection: Connection, status: int) -> None:
        self.latencies.append(time.perf_counter() - connection.since)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.idle(connection)

    async def run(self, host: str, port: int, connections: int) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        start = time.perf_counter()
        self.end = start + self.seconds
        for _ in range(connections):
            await loop.create_connection(lambda: Connection(self), host, port)
        if self.rate:
            await self._pace(start)
        else:
            await asyncio.wait_for(self.done.wait(), self.seconds + 30)
        took = time.perf_counter() - start
        self.is_over = True
        ordered = sorted(self.latencies)
        return {
            "answered": len(ordered),
            "per_second": len(ordered) / took,
            "p50_ms": 1000 * ordered[len(ordered) // 2],
            "p99_ms": 1000 * ordered[int(len(ordered) * 0.99)],
            "statuses": self.statuses,
            "lost": self.lost,
        }

    async def _pace(self, start: float) -> None:
        while time.perf_counter() < self.end:
            # The first is due at once; without the 1 each would be sent a whole interval after it was due.
            owed = int((time.perf_counter() - start) * self.rate) + 1 - self.sent
            for _ in range(owed):
                moment = start + self.sent / self.rate
                self.sent += 1
                if self.free:
                    self.free.popleft().send(moment)
                else:
                    self.due.append(moment)
            await asyncio.sleep(0.001)
        for _ in range(1000):
            if len(self.latencies) >= self.sent:
                return
            await asyncio.sleep(0.01)


def main() -> None:
    """Run once and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--kinds", type=int, default=0)
    said = parser.parse_args()
    maker = Maker(path=said.path, secret=said.secret, run=said.run, kinds=said.kinds)

    async def go() -> dict[str, object]:
        load = Load(maker, count=said.count, rate=said.rate, seconds=said.seconds)
        return await load.run("127.0.0.1", said.port, said.connections)

    print(json.dumps(asyncio.run(go())))


if __name__ == "__main__":
    main()
