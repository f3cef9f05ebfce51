"""Whether what has come is what was there: every row by counts and digests, and some through both readers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hookline.daemon.migrating.source import Source
from hookline.daemon.migrating.tables import TABLES, Table
from hookline.daemon.migrating.target import Target
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.port import Reader
from hookline.daemon.store.rows import delivery_id, event_id

_MODULUS: Final = 1 << 256
#: Of each, as many are looked at through both readers.
SAMPLE: Final = 50


class UnequalError(Exception):
    """The two are not the same. Caught by the command; to be told to its maker."""


@dataclass(slots=True)
class Digest:
    """A number for any set of rows, whatever their order: the sum of their SHA-256."""

    rows: int = 0
    total: int = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows."""
        for row in rows:
            self.rows += 1
            # repr tells 1 from True, '1' from b'1', and ends where it ends.
            said = repr(row).encode("utf-8", "surrogatepass")
            self.total = (self.total + int.from_bytes(hashlib.sha256(said).digest())) % _MODULUS

    def __str__(self) -> str:
        """Write it as people compare it."""
        return f"{self.total:064x}"[:16]


async def compare(
    source: Source, target: Target, counts: Mapping[str, int], *, every: Callable[[str, int], None]
) -> dict[str, list[int]]:
    """Read every table back from both sides; return what stands first in some rows of each: ids, of most.

    `counts` are those of the file; `every` is told of each table's rows as they come.
    Raises `UnequalError` and `StoreError`.
    """
    sample: dict[str, list[int]] = {}
    for table in TABLES:
        here, there = Digest(), Digest()
        stride = max(1, counts[table.name] // SAMPLE)
        sample[table.name], _ = await asyncio.gather(
            asyncio.to_thread(_of_source, source, table, here, stride, every), target.read(table, there.add)
        )
        if here != there:
            raise UnequalError(
                f"{table.name}: {here.rows:,} rows in the file (digest {here}), {there.rows:,} in the database "
                f"(digest {there})"
            )
    return sample


def _of_source(
    source: Source, table: Table, digest: Digest, stride: int, every: Callable[[str, int], None]
) -> list[int]:
    sample: list[int] = []
    for piece in source.pieces(table, after=0):
        sample.extend(row[0] for row in piece[-digest.rows % stride :: stride])
        digest.add(piece)
        every(table.name, digest.rows)
    return sample


async def compare_readers(here: Reader, there: Reader, *, events: Collection[int], deliveries: Collection[int]) -> int:
    """Look at some through both readers, as the daemon would; return how many.

    Raises `UnequalError` and `StoreError`.
    """
    for number in events:
        which = event_id(number)
        _same(f"event {which}", await here.event(which), await there.event(which))
    for number in deliveries:
        of = delivery_id(number)
        _same(f"delivery {of}", await here.delivery(of), await there.delivery(of))
        _same(f"attempts of {of}", await here.attempts(of), await there.attempts(of))
    _same("the counts", dict(await here.counts()), dict(await there.counts()))
    _same("the tokens", await here.tokens(), await there.tokens())
    _same("the paused sources", dict(await here.paused()), dict(await there.paused()))
    _same("the lanes", _by_name(await here.lanes()), _by_name(await there.lanes()))
    return len(events) + len(deliveries)


def _by_name(rows: Sequence[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: str(row.lane))


def _same(what: str, here: object, there: object) -> None:
    if here != there:
        raise UnequalError(f"{what} is another in the database than in the file")
