"""The store's values as JSON and back, exactly, by their types: for the command line, which has the same types.

What is written says no types: it is read by the version that wrote it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from hookline.daemon.sources.stored_payload import payload_and_envelope, read_document
from hookline.daemon.store.stored import StoredEvent

_MICROSECOND: Final = timedelta(microseconds=1)
#: What an integer column holds.
_MOST: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Writing:
    """How values of one type are written, and read back. `read` raises `ValueError` for what `write` does not write."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


@cache
def writing_of(kind: Any) -> Writing:
    """Return how values of a type are written: of dataclasses, their fields' types, and collections of them."""
    kind = getattr(kind, "__supertype__", kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        present = [one for one in inner if one is not NoneType]
        # More than one is JSON as it is, or part of a pointer.
        return _optional(writing_of(present[0])) if len(present) == 1 else _AS_IT_IS
    if isinstance(origin, type) and issubclass(origin, Collection):
        return _collection(origin, inner)
    if isinstance(kind, type) and is_dataclass(kind):
        return _event() if kind is StoredEvent else _dataclass(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return Writing(lambda value: value.value, kind)
    return _PLAIN.get(kind, _AS_IT_IS)


def _collection(origin: type[Any], inner: tuple[Any, ...]) -> Writing:
    if issubclass(origin, Mapping):
        return _mapping(writing_of(inner[0]), writing_of(inner[1]))
    return _list(writing_of(inner[0]), list if origin in {list, Sequence} else tuple)


def _optional(inner: Writing) -> Writing:
    return Writing(
        lambda value: None if value is None else inner.write(value),
        lambda said: None if said is None else inner.read(said),
    )


def _list(inner: Writing, make: Callable[[Any], Any]) -> Writing:
    return Writing(
        lambda values: [inner.write(value) for value in values],
        lambda said: make(map(inner.read, _checked(said, list))),
    )


def _mapping(key: Writing, value: Writing) -> Writing:
    return Writing(
        lambda values: {key.write(name): value.write(item) for name, item in values.items()},
        lambda said: {key.read(name): value.read(item) for name, item in _checked(said, dict).items()},
    )


def _dataclass(kind: type[Any], *, but: Collection[str] = ()) -> Writing:
    hints = get_type_hints(kind)
    known = {one.name: writing_of(hints[one.name]) for one in fields(kind) if one.name not in but}

    def write(value: Any) -> dict[str, Any]:
        return {name: one.write(getattr(value, name)) for name, one in known.items()}

    def read(said: Any) -> Any:
        named = _checked(said, dict)
        if unknown := named.keys() - known:
            raise ValueError(f"unknown: {min(unknown)[:100]!r}")
        try:
            return kind(**{name: known[name].read(item) for name, item in named.items()}, **dict.fromkeys(but))
        except TypeError as error:
            raise ValueError(f"{kind.__name__} lacks something") from error

    return Writing(write, read)


def _event() -> Writing:
    """Leave out what is read from the body: each event of a batch would bring the whole of it once more."""
    hints = get_type_hints(StoredEvent)
    event = _dataclass(hints["event"], but=("payload", "envelope"))
    rest = _dataclass(StoredEvent, but=("event",))

    def write(stored: StoredEvent) -> dict[str, Any]:
        return {"event": event.write(stored.event), "stored": rest.write(stored)}

    def read(said: Any) -> StoredEvent:
        parts = _checked(said, dict)
        stored: StoredEvent = rest.read(parts.get("stored"))
        known = event.read(parts.get("event"))
        is_readable = known.type != "unreadable"
        whole = read_document(stored.body, stored.content_type, stored.document) if is_readable else None
        payload, envelope = payload_and_envelope(whole, stored.pointer)
        return replace(stored, event=replace(known, payload=payload, envelope=envelope))

    return Writing(write, read)


def _checked(said: Any, kind: type[Any]) -> Any:
    if not isinstance(said, kind) or (kind is int and isinstance(said, bool)):
        raise ValueError(f"{str(said)[:100]!r} is not of type {kind.__name__}")
    return said


def _read_int(said: Any) -> int:
    number: int = _checked(said, int)
    if not -_MOST <= number < _MOST:
        raise ValueError("a number that is too large")
    return number


def _read_moment(said: Any) -> datetime:
    moment = datetime.fromisoformat(_checked(said, str))
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


def _read_bytes(said: Any) -> bytes:
    try:
        return base64.b64decode(_checked(said, str), validate=True)
    except binascii.Error as error:
        raise ValueError("no Base64") from error


def _same(value: Any) -> Any:
    return value


_AS_IT_IS: Final = Writing(_same, _same)
_PLAIN: Final[Mapping[Any, Writing]] = {
    str: Writing(_same, lambda said: _checked(said, str)),
    bool: Writing(_same, lambda said: _checked(said, bool)),
    int: Writing(_same, _read_int),
    datetime: Writing(datetime.isoformat, _read_moment),
    timedelta: Writing(lambda value: value // _MICROSECOND, lambda said: _read_int(said) * _MICROSECOND),
    bytes: Writing(lambda value: base64.b64encode(value).decode(), _read_bytes),
}
