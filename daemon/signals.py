"""What the process is told by signals, from its first moment to its last."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_ALL: Final = (*_STOP, signal.SIGHUP)


class Signals:
    """SIGTERM and SIGINT ask for the end, SIGHUP for a reload.

    Plain handlers, not the loop's own: those end with the loop, and a signal that comes before it begins or while the
    process goes through its last steps would kill it as if it had failed.
    """

    def __init__(self) -> None:
        """Hear nothing yet."""
        #: Whether the end was asked for.
        self.is_told_to_stop = False
        self._wants_reload = False
        self._wake: Callable[[], None] = _do_nothing

    def hold(self) -> None:
        """Take the signals from now on. Call it in the main thread."""
        for number in _ALL:
            signal.signal(number, self._take)

    def _take(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._wants_reload = True
        else:
            self.is_told_to_stop = True
        self._wake()

    async def obey(self, *, stop: Callable[[], None], reload: Callable[[], None]) -> None:
        """Do what is asked for until cancelled; what comes many times in one turn of the loop is done once."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: _wake(loop, woken)
        woken.set()
        try:
            while True:
                await woken.wait()
                woken.clear()
                if self.is_told_to_stop:
                    stop()
                elif self._wants_reload:
                    self._wants_reload = False
                    reload()
        finally:
            self._wake = _do_nothing


@contextmanager
def held_signals() -> Iterator[Signals]:
    """Take the signals while the block runs; afterwards they do what they did before."""
    before = {number: signal.getsignal(number) for number in _ALL}
    signals = Signals()
    signals.hold()
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(woken.set)


def _do_nothing() -> None:
    """Stand in while nobody waits."""
