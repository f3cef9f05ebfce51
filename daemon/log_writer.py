"""Where log lines go. Who logs never waits for it: a pipe that nobody reads, or a full disk, costs lines alone."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

#: Lines that wait to be written; what comes when there are as many is dropped and counted.
MOST_WAITING: Final = 10_000
_AT_ONCE: Final = 500
#: Between two writes: under load one write takes many lines, and the thread seldom asks for the interpreter.
_REST_SECONDS: Final = 0.005
_TRY_AGAIN_SECONDS: Final = 1.0
_PULSE_SECONDS: Final = 1.0


class LineWriter:
    """Writes lines to a file descriptor, by a thread of its own."""

    def __init__(
        self,
        descriptor: int,
        *,
        hide: Callable[[str], str],
        on_written: Callable[[int], str | None],
        is_waited_for: Callable[[], bool] = lambda: False,
        most: int = MOST_WAITING,
    ) -> None:
        """Write to a copy of `descriptor`, what `hide` makes of the lines.

        `on_written` gets how many lines were dropped by now, after each write, and each second while `is_waited_for`;
        it returns lines to write, or None.
        """
        self._descriptor = os.dup(descriptor)
        self._hide = hide
        self._on_written = on_written
        self._most = most
        self._lines: queue.SimpleQueue[str | threading.Event] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._hurry = threading.Event()
        self._is_waited_for = is_waited_for
        self._has_ended = False
        #: Lines that never got out.
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="log")
        self._thread.start()

    def write(self, line: str) -> None:
        """Have a line written soon, or drop it."""
        if self._lines.qsize() < self._most:
            self._lines.put(line)
        else:
            with self._lock:
                self.dropped += 1

    def wake(self) -> None:
        """Ask `is_waited_for` anew."""
        self._lines.put("")

    def flush(self, seconds: float) -> bool:
        """Wait until what was given is written, so long; return whether it is."""
        done = threading.Event()
        self._hurry.set()
        self._lines.put(done)
        try:
            return done.wait(seconds)
        finally:
            self._hurry.clear()

    def close(self, seconds: float = 1.0) -> None:
        """Write what waits, and end the thread."""
        self._has_ended = True
        if self.flush(seconds):
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._has_ended or not self._lines.empty():
            self._write_some()
            time.sleep(_REST_SECONDS)
        os.close(self._descriptor)

    def _write_some(self) -> None:
        lines: list[str] = []
        flushed: list[threading.Event] = []
        with contextlib.suppress(queue.Empty):
            one = self._lines.get(timeout=_PULSE_SECONDS if self._is_waited_for() else None)
            while True:
                if isinstance(one, threading.Event):
                    flushed.append(one)
                elif one:
                    lines.append(one)
                if len(lines) >= _AT_ONCE:
                    break
                one = self._lines.get_nowait()
        if lines:
            self._push(lines)
        # Looked at after each write: what was dropped, or left out, is told as soon as there is room.
        more = self._on_written(self.dropped)
        if more is not None:
            self._push([more])
        for done in flushed:
            done.set()

    def _push(self, lines: list[str]) -> None:
        data = self._hide("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                # Whoever shares the descriptor has made it so.
                select.select([], [self._descriptor], [], _TRY_AGAIN_SECONDS)
            except OSError:
                # A full disk or a reader that is gone. What was begun is ended when it goes on, so no line is torn.
                if self._hurry.wait(_TRY_AGAIN_SECONDS):
                    with self._lock:
                        self.dropped += data.count(b"\n")
                    return


class StreamWriter:
    """Writes lines to a stream without a descriptor, at once."""

    dropped = 0

    def __init__(self, stream: TextIO, *, hide: Callable[[str], str], on_written: Callable[[int], str | None]) -> None:
        """As `LineWriter`."""
        self._stream = stream
        self._hide = hide
        self._on_written = on_written

    def write(self, line: str) -> None:
        """Write a line."""
        more = self._on_written(0)
        for one in (line,) if more is None else (more, line):
            self._stream.write(f"{self._hide(one)}\n")

    def wake(self) -> None:
        """Do nothing: the next line asks."""

    def flush(self, _seconds: float) -> bool:
        """Write what is left to be told."""
        more = self._on_written(0)
        if more is not None:
            self._stream.write(f"{self._hide(more)}\n")
        return True

    def close(self, _seconds: float = 1.0) -> None:
        """Do nothing."""
