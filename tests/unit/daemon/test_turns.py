"""Turns of those that run alone: one at a time, the least suspicious first."""

from __future__ import annotations

import asyncio

import pytest

from hookline.daemon.workers.turns import Turns

pytestmark = pytest.mark.anyio


async def test_the_lowest_rank_goes_first_and_equals_in_order() -> None:
    turns = Turns()
    order: list[str] = []
    running = 0

    async def one(name: str, rank: int) -> None:
        nonlocal running
        await turns.take(rank)
        running += 1
        assert running == 1
        order.append(name)
        await asyncio.sleep(0)
        running -= 1
        turns.give_back()

    await turns.take(0)
    tasks = [asyncio.create_task(one(name, rank)) for name, rank in (("a", 2), ("b", 0), ("c", 1), ("d", 0))]
    await asyncio.sleep(0)
    turns.give_back()
    await asyncio.gather(*tasks)
    assert order == ["b", "d", "c", "a"]


async def test_who_gives_up_loses_no_turn_for_the_others() -> None:
    turns = Turns()
    await turns.take(0)
    leaves = asyncio.create_task(turns.take(0))
    granted = asyncio.create_task(turns.take(1))
    stays = asyncio.create_task(turns.take(2))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    # Given its turn and cancelled in the same moment.
    turns.give_back()
    granted.cancel()
    await asyncio.gather(granted, return_exceptions=True)
    await asyncio.wait_for(stays, 5)
    turns.give_back()
    await asyncio.wait_for(turns.take(0), 5)
