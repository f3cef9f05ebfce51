"""The seam between the dispatcher and the nodes that share its store."""

from __future__ import annotations

from typing import Protocol

from hookline.daemon.store.sharing import NodeId


class Peers(Protocol):
    """What is known of the other nodes here."""

    @property
    def me(self) -> NodeId:
        """This node."""
        ...

    @property
    def is_alone(self) -> bool:
        """True if no other node is a member."""
        ...

    def passed(self) -> float:
        """Return seconds that nobody sets, and that pass while the process is stopped."""
        ...

    def may_begin(self) -> bool:
        """Say whether the others count this node as one of them, by what it knows itself."""
        ...

    async def settle(self) -> None:
        """Return when all nodes act by what is stored now; or after a while, which is logged."""
        ...
