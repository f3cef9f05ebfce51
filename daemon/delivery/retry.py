"""What becomes of a delivery after an attempt. Pure: what it needs of chance is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from hookline.daemon.delivery.runner import Result
from hookline.daemon.store.changes import Outcome, State
from hookline.plugins.retry_after import LONGEST_RETRY_AFTER
from hookline.rules import RetryPolicy

#: Standard Webhooks' schedule: ten attempts over about three days.
DEFAULT_RETRY = RetryPolicy(
    schedule=(
        timedelta(seconds=5),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
        timedelta(hours=5),
        timedelta(hours=10),
        timedelta(hours=14),
        timedelta(hours=20),
        timedelta(hours=24),
    )
)


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
    #: False if nothing was tried: then no attempt is recorded.
    spends_attempt: bool = True
    #: Why the lane is to be held; None if it goes on.
    hold: str | None = None


def decide(result: Result, *, attempts_made: int, policy: RetryPolicy, chance: float) -> Decision:
    """Decide by how the last attempt ended.

    `attempts_made` counts it; `chance` is between 0 and 1 and places the wait within its jitter.
    """
    if result.is_unrunnable:
        reason = result.note or "its destination or action does not exist"
        return Decision(state=State.PENDING, spends_attempt=False, hold=f"{MISSING}{reason}")
    if result.is_gone:
        reason = result.note if result.note.startswith("410") else f"410 {result.note or 'Gone'}"
        return Decision(state=State.DEAD, hold=reason)
    match result.outcome:
        case Outcome.DELIVERED:
            return Decision(state=State.DELIVERED)
        case Outcome.PERMANENT:
            return Decision(state=State.DEAD)
        case Outcome.UNKNOWN if not policy.retry_unknown:
            return Decision(state=State.DEAD)
        # A worker that died under it may have been killed by something else: its schedule bounds how often we look.
        case Outcome.TRANSIENT | Outcome.UNKNOWN | Outcome.CRASHED:
            return _try_again(result.retry_after, attempts_made=attempts_made, policy=policy, chance=chance)
        case _:
            assert_never(result.outcome)


def _try_again(asked: timedelta | None, *, attempts_made: int, policy: RetryPolicy, chance: float) -> Decision:
    if attempts_made > len(policy.schedule):
        return Decision(state=State.DEAD)
    wait = policy.schedule[attempts_made - 1] * (1 + policy.jitter * (2 * chance - 1))
    if asked is not None:
        wait = max(wait, min(asked, LONGEST_RETRY_AFTER))
    return Decision(state=State.PENDING, due_in=max(wait, timedelta(0)))
