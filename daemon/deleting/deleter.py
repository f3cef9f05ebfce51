"""Removes events for good, in small steps, until nothing is left; a daemon that was killed goes on where it was."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.deleting.request import DeletionRequest, criteria
from hookline.daemon.store.changes import Audit, DeliveryId
from hookline.daemon.store.port import Reader, Store, StoreError
from hookline.daemon.store.stored import Tally

#: How long is waited for deliveries that run, or for whoever still reads the log of changes.
_PAUSE_S: Final = 0.25
#: How long a store in trouble is left alone.
_TROUBLE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a deletion has come."""

    number: int
    #: How many events are gone.
    events: int
    is_over: bool
    #: What has to end first.
    waits_for: tuple[DeliveryId, ...] = ()


class Deleter:
    """One for all requests: what they ask for is done one after another."""

    def __init__(
        self,
        *,
        store: Store,
        on_removed: Callable[[], None],
        log: FilteringBoundLogger,
        look_every: timedelta | None = None,
    ) -> None:
        """`on_removed` is called after each step: what waited behind a delivery that is gone is due now.

        `look_every`: so often is looked for what other processes were asked for; None: there are none.
        """
        self._look_every_s = math.inf if look_every is None else look_every.total_seconds()
        self._store = store
        self._on_removed = on_removed
        self._log = log
        self._wake = anyio.Event()
        self._waits_for: dict[int, tuple[DeliveryId, ...]] = {}

    async def delete(self, asked: DeletionRequest, who: str) -> Tally | int:
        """Say what would be removed, or begin with it and return its number. Raises `StoreError`."""
        async with self._reading() as reader:
            tally = await reader.tally(asked.which)
        if asked.is_dry_run:
            return tally
        told = Audit(who=who, what="events.delete", subject=criteria(asked.which), reason=asked.reason)
        number = await self._store.begin_deletion(asked.which, told)
        self._log.info("deletion.began", deletion=number, events=tally.events, who=who, reason=asked.reason)
        self._wake.set()
        return number

    async def progress(self, number: int) -> Progress:
        """Say how far it has come. Raises `KeyError` if there never was such a deletion, and `StoreError`."""
        async with self._reading() as reader:
            rows = await reader.audit(limit=1, before=number + 1)
            under_way = number in await reader.deletions()
        if not rows or rows[0].id != number or rows[0].what != "events.delete":
            raise KeyError(number)
        return Progress(
            number=number,
            events=rows[0].count,
            is_over=not under_way,
            waits_for=self._waits_for.get(number, ()),
        )

    async def run(self) -> None:
        """Do what is asked for, and what a process before this one left; until cancelled."""
        while True:
            self._wake = anyio.Event()
            try:
                async with self._reading() as reader:
                    numbers = await reader.deletions()
                for number in numbers:
                    await self._finish(number)
            except StoreError as error:
                self._log.warning(
                    "deletion.paused", why=str(error), next_step="it goes on by itself when the store can"
                )
                await anyio.sleep(_TROUBLE_S)
                continue
            with anyio.move_on_after(self._look_every_s):
                await self._wake.wait()

    async def _finish(self, number: int) -> None:
        """Remove all that is left of it, from the log of changes too."""
        is_over = False
        while not is_over:
            step = await self._store.continue_deletion(number)
            is_over = step.is_over
            self._on_removed()
            if step.waits_for:
                self._waits_for[number] = step.waits_for
            elif step.events:
                self._waits_for.pop(number, None)
            if step.waits_for and not step.events:
                await anyio.sleep(_PAUSE_S)
        self._waits_for.pop(number, None)
        # Somebody may still read what stands there; nothing says when it ends.
        while not await self._store.checkpoint():  # noqa: ASYNC110
            await anyio.sleep(_PAUSE_S)
        await self._store.end_deletion(number)
        async with self._reading() as reader:
            (row,) = await reader.audit(limit=1, before=number + 1)
        self._log.info("deletion.ended", deletion=number, events=row.count)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Reader]:
        reader = self._store.reader()
        try:
            yield reader
        finally:
            await reader.close()
