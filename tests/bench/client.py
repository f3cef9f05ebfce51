"""The least that delivers: one process that posts bodies with aiohttp. Prints how many a second as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import aiohttp

from tests.bench.load import body_of


async def post(port: int, seconds: float, connections: int) -> dict[str, float]:
    """Post for so long, each connection one after the other."""
    posted = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        start = time.perf_counter()

        async def one() -> None:
            nonlocal posted
            while time.perf_counter() - start < seconds:
                async with session.post(f"http://127.0.0.1:{port}/", data=body_of(posted, "client")) as answer:
                    await answer.read()
                posted += 1

        await asyncio.gather(*(one() for _ in range(connections)))
        return {"per_second": posted / (time.perf_counter() - start)}


def main() -> None:
    """Run once and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=32)
    said = parser.parse_args()
    print(json.dumps(asyncio.run(post(said.port, said.seconds, said.connections))))


if __name__ == "__main__":
    main()
