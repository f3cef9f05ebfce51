"""The time that does not jump: it never goes back, keeps the pace of the seconds, and comes back to the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.steady_clock import BELIEVED_AFTER, SteadyClock, seconds_passed

START = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
YEARS = timedelta(days=3652)


@dataclass
class Machine:
    """A clock that can be set, and seconds that cannot."""

    wall: datetime = START
    passed: float = 1000.0

    def clock(self) -> SteadyClock:
        return SteadyClock(wall=lambda: self.wall, passed=lambda: self.passed)

    def pass_(self, duration: timedelta, *, pace: float = 1.0) -> None:
        self.passed += duration.total_seconds()
        self.wall += duration * pace


@pytest.fixture
def machine() -> Machine:
    return Machine()


def looks(machine: Machine, clock: SteadyClock, duration: timedelta, step: timedelta = SECOND) -> None:
    for _ in range(duration // step):
        machine.pass_(step)
        assert clock.look() is None


def test_it_is_the_clock_s_while_that_goes_evenly(machine: Machine) -> None:
    clock = machine.clock()
    looks(machine, clock, 100 * SECOND)
    assert clock() == machine.wall
    machine.pass_(SECOND / 2)
    assert clock() == machine.wall


@pytest.mark.parametrize("pace", [0.98, 1.02])
def test_a_clock_that_drifts_has_not_jumped_and_is_followed(machine: Machine, pace: float) -> None:
    clock = machine.clock()
    for _ in range(3600):
        machine.pass_(SECOND, pace=pace)
        assert clock.look() is None
    assert abs(clock() - machine.wall) < SECOND
    assert clock.doubt is None


@pytest.mark.parametrize("by", [HOUR, 400 * DAY, -HOUR, -YEARS])
def test_until_the_look_a_jump_is_not_there(machine: Machine, by: timedelta) -> None:
    clock = machine.clock()
    machine.wall += by
    machine.pass_(SECOND)
    assert clock() == START + SECOND


@pytest.mark.parametrize("by", [HOUR, 400 * DAY])
def test_a_clock_that_went_ahead_is_followed(machine: Machine, by: timedelta) -> None:
    clock = machine.clock()
    machine.pass_(SECOND)
    machine.wall += by
    jump = clock.look()
    assert jump is not None
    assert (jump.by, jump.followed, jump.before, jump.ahead) == (by, by, START + SECOND, timedelta())
    assert clock() == machine.wall
    looks(machine, clock, 10 * SECOND)


def test_a_clock_that_was_set_back_is_waited_for(machine: Machine) -> None:
    clock = machine.clock()
    machine.pass_(SECOND)
    machine.wall -= HOUR
    jump = clock.look()
    assert jump is not None
    assert (jump.by, jump.followed, jump.ahead) == (-HOUR, timedelta(), HOUR)
    assert clock() == START + SECOND
    looks(machine, clock, 9 * HOUR, step=timedelta(minutes=1))
    assert timedelta(minutes=5) < clock.ahead < timedelta(minutes=7)
    looks(machine, clock, HOUR + timedelta(minutes=1), step=timedelta(minutes=1))
    assert clock.ahead == timedelta()
    assert clock() == machine.wall


def test_a_clock_that_is_set_right_again_leaves_nothing(machine: Machine) -> None:
    clock = machine.clock()
    machine.wall -= YEARS
    jump = clock.look()
    assert jump is not None
    assert jump.by == -YEARS
    machine.pass_(10 * SECOND)
    machine.wall += YEARS
    jump = clock.look()
    assert jump is not None
    assert abs(jump.by - YEARS) < SECOND
    # It went slower meanwhile.
    assert timedelta() < jump.followed <= 2 * SECOND
    assert clock() == machine.wall


@given(
    steps=st.lists(
        st.tuples(st.timedeltas(-YEARS, YEARS), st.timedeltas(timedelta(), DAY), st.booleans()), min_size=1, max_size=30
    )
)
def test_it_never_goes_back_and_never_hurries_by_itself(steps: list[tuple[timedelta, timedelta, bool]]) -> None:
    machine = Machine()
    clock, last = machine.clock(), START
    for by, passes, looks_now in steps:
        machine.wall = min(max(machine.wall + by, datetime(1980, 1, 1, tzinfo=UTC)), datetime(9000, 1, 1, tzinfo=UTC))
        machine.pass_(passes)
        now = clock()
        assert last <= now <= last + passes + timedelta(microseconds=1)
        if looks_now:
            jump = clock.look()
            followed = jump.followed if jump else 2 * SECOND
            assert now - timedelta(microseconds=1) <= clock() <= now + followed + timedelta(microseconds=1)
        last = clock()


class TestAges:
    def test_what_the_clock_jumped_over_makes_nothing_older(self, machine: Machine) -> None:
        clock, old = machine.clock(), START - 5 * DAY
        machine.pass_(SECOND)
        machine.wall += 400 * DAY
        clock.look()
        new = clock() + SECOND
        machine.pass_(DAY)
        assert clock.look() is None
        assert clock.age(old) == 6 * DAY + SECOND
        assert clock.age(new) == DAY - SECOND
        for moment in (old, new):
            age = clock.age(moment)
            assert moment < clock.since(age - SECOND)
            assert not moment < clock.since(age + SECOND)

    @given(jump=st.timedeltas(HOUR, YEARS), passes=st.timedeltas(timedelta(), 2 * DAY), made=st.timedeltas(HOUR, YEARS))
    def test_age_and_since_agree(self, jump: timedelta, passes: timedelta, made: timedelta) -> None:
        machine = Machine()
        clock = machine.clock()
        machine.wall += jump
        clock.look()
        machine.pass_(passes)
        clock.look()
        for moment in (START - made, clock() - passes / 2):
            age = clock.age(moment)
            assert age >= SECOND or passes < 3 * SECOND
            assert not moment < clock.since(age + SECOND)
            assert age < 2 * SECOND or moment < clock.since(age - SECOND)

    def test_a_clock_that_stands_by_it_is_believed(self, machine: Machine) -> None:
        clock, old = machine.clock(), START - 5 * DAY
        machine.wall += 400 * DAY
        clock.look()
        looks(machine, clock, BELIEVED_AFTER - HOUR, step=HOUR)
        assert clock.age(old) < 9 * DAY
        looks(machine, clock, 2 * HOUR, step=HOUR)
        assert clock.age(old) > 400 * DAY

    def test_a_clock_that_was_set_back_again_is_not(self, machine: Machine) -> None:
        clock, old = machine.clock(), START - 5 * DAY
        machine.wall += 400 * DAY
        clock.look()
        machine.wall -= 400 * DAY
        clock.look()
        looks(machine, clock, 10 * DAY, step=HOUR)
        # It goes slower until the clock is there.
        assert 13 * DAY < clock.age(old) <= 15 * DAY


class TestStarts:
    def test_a_new_store_says_nothing(self, machine: Machine) -> None:
        assert machine.clock().begin(None) is None

    def test_after_a_night(self, machine: Machine) -> None:
        clock = machine.clock()
        assert clock.begin(START - 12 * HOUR) is None
        assert clock() == START
        assert clock.age(START - DAY) == DAY

    def test_after_a_clock_that_was_ahead_ids_go_on_to_rise(self, machine: Machine) -> None:
        clock = machine.clock()
        jump = clock.begin(START + YEARS)
        assert jump is not None
        assert (jump.by, jump.ahead) == (-YEARS, YEARS + timedelta(milliseconds=1))
        assert clock() > START + YEARS
        looks(machine, clock, 10 * SECOND)

    def test_a_long_absence_makes_nothing_older_until_it_is_believed(self, machine: Machine) -> None:
        clock = machine.clock()
        jump = clock.begin(START - 400 * DAY)
        assert jump is not None
        assert (jump.by, jump.followed) == (400 * DAY, 400 * DAY)
        assert clock() == START
        assert clock.age(START - 405 * DAY) == 5 * DAY
        looks(machine, clock, BELIEVED_AFTER + HOUR, step=HOUR)
        assert clock.age(START - 405 * DAY) > 405 * DAY

    def test_a_doubt_outlives_the_process(self, machine: Machine) -> None:
        before = machine.clock()
        machine.wall += 400 * DAY
        before.look()
        machine.pass_(HOUR)
        after = machine.clock()
        assert after.begin(before(), before.doubt) is None
        assert after.age(START - DAY) == DAY + HOUR


def test_the_seconds_are_the_kernel_s() -> None:
    first = seconds_passed()
    assert 0 < first <= seconds_passed() < first + 60
