"""A worker of its own for what is only tried out: whatever is typed, no delivery runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from hookline.daemon.actions.previewing import PreviewKit
from hookline.daemon.delivery.runner import Rendered
from hookline.daemon.workers.inspector import Inspector, InspectorError
from hookline.daemon.workers.plan import Plan
from hookline.daemon.workers.worker import Surroundings
from hookline.rules import Event, Problem

#: How long one step may take to be rendered.
STEP_SECONDS: Final = 2.0
#: How long a caller waits until those before it are done.
_TURN_SECONDS: Final = 10.0
#: How long the worker is kept when nobody asks.
IDLE_SECONDS: Final = 600.0
#: How long a plug-in may take to load (what takes longer was found when it went live), and options to be checked.
_CHECK_SECONDS: Final = 5.0
_BUSY: Final = "too many others are being tried out; ask again"


class Rehearser:
    """Renders and checks steps with the plug-ins of one plan, one caller at a time. Its process starts when needed."""

    def __init__(self, plan: Plan, surroundings: Surroundings, *, idle_seconds: float = IDLE_SECONDS) -> None:
        """Start nothing yet."""
        self.plan = plan
        self._surroundings = surroundings
        self._idle_seconds = idle_seconds
        self._turn = asyncio.Lock()
        self._inspector: Inspector | None = None
        self._idle: asyncio.TimerHandle | None = None

    def warm(self) -> None:
        """Have the process start, if there is none: somebody may ask soon."""
        if self._turn.locked():
            return
        if self._inspector is None:
            inspector = self._new()
            try:
                inspector.begin()
            except OSError:
                # Whoever asks is told why.
                return
            self._inspector = inspector
        self._rest()

    async def show(self, event: Event, kits: Sequence[PreviewKit]) -> list[Rendered]:
        """Render steps; of what cannot be rendered that is the problem."""
        shown: list[Rendered] = []
        try:
            async with self._at_hand() as inspector:
                items = [kit.to_json() for kit in kits]
                async for options, problem in inspector.show(event, items, seconds=STEP_SECONDS):
                    shown.append(kits[len(shown)].rendered(options, problem))
        except (InspectorError, OSError, TimeoutError) as error:
            rest = kits[len(shown) :]
            return shown + [kit.rendered({}, f"it cannot be shown: {error or _BUSY}") for kit in rest]
        return shown

    async def validate(self, items: Sequence[dict[str, Any]]) -> tuple[Problem, ...]:
        """Check options as `Inspector.validate`; that they cannot be checked is a problem too."""
        try:
            async with self._at_hand() as inspector:
                return await inspector.validate(items)
        except (InspectorError, OSError, TimeoutError) as error:
            message = f"options were not checked: {error or _BUSY}"
            return (Problem(place=None, path="do", message=message, severity="warning"),)

    async def close(self) -> None:
        """End its process, if it has one."""
        if self._idle is not None:
            self._idle.cancel()
        await self._end()

    @asynccontextmanager
    async def _at_hand(self) -> AsyncIterator[Inspector]:
        """Wait for one's turn; the process is ended if it did not answer, as what it says later is not asked for."""
        async with asyncio.timeout(_TURN_SECONDS):
            await self._turn.acquire()
        if self._idle is not None:
            self._idle.cancel()
        is_well = False
        try:
            inspector = self._inspector = self._inspector or self._new()
            if not inspector.is_loaded:
                await inspector.load()
            yield inspector
            is_well = True
        finally:
            if not is_well:
                with anyio.CancelScope(shield=True):
                    await self._end()
            self._turn.release()
            self._rest()

    def _new(self) -> Inspector:
        return Inspector(self.plan, self._surroundings, seconds=_CHECK_SECONDS)

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, self._end_idle)

    def _end_idle(self) -> None:
        inspector, self._inspector = self._inspector, None
        worker = None if inspector is None else inspector.give_up_worker()
        if worker is not None:
            worker.kill()

    async def _end(self) -> None:
        inspector, self._inspector = self._inspector, None
        if inspector is not None:
            await inspector.close()
