"""What somebody has to see to among the nodes: told from what is read at each meeting."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hookline.daemon.store.sharing import Node, Shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A node that was not stopped, and is not seen any more."""

    name: str
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesStanding:
    """How the nodes stand."""

    #: By the server's clock.
    now: datetime
    #: Those that count.
    members: int
    #: Versions that run at them.
    versions: tuple[str, ...]
    #: Rule sets that are live at them.
    rules: tuple[str, ...]
    #: Since when they differ in either; None: they do not.
    differ_since: datetime | None
    #: Since when nobody leads; None: somebody does.
    leaderless_since: datetime | None
    #: Of the last day.
    missing: tuple[Missing, ...]


class NodesWatch:
    """Remembers what one meeting alone does not say: since when."""

    def __init__(self) -> None:
        self._differ_since: datetime | None = None
        self._leaderless_since: datetime | None = None
        self._standing: NodesStanding | None = None

    def standing(self) -> NodesStanding | None:
        """Return how the nodes stood at the last meeting; None before the first."""
        return self._standing

    def saw(self, shared: Shared) -> None:
        """Take in what a meeting read."""
        versions = tuple(sorted({node.version for node in shared.members}))
        # One that starts has no rules yet.
        rules = tuple(sorted({node.rules for node in shared.members} - {""}))
        differ = len(versions) > 1 or len(rules) > 1
        self._differ_since = (self._differ_since or shared.now) if differ else None
        leads = any(node.is_leader for node in shared.members)
        self._leaderless_since = None if leads else (self._leaderless_since or shared.now)
        self._standing = NodesStanding(
            now=shared.now,
            members=len(shared.members),
            versions=versions,
            rules=rules,
            differ_since=self._differ_since,
            leaderless_since=self._leaderless_since,
            missing=tuple(Missing(name=one.name, seen_at=one.seen_at) for one in shared.nodes if _is_missing(one)),
        )


def _is_missing(node: Node) -> bool:
    return not node.is_member and not node.is_leaving
