"""What becomes of a delivery after an attempt. Pure: what it needs of chance and time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from hookline.daemon.delivery.runner import Result
from hookline.daemon.store.changes import Outcome, State
from hookline.plugins.retry_after import LONGEST_RETRY_AFTER
from hookline.rules import RetryPolicy

#: How many workers may die under a delivery before it is dead, the last one while nothing else ran there.
MOST_CRASHES: Final = 3
#: The same of processes that died for a reason that nobody knows, as a daemon that is killed: most that ran there, or
#: waited there to be run, had nothing to do with it.
MOST_LOST: Final = 10
#: How long a delivery waits under which a process died, or that was interrupted by what another one did.
AGAIN_SOON: Final = timedelta(seconds=1)

#: How the reason begins for which a lane is held whose destination or action does not exist: it is released by itself
#: when that is back.
MISSING: Final = "missing: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where an attempt leaves its delivery, and its lane."""

    #: DELIVERED, DEAD, or PENDING to be tried again.
    state: State
    #: With PENDING: how long until it is due.
    due_in: timedelta = timedelta(0)
    #: False if nothing was tried to its end: then no attempt is recorded.
    is_attempt: bool = True
    #: Why the lane is to be held; None if it goes on.
    hold: str | None = None
    #: What was made of it and why, for people.
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a delivery stood when its last attempt ended."""

    #: Attempts made, that one among them.
    attempts: int
    #: Processes that had died under it before.
    crashes: int = 0
    #: Since it was made.
    age: timedelta = timedelta(0)


def decide(  # noqa: PLR0911 - a table of endings
    result: Result, standing: Standing, *, policy: RetryPolicy, chance: float
) -> Decision:
    """Decide by how the last attempt ended; `chance` is between 0 and 1 and places the wait within its jitter."""
    if result.is_unrunnable:
        reason = result.note or "its destination or action does not exist"
        return Decision(state=State.PENDING, is_attempt=False, hold=f"{MISSING}{reason}")
    if result.is_interrupted:
        return Decision(state=State.PENDING, is_attempt=False, due_in=AGAIN_SOON)
    match _outcome(result, policy):
        case Outcome.DELIVERED:
            return Decision(state=State.DELIVERED)
        case Outcome.PERMANENT:
            return _permanent(result)
        case Outcome.CRASHED:
            return _crashed(standing.crashes + 1, is_bystander=result.is_bystander)
        case Outcome.UNKNOWN if not policy.retry_unknown:
            return Decision(state=State.DEAD, why="no answer came, and retry_unknown is never")
        case Outcome.TRANSIENT | Outcome.UNKNOWN:
            return _try_again(result.retry_after, standing, policy=policy, chance=chance)
        case outcome:
            assert_never(outcome)


def _outcome(result: Result, policy: RetryPolicy) -> Outcome:
    """Return how it ended by the statuses that the policy names; what is no error, or no answer, stays as it is."""
    is_failure = result.outcome in {Outcome.TRANSIENT, Outcome.PERMANENT}
    if policy.on is None or result.status is None or result.status < 300 or not is_failure:
        return result.outcome
    may_pass = any(low <= result.status <= high for low, high in policy.on)
    return Outcome.TRANSIENT if may_pass else Outcome.PERMANENT


def _permanent(result: Result) -> Decision:
    if result.is_gone:
        reason = result.note if result.note.startswith("410") else f"410 {result.note or 'Gone'}"
        return Decision(state=State.DEAD, hold=reason, why="410 says that nothing is there any more: it is held")
    what = "this" if result.status is None else str(result.status)
    return Decision(state=State.DEAD, why=f"{what} is not worth another try")


def _crashed(crashes: int, *, is_bystander: bool) -> Decision:
    # Spends no attempt: what died may have been killed by something else.
    if is_bystander:
        if crashes >= MOST_LOST:
            return Decision(state=State.DEAD, why=f"{MOST_LOST} processes died while it ran")
        return Decision(state=State.PENDING, due_in=AGAIN_SOON, why=f"again in {spoken(AGAIN_SOON)} (crash {crashes})")
    if crashes >= MOST_CRASHES:
        return Decision(state=State.DEAD, why="crashed three times")
    why = f"again in {spoken(AGAIN_SOON)}, alone (crash {crashes} of {MOST_CRASHES})"
    return Decision(state=State.PENDING, due_in=AGAIN_SOON, why=why)


def _try_again(asked: timedelta | None, standing: Standing, *, policy: RetryPolicy, chance: float) -> Decision:
    if not policy.schedule:
        return Decision(state=State.DEAD, why="retry is none")
    if standing.attempts > len(policy.schedule):
        return Decision(state=State.DEAD, why="gave up: the schedule is used up")
    own = policy.schedule[standing.attempts - 1] * (1 + policy.jitter * (2 * chance - 1))
    wait = max(own, timedelta(0))
    says = ""
    if asked is not None and min(asked, LONGEST_RETRY_AFTER) > wait:
        wait = min(asked, LONGEST_RETRY_AFTER)
        says = f"Retry-After asks for {asked.total_seconds():.0f} s: "
    if policy.give_up_after is not None and standing.age + wait > policy.give_up_after:
        why = f"{says}gave up: the next would be later than {spoken(policy.give_up_after)} after it was made"
        return Decision(state=State.DEAD, why=why)
    numbers = f"attempt {standing.attempts + 1} of {len(policy.schedule) + 1}"
    return Decision(state=State.PENDING, due_in=wait, why=f"{says}again in {spoken(wait)} ({numbers})")


def spoken(duration: timedelta) -> str:
    """Say how long in one unit that leaves a number of two digits, mostly."""
    seconds = duration.total_seconds()
    for unit, size, most in (("ms", 0.001, 0.9995), ("s", 1, 100), ("m", 60, 100 * 60), ("h", 3600, 48 * 3600)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
