"""Promises of `order_by`: first in, first out among those of a lane that say the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.cluster.evidence import Evidence
from tests.cluster.lives import Lives
from tests.cluster.plan import Plan


@dataclass(frozen=True, slots=True)
class _Stretch:
    """From when to when a delivery of an order was under way."""

    name: str
    begin: int
    end: int


def kept(seen: Evidence, plan: Plan) -> Iterator[str]:
    """No first attempt of the next before the end of the last attempt of the one before."""
    for (lane, key), stretches in _stretches(seen, plan).items():
        for one, next_ in pairwise(sorted(stretches, key=lambda stretch: stretch.begin)):
            if next_.begin < one.end:
                yield f"{next_.name} began in {lane} {key!r} {(one.end - next_.begin) / 1e6:.1f} ms before {one.name} ended"


def as_accepted(seen: Evidence, plan: Plan) -> Iterator[str]:
    """What was answered before another was sent is delivered before it."""
    answered: dict[str, int] = {}
    sent: dict[str, int] = {}
    for post in seen.posts:
        sent[post.name] = min(sent.get(post.name, post.begin), post.begin)
        if post.is_stored and post.end is not None:
            answered[post.name] = min(answered.get(post.name, post.end), post.end)
    for (lane, key), stretches in _stretches(seen, plan).items():
        by_turn = sorted(stretches, key=lambda stretch: stretch.begin)
        for place, one in enumerate(by_turn):
            for later in by_turn[place + 1 :]:
                if later.name in answered and answered[later.name] < sent.get(one.name, 0):
                    yield f"{one.name} went before {later.name} in {lane} {key!r}, which was answered before it was sent"


def _stretches(seen: Evidence, plan: Plan) -> dict[tuple[str, str], list[_Stretch]]:
    lives = Lives(seen, plan)
    ordered = {lane: limits.order_by for lane, limits in plan.lanes.items() if limits.order_by is not None}
    arrivals = defaultdict(list)
    for arrival in seen.arrivals:
        if arrival.lane in ordered and not lives.is_late(arrival):
            arrivals[arrival.delivery].append(arrival)
    found: dict[tuple[str, str], list[_Stretch]] = defaultdict(list)
    for group in arrivals.values():
        first = min(group, key=lambda arrival: arrival.begun)
        last = max(group, key=lambda arrival: arrival.begun)
        # An earlier one that is still open at the destination is a dead node's: it ended when its lease did.
        stretch = _Stretch(first.names[0], first.begun, lives.counts_until(last))
        found[first.lane, str(first.data[0][ordered[first.lane]])].append(stretch)
    return found
