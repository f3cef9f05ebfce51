"""What the dispatcher asks: claim, renew, lost, waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from hookline.daemon.ids import made_at
from hookline.daemon.store.changes import DeliveryId, Lane, Token
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres import breakers
from hookline.daemon.store.postgres.rows import bound, bound_or_null, unbound
from hookline.daemon.store.postgres.server import WORK_WITHIN, Server
from hookline.daemon.store.rows import delivery_id, event_id, event_number, length, micros, moment, number_or_none
from hookline.daemon.store.sharing import DUE
from hookline.daemon.store.stored import Claimed, Health
from hookline.rules import EventId

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Batch, Connection
    from hookline.daemon.store.postgres.writer import PostgresWriter

_SQL = named_statements(__package__, "queue")
_T = TypeVar("_T")


async def claim(
    writer: PostgresWriter, room: Mapping[Lane, int], tokens: Sequence[int], lease: timedelta
) -> list[Claimed]:
    """Claim due deliveries, longest due first, as many as there are tokens at most. Raises `StoreError`."""
    asked = {lane: min(count, len(tokens)) for lane, count in room.items() if count > 0}
    await writer.names.lanes(asked)
    lanes = {writer.names.lane(lane): lane for lane in asked}
    places = {number: asked[lane] for number, lane in lanes.items()}
    # Whoever holds or releases one of the lanes waits for us, or we for them.
    found = await writer.batch(lambda batch: _claim(batch, places, tokens, lease), lanes=places)
    return [_claimed(lanes[row["lane_id"]], row) for row in found]


async def _claim(
    batch: Batch, places: dict[int, int], tokens: Sequence[int], lease: timedelta
) -> list[Mapping[str, Any]]:
    connection = batch.connection
    allowed = await breakers.probe(batch, places)
    left = {lane: min(count, allowed.get(lane, count)) for lane, count in places.items()}
    left = {lane: count for lane, count in left.items() if count}
    if not left:
        return []
    until = batch.moment.now + length(lease)
    found = await connection.fetch(
        _SQL["claim"], list(left), list(left.values()), batch.moment.now, tokens, until, batch.node
    )
    await breakers.probed(batch, {row["lane_id"]: row["token"] for row in found if row["lane_id"] in allowed})
    digests = [row["id"] for row in found if row["is_digest"]]
    if digests:
        await connection.execute(_SQL["close_digests"], digests)
    batch.counters["pending"] -= len(found)
    batch.counters["running"] += len(found)
    return sorted(found, key=lambda row: row["position"])


async def take_back(writer: PostgresWriter, tokens: Collection[int]) -> None:
    """Make pending again what was claimed with these tokens, if anything was. Raises `StoreError`."""
    await writer.batch(lambda batch: _take_back(batch, tokens))


async def _take_back(batch: Batch, tokens: Collection[int]) -> None:
    said = await batch.connection.execute(_SQL["take_back"], batch.moment.now, list(tokens))
    count = int(said.removeprefix("UPDATE "))
    if count:
        batch.news.add(DUE)
        batch.counters["pending"] += count
        batch.counters["running"] -= count


def _claimed(lane: Lane, row: Mapping[str, Any]) -> Claimed:
    return Claimed(
        id=delivery_id(row["id"]),
        token=Token(row["token"]),
        event_id=event_id(row["event_id"]),
        rule=unbound(row["rule"]),
        step=unbound(row["digest"]),
        lane=lane,
        destination=unbound(row["destination"]),
        attempts=row["attempts"],
        created_at=made_at(row["id"]),
        crashes=row["crashes"],
        order=unbound(row["order_key"]),
        previous=unbound(row["previous"]),
        is_digest=row["is_digest"],
        suppressed=0 if row["parts_of"] is None or row["is_digest"] else row["stands_for"],
        is_replay=row["is_replay"],
    )


async def renew(server: Server, tokens: Mapping[DeliveryId, Token], lease: timedelta) -> set[DeliveryId]:
    """Extend leases; return those whose token was still good. Raises `StoreError`."""
    given = {
        number: token for written, token in tokens.items() if (number := number_or_none("dlv", written)) is not None
    }

    async def extend(connection: Connection) -> list[Any]:
        until = micros(await server.now(connection)) + length(lease)
        found: list[Any] = await connection.fetch(_SQL["renew"], list(given), list(given.values()), until)
        return found

    return {delivery_id(row["id"]) for row in await server.write(extend)}


async def lost(server: Server, *, limit: int) -> list[Claimed]:
    """Return at most `limit` running deliveries whose lease has ended. Raises `StoreError`."""

    async def find(connection: Connection) -> list[Any]:
        found: list[Any] = await connection.fetch(_SQL["lost"], micros(await server.now(connection)), limit)
        return found

    return [_claimed(Lane(unbound(row["lane"])), row) for row in await _read(server, find)]


async def waiting(server: Server) -> dict[Lane, datetime]:
    """Return for each lane that waits and is not held when its first delivery is due. Raises `StoreError`."""
    found = await _read(server, lambda connection: connection.fetch(_SQL["waiting"]))
    return {Lane(unbound(name)): moment(first) for name, first in found}


async def held(server: Server) -> dict[Lane, str]:
    """Return the held lanes and why. Raises `StoreError`."""
    found = await _read(server, lambda connection: connection.fetch(_SQL["held"]))
    return {Lane(unbound(name)): unbound(reason) for name, reason in found}


async def failing(server: Server) -> dict[Lane, Health]:
    """Return the lanes that fail. Raises `StoreError`."""
    found = await _read(server, lambda connection: connection.fetch(_SQL["failing"]))
    return {Lane(unbound(name)): Health(since=moment(since), told=told) for name, since, told in found}


async def unrouted(
    server: Server, *, limit: int, source: str | None, but: Collection[str], after: EventId | None
) -> list[EventId]:
    """Return events that are yet to be routed, oldest first: of one source, or of all but some; later than `after`.

    Raises `StoreError`.
    """
    last = -1 if after is None else event_number(after)
    row = (last, limit, [bound(name) for name in but], bound_or_null(source))
    found = await _read(server, lambda connection: connection.fetch(_SQL["unrouted"], *row))
    return [event_id(number) for (number,) in found]


async def _read(server: Server, work: Callable[[Connection], Awaitable[_T]]) -> _T:
    # The dispatcher waits for it: a session that leads nowhere must not hold it up for as long as people wait.
    return await server.read(work, within=WORK_WITHIN)
