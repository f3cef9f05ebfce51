"""The server's time as a node knows it: it never goes back, and is off by no more than its answer took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.store.postgres.server_clock import ServerClock

START = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@dataclass
class World:
    """Our machine's wrong clock, seconds that pass for all, and the server's clock."""

    wall: datetime = START - HOUR
    passed: float = 1000.0
    server: datetime = START

    def clock(self) -> ServerClock:
        return ServerClock(wall=lambda: self.wall, passed=lambda: self.passed)

    def pass_(self, seconds: float) -> None:
        self.passed += seconds
        self.server += timedelta(seconds=seconds)

    def ask(self, clock: ServerClock, *, there: float = 0.0, back: float = 0.0) -> None:
        asked_s = clock.asked()
        self.pass_(there)
        at = self.server
        self.pass_(back)
        clock.heard(at, asked_s=asked_s)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("off", [-HOUR, HOUR])
def test_the_first_answer_sets_it_wherever_the_machine_s_clock_stands(world: World, off: timedelta) -> None:
    world.wall = START + off
    clock = world.clock()
    assert clock() == world.wall
    assert clock.within is None
    world.ask(clock, there=0.25, back=0.25)
    assert clock() == world.server
    assert clock.within == timedelta(seconds=0.5)
    world.pass_(100)
    world.wall += timedelta(days=300)
    assert clock() == world.server


def test_a_server_that_is_ahead_is_followed_at_once(world: World) -> None:
    clock = world.clock()
    world.ask(clock)
    world.server += HOUR
    world.ask(clock)
    assert clock() == world.server
    assert clock.ahead == timedelta(0)


def test_a_server_that_is_behind_is_waited_for(world: World) -> None:
    clock = world.clock()
    world.ask(clock)
    world.server -= 10 * SECOND
    before = clock()
    world.ask(clock)
    assert clock() == before
    assert clock.ahead == 10 * SECOND
    world.pass_(50)
    world.ask(clock)
    assert before < clock()
    assert clock.ahead == 5 * SECOND
    world.pass_(51)
    world.ask(clock)
    assert clock.ahead == timedelta(0)
    world.pass_(1)
    assert abs(clock() - world.server) < SECOND


def test_an_answer_that_took_long_moves_it_no_further_than_it_must(world: World) -> None:
    clock = world.clock()
    world.ask(clock)
    exactly = clock()
    world.ask(clock, there=0, back=8)
    assert clock() == exactly + 8 * SECOND == world.server
    world.ask(clock, there=8, back=0)
    assert clock() == world.server
    assert clock.ahead == timedelta(0)


def test_ages_are_by_it(world: World) -> None:
    clock = world.clock()
    world.ask(clock)
    world.pass_(60)
    assert clock.age(START) == 60 * SECOND
    assert clock.age(START + HOUR) == timedelta(0)
    assert clock.since(HOUR) == world.server - HOUR


STEPS = st.tuples(
    st.floats(0, 5), st.floats(0, 3), st.floats(0, 3), st.sampled_from([timedelta(0)] * 4 + [HOUR, -HOUR, SECOND])
)


@given(steps=st.lists(STEPS, max_size=30))
def test_it_never_goes_back_and_is_as_near_as_the_answers_let_it(
    steps: list[tuple[float, float, float, timedelta]],
) -> None:
    world = World()
    clock = world.clock()
    world.ask(clock)
    last = clock()
    for wait, there, back, jump in steps:
        world.pass_(wait)
        assert clock() >= last
        world.server += jump
        world.ask(clock, there=there, back=back)
        assert clock() >= last
        last = clock()
        off = last - world.server
        # Microseconds are rounded.
        slack = timedelta(microseconds=50)
        assert -timedelta(seconds=back) - slack <= off <= clock.ahead + timedelta(seconds=there) + slack
