"""The destinations of the simulated world: what is promised of each, what is asked of them, how they may be."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from hookline.daemon.delivery.runner import Result, Work
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.store.changes import Lane, Outcome
from hookline.rules import Bounds, Breaker, Digest, Modifiers, Once, Rate, RetryPolicy

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
DAY = 24 * HOUR

#: How a destination may be, and how long that lasts on the average.
MOODS: Mapping[str, timedelta] = {
    "well": 2 * DAY,
    "failing": 5 * HOUR,
    "asking": 6 * HOUR,
    "hanging": 4 * HOUR,
    "slow": 4 * HOUR,
    "flaky": 8 * HOUR,
    "refusing": 6 * HOUR,
    "crashing": 4 * HOUR,
    "interrupted": 5 * MINUTE,
    "gone": 3 * HOUR,
    "missing": 2 * HOUR,
    "dead": 30 * HOUR,
}
QUICKLY = RetryPolicy(schedule=(5 * SECOND, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR), jitter=0.2)
POLICIES: Mapping[Lane, LanePolicy] = {
    Lane("one"): LanePolicy(concurrency=1),
    Lane("ten-a-minute"): LanePolicy(concurrency=2, bounds=Bounds(rate=Rate(count=10, per=MINUTE))),
    Lane("wide"): LanePolicy(concurrency=8),
    Lane("five-a-second"): LanePolicy(concurrency=4, bounds=Bounds(rate=Rate(count=5, per=SECOND))),
    Lane("quick"): LanePolicy(concurrency=8, modifiers=Modifiers(retry=QUICKLY)),
    Lane("no-breaker"): LanePolicy(concurrency=8, modifiers=Modifiers(retry=QUICKLY), bounds=Bounds(breaker=None)),
    Lane("touchy"): LanePolicy(
        concurrency=4, bounds=Bounds(breaker=Breaker(share=0.3, least=3, within=10 * MINUTE, pause=2 * MINUTE))
    ),
    Lane("impatient"): LanePolicy(
        concurrency=8,
        modifiers=Modifiers(
            retry=RetryPolicy(
                schedule=(MINUTE,) * 50, jitter=0.5, on=((429, 429), (500, 502)), give_up_after=20 * MINUTE
            )
        ),
    ),
    Lane("sundays"): LanePolicy(concurrency=4, bounds=Bounds(hold_during=("sat 22:00-04:00 Europe/Berlin",))),
    Lane("half-a-day"): LanePolicy(concurrency=8, bounds=Bounds(failure_budget=12 * HOUR)),
    Lane("never-twice"): LanePolicy(concurrency=1, modifiers=Modifiers(retry=RetryPolicy(schedule=()))),
    Lane("no-unknown"): LanePolicy(
        concurrency=8,
        modifiers=Modifiers(retry=RetryPolicy(schedule=(MINUTE, HOUR), retry_unknown=False), timeout=30 * SECOND),
    ),
}
#: What a rule may ask for beside an action.
WISHES: Sequence[Modifiers] = (
    Modifiers(),
    Modifiers(),
    Modifiers(order_by=("$.customer",)),
    Modifiers(order_by=("$.customer",), retry=QUICKLY),
    Modifiers(once=Once(per=("$.customer",), within=HOUR, summary=True)),
    Modifiers(once=Once(per=("$.customer",), within=6 * HOUR)),
    Modifiers(digest=Digest(every=HOUR, per=("$.customer",), max=4, flush_on_stop=True)),
    Modifiers(digest=Digest(every=8 * HOUR, max=20)),
    Modifiers(during=("mon-fri 07:00-22:00 Europe/Berlin",)),
    Modifiers(delay=5 * MINUTE),
)


def answer_of(mood: str, work: Work, chance: random.Random) -> Result:
    """Return how an attempt ends at a destination of that mood."""
    outcome, more = _outcome(mood, work, chance)
    duration = timedelta(seconds=29 if mood in {"slow", "hanging"} else 0.02)
    return Result(outcome=outcome, duration=duration, **more)


def _outcome(mood: str, work: Work, chance: random.Random) -> tuple[Outcome, dict[str, Any]]:  # noqa: PLR0911 - a table
    if mood == "flaky":
        mood = chance.choice(["well", "well", "failing", "refusing", "asking"])
    match mood:
        case "failing" | "dead":
            return Outcome.TRANSIENT, {"status": chance.choice([500, 503])}
        case "asking":
            asked = chance.choice([SECOND, 90 * SECOND, 2 * HOUR, 400 * DAY])
            return Outcome.TRANSIENT, {"status": 429, "retry_after": asked}
        case "hanging":
            return Outcome.UNKNOWN, {}
        case "slow":
            is_late = work.limit < 29 * SECOND
            return (Outcome.UNKNOWN, {}) if is_late else (Outcome.DELIVERED, {"status": 200})
        case "refusing":
            return Outcome.PERMANENT, {"status": 422}
        case "crashing":
            return Outcome.CRASHED, {"note": "the worker died"}
        case "interrupted":
            return Outcome.UNKNOWN, {"is_interrupted": True}
        case "gone":
            return Outcome.PERMANENT, {"status": 410, "is_gone": True, "note": "410 Gone"}
        case "missing":
            return Outcome.TRANSIENT, {"is_unrunnable": True, "note": "no such action"}
        case _:
            return Outcome.DELIVERED, {"status": 200}
