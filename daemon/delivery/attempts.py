"""What happens to a claimed delivery: made, recorded, and its slot given back."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hookline.daemon.delivery.conclusions import Conclusion, Conclusions
from hookline.daemon.delivery.materials import Material, Materials, MissingMaterialError
from hookline.daemon.delivery.peers import Peers
from hookline.daemon.delivery.recorded import Recorded, recorded_of
from hookline.daemon.delivery.recorder import Recorder
from hookline.daemon.delivery.results import record_of
from hookline.daemon.delivery.retry import AGAIN_SOON, MISSING, MOST_LOST, Decision
from hookline.daemon.delivery.runner import Result, Runner
from hookline.daemon.lanes.lanes import Lanes
from hookline.daemon.lanes.policy import Pace
from hookline.daemon.store.changes import (
    DeliveryId,
    Lane,
    LaneResult,
    Outcome,
    Record,
    SetHealth,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.stored import Claimed
from hookline.plugins import Log
from hookline.rules import Event

_NOTHING = timedelta(0)
#: How long a delivery waits whose event could not be read.
_READ_AGAIN_IN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every attempt is made with."""

    runner: Runner
    conclusions: Conclusions
    recorder: Recorder
    lanes: Lanes
    clock: Callable[[], datetime]
    log: Log
    pace: Pace
    #: Told of each attempt that the store has; must not raise.
    on_recorded: Callable[[Recorded], None] | None = None
    #: The nodes that share the store, if it is shared.
    peers: Peers | None = None


@dataclass(slots=True, eq=False)
class _Ours:
    """A delivery that is ours: from its claim until its record is in the store."""

    claimed: Claimed
    #: None until it was read from the store.
    material: Material | None
    #: By `Peers.passed`: from then on it may be another node's.
    until: float
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
    """All deliveries that are ours. Their places in the lanes are taken by the caller and given back here."""

    def __init__(
        self,
        means: Means,
        *,
        materials: Materials,
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
        self._recorder = means.recorder
        self._lanes = means.lanes
        # asyncio's and not anyio's: a third of the cost for each delivery, and a context of its own for each.
        self._group = group
        self._on_room = on_room
        self._on_settled = on_settled
        #: By token: another node may end a lease of ours, and we claim the same delivery anew while its first result
        #: waits for the store.
        self._ours: dict[Token, _Ours] = {}
        #: Claimed ahead: begun when one before them in their lane ends.
        self._ready: dict[Lane, deque[_Ours]] = {}
        #: A worker died under them. Forgotten when we end: then they run with others once more, which shows it again.
        self._suspects: set[DeliveryId] = set()
        #: Runs, and would be dead if we were killed once more.
        self._on_its_last: DeliveryId | None = None
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

    def launch(self, claimed: Claimed, material: Material | None = None, *, until: float = math.inf) -> None:
        """Run a delivery as soon as its lane lets it, if it is ours still; without material it is read from the store.

        `until`: by the clock that nodes share the store by.
        """
        lane, now = claimed.lane, self._means.clock()
        if self._is_stopped:
            self.give_back(claimed.id, claimed.token, lane)
            return
        if claimed.crashes and not self._may_risk(claimed, now):
            self.give_back(claimed.id, claimed.token, lane, due_in=AGAIN_SOON)
            return
        ours = _Ours(claimed, material, until)
        if not self._recorder.is_troubled and self._lanes.begin(lane, now):
            self._begin(ours)
        elif self._recorder.is_troubled or self._lanes.is_quick(lane, now):
            self._ours[claimed.token] = ours
            self._ready.setdefault(lane, deque()).append(ours)
        else:
            self.give_back(claimed.id, claimed.token, lane)

    def go_on(self) -> None:
        """Begin what was left alone while the store took no results."""
        for lane in tuple(self._ready):
            self._begin_ready(lane)

    def give_back(self, delivery_id: DeliveryId, token: Token, lane: Lane, *, due_in: timedelta = _NOTHING) -> None:
        """Make a claim pending again, which may or may not have been made, and give back its place."""
        self._returning += 1
        record = Record(delivery_id=delivery_id, token=token, attempt=None, state=State.PENDING, due_in=due_in)
        self._start(self._return(record, lane))
        self._lanes.vacate(lane)

    def _hold(self, lane: Lane, reason: str) -> SetLane:
        """Hold a lane, visibly; return what to record."""
        self._lanes.hold(lane)
        goes_on = "goes on by itself when that is back" if reason.startswith(MISSING) else f"hookline release {lane}"
        self._means.log.warning("destination.held", lane=lane, reason=reason, next_step=goes_on)
        return SetLane(lane=lane, is_held=True, reason=reason)

    def give_back_ready(self, lane: Lane) -> None:
        """Give back what waits here for its turn in this lane."""
        for ours in self._ready.pop(lane, ()):
            del self._ours[ours.claimed.token]
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

    def note_renewed(self, asked: dict[DeliveryId, Token], good: set[DeliveryId], *, until: float = math.inf) -> None:
        """Note until when it is ours; report what is no longer although it runs: its result will be dropped."""
        for delivery_id in good:
            ours = self._ours.get(asked[delivery_id])
            if ours is not None:
                ours.until = until
        for delivery_id in asked.keys() - good:
            ours = self._ours.get(asked[delivery_id])
            if ours is not None and not ours.is_handed_over:
                self._means.log.warning("delivery.lease_lost", delivery_id=delivery_id, lane=ours.claimed.lane)

    async def end_lost(self, lost: Sequence[Claimed]) -> None:
        """Record that whoever ran these is gone; returns when the store has it."""
        await asyncio.gather(*[self._end_lost(claimed) for claimed in lost if claimed.token not in self._ours])

    async def _end_lost(self, claimed: Claimed) -> None:
        is_last = claimed.crashes + 1 >= MOST_LOST
        event = await self._materials.event(claimed) if is_last else None
        record = self._means.conclusions.lost(claimed, event).record
        is_recorded, _ = await self._recorder.record(record)
        if is_recorded:
            self._note_recorded(claimed, record, event)

    def _may_risk(self, claimed: Claimed, now: datetime) -> bool:
        """Say whether one under which a process died may be claimed now: only if it begins at once.

        Else a daemon that is killed again would count a crash of what never began. And of those that would be dead by
        it, one runs at a time: whichever it is that kills us, the others do not die of it.
        """
        is_last = claimed.crashes + 1 >= MOST_LOST
        if is_last and self._on_its_last is not None:
            return False
        return not self._recorder.is_troubled and self._lanes.can_begin(claimed.lane, now)

    def _begin(self, ours: _Ours) -> None:
        claimed = ours.claimed
        self._ours[claimed.token] = ours
        if claimed.crashes + 1 >= MOST_LOST:
            self._on_its_last = claimed.id
        ours.task = self._group.create_task(self._attempt(ours))

    async def _attempt(self, ours: _Ours) -> None:
        claimed, means = ours.claimed, self._means
        started_at, result, due_in = means.clock(), None, _NOTHING
        ours.has_begun = True
        try:
            if ours.material is None:
                ours.material = await self._materials.fetch(claimed)
                started_at = means.clock()
            work = means.conclusions.work(claimed, ours.material, is_suspect=claimed.id in self._suspects)
            if isinstance(work, timedelta):
                due_in = work
            # While it was read, its lane may have been held, or found to be down.
            elif (
                not ours.is_cut_off
                and not self._lanes.is_closed(claimed.lane, means.clock())
                and (means.peers is None or _is_ours(ours, means.peers))
            ):
                patience = work.limit + means.pace.grace
                ours.give_up_at = asyncio.get_running_loop().time() + patience.total_seconds()
                result = await means.runner.run(work)
        except MissingMaterialError as error:
            result = Result(outcome=Outcome.PERMANENT, duration=_NOTHING, note=str(error))
        except StoreError as error:
            due_in = _READ_AGAIN_IN
            means.log.warning("dispatcher.store_error", why=str(error), delivery_id=claimed.id)
        except asyncio.CancelledError:
            # Ours ends here; every other passes.
            if ours.task is None or not (ours.is_cut_off or ours.is_given_up) or ours.task.uncancel() > 0:
                raise
        ours.is_handed_over = True
        if result is None and ours.is_given_up:
            note = "the action did not end within its timeout, and was given up on"
            result = Result(outcome=Outcome.UNKNOWN, duration=max(_NOTHING, means.clock() - started_at), note=note)
        if result is None:
            later = Decision(state=State.PENDING, due_in=due_in)
            conclusion = Conclusion(record=record_of(claimed, None, later))
        else:
            conclusion = means.conclusions.conclude(claimed, result, ours.material, started_at)
            self._judge(claimed, result, conclusion.record)
        await self._settle(claimed, conclusion, ours.material.event if ours.material is not None else None)

    def _judge(self, claimed: Claimed, result: Result, record: Record) -> None:
        """Remember what may have killed its worker, until it has ended otherwise."""
        if result.is_interrupted:
            return
        if result.outcome is Outcome.CRASHED and record.state is State.PENDING:
            self._suspects.add(claimed.id)
        else:
            self._suspects.discard(claimed.id)

    async def _settle(self, claimed: Claimed, conclusion: Conclusion, event: Event | None) -> None:
        lane, record, now = claimed.lane, conclusion.record, self._means.clock()
        if self._means.peers is not None and conclusion.has_answered is not None:
            result = LaneResult(
                lane=lane, breaker=self._lanes.breaker_policy(lane), has_answered=conclusion.has_answered
            )
            record = replace(record, result=result)
        if self._on_its_last == claimed.id:
            self._on_its_last = None
        changes: list[SetLane | SetHealth] = [conclusion.health] if conclusion.health is not None else []
        # Nothing gets a turn between here and the handing over of the record, so nobody takes a slot whose delivery
        # the store would not hear of.
        self._lanes.end(lane, conclusion.took, now=now, has_answered=conclusion.has_answered)
        if conclusion.hold is not None and not self._lanes.is_held(lane):
            changes.append(self._hold(lane, conclusion.hold))
        if changes:
            self._start(self._recorder.record_in_turn(lane, *changes))
        self._begin_ready(lane)
        if self._lanes.wants(lane, now):
            self._on_room()
        is_recorded, is_repeated = await self._recorder.record(record)
        del self._ours[claimed.token]
        if is_recorded:
            self._note_recorded(claimed, record, event)
        elif not is_repeated:
            # The lease ended while it ran, and someone else has it: theirs counts, ours changes nothing.
            self._means.log.warning("delivery.result_dropped", delivery_id=claimed.id, lane=lane)
        self._note_settled()

    def _note_recorded(self, claimed: Claimed, record: Record, event: Event | None) -> None:
        """Learn what waits now that a claim has ended, the same again or the next of its order; tell of the attempt."""
        if record.state is State.PENDING or claimed.order is not None:
            due_in = record.due_in if record.state is State.PENDING else _NOTHING
            self._lanes.waits(claimed.lane, self._means.clock() + due_in)
            self._on_room()
        if self._means.on_recorded is not None:
            recorded = recorded_of(claimed, record, event, self._means.clock())
            if recorded is not None:
                self._means.on_recorded(recorded)

    def _begin_ready(self, lane: Lane) -> None:
        ready = self._ready.get(lane)
        if ready is None or self._recorder.is_troubled:
            return
        now = self._means.clock()
        if not self._lanes.is_quick(lane, now):
            self.give_back_ready(lane)
            return
        while ready and self._lanes.begin(lane, now):
            self._begin(ready.popleft())
        if not ready:
            del self._ready[lane]

    async def _return(self, record: Record, lane: Lane) -> None:
        was_made, _ = await self._recorder.record(record)
        self._returning -= 1
        if was_made:
            self._lanes.waits(lane, self._means.clock() + record.due_in)
        # Its place is free, whatever was answered.
        self._on_room()
        self._note_settled()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._group.create_task(work)

    def _note_settled(self) -> None:
        if not self._ours and not self._returning:
            self._on_settled()


def _is_ours(ours: _Ours, peers: Peers) -> bool:
    """Say whether a claim may be run: it is sure that nobody else may have it yet."""
    return peers.may_begin() and peers.passed() < ours.until


def _cancel(ours: _Ours) -> None:
    # Not once its result is being recorded.
    if ours.task is not None and ours.has_begun and not ours.is_handed_over:
        ours.task.cancel()
