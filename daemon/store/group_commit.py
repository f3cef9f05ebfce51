"""Group commit: the changes of many tasks in one durable transaction, so that they share its fsync."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, overload

from hookline.daemon.store.changes import (
    Accept,
    Accepted,
    Answer,
    Audit,
    Cancel,
    Change,
    DeliveryId,
    DropToken,
    FlushDigests,
    KeepToken,
    Record,
    Refused,
    Reject,
    Replay,
    Route,
    SetHealth,
    SetLane,
    SetSourceState,
    UseToken,
)
from hookline.daemon.store.port import Store, StoreError
from hookline.daemon.store.watch import NoTrouble, Trouble

_LINGER = timedelta(milliseconds=50)
#: What adds to the store, and can come again later.
_NEW = (Accept, Replay)


class _Waiting(NamedTuple):
    change: Change
    #: Of the kind that belongs to the change.
    answer: asyncio.Future[Any]
    #: The loop's clock.
    since: float


class GroupCommit:
    """Gathers what is submitted while a batch is being written, and writes it as the next one; one is in flight.

    `run` does the writing and belongs into the task group of whoever owns it. Futures and a deque, not streams: this
    stands in the way of every event.
    """

    def __init__(
        self,
        store: Store,
        *,
        watch: Trouble | None = None,
        max_batch: int = 200,
        linger: timedelta = _LINGER,
        on_written: Callable[[Sequence[Change], Sequence[Answer], float], None] | None = None,
    ) -> None:
        """`max_batch` counts events and other changes; `linger` is how long `submit_soon` waits for company.

        `on_written` is told of each batch that the store took, and how many seconds that was; it must not raise.

        While `watch` knows of trouble, what is new fails at once; what became of older things is tried.
        """
        self._store = store
        self._watch: Trouble = watch or NoTrouble()
        self._max_batch = max_batch
        self._linger = linger.total_seconds()
        self._on_written = on_written
        # What can wait does not hold up what cannot, and goes first into the batch that both ride in.
        self._patient: deque[_Waiting] = deque()
        self._queue: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._is_closing = False
        self._ended = asyncio.Event()
        self._is_running = False
        #: By the loop's clock: since when the store owes the answer to a batch.
        self._owed_since: float | None = None

    @property
    def queued(self) -> int:
        """How many changes wait for the next batch."""
        return len(self._queue) + len(self._patient)

    @property
    def oldest_wait(self) -> timedelta:
        """How long the change has waited that has waited longest."""
        if not self._queue:
            return timedelta(0)
        return timedelta(seconds=asyncio.get_running_loop().time() - self._queue[0].since)

    @property
    def owed(self) -> timedelta:
        """How long the store has owed an answer: to the batch in flight, or to the change that waits longest."""
        waiting = [queue[0].since for queue in (self._queue, self._patient) if queue]
        since = min(waiting if self._owed_since is None else [self._owed_since, *waiting], default=None)
        return timedelta(seconds=0 if since is None else asyncio.get_running_loop().time() - since)

    @overload
    def enqueue(self, change: Accept) -> asyncio.Future[tuple[Accepted, ...]]: ...
    @overload
    def enqueue(self, change: Route) -> asyncio.Future[bool]: ...
    @overload
    def enqueue(self, change: SetSourceState) -> asyncio.Future[None]: ...
    def enqueue(self, change: Accept | Route | SetSourceState) -> asyncio.Future[Any]:
        """Have the change made in the next batch, and return at once what will be its answer.

        It fails as `submit` does. A plain function, because a task for each event costs more than its place in the
        queue. Cancelling the future leaves the change to be made.
        """
        answer = self._enqueue(self._queue, change)
        self._wake.set()
        return answer

    @overload
    async def submit(self, change: Accept) -> tuple[Accepted, ...]: ...
    @overload
    async def submit(self, change: Record | Route | Cancel | KeepToken | DropToken) -> bool: ...
    @overload
    async def submit(self, change: Replay) -> DeliveryId | None: ...
    @overload
    async def submit(self, change: FlushDigests) -> int: ...
    @overload
    async def submit(self, change: SetLane | SetHealth | SetSourceState | Reject | Audit | UseToken) -> None: ...
    async def submit(self, change: Change) -> Answer:
        """Have the change made in the next batch, and return its answer.

        Raises `StoreError`: of kind `refused` if this change cannot be made, else for the whole batch, whose outcome is
        then unknown. A caller that is cancelled or stops waiting leaves the change to be made.
        """
        answer: asyncio.Future[Answer] = self._enqueue(self._queue, change)
        self._wake.set()
        return await answer

    @overload
    async def submit_soon(self, change: Accept) -> tuple[Accepted, ...]: ...
    @overload
    async def submit_soon(self, change: Record | Route | Cancel | KeepToken | DropToken) -> bool: ...
    @overload
    async def submit_soon(self, change: Replay) -> DeliveryId | None: ...
    @overload
    async def submit_soon(self, change: FlushDigests) -> int: ...
    @overload
    async def submit_soon(self, change: SetLane | SetHealth | SetSourceState | Reject | Audit | UseToken) -> None: ...
    async def submit_soon(self, change: Change) -> Answer:
        """Do as `submit`, but wait a little for another batch to ride with: nobody waits for this answer."""
        answer: asyncio.Future[Answer] = self._enqueue(self._patient, change)
        if len(self._patient) >= self._max_batch:
            self._wake.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._linger, self._wake.set)
        return await answer

    def _enqueue(self, queue: deque[_Waiting], change: Change) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if self._is_closing:
            answer.set_exception(StoreError("the store is being closed"))
        elif self._watch.trouble is not None and isinstance(change, _NEW):
            answer.set_exception(_again(self._watch.trouble))
        else:
            queue.append(_Waiting(change, answer, loop.time()))
        return answer

    async def run(self) -> None:
        """Write batches until `close`. If it is cancelled, what still waits fails with `StoreError`."""
        self._is_running = True
        batch: list[_Waiting] = []
        try:
            while self.queued or not self._is_closing:
                await self._wake.wait()
                batch = self._next_batch()
                if batch:
                    await self._write(batch)
        finally:
            # Nobody may be left waiting, whatever ended this.
            for waiting in (*batch, *self._patient, *self._queue):
                _fail(waiting, StoreError("the store's writer ended; whether the change was made is unknown"))
            self._is_closing = True
            self._ended.set()
            if self._timer is not None:
                self._timer.cancel()

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        room = self._max_batch
        for queue in (self._patient, self._queue):
            while queue and room > 0:
                waiting = queue.popleft()
                if self._watch.trouble is not None and isinstance(waiting.change, _NEW):
                    _fail(waiting, _again(self._watch.trouble))
                    continue
                batch.append(waiting)
                room -= len(waiting.change.events) if isinstance(waiting.change, Accept) else 1
        if not self._patient and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.queued and not self._is_closing:
            self._wake.clear()
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        self._owed_since = began = asyncio.get_running_loop().time()
        changes = [waiting.change for waiting in batch]
        try:
            answers = await self._store.write(changes)
        except StoreError as error:
            for waiting in batch:
                _fail(waiting, _again(error))
            return
        finally:
            self._owed_since = None
        took = asyncio.get_running_loop().time() - began
        self._watch.wrote()
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Refused):
                _fail(waiting, StoreError(answer.reason, kind="refused"))
            elif not waiting.answer.done():
                waiting.answer.set_result(answer)
        if self._on_written is not None:
            self._on_written(changes, answers, took)

    async def close(self) -> None:
        """Take nothing more, and return when all that was taken is written. Safe to call twice."""
        self._is_closing = True
        self._wake.set()
        if self._is_running:
            await self._ended.wait()


def _again(error: StoreError) -> StoreError:
    # One for each who waits: an exception that is raised in several tasks collects all their tracebacks.
    return StoreError(str(error), kind=error.kind)


def _fail(waiting: _Waiting, error: StoreError) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
