"""Names that many rows share, kept once each: lanes, steps, versions of rule sets."""

from __future__ import annotations

import sqlite3

from hookline.daemon.store.changes import Lane, NewDelivery
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.sqlite.rows import bound
from hookline.daemon.store.sqlite.statements import statements

_SQL = statements("write")
# A reload of the rules makes new steps; the old ones' numbers need not be kept in memory for ever.
_MAX_KEPT = 50_000


class Names:
    """Finds the number of a name, or gives it one. Used on the writing connection's thread only, in a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lanes: dict[Lane, int] = {}
        self._steps: dict[tuple[str, str, str, Lane], tuple[int, int]] = {}
        self._rule_sets: dict[str, int] = {}

    def forget(self) -> None:
        """Forget the numbers: the transaction that gave some of them was rolled back."""
        self._lanes.clear()
        self._steps.clear()
        self._rule_sets.clear()

    def lane(self, lane: Lane) -> int:
        """Return the lane's number."""
        number = self._lanes.get(lane)
        if number is None:
            number = self._number("lane", "insert_lane", (bound(lane),))
            self._lanes[lane] = number
        return number

    def step(self, new: NewDelivery) -> tuple[int, int]:
        """Return the numbers of the delivery's step and lane."""
        key = (new.step, new.rule, new.destination, new.lane)
        numbers = self._steps.get(key)
        if numbers is None:
            lane_id = self.lane(new.lane)
            row = (bound(new.step), bound(new.rule), bound(new.destination), lane_id)
            numbers = self._number("step", "insert_step", row), lane_id
            if len(self._steps) >= _MAX_KEPT:
                self.forget()
            self._steps[key] = numbers
        return numbers

    def rule_set(self, version: str) -> int:
        """Return the rule set's number."""
        number = self._rule_sets.get(version)
        if number is None:
            number = self._number("rule_set", "insert_rule_set", (bound(version),))
            self._rule_sets[version] = number
        return number

    def _number(self, find: str, insert: str, row: Row) -> int:
        found = self._connection.execute(_SQL[find], row).fetchone()
        if found is not None:
            number: int = found[0]
            return number
        new = self._connection.execute(_SQL[insert], row).lastrowid
        if new is None:  # pragma: no cover - an INSERT that succeeded has one
            raise sqlite3.InternalError("no row number")
        return new
