"""Keeping the service manager informed: that a start takes its time, how things stand, and that the daemon lives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import anyio

from hookline.daemon.parts import Parts
from hookline.daemon.store.port import StoreError
from hookline.daemon.systemd.heartbeat import Heartbeat, Signs
from hookline.daemon.systemd.status import Standing, status_line, trouble_line

_STATUS_EVERY_SECONDS: Final = 10.0
#: Looking may take this share of the time: to count a long queue takes a while.
_LARGEST_SHARE: Final = 0.02
_ASK_EVERY_SECONDS: Final = 10.0
_ASKED_FOR: Final = timedelta(seconds=60)
#: A store that is opened for longer than this hangs: then the manager may give up.
_LONGEST_OPENING: Final = timedelta(hours=1)


class Report:
    """What the daemon says to the service manager, if there is one."""

    def __init__(self, parts: Parts) -> None:
        """Say nothing yet."""
        self._parts = parts
        self._notify = parts.manager.notify

    @asynccontextmanager
    async def asking_for_time(self) -> AsyncIterator[None]:
        """Ask for more time again and again while the block runs: to bring a large store up to date takes minutes."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ask)
            yield
            tasks.cancel_scope.cancel()

    async def _ask(self) -> None:
        since = anyio.current_time()
        while (passed := anyio.current_time() - since) < _LONGEST_OPENING.total_seconds():
            why = "opening the store" + (f", for {passed:.0f} s now" if passed > 1 else "")
            self._notify.need(_ASKED_FOR, why)
            await anyio.sleep(_ASK_EVERY_SECONDS)

    async def run(self) -> None:
        """Feed the watchdog and keep the status up to date until cancelled."""
        async with anyio.create_task_group() as tasks:
            if self._parts.manager.watchdog is not None:
                tasks.start_soon(self._heartbeat(self._parts.manager.watchdog).run)
            if self._notify.is_heard:
                tasks.start_soon(self._tell_status)

    def _heartbeat(self, interval: timedelta) -> Heartbeat:
        parts = self._parts
        signs = Signs(
            store_owes=lambda: parts.commit.owed,
            without_worker=lambda: parts.live.current.runner.without_worker,
            has_work=lambda: bool(parts.dispatcher.waiting or parts.dispatcher.running),
        )
        return Heartbeat(interval, notify=self._notify, signs=signs, log=parts.log)

    async def _tell_status(self) -> None:
        # The first goes with READY: told before it, how a start stands would read as if it were over.
        pause = _STATUS_EVERY_SECONDS
        while True:
            await anyio.sleep(pause)
            since = anyio.current_time()
            self._notify.status(await self.line())
            pause = max(_STATUS_EVERY_SECONDS, (anyio.current_time() - since) / _LARGEST_SHARE)

    async def line(self) -> str:
        """Return how things stand; what the matter is with the store, if anything is."""
        parts, live = self._parts, self._parts.live.current
        if not self._notify.is_heard:
            return ""
        trouble = parts.store_watch.trouble
        if trouble is not None:
            return trouble_line(trouble.kind, str(trouble))
        reader = parts.store.reader()
        try:
            lanes = await reader.lanes()
        except StoreError as error:
            return trouble_line(error.kind, str(error))
        finally:
            await reader.close()
        standing = Standing(
            sources=len(live.settings.sources),
            rules=len(live.rules.rules),
            version=live.rules.version,
            lanes=lanes,
            degraded=parts.degraded(),
            paused=sorted(parts.pauses.states()),
        )
        return status_line(standing, now=parts.time())
