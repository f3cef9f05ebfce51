"""Notices when the event loop does not turn, and where it is held: everybody waits then, senders first."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Final

import anyio
from structlog.typing import FilteringBoundLogger

#: A loop that has not turned for this long is said to be stalled.
STALL: Final = timedelta(milliseconds=250)
#: How often the loop says that it turns; a stall is measured that much too long or too short.
_BEAT_SECONDS: Final = 0.1
#: How often the thread looks.
_LOOK_SECONDS: Final = 0.125
#: After this it is said while it lasts: it may be killed before it ends.
_LONG_SECONDS: Final = 5.0
#: At most one line in this time.
_QUIET_SECONDS: Final = 10.0
_MOST_FRAMES: Final = 12


class LoopWatch:
    """Watches the loop that `run` runs in, from a thread of its own."""

    def __init__(self, *, log: FilteringBoundLogger, on_stall: Callable[[float], None]) -> None:
        """`on_stall` is called in the loop with the seconds of each stall that is over."""
        self._log = log
        self._on_stall = on_stall
        self._thread_id = 0
        self._beat_at = 0.0
        self._next_beat: asyncio.TimerHandle | None = None
        self._is_over = False
        #: Of the stall that lasts: where the loop is held.
        self._where = ""
        self._is_told = False
        self._said_at = -_QUIET_SECONDS
        self._unsaid = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        self._thread_id = threading.get_ident()
        self._beat_at = time.monotonic()
        thread = threading.Thread(target=self._look_forever, name="loop-watch", daemon=True)
        thread.start()
        self._beat_later()
        try:
            await anyio.sleep_forever()
        finally:
            self._is_over = True
            if self._next_beat is not None:
                self._next_beat.cancel()

    def _beat_later(self) -> None:
        # A timer and not a task that sleeps, which costs ten times as much.
        self._next_beat = asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        self._beat_later()
        now = time.monotonic()
        held, self._beat_at = now - self._beat_at - _BEAT_SECONDS, now
        where, self._where = self._where, ""
        is_told, self._is_told = self._is_told, False
        if held >= STALL.total_seconds():
            self._on_stall(held)
            if not is_told:
                self._say(held, where or "not seen", now)

    def _look_forever(self) -> None:
        while not self._is_over:
            time.sleep(_LOOK_SECONDS)
            held = time.monotonic() - self._beat_at
            if held < STALL.total_seconds():
                continue
            frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - there is no other way to see it
            if not self._where and frame is not None:
                self._where = _shown(frame)
            if held > _LONG_SECONDS and not self._is_told:
                self._is_told = True
                self._say(held, self._where, time.monotonic(), goes_on=True)

    def _say(self, seconds: float, where: str, now: float, *, goes_on: bool = False) -> None:
        if now - self._said_at < _QUIET_SECONDS:
            self._unsaid += 1
            return
        self._said_at = now
        more = {"others": self._unsaid} if self._unsaid else {}
        self._unsaid = 0
        self._log.warning("loop.stalled", seconds=round(seconds, 3), goes_on=goes_on, where=where, **more)


def _shown(frame: FrameType) -> str:
    """Write a stack in one line, the innermost call first."""
    calls: list[str] = []
    one: FrameType | None = frame
    while one is not None and len(calls) < _MOST_FRAMES:
        path = Path(one.f_code.co_filename)
        calls.append(f"{path.parent.name}/{path.name}:{one.f_lineno} {one.f_code.co_name}")
        one = one.f_back
    return " < ".join(calls)
