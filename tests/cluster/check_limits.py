"""Promises about lanes: concurrency, rate, holds and breakers, of all nodes together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.cluster.evidence import Arrival, Evidence, LaneCall
from tests.cluster.lives import SECOND, Lives
from tests.cluster.plan import BreakerPlan, Plan


def concurrency(seen: Evidence, plan: Plan) -> Iterator[str]:
    """At no moment more of a lane are under way than it allows."""
    lives = Lives(seen, plan)
    for lane, limits in plan.lanes.items():
        steps = []
        for arrival in _of(seen, lane, lives):
            steps += [(arrival.begun, 1), (lives.counts_until(arrival), -1)]
        open_now = worst = at = 0
        for moment, change in sorted(steps):
            open_now += change
            if open_now > worst:
                worst, at = open_now, moment
        if worst > limits.concurrency:
            yield f"{worst} at one time in {lane}, which allows {limits.concurrency}, at {at / SECOND:.3f} s"


def rate(seen: Evidence, plan: Plan) -> Iterator[str]:
    """In no stretch of time more of a lane begin than its rate allows, with one second's worth saved up."""
    lives = Lives(seen, plan)
    for lane, limits in plan.lanes.items():
        if limits.rate is None:
            continue
        interval = SECOND / limits.rate
        ahead = interval * (max(1, math.floor(limits.rate)) - 1) + plan.slack_s * SECOND
        used_until, worst, at = 0.0, 0.0, 0
        for arrival in _of(seen, lane, lives):
            if used_until - arrival.begun - ahead > worst:
                worst, at = used_until - arrival.begun - ahead, arrival.begun
            used_until = max(used_until, arrival.begun) + interval
        if worst > 0:
            yield f"{lane} was {worst / interval:.1f} ahead of its rate of {limits.rate:g}/s, at {at / SECOND:.3f} s"


def holds(seen: Evidence, plan: Plan) -> Iterator[str]:
    """From when a hold has returned until a release is asked for nothing begins, but for what was handed out before."""
    lives = Lives(seen, plan)
    for lane in plan.lanes:
        calls = [call for call in seen.lane_calls if call.lane == lane]
        begun = [arrival.begun for arrival in _of(seen, lane, lives)]
        for begin, end in _held(calls):
            late = [at for at in begun if begin + plan.slack_s * SECOND < at < end]
            if late:
                yield f"{len(late)} began in {lane} while it was held, the last {(late[-1] - begin) / SECOND:.3f} s after"


def _held(calls: Sequence[LaneCall]) -> Iterator[tuple[int, float]]:
    """Return the stretches in which a lane was certainly held."""
    for call in calls:
        if call.is_held and call.is_ok and call.end is not None:
            ends = [
                other.begin for other in calls if not other.is_held and (other.end is None or other.end > call.begin)
            ]
            yield call.end, min(ends, default=math.inf)


def breakers(seen: Evidence, plan: Plan) -> Iterator[str]:
    """While a lane is certainly down, one attempt is under way at most, and there is a pause between two."""
    lives = Lives(seen, plan)
    for lane, limits in plan.lanes.items():
        if limits.breaker is not None:
            yield from _breaker(lane, limits.breaker, _of(seen, lane, lives), lives, plan.slack_s)


def _breaker(
    lane: str, breaker: BreakerPlan, arrivals: Sequence[Arrival], lives: Lives, slack_s: float
) -> Iterator[str]:
    slack = int(slack_s * SECOND)
    for opened, until in _down(breaker, arrivals):
        probes = [arrival for arrival in arrivals if opened + slack < arrival.begun < until]
        for one, next_ in pairwise(probes):
            apart = (next_.begun - one.begun) / SECOND
            if lives.counts_until(one) > next_.begun:
                yield f"two probes at one time in {lane}, {apart:.3f} s apart, {one.mark} and {next_.mark}"
            elif one.end is not None and apart < breaker.pause_s - slack_s:
                yield f"{lane} was probed again after {apart:.3f} s, {one.mark} and {next_.mark}"


def _down(breaker: BreakerPlan, arrivals: Sequence[Arrival]) -> Iterator[tuple[int, float]]:
    """Return the stretches in which the breaker is open, whatever steps its window slides by."""
    ended = sorted((one for one in arrivals if one.end is not None), key=lambda one: one.end or 0)
    window: deque[Arrival] = deque()
    opened: int | None = None
    for one in ended:
        at = one.end or 0
        if one.status < 500 and opened is not None:
            yield opened, at
            opened = None
            window.clear()
            continue
        window.append(one)
        while at - (window[0].end or 0) > breaker.within_s * 1.2 * SECOND:
            window.popleft()
        inner = [other for other in window if at - (other.end or 0) <= breaker.within_s * 0.8 * SECOND]
        if opened is None and _is_failing(breaker, inner) and _is_failing(breaker, window):
            opened = at
    if opened is not None:
        yield opened, math.inf


def _is_failing(breaker: BreakerPlan, ended: Sequence[Arrival] | deque[Arrival]) -> bool:
    failed = sum(one.status >= 500 for one in ended)
    return failed >= breaker.least and failed >= breaker.share * len(ended)


def _of(seen: Evidence, lane: str, lives: Lives) -> list[Arrival]:
    return sorted(
        (one for one in seen.arrivals if one.lane == lane and not lives.is_late(one)), key=lambda one: one.begun
    )
