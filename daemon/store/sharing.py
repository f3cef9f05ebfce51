"""What nodes that share a store know of each other: values, and the store as they see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NewType, Protocol

from hookline.daemon.store.changes import Lane
from hookline.daemon.store.port import Store
from hookline.daemon.store.stored import Health, Pause

#: 63 bits, kept in the node's state folder: a daemon that starts again there is the same node.
NodeId = NewType("NodeId", int)

#: As many nodes may be seen within a day.
SLOTS: Final = 256

#: News: deliveries became due, or were inserted pending.
DUE: Final = "due"
#: News: the revision or the view rose.
SHARED: Final = "shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What a node says of itself each time it is seen."""

    id: NodeId
    #: For people: the host's name, or what the environment says.
    name: str
    version: str
    #: Hash of the rule set that is live.
    rules: str
    #: Where it listens.
    address: str
    started_at: datetime
    #: What it acts by: of `Shared` that it read last.
    view: int
    revision: int
    is_leader: bool
    #: It stops, and begins nothing more.
    is_leaving: bool
    #: The lanes in which it runs more yet than it may by this view: it began them before.
    over: frozenset[Lane] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(NodeReport):
    """A node, as the others see it."""

    seen_at: datetime
    #: It counts: it was seen within the node lease, and does not leave.
    is_member: bool
    #: A small number that no other node has, by which its ids differ from theirs.
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBreaker:
    """A lane that counts as down."""

    #: When a probe may be made.
    tries_at: datetime
    #: At which node one is under way; None: at none.
    probed_by: NodeId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all nodes act by, read in one transaction."""

    #: By the server's clock.
    now: datetime
    #: Rises with each hold, release, pause, token, and change of a breaker or of a lane's health.
    revision: int
    #: Rises when a node joins or is gone.
    view: int
    #: Of this view, by id.
    members: tuple[Node, ...]
    #: All that were seen within a day, members or not, by name.
    nodes: tuple[Node, ...]
    held: Mapping[Lane, str]
    failing: Mapping[Lane, Health]
    breakers: Mapping[Lane, OpenBreaker]
    paused: Mapping[str, Pause]
    #: Deliveries that run, or may run, at nodes that are no members: they count against their lanes until their leases
    #: end.
    strays: Mapping[Lane, int]


class SharedStore(Store, Protocol):
    """A store that several nodes use at the same time."""

    async def meet(self, report: NodeReport, *, lease: timedelta) -> Shared:
        """Say that this node lives, take those that were not seen for `lease` out of the view, and read what all know.

        Raises `StoreError`.
        """
        ...

    async def leave(self, node: NodeId) -> None:
        """Take this node out of the view, and end the leases of what it left running. Raises `StoreError`."""
        ...

    async def lead(self) -> bool:
        """Say whether this node leads, trying to if nobody does. Lost with the session that holds it."""
        ...

    async def secrets(self, prefix: str) -> tuple[datetime, Mapping[str, bytes]]:
        """Return what is kept under names with that prefix, and the server's time. Raises `StoreError`."""
        ...

    async def change_secret(
        self, name: str, change: Callable[[bytes | None, datetime], bytes | None]
    ) -> tuple[datetime, bytes | None]:
        """Make one what `change` says of it and of the server's time; None: nothing is kept.

        Return that time and what it is now. One after the other, on all nodes; `change` may be asked again if the
        server was lost, and what it raises changes nothing. Raises `StoreError`.
        """
        ...

    def on_news(self, told: Callable[[Collection[str]], None]) -> None:
        """Have `told` called with what is new: `DUE`, `SHARED`, or both; also when we may have missed that."""
        ...
