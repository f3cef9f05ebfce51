"""Tables of a day each: made before the first row of a day comes, dropped when the day is past its time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from hookline.daemon.ids import lowest_at, made_at
from hookline.daemon.store.named_sql import named_statements

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection
    from hookline.daemon.store.postgres.server import Server

#: What has many rows, in the order in which rows are written and locks taken.
TABLES: Final = ("requests", "events", "deliveries", "attempts")

_SQL = named_statements(__package__, "partitions")
_BOUNDS: Final = re.compile(r"FOR VALUES FROM \('(-?\d+)'\) TO \('(-?\d+)'\)")
#: So many spans are made ahead, so that whoever writes the first row of one need not.
_AHEAD: Final = 2
_A_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """What is stored of one span."""

    #: The lowest id of its events, and the lowest that is behind it.
    lowest: int
    end: int

    def table(self, parent: str) -> str:
        """Return the name of the table that holds its rows of `parent`."""
        is_day = self.end - self.lowest == _width(_A_DAY)
        return f"{parent}_{made_at(self.lowest):{'%Y%m%d' if is_day else '%Y%m%dt%H%M%S'}}"


class Partitions:
    """Knows which there are, and makes those that are missing, in transactions of its own."""

    def __init__(self, server: Server, *, span: timedelta) -> None:
        """`span` is how long each is; always the same for one database."""
        self._server = server
        self._width = _width(span)
        self._complete: set[Partition] = set()
        #: How far the round of retention that is under way has come in each.
        self.pruned_to: dict[Partition, int] = {}
        #: Somebody reads for long: to try again in this round would only let those wait who write.
        self.is_put_off = False

    async def open(self) -> None:
        """Learn which there are. Raises `StoreError`."""
        self._complete = await self._server.read(_complete)

    async def ensure(self, ids: Iterable[int]) -> None:
        """Make room for what belongs to these events. Costs nothing where there is. Raises `StoreError`."""
        missing = {self._of(number) for number in ids} - self._complete
        if missing:
            self._complete |= await self._server.write(lambda connection: self._make(connection, sorted(missing)))

    async def ahead(self, now: datetime) -> None:
        """Make those of the days to come. Raises `StoreError`."""
        lowest = lowest_at(now)
        await self.ensure(range(lowest, lowest + _AHEAD * self._width + 1, self._width))

    def forget(self, gone: Collection[Partition] | None = None) -> None:
        """Forget that these are there, all if None: somebody dropped them."""
        self._complete -= self._complete.copy() if gone is None else set(gone)

    def start_of(self, number: int) -> int:
        """Return the lowest id of the partition that an event belongs to."""
        return number - number % self._width

    def _of(self, number: int) -> Partition:
        lowest = self.start_of(number)
        return Partition(lowest, lowest + self._width)

    async def _make(self, connection: Connection, missing: list[Partition]) -> set[Partition]:
        # Another node may be at it.
        await connection.execute(_SQL["lock"], self._server.schema)
        there = await attached(connection)
        for one in missing:
            for parent in TABLES:
                if one not in there[parent]:
                    await _create(connection, parent, one)
        return set(missing)


async def _create(connection: Connection, parent: str, one: Partition) -> None:
    # CREATE TABLE … PARTITION OF would lock the parent against everybody; ATTACH lets them read and write.
    table = one.table(parent)
    await connection.execute(f"CREATE TABLE {table} (LIKE {parent} INCLUDING DEFAULTS INCLUDING STORAGE)")
    await connection.execute(
        f"ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES FROM ({one.lowest}) TO ({one.end})"
    )


def _width(span: timedelta) -> int:
    """Return how many ids there are in a span."""
    return lowest_at(made_at(0) + span)


async def _complete(connection: Connection) -> set[Partition]:
    there = await attached(connection)
    return set.intersection(*there.values())


async def attached(connection: Connection) -> dict[str, set[Partition]]:
    """Return what there is, by parent."""
    there: dict[str, set[Partition]] = {parent: set() for parent in TABLES}
    for parent, bounds in await connection.fetch(_SQL["attached"], list(TABLES)):
        if match := _BOUNDS.fullmatch(bounds):
            there[parent].add(Partition(int(match[1]), int(match[2])))
    return there
