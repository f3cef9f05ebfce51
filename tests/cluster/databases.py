"""Where a cluster keeps what it has: a PostgreSQL schema, or for one node alone an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Protocol

from hookline.daemon.store.port import Reader
from hookline.daemon.store.sqlite.reader import SqliteReader
from tests.postgres import PostgresServer


class Database(Protocol):
    """What the tests ask of it from outside, past the daemons."""

    def store(self, address: str) -> str:
        """Return what a node writes under `store:`, which sees the server at this address."""
        ...

    def unfinished(self) -> int:
        """Return how many deliveries have not ended."""
        ...

    def reader(self) -> AbstractAsyncContextManager[Reader]:
        """Look into it."""
        ...


class OnPostgres:
    """A schema of a server."""

    def __init__(self, server: PostgresServer, schema: str) -> None:
        self.server, self.schema = server, schema

    def store(self, address: str) -> str:
        """Return the URL."""
        return f"postgresql://hookline@{address}:{self.server.port}/postgres?schema={self.schema}"

    def count(self, what: str) -> int:
        """Return how many rows there are of `table WHERE …`."""
        return int(self.server.sql(f"SELECT count(*) FROM {self.schema}.{what}"))

    def unfinished(self) -> int:
        """Count the queue."""
        return self.count("queue")

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """Look by connections of our own."""
        # Only where there is PostgreSQL, its driver is asked for.
        from hookline.daemon.store.postgres.reader import PostgresReader
        from hookline.daemon.store.postgres.server import Server

        server = Server(self.server.place(self.schema), clock=None, on_failure=lambda _: None)
        await server.open()
        reader = PostgresReader(server)
        try:
            yield reader
        finally:
            await reader.close()
            await server.close()


class OnSqlite:
    """The file of one node."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def store(self, _address: str) -> str:
        """Return its place."""
        return f"sqlite:{self.path}"

    def unfinished(self) -> int:
        """Count what is pending, running, or behind another of its order."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as store:
            (count,) = store.execute("SELECT count(*) FROM deliveries WHERE state IN (0, 1, 7)").fetchone()
        return int(count)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """Look beside the daemon."""
        reader = SqliteReader(self.path)
        try:
            yield reader
        finally:
            await reader.close()
