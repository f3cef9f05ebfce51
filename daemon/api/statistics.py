"""What happened lately, minute by minute, and what waits now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from hookline.daemon.api.endpoint import Area, Call
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.statistics import Minute, Percentiles, Statistics, Totals
from hookline.daemon.destinations.states import DestinationState
from hookline.daemon.traffic.latencies import percentile_ms
from hookline.daemon.traffic.minutes import MINUTES_KEPT, MinuteCounts, Traffic, total
from hookline.rules.subject import time_text

STATISTICS = Area("statistics", "What happened lately, and what waits now.")
_MOST_FAILING: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsAsked:
    """Which minutes."""

    minutes: Annotated[int, "How many of the last minutes, 1 to 1440."] = 60


@STATISTICS.get("/statistics")
async def statistics(call: Call[StatisticsAsked]) -> Statistics:
    """Count what happened in the last minutes, and say what waits now."""
    asked = call.asked.minutes
    if not 1 <= asked <= MINUTES_KEPT:
        raise ProblemError(400, "Bad parameter", f"minutes: {asked} is not between 1 and {MINUTES_KEPT}")
    return statistics_of(call.daemon.traffic, await call.daemon.destinations(), asked)


def statistics_of(traffic: Traffic, states: Sequence[DestinationState], asked: int) -> Statistics:
    """Count what happened in so many minutes."""
    day = traffic.minutes()
    first = day[-1].number - asked
    minutes = [one for one in day if one.number > first]
    oldest = [one.work.oldest_due_at for one in states if one.work and one.work.oldest_due_at]
    return Statistics(
        minutes=[_minute(one) for one in minutes],
        known_since=time_text(traffic.known_since),
        totals=_totals(minutes),
        day=_totals(day),
        answer_ms=_percentiles([one.answers for one in minutes]),
        delivery_ms=_percentiles([one.deliveries for one in minutes]),
        waiting=sum(one.work.pending for one in states if one.work),
        running=sum(one.live.running for one in states if one.live),
        oldest_due_at=time_text(min(oldest)) if oldest else None,
        failing=_failing(states),
    )


def _failing(states: Sequence[DestinationState]) -> dict[str, str]:
    named = [(_name(one), one.condition) for one in states if one.condition != "ok"]
    return dict(named[:_MOST_FAILING])


def _name(one: DestinationState) -> str:
    return one.name if one.rule is None else f"{one.rule}: {one.name}"


def _minute(one: MinuteCounts) -> Minute:
    return Minute(at=time_text(one.at), **_totals([one]))


def _totals(minutes: Sequence[MinuteCounts]) -> Totals:
    counts = total([one.counts for one in minutes])
    return Totals(
        received=counts.received,
        matched=counts.matched,
        unmatched=counts.unmatched,
        duplicates=counts.duplicates,
        rejected=counts.rejected,
        delivered=counts.delivered,
        failed=counts.failed,
        dead=counts.dead,
    )


def _percentiles(counts: Sequence[dict[int, int]]) -> Percentiles:
    return Percentiles(p50=percentile_ms(counts, 0.5), p95=percentile_ms(counts, 0.95))
