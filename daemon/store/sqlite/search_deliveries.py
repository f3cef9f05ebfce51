"""Searching deliveries at bounded cost. Runs on a reading connection's thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from hookline.daemon.ids import lowest_at, made_at
from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.rows import BEHIND, HIGHEST_ID, NUMBER_OF_STATE, delivery_id, delivery_number, number_or_none
from hookline.daemon.store.searching import MOST_LOOKED_AT
from hookline.daemon.store.sqlite.rows import bound_or_null, delivery_from
from hookline.daemon.store.sqlite.statements import statements
from hookline.daemon.store.sqlite.walk import Chunk, ListWay, TableWay, Way, joined, listed, walk
from hookline.daemon.store.stored import DeliveryFilter, DeliveryPage

_SQL = statements("search")
_READ = statements("read")
# Of so many that wait, the newest are found for each page; where more do, the newest deliveries of all are looked at.
_MOST_WAITING: Final = 200_000
# So many of them are looked at where more is asked than what the index knows.
_MOST_FILTERED: Final = 5_000


def search_deliveries(
    connection: sqlite3.Connection, where: DeliveryFilter, *, limit: int, before: DeliveryId | None
) -> DeliveryPage:
    """Return a page of deliveries."""
    search = _Search(connection, where, before)
    found = walk([search.way(limit)], search.pick, limit=limit)
    next_ = search.left if found.next is None else found.next
    sql = "\n".join((_READ["delivery_rows"], _READ["listed_deliveries"]))
    rows = connection.execute(sql, (json.dumps(found.ids),)).fetchall()
    return DeliveryPage(
        rows=tuple(map(delivery_from, rows)),
        next=None if next_ is None else delivery_id(next_),
        looked_at=found.looked,
        back_to=None if found.oldest is None else made_at(found.oldest),
    )


class _Search:
    """What is wanted, and where it lies."""

    def __init__(self, connection: sqlite3.Connection, where: DeliveryFilter, before: DeliveryId | None) -> None:
        self._connection = connection
        self._where = where
        low = 0 if where.since is None else min(lowest_at(where.since), HIGHEST_ID)
        high = HIGHEST_ID if where.until is None else min(lowest_at(where.until), HIGHEST_ID)
        state = None if where.state is None else NUMBER_OF_STATE[where.state]
        self._values: dict[str, Any] = {
            "low": low,
            "high": high if before is None else min(high, delivery_number(before)),
            "event_id": None if where.event_id is None else number_or_none("evt", where.event_id),
            "source": bound_or_null(where.source),
            "destination": bound_or_null(where.destination),
            "rule": bound_or_null(where.rule),
            "state": state,
            "same_state": BEHIND if where.state is State.PENDING else state,
        }
        #: How the query for a stretch of the table begins: with the condition that an index answers, if there is one.
        self._begin: tuple[str, ...] = ("deliveries",)
        #: Below this id are more than the way leads to; None if it leads to all.
        self.left: int | None = None

    def way(self, limit: int) -> Way:
        """Return where the deliveries may be that are wanted."""
        where = self._where
        if where.event_id is not None:
            self._begin = ("deliveries", "delivery_of_event")
        elif where.state is State.RUNNING:
            return self._listed("running_deliveries", MOST_LOOKED_AT)
        elif where.state is State.PENDING:
            if self._connection.execute(_SQL["pending"]).fetchone()[0] <= _MOST_WAITING:
                is_filtered = where.source is not None or where.rule is not None or where.not_replayed
                name = "pending_deliveries" if where.destination is None else "pending_deliveries_of_destination"
                return self._listed(name, max(limit, _MOST_FILTERED) if is_filtered else limit)
        elif where.state not in {None, State.DELIVERED}:
            self._begin = ("deliveries", "delivery_apart")
        return TableWay(
            connection=self._connection,
            noun="delivery",
            begin=self._begin,
            values=self._values,
            low=self._values["low"],
            high=self._values["high"],
        )

    def _listed(self, statement: str, most: int) -> Way:
        # One more than is looked at, to know whether something is left.
        ids = listed(self._connection, _SQL[statement], {**self._values, "most": most + 1})
        self.left = ids[most - 1] if len(ids) > most else None
        return ListWay(ids[:most], self._values["low"], self._values["high"])

    def pick(self, chunk: Chunk, most: int) -> tuple[Sequence[int], int | None]:
        """Return the newest wanted deliveries of a chunk, at most so many; it looks at all of it."""
        where = self._where
        given = {
            "delivery_of_ids": chunk.ids is not None,
            "delivery_of_source": where.source is not None,
            "delivery_of_destination": where.destination is not None,
            "delivery_of_rule": where.rule is not None,
            "delivery_in_state": where.state is not None,
            "delivery_not_replayed": where.not_replayed,
        }
        parts = ("delivery_ids", *self._begin, *(name for name, is_given in given.items() if is_given), "delivery_most")
        values = {**self._values, "low": chunk.low, "high": chunk.high, "ids": json.dumps(chunk.ids), "most": most}
        return listed(self._connection, joined(parts), values), None
