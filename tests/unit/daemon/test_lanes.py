"""Slots: never more than a lane's concurrency or the cap, and always some for whoever answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hookline.daemon.lanes.lanes import SLOW, Lanes
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.store.changes import Lane
from hookline.rules import Bounds, Breaker, Rate

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
QUICK = timedelta(milliseconds=5)
ERP, MAIL = Lane("erp"), Lane("mail")


def run(lanes: Lanes, lane: Lane, took: timedelta) -> None:
    """Make one attempt."""
    assert lanes.reserve(lane, NOW)
    assert lanes.begin(lane, NOW)
    lanes.end(lane, took, now=NOW)


def of(concurrency: int, **bounds: Any) -> Callable[[Lane], LanePolicy]:
    """Return the policy of every lane."""
    policy = LanePolicy(concurrency=concurrency, bounds=Bounds(**bounds))
    return lambda _: policy


def named(count: int, prefix: str = "lane") -> list[Lane]:
    return [Lane(f"{prefix}{number}") for number in range(count)]


def test_a_lane_runs_no_more_than_its_concurrency() -> None:
    lanes = Lanes(of(2))
    assert [lanes.reserve(ERP, NOW) for _ in range(3)] == [True, True, False]
    assert [lanes.begin(ERP, NOW) for _ in range(2)] == [True, True]
    lanes.end(ERP, None, now=NOW)
    assert lanes.reserve(ERP, NOW)
    assert lanes.running == 1


def test_a_lowered_concurrency_counts_at_once() -> None:
    concurrency = 3
    lanes = Lanes(lambda _: LanePolicy(concurrency=concurrency))
    assert [lanes.reserve(ERP, NOW) for _ in range(3)] == [True] * 3
    concurrency = 1
    lanes.vacate(ERP)
    lanes.vacate(ERP)
    assert not lanes.reserve(ERP, NOW)
    lanes.vacate(ERP)
    assert lanes.reserve(ERP, NOW)


def test_new_deliveries_queue_behind_those_that_are_due() -> None:
    lanes = Lanes(of(2))
    lanes.waits(ERP, NOW)
    assert not lanes.reserve(ERP, NOW)
    assert lanes.reserve(MAIL, NOW)


def test_no_more_new_ones_go_before_those_that_are_due_than_were_claimed_of_these() -> None:
    lanes = Lanes(of(8))
    lanes.waits(ERP, NOW)
    lanes.occupy({ERP: 2}, NOW)
    lanes.settle(ERP, asked=2, got=2, now=NOW)
    assert [lanes.reserve(ERP, NOW) for _ in range(3)] == [True, True, False]
    assert lanes.room(NOW) == {ERP: 4}


def test_a_retry_that_is_not_due_keeps_nobody_waiting() -> None:
    lanes = Lanes(of(2))
    lanes.waits(ERP, NOW + SECOND)
    assert lanes.reserve(ERP, NOW)
    assert not lanes.reserve(ERP, NOW + SECOND)


def test_a_held_lane_starts_nothing_until_released() -> None:
    lanes = Lanes(of(2))
    lanes.hold(ERP)
    lanes.waits(ERP, NOW)
    assert lanes.is_held(ERP)
    assert not lanes.reserve(ERP, NOW)
    assert lanes.room(NOW) == {}
    assert lanes.next_due(NOW - SECOND) is None
    lanes.release(ERP)
    assert lanes.room(NOW) == {ERP: 1}


def test_room_is_for_lanes_with_something_due() -> None:
    lanes = Lanes(of(3))
    lanes.waits(ERP, NOW)
    lanes.waits(MAIL, NOW + SECOND)
    assert lanes.room(NOW) == {ERP: 3}
    assert lanes.next_due(NOW) == NOW + SECOND
    assert lanes.room(NOW + SECOND) == {ERP: 3, MAIL: 3}


def test_a_claim_that_filled_its_room_leaves_the_lane_waiting() -> None:
    lanes = Lanes(of(3))
    lanes.waits(ERP, NOW)
    lanes.occupy({ERP: 3}, NOW)
    assert not lanes.reserve(ERP, NOW + SECOND)
    assert lanes.settle(ERP, asked=3, got=3, now=NOW)
    assert lanes.wants(ERP, NOW)


def test_a_claim_that_did_not_fill_its_room_gives_slots_back_and_forgets_what_waited() -> None:
    lanes = Lanes(of(3))
    lanes.waits(ERP, NOW)
    lanes.occupy({ERP: 3}, NOW)
    assert not lanes.settle(ERP, asked=3, got=1, now=NOW)
    assert lanes.waiting == 0
    assert [lanes.reserve(ERP, NOW) for _ in range(3)] == [True, True, False]


def test_what_begins_to_wait_during_a_claim_is_not_forgotten() -> None:
    lanes = Lanes(of(3))
    lanes.waits(ERP, NOW)
    lanes.occupy({ERP: 3}, NOW)
    lanes.waits(ERP, NOW)
    lanes.settle(ERP, asked=3, got=1, now=NOW)
    assert lanes.room(NOW) == {ERP: 2}


def test_dead_lanes_leave_slots_for_those_that_run_nothing() -> None:
    lanes = Lanes(of(4), cap=64)
    for lane in named(20, "dead"):
        run(lanes, lane, SLOW / 2)
    taken = [lanes.reserve(lane, NOW) for _ in range(4) for lane in named(20, "dead")]
    assert sum(taken) == 48
    assert all(lanes.reserve(lane, NOW) for lane in named(16, "healthy"))


def test_lanes_of_which_nothing_is_known_share_with_the_slow_ones_but_each_may_show_itself() -> None:
    lanes = Lanes(of(4), cap=64)
    taken = [lanes.reserve(lane, NOW) for _ in range(4) for lane in named(20, "dead")]
    assert sum(taken) == 32
    healthy = named(32, "healthy")
    assert all(lanes.reserve(lane, NOW) for lane in healthy)
    assert not lanes.reserve(healthy[0], NOW)
    assert lanes.begin(healthy[0], NOW)
    lanes.end(healthy[0], SLOW / 2, now=NOW)
    assert lanes.reserve(healthy[0], NOW)


def test_slow_lanes_have_half_the_slots_together_and_quick_ones_the_rest() -> None:
    lanes = Lanes(of(4), cap=64)
    dead = named(100, "dead")
    for lane in dead:
        run(lanes, lane, SLOW)
    for lane in dead:
        lanes.waits(lane, NOW)
    room = lanes.room(NOW)
    assert sum(room.values()) == 32
    lanes.occupy(room, NOW)
    assert all(lanes.reserve(lane, NOW) for lane in named(32, "healthy"))


def test_a_lane_that_turns_slow_while_it_runs_more_counts_with_all_it_has() -> None:
    lanes = Lanes(of(2), cap=4)
    for lane in (ERP, MAIL):
        assert lanes.reserve(lane, NOW)
        assert lanes.reserve(lane, NOW)
        assert lanes.begin(lane, NOW)
        lanes.end(lane, SLOW, now=NOW)
        lanes.vacate(lane)
    third = Lane("third")
    run(lanes, third, SLOW)
    assert [lanes.reserve(lane, NOW) for lane in (ERP, MAIL, third)] == [True, True, False]


def test_a_slow_lane_that_answers_quickly_again_is_no_longer_slow() -> None:
    lanes = Lanes(of(4), cap=2)
    for lane in (ERP, MAIL):
        run(lanes, lane, SLOW)
    assert lanes.reserve(ERP, NOW)
    assert not lanes.reserve(MAIL, NOW)
    assert lanes.begin(ERP, NOW)
    lanes.end(ERP, QUICK, now=NOW)
    assert lanes.reserve(ERP, NOW)
    assert lanes.reserve(MAIL, NOW)


def test_a_quick_lane_is_claimed_ahead_for_as_long_as_a_transaction_may_take() -> None:
    lanes = Lanes(of(2))
    run(lanes, ERP, timedelta(milliseconds=10))
    assert [lanes.reserve(ERP, NOW) for _ in range(13)] == [True] * 12 + [False]
    assert [lanes.begin(ERP, NOW) for _ in range(3)] == [True, True, False]
    lanes.end(ERP, timedelta(milliseconds=10), now=NOW)
    assert lanes.begin(ERP, NOW)
    assert not lanes.begin(ERP, NOW)


def test_what_waits_in_a_quick_lane_is_claimed_ahead_too() -> None:
    lanes = Lanes(of(2))
    run(lanes, ERP, timedelta(milliseconds=10))
    lanes.waits(ERP, NOW)
    assert lanes.room(NOW) == {ERP: 12}
    lanes.occupy({ERP: 12}, NOW)
    lanes.waits(ERP, NOW)
    assert lanes.room(NOW) == {}


@pytest.mark.parametrize("took", [timedelta(milliseconds=101), SLOW])
def test_a_lane_that_takes_its_time_is_not_claimed_ahead(took: timedelta) -> None:
    lanes = Lanes(of(2))
    run(lanes, ERP, took)
    assert [lanes.reserve(ERP, NOW) for _ in range(3)] == [True, True, False]


def test_all_that_is_claimed_ahead_is_bounded() -> None:
    lanes = Lanes(of(1), cap=64)
    taken = 0
    for lane in named(10):
        run(lanes, lane, timedelta(0))
        while lanes.reserve(lane, NOW):
            taken += 1
    assert taken == 10 + 256


def test_lanes_that_share_too_few_slots_take_turns() -> None:
    lanes = Lanes(of(1), cap=2)
    four = named(4)
    for lane in four:
        lanes.waits(lane, NOW)
    served: list[Lane] = []
    for _ in range(4):
        room = lanes.room(NOW)
        lanes.occupy(room, NOW)
        for lane in room:
            lanes.settle(lane, asked=1, got=1, now=NOW)
            assert lanes.begin(lane, NOW)
            lanes.end(lane, 40 * QUICK, now=NOW)
            served.append(lane)
    assert {lane: served.count(lane) for lane in four} == dict.fromkeys(four, 2)


def test_a_slot_given_back_is_wanted_by_a_lane_that_went_short() -> None:
    lanes = Lanes(of(1), cap=1)
    assert lanes.reserve(ERP, NOW)
    assert not lanes.reserve(MAIL, NOW)
    lanes.vacate(ERP)
    assert lanes.wants(ERP, NOW)


def test_a_slot_given_back_is_not_wanted_where_nothing_waits() -> None:
    lanes = Lanes(of(1))
    lanes.reserve(ERP, NOW)
    lanes.waits(ERP, NOW + SECOND)
    lanes.vacate(ERP)
    assert not lanes.wants(ERP, NOW)
    assert lanes.wants(ERP, NOW + SECOND)


def test_lanes_that_say_nothing_are_not_kept_for_ever() -> None:
    lanes = Lanes(of(1))
    for lane in named(5000, "step:"):
        run(lanes, lane, QUICK)
        lanes.hold(lane)
        lanes.release(lane)
    lanes.hold(ERP)
    assert len(lanes._books) <= 1025
    assert lanes.is_held(ERP)


@pytest.mark.parametrize("cap", [1, 2, 3])
def test_even_a_tiny_cap_serves_everyone(cap: int) -> None:
    lanes = Lanes(of(4), cap=cap)
    for lane in (ERP, MAIL, ERP, MAIL):
        run(lanes, lane, SLOW)


def answer(lanes: Lanes, lane: Lane, now: datetime, *, has_answered: bool) -> None:
    """Make one attempt, and say what it says of the destination."""
    assert lanes.reserve(lane, now)
    assert lanes.begin(lane, now)
    lanes.end(lane, QUICK, now=now, has_answered=has_answered)


def test_a_released_lane_gets_one_then_two_then_four_then_all() -> None:
    lanes = Lanes(of(6))
    lanes.hold(ERP)
    lanes.release(ERP)
    limits = []
    for _ in range(8):
        limits.append(lanes.status(ERP, NOW).limit)
        answer(lanes, ERP, NOW, has_answered=True)
    assert limits == [1, 2, 2, 4, 4, 4, 4, 6]
    assert not lanes.status(ERP, NOW).is_ramping


BREAKER = Breaker(share=0.5, least=4, within=60 * SECOND, pause=30 * SECOND)


def opened() -> Lanes:
    """Return lanes of which one is down since `NOW`."""
    lanes = Lanes(of(8, breaker=BREAKER))
    for _ in range(4):
        answer(lanes, ERP, NOW, has_answered=False)
    return lanes


def test_a_lane_that_is_down_gets_one_probe_a_pause_and_ramps_up_when_it_answers() -> None:
    lanes = opened()
    lanes.waits(ERP, NOW)
    assert lanes.is_shut(ERP, NOW)
    assert lanes.room(NOW) == {}
    assert lanes.next_due(NOW) == NOW + 30 * SECOND
    at = NOW + 30 * SECOND
    assert lanes.room(at) == {ERP: 1}
    lanes.occupy({ERP: 1}, at)
    lanes.settle(ERP, asked=1, got=1, now=at)
    assert lanes.begin(ERP, at)
    assert lanes.room(at) == {}
    lanes.end(ERP, QUICK, now=at, has_answered=False)
    assert lanes.room(at) == {}
    assert lanes.next_due(at) == at + 60 * SECOND
    at += 60 * SECOND
    lanes.occupy(lanes.room(at), at)
    lanes.settle(ERP, asked=1, got=1, now=at)
    assert lanes.begin(ERP, at)
    assert lanes.status(ERP, at).breaker == "half-open"
    lanes.end(ERP, QUICK, now=at, has_answered=True)
    assert lanes.room(at) == {ERP: 1}
    assert lanes.status(ERP, at).breaker == "closed"


def test_a_probe_of_which_nothing_came_is_made_again_at_once() -> None:
    lanes, at = opened(), NOW + 30 * SECOND
    lanes.waits(ERP, NOW)
    for ending in ("claimed by nobody", "not tried"):
        room = lanes.room(at)
        assert room == {ERP: 1}, ending
        lanes.occupy(room, at)
        if ending == "claimed by nobody":
            lanes.settle(ERP, asked=1, got=0, now=at)
            lanes.waits(ERP, NOW)
        else:
            lanes.settle(ERP, asked=1, got=1, now=at)
            assert lanes.begin(ERP, at)
            lanes.end(ERP, None, now=at)
    assert lanes.room(at) == {ERP: 1}


def test_what_ends_late_in_a_lane_that_is_down_is_no_probe() -> None:
    lanes = Lanes(of(8, breaker=BREAKER))
    assert lanes.reserve(ERP, NOW)
    assert lanes.begin(ERP, NOW)
    for _ in range(4):
        answer(lanes, ERP, NOW, has_answered=False)
    lanes.waits(ERP, NOW)
    at = NOW + 31 * SECOND
    assert lanes.room(at) == {}, "the one that still runs has the probe's place"
    lanes.end(ERP, QUICK, now=at, has_answered=True)
    assert lanes.status(ERP, at).breaker == "half-open"
    assert lanes.room(at) == {ERP: 1}


def test_what_is_claimed_ahead_may_not_stay_in_a_lane_that_goes_down_or_ramps_up() -> None:
    lanes = Lanes(of(1, breaker=BREAKER))
    answer(lanes, ERP, NOW, has_answered=True)
    assert lanes.reserve(ERP, NOW)
    assert lanes.reserve(ERP, NOW)
    assert lanes.is_quick(ERP, NOW)
    lanes.start_slowly(ERP)
    assert not lanes.is_quick(ERP, NOW)
    lanes.vacate(ERP)
    assert not lanes.reserve(ERP, NOW)


def test_a_breaker_that_a_reload_took_away_holds_nobody() -> None:
    bounds = Bounds(breaker=BREAKER)
    lanes = Lanes(lambda _: LanePolicy(concurrency=8, bounds=bounds))
    for _ in range(4):
        answer(lanes, ERP, NOW, has_answered=False)
    lanes.waits(ERP, NOW)
    assert lanes.room(NOW) == {}
    bounds = Bounds(breaker=None)
    assert lanes.room(NOW) == {ERP: 1}


def test_a_lane_begins_no_more_than_its_rate_and_knows_when_it_goes_on() -> None:
    lanes = Lanes(of(8, rate=Rate(count=2, per=SECOND)))
    assert [lanes.reserve(ERP, NOW) for _ in range(3)] == [True, True, False]
    for _ in range(2):
        assert lanes.begin(ERP, NOW)
        lanes.end(ERP, QUICK, now=NOW, has_answered=True)
    lanes.waits(ERP, NOW)
    assert lanes.room(NOW) == {}
    assert lanes.next_due(NOW) == NOW + SECOND / 2
    assert lanes.room(NOW + SECOND / 2) == {ERP: 1}
    assert lanes.room(NOW + 60 * SECOND) == {ERP: 2}
    assert lanes.status(ERP, NOW).rate_until == NOW + SECOND / 2


def test_a_probe_of_which_nothing_came_waits_for_the_rate_and_no_longer() -> None:
    lanes = Lanes(of(8, rate=Rate(count=10, per=60 * SECOND), breaker=BREAKER))
    for turn in range(4):
        answer(lanes, ERP, NOW + 6 * turn * SECOND, has_answered=False)
    at = NOW + 60 * SECOND
    lanes.waits(ERP, NOW)
    lanes.occupy(lanes.room(at), at)
    lanes.settle(ERP, asked=1, got=1, now=at)
    assert lanes.begin(ERP, at)
    lanes.end(ERP, None, now=at)
    assert lanes.room(at) == {}
    assert lanes.next_due(at) == at + 6 * SECOND
    assert lanes.room(at + 6 * SECOND) == {ERP: 1}


def test_a_place_that_did_not_begin_costs_no_rate() -> None:
    lanes = Lanes(of(8, rate=Rate(count=1, per=60 * SECOND)))
    for _ in range(3):
        assert lanes.reserve(ERP, NOW)
        assert not lanes.reserve(ERP, NOW)
        lanes.vacate(ERP)


def test_a_lane_that_is_forgotten_keeps_its_rate() -> None:
    lanes = Lanes(
        lambda lane: (
            LanePolicy(concurrency=1, bounds=Bounds(rate=Rate(count=1, per=60 * SECOND)))
            if lane == ERP
            else LanePolicy(concurrency=1)
        )
    )
    run(lanes, ERP, QUICK)
    for lane in named(5000, "step:"):
        run(lanes, lane, QUICK)
    assert not lanes.reserve(ERP, NOW)


def test_a_maintenance_window_shuts_its_lane_and_lets_it_come_back_slowly() -> None:
    # NOW is a Friday, 03:04:05.
    lanes = Lanes(of(8, hold_during=("fri 03:00-03:10 UTC",)))
    lanes.waits(ERP, NOW)
    assert not lanes.reserve(ERP, NOW)
    assert lanes.room(NOW) == {}
    ends = NOW.replace(minute=10, second=0)
    assert lanes.next_due(NOW) == ends
    assert lanes.status(ERP, NOW).maintenance_until == ends
    assert lanes.room(ends) == {ERP: 1}


class Bookkeeping(RuleBasedStateMachine):
    """Against a count kept by hand: any order of calls that the dispatcher may make."""

    LANES = named(5)

    @initialize(
        cap=st.integers(1, 12),
        concurrency=st.lists(st.integers(1, 4), min_size=5, max_size=5),
        rates=st.lists(st.none() | st.integers(1, 3), min_size=5, max_size=5),
    )
    def begin_all(self, cap: int, concurrency: list[int], rates: list[int | None]) -> None:
        self.cap = cap
        breaker = Breaker(share=0.5, least=2, within=10 * SECOND, pause=3 * SECOND)
        self.bounds = {
            lane: Bounds(rate=Rate(count=count, per=SECOND) if count else None, breaker=breaker)
            for lane, count in zip(self.LANES, rates, strict=True)
        }
        #: When each lane's deliveries began.
        self.begun: dict[Lane, list[datetime]] = {lane: [] for lane in self.LANES}
        self.concurrency = dict(zip(self.LANES, concurrency, strict=True))
        self.lanes = Lanes(
            lambda lane: LanePolicy(concurrency=self.concurrency[lane], bounds=self.bounds[lane]), cap=cap
        )
        self.places = dict.fromkeys(self.LANES, 0)
        self.running = dict.fromkeys(self.LANES, 0)
        self.overtaken = dict.fromkeys(self.LANES, 0)
        self.held: set[Lane] = set()
        self.due: dict[Lane, datetime] = {}
        self.now = NOW

    @rule(lane=st.sampled_from(LANES))
    def reserve(self, lane: Lane) -> None:
        if self.lanes.reserve(lane, self.now):
            self.places[lane] += 1
            assert lane not in self.held
            if lane in self.due and self.due[lane] <= self.now:
                self.overtaken[lane] -= 1
            assert self.overtaken[lane] >= 0

    @rule(lane=st.sampled_from(LANES))
    def begin(self, lane: Lane) -> None:
        if self.places[lane] > self.running[lane]:
            is_shut = self.lanes.is_shut(lane, self.now)
            has_begun = self.lanes.begin(lane, self.now)
            self.running[lane] += has_begun
            # Whoever has a place and must wait, waits for one that runs: else nobody would ever begin it.
            assert has_begun or self.running[lane] > 0 or is_shut
            if has_begun:
                assert not is_shut or lane in self.held
                self.note_begun(lane)

    def note_begun(self, lane: Lane) -> None:
        """Check that no second began more than the rate besides what was saved up: a second's worth."""
        self.begun[lane].append(self.now)
        rate = self.bounds[lane].rate
        if rate is not None:
            assert sum(at > self.now - SECOND for at in self.begun[lane]) <= 2 * rate.count

    @rule(
        lane=st.sampled_from(LANES),
        took=st.none() | st.sampled_from([QUICK, SLOW]),
        has_answered=st.sampled_from([None, True, False, False]),
    )
    def end(self, lane: Lane, took: timedelta | None, has_answered: bool | None) -> None:
        if self.running[lane]:
            self.lanes.end(lane, took, now=self.now, has_answered=has_answered)
            self.running[lane] -= 1
            self.places[lane] -= 1

    @rule(lane=st.sampled_from(LANES))
    def vacate(self, lane: Lane) -> None:
        if self.places[lane] > self.running[lane]:
            self.lanes.vacate(lane)
            self.places[lane] -= 1

    @rule(lane=st.sampled_from(LANES), concurrency=st.integers(1, 4))
    def reload(self, lane: Lane, concurrency: int) -> None:
        if self.places[lane] == 0:
            self.concurrency[lane] = concurrency

    @rule(lane=st.sampled_from(LANES), seconds=st.integers(0, 3))
    def wait(self, lane: Lane, seconds: int) -> None:
        due_at = self.now + seconds * SECOND
        self.lanes.waits(lane, due_at)
        self.due[lane] = min(due_at, self.due.get(lane, due_at))

    @rule(lane=st.sampled_from(LANES))
    def hold_or_release(self, lane: Lane) -> None:
        if lane in self.held:
            self.lanes.release(lane)
        else:
            self.lanes.hold(lane)
        self.held ^= {lane}

    @rule(seconds=st.integers(0, 2))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        room = self.lanes.room(self.now)
        is_due = {lane for lane, due_at in self.due.items() if due_at <= self.now} - self.held
        assert room.keys() <= is_due
        self.lanes.occupy(room, self.now)
        for lane, asked in room.items():
            got = data.draw(st.integers(0, asked))
            self.places[lane] += got
            self.overtaken[lane] = got
            del self.due[lane]
            if self.lanes.settle(lane, asked=asked, got=got, now=self.now):
                self.due[lane] = self.now

    @rule()
    def an_idle_machine_serves_whoever_is_due(self) -> None:
        if sum(self.places.values()) == 0:
            is_due = {lane for lane, due_at in self.due.items() if due_at <= self.now} - self.held
            is_shut = {lane for lane in is_due if self.lanes.is_shut(lane, self.now)}
            assert bool(self.lanes.room(self.now)) == bool(is_due - is_shut)
            if is_shut:
                # It says when it goes on, and then it does.
                goes_on_at = self.lanes.next_due(self.now)
                assert goes_on_at is not None
                assert goes_on_at > self.now

    @invariant()
    def counts_agree_and_nothing_passes_its_bound(self) -> None:
        assert self.lanes.running == sum(self.running.values()) <= self.cap
        assert all(self.running[lane] <= self.concurrency[lane] for lane in self.LANES)
        assert self.lanes.waiting == len(self.due)

    def teardown(self) -> None:
        for lane in self.LANES:
            for _ in range(self.running[lane]):
                self.lanes.end(lane, None, now=self.now)
            for _ in range(self.places[lane] - self.running[lane]):
                self.lanes.vacate(lane)
        assert (self.lanes._slots, self.lanes._slow_slots, self.lanes._ahead, self.lanes._running) == (0, 0, 0, 0)


Bookkeeping.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestBookkeeping = Bookkeeping.TestCase
