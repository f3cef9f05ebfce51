"""A loop that is held: said where and for how long, and not once for each time."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
import structlog
from structlog.testing import capture_logs

from hookline.daemon import loop_watch
from hookline.daemon.loop_watch import LoopWatch

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def watched(stalls: list[float]) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(LoopWatch(log=structlog.get_logger(), on_stall=stalls.append).run)
        await anyio.sleep(0.2)
        yield
        tasks.cancel_scope.cancel()


async def until(holds: Callable[[], Any]) -> None:
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110 - nobody tells of it
            await anyio.sleep(0.01)


def has_more(stalls: list[float], seen: int) -> bool:
    return len(stalls) > seen


def hold_the_loop(seconds: float) -> None:
    time.sleep(seconds)


async def test_says_where_the_loop_was_held_and_for_how_long() -> None:
    stalls: list[float] = []
    with capture_logs() as logs:
        async with watched(stalls):
            stalls.clear()
            hold_the_loop(0.6)
            await until(lambda: stalls)
    assert stalls[0] >= 0.5
    (line,) = [one for one in logs if one["event"] == "loop.stalled" and one["seconds"] >= 0.5]
    assert line["where"].startswith("integration/test_loop_watch.py:")
    assert " hold_the_loop < integration/test_loop_watch.py:" in line["where"]
    assert line["goes_on"] is False


async def test_one_that_lasts_is_told_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "_LONG_SECONDS", 0.5)
    stalls: list[float] = []
    with capture_logs() as logs:
        async with watched(stalls):
            stalls.clear()
            hold_the_loop(1.2)
            told = [one for one in logs if one["event"] == "loop.stalled"]
            await until(lambda: stalls)
    assert told
    assert told[-1]["goes_on"] is True
    assert "hold_the_loop" in told[-1]["where"]


async def test_many_are_counted_and_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stalls: list[float] = []
    with capture_logs() as logs:
        async with watched(stalls):
            stalls.clear()
            for _ in range(3):
                seen = len(stalls)
                hold_the_loop(0.5)
                await until(partial(has_more, stalls, seen))
            monkeypatch.setattr(loop_watch, "_QUIET_SECONDS", 0.0)
            hold_the_loop(0.5)
            await until(lambda: len(stalls) >= 4)
    told = [one for one in logs if one["event"] == "loop.stalled"]
    assert len(told) == len(stalls) - told[-1]["others"]
    assert told[-1]["others"] >= 2


async def test_a_loop_that_turns_is_left_alone_and_the_thread_ends() -> None:
    stalls: list[float] = []
    async with watched(stalls):
        assert any(one.name == "loop-watch" for one in threading.enumerate())
    await until(lambda: not any(one.name == "loop-watch" for one in threading.enumerate()))
