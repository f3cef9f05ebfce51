"""What a row of each of the store's tables looks like: how rows are told from garbage, and whose they are."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from hookline.daemon.backup.raw_rows import RawRow, Value
from hookline.daemon.store.changes import Outcome
from hookline.daemon.store.rows import STATES
from hookline.daemon.store.sqlite.file import schemas

#: Where the file says which tables it has, and on which pages they begin.
SCHEMA_TABLE: Final = "sqlite_schema"

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "INTEGER": (int,),
    "TEXT": (str,),
    "BLOB": (bytes,),
    # Text that comes from outside: see the schema.
    "ANY": (str, bytes),
}
_MEMORY: Final = re.compile(r"[0-9a-f]{32}")
_TOKEN: Final = re.compile(r"[0-9a-f]{64}")
_NO_KEY: Final = 1_000


def _read_json(value: Value) -> Any:
    try:
        return json.loads(value) if isinstance(value, str | bytes) else None
    except (ValueError, RecursionError):
        return None


def _is_json(value: Value) -> bool:
    return value is None or value == "null" or _read_json(value) is not None


def _is_list(value: Value) -> bool:
    found = _read_json(value)
    return value is None or (isinstance(found, list) and all(isinstance(one, str | int) for one in found))


def _is_texts(value: Value) -> bool:
    found = _read_json(value)
    return isinstance(found, dict) and all(isinstance(one, str) for one in found.values())


def _is_between(low: int, high: int) -> Callable[[Value], bool]:
    return lambda value: value is None or (isinstance(value, int) and low <= value < high)


def _is_sized(size: int) -> Callable[[Value], bool]:
    return lambda value: isinstance(value, bytes) and len(value) == size


# The year 9999 in microseconds: past it, nothing can be read as a time.
_is_time = _is_between(0, 253_402_300_800_000_000)
_is_id = _is_between(0, 1 << 63)

#: What must hold besides the type, by column, or by table and column: what a reader takes for granted.
_CHECKS: Final[Mapping[str, Callable[[Value], bool]]] = {
    **dict.fromkeys(
        (
            *("received_at", "occurred_at", "due_at", "lease_until", "started_at", "duration", "at", "first_at"),
            *(
                "last_at",
                "touched_at",
                "until_at",
                "failing_since",
                "since",
                "created_at",
                "expires_at",
                "last_used_at",
            ),
        ),
        _is_time,
    ),
    **dict.fromkeys(
        (
            *("event_id", "delivery_id", "request_id", "last_event_id", "replay_of", "part_of", "parts_of", "last_id"),
            *("once.first", "once.summary", "attempts", "crashes", "position", "previous_from"),
        ),
        _is_id,
    ),
    "hour": _is_between(0, 10_000_000),
    "memory": lambda value: isinstance(value, str) and _MEMORY.fullmatch(value) is not None,
    "headers": _is_texts,
    "query": _is_texts,
    "pointer": _is_list,
    "matched": _is_list,
    "order_key": _is_json,
    "previous": _is_json,
    "counts": _is_json,
    "outcome": lambda value: value in set(Outcome),
    "facts.name": lambda value: isinstance(value, str) and _MEMORY.fullmatch(value) is None,
    "facts.value": _is_json,
    "requests.digest": _is_sized(32),
    "dedupe.digest": _is_sized(16),
    "tokens.digest": lambda value: isinstance(value, str) and _TOKEN.fullmatch(value) is not None,
    "tokens.scope": lambda value: value in {"read", "operate", "admin"},
    "deliveries.state": _is_between(0, len(STATES)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as it is stored."""

    name: str
    types: tuple[type, ...]
    is_nullable: bool
    #: What it holds in rows that were written before it was there.
    default: Value = None
    #: It is the row's number.
    is_number: bool = False
    check: Callable[[Value], bool] | None = None

    def takes(self, value: Value) -> bool:
        """Whether it can hold a value."""
        if value is None:
            return self.is_nullable or self.is_number
        return isinstance(value, self.types) and (self.check is None or self.check(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A table, or an index: then its rows are no data."""

    name: str
    #: In the order in which they are stored.
    columns: tuple[Column, ...]
    #: How many of them the oldest rows have.
    least: int
    #: Whether its rows have numbers.
    has_numbers: bool
    is_index: bool = False

    @property
    def checks(self) -> int:
        """How much it asks of a row."""
        return sum(len(column.types) == 1 or column.check is not None for column in self.columns)

    def row(self, raw: RawRow) -> tuple[Value, ...] | None:
        """Return a row's columns; None if it cannot be a row of this table."""
        if not self.least <= len(raw.values) <= len(self.columns) or (self.has_numbers and raw.number <= 0):
            return None
        values = (*raw.values, *(column.default for column in self.columns[len(raw.values) :]))
        found: list[Value] = []
        for column, value in zip(self.columns, values, strict=True):
            if not column.takes(value):
                return None
            found.append(raw.number if column.is_number else value)
        return tuple(found)


def known_shapes() -> tuple[Shape, ...]:
    """Return the tables and indexes of a store of the schema of now; earlier ones' rows are shorter."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        least: dict[str, int] = {}
        for script in schemas().values():
            fresh.executescript(script)
            for name, _ in _tables(fresh):
                least.setdefault(name, len(fresh.execute(f"PRAGMA table_xinfo({name})").fetchall()))
        shapes = [_table(fresh, name, has_numbers=not without, least=least[name]) for name, without in _tables(fresh)]
        return (*shapes, *(index for shape in shapes for index in _indexes(fresh, shape)))


def _tables(fresh: sqlite3.Connection) -> list[tuple[str, bool]]:
    """Return our tables, and of each whether its rows have no numbers."""
    listed = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
    return [(name, bool(without)) for name, without in fresh.execute(listed) if not name.startswith("sqlite_")]


def schema_shape() -> Shape:
    """Return the shape of `sqlite_schema`."""
    text, number = Column(name="", types=(str,), is_nullable=False), Column(name="", types=(int,), is_nullable=False)
    maybe = Column(name="sql", types=(str,), is_nullable=True)
    return Shape(name=SCHEMA_TABLE, columns=(text, text, text, number, maybe), least=5, has_numbers=True)


def _table(fresh: sqlite3.Connection, name: str, *, has_numbers: bool, least: int) -> Shape:
    columns: list[tuple[int, Column]] = []
    for _, title, kind, is_required, default, key, _ in fresh.execute(f"PRAGMA table_xinfo({name})"):
        column = Column(
            name=title,
            types=_TYPES[kind],
            is_nullable=not is_required and not (key and not has_numbers),
            default=None if default is None else fresh.execute(f"SELECT {default}").fetchone()[0],
            is_number=bool(key) and has_numbers,
            check=_CHECKS.get(f"{name}.{title}") or _CHECKS.get(title),
        )
        columns.append((key, column))
    if not has_numbers:
        # Those of the key come first.
        columns.sort(key=lambda one: one[0] or _NO_KEY)
    return Shape(name=name, columns=tuple(column for _, column in columns), least=least, has_numbers=has_numbers)


def _indexes(fresh: sqlite3.Connection, table: Shape) -> list[Shape]:
    number = Column(name="rowid", types=(int,), is_nullable=False)
    by_name: dict[str | None, Column] = {column.name: column for column in table.columns}
    found = []
    for _, name, _, origin, _ in fresh.execute(f"PRAGMA index_list({table.name})").fetchall():
        if origin == "pk":
            # The table itself.
            continue
        titles = [row[2] for row in fresh.execute(f"PRAGMA index_xinfo({name})")]
        columns = [number if title is None else by_name[title] for title in titles]
        columns = [number if column.is_number else column for column in columns]
        found.append(Shape(name=name, columns=tuple(columns), least=len(columns), has_numbers=False, is_index=True))
    return found


def whose(rows: Sequence[RawRow], shapes: Sequence[Shape]) -> Shape | None:
    """Return whose rows these are that nothing points to; None if it cannot be told."""
    fitting = [(sum(shape.row(row) is not None for row in rows), shape.checks, shape) for shape in shapes]
    most, checks, _ = max(fitting, key=lambda one: one[:2])
    best = [shape for count, asked, shape in fitting if (count, asked) == (most, checks)]
    if not most:
        return None
    # Which index it is does not matter.
    return best[0] if len(best) == 1 or all(shape.is_index for shape in best) else None
