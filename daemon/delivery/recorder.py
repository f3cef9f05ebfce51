"""See to it that what was found out gets into the store, however long the store is in trouble."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

import anyio

from hookline.daemon.store.changes import Answer, Record, SetLane
from hookline.daemon.store.port import StoreError
from hookline.plugins import Log

_LONGEST_BACKOFF_S = 5.0


class Commit(Protocol):
    """What is known of `GroupCommit` here."""

    def submit_soon(self, change: Record | SetLane) -> Awaitable[Answer]:
        """Hand over a change, by the first step of awaiting it; it rides with the next batch. Raises `StoreError`."""
        ...


class Recorder:
    """Repeats changes until the store has answered them."""

    def __init__(self, commit: Commit, *, log: Log, backoff: timedelta, on_recovered: Callable[[], None]) -> None:
        """`backoff` is the first wait, doubled up to 5 s; `on_recovered` is called when nothing is overdue any more."""
        self._commit = commit
        self._log = log
        self._backoff_s = backoff.total_seconds()
        self._on_recovered = on_recovered
        self._overdue = 0

    @property
    def is_troubled(self) -> bool:
        """True while the store refuses a change: what is started now could not be recorded, and would be sent twice."""
        return self._overdue > 0

    async def record(self, change: Record | SetLane) -> tuple[Answer, bool]:
        """Return the store's answer, and whether the change was repeated: then the answer may be to the repetition.

        The change is handed over before anything else gets a turn.
        """
        wait_s = self._backoff_s
        is_repeated = False
        try:
            while True:
                try:
                    return await self._commit.submit_soon(change), is_repeated
                except StoreError as error:
                    if error.kind == "refused":
                        # By its own fault: to repeat it is no use, and nothing else need wait for it.
                        self._log.warning("store.refused_record", error=str(error), next_step="report this as a fault")
                        return False, True
                    if not is_repeated:
                        self._note_overdue(error)
                    is_repeated = True
                await anyio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_BACKOFF_S)
        finally:
            if is_repeated:
                self._note_done()

    def _note_overdue(self, error: StoreError) -> None:
        self._overdue += 1
        # Once for all that wait: a full disk must not be filled by the log.
        if self._overdue == 1:
            self._log.warning(
                "store.refuses_records", error=str(error), next_step="nothing is started until it takes them"
            )

    def _note_done(self) -> None:
        self._overdue -= 1
        if self._overdue == 0:
            self._log.warning("store.takes_records_again")
            self._on_recovered()
