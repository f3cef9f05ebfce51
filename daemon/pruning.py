"""Removes what is too old from the store, in small batches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.config.settings import Retention
from hookline.daemon.store.port import Store, StoreError

PRUNE_EVERY: Final = timedelta(minutes=5)
PRUNE_BATCH: Final = 500


async def prune_forever(store: Store, retention: Callable[[], Retention], log: FilteringBoundLogger) -> None:
    """Remove what is older than `retention`, which is asked each time, until cancelled."""
    while True:
        try:
            removed = PRUNE_BATCH
            while removed:
                # Small batches with a rest between: writes of events go on.
                await anyio.sleep(0.05)
                kept = retention()
                removed = await store.prune(events=kept.events, dedupe=kept.dedupe, dead=kept.dead, limit=PRUNE_BATCH)
        except StoreError as error:
            log.warning("prune.failed", why=str(error))
        await anyio.sleep(PRUNE_EVERY.total_seconds())
