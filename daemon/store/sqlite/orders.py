"""Queues of ordered deliveries: numbered when they come, moved up when one ends."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from hookline.daemon.store.sqlite.statements import run_many, select_many, statements

_SQL = statements("gates")


def last_places(connection: sqlite3.Connection, queues: Iterable[int]) -> dict[int, int]:
    """Return the last place of each queue in which anybody stands."""
    found = select_many(connection, _SQL["last_places"], [(queue,) for queue in sorted(set(queues))])
    return {queue: place for (rows,) in found for queue, place in json.loads(rows)}


def leave_queues(connection: sqlite3.Connection, numbers: Sequence[int], *, now: int) -> None:
    """Take deliveries that ended out of their queues; heads that stood behind them become due."""
    ended = [(number,) for number in numbers]
    found = select_many(connection, _SQL["queues_of"], ended)
    queues = sorted({queue for (rows,) in found for queue in json.loads(rows)})
    if queues:
        run_many(connection, _SQL["delete_ordered"], ended)
        run_many(connection, _SQL["promote_heads"], [(queue, now) for queue in queues])
