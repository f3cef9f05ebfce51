"""Claim what is due where there is room, and see it through. Knows store, commit and runner as protocols."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import anyio
from anyio.abc import TaskStatus

from hookline.daemon.delivery.attempts import Attempts, Means
from hookline.daemon.delivery.lanes import Lanes
from hookline.daemon.delivery.materials import Material, Materials
from hookline.daemon.delivery.policy import LanePolicy, Pace
from hookline.daemon.delivery.recorder import Commit, Recorder
from hookline.daemon.delivery.runner import Runner
from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import DeliveryId, Lane, SetLane, Token
from hookline.daemon.store.port import Claimed, Store, StoreError
from hookline.plugins import Log
from hookline.rules import Event, Step

__all__ = ["Dispatcher", "LanePolicy", "Pace"]

_LONGEST_PAUSE_S = 5.0


class Dispatcher:
    """Runs what is due, each lane by itself. Until `run` has started nothing is reserved or claimed."""

    def __init__(  # noqa: PLR0913 - it joins this many parts, each by name
        self,
        *,
        store: Store,
        commit: Commit,
        runner: Runner,
        policies: Callable[[Lane], LanePolicy],
        clock: Callable[[], datetime],
        chance: Callable[[], float],
        ids: Ids,
        log: Log,
        pace: Pace | None = None,
    ) -> None:
        """`policies` is asked each time, so that a reload counts at once; `chance` is between 0 and 1."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._log = log
        self._pace = pace or Pace()
        self._means = Means(runner=runner, policies=policies, clock=clock, chance=chance, log=log, pace=self._pace)
        self._recorder = Recorder(commit, log=log, backoff=self._pace.pause, on_recovered=self._recover)
        self._lanes = Lanes(lambda lane: policies(lane).concurrency, cap=self._pace.cap)
        self._attempts: Attempts | None = None
        self._reserved: dict[Token, Lane] = {}
        self._woken = asyncio.Event()
        self._must_look = True
        self._is_open = False
        self._is_claiming = False
        #: In a row.
        self._refusals = 0
        #: Set while a drain waits.
        self._quiet: asyncio.Event | None = None

    def reserve(self, lane: Lane) -> Token | None:
        """Take a place for a new delivery; None if it is to be inserted pending.

        Each token comes back by `start`, `vacate` or `give_back`.
        """
        if not self._is_open or self._recorder.is_troubled or not self._lanes.reserve(lane, self._clock()):
            return None
        token = Token(self._ids.token())
        self._reserved[token] = lane
        return token

    def start(  # noqa: PLR0913 - all but the first are what a claim alone would have to read
        self, claimed: Claimed, *, event: Event, body: bytes, content_type: str, is_split: bool, step: Step
    ) -> None:
        """Begin at once a delivery that was claimed inside its accept."""
        del self._reserved[claimed.token]
        # None: `run` has ended, and the next start of the daemon finds it running and frees it.
        if self._attempts is not None:
            material = Material(event=event, body=body, content_type=content_type, is_split=is_split, step=step)
            self._attempts.launch(claimed, material)

    def vacate(self, tokens: Iterable[Token]) -> None:
        """Give back places whose deliveries were not inserted: their event is a duplicate."""
        for token in tokens:
            self._lanes.vacate(self._reserved.pop(token))
        self._woken.set()
        self._note_quiet()

    def give_back(self, tokens: Mapping[DeliveryId, Token]) -> None:
        """Give back places of an `Accept` whose outcome is unknown; if it was committed after all, they are pending."""
        for delivery_id, token in tokens.items():
            lane = self._reserved.pop(token)
            if self._attempts is not None:
                self._attempts.give_back(delivery_id, token, lane)
        self._woken.set()
        self._note_quiet()

    def queued(self, lane: Lane) -> None:
        """Learn that a delivery without a token was committed to this lane."""
        self._lanes.waits(lane, self._clock())
        self._woken.set()

    def wake(self) -> None:
        """Look at the store anew: something else wrote deliveries, time was changed, or the configuration was."""
        self._must_look = True
        self._woken.set()

    @property
    def running(self) -> int:
        """How many attempts run."""
        return self._lanes.running

    @property
    def waiting(self) -> int:
        """In how many lanes deliveries are known to wait."""
        return self._lanes.waiting

    @property
    def unsettled(self) -> int:
        """How many deliveries run, or have a result that is not in the store yet."""
        return self._attempts.unsettled if self._attempts else 0

    @property
    def is_troubled(self) -> bool:
        """True while the store does not take results, so that nothing is started."""
        return self._recorder.is_troubled

    async def hold(self, lane: Lane, reason: str) -> None:
        """Start nothing in this lane from now on; returns when that is durable."""
        self._lanes.hold(lane)
        if self._attempts is not None:
            self._attempts.give_back_ready(lane)
        await self._recorder.record(SetLane(lane=lane, is_held=True, reason=reason))

    async def release(self, lane: Lane) -> None:
        """Let a held lane go on; returns when that is durable."""
        await self._recorder.record(SetLane(lane=lane, is_held=False))
        self._lanes.release(lane)
        self.wake()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Dispatch until cancelled; has started when it knows what is held and what waits."""
        reader = self._store.reader()
        try:
            async with asyncio.TaskGroup() as group:
                self._attempts = Attempts(
                    self._means,
                    materials=Materials(reader),
                    recorder=self._recorder,
                    lanes=self._lanes,
                    group=group,
                    on_room=self._woken.set,
                    on_settled=self._note_quiet,
                )
                await self._learn()
                self._is_open = True
                task_status.started()
                group.create_task(self._tend_forever())
                await self._claim_forever()
        finally:
            self._attempts, self._is_open = None, False
            # A reader that is not closed leaves a thread behind, and the process never ends.
            with anyio.move_on_after(5, shield=True):
                await reader.close()

    async def drain(self, bound: timedelta = timedelta(seconds=20)) -> None:
        """Start nothing more and let what runs end; after `bound` give the rest back. Returns when all is recorded."""
        self._is_open = False
        if self._attempts:
            self._attempts.stop()
        if await self._becomes_quiet(bound):
            return
        if self._attempts is not None:
            self._attempts.cut_off()
        if not await self._becomes_quiet(self._pace.last_records):
            self._log.warning(
                "dispatcher.drain_incomplete",
                deliveries=self.unsettled,
                next_step="the next start tries them again and counts a crash",
            )

    async def tend(self) -> None:
        """Renew the leases of what runs, free what nobody renewed, give up on what never ends."""
        if self._attempts is None:
            return
        self._attempts.give_up_on_overdue()
        try:
            tokens = self._attempts.tokens
            good = await self._store.renew(tokens, lease=self._pace.lease)
            self._attempts.note_renewed(tokens, good)
            # After renewing only: it would free what is ours.
            await self._store.free()
        except StoreError as error:
            self._log.warning("dispatcher.store_error", error=str(error))
        self.wake()

    async def _tend_forever(self) -> None:
        while True:
            await anyio.sleep(self._pace.lease.total_seconds() / 3)
            await self.tend()

    async def _claim_forever(self) -> None:
        while True:
            # Cleared before looking, so that whatever comes meanwhile wakes again.
            self._woken.clear()
            wait_s = await self._claim_all()
            with anyio.move_on_after(wait_s):
                await self._woken.wait()

    async def _claim_all(self) -> float:
        """Start all that there is room for; return in how many seconds something more is due."""
        has_looked = False
        try:
            while self._is_open and not self._recorder.is_troubled:
                if await self._claim_once():
                    continue
                if not self._must_look or has_looked:
                    break
                has_looked = True
                await self._look()
            self._refusals = 0
        except StoreError as error:
            self._must_look = True
            self._refuse(error)
        if not self._is_open or self._recorder.is_troubled:
            return math.inf
        if self._must_look:
            return min(self._pace.pause.total_seconds() * 2.0 ** min(self._refusals, 10), _LONGEST_PAUSE_S)
        now = self._clock()
        due_at = self._lanes.next_due(now)
        return math.inf if due_at is None else (due_at - now).total_seconds()

    async def _claim_once(self) -> bool:
        now = self._clock()
        room = self._lanes.room(now)
        if not room or self._attempts is None:
            return False
        self._lanes.occupy(room)
        self._is_claiming = True
        claimed: list[Claimed] = []
        try:
            claimed = await self._store.claim(room, lease=self._pace.lease)
        finally:
            got = Counter(one.lane for one in claimed)
            for lane, asked in room.items():
                if not self._lanes.settle(lane, asked=asked, got=got[lane], now=now):
                    self._must_look = True
            self._is_claiming = False
        for one in claimed:
            self._attempts.launch(one)
        self._note_quiet()
        return bool(claimed)

    async def _learn(self) -> None:
        while True:
            try:
                for lane in await self._store.held():
                    self._lanes.hold(lane)
                await self._look()
            except StoreError as error:
                self._refuse(error)
                await anyio.sleep(self._pace.pause.total_seconds())
            else:
                return

    def _refuse(self, error: StoreError) -> None:
        self._refusals += 1
        # Once for a stretch of trouble: a full disk must not be filled by the log.
        if self._refusals == 1:
            self._log.warning("dispatcher.store_error", error=str(error), next_step="claims again by itself")

    async def _look(self) -> None:
        self._must_look = False
        for lane, due_at in (await self._store.waiting()).items():
            self._lanes.waits(lane, due_at)

    def _recover(self) -> None:
        if self._attempts is not None:
            self._attempts.go_on()
        self.wake()

    def _is_quiet(self) -> bool:
        return not self._reserved and not self._is_claiming and self.unsettled == 0

    def _note_quiet(self) -> None:
        if self._quiet is not None and self._is_quiet():
            self._quiet.set()

    async def _becomes_quiet(self, bound: timedelta) -> bool:
        self._quiet = asyncio.Event()
        self._note_quiet()
        with anyio.move_on_after(bound.total_seconds()):
            await self._quiet.wait()
        return self._is_quiet()
