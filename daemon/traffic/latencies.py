"""How long things took: counted in steps, so that a thousand or a million of them take the same room."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

#: What is quicker counts as this.
LEAST_SECONDS: Final = 1e-4
#: A step ends at a fourth of a doubling, 19 % above the one below it: a percentile is never further off.
STEPS_PER_DOUBLING: Final = 4
#: What is slower, some 40 days, counts as this step.
LAST_STEP: Final = 140


def end_of(step: int) -> float:
    """Return the longest time, in seconds, that falls into a step."""
    return float(LEAST_SECONDS * 2 ** (step / STEPS_PER_DOUBLING))


#: Of all but the last one, which has no end.
_ENDS: Final = tuple(map(end_of, range(LAST_STEP)))


def step_of(seconds: float) -> int:
    """Return the step that a time falls into: the first that it does not exceed."""
    return bisect_left(_ENDS, seconds)


def add(counts: Iterable[dict[int, int]]) -> dict[int, int]:
    """Return the sum of counts by step."""
    total: dict[int, int] = {}
    for some in counts:
        for step, count in some.items():
            total[step] = total.get(step, 0) + count
    return total


def percentile_ms(counts: Iterable[dict[int, int]], share: float) -> float | None:
    """Return the milliseconds that this share (0 to 1) of all did not exceed; None if there were none.

    It lies between the ends of the right step, so it is less than 19 % off.
    """
    total = add(counts)
    wanted = share * sum(total.values())
    before = 0
    for step in sorted(total):
        count = total[step]
        if before + count >= wanted:
            least = end_of(step - 1) if step else 0.0
            return round((least + (end_of(step) - least) * (wanted - before) / count) * 1000, 3)
        before += count
    return None
