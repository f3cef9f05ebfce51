"""A PostgreSQL store filled by SQL, and what its questions cost: counted in rows that were read, which no load changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hookline.daemon.ids import lowest_at
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.partitions import Partitions
from hookline.daemon.store.postgres.reader import PostgresReader
from hookline.daemon.store.postgres.schema import set_up
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.searching import MOST_LOOKED_AT

#: So many rows are enough for any search to stop early.
MANY: Final = MOST_LOOKED_AT + 4_000
DAY: Final = lowest_at(datetime(2020, 1, 2, tzinfo=UTC))
#: A delivery's number above its event's; and from one event to the next.
DEAD, DELIVERED, PENDING, STEP = 1, 2, 3, 6 * DAY // MANY
_FEW: Final = 100
#: They grow without end; no question may read all of one.
_LARGE: Final = ("requests", "events", "queue", "deliveries", "attempts")

# Each event has a dead letter, a delivery that went well, and one that waits. It is both matched and unrouted, which no
# event is otherwise: so one filling is the worst for every search.
_FILL: Final = """
INSERT INTO requests SELECT {id}, {id}, 'application/json', '', '{{}}', '{{}}', '', '{{"a": 1}}', NULL FROM {n};
INSERT INTO events SELECT {id}, {id}, 1, 'shop', 'order.paid', 's', 'k', 'acme', NULL, NULL, 0, NULL, '{{r}}', true
FROM {n};
INSERT INTO queue (id, event_id, step_id, lane_id, state, due_at)
SELECT {id} + {pending}, {id}, 1, 1, CASE i % 2 WHEN 0 THEN 0 ELSE 7 END, i FROM {n};
INSERT INTO deliveries
SELECT {id} + d, {id}, 1, 1, CASE d WHEN {dead} THEN 3 ELSE 2 END, i, 1, 0, NULL, NULL, NULL, NULL, '', NULL, NULL,
    false, 0, false
FROM {n}, (VALUES ({dead}), ({delivered})) AS ended (d);
INSERT INTO attempts SELECT event_id, id, 0, 1, 0, 0, 'delivered', 200, '200 OK', '', '' FROM deliveries
WHERE event_id >= {base};
INSERT INTO source_hours SELECT 'shop', {hour} + i, 1, 1, {last}, 'order.paid' FROM generate_series(0, 143) AS i;
INSERT INTO rule_hours SELECT 'r', {hour} + i, 1, 1, {last} FROM generate_series(0, 143) AS i;
ANALYZE;
"""


@dataclass(slots=True)
class Cost:
    """What questions cost."""

    #: Rows that were read of tables and indexes, whether they were wanted or not.
    rows: int = 0
    #: The tables that were read from one end to the other, and all that were touched.
    whole: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    milliseconds: float = 0.0


class _Explaining:
    """A connection that adds up what its queries cost."""

    def __init__(self, connection: Any, cost: Cost) -> None:
        self._connection = connection
        self._cost = cost

    async def fetch(self, sql: str, *values: Any) -> Any:
        said = await self._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *values)
        (told,) = json.loads(said)
        self._cost.milliseconds += told["Execution Time"] + told["Planning Time"]
        for node in _nodes(told["Plan"]):
            if node["Actual Loops"] and (table := node.get("Relation Name")) is not None:
                read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                self._cost.rows += read * node["Actual Loops"]
                self._cost.touched.add(table)
                # A day of a few rows is not worth its index.
                if node["Node Type"] == "Seq Scan" and read > _FEW:
                    self._cost.whole.add(table)
        return await self._connection.fetch(sql, *values)


class _ExplainingServer:
    """Lets a reader's questions be explained."""

    def __init__(self, server: Server, cost: Cost) -> None:
        self._server = server
        self._cost = cost

    async def read(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        return await self._server.read(lambda connection: work(_Explaining(connection, self._cost)))


class House:
    """A store of days that are all alike."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.reader = PostgresReader(server)
        self._partitions = Partitions(server, span=timedelta(days=1))
        self._first = datetime(2026, 5, 4, tzinfo=UTC)
        #: The number of the newest event.
        self.last = 0

    async def fill(self) -> None:
        """Add so many events as a search looks at, and more, newer than all others, over six days."""
        base = lowest_at(self._first)
        await self._partitions.ensure(range(base, base + 6 * DAY, DAY))
        self.last = base + (MANY - 1) * STEP
        sql = _FILL.format(
            base=base,
            id=f"({base} + i * {STEP})",
            n=f"generate_series(0::bigint, {MANY - 1}) AS i",
            last=self.last,
            hour=round(self._first.timestamp()) // 3600,
            dead=DEAD,
            delivered=DELIVERED,
            pending=PENDING,
        )
        await self.run(sql)
        self._first += timedelta(days=6)

    async def run(self, sql: str) -> None:
        """Run SQL."""
        await self.server.write(lambda connection: connection.execute(sql), within=timedelta(seconds=60))

    async def cost(self, ask: Callable[[PostgresReader], Awaitable[Any]]) -> Cost:
        """Return what it costs to ask something."""
        cost = Cost()
        server: Any = _ExplainingServer(self.server, cost)
        await ask(PostgresReader(server))
        cost.whole = {table for table in cost.whole if table.startswith(_LARGE)}
        return cost


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


@asynccontextmanager
async def house_at(place: PostgresDatabase) -> AsyncIterator[House]:
    """Make the tables, and what many rows name."""
    server = Server(place)
    await server.open()
    try:
        await set_up(server)
        house = House(server)
        await house.run(
            "INSERT INTO rule_sets (version) VALUES ('v'); INSERT INTO lanes (name) VALUES ('erp');"
            "INSERT INTO steps (digest, rule, destination, lane_id) VALUES ('s', 'r', 'erp', 1)"
        )
        yield house
    finally:
        await server.close()
