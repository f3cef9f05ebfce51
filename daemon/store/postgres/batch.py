"""What the parts of one writing transaction share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from hookline.daemon.store.moment import Moment
from hookline.daemon.store.postgres.names import Names
from hookline.daemon.store.sharing import NodeId

if TYPE_CHECKING:
    import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A transaction, as whoever makes a part of it sees it; committing is the server's."""

    connection: Connection
    names: Names
    #: By the server's clock.
    moment: Moment
    node: NodeId
    #: What is added to this node's stored counters at its end.
    counters: Counter[str]
    #: What others must be told of once it is committed.
    news: set[str]
