"""Reads the history of a cluster and what its store holds at the end, and names each promise that was broken.

Pure: the same evidence gives the same verdict. It knows promises, not how they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.cluster import check_claims, check_gates, check_limits, check_orders, check_stored
from tests.cluster.evidence import Evidence
from tests.cluster.plan import Plan

Rule = Callable[[Evidence, Plan], Iterator[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was broken, and by what."""

    rule: str
    about: str

    def __str__(self) -> str:
        """Write it for people."""
        return f"{self.rule}: {self.about}"


#: Every promise that is checked, by name.
RULES: Final[dict[str, Rule]] = {
    "what was answered 2xx is stored once": check_stored.answered_is_stored,
    "senders are answered 200 or 503": check_stored.answers,
    "nothing is stored that nobody sent": check_stored.stored_was_sent,
    "a key is accepted once": check_stored.accepted_once,
    "duplicates are counted": check_stored.duplicates_counted,
    "each rule makes its delivery": check_stored.routed,
    "every delivery ends": check_stored.ended,
    "delivered is what the destination took": check_claims.delivered_arrived,
    "attempts are counted": check_claims.counted,
    "one claim for each attempt": check_claims.one_claim,
    "a fenced result changes nothing": check_claims.fenced,
    "order is kept": check_orders.kept,
    "order is that of acceptance": check_orders.as_accepted,
    "concurrency": check_limits.concurrency,
    "rate": check_limits.rate,
    "a held lane begins nothing": check_limits.holds,
    "a lane that is down is probed by one": check_limits.breakers,
    "once acts once": check_gates.once,
    "a digest has each event once": check_gates.digests,
    "changed acts on each change": check_gates.changes,
}


def check(seen: Evidence, plan: Plan) -> tuple[Violation, ...]:
    """Return what was broken; nothing, if every promise was kept."""
    return tuple(Violation(rule=name, about=about) for name, rule in RULES.items() for about in rule(seen, plan))
