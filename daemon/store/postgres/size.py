"""How much room the store takes in its database."""

from __future__ import annotations

from typing import Final

from hookline.daemon.store.postgres.server import Server

# Partitions are tables too; each with its indexes, and with what is kept out of line.
_SIZE: Final = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
"""


async def size(server: Server) -> int:
    """Return how many bytes our tables take. Raises `StoreError`."""
    found: int = await server.read(lambda connection: connection.fetchval(_SIZE))
    return found
