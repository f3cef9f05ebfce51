"""The checker finds each violation that is planted into a good history, and none in the good one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.checker import RULES, check
from tests.cluster.evidence import (
    Arrival,
    Evidence,
    Final,
    FinalAttempt,
    FinalDelivery,
    FinalEvent,
    LaneCall,
    Post,
    Turn,
    evidence,
)
from tests.cluster.history import History
from tests.cluster.plan import BreakerPlan, LanePlan, Plan

MS = 1_000_000
SECOND = 1000 * MS

PLAN = Plan(
    lanes={
        "tight": LanePlan(concurrency=2, breaker=BreakerPlan(share=0.5, least=3, within_s=10, pause_s=2)),
        "slow": LanePlan(concurrency=9, rate=1),
        "row": LanePlan(concurrency=9, order_by="key"),
        "first": LanePlan(concurrency=9, gate="once"),
        "bundle": LanePlan(concurrency=9, gate="digest", most=2),
        "news": LanePlan(concurrency=9, gate="changed"),
    },
    routes={
        "plain": (frozenset({"tight"}), frozenset({"tight", "slow"})),
        "slow": (frozenset({"slow"}),),
        "row": (frozenset({"row"}),),
        "first": (frozenset({"first"}),),
        "bundle": (frozenset({"bundle"}),),
        "news": (frozenset({"news"}),),
    },
    lease_s=6,
    node_lease_s=3,
)


class Run:
    """A run of a cluster, made up: each event is posted, stored, and delivered at once."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.arrivals: list[Arrival] = []
        self.lane_calls: list[LaneCall] = []
        self.turns: list[Turn] = []
        self.events: list[FinalEvent] = []
        self.deliveries: list[FinalDelivery] = []

    def post(self, name: str, kind: str, at: float, **data: Any) -> Post:
        """Send an event for the first time."""
        node = f"n{len(self.posts) % 3}"
        begin = int(at * SECOND)
        post = Post(
            node=node, name=name, kind=kind, data=data, begin=begin, end=begin + 5 * MS, status=200, is_accepted=True,
            event=f"evt_{name}",
        )  # fmt: skip
        self.posts.append(post)
        self.events.append(FinalEvent(id=post.event, name=name, kind=kind, version="v1", duplicates=0, conflicts=0))
        return post

    def deliver(self, post: Post, lane: str, at: float, *, ms: int = 100, statuses: tuple[int, ...] = (204,)) -> None:
        """Deliver it, one attempt a second."""
        delivery = f"dlv_{post.name}_{lane}"
        rows = []
        for number, status in enumerate(statuses, 1):
            begun = int((at + number - 1) * SECOND)
            arrival = Arrival(
                node=f"n{number % 3}", delivery=delivery, attempt=number, lane=lane, names=(post.name,),
                data=(post.data,), begun=begun, begin=begun + MS, end=begun + ms * MS, status=status,
            )  # fmt: skip
            self.arrivals.append(arrival)
            outcome = "delivered" if arrival.is_good else "transient"
            rows.append(FinalAttempt(number=number, outcome=outcome, note=arrival.mark))
        self.deliveries.append(
            FinalDelivery(
                id=delivery, event=post.event, rule=lane, lane=lane, state="delivered", attempts=len(rows), crashes=0,
                rows=tuple(rows),
            )
        )  # fmt: skip

    def gated(self, post: Post, lane: str, state: str, part_of: str | None = None) -> None:
        """Let a gate keep it."""
        self.deliveries.append(
            FinalDelivery(
                id=f"dlv_{post.name}_{lane}", event=post.event, rule=lane, lane=lane, state=state, attempts=0,
                crashes=0, part_of=part_of,
            )
        )  # fmt: skip

    def digest(self, posts: list[Post], at: float) -> None:
        """Deliver a digest of them."""
        self.deliver(posts[0], "bundle", at)
        self.deliveries[-1] = replace(
            self.deliveries[-1], id=f"dlv_{posts[0].name}_whole", is_digest=True, stands_for=len(posts)
        )
        self.arrivals[-1] = replace(
            self.arrivals[-1], delivery=self.deliveries[-1].id, names=tuple(post.name for post in posts)
        )
        for post in posts:
            self.gated(post, "bundle", "collected", self.deliveries[-1 - posts.index(post)].id)

    def change(self, delivery: str, **fields: Any) -> None:
        """Have the store hold something else of a delivery."""
        place = [one.id for one in self.deliveries].index(delivery)
        self.deliveries[place] = replace(self.deliveries[place], **fields)

    def rows(self, delivery: str, *rows: tuple[int, str, str]) -> None:
        """Have the store hold other attempts of it."""
        crashes = sum(outcome == "crashed" for _, outcome, _ in rows)
        made = tuple(FinalAttempt(number=number, outcome=outcome, note=note) for number, outcome, note in rows)
        self.change(delivery, rows=made, attempts=len(rows) - crashes, crashes=crashes)

    def arrive(self, delivery: str, node: str, at: float, *, ms: int = 100, attempt: int = 1) -> Arrival:
        """Let it arrive once more."""
        first = next(one for one in self.arrivals if one.delivery == delivery)
        begun = int(at * SECOND)
        arrival = replace(first, node=node, begun=begun, begin=begun + MS, end=begun + ms * MS, attempt=attempt)
        self.arrivals.append(arrival)
        return arrival

    def seen(self) -> Evidence:
        """Return all of it."""
        return Evidence(
            posts=tuple(self.posts), arrivals=tuple(self.arrivals), lane_calls=tuple(self.lane_calls),
            turns=tuple(self.turns), final=Final(events=tuple(self.events), deliveries=tuple(self.deliveries)),
        )  # fmt: skip

    def broken(self) -> set[str]:
        """Return the names of the rules that were broken."""
        return {violation.rule for violation in check(self.seen(), PLAN)}


@pytest.fixture
def run() -> Run:
    """A run with something of everything, in which every promise is kept."""
    made = Run()
    for number in range(6):
        made.deliver(made.post(f"plain-{number}", "plain", number), "tight", number + 0.1)
    for number in range(4):
        made.deliver(made.post(f"slow-{number}", "slow", number), "slow", number + 1)
    for number in range(3):
        made.deliver(made.post(f"row-{number}", "row", number, key="a"), "row", number * 3 + 1, statuses=(500, 204))
    firsts = [made.post(f"first-{number}", "first", number, key="b") for number in range(3)]
    made.deliver(firsts[0], "first", 0.1)
    made.change("dlv_first-0_first", stands_for=2)
    for post in firsts[1:]:
        made.gated(post, "first", "suppressed", "dlv_first-0_first")
    bundles = [made.post(f"bundle-{number}", "bundle", number, key="c") for number in range(3)]
    made.digest(bundles[:2], 2)
    made.digest(bundles[2:], 3)
    for number, value in enumerate("xxyyx"):
        post = made.post(f"news-{number}", "news", number, key="d", value=value)
        if number in {2, 4}:
            made.deliver(post, "news", number + 0.1)
        else:
            made.gated(post, "news", "suppressed")
    made.lane_calls.append(LaneCall(lane="tight", is_held=True, begin=7 * SECOND, end=8 * SECOND, is_ok=True))
    made.lane_calls.append(LaneCall(lane="tight", is_held=False, begin=12 * SECOND, end=13 * SECOND, is_ok=True))
    return made


def test_a_good_history_is_good(run: Run) -> None:
    assert check(run.seen(), PLAN) == ()


def _lost(run: Run) -> None:
    run.events.remove(next(event for event in run.events if event.name == "plain-0"))
    run.deliveries = [one for one in run.deliveries if one.event != "evt_plain-0"]
    run.arrivals = [one for one in run.arrivals if one.names != ("plain-0",)]


def _stored_twice(run: Run) -> None:
    first = next(event for event in run.events if event.name == "plain-0")
    run.events.append(replace(first, id="evt_twin"))
    run.deliver(replace(run.posts[0], event="evt_twin"), "tight", 20)
    run.deliveries[-1] = replace(run.deliveries[-1], id="dlv_twin")
    run.arrivals[-1] = replace(run.arrivals[-1], delivery="dlv_twin")


def _refused_for_good(run: Run) -> None:
    run.posts.append(replace(run.posts[0], node="n2", status=500, is_accepted=False, event=""))


def _invented(run: Run) -> None:
    post = run.post("nobody", "plain", 20)
    run.deliver(post, "tight", 20)
    run.posts.remove(post)


def _accepted_twice(run: Run) -> None:
    run.posts.append(replace(run.posts[0], node="n2"))


def _not_counted(run: Run) -> None:
    run.posts.append(replace(run.posts[0], node="n2", is_accepted=False))


def _no_delivery(run: Run) -> None:
    run.deliveries = [one for one in run.deliveries if one.id != "dlv_plain-0_tight"]
    run.arrivals = [one for one in run.arrivals if one.delivery != "dlv_plain-0_tight"]


def _other_rules(run: Run) -> None:
    run.deliver(run.posts[1], "slow", 30)


def _stuck(run: Run) -> None:
    run.rows("dlv_plain-0_tight")
    run.change("dlv_plain-0_tight", state="pending")
    run.arrivals = [one for one in run.arrivals if one.delivery != "dlv_plain-0_tight"]


def _dead(run: Run) -> None:
    place = next(place for place, one in enumerate(run.arrivals) if one.delivery == "dlv_plain-0_tight")
    run.arrivals[place] = replace(run.arrivals[place], status=400)
    run.rows("dlv_plain-0_tight", (1, "permanent", run.arrivals[place].mark))
    run.change("dlv_plain-0_tight", state="dead")


def _never_taken(run: Run) -> None:
    run.arrivals = [one for one in run.arrivals if one.delivery != "dlv_plain-0_tight"]


def _refused(run: Run) -> None:
    place = next(place for place, one in enumerate(run.arrivals) if one.delivery == "dlv_plain-0_tight")
    run.arrivals[place] = replace(run.arrivals[place], status=404)


def _skipped(run: Run) -> None:
    (row,) = next(one for one in run.deliveries if one.id == "dlv_plain-0_tight").rows
    run.rows("dlv_plain-0_tight", (2, "delivered", row.note))


def _claimed_twice(run: Run) -> None:
    again = run.arrive("dlv_plain-0_tight", "n2", 20)
    (row,) = next(one for one in run.deliveries if one.id == "dlv_plain-0_tight").rows
    run.rows("dlv_plain-0_tight", (1, "transient", row.note), (2, "delivered", again.mark))


def _stale_result(run: Run) -> None:
    # The first claim's lease ended, a second one ran, and the first's result was recorded nevertheless.
    run.arrive("dlv_plain-0_tight", "n2", 20)
    (row,) = next(one for one in run.deliveries if one.id == "dlv_plain-0_tight").rows
    run.rows("dlv_plain-0_tight", (1, "crashed", ""), (1, "delivered", row.note))


def _out_of_order(run: Run) -> None:
    # Between the two attempts of the one before.
    for place, arrival in enumerate(run.arrivals):
        if arrival.delivery == "dlv_row-1_row":
            run.arrivals[place] = _moved(run, arrival, -2.5)


def _overtaken(run: Run) -> None:
    for place, arrival in enumerate(run.arrivals):
        if arrival.delivery == "dlv_row-0_row":
            run.arrivals[place] = _moved(run, arrival, 20)


def _moved(run: Run, arrival: Arrival, seconds: float) -> Arrival:
    by = int(seconds * SECOND)
    moved = replace(arrival, begun=arrival.begun + by, begin=arrival.begin + by, end=(arrival.end or 0) + by)
    delivery = next(one for one in run.deliveries if one.id == arrival.delivery)
    rows = tuple(replace(row, note=moved.mark) if row.note == arrival.mark else row for row in delivery.rows)
    run.change(arrival.delivery, rows=rows)
    return moved


def _crowded(run: Run) -> None:
    for number in range(3):
        run.deliver(run.post(f"crowd-{number}", "plain", 20), "tight", 20 + number / 100)


def _hasty(run: Run) -> None:
    for number in range(3):
        run.deliver(run.post(f"haste-{number}", "slow", 20), "slow", 20 + number / 3)


def _held(run: Run) -> None:
    run.deliver(run.post("held", "plain", 9), "tight", 9)


def _two_probes(run: Run) -> None:
    for number in range(2):
        run.deliver(
            run.post(f"down-{number}", "plain", 20), "tight", 20 + number / 10, statuses=(500, 500, 500, 500, 204)
        )


def _hasty_probes(run: Run) -> None:
    run.deliver(run.post("down", "plain", 20), "tight", 20, statuses=(500, 500, 500, 500, 500, 204))


def _twice_once(run: Run) -> None:
    run.deliver(run.posts[[post.name for post in run.posts].index("first-1")], "first", 9)
    run.deliveries.remove(next(one for one in run.deliveries if one.state == "suppressed" and one.lane == "first"))


def _miscounted(run: Run) -> None:
    run.change("dlv_first-0_first", stands_for=1)


def _digest_lacks_one(run: Run) -> None:
    run.change("dlv_bundle-0_whole", stands_for=1)


def _digest_too_large(run: Run) -> None:
    run.change("dlv_bundle-0_whole", stands_for=3)
    run.change("dlv_bundle-2_bundle", part_of="dlv_bundle-0_whole")
    run.change("dlv_bundle-2_whole", stands_for=0)


def _change_missed(run: Run) -> None:
    run.arrivals = [one for one in run.arrivals if one.delivery != "dlv_news-2_news"]
    run.rows("dlv_news-2_news")
    run.change("dlv_news-2_news", state="suppressed")


PLANTED: list[tuple[Callable[[Run], None], set[str]]] = [
    (_lost, {"what was answered 2xx is stored once"}),
    (_stored_twice, {"what was answered 2xx is stored once"}),
    (_refused_for_good, {"senders are answered 200 or 503"}),
    (_invented, {"nothing is stored that nobody sent"}),
    (_accepted_twice, {"a key is accepted once"}),
    (_not_counted, {"duplicates are counted"}),
    (_no_delivery, {"each rule makes its delivery"}),
    (_other_rules, {"each rule makes its delivery"}),
    (_stuck, {"every delivery ends"}),
    (_dead, {"every delivery ends"}),
    (_never_taken, {"delivered is what the destination took"}),
    (_refused, {"delivered is what the destination took"}),
    (_skipped, {"attempts are counted"}),
    (_claimed_twice, {"one claim for each attempt"}),
    (_stale_result, {"a fenced result changes nothing"}),
    (_out_of_order, {"order is kept"}),
    (_overtaken, {"order is that of acceptance"}),
    (_crowded, {"concurrency"}),
    (_hasty, {"rate"}),
    (_held, {"a held lane begins nothing"}),
    (_two_probes, {"a lane that is down is probed by one"}),
    (_hasty_probes, {"a lane that is down is probed by one"}),
    (_twice_once, {"once acts once"}),
    (_miscounted, {"once acts once"}),
    (_digest_lacks_one, {"a digest has each event once"}),
    (_digest_too_large, {"a digest has each event once"}),
    (_change_missed, {"changed acts on each change"}),
]


@pytest.mark.parametrize(("plant", "rules"), PLANTED, ids=[plant.__name__[1:] for plant, _ in PLANTED])
def test_a_planted_violation_is_found(run: Run, plant: Callable[[Run], None], rules: set[str]) -> None:
    plant(run)
    assert run.broken() == rules


def test_for_every_rule_one_is_planted() -> None:
    assert {rule for _, rules in PLANTED for rule in rules} == set(RULES)


def test_a_lost_answer_may_have_been_the_first(run: Run) -> None:
    run.posts[0] = replace(run.posts[0], status=None, end=None, is_accepted=False, event="")
    run.posts.append(replace(run.posts[1], name="plain-0", event="evt_plain-0", is_accepted=False))
    run.events[0] = replace(run.events[0], duplicates=1)
    assert run.broken() == set()
    # Without it, somebody said "duplicate" of what nobody had sent.
    run.posts.pop(0)
    assert "a key is accepted once" in run.broken()


def test_what_a_dead_node_had_begun_counts_until_it_died(run: Run) -> None:
    for number in range(3):
        run.deliver(run.post(f"crowd-{number}", "plain", 20), "tight", 20 + number, ms=5000)
    assert run.broken() == {"concurrency"}
    run.turns.append(Turn(node=run.arrivals[-3].node, at=int(20.5 * SECOND), what="kill"))
    assert run.broken() == set()


def test_what_a_frozen_node_had_begun_counts_until_its_lease_ends(run: Run) -> None:
    for number, node in enumerate(("n0", "n1", "n2")):
        run.deliver(run.post(f"crowd-{number}", "plain", 20), "tight", 20 + number, ms=9000)
        run.arrivals[-1] = _renamed(run, run.arrivals[-1], node)
    run.turns.append(Turn(node="n0", at=int(20.5 * SECOND), what="freeze"))
    assert run.broken() == {"concurrency"}
    run.arrivals[-1] = _moved(run, run.arrivals[-1], 2.6)
    assert run.broken() == set()


def _renamed(run: Run, arrival: Arrival, node: str) -> Arrival:
    renamed = replace(arrival, node=node)
    run.rows(arrival.delivery, (arrival.attempt, "delivered", renamed.mark))
    return renamed


def test_what_was_handed_out_before_a_freeze_may_begin_when_the_node_wakes(run: Run) -> None:
    again = run.arrive("dlv_plain-0_tight", "n2", 20)
    run.arrive("dlv_plain-0_tight", "n0", 28)
    run.rows("dlv_plain-0_tight", (1, "crashed", ""), (1, "crashed", ""), (1, "delivered", again.mark))
    run.arrivals.pop(0)
    assert run.broken() == {"a fenced result changes nothing"}
    run.turns += [
        Turn(node="n0", at=18 * SECOND, what="freeze"),
        Turn(node="n0", at=28 * SECOND - 100 * MS, what="thaw"),
    ]
    assert run.broken() == set()
    # A second later it had all the time to look at its clock.
    run.turns[-1] = replace(run.turns[-1], at=27 * SECOND)
    assert run.broken() == {"a fenced result changes nothing"}


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    first = history.begin("sender-0", "post", node="n0", name="a", kind="plain", data={"key": 1}, status=None)
    lost = history.begin("sender-1", "post", node="n1", name="b", kind="plain", data={}, status=None)
    history.begin("operator", "hold", lane="tight").ended("ok")
    history.note("n1", "kill")
    first.ended("ok", status=200, is_accepted=True, event="evt_a")
    history.close()
    seen = evidence(history.operations(), Final())
    assert [(post.name, post.status, post.is_stored, post.event) for post in seen.posts] == [
        ("a", 200, True, "evt_a"),
        ("b", None, False, ""),
    ]
    assert lost is not None
    assert seen.posts[0].end is not None
    assert seen.posts[0].begin < seen.lane_calls[0].begin < seen.turns[0].at < seen.posts[0].end
    assert seen.posts[1].end is None
    assert (seen.turns[0].node, seen.turns[0].what) == ("n1", "kill")
