"""What waited for another configuration is seen to when rules go live, and again if the store could not then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.store.port import StoreError

_AGAIN_AFTER: Final = timedelta(seconds=5)


class CatchingUp:
    """Does a piece of work when asked to, and does not let go of it before the store could do it."""

    def __init__(
        self,
        work: Callable[[], Awaitable[None]],
        *,
        log: FilteringBoundLogger,
        again_after: timedelta = _AGAIN_AFTER,
    ) -> None:
        """`work` raises `StoreError`; to begin it anew does no harm."""
        self._work = work
        self._log = log
        self._again_after = again_after
        self._is_left = anyio.Event()

    async def now(self) -> None:
        """Do it; if the store cannot, leave it to `run`."""
        try:
            await self._work()
        except StoreError as error:
            self._log.warning("catch_up.left", why=str(error), next_step="it is tried again by itself")
            self._is_left.set()

    async def run(self) -> None:
        """Do what was left; never returns."""
        while True:
            await self._is_left.wait()
            await anyio.sleep(self._again_after.total_seconds())
            self._is_left = anyio.Event()
            await self.now()
