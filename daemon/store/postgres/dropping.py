"""Dropping days: taken out of their tables in an instant, counted and dropped afterwards."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from hookline.daemon.ids import lowest_at, made_at
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres.connections import savepoint
from hookline.daemon.store.postgres.partitions import TABLES, Partition, Partitions, attached
from hookline.daemon.store.postgres.retained import tell, uncount
from hookline.daemon.store.rows import STATES

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection
    from hookline.daemon.store.postgres.server import Server

_SQL = named_statements(__package__, "prune")
#: Nobody waits for us for longer: while we wait for a table, whoever comes after us waits, too.
_LOCK_WITHIN: Final = "100ms"
_LOOK_WITHIN: Final = "300ms"
#: To count a day, and to have its files removed.
_DROP_WITHIN: Final = timedelta(minutes=2)
#: The events of a request come together.
_TOGETHER: Final = timedelta(hours=1)
_GONE: Final = "gone_"


async def past(server: Server, older_than: int) -> list[tuple[Partition, frozenset[str]]]:
    """Return what is past as a whole, oldest first, with the tables that there are of it. Raises `StoreError`."""
    there = await server.read(attached)
    found = {one for those in there.values() for one in those if one.end <= older_than}
    return [(one, frozenset(table for table in TABLES if one in there[table])) for one in sorted(found)]


async def take_out(
    server: Server, partitions: Partitions, one: Partition, tables: frozenset[str], *, dead_before: int
) -> bool:
    """Take a partition out of its tables, unless something in it must stay or somebody reads for long.

    Its requests stay while events behind its end need them. Return whether anything was. Raises `StoreError`.
    """
    # Looked at first without a lock: that may take its time.
    leaves = await server.read(lambda connection: _leaves(connection, one, tables, dead_before))
    if not leaves:
        return False

    async def work(connection: Connection) -> bool | None:
        try:
            async with savepoint(connection):
                return await _take_out(connection, one, tables, dead_before)
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            return None

    # Before: what is written there from now on asks for it anew.
    partitions.forget([one])
    is_out = await server.write(work)
    partitions.is_put_off = is_out is None
    return bool(is_out)


async def _take_out(connection: Connection, one: Partition, tables: frozenset[str], dead_before: int) -> bool:
    await connection.execute(
        f"SET LOCAL lock_timeout = '{_LOCK_WITHIN}'; SET LOCAL statement_timeout = '{_LOOK_WITHIN}'"
    )
    await connection.execute(_SQL["keep_repeats_out"])
    await connection.execute(_SQL["lock_parents"])
    leaves = await _leaves(connection, one, tables, dead_before)
    for parent in leaves:
        table = one.table(parent)
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {table}")
        await connection.execute(f"ALTER TABLE {table} RENAME TO {_GONE}{table}")
    return bool(leaves)


async def _leaves(connection: Connection, one: Partition, tables: frozenset[str], dead_before: int) -> list[str]:
    """Return those of the partition's tables that may go."""
    if await connection.fetchval(_SQL["must_stay"], one.lowest, one.end, dead_before):
        return []
    since = max(one.lowest, lowest_at(made_at(one.end) - _TOGETHER))
    is_needed = await connection.fetchval(_SQL["is_needed"], since, one.end)
    return [parent for parent in TABLES if parent in tables and not (parent == "requests" and is_needed)]


async def drop_gone(server: Server, at: datetime) -> int:
    """Drop what was taken out, and count it no more; return how many days that were. Raises `StoreError`."""
    found = await server.read(lambda connection: connection.fetch(_SQL["gone"]))
    if not found:
        return 0
    return await server.write(lambda connection: _drop(connection, at), within=_DROP_WITHIN)


async def _drop(connection: Connection, at: datetime) -> int:
    if not await connection.fetchval(_SQL["try_dropping"]):
        return 0
    tables = [row["relname"] for row in await connection.fetch(_SQL["gone"])]
    states: Counter[str] = Counter()
    events = 0
    for table in tables:
        if table.startswith(f"{_GONE}events_"):
            events += await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name of ours
        elif table.startswith(f"{_GONE}deliveries_"):
            counted = await connection.fetch(f"SELECT state, count(*) FROM {table} GROUP BY state")  # noqa: S608
            states.update({STATES[state].value: count for state, count in counted})
        await connection.execute(f"DROP TABLE {table}")
    await uncount(connection, states + Counter(events=events))
    await tell(connection, {"events": events, "deliveries": states.total()}, at)
    return len({table.rpartition("_")[2] for table in tables})
