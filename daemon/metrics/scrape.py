"""Answers Prometheus: looks, and writes all of it down."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.to_thread
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from hookline.daemon.metrics.counters import Metrics
from hookline.daemon.metrics.gauges import Gauges, Now, Seen
from hookline.daemon.store.port import StoreError

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
#: What the store said is good for so long, however often it is asked.
REMEMBERED_SECONDS: Final = 5.0
#: A scrape does not wait longer for the store.
PATIENCE_SECONDS: Final = 2.0


class Scrape:
    """What `/metrics` answers."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        now: Callable[[], Now],
        look: Callable[[], Awaitable[Seen]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` is asked each time, in the loop; `look` seldom, and may raise `StoreError` and `OSError`."""
        self._registry = metrics.registry
        self._gauges = Gauges()
        self._registry.register(self._gauges)
        self._now = now
        self._look = look
        self._monotonic = monotonic
        self._looked_at: float | None = None
        self._turn = anyio.Lock()

    async def text(self) -> bytes:
        """Return all metrics, as `CONTENT_TYPE`; without what the store would say, if it says nothing in time."""
        async with self._turn:
            if self._looked_at is None or self._monotonic() - self._looked_at >= REMEMBERED_SECONDS:
                await self._look_anew()
            self._gauges.now = self._now()
            # With a thousand destinations there are some ten thousand lines.
            return await anyio.to_thread.run_sync(generate_latest, self._registry)

    async def _look_anew(self) -> None:
        seen: Seen | None = None
        try:
            with anyio.move_on_after(PATIENCE_SECONDS):
                seen = await self._look()
        except (StoreError, OSError):
            # Its trouble is said by its own metric and in the log; here is counted that values are missing.
            seen = None
        self._gauges.seen = seen
        self._gauges.looks_failed += seen is None
        self._looked_at = self._monotonic()
