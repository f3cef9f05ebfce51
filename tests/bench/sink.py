"""A destination: answers 204 to every POST and notes how long each event was on its way. Prints JSON when it is ended."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
SENT = re.compile(rb'"sent": ?([0-9]+)')
LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


class Sink(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, latencies: list[float], times: list[float]) -> None:
        self.latencies = latencies
        self.times = times
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            found = LENGTH.search(head)
            length = int(found[1]) if found else 0
            if not separator or len(rest) < length:
                return
            now = time.monotonic_ns()
            sent = SENT.search(rest)
            if sent:
                self.latencies.append((now - int(sent[1])) / 1e6)
                self.times.append(now / 1e9)
            self.buffer = rest[length:]
            self.transport.write(ANSWER)


async def serve() -> None:
    """Listen on a free port, print it, and print the figures at SIGTERM (and begin anew at SIGUSR1)."""
    latencies: list[float] = []
    times: list[float] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sink(latencies, times), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)

    def report() -> None:
        ordered = sorted(latencies) or [0.0]
        took = (times[-1] - times[0]) if len(times) > 1 else 1.0
        print(
            json.dumps(
                {
                    "delivered": len(latencies),
                    "per_second": len(times) / took,
                    "p50_ms": ordered[len(ordered) // 2],
                    "p99_ms": ordered[int(len(ordered) * 0.99)],
                }
            ),
            flush=True,
        )
        latencies.clear()
        times.clear()

    loop.add_signal_handler(signal.SIGUSR1, report)
    await ended.wait()
    report()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
