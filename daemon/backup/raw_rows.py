"""The rows on one page of a SQLite file, read without SQLite, as far as they can be."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from hookline.daemon.backup.raw_pages import HEADER_BYTES, RawPages

Value: TypeAlias = int | float | str | bytes | None

#: The first byte of a page.
INDEX_INNER: Final = 0x02
TABLE_INNER: Final = 0x05
INDEX_LEAF: Final = 0x0A
TABLE_LEAF: Final = 0x0D

_INTEGER_BYTES: Final = (0, 1, 2, 3, 4, 6, 8)


class _DamagedError(Exception):
    """What is read cannot be so. Caught where a cell is read."""


class RawRow(NamedTuple):
    """A row; of a table without row numbers, and of an index, `number` is 0."""

    number: int
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPage:
    """A page of a tree."""

    kind: int
    rows: tuple[RawRow, ...]
    #: Of inner pages: the pages below, each with the highest row number there, None if it is not said.
    children: tuple[tuple[int, int | None], ...]
    #: Cells that could not be read.
    lost: int
    #: Pages that its rows go on.
    overflow: frozenset[int]


def read_page(pages: RawPages, number: int) -> RawPage | None:
    """Read a page of a tree; None if it is none."""
    data = pages.page(number)
    if data is None:
        return None
    base = HEADER_BYTES if number == 1 else 0
    kind = data[base]
    if kind not in {INDEX_INNER, TABLE_INNER, INDEX_LEAF, TABLE_LEAF}:
        return None
    is_inner = kind in {INDEX_INNER, TABLE_INNER}
    head = base + (12 if is_inner else 8)
    (count,) = struct.unpack_from(">H", data, base + 3)
    if head + 2 * count > len(data):
        return None
    rows: list[RawRow] = []
    children: list[tuple[int, int | None]] = []
    lost, overflow = 0, set[int]()
    for at in struct.unpack_from(f">{count}H", data, head):
        try:
            child, row = _cell(pages, data, at, kind, overflow)
        except (_DamagedError, IndexError, struct.error, UnicodeDecodeError):
            lost += 1
            continue
        if row is not None:
            rows.append(row)
        if child is not None:
            children.append(child)
    if is_inner:
        children.append((int.from_bytes(data[base + 8 : base + 12]), None))
    return RawPage(kind=kind, rows=tuple(rows), children=tuple(children), lost=lost, overflow=frozenset(overflow))


def _cell(
    pages: RawPages, data: bytes, at: int, kind: int, overflow: set[int]
) -> tuple[tuple[int, int | None] | None, RawRow | None]:
    """Return the page below, if any, and the row, if any."""
    child = None
    if kind in {INDEX_INNER, TABLE_INNER}:
        (child,) = struct.unpack_from(">I", data, at)
        at += 4
    if kind == TABLE_INNER:
        number, _ = _varint(data, at)
        return (child or 0, number), None
    size, at = _varint(data, at)
    number = 0
    if kind == TABLE_LEAF:
        number, at = _varint(data, at)
    payload = _payload(pages, data, at, size, is_table=kind == TABLE_LEAF, overflow=overflow)
    row = RawRow(number, _record(payload))
    return None if child is None else (child, None), row


def _payload(  # noqa: PLR0913 - a cell's place, size and kind
    pages: RawPages, data: bytes, at: int, size: int, *, is_table: bool, overflow: set[int]
) -> bytes:
    usable = len(data)
    if size < 0:
        raise _DamagedError
    most = usable - 35 if is_table else (usable - 12) * 64 // 255 - 23
    if size <= most:
        # What is cut short there does not read as a row.
        return data[at : at + size]
    least = (usable - 12) * 32 // 255 - 23
    here = least + (size - least) % (usable - 4)
    here = here if here <= most else least
    if at + here + 4 > usable or size > pages.count * usable:
        raise _DamagedError
    parts, left = [data[at : at + here]], size - here
    following = int.from_bytes(data[at + here : at + here + 4])
    taken: set[int] = set()
    while left > 0:
        page = pages.page(following)
        if page is None or following in taken or following in overflow:
            raise _DamagedError
        taken.add(following)
        following = int.from_bytes(page[:4])
        parts.append(page[4 : 4 + left])
        left -= usable - 4
    if following:
        # The last one's says that there is none.
        raise _DamagedError
    overflow |= taken
    return b"".join(parts)


def _record(payload: bytes) -> tuple[Value, ...]:
    head, at = _varint(payload, 0)
    if not at <= head <= len(payload):
        raise _DamagedError
    kinds: Sequence[int] = payload[at:head]
    if kinds and max(kinds) >= 0x80:
        kinds = []
        while at < head:
            kind, at = _varint(payload, at)
            kinds.append(kind)
        if at != head:
            raise _DamagedError
    at = head
    values: list[Value] = []
    for kind in kinds:
        if kind >= 12:
            end = at + (kind - 12) // 2
            raw = payload[at:end]
            values.append(raw.decode() if kind % 2 else raw)
            at = end
        elif kind == 0:
            values.append(None)
        elif kind < 7:
            end = at + _INTEGER_BYTES[kind]
            values.append(int.from_bytes(payload[at:end], signed=True))
            at = end
        elif kind == 7:
            values.extend(struct.unpack_from(">d", payload, at))
            at += 8
        elif kind < 10:
            values.append(kind - 8)
        else:
            raise _DamagedError
    if at != len(payload):
        raise _DamagedError
    return tuple(values)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    if value < 0x80:
        return value, at + 1
    value = 0
    for step in range(8):
        byte = data[at + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + step + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >= 1 << 63 else value, at + 9
