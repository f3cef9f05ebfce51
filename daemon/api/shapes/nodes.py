"""The daemons that share a store, as the API writes them."""

from __future__ import annotations

from typing import TypedDict


class NodeShape(TypedDict):
    """A daemon, as the others see it."""

    name: str
    #: Sixteen hexadecimal digits; the same after a restart.
    id: str
    version: str
    #: Hash of the rules that are live there.
    rules: str
    #: Where it listens.
    address: str
    started_at: str
    #: When it told of itself last.
    seen_at: str
    #: Whether it has its share of the work: it was seen lately, and does not stop.
    is_member: bool
    #: Whether it sees to retention, alarms, and what else one does for all.
    is_leader: bool
    #: Whether it is the one that answers.
    is_this: bool


class NodesShape(TypedDict):
    """All that were seen within a day, by name. On a SQLite file there is one."""

    nodes: list[NodeShape]
    #: Since when versions or rules are not the same everywhere; None: they are.
    differ_since: str | None
    #: Since when nobody leads; None: somebody does.
    leaderless_since: str | None
