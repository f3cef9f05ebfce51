"""A schema into which a store is being moved: no daemon begins there until all of it has come."""

from __future__ import annotations

from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.server import Server


async def refuse_half_moved(server: Server) -> None:
    """Raise `StoreError` if `migrate-store` has not come to its end in our schema."""
    is_moving = await server.read(lambda connection: connection.fetchval("SELECT to_regclass('moving') IS NOT NULL"))
    if is_moving:
        raise StoreError(
            f"a SQLite store is being moved into schema {server.schema}, and not all of it is there: run the same "
            "`hookline migrate-store` again, which goes on where it was",
            kind="unfit",
        )
