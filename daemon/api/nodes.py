"""The daemons that share the store."""

from __future__ import annotations

import socket

from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.running import Running
from hookline.daemon.api.shapes.nodes import NodeShape, NodesShape
from hookline.daemon.store.sharing import Node, NodeId

NODES = Area("nodes", "The daemons that share the store.")


@NODES.get("/nodes")
async def list_nodes(call: Call[Nothing]) -> NodesShape:
    """List the daemons that share the store: what runs there, and when each was seen last."""
    daemon = call.daemon
    shared, standing = daemon.shared(), daemon.nodes_watch.standing()
    if shared is None or standing is None:
        return {"nodes": [_alone(daemon)], "differ_since": None, "leaderless_since": None}
    differ, leaderless = standing.differ_since, standing.leaderless_since
    return {
        "nodes": [_node(node, daemon.node) for node in shared.nodes],
        "differ_since": None if differ is None else differ.isoformat(),
        "leaderless_since": None if leaderless is None else leaderless.isoformat(),
    }


def _node(node: Node, this: NodeId | None) -> NodeShape:
    return {
        "name": node.name,
        "id": _id(node.id),
        "version": node.version,
        "rules": node.rules,
        "address": node.address,
        "started_at": node.started_at.isoformat(),
        "seen_at": node.seen_at.isoformat(),
        "is_member": node.is_member,
        "is_leader": node.is_leader and node.is_member,
        "is_this": node.id == this,
    }


def _alone(daemon: Running) -> NodeShape:
    """Return a daemon that has its store for itself, or has met nobody yet."""
    status = daemon.status()
    return {
        "name": socket.gethostname(),
        "id": _id(daemon.node or 0),
        "version": status["version"],
        "rules": status["rules"],
        "address": str(daemon.live.current.settings.listen[0]),
        "started_at": daemon.started_at.isoformat(),
        "seen_at": daemon.clock().isoformat(),
        "is_member": True,
        "is_leader": True,
        "is_this": True,
    }


def _id(number: int) -> str:
    return f"{number:016x}"
