"""Between values and columns: text and whole rows as PostgreSQL keeps them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from hookline.daemon.store import stored_rows
from hookline.daemon.store.changes import Attempt
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.stored import StoredDelivery, StoredEvent

_Text = TypeVar("_Text", str, str | None)

# The last private-use character: nobody means anything by it, and it sorts behind all others.
_ESCAPE: Final = "\U0010fffd"
# What a text column does not take, and the escape itself.
_SPECIAL: Final = re.compile("[\0\ud800-\udfff\U0010fffd]")
_ESCAPED: Final = re.compile("\U0010fffd([0-9a-f]{4}|=)")


def bound(text: str) -> str:
    """Return text as a column takes it: NUL, lone surrogates and the escape character written as `_ESCAPE` and digits.

    Reversible, so equal texts and no others are equal there.
    """
    if text.isascii():
        return text if "\0" not in text else _SPECIAL.sub(_escaped, text)
    return _SPECIAL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return _ESCAPE + ("=" if character == _ESCAPE else f"{ord(character):04x}")


def bound_or_null(text: str | None) -> str | None:
    """Do the same to what may be missing."""
    return None if text is None else bound(text)


def unbound(value: _Text) -> _Text:
    """Read text back out of a column."""
    if value is None or value.isascii() or _ESCAPE not in value:
        return value
    return _ESCAPED.sub(lambda found: _ESCAPE if found[1] == "=" else chr(int(found[1], 16)), value)


# The same few rules match again and again.
@lru_cache(maxsize=1024)
def names_or_null(names: tuple[str, ...]) -> str | None:
    """Write names as PostgreSQL writes an array; nothing if there are none.

    Rows are given as arrays of columns, and an array of arrays would have to be a rectangle.
    """
    if not names:
        return None
    quoted = [bound(name).replace("\\", r"\\").replace('"', r"\"") for name in names]
    return "{" + ",".join([f'"{name}"' for name in quoted]) + "}"


def columns(rows: Sequence[Row], count: int) -> list[Sequence[Any]]:
    """Turn rows into the `count` columns that `unnest` takes."""
    return list(zip(*rows, strict=True)) if rows else [()] * count


def matched_from(names: Sequence[str] | None) -> tuple[str, ...]:
    """Read back what `names_or_null` wrote."""
    return () if names is None else tuple([unbound(name) for name in names])


def attempt_columns(attempt: Attempt) -> Row:
    """Return what `stored_rows.attempt_columns` does, text as this database keeps it."""
    return stored_rows.attempt_columns(attempt, bound)


def attempt_from(row: Row) -> Attempt:
    """Read back what `attempt_columns` wrote."""
    return stored_rows.attempt_from(row, unbound)


def event_from(row: Row) -> StoredEvent:
    """Read an event out of the columns that `stored_rows.event_from` names."""
    return stored_rows.event_from(row, unbound, matched_from)


def delivery_from(row: Row) -> StoredDelivery:
    """Read a delivery out of the columns that `stored_rows.delivery_from` names."""
    return stored_rows.delivery_from(row, unbound)
