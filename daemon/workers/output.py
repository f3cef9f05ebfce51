"""What a worker prints: it goes to the daemon's log, line by line, bounded, and with secrets hidden."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

#: Longer lines are cut.
_LONGEST_LINE: Final = 2_000
#: Of one worker; what is more is counted.
_LINES_A_SECOND: Final = 20
_CHUNK: Final = 64 * 1024


class LineBudget:
    """So many lines a second: a plug-in in a loop must not fill the disk."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with a whole second's."""
        self._time = loop.time
        self._second = 0
        self._left = _LINES_A_SECOND
        #: Lines that were left out since the last one that was not.
        self.dropped = 0

    def take(self) -> bool:
        """Whether another line may be written."""
        second = int(self._time())
        if second != self._second:
            self._second, self._left = second, _LINES_A_SECOND
        if self._left == 0:
            self.dropped += 1
            return False
        self._left -= 1
        return True

    def told(self) -> int:
        """Return how many lines were left out since this was asked last."""
        dropped, self.dropped = self.dropped, 0
        return dropped


class Output:
    """The reading end of the pipe that is a worker's standard output and error."""

    def __init__(
        self, descriptor: int, loop: asyncio.AbstractEventLoop, *, log: Any, mask: Callable[[str], str]
    ) -> None:
        """Own `descriptor`. `log` is bound to the worker already."""
        self._descriptor = descriptor
        self._loop = loop
        self._log = log
        self._mask = mask
        self._budget = LineBudget(loop)
        self._rest = b""
        self._is_closed = False
        os.set_blocking(descriptor, False)
        loop.add_reader(descriptor, self._read)

    def close(self) -> None:
        """Log what has come and read no more: a program that the worker started may keep the pipe open."""
        if self._is_closed:
            return
        self._read()
        if not self._is_closed:
            self._end()

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._end()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._say(line)

    def _end(self) -> None:
        self._is_closed = True
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._say(self._rest)

    def _say(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip()
        if text and self._budget.take():
            self.say(text, dropped=self._budget.told())

    def say(self, text: str, *, dropped: int, **about: str) -> None:
        """Log a line, `dropped` of which were left out before; `about` says whose it is, where that is known."""
        # Masked before it is cut: half a secret is not found.
        line = self._mask(text)[:_LONGEST_LINE]
        self._log.info("worker.output", line=line, **about, **({"dropped_before": dropped} if dropped else {}))
