"""How a PostgreSQL database and its server stand, for `hookline doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hookline.daemon.store.sharing import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Something for whose sake the server keeps rows that nobody else needs."""

    #: For people, such as `process 123 (psql)`.
    what: str
    age: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftSlot:
    """A replication slot that nobody reads, and the WAL that is kept for it."""

    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """What the server says of itself, of our database and of our tables."""

    #: As people write it, and as `server_version_num`.
    version: str
    number: int
    encoding: str
    role: str
    #: Settings of the server, as they are without ours.
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    synchronous_standby_names: str
    autovacuum: bool
    #: Standbys that are connected; None if our role may not know. Of them, those that a commit waits for.
    standbys: int | None
    synchronous_standbys: int | None
    #: That our role may have, those in use, and those of them that are ours.
    most_connections: int
    connections: int
    own_connections: int
    #: By how much the server's clock is ahead of ours, and how exact that is.
    ahead: timedelta
    exact_to: timedelta
    #: The longest of what keeps vacuum from its work.
    holding: Holding | None
    #: Whether our role may see other roles' transactions.
    sees_all: bool
    slots: tuple[LeftSlot, ...]
    #: Two sessions of ours were one of the server's.
    is_pooled: bool
    #: Our session goes through TLS, as the server sees it.
    is_encrypted: bool
    #: None before the first start; then all below says nothing.
    schema: int | None = None
    #: Why our role cannot work with the tables; "" if it can.
    lacks: str = ""
    #: Bytes of our tables.
    size: int = 0
    #: Rows of `queue`, and those that wait for vacuum.
    queue_rows: int = 0
    queue_dead: int = 0
    vacuumed_at: datetime | None = None
    #: By the server's clock.
    now: datetime | None = None
    nodes: tuple[Node, ...] = ()
