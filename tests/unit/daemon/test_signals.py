"""Signals: heard before the loop begins and after it has ended, and many at a time."""

from __future__ import annotations

import os
import signal
from collections import Counter

import anyio
import pytest

from hookline.daemon.signals import held_signals


@pytest.fixture(params=["asyncio", "uvloop"])
def options(request: pytest.FixtureRequest) -> dict[str, bool]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return {"use_uvloop": request.param == "uvloop"}


def test_what_came_before_the_loop_and_comes_after_it_is_heard(options: dict[str, bool]) -> None:
    heard: Counter[str] = Counter()

    async def main() -> None:
        stopped = anyio.Event()

        def stop() -> None:
            heard["stop"] += 1
            stopped.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: signals.obey(stop=stop, reload=lambda: heard.update(reload=1)))
            await stopped.wait()
            tasks.cancel_scope.cancel()

    before = signal.getsignal(signal.SIGTERM)
    with held_signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        anyio.run(main, backend_options=options)
        # Each would kill a process that hears it no more.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)
    assert signals.is_told_to_stop
    # Who is told to stop reloads nothing.
    assert heard == {"stop": 1}
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_storm_is_obeyed_without_a_queue(options: dict[str, bool]) -> None:
    heard: Counter[str] = Counter()

    async def main() -> None:
        stopped = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: signals.obey(stop=stopped.set, reload=lambda: heard.update(reload=1)))
            for _ in range(20):
                for _ in range(50):
                    os.kill(os.getpid(), signal.SIGHUP)
                # Signals reach a loop through its selector: let it look.
                await anyio.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGINT)
            await stopped.wait()
            tasks.cancel_scope.cancel()

    with held_signals() as signals:
        anyio.run(main, backend_options=options)
    assert 1 <= heard["reload"] <= 100
