"""Walking over rows by id, newest first, until a page is full or enough was looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from hookline.daemon.ids import lowest_at
from hookline.daemon.store.postgres.asking import ask
from hookline.daemon.store.rows import HIGHEST_ID
from hookline.daemon.store.searching import MOST_LOOKED_AT
from hookline.daemon.store.stored import DeliveryFilter, EventFilter

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

#: So many rows are looked at where something is to be looked up for each in a table of many parts.
MOST_LOOKED_UP: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where rows lie that a search has to look at: ids of at least `low` and below `high`."""

    low: int
    high: int
    #: Statements that say so, and the values that they name beside these two.
    parts: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    #: So many of them are looked at.
    most: int = MOST_LOOKED_AT


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of those rows are wanted."""

    noun: Literal["events", "deliveries"]
    #: Statements that say so, and the values that they name.
    parts: Sequence[str]
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A row that is wanted."""

    id: int
    #: An event's request, or a delivery's event.
    other: int
    #: How many rows were looked at up to this one.
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a walk found."""

    hits: Sequence[Hit]
    #: The walk goes on below this id; None: it is over.
    next: int | None
    looked: int
    oldest: int | None


class Sieve(Protocol):
    """What else is asked of rows, a few at a time."""

    @property
    def room(self) -> int:
        """Of how many rows at most it may be asked yet."""
        ...

    async def sift(self, hits: Sequence[Hit], most: int) -> tuple[Sequence[Hit], int | None]:
        """Return the first rows that pass, at most so many, and after how many it had to stop, if it had to."""
        ...


def range_of(where: EventFilter | DeliveryFilter, before: int | None) -> tuple[int, int]:
    """Return the ids that a page may hold, from one up to below another: they rise with time."""
    low = 0 if where.since is None else min(lowest_at(where.since), HIGHEST_ID)
    high = HIGHEST_ID if where.until is None else min(lowest_at(where.until), HIGHEST_ID)
    return low, high if before is None else min(high, before)


async def walk(
    connection: Connection, ways: Sequence[Way], wanted: Wanted, *, limit: int, sieve: Sieve | None = None
) -> Found:
    """Return the newest wanted rows. The ways follow each other, newest first."""
    found: list[Hit] = []
    looked = 0
    oldest: int | None = None
    for way in ways:
        most = min(way.most, MOST_LOOKED_AT - looked)
        if most <= 0:
            return Found(hits=found, next=way.high, looked=looked, oldest=oldest)
        # One more than a page holds, and than may be sifted, to know whether something is left.
        room = limit + 1 - len(found)
        count = room if sieve is None else sieve.room + 1
        hits, last = await look(connection, way, wanted, most=most, count=count)
        kept, taken = (hits, None) if sieve is None else await sieve.sift(hits, room)
        found += kept
        if len(found) > limit:
            end = found[limit - 1]
            if end.id < way.high:
                looked, oldest = looked + end.place, end.id
            return Found(hits=found[:limit], next=end.id, looked=looked, oldest=oldest)
        if taken == 0:
            return Found(hits=found, next=way.high, looked=looked, oldest=oldest)
        if taken is not None:
            last = hits[taken - 1]
        if last is not None:
            looked, oldest = looked + last.place, last.id
            if taken is not None or last.place == most:
                return Found(hits=found, next=last.id, looked=looked, oldest=oldest)
    return Found(hits=found, next=None, looked=looked, oldest=oldest)


async def look(
    connection: Connection, way: Way, wanted: Wanted, *, most: int | None, count: int
) -> tuple[list[Hit], Hit | None]:
    """Return the newest wanted rows of a way, at most `count`, and the last that was looked at, if any.

    It looks at no more than `most`; None: at all.
    """
    rows = await ask(
        connection,
        *("looked", *wanted.parts, "looked_from", *way.parts, f"{wanted.noun}_looked_at"),
        **wanted.values,
        **way.values,
        low=way.low,
        high=way.high,
        most=most,
        wanted=count,
    )
    looked = [Hit(id=number, other=other, place=place) for number, other, place, _ in rows]
    hits = [hit for hit, row in zip(looked, rows, strict=True) if row[3]]
    return hits, looked[-1] if looked else None
