"""The rate of a lane: never faster than it says, and never slower than it may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.lanes.rate import Allowance
from hookline.rules import Rate

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("rate", "saved"),
    [
        (Rate(count=50, per=SECOND), 50),
        (Rate(count=1, per=SECOND), 1),
        (Rate(count=7, per=SECOND), 6),  # 142,858 microseconds apart, rounded up
        (Rate(count=10, per=MINUTE), 1),
        (Rate(count=600, per=MINUTE), 10),
        (Rate(count=1, per=timedelta(days=1)), 1),
        (Rate(count=999_999_999, per=SECOND), 1_000_000),
    ],
)
def test_it_saves_up_one_second_and_at_least_one(rate: Rate, saved: int) -> None:
    assert Allowance(NOW).left(rate, NOW) == saved
    assert Allowance(NOW).left(rate, NOW + timedelta(days=400)) == saved


def test_when_the_next_may_begin_is_exact() -> None:
    rate, allowance = Rate(count=10, per=MINUTE), Allowance(NOW)
    allowance.use(rate, NOW)
    at = allowance.next_at(rate, NOW)
    assert at == NOW + 6 * SECOND
    assert allowance.left(rate, at - timedelta(microseconds=1)) == 0
    assert allowance.left(rate, at) == 1


def test_those_that_are_spoken_for_come_first() -> None:
    rate, allowance = Rate(count=2, per=SECOND), Allowance(NOW)
    assert allowance.next_at(rate, NOW, spoken_for=1) <= NOW
    assert allowance.next_at(rate, NOW, spoken_for=2) == NOW + SECOND / 2


def test_a_rate_that_a_reload_changed_counts_from_there_on() -> None:
    slow, quick = Rate(count=1, per=MINUTE), Rate(count=60, per=MINUTE)
    allowance = Allowance(NOW)
    allowance.use(slow, NOW)
    assert allowance.left(quick, NOW + MINUTE) == 1
    assert allowance.left(slow, NOW + MINUTE) == 1


@pytest.mark.parametrize(
    ("rate", "waits"),
    [
        (Rate(count=50, per=SECOND), SECOND / 50),
        (Rate(count=1, per=MINUTE), MINUTE),
        (Rate(count=1, per=timedelta(hours=1)), MINUTE),
    ],
)
def test_what_is_taken_over_from_another_node_has_nothing_saved(rate: Rate, waits: timedelta) -> None:
    allowance = Allowance(NOW)
    allowance.take_over(rate, NOW)
    assert allowance.left(rate, NOW) == 0
    assert allowance.next_at(rate, NOW) == NOW + waits
    assert allowance.left(rate, NOW + waits - timedelta(microseconds=1)) == 0
    assert allowance.left(rate, NOW + waits) == 1


@given(
    count=st.integers(1, 1000),
    per=st.sampled_from([SECOND, MINUTE, timedelta(hours=1)]),
    pauses=st.lists(st.timedeltas(timedelta(0), 3 * SECOND), max_size=40),
)
def test_no_stretch_of_time_has_more_than_the_rate_and_what_was_saved(
    count: int, per: timedelta, pauses: list[timedelta]
) -> None:
    rate, allowance, now = Rate(count=count, per=per), Allowance(NOW), NOW
    saved = max(1, count * SECOND // per)
    begun: list[datetime] = []
    for pause in pauses:
        now += pause
        if allowance.left(rate, now):
            allowance.use(rate, now)
            begun.append(now)
        else:
            # Not slower than it may be, either: one interval at most.
            assert now < allowance.next_at(rate, now) <= now + per / count + timedelta(microseconds=1)
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            assert last - first + 1 <= saved + (begun[last] - begun[first]) / per * count + 1e-6
