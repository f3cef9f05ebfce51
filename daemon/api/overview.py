"""How everything stands, in one answer: whether all arrives, and what the rules did with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from hookline.daemon.api.concerns import Standing, all_is_well, concerns, see_to
from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.shapes.overview import Overview
from hookline.daemon.api.statistics import statistics_of
from hookline.daemon.sources.port import SourceSettings
from hookline.daemon.store.changes import State
from hookline.daemon.store.stored import DeliveryFilter
from hookline.rules.name_filter import HOOKLINE
from hookline.rules.units import parse_duration

OVERVIEW = Area("overview", "How everything stands.")
#: The stretch that it counts.
MINUTES: Final = 60
_MOST_CONCERNS: Final = 20
_MOST_DEAD: Final = 100
_MOST_REJECTIONS: Final = 200
_DAY: Final = timedelta(days=1)


@OVERVIEW.get("/overview")
async def overview(call: Call[Nothing]) -> Overview:
    """Say how everything stands: what somebody has to see to, and the last hour in numbers."""
    daemon = call.daemon
    standing = await _standing(call)
    found = concerns(standing)
    numbers = statistics_of(daemon.traffic, standing.states, MINUTES)
    known = int((daemon.clock() - daemon.traffic.known_since) / timedelta(minutes=1)) + 1
    last = daemon.live.last
    return Overview(
        well=not found,
        says=see_to(len(found))
        if found
        else all_is_well(standing, received=numbers["totals"]["received"], minutes=min(MINUTES, known)),
        concerns=found[:_MOST_CONCERNS],
        more_concerns=max(0, len(found) - _MOST_CONCERNS),
        empty=not standing.last_at.keys() - {HOOKLINE},
        reload=None if last is None else {"outcome": last.outcome, "at": last.at.isoformat()},
        statistics=numbers,
    )


async def _standing(call: Call[Nothing]) -> Standing:
    daemon, reader = call.daemon, call.daemon.reader
    now = daemon.clock()
    dead = DeliveryFilter(state=State.DEAD, since=now - _DAY, not_replayed=True)
    page = await reader.delivery_page(dead, limit=_MOST_DEAD)
    return Standing(
        now=now,
        trouble=daemon.trouble(),
        degraded=daemon.degraded(),
        states=await daemon.destinations(),
        sources={name: _expected(source) for name, source in daemon.live.current.settings.sources.items()},
        paused=await reader.paused(),
        last_at={one.source: one.last_at for one in await reader.activity(since=now)},
        rejections=await reader.rejections(limit=_MOST_REJECTIONS),
        dead=len(page.rows),
        has_more_dead=page.next is not None,
        nodes=daemon.nodes_watch.standing(),
    )


def _expected(source: SourceSettings) -> timedelta | None:
    said = source.options.get("expect_every")
    return parse_duration(said) if isinstance(said, str) else None
