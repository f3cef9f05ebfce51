"""See to it that what was found out gets into the store, however long the store is in trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol

import anyio

from hookline.daemon.store.changes import Answer, FlushDigests, Lane, Record, SetHealth, SetLane
from hookline.daemon.store.port import StoreError
from hookline.plugins import Log

_LONGEST_BACKOFF_S = 5.0


class Commit(Protocol):
    """What is known of `GroupCommit` here."""

    def submit_soon(self, change: Record | SetLane | SetHealth | FlushDigests) -> Awaitable[Answer]:
        """Hand over a change, by the first step of awaiting it; it rides with the next batch. Raises `StoreError`."""
        ...


@dataclass(slots=True)
class _Turns:
    """Whose turn it is among the changes of one lane."""

    lock: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True))
    waiting: int = 0


class Recorder:
    """Repeats changes until the store has answered them."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        commit: Commit,
        *,
        log: Log,
        backoff: timedelta,
        on_recovered: Callable[[], None],
        on_own: Callable[[], None] = lambda: None,
        in_trouble: Callable[[], bool] = lambda: False,
    ) -> None:
        """`backoff` is the first wait, doubled up to 5 s; `on_recovered` is called when nothing is overdue any more.

        `on_own` is called when an event about ourselves was stored with a change. `in_trouble` says whether it is known
        that the store takes nothing new.
        """
        self._commit = commit
        self._log = log
        self._backoff_s = backoff.total_seconds()
        self._on_recovered = on_recovered
        self._on_own = on_own
        self._in_trouble = in_trouble
        self._overdue = 0
        self._has_told = False
        self._turns: dict[Lane, _Turns] = {}

    @property
    def is_troubled(self) -> bool:
        """True while the store refuses a change: what is started now could not be recorded, and would be sent twice."""
        return self._overdue > 0 or self._in_trouble()

    @property
    def changing(self) -> Collection[Lane]:
        """Lanes of which something is being recorded: what the store says of them may be older."""
        return self._turns.keys()

    async def record(self, change: Record | SetLane | SetHealth | FlushDigests) -> tuple[Answer, bool]:
        """Return the store's answer, and whether the change was repeated: then the answer may be to the repetition.

        The change is handed over before anything else gets a turn.
        """
        wait_s = self._backoff_s
        is_repeated = False
        try:
            while True:
                try:
                    answer = await self._commit.submit_soon(change)
                except StoreError as error:
                    if error.kind == "refused":
                        # By its own fault: to repeat it is no use, and nothing else need wait for it.
                        self._log.warning("store.refused_record", why=str(error), next_step="report this as a fault")
                        if isinstance(change, FlushDigests) or change.own is None:
                            return False, True
                        # What we have to say of ourselves must not keep its cause from being recorded.
                        change = replace(change, own=None)
                        continue
                    if not is_repeated:
                        self._note_overdue(error)
                    is_repeated = True
                else:
                    if not isinstance(change, FlushDigests) and change.own is not None:
                        self._on_own()
                    return answer, is_repeated
                await anyio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_BACKOFF_S)
        finally:
            if is_repeated:
                self._note_done()

    async def record_in_turn(self, lane: Lane, *changes: SetLane | SetHealth) -> None:
        """Record what became of a lane after all that was to be recorded of it before.

        Else a hold that the store took late would come after the release that followed it.
        """
        turns = self._turns.setdefault(lane, _Turns())
        turns.waiting += 1
        try:
            async with turns.lock:
                await asyncio.gather(*[self.record(change) for change in changes])
        finally:
            turns.waiting -= 1
            if not turns.waiting:
                del self._turns[lane]

    def _note_overdue(self, error: StoreError) -> None:
        self._overdue += 1
        # Once for all that wait, and only what nobody has said: a full disk must not be filled by the log.
        if self._overdue == 1 and not self._in_trouble():
            self._has_told = True
            self._log.warning(
                "store.refuses_records", why=str(error), next_step="nothing is started until it takes them"
            )

    def _note_done(self) -> None:
        self._overdue -= 1
        if self._overdue == 0:
            if self._has_told:
                self._has_told = False
                self._log.warning("store.takes_records_again")
            self._on_recovered()
