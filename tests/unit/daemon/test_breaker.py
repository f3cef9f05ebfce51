"""The circuit breaker: opens on a share of failures, asks once a pause, and comes back by answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.daemon.lanes.breaker import CircuitBreaker
from hookline.daemon.lanes.ramp import Ramp
from hookline.rules import Breaker

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = Breaker(share=0.5, least=10, within=60 * SECOND, pause=30 * SECOND)


def note(breaker: CircuitBreaker, answers: int, failures: int, now: datetime = NOW) -> None:
    for has_answered, count in ((True, answers), (False, failures)):
        for _ in range(count):
            breaker.note(POLICY, now, has_answered=has_answered)


@pytest.mark.parametrize(
    ("answers", "failures", "is_open"),
    [(0, 9, False), (0, 10, True), (5, 4, False), (5, 5, True), (10, 9, False), (10, 10, True), (100, 50, False)],
)
def test_it_opens_on_the_share_of_at_least_so_many(answers: int, failures: int, is_open: bool) -> None:
    breaker = CircuitBreaker()
    note(breaker, answers, failures)
    assert breaker.is_open is is_open
    assert breaker.blocks(NOW) is is_open


def test_an_answer_never_opens_it() -> None:
    breaker = CircuitBreaker()
    note(breaker, 0, 9)
    note(breaker, 1, 0)
    assert not breaker.is_open


def test_what_is_longer_ago_than_the_window_counts_no_more() -> None:
    for seconds, is_open in [(50, True), (61, False)]:
        breaker = CircuitBreaker()
        note(breaker, 0, 9)
        note(breaker, 0, 1, NOW + seconds * SECOND)
        assert breaker.is_open is is_open, seconds


def test_a_clock_that_is_set_back_neither_stops_nor_empties_it() -> None:
    breaker = CircuitBreaker()
    note(breaker, 0, 9)
    note(breaker, 0, 1, NOW - timedelta(days=1))
    assert breaker.is_open


def test_a_probe_that_fails_doubles_the_pause_up_to_ten_times() -> None:
    breaker, now = CircuitBreaker(), NOW
    note(breaker, 0, 10)
    pauses = []
    for _ in range(6):
        assert breaker.tries_at is not None
        pauses.append((breaker.tries_at - now) / SECOND)
        assert breaker.blocks(breaker.tries_at - SECOND)
        now = breaker.tries_at
        assert not breaker.blocks(now)
        breaker.begin()
        assert breaker.note(POLICY, now, has_answered=False) is False
    assert pauses == [30, 60, 120, 240, 300, 300]


def test_a_probe_that_is_answered_closes_it_and_forgets() -> None:
    breaker = CircuitBreaker()
    note(breaker, 0, 10)
    breaker.begin()
    assert breaker.is_probing
    assert breaker.note(POLICY, NOW + 30 * SECOND, has_answered=True) is True
    assert not breaker.is_open
    note(breaker, 0, 9, NOW + 30 * SECOND)
    assert not breaker.is_open
    note(breaker, 0, 1, NOW + 30 * SECOND)
    assert breaker.tries_at == NOW + 60 * SECOND, "the pause begins anew, too"


def test_what_was_begun_before_it_opened_says_nothing() -> None:
    breaker = CircuitBreaker()
    note(breaker, 0, 10)
    note(breaker, 3, 3)
    assert breaker.tries_at == NOW + 30 * SECOND
    breaker.begin()
    breaker.give_up_probe()
    note(breaker, 1, 0, NOW + 31 * SECOND)
    assert breaker.is_open


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=60))
def test_it_opens_when_a_count_by_hand_says_so(ended: list[tuple[int, bool]]) -> None:
    breaker, now = CircuitBreaker(), NOW
    seen: list[tuple[datetime, bool]] = []
    for seconds, has_answered in ended:
        now += seconds * SECOND
        seen.append((now, has_answered))
        breaker.note(POLICY, now, has_answered=has_answered)
        # The window slides by tenths: it holds at least nine of them, and at most all.
        said = [
            len(within) >= 10 and not has_answered and 2 * within.count(False) >= len(within)
            for most in (54, 60)
            if (within := [how for at, how in seen if now - at < most * SECOND])
        ]
        if breaker.is_open:
            assert any(said)
            return
        assert not all(said)


def test_slow_start_doubles_with_as_many_answers_in_a_row() -> None:
    ramp, limits = Ramp(), []
    for has_answered in (True, True, False, True, True, True, True, True, True):
        ramp.note(has_answered=has_answered)
        limits.append(ramp.limit)
    assert limits == [2, 2, 2, 2, 4, 4, 4, 4, 8]
