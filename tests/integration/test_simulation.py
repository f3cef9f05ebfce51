"""A year of virtual time, by a seed: every delivery ends, and nothing was promised that was not kept."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from tests.integration.simulated_world import World
from tests.integration.virtual_time import VirtualLoop, run_virtually

#: How many years, each by another seed: `HOOKLINE_SEEDS=50` for a night; `HOOKLINE_SEEDS=17-17` for the one that failed.
SEEDS = os.environ.get("HOOKLINE_SEEDS", "1")
YEAR = timedelta(days=365)


def seeds() -> range:
    first, _, last = SEEDS.partition("-")
    return range(int(first), int(last) + 1) if last else range(1, int(first) + 1)


async def live(loop: VirtualLoop, seed: int, span: timedelta) -> World:
    world = World(loop, seed)
    await world.pass_by(span)
    world.oracle.check_end()
    return world


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", seeds())
def test_a_year_keeps_every_promise(seed: int) -> None:
    world = run_virtually(live, seed, YEAR)
    problems = "\n".join(world.oracle.problems[:20])
    assert not world.oracle.problems, f"HOOKLINE_SEEDS={seed}-{seed}: {len(world.oracle.problems)} broken\n{problems}"
    seen = world.oracle.seen
    missed = [what for what, least in EXPECTED.items() if seen[what] < least]
    assert not missed, f"seed {seed}: too little happened to show anything: {missed} of {dict(seen)}"


#: What a year must have seen at least, so that it shows something.
EXPECTED = {
    "deliveries": 5_000,
    "delivered": 3_000,
    "transient": 500,
    "permanent": 20,
    "unknown": 100,
    "crashed": 10,
    "ordered": 1_000,
    "suppressed": 200,
    "summaries": 1,
    "digests": 200,
    "probes": 50,
    "replays": 20,
    "dead told": 100,
    "recovered": 1,
}
