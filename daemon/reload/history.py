"""Which rule sets went live, and when: a fact of the store's, read by whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from hookline.daemon.store.stored import Fact
from hookline.rules import Json

#: The fact's name.
HISTORY: Final = "rule_sets"
MOST_REMEMBERED: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class WentLive:
    """A rule set that went live."""

    version: str
    at: datetime
    #: How many rules it had, fallbacks among them.
    rules: int


def live_history(facts: Mapping[str, Fact]) -> list[WentLive]:
    """Return what went live, the latest first."""
    kept = facts.get(HISTORY)
    rows: Any = [] if kept is None else kept.value
    return [WentLive(version=version, at=datetime.fromisoformat(at), rules=rules) for version, at, rules in rows]


def with_latest(history: list[WentLive], latest: WentLive) -> Json | None:
    """Return the fact with another rule set in front; None if it is live already."""
    if history and history[0].version == latest.version:
        return None
    rows: list[Json] = [[one.version, one.at.isoformat(), one.rules] for one in [latest, *history][:MOST_REMEMBERED]]
    return rows
