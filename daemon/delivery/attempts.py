"""What happens to a claimed delivery: made, recorded, and its slot given back."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from hookline.daemon.delivery.lanes import Lanes
from hookline.daemon.delivery.materials import Material, Materials, MissingMaterialError
from hookline.daemon.delivery.policy import DEFAULT_TIMEOUT, LanePolicy, Pace
from hookline.daemon.delivery.recorder import Recorder
from hookline.daemon.delivery.results import attempt_of, log_attempt, not_tried, record_of
from hookline.daemon.delivery.retry import DEFAULT_RETRY, MISSING, Decision, decide
from hookline.daemon.delivery.runner import Result, Runner
from hookline.daemon.store.changes import DeliveryId, Lane, Outcome, Record, SetLane, State, Token
from hookline.daemon.store.port import Claimed, StoreError
from hookline.plugins import Delivery, Log

_NOTHING = timedelta(0)
#: How long a delivery waits whose event could not be read.
_READ_AGAIN_IN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every attempt is made with."""

    runner: Runner
    policies: Callable[[Lane], LanePolicy]
    clock: Callable[[], datetime]
    #: Between 0 and 1.
    chance: Callable[[], float]
    log: Log
    pace: Pace


@dataclass(slots=True, eq=False)
class _Ours:
    """A delivery that is ours: from its claim until its record is in the store."""

    claimed: Claimed
    #: None until it was read from the store.
    material: Material | None
    task: asyncio.Task[None] | None = None
    #: By the loop's clock: when to give up on the runner; never, before it is asked.
    give_up_at: float = math.inf
    is_given_up: bool = False
    is_cut_off: bool = False
    #: A task that is cancelled before its first step never takes one, and could not give back what it stands for.
    has_begun: bool = False
    #: From then on losing the token is nothing to report.
    is_handed_over: bool = False


class Attempts:
    """All deliveries that are ours. Their places in `lanes` are taken by the caller and given back here."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        means: Means,
        *,
        materials: Materials,
        recorder: Recorder,
        lanes: Lanes,
        group: asyncio.TaskGroup,
        on_room: Callable[[], None],
        on_settled: Callable[[], None],
    ) -> None:
        """Tasks run in `group`.

        `on_room` is called when something that waits may be claimed or be due, `on_settled` when nothing is ours any
        more.
        """
        self._means = means
        self._materials = materials
        self._recorder = recorder
        self._lanes = lanes
        # asyncio's and not anyio's: a third of the cost for each delivery, and a context of its own for each.
        self._group = group
        self._on_room = on_room
        self._on_settled = on_settled
        self._ours: dict[DeliveryId, _Ours] = {}
        #: Claimed ahead: begun when one before them in their lane ends.
        self._ready: dict[Lane, deque[_Ours]] = {}
        self._returning = 0
        self._is_stopped = False

    @property
    def unsettled(self) -> int:
        """How many deliveries are ours yet: their record is not in the store."""
        return len(self._ours) + self._returning

    @property
    def tokens(self) -> dict[DeliveryId, Token]:
        """What to renew."""
        return {ours.claimed.id: ours.claimed.token for ours in self._ours.values()}

    def launch(self, claimed: Claimed, material: Material | None = None) -> None:
        """Run a delivery as soon as its lane lets it; without material it is read from the store."""
        lane = claimed.lane
        if self._is_stopped or self._lanes.is_held(lane):
            self.give_back(claimed.id, claimed.token, lane)
            return
        ours = self._ours[claimed.id] = _Ours(claimed, material)
        if not self._recorder.is_troubled and self._lanes.begin(lane):
            ours.task = self._group.create_task(self._attempt(ours))
        else:
            self._ready.setdefault(lane, deque()).append(ours)

    def go_on(self) -> None:
        """Begin what was left alone while the store took no results."""
        for lane in tuple(self._ready):
            self._begin_ready(lane)

    def give_back(self, delivery_id: DeliveryId, token: Token, lane: Lane) -> None:
        """Make a claim pending again, which may or may not have been made, and give back its place."""
        self._returning += 1
        self._group.create_task(self._return(delivery_id, token, lane))
        self._lanes.vacate(lane)

    def hold(self, lane: Lane, reason: str) -> None:
        """Hold a lane, visibly; durable soon."""
        self._lanes.hold(lane)
        goes_on = "goes on by itself when that is back" if reason.startswith(MISSING) else f"hookline release {lane}"
        self._means.log.warning("destination.held", lane=lane, reason=reason, next_step=goes_on)
        self._group.create_task(self._note_held(SetLane(lane=lane, is_held=True, reason=reason)))
        self.give_back_ready(lane)

    def give_back_ready(self, lane: Lane) -> None:
        """Give back what waits here for its turn in this lane."""
        for ours in self._ready.pop(lane, ()):
            del self._ours[ours.claimed.id]
            self.give_back(ours.claimed.id, ours.claimed.token, lane)

    def stop(self) -> None:
        """Begin nothing more, and give back what has not begun."""
        self._is_stopped = True
        for lane in tuple(self._ready):
            self.give_back_ready(lane)

    def cut_off(self) -> None:
        """Cancel what runs, and give it back with no attempt spent."""
        for ours in self._ours.values():
            ours.is_cut_off = True
            _cancel(ours)

    def give_up_on_overdue(self) -> None:
        """Cancel what its runner should have ended long ago: how it ended is unknown."""
        now = asyncio.get_running_loop().time()
        for ours in self._ours.values():
            if now >= ours.give_up_at:
                ours.is_given_up = True
                _cancel(ours)

    def note_renewed(self, asked: dict[DeliveryId, Token], good: set[DeliveryId]) -> None:
        """Report what is no longer ours although it runs: its result will be dropped."""
        for delivery_id in asked.keys() - good:
            ours = self._ours.get(delivery_id)
            if ours is not None and not ours.is_handed_over and ours.claimed.token == asked[delivery_id]:
                self._means.log.warning("delivery.lease_lost", delivery_id=delivery_id, lane=ours.claimed.lane)

    async def _attempt(self, ours: _Ours) -> None:
        claimed, clock = ours.claimed, self._means.clock
        started_at, result, due_in = clock(), None, _NOTHING
        ours.has_begun = True
        try:
            if ours.material is None:
                ours.material = await self._materials.fetch(claimed)
                started_at = clock()
            if not ours.is_cut_off:
                result = await self._run(ours, ours.material)
        except MissingMaterialError as error:
            result = Result(outcome=Outcome.PERMANENT, duration=_NOTHING, note=str(error))
        except StoreError as error:
            due_in = _READ_AGAIN_IN
            self._means.log.warning("dispatcher.store_error", error=str(error), delivery_id=claimed.id)
        except asyncio.CancelledError:
            # Ours ends here; every other passes.
            if ours.task is None or not (ours.is_cut_off or ours.is_given_up) or ours.task.uncancel() > 0:
                raise
        ours.is_handed_over = True
        if result is None and ours.is_given_up:
            note = "the action did not end within its timeout, and was given up on"
            result = Result(outcome=Outcome.UNKNOWN, duration=max(_NOTHING, clock() - started_at), note=note)
        if result is None:
            await self._settle(claimed, record_of(claimed, None, not_tried(due_in=due_in)), None)
            return
        decision = self._decide(claimed, result, ours.material)
        if decision.hold is not None and not self._lanes.is_held(claimed.lane):
            self.hold(claimed.lane, decision.hold)
        attempt = attempt_of(claimed, result, started_at) if decision.spends_attempt else None
        if attempt is not None:
            log_attempt(self._means.log, claimed, attempt, decision, ours.material.event if ours.material else None)
        await self._settle(claimed, record_of(claimed, attempt, decision), result.duration)

    async def _run(self, ours: _Ours, material: Material) -> Result:
        claimed, step, means = ours.claimed, material.step, self._means
        said = (step.modifiers.timeout, means.policies(claimed.lane).modifiers.timeout)
        limit = next((one for one in said if one is not None), DEFAULT_TIMEOUT)
        ours.give_up_at = asyncio.get_running_loop().time() + (limit + means.pace.grace).total_seconds()
        delivery = Delivery(
            id=claimed.id,
            event=material.event,
            body=material.body,
            content_type=material.content_type,
            is_split=material.is_split,
            rule=claimed.rule,
            destination=claimed.destination,
            attempt=claimed.attempts + 1,
        )
        return await means.runner.run(delivery, step, limit=limit)

    def _decide(self, claimed: Claimed, result: Result, material: Material | None) -> Decision:
        if result.outcome is Outcome.DELIVERED and not result.is_unrunnable:
            return _DELIVERED
        said = material.step.modifiers.retry if material else None
        policy = said or self._means.policies(claimed.lane).modifiers.retry or DEFAULT_RETRY
        return decide(result, attempts_made=claimed.attempts + 1, policy=policy, chance=self._means.chance())

    async def _settle(self, claimed: Claimed, record: Record, took: timedelta | None) -> None:
        lane = claimed.lane
        # Nothing gets a turn between here and the handing over of the record, so nobody takes a slot whose delivery
        # the store would not hear of.
        self._lanes.end(lane, took)
        self._begin_ready(lane)
        if self._lanes.wants(lane, self._means.clock()):
            self._on_room()
        is_recorded, is_repeated = await self._recorder.record(record)
        del self._ours[claimed.id]
        if is_recorded and record.state is State.PENDING:
            self._lanes.waits(lane, self._means.clock() + record.due_in)
            self._on_room()
        elif not is_recorded and not is_repeated:
            # The lease ended while it ran, and someone else has it: theirs counts, ours changes nothing.
            self._means.log.warning("delivery.result_dropped", delivery_id=claimed.id, lane=lane)
        self._note_settled()

    def _begin_ready(self, lane: Lane) -> None:
        ready = self._ready.get(lane)
        if ready is None or self._recorder.is_troubled:
            return
        if not self._lanes.is_quick(lane):
            self.give_back_ready(lane)
            return
        while ready and self._lanes.begin(lane):
            ours = ready.popleft()
            ours.task = self._group.create_task(self._attempt(ours))
        if not ready:
            del self._ready[lane]

    async def _note_held(self, change: SetLane) -> None:
        await self._recorder.record(change)

    async def _return(self, delivery_id: DeliveryId, token: Token, lane: Lane) -> None:
        record = Record(delivery_id=delivery_id, token=token, attempt=None, state=State.PENDING)
        was_made, _ = await self._recorder.record(record)
        self._returning -= 1
        if was_made:
            self._lanes.waits(lane, self._means.clock())
            self._on_room()
        self._note_settled()

    def _note_settled(self) -> None:
        if not self._ours and not self._returning:
            self._on_settled()


_DELIVERED = Decision(state=State.DELIVERED)


def _cancel(ours: _Ours) -> None:
    # Not once its result is being recorded.
    if ours.task is not None and ours.has_begun and not ours.is_handed_over:
        ours.task.cancel()
