"""Names that many rows share, kept once each: lanes, steps, versions of rule sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from hookline.daemon.store.changes import Lane, NewDelivery
from hookline.daemon.store.named_sql import Row, named_statements
from hookline.daemon.store.postgres.rows import bound, columns

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection
    from hookline.daemon.store.postgres.server import Server

_SQL = named_statements(__package__, "write")

_StepKey: TypeAlias = tuple[str, str, str, Lane]
Key = TypeVar("Key")


class Names:
    """Finds the numbers of names, or gives them some.

    `lanes`, `steps` and `rule_sets` are awaited before the transaction that uses them: what they commit stays true if
    it is rolled back. `lane`, `step` and `rule_set` then look up. What was once named is kept: a configuration names
    few things, and every one of them has its row anyway.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lanes: dict[Lane, int] = {}
        self._steps: dict[_StepKey, tuple[int, int]] = {}
        self._rule_sets: dict[str, int] = {}

    async def lanes(self, lanes: Iterable[Lane]) -> None:
        """Give lanes numbers. Raises `StoreError`."""
        new = {lane for lane in lanes if lane not in self._lanes}
        if new:
            self._lanes |= await self._numbered("lane", {lane: (bound(lane),) for lane in new})

    async def steps(self, deliveries: Iterable[NewDelivery]) -> None:
        """Give the steps and lanes of deliveries numbers. Raises `StoreError`."""
        new = {key for key in map(_key, deliveries) if key not in self._steps}
        if not new:
            return
        await self.lanes([key[3] for key in new])
        rows = {key: (*map(bound, key[:3]), self._lanes[key[3]]) for key in new}
        for key, number in (await self._numbered("step", rows)).items():
            self._steps[key] = number, self._lanes[key[3]]

    async def rule_sets(self, versions: Iterable[str]) -> None:
        """Give versions of rule sets numbers. Raises `StoreError`."""
        new = {version for version in versions if version not in self._rule_sets}
        if new:
            self._rule_sets |= await self._numbered("rule_set", {version: (bound(version),) for version in new})

    def lane(self, lane: Lane) -> int:
        """Return the lane's number. Raises `KeyError`."""
        return self._lanes[lane]

    def step(self, new: NewDelivery) -> tuple[int, int]:
        """Return the numbers of the delivery's step and lane. Raises `KeyError`."""
        return self._steps[_key(new)]

    def rule_set(self, version: str) -> int:
        """Return the rule set's number. Raises `KeyError`."""
        return self._rule_sets[version]

    async def _numbered(self, kind: str, rows: dict[Key, Row]) -> dict[Key, int]:
        # Sorted: two nodes that insert the same names wait for each other in one order.
        wanted = sorted(set(rows.values()))
        found = await self._server.write(lambda connection: _find(connection, kind, wanted))
        return {key: found[row] for key, row in rows.items()}


def _key(new: NewDelivery) -> _StepKey:
    return (new.step, new.rule, new.destination, new.lane)


async def _find(connection: Connection, kind: str, rows: Sequence[Row]) -> dict[Row, int]:
    """Insert those that are missing. Looked for first: each insert that does nothing spends a number."""
    found = await _known(connection, kind, rows)
    missing = [row for row in rows if row not in found]
    if missing:
        await connection.execute(_SQL[f"insert_{kind}s"], *columns(missing, len(missing[0])))
        found |= await _known(connection, kind, missing)
    return found


async def _known(connection: Connection, kind: str, rows: Sequence[Row]) -> dict[Row, int]:
    given: list[Sequence[Any]] = columns(rows, len(rows[0]))
    return {tuple(row)[1:]: row[0] for row in await connection.fetch(_SQL[f"known_{kind}s"], *given)}
