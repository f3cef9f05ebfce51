"""The schema that a store is moved into: whose it is, how far the move has come, and what stands there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hookline.daemon.ids import made_at
from hookline.daemon.migrating.tables import TABLES, Table
from hookline.daemon.store.named_sql import Row, named_statements
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.partitions import Partitions
from hookline.daemon.store.postgres.schema import set_up
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.rows import micros

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

_SQL: Final = named_statements(__package__, "target")
#: Besides those that move: what only daemons write.
_OTHERS: Final = ("nodes", "secrets")
#: A piece goes over a slow line within it.
_A_WHILE: Final = timedelta(minutes=2)
#: Nobody else waits for the database.
_A_LONG_TIME: Final = timedelta(hours=24)
#: Days for which tables are made in one transaction.
_DAYS_AT_ONCE: Final = 16


class AlreadyMovedError(Exception):
    """All of this store is there already. Caught by the command, which says so."""


class Target:
    """Writes rows, and reads them back."""

    def __init__(self, server: Server, partitions: Partitions) -> None:
        """`server` is open."""
        self._server = server
        self._partitions = partitions

    async def look(self, fingerprint: str) -> Mapping[str, int]:
        """Return how many rows of each table an earlier run has moved. Writes nothing.

        Raises `AlreadyMovedError`, and `StoreError` if the schema holds anything else.
        """
        return await self._server.read(lambda connection: _look(connection, self._server.schema, fingerprint))

    async def begin(self, fingerprint: str, *, anew: bool) -> Mapping[str, int]:
        """Make the tables, and keep daemons off them; return what `look` does.

        `anew`: what an earlier run has moved is removed first.
        """
        await set_up(self._server)
        if anew and await self._server.read(lambda connection: connection.fetchval(_SQL["is_moving"])):
            # What an unfinished move has brought; nothing else is ever removed.
            for table in TABLES:
                await self._execute(f"TRUNCATE {table.name}")
            await self._execute(_SQL["begin_anew"])
            await self._server.write(lambda connection: connection.execute(_SQL["begin_anew_from"], fingerprint))
        found = await self._server.write(lambda connection: _begin(connection, self._server.schema, fingerprint))
        await self._partitions.open()
        return found

    async def put(self, table: Table, rows: Sequence[Row], *, after: int) -> None:
        """Write rows and, in the same transaction, that they are there. `after`: how many were there before.

        Raises `StoreError`; to repeat the whole move is safe.
        """
        if table.day_of is not None:
            place = list(table.columns).index(table.day_of)
            days = {made_at(row[place]).date(): row[place] for row in rows}
            firsts = [*days.values()]
            for begin in range(0, len(firsts), _DAYS_AT_ONCE):
                await self._partitions.ensure(firsts[begin : begin + _DAYS_AT_ONCE])

        async def work(connection: Connection) -> None:
            await connection.copy_records_to_table(table.name, records=rows, columns=list(table.columns))
            if await connection.fetchval(_SQL["add_rows"], table.name, after, len(rows)) is None:
                raise StoreError(f"another migrate-store writes to schema {self._server.schema}: end that one")

        await self._server.write(work, within=_A_WHILE)

    async def read(self, table: Table, each: Callable[[list[Row]], None]) -> None:
        """Hand all rows of a table over, some at a time, in threads. Raises `StoreError`."""
        columns = ", ".join(table.columns)

        async def work(connection: Connection) -> None:
            cursor = await connection.cursor(f"SELECT {columns} FROM {table.name}")  # noqa: S608 - our names
            while found := await cursor.fetch(table.page):
                await asyncio.to_thread(each, [tuple(row) for row in found])

        await self._server.read(work, within=_A_LONG_TIME)

    async def end(self, moved: Mapping[str, Any], secrets: Mapping[str, bytes]) -> None:
        """Let daemons in: all is there. `moved` says what came, for `look`; `secrets` are kept by their names."""

        async def work(connection: Connection) -> None:
            now = micros(await self._server.now(connection))
            for table in TABLES:
                if table.is_numbered:
                    await connection.execute(
                        f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) "  # noqa: S608 - our names
                        f"FROM {table.name} HAVING max(id) IS NOT NULL"
                    )
            for name, value in secrets.items():
                await connection.execute(_SQL["keep_secret"], name, value, now)
            await connection.execute(_SQL["end"], json.dumps(dict(moved)), now)
            await connection.execute(_SQL["drop_moved_rows"])
            await connection.execute(_SQL["drop_moving"])

        # First: a planner that knows nothing of a million rows looks through all of them.
        for table in TABLES:
            await self._execute(f"ANALYZE {table.name}")
        await self._server.write(work, within=_A_WHILE)

    async def _execute(self, statement: str) -> None:
        await self._server.write(lambda connection: connection.execute(statement), within=_A_LONG_TIME)


async def _look(connection: Connection, schema: str, fingerprint: str) -> dict[str, int]:
    if not await connection.fetchval(_SQL["has_schema"]):
        return {}
    if await connection.fetchval(_SQL["is_moving"]):
        if await connection.fetchval(_SQL["begun_from"]) != fingerprint:
            raise StoreError(
                f"schema {schema} holds a part of another store, or of this one before a daemon wrote to it again: "
                "--anew removes that part and begins again"
            )
        return {row["name"]: row["rows"] for row in await connection.fetch(_SQL["moved_rows"])}
    ended = await connection.fetchval(_SQL["ended_with"])
    if ended is not None and json.loads(ended).get("fingerprint") == fingerprint:
        raise AlreadyMovedError
    for name in (*(table.name for table in TABLES), *_OTHERS):
        if await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {name})"):  # noqa: S608 - our names
            raise StoreError(
                f"schema {schema} is in use ({name} has rows): a store is moved into an empty one. Name another, "
                f"?schema=NAME, or remove that one: DROP SCHEMA {schema} CASCADE"
            )
    return {}


async def _begin(connection: Connection, schema: str, fingerprint: str) -> dict[str, int]:
    found = await _look(connection, schema, fingerprint)
    if not found:
        for name in ("make_moving", "make_moved_rows"):
            await connection.execute(_SQL[name])
        await connection.execute(_SQL["begin"], fingerprint)
        await connection.execute(_SQL["begin_rows"], [table.name for table in TABLES])
    return found
