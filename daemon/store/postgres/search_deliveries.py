"""Searching deliveries at bounded cost, and listing them, in one reading transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hookline.daemon.ids import lowest_at, made_at
from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.postgres.asking import ask
from hookline.daemon.store.postgres.rows import bound, delivery_from
from hookline.daemon.store.postgres.walk import MOST_LOOKED_UP, Wanted, Way, look, range_of, walk
from hookline.daemon.store.rows import BEHIND, NUMBER_OF_STATE, delivery_id, delivery_number, number_or_none
from hookline.daemon.store.searching import MOST_LOOKED_AT
from hookline.daemon.store.stored import DeliveryFilter, DeliveryPage, StoredDelivery

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

# Where so many wait for a destination, the newest of them are found for each page; where more do, they are many among
# the newest of all that wait.
_MOST_SORTED: Final = 50_000
_NEAR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a delivery is, and what it acts for."""

    id: int
    event_id: int
    is_digest: bool
    parts_of: int | None


async def search_deliveries(
    connection: Connection, where: DeliveryFilter, *, limit: int, before: DeliveryId | None
) -> DeliveryPage:
    """Return a page of deliveries."""
    found = await walk(connection, [await _way(connection, where, before)], _wanted(where), limit=limit)
    return DeliveryPage(
        rows=tuple(await these_deliveries(connection, [(hit.id, hit.other) for hit in found.hits])),
        next=None if found.next is None else delivery_id(found.next),
        looked_at=found.looked,
        back_to=None if found.oldest is None else made_at(found.oldest),
    )


async def list_deliveries(
    connection: Connection, where: DeliveryFilter, *, limit: int, before: DeliveryId | None
) -> list[StoredDelivery]:
    """Return the newest of all that the filter lets pass."""
    way = await _way(connection, where, before)
    hits, _ = await look(connection, way, _wanted(where), most=None, count=limit)
    return await these_deliveries(connection, [(hit.id, hit.other) for hit in hits])


async def these_deliveries(connection: Connection, which: Sequence[tuple[int, int]]) -> list[StoredDelivery]:
    """Return the deliveries, newest first, given with their events."""
    if not which:
        return []
    ids, events = [number for number, _ in which], list({event for _, event in which})
    return list(map(delivery_from, await ask(connection, "delivery_rows", ids=ids, events=events)))


async def place_of(connection: Connection, written: DeliveryId) -> Place | None:
    """Return where a delivery is, if it is anywhere."""
    number = number_or_none("dlv", written)
    if number is None:
        return None
    # Nearly all are as old as their event, or not ended; a replay of what is older may be anywhere.
    low, high = (lowest_at(made_at(number) + by) for by in (-_NEAR, _NEAR))
    rows = (
        await ask(connection, "unfinished", id=number)
        or await ask(connection, "ended", "near", id=number, low=low, high=high)
        or await ask(connection, "ended", id=number)
    )
    for row in rows:
        return Place(id=row[0], event_id=row[1], is_digest=row[2], parts_of=row[3])
    return None


async def list_parts(
    connection: Connection, whole: int, *, limit: int, is_collected: bool = False
) -> list[tuple[int, int]]:
    """Return the first deliveries that are part of another, each with its event."""
    parts = ("parts_of", *(["only_collected"] if is_collected else []), "first_parts")
    return [(number, event) for number, event in await ask(connection, *parts, whole=whole, limit=limit)]


async def _way(connection: Connection, where: DeliveryFilter, before: DeliveryId | None) -> Way:
    """Return where the deliveries may be that are wanted."""
    low, high = range_of(where, None if before is None else delivery_number(before))
    parts: tuple[str, ...]
    values: dict[str, Any] = {}
    if where.event_id is not None:
        parts, values = ("deliveries_of_event",), {"event_id": number_or_none("evt", where.event_id)}
    else:
        match where.state:
            case None:
                parts = ("deliveries",)
            case State.PENDING:
                lanes = None if where.destination is None else await _few_lanes(connection, where.destination)
                if lanes is None:
                    parts = ("pending_deliveries",)
                else:
                    parts, values = ("pending_deliveries_in_lanes",), {"lanes": lanes}
            case State.RUNNING:
                parts = ("running_deliveries",)
            case State.DELIVERED:
                # The rule: the newest of them are among the newest of all.
                parts = ("ended_deliveries",)
            case _:
                parts, values = ("deliveries_apart",), {"state": NUMBER_OF_STATE[where.state]}
    is_looked_up = where.source is not None or where.not_replayed
    most = MOST_LOOKED_UP if is_looked_up else MOST_LOOKED_AT
    return Way(low=low, high=high, parts=parts, values=values, most=most)


async def _few_lanes(connection: Connection, destination: str) -> list[int] | None:
    """Return the destination's lanes if few wait in them."""
    lanes = [lane for (lane,) in await ask(connection, "lanes_of_destination", destination=bound(destination))]
    ((count,),) = await ask(connection, "how_many_wait", lanes=lanes, most=_MOST_SORTED + 1)
    return lanes if count <= _MOST_SORTED else None


def _wanted(where: DeliveryFilter) -> Wanted:
    """Return what is asked of each row."""
    given = {"source": where.source, "destination": where.destination, "rule": where.rule}
    values: dict[str, Any] = {name: bound(text) for name, text in given.items() if text is not None}
    parts = [f"delivery_of_{name}" for name in values]
    if where.state is not None:
        parts.append("delivery_in_state")
        values["states"] = [NUMBER_OF_STATE[where.state], *([BEHIND] if where.state is State.PENDING else [])]
    if where.not_replayed:
        parts.append("delivery_not_replayed")
    return Wanted(noun="deliveries", parts=parts, values=values)
