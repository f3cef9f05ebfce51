"""The machine's own floor: an ASGI function that reads the body and answers, and does nothing else.

Behind our own server, or with `--stock` behind Hypercorn as it comes.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta
from typing import Any

import anyio
import hypercorn.asyncio
from hypercorn.config import Config

from hookline.daemon.config.settings import Address
from hookline.daemon.http.listening import bind
from hookline.daemon.http.server import Listener, serve
from hookline.daemon.log import get_logger

ANSWER = b'{"accepted": 1, "duplicates": 0, "ids": ["evt_0123456789abc"]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and answer."""
    if scope["type"] != "http":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


async def main() -> None:
    """Serve until SIGTERM; print the port."""
    stop = anyio.Event()
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        bound = bind(Address(host="127.0.0.1", port=0))
        print(bound.getsockname()[1], flush=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve_until, bound, stop)
            async for _ in signals:
                stop.set()
                break


async def stock() -> None:
    """Serve by `hypercorn.asyncio.serve` until SIGTERM; print the port."""
    config = Config()
    bound = bind(Address(host="127.0.0.1", port=0))
    print(bound.getsockname()[1], flush=True)
    config.bind = [f"fd://{bound.fileno()}"]
    config.accesslog = None
    # Its default closes each connection after a thousand requests.
    config.keep_alive_max_requests = 10**9
    config.include_server_header = False
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await hypercorn.asyncio.serve(answer, config, shutdown_trigger=stop.wait)


async def serve_until(bound: Any, stop: anyio.Event) -> None:
    """Serve one listener."""
    await serve([Listener(socket=bound, app=answer)], stop=stop, log=get_logger(), grace=timedelta(seconds=1))


if __name__ == "__main__":
    anyio.run(stock if "--stock" in sys.argv else main, backend_options={"use_uvloop": True})
