"""A look into the database by whoever is no node: commands that people type."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.connections import Connection
from hookline.daemon.store.postgres.examination import GONE_AFTER
from hookline.daemon.store.postgres.nodes import listed
from hookline.daemon.store.postgres.reader import PostgresReader
from hookline.daemon.store.postgres.schema import check
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.sharing import Node


@asynccontextmanager
async def visited(place: PostgresDatabase) -> AsyncIterator[Server | None]:
    """Let a database be asked, and nothing in it be changed; None before the first start of a daemon.

    Raises `StoreError`, also where a newer program made the tables.
    """
    server = Server(place)
    try:
        yield server if await server.read(_has_tables) else None
    finally:
        await server.close()


@asynccontextmanager
async def reader_of(place: PostgresDatabase) -> AsyncIterator[PostgresReader | None]:
    """Return a reader of a database as `visited` does."""
    async with visited(place) as server:
        if server is None:
            yield None
            return
        reader = PostgresReader(server)
        try:
            yield reader
        finally:
            await reader.close()


async def nodes_of(place: PostgresDatabase) -> tuple[Node, ...]:
    """Return the nodes that were seen within a day, by name. Raises `StoreError`."""
    async with visited(place) as server:
        return () if server is None else await server.read(partial(_nodes, server))


async def _nodes(server: Server, connection: Connection) -> tuple[Node, ...]:
    return await listed(connection, now=await server.now(connection), lease=GONE_AFTER)


async def _has_tables(connection: Connection) -> bool:
    if await connection.fetchval("SELECT to_regclass('migrations') IS NULL"):
        return False
    await check(connection)
    return True
