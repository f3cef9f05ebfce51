"""The tables that move, and how a value of SQLite's becomes one of PostgreSQL's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hookline.daemon.store.named_sql import Row, named_statements
from hookline.daemon.store.postgres.rows import bound

_SOURCE: Final = named_statements(__package__, "source")


def _text(value: Any) -> Any:
    """Text from outside; SQLite keeps it as a blob where it holds lone surrogates."""
    if value is None:
        return None
    return bound(value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value)


def _flag(value: Any) -> Any:
    return bool(value)


def _names(value: Any) -> Any:
    return None if value is None else [bound(name) for name in json.loads(value)]


_KINDS: Final[Mapping[str, Callable[[Any], Any] | None]] = {"": None, "text": _text, "flag": _flag, "names": _names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of PostgreSQL's, and the rows of SQLite's that become its own."""

    name: str
    #: In the order of `source.sql`; what a value has to become, None: it stays as it is.
    columns: Mapping[str, Callable[[Any], Any] | None]
    #: How many rows are read back at a time.
    page: int
    #: Whether the database counts its `id`.
    is_numbered: bool
    #: By which of its columns it is parted into days; None: it is not.
    day_of: str | None

    @property
    def statement(self) -> str:
        """What reads its rows out of the SQLite file, in an order that stays."""
        return _SOURCE[self.name]

    def made(self, row: Row) -> Row:
        """Return a row as PostgreSQL keeps it."""
        changes = zip(row, self.columns.values(), strict=True)
        return tuple(value if change is None else change(value) for value, change in changes)


def _table(
    name: str, columns: str, *, page: int = 2_000, is_numbered: bool = False, day_of: str | None = None
) -> Table:
    split = [column.partition(":") for column in columns.split()]
    return Table(
        name=name,
        columns={column: _KINDS[kind] for column, _, kind in split},
        page=page,
        is_numbered=is_numbered,
        day_of=day_of,
    )


_DELIVERY: Final = (
    "id event_id step_id lane_id state due_at attempts crashes replay_of order_key:text previous:text previous_from "
    "why:text part_of parts_of is_digest:flag stands_for is_replay:flag"
)

#: In the order in which they move.
TABLES: Final = (
    _table("texts", "digest:text text", page=100),
    _table("rule_sets", "id version:text", is_numbered=True),
    _table("went_live", "id rule_set_id at", is_numbered=True),
    _table("lanes", "id name:text is_held:flag reason:text failing_since told", is_numbered=True),
    _table("steps", "id digest:text rule:text destination:text lane_id", is_numbered=True),
    # Bodies: a row may be megabytes.
    _table(
        "requests",
        "id last_event_id content_type:text client_ip:text headers:text query:text digest body document:text",
        page=20,
        day_of="id",
    ),
    _table(
        "events",
        "id request_id rule_set_id source:text type:text sender_id:text key:text tenant:text subject:text occurred_at "
        "received_at pointer:text matched:names is_unrouted:flag duplicates conflicts",
        day_of="id",
    ),
    _table("queue", f"{_DELIVERY} token lease_until order_queue place"),
    _table("deliveries", _DELIVERY, day_of="event_id"),
    _table(
        "attempts",
        "event_id delivery_id position number started_at duration outcome status note:text answer:text decision:text",
        day_of="event_id",
    ),
    _table("dedupe", "digest event_id content"),
    _table("changed", "memory value:text touched_at event_id"),
    _table("once", "memory until_at first summary"),
    _table("digests", "memory delivery_id flush_on_stop:flag members size"),
    _table("counters", "name node_id value"),
    _table("source_hours", "source:text hour node_id events last_id last_type:text"),
    _table("rule_hours", "rule:text hour node_id events last_id"),
    _table("lane_hours", "lane_id hour node_id delivered failed"),
    _table("rules_counted", "since"),
    _table(
        "rejections",
        "source:text reason:text hour first_at last_at count detail:text client_ip:text",
    ),
    _table("audit", "id at who:text what subject:text count counts reason:text day", is_numbered=True),
    _table("facts", "name value:text at"),
    _table("deletions", "audit_id criteria:text up_to after left_over"),
    _table("pauses", "source:text since reason:text"),
    _table("tokens", "name:text digest scope created_at expires_at last_used_at"),
)
