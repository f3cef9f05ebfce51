"""Walking over rows by id, newest first, until a page is full or enough was looked at."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from hookline.daemon.store.searching import MOST_LOOKED_AT
from hookline.daemon.store.sqlite.statements import statements

#: Statements are short, so that a full page is noticed and other readers' turns come.
_CHUNK: Final = 2_000

_SQL = statements("search")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows that follow each other: those with an id of at least `low` and below `high`."""

    low: int
    high: int
    #: How many there are, and the lowest id.
    looked: int
    oldest: int | None
    #: If these rows alone are meant.
    ids: Sequence[int] | None = None


class Way(Protocol):
    """Where rows lie that a search has to look at: ids of at least `low` and below `high`."""

    low: int
    high: int

    def chunk(self, high: int, most: int) -> Chunk:
        """Return the newest rows below an id, at most so many."""
        ...

    def count(self, low: int, high: int) -> tuple[int, int | None]:
        """Return how many rows there are from an id to another, and the lowest id."""
        ...


@dataclass(slots=True, kw_only=True)
class TableWay:
    """Rows of a table, or of one of its indexes."""

    connection: sqlite3.Connection
    #: What the statements of the table are called: `event` or `delivery`.
    noun: str
    #: Names of the statements that begin the query, and of the condition that an index answers, if any.
    begin: tuple[str, ...]
    values: Mapping[str, Any]
    low: int
    high: int

    def chunk(self, high: int, most: int) -> Chunk:
        """Return the newest rows below an id, at most so many."""
        values = {**self.values, "low": self.low, "high": high, "skip": most - 1}
        parts = (f"{self.noun}_end", *self.begin, f"{self.noun}_last")
        found = self.connection.execute(joined(parts), values).fetchone()
        if found is not None:
            return Chunk(low=found[0], high=high, looked=most, oldest=found[0])
        count, oldest = self.count(self.low, high)
        return Chunk(low=self.low, high=high, looked=count, oldest=oldest)

    def count(self, low: int, high: int) -> tuple[int, int | None]:
        """Return how many rows there are from an id to another, and the lowest id."""
        values = {**self.values, "low": low, "high": high}
        count, oldest = self.connection.execute(joined((f"{self.noun}_count", *self.begin)), values).fetchone()
        return count, oldest


class ListWay:
    """Rows whose ids are known."""

    def __init__(self, ids: Sequence[int], low: int, high: int) -> None:
        """Take the ids in any order; those outside of the range are left out."""
        self.low = low
        self.high = high
        self._ids = sorted(number for number in ids if low <= number < high)

    def chunk(self, high: int, most: int) -> Chunk:
        """Return the newest rows below an id, at most so many."""
        end = bisect_left(self._ids, high)
        ids = self._ids[max(0, end - most) : end]
        low = ids[0] if end > most else self.low
        return Chunk(low=low, high=high, looked=len(ids), oldest=ids[0] if ids else None, ids=ids)

    def count(self, low: int, high: int) -> tuple[int, int | None]:
        """Return how many rows there are from an id to another, and the lowest id."""
        start, end = bisect_left(self._ids, low), bisect_left(self._ids, high)
        return end - start, self._ids[start] if start < end else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a walk found."""

    ids: Sequence[int]
    #: The walk goes on below this id; None: it is over.
    next: int | None
    looked: int
    oldest: int | None


#: Given a chunk and a number: the newest wanted rows of it, at most so many, and the id below which it did not look.
Pick: TypeAlias = Callable[[Chunk, int], tuple[Sequence[int], int | None]]


def walk(ways: Sequence[Way], pick: Pick, *, limit: int) -> Found:
    """Return the newest wanted rows. The ways follow each other, newest first."""
    found: list[int] = []
    looked = 0
    oldest: int | None = None
    for way in ways:
        high = way.high
        while high > way.low:
            most = min(_CHUNK, MOST_LOOKED_AT - looked)
            if most <= 0:
                return Found(ids=found, next=high, looked=looked, oldest=oldest)
            chunk = way.chunk(high, most)
            # One more than a page holds, to know whether it is the last.
            picked, stopped_at = pick(chunk, limit + 1 - len(found))
            found += picked
            if len(found) > limit:
                stopped_at = found[limit - 1]
            if stopped_at is not None:
                count, lowest = way.count(stopped_at, high)
                oldest = oldest if lowest is None else lowest
                return Found(ids=found[:limit], next=stopped_at, looked=looked + count, oldest=oldest)
            looked += chunk.looked
            oldest = oldest if chunk.oldest is None else chunk.oldest
            high = chunk.low
    return Found(ids=found, next=None, looked=looked, oldest=oldest)


def joined(parts: Sequence[str]) -> str:
    """Put named statements together."""
    return "\n".join(_SQL[part] for part in parts)


def listed(connection: sqlite3.Connection, sql: str, values: Any) -> list[Any]:
    """Return the one list that a query answers."""
    found: list[Any] = json.loads(connection.execute(sql, values).fetchone()[0])
    return found
