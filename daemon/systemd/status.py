"""How the daemon stands, in the one line that `systemctl status` shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hookline.daemon.store.stored import LaneState
from hookline.rules.units import format_duration

#: Held destinations that are named.
_MOST_NAMED: Final = 3
_VERSION_LENGTH: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the line is made of."""

    sources: int
    rules: int
    version: str
    #: As in `Reader.lanes`.
    lanes: Sequence[LaneState]
    #: Why what runs is not what is on disk.
    degraded: Sequence[str] = ()
    #: Sources of which nothing is matched now.
    paused: Sequence[str] = ()


def status_line(standing: Standing, *, now: datetime) -> str:
    """Say what is loaded, what waits, and what is held; what is wrong first."""
    loaded = (
        f"{_some(standing.sources, 'source')}, {_some(standing.rules, 'rule')} {standing.version[:_VERSION_LENGTH]}"
    )
    parts = [loaded, _waiting(standing.lanes, now)]
    held = [lane.lane for lane in standing.lanes if lane.is_held]
    if held:
        parts.append(f"{_named(held)} held")
    if standing.paused:
        parts.append(f"{_named(standing.paused)} paused")
    if standing.degraded:
        parts.insert(0, f"degraded: {standing.degraded[0]}")
    return "; ".join(parts)


def trouble_line(kind: str, why: str) -> str:
    """Say what the matter is with the store."""
    return f"store: {kind.replace('_', ' ')}: {why}"


def _waiting(lanes: Iterable[LaneState], now: datetime) -> str:
    count = sum(lane.pending for lane in lanes)
    oldest = min((lane.oldest_due_at for lane in lanes if lane.oldest_due_at is not None), default=None)
    if not count:
        return "none waiting"
    late = timedelta(0) if oldest is None else now - oldest
    # Whole minutes: a line that changes each time is no news.
    whole = late - late % timedelta(minutes=1)
    return f"{count} waiting" + (f", oldest {format_duration(whole)}" if whole > timedelta(0) else "")


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    return shown if len(names) <= _MOST_NAMED else f"{shown} and {len(names) - _MOST_NAMED} more"


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
