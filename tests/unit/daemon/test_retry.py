"""What becomes of a delivery after an attempt."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.delivery.retry import Decision, Standing, decide
from hookline.daemon.delivery.runner import Result
from hookline.daemon.store.changes import Outcome, State
from hookline.rules import RetryPolicy
from hookline.rules.modifiers import DEFAULT_RETRY

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
TWO_WAITS = RetryPolicy(schedule=(10 * SECOND, 100 * SECOND), jitter=0.2)
NEVER_UNKNOWN = RetryPolicy(schedule=(10 * SECOND,), jitter=0.0, retry_unknown=False)
TRIED_AGAIN = [Outcome.TRANSIENT, Outcome.UNKNOWN]
DEAD, PENDING = State.DEAD, State.PENDING


def ended(outcome: Outcome, **more: Any) -> Result:
    return Result(outcome=outcome, duration=SECOND, **more)


def decided(
    result: Result, made: int = 1, policy: RetryPolicy = TWO_WAITS, chance: float = 0.5, **more: Any
) -> Decision:
    return decide(result, Standing(attempts=made, **more), policy=policy, chance=chance)


@pytest.mark.parametrize(
    ("result", "made", "policy", "chance", "state", "due_in", "why"),
    [
        (ended(Outcome.DELIVERED), 1, TWO_WAITS, 0.5, State.DELIVERED, 0, ""),
        (ended(Outcome.PERMANENT, status=422), 1, TWO_WAITS, 0.5, DEAD, 0, "422 is not worth another try"),
        (ended(Outcome.PERMANENT), 1, TWO_WAITS, 0.5, DEAD, 0, "this is not worth another try"),
        *[
            (ended(outcome), made, TWO_WAITS, chance, PENDING, due_in, f"again in {spoken} (attempt {made + 1} of 3)")
            for outcome in TRIED_AGAIN
            for made, chance, due_in, spoken in [
                (1, 0.0, 8, "8 s"),
                (1, 0.5, 10, "10 s"),
                (1, 1.0, 12, "12 s"),
                (2, 0.5, 100, "2 m"),
            ]
        ],
        *[(ended(outcome), 3, TWO_WAITS, 0.5, DEAD, 0, "gave up: the schedule is used up") for outcome in TRIED_AGAIN],
        (ended(Outcome.UNKNOWN), 1, NEVER_UNKNOWN, 0.5, DEAD, 0, "no answer came, and retry_unknown is never"),
        (ended(Outcome.TRANSIENT), 1, NEVER_UNKNOWN, 0.5, PENDING, 10, "again in 10 s (attempt 2 of 2)"),
        (ended(Outcome.TRANSIENT), 1, RetryPolicy(schedule=()), 0.5, DEAD, 0, "retry is none"),
    ],
)
def test_an_outcome_decides_by_policy_and_chance(
    result: Result, made: int, policy: RetryPolicy, chance: float, state: State, due_in: int, why: str
) -> None:
    expected = Decision(state=state, due_in=due_in * SECOND, why=why)
    assert decided(result, made, policy, chance) == expected


ON = RetryPolicy(schedule=(10 * SECOND,), on=((410, 410), (429, 429), (500, 599)))


@pytest.mark.parametrize(
    ("outcome", "status", "state"),
    [
        (Outcome.TRANSIENT, 429, PENDING),
        (Outcome.TRANSIENT, 503, PENDING),
        (Outcome.TRANSIENT, 408, DEAD),
        (Outcome.PERMANENT, 501, PENDING),
        (Outcome.PERMANENT, 404, DEAD),
        (Outcome.PERMANENT, 302, DEAD),
        # No answer at all, or an answer that is no error: as the action says.
        (Outcome.TRANSIENT, None, PENDING),
        (Outcome.PERMANENT, None, DEAD),
        (Outcome.UNKNOWN, None, PENDING),
        (Outcome.TRANSIENT, 200, PENDING),
        (Outcome.PERMANENT, 200, DEAD),
        (Outcome.DELIVERED, 599, State.DELIVERED),
    ],
)
def test_statuses_that_the_policy_names_may_pass_and_no_others(
    outcome: Outcome, status: int | None, state: State
) -> None:
    assert decided(ended(outcome, status=status), policy=ON).state is state


def test_410_may_pass_if_the_policy_says_so() -> None:
    gone = ended(Outcome.PERMANENT, status=410, is_gone=True)
    assert (decided(gone, policy=ON).state, decided(gone, policy=ON).hold) == (PENDING, None)
    assert decided(gone).hold == "410 Gone"


def test_no_attempt_is_planned_later_than_the_policy_allows() -> None:
    policy = RetryPolicy(schedule=(HOUR,) * 9, jitter=0.0, give_up_after=3 * HOUR)
    failed = ended(Outcome.TRANSIENT)
    assert decided(failed, policy=policy, age=2 * HOUR).state is PENDING
    late = decided(failed, policy=policy, age=2 * HOUR + SECOND)
    assert (late.state, late.why) == (DEAD, "gave up: the next would be later than 3 h after it was made")
    asked = decided(ended(Outcome.TRANSIENT, retry_after=4 * HOUR), policy=policy)
    assert (asked.state, asked.why[:31]) == (DEAD, "Retry-After asks for 14400 s: g")


def test_a_crash_spends_no_attempt_and_the_third_is_the_last() -> None:
    crashed = ended(Outcome.CRASHED)
    none_left = RetryPolicy(schedule=())
    first = decided(crashed, made=9, policy=none_left)
    assert first == Decision(state=PENDING, due_in=SECOND, why="again in 1 s, alone (crash 1 of 3)")
    assert decided(crashed, made=9, policy=none_left, crashes=1).state is PENDING
    assert decided(crashed, crashes=2) == Decision(state=DEAD, why="crashed three times")


def test_what_was_interrupted_by_others_is_tried_again_at_once() -> None:
    interrupted = ended(Outcome.UNKNOWN, is_interrupted=True)
    assert decided(interrupted, made=9, policy=NEVER_UNKNOWN, crashes=2) == Decision(
        state=PENDING, due_in=SECOND, is_attempt=False
    )


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
    assert decided(ended(Outcome.TRANSIENT, retry_after=asked)).due_in == due_in


def test_what_retry_after_asked_for_is_said() -> None:
    decision = decided(ended(Outcome.TRANSIENT, retry_after=120 * SECOND))
    assert decision.why == "Retry-After asks for 120 s: again in 2 m (attempt 2 of 3)"


def test_retry_after_does_not_outlive_the_schedule() -> None:
    assert decided(ended(Outcome.TRANSIENT, retry_after=HOUR), made=3).state is DEAD


@pytest.mark.parametrize(
    ("note", "reason"), [("", "410 Gone"), ("moved to v2", "410 moved to v2"), ("410 Gone: bye", "410 Gone: bye")]
)
def test_gone_is_dead_and_holds_the_lane(note: str, reason: str) -> None:
    result = ended(Outcome.PERMANENT, status=410, is_gone=True, note=note)
    assert (decided(result).state, decided(result).hold) == (DEAD, reason)


def test_what_cannot_be_run_waits_for_the_operator_and_spends_no_attempt() -> None:
    result = ended(Outcome.TRANSIENT, is_unrunnable=True, note="no destination erp")
    assert decided(result, made=9) == Decision(state=PENDING, is_attempt=False, hold="missing: no destination erp")


def test_the_default_is_ten_attempts_over_about_three_days() -> None:
    waits = [decided(ended(Outcome.TRANSIENT), made, DEFAULT_RETRY) for made in range(1, 11)]
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
    policy = RetryPolicy(schedule=(wait,), jitter=jitter)
    decision = decided(ended(Outcome.TRANSIENT, retry_after=asked), policy=policy, chance=chance)
    rounding = timedelta(microseconds=1) + wait * 1e-9
    own_least, own_most = wait * (1 - jitter) - rounding, wait * (1 + jitter) + rounding
    asked_at_most_a_day = max(timedelta(0), min(asked, DAY)) if asked is not None else timedelta(0)
    assert decision.state is State.PENDING
    assert decision.due_in >= timedelta(0)
    assert max(own_least, asked_at_most_a_day) <= decision.due_in <= max(own_most, asked_at_most_a_day)
