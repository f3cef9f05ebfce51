"""Between values and columns: text and whole rows as SQLite keeps them."""

from __future__ import annotations

import json
from typing import Any

from hookline.daemon.store import stored_rows
from hookline.daemon.store.changes import Attempt
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.stored import StoredDelivery, StoredEvent


def bound(text: str) -> str | bytes:
    """Return text for an ANY column: as it is, or a blob if it holds lone surrogates (RELIABILITY A14)."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-8", "surrogatepass")
    return text


def bound_or_null(text: str | None) -> str | bytes | None:
    """Do the same to what may be missing."""
    return None if text is None else bound(text)


def unbound(value: Any) -> Any:
    """Read text back out of an ANY column."""
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def attempt_columns(attempt: Attempt) -> Row:
    """Return what `stored_rows.attempt_columns` does, text as this database keeps it."""
    return stored_rows.attempt_columns(attempt, bound)


def attempt_from(row: Row) -> Attempt:
    """Read back what `attempt_columns` wrote."""
    return stored_rows.attempt_from(row, unbound)


def matched_from(names: str) -> tuple[str, ...]:
    """Read back the rules that matched."""
    return tuple(json.loads(names))


def event_from(row: Row) -> StoredEvent:
    """Read an event out of the columns that `stored_rows.event_from` names."""
    return stored_rows.event_from(row, unbound, matched_from)


def delivery_from(row: Row) -> StoredDelivery:
    """Read a delivery out of the columns that `stored_rows.delivery_from` names."""
    return stored_rows.delivery_from(row, unbound)
