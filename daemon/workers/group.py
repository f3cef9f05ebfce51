"""The workers of one generation of plug-ins: who runs what, and what happens when one of them dies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import Final

from hookline.daemon.actions.kits import Kit
from hookline.daemon.delivery.runner import ActionFacts, Result, Work
from hookline.daemon.outbound.connections import Listeners
from hookline.daemon.store.changes import Outcome
from hookline.daemon.workers.deaths import Deaths
from hookline.daemon.workers.plan import Plan
from hookline.daemon.workers.turns import Turns
from hookline.daemon.workers.wire import Head
from hookline.daemon.workers.worker import Flight, Surroundings, Worker, start_worker

#: How long workers may take to end when they are told to.
END_SECONDS: Final = 2.0
#: How often workers are looked after.
_SWEEP_SECONDS: Final = 1.0
#: How long an attempt waits for a worker.
_WAIT_SECONDS: Final = 5.0
#: How much longer than its limit an attempt may go unanswered; then its worker hears nothing any more.
_OVERDUE_SECONDS: Final = 5.0
#: How long a worker that loads plug-ins may take; what takes longer was found when they were inspected.
_START_SECONDS: Final = 60.0
#: How long the worker of those that run alone is kept when there are none.
_IDLE_SECONDS: Final = 10.0
_FIRST_BACKOFF: Final = 0.1
_LONGEST_BACKOFF: Final = 30.0
#: Of workers that came up, and died before they had answered.
_LONGEST_BACKOFF_IN_SERVICE: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many workers there are, and what each may take."""

    workers: int
    memory_bytes: int


@dataclass(slots=True, eq=False)
class _Alone:
    """The worker in which one attempt at a time runs: if it dies, it is known who did it."""

    worker: Worker | None = None
    turns: Turns = field(default_factory=Turns)
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class WorkerGroup:
    """Workers that have loaded the same plug-ins."""

    def __init__(
        self, plan: Plan, size: Size, surroundings: Surroundings, *, deaths: Deaths, listeners: Listeners
    ) -> None:
        """There is no worker before `begin`."""
        self.plan = plan
        self._size = size
        self._surroundings = surroundings
        self._deaths = deaths
        self._listeners = listeners
        self._log = surroundings.log
        self._loop = asyncio.get_running_loop()
        self._workers: set[Worker] = set()
        self._alone = _Alone()
        self._numbers = count(1)
        self._ready = asyncio.Event()
        self._backoff = 0.0
        self._starting: asyncio.TimerHandle | None = None
        self._is_retired = False
        #: By the loop's clock: when a worker that serves was seen last.
        self._served_at = self._loop.time()
        self._sweeping = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def begin(self, worker: Worker | None) -> None:
        """Take over a worker that has loaded the plan, if there is one, and start the others."""
        if worker is not None and not worker.ended.is_set():
            worker.on_frame, worker.on_end = self._take, self._note_end
            self._workers.add(worker)
            self._serve(worker)
        self._fill()

    async def run(self, work: Work, kit: Kit, action: ActionFacts) -> Result:
        """Have an attempt carried out; interrupted if there is no worker for it, or it ended by no fault of its own."""
        if work.is_suspect or self._deaths.is_suspect(action):
            return await self._run_alone(work, kit, action)
        worker = self._least_loaded()
        if worker is None:
            try:
                async with asyncio.timeout(min(_WAIT_SECONDS, work.limit.total_seconds())):
                    while worker is None and not self._is_retired:
                        self._ready.clear()
                        await self._ready.wait()
                        worker = self._least_loaded()
            except TimeoutError:
                return interrupted("no worker was ready for it")
            if worker is None:
                return interrupted("its worker was being replaced")
        return await self._fly(worker, work, kit, action)

    async def _run_alone(self, work: Work, kit: Kit, action: ActionFacts) -> Result:
        alone = self._alone
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                # Most have only stood beside the one that did it, and pass in a moment: they need not wait for it.
                await alone.turns.take(self._deaths.count(action))
        except TimeoutError:
            return interrupted("others ran alone before it")
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                while alone.worker is None or not alone.worker.is_ready:
                    if self._is_retired:
                        return interrupted("its worker was being replaced")
                    if alone.worker is None:
                        alone.worker = self._start()
                    alone.ready.clear()
                    await alone.ready.wait()
            return await self._fly(alone.worker, work, kit, action)
        except TimeoutError:
            return interrupted("no worker was ready for it")
        finally:
            alone.turns.give_back()

    async def _fly(self, worker: Worker, work: Work, kit: Kit, action: ActionFacts) -> Result:
        now = self._loop.time()
        number = next(self._numbers)
        flight = Flight(
            work=work,
            action=action,
            result=self._loop.create_future(),
            began_at=now,
            overdue_at=now + work.limit.total_seconds() + _OVERDUE_SECONDS,
        )
        worker.tell_listeners(tuple(self._listeners()))
        worker.begin(number, kit, flight)
        try:
            result = await flight.result
        except asyncio.CancelledError:
            worker.cancel(number)
            raise
        if result.outcome is not Outcome.CRASHED and worker.blocked is None and not result.is_interrupted:
            self._deaths.note_life(action)
        return result

    def retire(self) -> None:
        """Take nothing new: another generation has taken over. It ends when what runs has."""
        self._is_retired = True
        self._ready.set()
        self._alone.ready.set()
        if self._starting is not None:
            self._starting.cancel()
        for worker in self._all():
            self._retire(worker)

    async def close(self) -> None:
        """End every worker: told first, killed soon after. None is left behind, even if this is cancelled."""
        self.retire()
        self._sweeping.cancel()
        try:
            for worker in self._all():
                worker.end()
            async with asyncio.timeout(END_SECONDS):
                for worker in self._all():
                    await worker.ended.wait()
        except TimeoutError:
            self._log.debug("worker.killed", why="it did not end when it was told to")
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill every worker that has not ended, and wait until it has."""
        for worker in self._all():
            worker.kill()
            worker.process.wait()
            worker.reap()

    @property
    def without_worker(self) -> timedelta:
        """How long there has been none that serves, to the second."""
        now = self._loop.time()
        if self._least_loaded() is not None:
            self._served_at = now
        return timedelta(seconds=now - self._served_at)

    @property
    def has_ended(self) -> bool:
        """Whether it is retired and its last worker has ended."""
        return self._is_retired and not self._all()

    def _all(self) -> list[Worker]:
        return [*self._workers, *([self._alone.worker] if self._alone.worker is not None else [])]

    def _least_loaded(self) -> Worker | None:
        best: Worker | None = None
        for worker in self._workers:
            if worker.is_ready and not worker.is_retired and (best is None or len(worker.flights) < len(best.flights)):
                best = worker
        return best

    def _start(self) -> Worker | None:
        try:
            worker = start_worker(self._surroundings, on_frame=self._take, on_end=self._note_end)
        except OSError as error:
            self._log.error("worker.not_started", why=str(error), next_step="see to it that processes can be started")
            return None
        worker.send(*self.plan.frame())
        return worker

    def _fill(self) -> None:
        """Start workers until there are as many as there should be."""
        self._starting = None
        while not self._is_retired and sum(not worker.is_retired for worker in self._workers) < self._size.workers:
            worker = self._start()
            if worker is None:
                self._fill_later()
                return
            self._workers.add(worker)

    def _fill_later(self) -> None:
        if self._starting is None and not self._is_retired:
            self._starting = self._loop.call_later(self._backoff, self._fill)

    def _serve(self, worker: Worker) -> None:
        worker.send(["serve"])
        worker.is_ready = True
        worker.idle_since = self._loop.time()
        self._ready.set()
        self._alone.ready.set()

    def _take(self, worker: Worker, head: Head) -> None:
        match head[0]:
            case "inspected":
                self._serve(worker)
            case "zombie":
                if not worker.is_retired:
                    self._log.warning("worker.replaced", worker=worker.pid, why="a plug-in goes on past its time")
                    self._retire(worker)
                    self._fill()
            case "result":
                self._end_if_done(worker)
            case _:
                pass

    def _retire(self, worker: Worker) -> None:
        worker.is_retired = True
        if worker is self._alone.worker:
            self._alone.worker = None
            self._workers.add(worker)
        self._end_if_done(worker)

    def _end_if_done(self, worker: Worker) -> None:
        if not worker.flights:
            worker.end()
            # One that is stuck does not hear it.
            self._loop.call_later(END_SECONDS, worker.kill)

    def _note_end(self, worker: Worker) -> None:
        """Answer for everything that ran in a worker that has died, and start another."""
        is_alone = worker is self._alone.worker
        if is_alone:
            self._alone.worker = None
            self._alone.ready.set()
        self._workers.discard(worker)
        flights, worker.flights = worker.flights, {}
        self._answer_for(worker, flights)
        if worker.is_retired:
            return
        self._surroundings.tally.died += 1
        self._log.warning("worker.died", worker=worker.pid, how=worker.how_it_ended, running=len(flights))
        if is_alone:
            return
        longest = _LONGEST_BACKOFF_IN_SERVICE if worker.is_ready else _LONGEST_BACKOFF
        self._backoff = 0.0 if worker.is_proven else min(longest, max(_FIRST_BACKOFF, 2 * self._backoff))
        self._fill_later()

    def _answer_for(self, worker: Worker, flights: dict[int, Flight]) -> None:
        culprit, how = worker.blocked or (None, None)
        if culprit is None and len(flights) == 1:
            culprit = next(iter(flights))
        for number, flight in flights.items():
            took = timedelta(seconds=self._loop.time() - flight.began_at)
            if number == culprit:
                result = how or crashed(f"its worker died: {worker.how_it_ended}", took)
                self._note_culprit(flight.action)
            elif how is not None:
                result = interrupted("another delivery blocked its worker")
            else:
                note = f"its worker died, with others in it: {worker.how_it_ended}"
                result = replace(crashed(note, took), is_bystander=True)
            if not flight.result.done():
                flight.result.set_result(result)

    def _note_culprit(self, action: ActionFacts) -> None:
        if self._deaths.note_death(action):
            why = self._deaths.why_set_aside(action)
            self._log.error("plugin.set_aside", plugin=action.name, why=why, next_step="mend it, then hookline reload")

    def _sweep(self) -> None:
        """Replace workers that have grown too large, and end those that say nothing any more."""
        self._sweeping = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        now = self._loop.time()
        if self._least_loaded() is not None:
            self._served_at = now
        for worker in self._all():
            if not worker.is_ready and now > worker.idle_since + _START_SECONDS:
                self._log.warning("worker.killed", worker=worker.pid, why="it did not come up")
                worker.kill()
            elif any(now > flight.overdue_at for flight in worker.flights.values()):
                self._log.warning("worker.killed", worker=worker.pid, why="it answered nothing in time")
                worker.kill()
            elif not worker.is_retired and worker.memory_bytes > self._size.memory_bytes:
                mib = worker.memory_bytes >> 20
                self._log.warning("worker.replaced", worker=worker.pid, why=f"it takes {mib} MiB", most="worker_memory")
                self._retire(worker)
                self._fill()
            elif worker is self._alone.worker and not worker.flights and now > worker.idle_since + _IDLE_SECONDS:
                self._retire(worker)


def interrupted(note: str) -> Result:
    """Return the result of what was not tried to its end, by no fault of its own."""
    return Result(outcome=Outcome.CRASHED, duration=timedelta(0), note=note, is_interrupted=True)


def crashed(note: str, took: timedelta) -> Result:
    """Return the result of what ran where a worker died."""
    return Result(outcome=Outcome.CRASHED, duration=took, note=note)
