"""An event loop whose time jumps to the next timer: a year passes in seconds, and always in the same way."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

_START = datetime(2026, 1, 1, tzinfo=UTC)


class _Jumps(selectors.DefaultSelector):
    """Waits for nothing: what a wait would take is added to the time instead."""

    #: Whole numbers: each jump goes on, however large the time has grown.
    microseconds = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen any more: the loop waits, and no timer is set")
        if timeout > 0:
            self.microseconds += max(1, math.ceil(timeout * 1e6))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop without sockets that lasts as long as the work in it, not as long as its timers say."""

    def __init__(self) -> None:
        """Begin at a time of its own."""
        self._jumps = _Jumps()
        super().__init__(self._jumps)
        # Else a timer that is due now is not "before now and the clock's resolution" once the seconds are so many that
        # a float cannot tell the two apart, and the loop turns for ever.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return seconds since the loop began."""
        return self._jumps.microseconds / 1e6

    def now(self) -> datetime:
        """Return the time of day: the clock of whatever runs in the loop."""
        return _START + timedelta(microseconds=self._jumps.microseconds)


def run_virtually(make: Any, *args: Any) -> Any:
    """Run `make(loop, *args)` to its end in a loop of its own, and return its result."""
    loop = VirtualLoop()
    try:
        work: Coroutine[Any, Any, Any] = make(loop, *args)
        return loop.run_until_complete(work)
    finally:
        loop.close()
