"""Dedupe keys: the unique key of their table decides which node was first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres.rows import columns

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

_SQL = named_statements(__package__, "write")


class Key(NamedTuple):
    """What a key stands for."""

    event: int
    #: See `content_number`.
    content: int


class Presented(NamedTuple):
    """A key, as an event brings it."""

    digest: bytes
    key: Key
    #: Where the key stands for an event with a lower number, its time is over.
    oldest: int

    def replaces(self, known: Key) -> bool:
        """Whether what is known of the key is over."""
        return known.event != self.key.event and known.event < self.oldest


@dataclass(slots=True)
class Keys:
    """What a batch's keys stand for, once its own new ones are inserted."""

    known: dict[bytes, Key]
    #: Those of the batch's own events that are stored: it is repeated because its outcome was unknown.
    stored: set[int] = field(default_factory=set)


async def learn(connection: Connection, presented: Sequence[Presented]) -> Keys:
    """Insert the keys that are new, and find out about the others.

    Those whose time is over stay locked, so that whoever finds them so too waits for what becomes of them.
    """
    first: dict[bytes, Key] = {}
    for one in presented:
        first.setdefault(one.digest, one.key)
    new: set[bytes] = set()
    known: dict[bytes, Key] = {}
    # More than once only if retention removes a key while we look.
    while missing := [digest for digest in first if digest not in known]:
        rows = [(digest, *first[digest]) for digest in missing]
        inserted = {digest for (digest,) in await connection.fetch(_SQL["insert_keys"], *columns(rows, 3))}
        new |= inserted
        known |= {digest: first[digest] for digest in inserted}
        if others := [digest for digest in missing if digest not in inserted]:
            known |= await _look(connection, [one for one in presented if one.digest in others], others)
    repeated = [
        one.key.event for one in presented if one.digest not in new and known[one.digest].event == one.key.event
    ]
    if not repeated:
        return Keys(known)
    return Keys(known, {number for (number,) in await connection.fetch(_SQL["known_events"], repeated)})


async def _look(connection: Connection, presented: Sequence[Presented], digests: Sequence[bytes]) -> dict[bytes, Key]:
    """Return what the keys stand for that are there."""
    known = _keys(await connection.fetch(_SQL["known_keys"], digests))
    over = sorted({one.digest for one in presented if one.digest in known and one.replaces(known[one.digest])})
    if over:
        locked = _keys(await connection.fetch(_SQL["lock_keys"], over))
        known = {digest: key for digest, key in known.items() if digest not in over} | locked
    return known


def _keys(rows: Iterable[Sequence[Any]]) -> dict[bytes, Key]:
    return {digest: Key(event, content) for digest, event, content in rows}
