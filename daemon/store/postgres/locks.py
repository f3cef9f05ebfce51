"""What keeps two nodes from deciding about the same thing at once: advisory locks that end with their transaction."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hookline.daemon.store.named_sql import named_statements

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

_SQL = named_statements(__package__, "gates")
#: Memories and orders have so many locks between them; two that share one only wait for each other.
STRIPES: Final = 1024


async def take(  # noqa: PLR0913 - what there is to lock, each by name
    connection: Connection,
    *,
    shared: Iterable[int] = (),
    exclusive: Iterable[int] = (),
    queues: Iterable[int] = (),
    memories: Iterable[str] = (),
    deliveries: Iterable[int] = (),
) -> None:
    """Take all locks of a transaction in one statement, sorted, so that no two transactions wait for each other.

    `shared` are lanes in which something is begun, by their numbers; `exclusive` those that are held or released.
    `queues` are order queues, `memories` those of gates; `deliveries` may stand in order queues. What was read before
    this statement may have changed after it.
    """
    lanes = dict.fromkeys(shared, False) | dict.fromkeys(exclusive, True)
    stripes = {number % STRIPES for number in queues} | {stripe_of(memory) for memory in memories}
    numbers = list(deliveries)
    if lanes or stripes or numbers:
        await connection.fetchval(_SQL["lock"], list(lanes), list(lanes.values()), list(stripes), numbers)


def stripe_of(memory: str) -> int:
    """Return the stripe of what a gate remembers."""
    return zlib.crc32(memory.encode()) % STRIPES
