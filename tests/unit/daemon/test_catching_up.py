"""What the store could not do is done as soon as it can."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest
from structlog.testing import CapturingLogger

from hookline.daemon.reload.catching_up import CatchingUp
from hookline.daemon.store.port import StoreError

pytestmark = pytest.mark.anyio

SOON = timedelta(milliseconds=1)


async def test_it_is_done_at_once_and_once() -> None:
    log = CapturingLogger()
    done: list[str] = []

    async def work() -> None:
        done.append("done")

    catching_up = CatchingUp(work, log=log, again_after=SOON)
    await catching_up.now()
    with anyio.move_on_after(0.1):
        await catching_up.run()
    assert (done, log.calls) == (["done"], [])


async def test_what_the_store_could_not_do_is_tried_until_it_can() -> None:
    log, is_done = CapturingLogger(), anyio.Event()
    tries: list[int] = []

    async def work() -> None:
        tries.append(len(tries))
        if len(tries) <= 3:
            raise StoreError("it is away", kind="away")
        is_done.set()

    catching_up = CatchingUp(work, log=log, again_after=SOON)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(catching_up.run)
        await catching_up.now()
        with anyio.fail_after(30):
            await is_done.wait()
        await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    assert len(tries) == 4
    assert [(call.method_name, call.args, call.kwargs["why"]) for call in log.calls] == [
        ("warning", ("catch_up.left",), "it is away")
    ] * 3
