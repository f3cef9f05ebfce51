"""Claim what is due where there is room, and see it through. Knows store, commit and runner as protocols."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import anyio
from anyio.abc import TaskStatus

from hookline.daemon.delivery.attempts import Attempts, Means
from hookline.daemon.delivery.claims import Claims
from hookline.daemon.delivery.conclusions import Conclusions
from hookline.daemon.delivery.materials import Material, Materials
from hookline.daemon.delivery.notices import NoNotices, Notices
from hookline.daemon.delivery.peers import Peers
from hookline.daemon.delivery.recorded import Recorded
from hookline.daemon.delivery.recorder import Commit, Recorder
from hookline.daemon.delivery.runner import Runner
from hookline.daemon.ids import Ids
from hookline.daemon.lanes.book import LaneStatus
from hookline.daemon.lanes.health import LaneHealth
from hookline.daemon.lanes.lanes import Lanes
from hookline.daemon.lanes.policy import LanePolicy, Pace
from hookline.daemon.store.changes import DeliveryId, FlushDigests, Lane, SetLane, Token
from hookline.daemon.store.port import Store, StoreError
from hookline.daemon.store.sharing import Shared
from hookline.daemon.store.stored import Claimed
from hookline.plugins import Log

__all__ = ["Dispatcher", "LanePolicy", "LaneStatus", "Material", "Pace"]

_LOST_AT_ONCE = 500
#: Where nodes share the store, news of what waits may be lost.
_LOOKS_EVERY_S = 1.0
_NOTHING = timedelta(0)


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
        notices: Notices | None = None,
        pace: Pace | None = None,
        age: Callable[[datetime], timedelta] | None = None,
        in_trouble: Callable[[], bool] = lambda: False,
        on_recorded: Callable[[Recorded], None] | None = None,
        peers: Peers | None = None,
    ) -> None:
        """`policies` is asked each time, so that a reload counts at once; `chance` is between 0 and 1.

        `notices` makes the events about ourselves; nothing is said without. `age` returns how long ago a time was; by
        default, by `clock` alone. `in_trouble` says whether it is known and told that the store does not work.
        `on_recorded` is told of each attempt that the store has, and must not raise. `peers` are the nodes that share
        the store, if it is shared; then `adopt` says what all of them act by.
        """
        notices = notices or NoNotices()
        self._store = store
        self._clock = clock
        self._ids = ids
        self._log = log
        self._pace = pace or Pace()
        self._recorder = Recorder(
            commit,
            log=log,
            backoff=self._pace.pause,
            on_recovered=self.go_on,
            on_own=self.wake,
            in_trouble=in_trouble,
        )
        self._peers = peers
        self._lanes = Lanes(policies, cap=self._pace.cap, has_shared_breakers=peers is not None)
        self._health = LaneHealth(notices, age=age)
        conclusions = Conclusions(
            policies=policies, health=self._health, notices=notices, clock=clock, chance=chance, log=log, age=age
        )
        self._means = Means(
            runner=runner,
            conclusions=conclusions,
            recorder=self._recorder,
            lanes=self._lanes,
            clock=clock,
            log=log,
            pace=self._pace,
            on_recorded=on_recorded,
            peers=peers,
        )
        self._attempts: Attempts | None = None
        #: The lane of each place, and until when what is begun with it is ours.
        self._reserved: dict[Token, tuple[Lane, float]] = {}
        #: Whether new deliveries may have a place, and whether those that wait are claimed.
        self._is_open = False
        self._is_claiming = False
        self._claims = Claims(
            store=store,
            lanes=self._lanes,
            launch=self._launch,
            may_claim=self._may_claim,
            in_trouble=in_trouble,
            on_change=self._note_change,
            clock=clock,
            log=log,
            pace=self._pace,
            lease_until=self._lease_until,
            looks_every=math.inf if peers is None else _LOOKS_EVERY_S,
        )
        #: Set when something came to its end, for a drain that waits.
        self._changed = asyncio.Event()

    def reserve(self, lane: Lane) -> Token | None:
        """Take a place for a new delivery; None if it is to be inserted pending.

        Each token comes back by `start`, `vacate` or `give_back`.
        """
        if not self._is_open or self._recorder.is_troubled or (self._peers and not self._peers.may_begin()):
            return None
        if not self._lanes.reserve(lane, self._clock()):
            return None
        token = Token(self._ids.token())
        self._reserved[token] = (lane, self._lease_until())
        return token

    def start(self, claimed: Claimed, material: Material) -> None:
        """Begin at once a delivery that was claimed inside its accept."""
        _, until = self._reserved.pop(claimed.token)
        # None: `run` has ended, and the next start of the daemon finds it running and frees it.
        if self._attempts is not None:
            self._attempts.launch(claimed, material, until=until)

    def vacate(self, tokens: Iterable[Token]) -> None:
        """Give back places whose deliveries were not inserted: their event is a duplicate."""
        for token in tokens:
            self._lanes.vacate(self._reserved.pop(token)[0])
        self._claims.wake()
        self._note_change()

    def give_back(self, tokens: Mapping[DeliveryId, Token]) -> None:
        """Give back places of an `Accept` whose outcome is unknown; if it was committed after all, they are pending."""
        for delivery_id, token in tokens.items():
            lane, _ = self._reserved.pop(token)
            if self._attempts is not None:
                self._attempts.give_back(delivery_id, token, lane)
        self._claims.wake()
        self._note_change()

    def queued(self, lane: Lane, due_in: timedelta = _NOTHING) -> None:
        """Learn that a delivery without a token was committed to this lane, and how long until it is due."""
        self._lanes.waits(lane, self._clock() + due_in)
        self._claims.wake()

    async def put_off(self, by: timedelta, *, after: datetime) -> int:
        """Let all that waits for a time after `after` wait as long as before `clock` went ahead by `by`.

        To be called right after that, before anything else gets a turn. Returns how many deliveries that are.
        Raises `StoreError`.
        """
        self._lanes.put_off(by, after=after)
        try:
            return await self._store.put_off(by, after=after)
        finally:
            self.wake()

    def wake(self) -> None:
        """Look at the store anew: something else wrote deliveries, time was changed, or the configuration was."""
        self._claims.look_anew()

    def go_on(self) -> None:
        """Begin what was left alone while the store was in trouble, if it is over; for who told of `in_trouble`."""
        if self._attempts is not None:
            self._attempts.go_on()
        self.wake()

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
        """True while the store does not take results, or nothing new, so that nothing is started."""
        return self._recorder.is_troubled

    def lane_status(self, lane: Lane) -> LaneStatus:
        """Say how a lane stands at this moment."""
        return self._lanes.status(lane, self._clock())

    def lane_states(self) -> Mapping[Lane, LaneStatus]:
        """Say how each lane stands that something is known of here; of all others, nothing is in the way."""
        return {lane: self.lane_status(lane) for lane in self._lanes.known}

    async def hold(self, lane: Lane, reason: str) -> None:
        """Start nothing in this lane from now on; returns when that is durable."""
        self._lanes.hold(lane)
        if self._attempts is not None:
            self._attempts.give_back_ready(lane)
        await self._recorder.record_in_turn(lane, SetLane(lane=lane, is_held=True, reason=reason))
        await self._settle()

    async def release(self, lane: Lane) -> None:
        """Let a held lane go on, slowly at first; returns when that is durable. Its failure budget begins anew."""
        health = self._health.released(lane)
        changes = (SetLane(lane=lane, is_held=False), *((health,) if health else ()))
        await self._recorder.record_in_turn(lane, *changes)
        self._lanes.release(lane)
        self.wake()
        await self._settle()

    def adopt(self, shared: Shared) -> None:
        """Act by what all nodes know, from now on."""
        if self._peers is None:
            return
        # Of what is on its way to the store, that knows an older state.
        changing = {*self._recorder.changing}
        for lane in [*self._lanes.known]:
            if self._lanes.is_held(lane) and lane not in shared.held and lane not in changing:
                self._lanes.release(lane)
        for lane in shared.held.keys() - changing:
            self._lanes.hold(lane)
        self._lanes.adopt(shared.breakers, me=self._peers.me)
        self._health.adopt(shared.failing)
        if self._attempts is not None:
            # What is at hand of a lane that is shut now goes back to the store.
            self._attempts.go_on()
        self._claims.look_soon()

    def told(self) -> None:
        """Learn that another node left something to do."""
        self._claims.look_soon()

    @property
    def running_in(self) -> Mapping[Lane, int]:
        """How many attempts run in each lane in which some do."""
        return self._lanes.running_in

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Dispatch until cancelled; has started when it knows what is held and what waits."""
        reader = self._store.reader()
        try:
            async with asyncio.TaskGroup() as group:
                self._attempts = Attempts(
                    self._means,
                    materials=Materials(reader),
                    group=group,
                    on_room=self._claims.wake,
                    on_settled=self._note_change,
                )
                await self._learn()
                self._is_open = self._is_claiming = True
                task_status.started()
                group.create_task(self._tend_forever())
                await self._claims.run()
        finally:
            self._attempts, self._is_open, self._is_claiming = None, False, False
            # A reader that is not closed leaves a thread behind, and the process never ends.
            with anyio.move_on_after(5, shield=True):
                await reader.close()

    async def drain(self, bound: timedelta = timedelta(seconds=20)) -> None:
        """Start nothing more and let what runs end; after `bound` give the rest back. Returns when all is recorded.

        Digests that are to be sent when the daemon stops go out before, in at most half of that.
        """
        self._is_open = False
        began = _now_s()
        # Other nodes go on to collect.
        if self._attempts is not None and (self._peers is None or self._peers.is_alone):
            with anyio.move_on_after(bound.total_seconds() / 2):
                await self._flush()
        self._is_claiming = False
        if self._attempts is not None:
            self._attempts.stop()
        if await self._becomes_quiet(bound.total_seconds() - (_now_s() - began)):
            return
        if self._attempts is not None:
            self._attempts.cut_off()
        if not await self._becomes_quiet(self._pace.last_records.total_seconds()):
            self._log.warning(
                "dispatcher.drain_incomplete",
                deliveries=self.unsettled,
                next_step="the next start tries them again and counts a crash",
            )

    async def tend(self) -> None:
        """Renew the leases of what runs, end those that nobody renewed, give up on what never ends."""
        if self._attempts is None:
            return
        self._attempts.give_up_on_overdue()
        try:
            tokens, until = self._attempts.tokens, self._lease_until()
            good = await self._store.renew(tokens, lease=self._pace.lease)
            self._attempts.note_renewed(tokens, good, until=until)
            # After renewing only: it would end what is ours.
            await self._attempts.end_lost(await self._store.lost(limit=_LOST_AT_ONCE))
        except StoreError as error:
            self._claims.refuse(error)
        self.wake()

    async def _flush(self) -> None:
        """Make due what was to be sent at a stop, and return when nothing more can be begun at once."""
        flushed, _ = await self._recorder.record(FlushDigests())
        if not flushed:
            return
        self.wake()
        while not (self._claims.is_idle and self._is_quiet()):
            self._changed.clear()
            await self._changed.wait()

    async def _tend_forever(self) -> None:
        while True:
            await anyio.sleep(self._pace.lease.total_seconds() / 3)
            await self.tend()

    async def _learn(self) -> None:
        while True:
            try:
                for lane in await self._store.held():
                    self._lanes.hold(lane)
                failing = await self._store.failing()
                self._health.learn(failing)
                for lane in failing:
                    self._lanes.start_slowly(lane)
                await self._end_lost()
                await self._claims.look()
            except StoreError as error:
                self._claims.refuse(error)
                await anyio.sleep(self._pace.pause.total_seconds())
            else:
                return

    async def _end_lost(self) -> None:
        """End what the process before this one left running."""
        while self._attempts is not None:
            lost = await self._store.lost(limit=_LOST_AT_ONCE)
            if not lost:
                return
            await self._attempts.end_lost(lost)

    def _launch(self, claimed: Claimed, until: float) -> None:
        if self._attempts is not None:
            self._attempts.launch(claimed, until=until)

    def _may_claim(self) -> bool:
        is_member = self._peers is None or self._peers.may_begin()
        return self._is_claiming and is_member and not self._recorder.is_troubled

    def _lease_until(self) -> float:
        return math.inf if self._peers is None else self._peers.passed() + self._pace.lease.total_seconds()

    async def _settle(self) -> None:
        if self._peers is not None:
            await self._peers.settle()

    def _is_quiet(self) -> bool:
        return not self._reserved and self._claims.is_quiet and self.unsettled == 0

    def _note_change(self) -> None:
        self._changed.set()

    async def _becomes_quiet(self, seconds: float) -> bool:
        with anyio.move_on_after(max(0.0, seconds)):
            while not self._is_quiet():
                self._changed.clear()
                await self._changed.wait()
        return self._is_quiet()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
