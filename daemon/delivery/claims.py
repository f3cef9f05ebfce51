"""Claim what is due wherever a lane has room, and sleep until something may be due."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import anyio

from hookline.daemon.lanes.lanes import Lanes
from hookline.daemon.lanes.policy import Pace
from hookline.daemon.store.port import Store, StoreError
from hookline.daemon.store.stored import Claimed
from hookline.plugins import Log

_LONGEST_PAUSE_S = 5.0
_LEAST_BETWEEN_S = 0.05


class Claims:
    """The loop between the lanes and the store. It asks the store nothing while nothing is due."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        *,
        store: Store,
        lanes: Lanes,
        launch: Callable[[Claimed, float], None],
        may_claim: Callable[[], bool],
        in_trouble: Callable[[], bool],
        on_change: Callable[[], None],
        clock: Callable[[], datetime],
        log: Log,
        pace: Pace,
        lease_until: Callable[[], float] = lambda: math.inf,
        looks_every: float = math.inf,
    ) -> None:
        """`launch` is given each claim, and until when it is ours; `on_change` is called when a claim or a look ended.

        `in_trouble` says whether what is the matter with the store was said already. `lease_until` returns until when
        is ours what is claimed from now on. `looks_every`: as many seconds after a look, at most, the store is asked
        anew what waits.
        """
        self._store = store
        self._lanes = lanes
        self._launch = launch
        self._may_claim = may_claim
        self._in_trouble = in_trouble
        self._on_change = on_change
        self._clock = clock
        self._log = log
        self._pace = pace
        self._lease_until = lease_until
        self._looks_every = looks_every
        #: By the loop's clock.
        self._looked_at = -math.inf
        self._woken = asyncio.Event()
        self._must_look = True
        #: Somebody asked for a look too soon after the last one.
        self._will_look = False
        self._is_claiming = False
        #: In a row.
        self._refusals = 0

    @property
    def is_quiet(self) -> bool:
        """True if no claim is on the way."""
        return not self._is_claiming

    @property
    def is_idle(self) -> bool:
        """True if all that the store holds is known, and there is room for nothing that is due."""
        return not self._is_claiming and not self._must_look and not self._lanes.room(self._clock())

    def wake(self) -> None:
        """Claim again: there is more room, or more waits than was known."""
        self._woken.set()

    def look_anew(self) -> None:
        """Ask the store again what waits: something else wrote there, or time was changed."""
        self._must_look = True
        self._woken.set()

    def look_soon(self) -> None:
        """Ask the store again what waits, a little after the last time: others say so with each thing they write."""
        rest_s = self._looked_at + _LEAST_BETWEEN_S - asyncio.get_running_loop().time()
        if rest_s <= 0:
            self.look_anew()
        elif not self._will_look:
            self._will_look = True
            asyncio.get_running_loop().call_later(rest_s, self.look_anew)

    async def run(self) -> None:
        """Claim until cancelled."""
        while True:
            # Cleared before looking, so that whatever comes meanwhile wakes again.
            self._woken.clear()
            wait_s = await self._claim_all()
            with anyio.move_on_after(min(wait_s, self._looks_every)) as waiting:
                await self._woken.wait()
            if waiting.cancelled_caught and wait_s > self._looks_every:
                self._must_look = True

    async def look(self) -> None:
        """Learn what waits. Raises `StoreError`."""
        self._must_look = self._will_look = False
        self._looked_at = asyncio.get_running_loop().time()
        for lane, due_at in (await self._store.waiting()).items():
            self._lanes.waits(lane, due_at)
        self._on_change()

    def refuse(self, error: StoreError) -> None:
        """Note that the store is in trouble."""
        self._refusals += 1
        # Once for a stretch of trouble: a full disk must not be filled by the log.
        if self._refusals == 1 and not self._in_trouble():
            self._log.warning("dispatcher.store_error", why=str(error), next_step="claims again by itself")

    async def _claim_all(self) -> float:
        """Start all that there is room for; return in how many seconds something more is due."""
        has_looked = False
        try:
            while self._may_claim():
                if await self._claim_once():
                    continue
                if not self._must_look or has_looked:
                    break
                has_looked = True
                await self.look()
            self._refusals = 0
        except StoreError as error:
            self._must_look = True
            self.refuse(error)
        if not self._may_claim():
            return math.inf
        if self._must_look:
            return min(self._pace.pause.total_seconds() * 2.0 ** min(self._refusals, 10), _LONGEST_PAUSE_S)
        now = self._clock()
        due_at = self._lanes.next_due(now)
        return math.inf if due_at is None else (due_at - now).total_seconds()

    async def _claim_once(self) -> bool:
        now = self._clock()
        room = self._lanes.room(now)
        if not room:
            return False
        self._lanes.occupy(room, now)
        self._is_claiming = True
        claimed: list[Claimed] = []
        until = self._lease_until()
        try:
            claimed = await self._store.claim(room, lease=self._pace.lease)
        finally:
            got = Counter(one.lane for one in claimed)
            for lane, asked in room.items():
                if not self._lanes.settle(lane, asked=asked, got=got[lane], now=now):
                    self._must_look = True
            self._is_claiming = False
        for one in claimed:
            self._launch(one, until)
        self._on_change()
        return bool(claimed)
