"""What becomes of a delivery after an attempt."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.delivery.retry import DEFAULT_RETRY, Decision, decide
from hookline.daemon.delivery.runner import Result
from hookline.daemon.store.changes import Outcome, State
from hookline.rules import RetryPolicy

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
TWO_WAITS = RetryPolicy(schedule=(10 * SECOND, 100 * SECOND), jitter=0.2)
NEVER_UNKNOWN = RetryPolicy(schedule=(10 * SECOND,), jitter=0.0, retry_unknown=False)
TRIED_AGAIN = [Outcome.TRANSIENT, Outcome.UNKNOWN, Outcome.CRASHED]


def ended(outcome: Outcome, **more: Any) -> Result:
    return Result(outcome=outcome, duration=SECOND, **more)


@pytest.mark.parametrize(
    ("result", "made", "policy", "chance", "expected"),
    [
        (ended(Outcome.DELIVERED), 1, TWO_WAITS, 0.5, Decision(state=State.DELIVERED)),
        (ended(Outcome.PERMANENT), 1, TWO_WAITS, 0.5, Decision(state=State.DEAD)),
        *[
            (ended(outcome), made, TWO_WAITS, chance, Decision(state=State.PENDING, due_in=due_in))
            for outcome in TRIED_AGAIN
            for made, chance, due_in in [
                (1, 0.0, 8 * SECOND),
                (1, 0.5, 10 * SECOND),
                (1, 1.0, 12 * SECOND),
                (2, 0.5, 100 * SECOND),
            ]
        ],
        *[(ended(outcome), 3, TWO_WAITS, 0.5, Decision(state=State.DEAD)) for outcome in TRIED_AGAIN],
        (ended(Outcome.UNKNOWN), 1, NEVER_UNKNOWN, 0.5, Decision(state=State.DEAD)),
        (ended(Outcome.TRANSIENT), 1, NEVER_UNKNOWN, 0.5, Decision(state=State.PENDING, due_in=10 * SECOND)),
        (ended(Outcome.TRANSIENT), 1, RetryPolicy(schedule=()), 0.5, Decision(state=State.DEAD)),
    ],
)
def test_an_outcome_decides_by_policy_and_chance(
    result: Result, made: int, policy: RetryPolicy, chance: float, expected: Decision
) -> None:
    assert decide(result, attempts_made=made, policy=policy, chance=chance) == expected


@pytest.mark.parametrize(
    ("asked", "due_in"),
    [
        (timedelta(0), 10 * SECOND),
        (9 * SECOND, 10 * SECOND),
        (2 * HOUR, 2 * HOUR),
        (DAY, DAY),
        (3650 * DAY, DAY),
        (-5 * SECOND, 10 * SECOND),
    ],
)
def test_retry_after_lengthens_the_own_wait_up_to_a_day(asked: timedelta | None, due_in: timedelta) -> None:
    decision = decide(ended(Outcome.TRANSIENT, retry_after=asked), attempts_made=1, policy=TWO_WAITS, chance=0.5)
    assert decision.due_in == due_in


def test_retry_after_does_not_outlive_the_schedule() -> None:
    decision = decide(ended(Outcome.TRANSIENT, retry_after=HOUR), attempts_made=3, policy=TWO_WAITS, chance=0.5)
    assert decision == Decision(state=State.DEAD)


@pytest.mark.parametrize(
    ("note", "reason"), [("", "410 Gone"), ("moved to v2", "410 moved to v2"), ("410 Gone: bye", "410 Gone: bye")]
)
def test_gone_is_dead_and_holds_the_lane(note: str, reason: str) -> None:
    result = ended(Outcome.PERMANENT, status=410, is_gone=True, note=note)
    assert decide(result, attempts_made=1, policy=TWO_WAITS, chance=0.5) == Decision(state=State.DEAD, hold=reason)


def test_what_cannot_be_run_waits_for_the_operator_and_spends_no_attempt() -> None:
    result = ended(Outcome.TRANSIENT, is_unrunnable=True, note="no destination erp")
    decision = decide(result, attempts_made=9, policy=TWO_WAITS, chance=0.5)
    assert decision == Decision(state=State.PENDING, spends_attempt=False, hold="missing: no destination erp")


def test_the_default_is_ten_attempts_over_about_three_days() -> None:
    waits = [
        decide(ended(Outcome.TRANSIENT), attempts_made=made, policy=DEFAULT_RETRY, chance=0.5) for made in range(1, 11)
    ]
    assert [decision.state for decision in waits] == [State.PENDING] * 9 + [State.DEAD]
    assert timedelta(days=3) < sum((decision.due_in for decision in waits), timedelta(0)) < timedelta(days=3, hours=6)


@given(
    wait=st.timedeltas(min_value=timedelta(0), max_value=30 * DAY),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1),
    asked=st.none() | st.timedeltas(),
)
def test_a_wait_is_never_negative_and_stays_within_its_jitter_or_what_was_asked(
    wait: timedelta, jitter: float, chance: float, asked: timedelta | None
) -> None:
    decision = decide(
        ended(Outcome.TRANSIENT, retry_after=asked),
        attempts_made=1,
        policy=RetryPolicy(schedule=(wait,), jitter=jitter),
        chance=chance,
    )
    rounding = timedelta(microseconds=1) + wait * 1e-9
    own_least, own_most = wait * (1 - jitter) - rounding, wait * (1 + jitter) + rounding
    asked_at_most_a_day = max(timedelta(0), min(asked, DAY)) if asked is not None else timedelta(0)
    assert decision.state is State.PENDING
    assert decision.due_in >= timedelta(0)
    assert max(own_least, asked_at_most_a_day) <= decision.due_in <= max(own_most, asked_at_most_a_day)
