"""A store's reader behind the admin API, on a socket: what the command line reads through."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import structlog
from hypercorn.asyncio import serve
from hypercorn.config import Config

from hookline.daemon.access.brake import Brake
from hookline.daemon.access.guard import Guard
from hookline.daemon.access.session import Sessions
from hookline.daemon.access.tokens import Tokens
from hookline.daemon.api.application import AdminApplication
from hookline.daemon.api.client import ApiClient, ApiReader
from hookline.daemon.config.settings import Address
from hookline.daemon.store.port import Reader, Store

TOKEN = "a-token-of-some-length"


@asynccontextmanager
async def api_reader(store: Store) -> AsyncIterator[Reader]:
    """Serve the store's reader on a Unix socket, and yield one that asks there."""
    own = store.reader()
    # pytest's folders may be longer than a socket's path can be.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "admin"
        ending = asyncio.Event()
        config = Config.from_mapping(bind=[f"unix:{path}"], errorlog=None, graceful_timeout=0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: serve(_application(own), config, shutdown_trigger=ending.wait))
            with anyio.fail_after(30):
                while not path.exists():  # noqa: ASYNC110 - the server tells nobody
                    await anyio.sleep(0.001)
            reader = ApiReader(ApiClient(Address(unix=path), TOKEN, user="ada"))
            yield reader
            await reader.close()
            ending.set()
    await own.close()


def _application(reader: Reader) -> Any:
    log = structlog.get_logger()
    running: Any = SimpleNamespace(reader=reader)
    unused: Any = None
    tokens = Tokens(TOKEN, store=unused, commit=unused, clock=_now, log=log)
    sessions = Sessions(tokens, configured=TOKEN, clock=_now)
    brake = Brake(monotonic=time.monotonic, log=log, on_wrong=lambda: None)
    guard = Guard(tokens=tokens, sessions=sessions, brake=brake, hosts=frozenset({"localhost"}))
    return AdminApplication(running, guard=guard, log=log)


def _now() -> datetime:
    return datetime.now(UTC)
