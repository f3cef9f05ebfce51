"""Notices from a thread that the event loop stands still, and whose delivery holds it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

#: How often it looks, in seconds.
_PERIOD: Final = 0.1
#: How much longer than any limit the loop may stand still where nobody is to blame, in seconds.
_GRACE: Final = 5.0


class Limited(Protocol):
    """Something that may take so long."""

    limit: timedelta


LimitedT = TypeVar("LimitedT", bound=Limited)


class Watchdog:
    """Looks after a loop while deliveries run in it, and sleeps while none do."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_turn: Callable[[], None],
        on_blocked: Callable[[Any, float], None],
    ) -> None:
        """`on_turn` is called in the loop every so often; `on_blocked` in the thread, with whoever holds it, or None.

        `on_blocked` does not return.
        """
        self._loop = loop
        self._on_turn = on_turn
        self._on_blocked = on_blocked
        self._running: dict[asyncio.Task[None], Limited] = {}
        self._is_busy = threading.Event()
        #: How often the loop has had a turn for us.
        self._turns = 0
        threading.Thread(target=self._watch, daemon=True, name="hookline-watchdog").start()

    def note_begun(self, task: asyncio.Task[None], running: Limited) -> None:
        """Take note that a delivery runs in `task`."""
        self._running[task] = running
        if not self._is_busy.is_set():
            self._is_busy.set()

    def note_ended(self, task: asyncio.Task[None]) -> None:
        """Take note that it does no more."""
        self._running.pop(task, None)

    def _turn(self) -> None:
        self._turns += 1
        self._on_turn()
        if not self._running:
            self._is_busy.clear()

    def _watch(self) -> None:
        while True:
            self._is_busy.wait()
            seen, asked_at = self._turns, time.monotonic()
            self._loop.call_soon_threadsafe(self._turn)
            task, since = self._current(), asked_at
            time.sleep(_PERIOD)
            while self._turns == seen:
                now, holder = time.monotonic(), self._current()
                if holder is not task:
                    task, since = holder, now
                running = None if task is None else self._running.get(task)
                if running is not None and now - since >= running.limit.total_seconds():
                    self._on_blocked(running, now - since)
                if running is None and now - asked_at >= self._longest() + _GRACE:
                    self._on_blocked(None, now - asked_at)
                time.sleep(_PERIOD)

    def _current(self) -> asyncio.Task[Any] | None:
        return asyncio.current_task(self._loop)

    def _longest(self) -> float:
        # A copy, made in one step: the loop's thread adds to it.
        return max((one.limit.total_seconds() for one in [*self._running.values()]), default=0.0)
