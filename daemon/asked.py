"""Reading what an operator asks of the admin API, with a word about whatever cannot be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from hookline.daemon.ids import decode
from hookline.daemon.store.changes import DeliveryId
from hookline.rules import EventId
from hookline.rules.suggestion import did_you_mean
from hookline.rules.units import parse_time

#: A request's header that says who typed the command, for the audit.
USER_HEADER: Final = "Hookline-User"

_Id = TypeVar("_Id", EventId, DeliveryId)


class AskedError(ValueError):
    """A request that cannot be, or names what does not exist. Caught by the admin API, which answers 422."""


def object_of(said: Any, known: Collection[str], otherwise: str) -> Mapping[str, Any]:
    """Return what was said if it is an object of known keys; `otherwise` says what to send instead."""
    if not isinstance(said, dict):
        raise AskedError(otherwise)
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise AskedError(_unknown(unknown, known))
    return said


def ids_of(prefix: str, asked: Mapping[str, Any], key: str, kind: type[_Id]) -> tuple[_Id, ...]:
    """Return the ids under `key`, each once."""
    said = asked.get(key, [])
    if not isinstance(said, list):
        raise AskedError("ids come in a list")
    for one in said:
        try:
            decode(prefix, str(one))
        except ValueError as error:
            raise AskedError(str(error)) from error
    # Named twice is meant once.
    return tuple(dict.fromkeys(map(kind, said)))


def text_of(asked: Mapping[str, Any], key: str) -> str | None:
    """Return the text under `key`; None if there is none."""
    said = asked.get(key)
    if key in asked and not isinstance(said, str):
        raise AskedError(f"`{key}` is a name, not {said!r}"[:200])
    return said


def time_of(asked: Mapping[str, Any], key: str) -> datetime | None:
    """Return the time under `key`; None if there is none."""
    moment = parse_time(asked[key]) if isinstance(asked.get(key), str) else None
    if key in asked and moment is None:
        raise AskedError(f"`{key}` is a time such as 2026-05-18T12:00:00Z, not {asked[key]!r}"[:200])
    return moment


def flag_of(asked: Mapping[str, Any], key: str) -> bool:
    """Return whether `key` is true; false if it is left out."""
    said = asked.get(key, False)
    if not isinstance(said, bool):
        raise AskedError(f"`{key}` is true or false, not {said!r}"[:200])
    return said


def _unknown(names: list[str], known: Collection[str]) -> str:
    near = did_you_mean(names[0], known) if len(names) == 1 else None
    return f"unknown: {', '.join(name[:40] for name in names[:10])}" + (f"; {near}" if near else "")
