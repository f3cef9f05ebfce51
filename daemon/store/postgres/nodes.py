"""Who works on this database, and what all of them act by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from hookline.daemon.store.changes import Lane
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.batch import Batch, Connection
from hookline.daemon.store.postgres.rows import bound, unbound
from hookline.daemon.store.rows import length, micros, moment
from hookline.daemon.store.sharing import SHARED, SLOTS, Node, NodeId, NodeReport, OpenBreaker, Shared
from hookline.daemon.store.stored import Health, Pause

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.server import Server

_SQL = named_statements(__package__, "nodes")
#: So long a node that is gone is shown, and keeps its slot.
_SHOWN: Final = timedelta(days=1)
#: A meeting that takes longer is worth nothing: what a node acts by would be old.
_WITHIN: Final = timedelta(seconds=4)


async def meet(server: Server, report: NodeReport, *, lease: timedelta) -> tuple[Shared, bool]:
    """Report, take those that were not seen for `lease` out of the view, and read what all know.

    Says too whether the view changed by it. Raises `StoreError`.
    """
    return await server.write(lambda connection: _meet(server, connection, report, lease), within=_WITHIN)


async def listed(connection: Connection, *, now: datetime, lease: timedelta) -> tuple[Node, ...]:
    """Return the nodes that were seen within a day, by name, for somebody who is none."""
    rows = await connection.fetch(_SQL["nodes"])
    seen_after = micros(now) - length(lease)
    alive = [row["id"] for row in rows if row["seen_at"] >= seen_after and not row["is_leaving"]]
    return tuple(_node(row, alive) for row in rows)


async def leave(server: Server, node: NodeId) -> None:
    """Take a node out of the view, and end the leases of what it left running. Raises `StoreError`."""

    async def work(connection: Connection) -> None:
        await connection.execute(_SQL["end_leases"], node)
        _, _, members = await connection.fetchrow(_SQL["lock_cluster"])
        await connection.execute(_SQL["leave"], node)
        if node in members:
            await connection.execute(_SQL["change_view"], [one for one in members if one != node])

    await server.write(work)


async def end_leases(server: Server, node: NodeId) -> None:
    """End the leases of what a process before this one left running at this node. Raises `StoreError`."""
    await server.write(lambda connection: connection.execute(_SQL["end_leases"], node))


async def raise_revision(batch: Batch) -> None:
    """Have all nodes read anew what all know, once this is committed; once for each transaction.

    To be called at the end of it: the row is one for all nodes.
    """
    if SHARED not in batch.news:
        batch.news.add(SHARED)
        await batch.connection.execute(_SQL["raise_revision"])


async def _meet(server: Server, connection: Connection, report: NodeReport, lease: timedelta) -> tuple[Shared, bool]:
    # Nothing is lost if the server forgets by a crash that a node was seen.
    await connection.execute("SET LOCAL synchronous_commit = off")
    revision, view, members = await connection.fetchrow(_SQL["lock_cluster"])
    now = await server.now(connection)
    await _report(connection, report, micros(now))
    rows = await connection.fetch(_SQL["nodes"])
    seen_after = micros(now) - length(lease)
    alive = sorted(row["id"] for row in rows if row["seen_at"] >= seen_after and not row["is_leaving"])
    has_changed = alive != list(members)
    if has_changed:
        # A view that two sets of members take for theirs would let them run more than they may.
        await connection.execute("SET LOCAL synchronous_commit = on")
        await connection.execute(_SQL["change_view"], alive)
        await connection.execute(_SQL["forget_nodes"], micros(now - _SHOWN), alive)
        view += 1
    nodes = tuple(_node(row, alive) for row in rows)
    held, failing, breakers = await _lanes(connection, micros(now))
    paused = await connection.fetch(_SQL["paused"])
    strays = await connection.fetch(_SQL["strays"], micros(now), alive)
    shared = Shared(
        now=now,
        revision=revision,
        view=view,
        members=tuple(sorted((one for one in nodes if one.is_member), key=lambda one: one.id)),
        nodes=nodes,
        held=held,
        failing=failing,
        breakers=breakers,
        paused={unbound(source): Pause(since=moment(since), reason=unbound(why)) for source, since, why in paused},
        strays={Lane(unbound(name)): count for name, count in strays},
    )
    return shared, has_changed


async def _report(connection: Connection, report: NodeReport, now: int) -> None:
    slot = await connection.fetchval(_SQL["known_node"], report.id)
    if slot is None:
        slot = await connection.fetchval(_SQL["free_slot"], SLOTS)
    if slot is None:
        raise StoreError(f"{SLOTS} nodes were seen within a day, and there is no room for more", kind="unfit")
    await connection.execute(
        _SQL["report"],
        report.id,
        bound(report.name),
        bound(report.version),
        bound(report.rules),
        bound(report.address),
        micros(report.started_at),
        now,
        report.view,
        report.revision,
        report.is_leader,
        report.is_leaving,
        json.dumps(sorted(report.over)),
        slot,
    )


def _node(row: Any, alive: Sequence[int]) -> Node:
    return Node(
        id=NodeId(row["id"]),
        name=unbound(row["name"]),
        version=unbound(row["version"]),
        rules=unbound(row["rules"]),
        address=unbound(row["address"]),
        started_at=moment(row["started_at"]),
        view=row["view"],
        revision=row["revision"],
        is_leader=row["is_leader"],
        is_leaving=row["is_leaving"],
        over=frozenset(_names(json.loads(row["over"]))),
        seen_at=moment(row["seen_at"]),
        is_member=row["id"] in alive,
        slot=row["slot"],
    )


def _names(names: Iterable[str]) -> Iterable[Lane]:
    return map(Lane, names)


async def _lanes(
    connection: Connection, now: int
) -> tuple[dict[Lane, str], dict[Lane, Health], dict[Lane, OpenBreaker]]:
    held: dict[Lane, str] = {}
    failing: dict[Lane, Health] = {}
    breakers: dict[Lane, OpenBreaker] = {}
    for name, is_held, reason, since, told, tries_at, probed_by in await connection.fetch(_SQL["lanes"], now):
        lane = Lane(unbound(name))
        if is_held:
            held[lane] = unbound(reason)
        if since is not None:
            failing[lane] = Health(since=moment(since), told=told)
        if tries_at is not None:
            probing = None if probed_by is None else NodeId(probed_by)
            breakers[lane] = OpenBreaker(tries_at=moment(tries_at), probed_by=probing)
    return held, failing, breakers
