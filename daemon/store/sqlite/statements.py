"""The SQL files beside this module, read into named statements; and statements for many rows at once."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from hookline.daemon.store.named_sql import Row, named_statements

_GROUP = re.compile(r"\(\?(?:, \?)*\)")
# Up to so many rows have a statement of exactly their number: each statement more is a round of the interpreter's lock.
_MOST_EXACT = 32
# Longer batches are cut into these. Every size that is used stays compiled in the connection's cache.
_SIZES = (128, _MOST_EXACT)


def statements(name: str) -> Mapping[str, str]:
    """Read `<name>.sql` of this package."""
    return named_statements(__package__, name)


@cache
def for_rows(sql: str, count: int) -> str:
    """Repeat the statement's first group of parameters, `(?, ?)`, for `count` rows."""
    return _GROUP.sub(lambda group: ", ".join([group.group()] * count), sql, count=1)


def run_many(connection: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> int:
    """Run a statement for many rows, and return how many it changed.

    Not `executemany`: sqlite3 lets go of the interpreter's lock for each row there, and while the event loop is busy it
    waits up to 5 ms to get it back. Fifty events would hold the writing transaction open for a second.
    """
    return sum(connection.execute(*chunk).rowcount for chunk in _chunks(sql, rows))


def select_many(connection: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> list[Row]:
    """Run a query for many rows of parameters, and return all that it finds."""
    return [found for chunk in _chunks(sql, rows) for found in connection.execute(*chunk).fetchall()]


def _chunks(sql: str, rows: Sequence[Row]) -> Iterator[tuple[str, list[Any]]]:
    start = 0
    while left := len(rows) - start:
        size = left if left <= _MOST_EXACT else next(size for size in _SIZES if size <= left)
        yield for_rows(sql, size), list(chain.from_iterable(rows[start : start + size]))
        start += size
