"""What of a limit is a node's: never more than the limit in all, whatever each of them knows, and in the end all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.nodes.shares import Shares, Standing, concurrency_of, share
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.sharing import Node, NodeId, Shared
from hookline.rules import Bounds, Rate

AT = datetime(2026, 5, 4, tzinfo=UTC)
LANES = [Lane(name) for name in ("erp", "chat")]
SECOND = timedelta(seconds=1)


def policy(concurrency: int, rate: int | None = None) -> LanePolicy:
    return LanePolicy(
        concurrency=concurrency, bounds=Bounds(rate=None if rate is None else Rate(rate, timedelta(minutes=1)))
    )


def node(number: int, *, view: int, over: frozenset[Lane] = frozenset()) -> Node:
    return Node(
        id=NodeId(number),
        name=f"node{number}",
        version="1",
        rules="r",
        address="",
        started_at=AT,
        view=view,
        revision=0,
        is_leader=False,
        is_leaving=False,
        over=over,
        seen_at=AT,
        is_member=True,
        slot=number,
    )


def shared(view: int, members: tuple[Node, ...], strays: dict[Lane, int] | None = None) -> Shared:
    return Shared(
        now=AT,
        revision=0,
        view=view,
        members=members,
        nodes=members,
        held={},
        failing={},
        breakers={},
        paused={},
        strays=strays or {},
    )


@dataclass
class Daemon:
    """A node with what it knows, what it runs, and what it holds claims of beside that."""

    shares: Shares
    #: What it acts by, and says at its next meeting.
    view: int = -1
    running: dict[Lane, int] = field(default_factory=dict)
    #: Claimed ahead: in the store they look as if they ran.
    ahead: dict[Lane, int] = field(default_factory=dict)
    #: A node that is gone may not know it, but it begins nothing: its own lease is over first.
    is_gone: bool = False


class Cluster(RuleBasedStateMachine):
    """Nodes that come, go, meet and run, in any order, on what the store says of them."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = {LANES[0]: policy(1), LANES[1]: policy(5)}
        self.rates = policy(100, 3)
        self.view = 0
        self.members: tuple[int, ...] = ()
        #: What the members said at their last meetings.
        self.said: dict[int, tuple[int, frozenset[Lane]]] = {}
        self.daemons: dict[int, Daemon] = {}

    def change(self, members: set[int]) -> None:
        if tuple(sorted(members)) != self.members:
            self.members = tuple(sorted(members))
            self.view += 1

    def strays(self) -> dict[Lane, int]:
        found: dict[Lane, int] = {}
        for number, daemon in self.daemons.items():
            if number not in self.members:
                for held in (daemon.running, daemon.ahead):
                    for lane, count in held.items():
                        if count:
                            found[lane] = found.get(lane, 0) + count
        return found

    def meet(self, number: int) -> None:
        daemon = self.daemons[number]
        self.said[number] = daemon.view, daemon.shares.over(daemon.running, self.whole.__getitem__)
        self.change({*self.members, number})
        daemon.is_gone = False
        members = tuple(node(one, view=self.said[one][0], over=self.said[one][1]) for one in self.members)
        told = shared(self.view, members, self.strays())
        daemon.shares.learn(told)
        daemon.view = told.view

    @rule(number=st.integers(1, 3))
    def a_node_meets(self, number: int) -> None:
        if number not in self.daemons:
            self.daemons[number] = Daemon(Shares(NodeId(number)))
        self.meet(number)

    @precondition(lambda self: self.members)
    @rule()
    def the_members_meet(self) -> None:
        for _ in range(2):
            for number in self.members:
                self.meet(number)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def a_node_is_gone(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.members))
        self.daemons[number].is_gone = True
        self.change({*self.members} - {number})

    @precondition(lambda self: self.daemons)
    @rule(data=st.data(), lane=st.sampled_from(LANES), count=st.integers(1, 10))
    def a_node_begins_what_it_may(self, data: st.DataObject, lane: Lane, count: int) -> None:
        daemon = self.daemons[data.draw(st.sampled_from(sorted(self.daemons)))]
        if daemon.is_gone:
            return
        may = daemon.shares.policy(lane, self.whole[lane]).concurrency - daemon.running.get(lane, 0)
        if may > 0:
            daemon.running[lane] = daemon.running.get(lane, 0) + min(count, may)
            daemon.ahead[lane] = count

    @precondition(lambda self: self.daemons)
    @rule(data=st.data(), lane=st.sampled_from(LANES))
    def one_ends(self, data: st.DataObject, lane: Lane) -> None:
        daemon = self.daemons[data.draw(st.sampled_from(sorted(self.daemons)))]
        daemon.running[lane] = max(0, daemon.running.get(lane, 0) - 1)

    @precondition(lambda self: self.daemons)
    @rule(data=st.data())
    def a_node_starts_anew(self, data: st.DataObject) -> None:
        """What it ran is cut off, and its leases end."""
        number = data.draw(st.sampled_from(sorted(self.daemons)))
        self.daemons[number] = Daemon(Shares(NodeId(number)), is_gone=True)

    @rule()
    def all_is_quiet(self) -> None:
        """In the end all of a limit is somebody's."""
        for daemon in self.daemons.values():
            daemon.running, daemon.ahead = {}, {}
        for _ in range(3):
            for number in self.members:
                self.meet(number)
        if self.members:
            for lane, whole in self.whole.items():
                parts = [self.daemons[one].shares.policy(lane, whole).concurrency for one in self.members]
                assert sum(parts) == whole.concurrency, (lane, parts)
            assert sum(self.rate_of(one) for one in self.members) == 3

    def rate_of(self, number: int) -> int:
        given = self.daemons[number].shares.policy(LANES[0], self.rates)
        assert given.bounds.rate is not None
        return given.bounds.rate.count if given.concurrency else 0

    @invariant()
    def nobody_runs_too_much(self) -> None:
        for lane, whole in self.whole.items():
            runs = sum(daemon.running.get(lane, 0) for daemon in self.daemons.values())
            assert runs <= whole.concurrency, lane

    @invariant()
    def what_may_begin_is_within_the_limits(self) -> None:
        begins = [number for number, daemon in self.daemons.items() if not daemon.is_gone]
        assert sum(self.rate_of(number) for number in begins) <= 3
        for lane, whole in self.whole.items():
            may = {one: self.daemons[one].shares.policy(lane, whole).concurrency for one in begins}
            runs = {number: daemon.running.get(lane, 0) for number, daemon in self.daemons.items()}
            assert sum(max(may.get(number, 0), count) for number, count in runs.items()) <= whole.concurrency, lane


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


@given(total=st.integers(1, 40), members=st.sets(st.integers(1, 1 << 63), min_size=1, max_size=8), lane=st.text())
def test_shares_of_a_view_add_up_and_differ_by_one_at_most(total: int, members: set[int], lane: str) -> None:
    parts = [concurrency_of(total, Lane(lane), settled(members, me)) for me in members]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


def settled(members: set[int], me: int) -> Standing:
    known = Standing.unknown(NodeId(me))
    return known.after(shared(1, tuple(node(one, view=1) for one in sorted(members))))


def test_what_cannot_be_shared_out_evenly_is_not_the_same_node_in_each_lane() -> None:
    members = {1, 2, 3}
    owners = {
        me for number in range(50) for me in members if concurrency_of(1, Lane(f"lane{number}"), settled(members, me))
    }
    assert owners == members


def test_a_rate_of_one_is_one_nodes_and_who_has_none_of_it_begins_nothing() -> None:
    given = [share(policy(10, 1), Lane("erp"), settled({1, 2, 3}, me)) for me in (1, 2, 3)]
    assert sorted(one.concurrency > 0 for one in given) == [False, False, True]
    (owner,) = [one for one in given if one.concurrency]
    assert owner.bounds.rate == Rate(1, timedelta(minutes=1))


def test_a_rate_is_shared_among_those_only_that_may_run_one() -> None:
    given = [share(policy(1, 60), Lane("erp"), settled({1, 2}, me)) for me in (1, 2)]
    assert [one.bounds.rate for one in given if one.concurrency] == [Rate(60, timedelta(minutes=1))]


def test_a_node_alone_has_all_of_it() -> None:
    whole = policy(7, 3)
    given = share(whole, Lane("erp"), settled({5}, 5))
    assert (given.concurrency, given.bounds) == (7, whole.bounds)


def test_before_the_first_meeting_nothing_may_begin() -> None:
    shares = Shares(NodeId(1))
    assert shares.policy(Lane("erp"), policy(7, 3)).concurrency == 0


def test_what_runs_at_a_node_that_is_gone_counts_until_its_leases_end() -> None:
    both, alone = (node(1, view=1), node(2, view=1)), (node(1, view=2),)
    shares, chat = Shares(NodeId(1)), Lane("chat")
    shares.learn(shared(1, both))
    mine = shares.policy(chat, policy(10)).concurrency
    for told, expected in [
        (shared(2, (node(1, view=1),), {chat: 2}), mine),
        (shared(2, alone, {chat: 2}), 8),
        # What was claimed ahead looks as if it ran: it cannot be more than was its share.
        (shared(2, alone, {chat: 9}), mine),
        (shared(2, alone), 10),
    ]:
        shares.learn(told)
        assert shares.policy(chat, policy(10)).concurrency == expected


def test_a_node_that_missed_a_view_has_nothing_until_all_act_by_the_new_one() -> None:
    shares, chat = Shares(NodeId(1)), Lane("chat")
    shares.learn(shared(1, (node(1, view=1),)))
    for told in [
        shared(3, (node(1, view=1), node(2, view=3))),
        shared(3, (node(1, view=3), node(2, view=3)), {chat: 1}),
    ]:
        shares.learn(told)
        assert shares.policy(chat, policy(2)).concurrency == 0
    shares.learn(shared(3, (node(1, view=3), node(2, view=3))))
    assert shares.policy(chat, policy(2)).concurrency == 1


def test_a_reload_counts_at_once() -> None:
    shares = Shares(NodeId(1))
    shares.learn(shared(1, (node(1, view=1),)))
    assert shares.policy(Lane("erp"), policy(7)).concurrency == 7
    assert shares.policy(Lane("erp"), policy(9)).concurrency == 9
