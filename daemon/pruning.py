"""Removes what is too old from the store, and gives the room back, in steps that nobody waits for."""

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
    """Remove what is older than `retention`, which is asked each time, until cancelled. The store itself rests."""
    while True:
        try:
            await _prune(store, retention)
        except StoreError as error:
            log.warning("prune.failed", why=str(error))
        await anyio.sleep(PRUNE_EVERY.total_seconds())


async def _prune(store: Store, retention: Callable[[], Retention]) -> None:
    total = 0
    removed = PRUNE_BATCH
    while removed:
        await anyio.sleep(0.05)
        kept = retention()
        removed = await store.prune(events=kept.events, dedupe=kept.dedupe, dead=kept.dead, limit=PRUNE_BATCH)
        total += removed
    given_back = 0
    # After all that is old is gone, so that nothing is moved that goes anyway.
    while step := await store.shrink():
        given_back += step
    if given_back:
        await store.note("vacuum", {"bytes": given_back})
    if total or given_back:
        # Somebody may still read: then the next round does it.
        await store.checkpoint()
