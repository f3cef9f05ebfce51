"""What is written because clocks jump."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hookline.daemon.ids import made_at
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.rows import length, micros

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection
    from hookline.daemon.store.postgres.server import Server

_SQL = named_statements(__package__, "clock")


async def latest(server: Server) -> datetime | None:
    """Return when the newest row was made, None if there is none. Raises `StoreError`."""
    number = await server.read(lambda connection: connection.fetchval(_SQL["latest"]))
    return None if number is None else made_at(number)


async def put_off(server: Server, by: timedelta, *, after: datetime) -> int:
    """Let all that is due after `after` be due later; return how many deliveries that are. Raises `StoreError`."""
    more, since = length(by), micros(after)

    async def work(connection: Connection) -> int:
        moved = await connection.fetch(_SQL["put_off_waiting"], more, since)
        await connection.execute(_SQL["put_off_windows"], more, since)
        return len(moved)

    return await server.write(work)


async def pull_in(server: Server, to: datetime) -> int:
    """Let all that is due after `to` be due then; return how many deliveries that were. Raises `StoreError`."""
    return len(await server.write(lambda connection: connection.fetch(_SQL["pull_in"], micros(to))))
