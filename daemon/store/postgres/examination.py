"""Asks the server how it stands, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from hookline.daemon.store.database_state import DatabaseState, Holding, LeftSlot
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.connections import Connection
from hookline.daemon.store.postgres.nodes import listed
from hookline.daemon.store.postgres.server import Server

_SQL: Final = named_statements(__package__, "examination")
#: A node that was not seen for so long does not count.
GONE_AFTER: Final = timedelta(seconds=10)


async def examined(place: PostgresDatabase, *, clock: Callable[[], datetime]) -> DatabaseState:
    """Return how a database stands, also before our tables are in it; `clock` is ours. Raises `StoreError`."""
    server = Server(place)
    try:
        is_pooled = await _is_pooled(server)
        return await server.read(lambda connection: _examine(connection, clock, is_pooled=is_pooled))
    finally:
        await server.close()


async def _is_pooled(server: Server) -> bool:
    """Say whether two sessions that are open at the same time are one and the same at the server."""
    first = await server.session()
    try:
        second = await server.session()
        try:
            pids = {await one.fetchval("SELECT pg_backend_pid()") for one in (first, second)}
        finally:
            await second.close()
    finally:
        await first.close()
    return len(pids) == 1


async def _examine(connection: Connection, clock: Callable[[], datetime], *, is_pooled: bool) -> DatabaseState:
    said = dict(await connection.fetchrow(_SQL["server"]))
    connections = await connection.fetchrow(_SQL["connections"])
    # Others see that there are standbys, and nothing of them.
    standbys = await connection.fetchrow(_SQL["standbys"]) if said["sees_all"] else None
    holding = await connection.fetchrow(_SQL["holding"])
    before = clock()
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    exact_to = (clock() - before) / 2
    return DatabaseState(
        **said,
        most_connections=connections["most"],
        connections=connections["used"],
        own_connections=connections["own"],
        standbys=standbys and standbys["standbys"],
        synchronous_standbys=standbys and standbys["synchronous"],
        ahead=now - before - exact_to,
        exact_to=exact_to,
        holding=holding and Holding(what=holding["what"], age=timedelta(seconds=holding["age_s"])),
        slots=tuple(LeftSlot(name=name, size=size) for name, size in await connection.fetch(_SQL["slots"])),
        is_pooled=is_pooled,
        **await _tables(connection, now),
    )


async def _tables(connection: Connection, now: datetime) -> dict[str, Any]:
    if await connection.fetchval(_SQL["schema"]) is None:
        return {}
    found = await connection.fetchrow(_SQL["tables"])
    if found is None:
        return {
            "schema": 0,
            "lacks": "our tables are not whole: restore the database, or let `store:` name an empty schema",
        }
    lacks = ""
    if found["other_owner"]:
        lacks = f"the tables belong to the role {found['other_owner']}: let every node use that one"
    elif not found["may_create"]:
        lacks = "it may not make tables in the schema, and each day needs one: GRANT CREATE ON SCHEMA"
    names = ("schema", "size", "queue_rows", "queue_dead", "vacuumed_at")
    nodes = await listed(connection, now=now, lease=GONE_AFTER)
    return {**{name: found[name] for name in names}, "lacks": lacks, "now": now, "nodes": nodes}
