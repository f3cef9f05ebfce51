"""Run a program to its end or to a deadline, with its output bounded and nothing of it left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio

#: Of what a program prints the last is kept; the rest is read, so that it never waits for us, and let go.
MAX_OUTPUT_BYTES = 64 * 1024
#: Read as it comes; what is beyond comes with a pause after each piece.
_FREE_BYTES = 1024 * 1024
_PAUSE_SECONDS = 0.01
#: What the kernel may take to end it.
_LAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended."""

    #: Its exit status; negative: the signal that ended it.
    status: int
    #: True if it was still running at the deadline, and was ended by us.
    is_late: bool
    #: The last of its standard output, at most `MAX_OUTPUT_BYTES`.
    output: str
    #: The last of its standard error, likewise.
    errors: str


class _Tail:
    """Reads a pipe and keeps the end of what came."""

    def __init__(self) -> None:
        self._ours, self.theirs = os.pipe()
        os.set_blocking(self._ours, False)
        self._kept = bytearray()
        self._read_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._ours, self._on_output)

    def _on_output(self) -> None:
        self._read()
        # A program that never stops printing shall not keep everybody else from their turn.
        if self._read_bytes > _FREE_BYTES:
            self._loop.remove_reader(self._ours)
            self._pause = self._loop.call_later(_PAUSE_SECONDS, self._listen)

    def _read(self) -> bool:
        """Read what is there; return False if there is no more."""
        try:
            piece = os.read(self._ours, MAX_OUTPUT_BYTES)
        except BlockingIOError:
            return False
        if not piece:
            self._loop.remove_reader(self._ours)
        self._kept += piece
        self._read_bytes += len(piece)
        del self._kept[:-MAX_OUTPUT_BYTES]
        return bool(piece)

    def text(self) -> str:
        """Return the end of what has been printed so far."""
        # What one pipe holds: whoever goes on printing elsewhere does not keep us here.
        for _ in range(16):
            if not self._read():
                break
        return self._kept.decode("utf-8", "replace")

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._ours)
        os.close(self._ours)


async def run_program(  # noqa: PLR0913 - what a program is given
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: str,
    given: bytes,
    seconds: float,
    grace: float,
) -> Ended:
    """Run it with `given` on standard input, without a shell.

    After `seconds` its process group is asked to end, and `grace` seconds later ended; on cancellation at once.
    What it leaves running in its group is ended with it. Raises `OSError` and `ValueError` if it cannot be started.
    """
    with contextlib.ExitStack() as open_files:
        tails = (_Tail(), _Tail())
        for tail in tails:
            open_files.callback(tail.close)
        with contextlib.ExitStack() as for_child:
            for tail in tails:
                for_child.callback(os.close, tail.theirs)
            # A file in memory: a program may read as much of it as it likes, and nobody has to feed it.
            stdin = os.memfd_create("event")
            for_child.callback(os.close, stdin)
            _fill(stdin, given)
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - it starts in a millisecond, and the operator wrote it
                [_encoded(argument) for argument in arguments],
                stdin=stdin,
                stdout=tails[0].theirs,
                stderr=tails[1].theirs,
                env={name: _encoded(value) for name, value in environment.items()},
                cwd=folder,
                start_new_session=True,
            )
        is_late = await _wait(process, seconds, grace)
        status = -signal.SIGKILL if process.returncode is None else process.returncode
        return Ended(status=status, is_late=is_late, output=tails[0].text(), errors=tails[1].text())


async def _wait(process: subprocess.Popen[bytes], seconds: float, grace: float) -> bool:
    """Wait for its end; return whether we had to bring it about."""
    handle = os.pidfd_open(process.pid)
    has_ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, has_ended.set)
    try:
        with anyio.move_on_after(seconds):
            await has_ended.wait()
        is_late = not has_ended.is_set()
        if is_late:
            _signal(process, signal.SIGTERM)
            with anyio.move_on_after(grace):
                await has_ended.wait()
        return is_late
    finally:
        # Before it is reaped: until then its number cannot be another group's.
        _signal(process, signal.SIGKILL)
        # Shielded, so that a cancelled attempt leaves no zombie; bounded, for a program that the kernel cannot end yet.
        with anyio.move_on_after(_LAST_SECONDS, shield=True):
            await has_ended.wait()
        loop.remove_reader(handle)
        os.close(handle)
        process.poll()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    # All of its group may have gone, or become somebody else's by setuid.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _fill(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
    os.lseek(file, 0, os.SEEK_SET)


def _encoded(text: str) -> bytes:
    """Return the text as bytes, lone surrogates replaced: they have no encoding."""
    return text.encode("utf-8", "replace")
