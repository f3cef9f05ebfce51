"""Secrets that all nodes share: what senders brought, and the admin token that was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres.connections import Connection
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.rows import micros

_SQL: Final = named_statements(__package__, "secrets")


async def kept(server: Server, prefix: str) -> tuple[datetime, Mapping[str, bytes]]:
    """Return what is kept under names with that prefix, and the server's time. Raises `StoreError`."""

    async def work(connection: Connection) -> tuple[datetime, Mapping[str, bytes]]:
        now = await server.now(connection)
        return now, {row["name"]: row["value"] for row in await connection.fetch(_SQL["kept"], prefix)}

    return await server.read(work)


async def change(
    server: Server, name: str, change: Callable[[bytes | None, datetime], bytes | None]
) -> tuple[datetime, bytes | None]:
    """Make one what `change` says of it and of the server's time; return that time, and what it is now.

    Raises `StoreError`, and what `change` raises: then nothing changed.
    """

    async def work(connection: Connection) -> tuple[datetime, bytes | None]:
        await connection.execute(_SQL["lock"], name)
        now = await server.now(connection)
        before = await connection.fetchval(_SQL["one"], name)
        after = change(before, now)
        if after is None:
            await connection.execute(_SQL["forget"], name)
        elif after != before:
            await connection.execute(_SQL["keep"], name, after, micros(now))
        return now, after

    return await server.write(work)
