"""What an operator may ask to be removed for good, as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from hookline.daemon.asked import AskedError, flag_of, ids_of, object_of, text_of, time_of
from hookline.daemon.replaying.request import MAX_IDS
from hookline.daemon.store.stored import Deletion, EventFilter
from hookline.rules import EventId

_KEYS: Final = ("events", "filter", "reason", "forget_key", "dry_run")
_FILTER_KEYS: Final = ("source", "type", "tenant", "since", "until")
_MOST_REASON: Final = 500
_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionRequest:
    """Which events to remove, and why."""

    which: Deletion
    #: For the audit.
    reason: str
    #: Only say what would be removed.
    is_dry_run: bool = False

    @classmethod
    def from_json(cls, said: Any) -> Self:
        """Read a request. Raises `AskedError` for anything else."""
        asked = object_of(said, _KEYS, "send an object with `events` or `filter`, and `reason`")
        events = ids_of("evt", asked, "events", EventId)
        where = _filter(asked["filter"]) if "filter" in asked else None
        if where is not None and events:
            raise AskedError("name them by id, or pick them by `filter`: not both")
        if where is None and not 0 < len(events) <= MAX_IDS:
            raise AskedError(f"name between 1 and {MAX_IDS} events, or pick them by `filter`")
        is_dry_run = flag_of(asked, "dry_run")
        reason = (text_of(asked, "reason") or "").strip()
        if not is_dry_run and not 0 < len(reason) <= _MOST_REASON:
            raise AskedError(f"`reason` says in 1 to {_MOST_REASON} characters why, for the audit")
        which = Deletion(events=events, where=where, forgets_keys=flag_of(asked, "forget_key"))
        return cls(which=which, reason=reason, is_dry_run=is_dry_run)


def _filter(said: Any) -> EventFilter:
    asked = object_of(said, _FILTER_KEYS, "`filter` is an object")
    where = EventFilter(
        source=text_of(asked, "source"),
        type=text_of(asked, "type"),
        tenant=text_of(asked, "tenant"),
        since=time_of(asked, "since"),
        until=time_of(asked, "until"),
    )
    if where.tenant is None and where.source is None:
        # A filter that was built wrongly must not empty the store.
        raise AskedError("a filter says `tenant` or `source`, and may narrow that by `type`, `since` and `until`")
    if where.since is not None and where.until is not None and where.since >= where.until:
        raise AskedError("`since` is not before `until`, so nothing is between")
    return where


def criteria(which: Deletion) -> str:
    """Say for the audit which events were meant; no content of theirs."""
    if which.where is None:
        more = len(which.events) - _NAMED
        said = " ".join(which.events[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    else:
        where = which.where
        parts = {
            "tenant": where.tenant,
            "source": where.source,
            "type": where.type,
            "since": where.since and where.since.isoformat(),
            "until": where.until and where.until.isoformat(),
        }
        said = ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)
    return said + ("; their keys, too" if which.forgets_keys else "")
