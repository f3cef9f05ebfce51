"""What of a lane's limits is this node's. Pure.

Whatever nodes know, old views and new ones, together they never run more than the configuration allows. Shares of one
view add up to the limit. So a node that learns of a new view has at once no more than its share there, and has more
than it had before only when all members have said that they act by the view, and run no more than it gives them. Who
was no member of the views before has nothing until then. And what runs at nodes that are gone counts until their leases
end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.sharing import NodeId, Shared
from hookline.rules import Rate

#: A node that could not settle for so many views begins anew, as one that joined.
_MOST_VIEWS: Final = 32
_MOST_LANES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a node knows of the views by which the limits are shared out."""

    me: NodeId
    view: int
    #: By id; nothing before the first meeting.
    members: tuple[NodeId, ...]
    #: The members of each view since the last one by which all acted, this one among them; empty if this node was not
    #: in all of them, or missed one.
    since: tuple[tuple[NodeId, ...], ...]
    #: All members act by this view.
    is_settled: bool
    #: Lanes in which some member runs more yet than its share.
    over: frozenset[Lane]
    #: As in `Shared`.
    strays: Mapping[Lane, int]

    @classmethod
    def unknown(cls, me: NodeId) -> Standing:
        """Return that of a node which has met nobody: nothing is its own."""
        return cls(me=me, view=-1, members=(), since=(), is_settled=False, over=frozenset(), strays={})

    def after(self, shared: Shared) -> Standing:
        """Return what it knows after a meeting."""
        members = tuple(one.id for one in shared.members)
        is_settled = self.me in members and all(one.view == shared.view for one in shared.members)
        over = frozenset[Lane]().union(*[one.over for one in shared.members])
        since = self._since(shared.view, members)
        if is_settled and not over and not shared.strays:
            since = (members,)
        return Standing(
            me=self.me,
            view=shared.view,
            members=members,
            since=since,
            is_settled=is_settled,
            over=over,
            strays=shared.strays,
        )

    def _since(self, view: int, members: tuple[NodeId, ...]) -> tuple[tuple[NodeId, ...], ...]:
        if view == self.view:
            return self.since
        if not self.since or view != self.view + 1 or self.me not in members:
            return ()
        return (*self.since, members) if len(self.since) < _MOST_VIEWS else ()


def share(policy: LanePolicy, lane: Lane, standing: Standing) -> LanePolicy:
    """Return what this node may do of what `policy` allows all nodes together."""
    rate = policy.bounds.rate
    concurrency = concurrency_of(policy.concurrency, lane, standing)
    if rate is None:
        return replace(policy, concurrency=concurrency, view=standing.view)
    count = _rate_count(rate, policy.concurrency, lane, standing)
    if count == 0:
        # It is another node's: what waits there is for that.
        return replace(policy, concurrency=0, view=standing.view)
    bounds = replace(policy.bounds, rate=Rate(count, rate.per))
    return replace(policy, concurrency=concurrency, bounds=bounds, view=standing.view)


def concurrency_of(total: int, lane: Lane, standing: Standing) -> int:
    """Return how many of `total` this node may run."""
    strays = standing.strays.get(lane, 0)
    before = min((_part(total, lane, members, standing.me) for members in standing.since), default=0)
    if not standing.is_settled or lane in standing.over or (strays and not standing.since):
        return before
    return max(before, by_view(total, lane, standing))


def by_view(total: int, lane: Lane, standing: Standing) -> int:
    """Return how many of `total` the present view gives this node, but for what runs at nodes that are gone."""
    return _part(max(0, total - standing.strays.get(lane, 0)), lane, standing.members, standing.me)


def _rate_count(rate: Rate, concurrency: int, lane: Lane, standing: Standing) -> int:
    """Return how many of a rate are this node's, shared among as many nodes as may run one at the same time."""

    def part(members: Sequence[NodeId]) -> int:
        return _part(rate.count, lane, members, standing.me, among=concurrency)

    if standing.is_settled:
        return part(standing.members)
    return min((part(members) for members in standing.since), default=0)


def _part(total: int, lane: Lane, members: Collection[NodeId], me: NodeId, *, among: int | None = None) -> int:
    """Return this member's part of `total`; they differ by one at most, and differently in each lane.

    Members are in an order that does not change when another one comes or goes, so what is one node's wanders little.
    """
    if me not in members:
        return 0
    count = len(members) if among is None else max(1, min(len(members), among))
    mine = _weight(lane, me)
    rank = sum(_weight(lane, one) < mine for one in members)
    return (total + count - 1 - rank) // count if rank < count else 0


def _weight(lane: Lane, node: NodeId) -> tuple[bytes, int]:
    text = f"{node} {lane}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).digest(), node


class Shares:
    """What this node knows, and its share of each lane by it, worked out once for each meeting."""

    def __init__(self, me: NodeId) -> None:
        """Begin with nothing."""
        self.standing = Standing.unknown(me)
        #: By lane: what it was worked out of, and the share.
        self._known: dict[Lane, tuple[LanePolicy, LanePolicy]] = {}

    def learn(self, shared: Shared) -> None:
        """Go by what a meeting said."""
        after = self.standing.after(shared)
        if after != self.standing:
            self.standing = after
            self._known.clear()

    def policy(self, lane: Lane, whole: LanePolicy) -> LanePolicy:
        """Return this node's share of what all nodes may do together."""
        known = self._known.get(lane)
        if known is None or known[0] is not whole:
            if len(self._known) >= _MOST_LANES:
                self._known.clear()
            known = self._known[lane] = (whole, share(whole, lane, self.standing))
        return known[1]

    def over(self, running: Mapping[Lane, int], policies: Callable[[Lane], LanePolicy]) -> frozenset[Lane]:
        """Return the lanes in which this node runs more than the present view gives it."""
        return frozenset(
            lane for lane, count in running.items() if count > by_view(policies(lane).concurrency, lane, self.standing)
        )
