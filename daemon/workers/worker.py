"""A worker as the daemon sees it: a process, its socket, and the attempts that run there."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hookline.daemon.actions.kits import MAX_KITS, Kit
from hookline.daemon.delivery.runner import ActionFacts, Result, Work, WorkerTally
from hookline.daemon.workers.confinement import scrubbed
from hookline.daemon.workers.messages import read_result, work_frame
from hookline.daemon.workers.output import Output
from hookline.daemon.workers.wire import Head, Wire, WireError

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TAKEN: Final = frozenset(("event", "level", "timestamp", "exc_info", "stack_info"))
_LEVELS: Final = frozenset(("debug", "info", "warning"))


@dataclass(slots=True, eq=False)
class Flight:
    """An attempt that runs in a worker."""

    work: Work
    action: ActionFacts
    result: asyncio.Future[Result]
    #: By the loop's clock.
    began_at: float
    overdue_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What workers are started in."""

    environ: Mapping[str, str]
    log: Any
    #: Hides secrets in what they print.
    mask: Callable[[str], str]
    #: Counts them.
    tally: WorkerTally


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process. Made by `start_worker`; its end is told to `on_end` once, whatever brought it about."""

    surroundings: Surroundings
    loop: asyncio.AbstractEventLoop
    #: Called with each frame that is not about an attempt.
    on_frame: Callable[[Worker, Head], None]
    on_end: Callable[[Worker], None]
    process: subprocess.Popen[bytes]
    flights: dict[int, Flight] = field(default_factory=dict)
    #: Set when it serves.
    is_ready: bool = False
    #: It gets nothing new, and ends when nothing runs there any more.
    is_retired: bool = False
    #: It has answered since it began.
    is_proven: bool = False
    #: Of the delivery that blocked it: how that ended. By number.
    blocked: tuple[int, Result] | None = None
    #: By the loop's clock: when it had nothing to do last.
    idle_since: float = 0.0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _wire: Wire = field(init=False)
    _output: Output = field(init=False)
    _descriptor: int = field(init=False)
    _kits: dict[str, None] = field(default_factory=dict)
    _listeners: tuple[tuple[str, int], ...] = ()

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def memory_bytes(self) -> int:
        """What it occupies now; 0 if nobody can say."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
        except (OSError, ValueError, IndexError):
            return 0

    def send(self, head: Head, tail: bytes = b"") -> None:
        """Send it a frame."""
        self._wire.send(head, tail)

    def begin(self, number: int, kit: Kit, flight: Flight) -> None:
        """Have it carry out an attempt; the flight's result comes later."""
        if kit.digest not in self._kits:
            if len(self._kits) >= MAX_KITS:
                oldest = next(iter(self._kits))
                del self._kits[oldest]
                self._wire.send(["forget", oldest])
            self._kits[kit.digest] = None
            self._wire.send(["kit", kit.to_json()])
        self.flights[number] = flight
        self._wire.send(*work_frame(number, kit.digest, flight.work))

    def cancel(self, number: int) -> None:
        """Give up on an attempt: what it comes to changes nothing any more."""
        if self.flights.pop(number, None) is not None:
            self._wire.send(["cancel", number])

    def tell_listeners(self, listeners: tuple[tuple[str, int], ...]) -> None:
        """Tell it where we listen ourselves, if that is news."""
        if listeners != self._listeners:
            self._listeners = listeners
            self._wire.send(["listeners", listeners])

    def end(self) -> None:
        """Ask it to end."""
        self.is_retired = True
        self._wire.send(["end"])

    def kill(self) -> None:
        """End it, with what it has started."""
        if self.process.returncode is None:
            # Its group, which it leads: until it is waited for, nobody else can have that number.
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def how_it_ended(self) -> str:
        """How its process ended, for people."""
        code = self.process.returncode
        if code is None or code >= 0:
            return f"exit status {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"

    def attach(self, connection: socket.socket, pipe: int) -> None:
        """Listen to a process that was just started."""
        log = self.surroundings.log.bind(worker=self.pid)
        self._wire = Wire(connection, self.loop, on_frame=self._take, on_end=self.kill)
        self._output = Output(pipe, self.loop, log=log, mask=self.surroundings.mask)
        # Its end is seen by its process: a copy that a plug-in has forked keeps the socket open.
        self._descriptor = os.pidfd_open(self.pid)
        self.loop.add_reader(self._descriptor, self.reap)
        self.idle_since = self.loop.time()

    def reap(self) -> None:
        """Put it away if its process has ended."""
        if self.ended.is_set() or self.process.poll() is None:
            return
        self.loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        # What it said before it died counts.
        self._wire.read_rest()
        self._wire.close()
        self._output.close()
        self.ended.set()
        self.surroundings.tally.alive -= 1
        self.on_end(self)

    def _take(self, head: Head, _: bytes) -> None:
        try:
            match head:
                case ["result", int(number), list(values)]:
                    flight = self.flights.pop(number, None)
                    if flight is not None and not flight.result.done():
                        self.is_proven = True
                        flight.result.set_result(read_result(values))
                    if not self.flights:
                        self.idle_since = self.loop.time()
                    if self.is_retired:
                        self.on_frame(self, head)
                case ["blocked", int(number), list(values)]:
                    self.blocked = number, read_result(values)
                case ["log", str(delivery_id), str(level), str(event), dict(fields), int(dropped)]:
                    self._log(delivery_id, level, event, {**fields, **({"dropped_before": dropped} if dropped else {})})
                case ["printed", str(delivery_id), str(line), int(dropped)]:
                    self._output.say(line, dropped=dropped, **self._about(delivery_id))
                case _:
                    self.on_frame(self, head)
        except WireError as error:
            self.surroundings.log.warning("worker.garbled", worker=self.pid, why=str(error))
            self.kill()

    def _log(self, delivery_id: str, level: str, event: str, fields: dict[str, Any]) -> None:
        ours = self._about(delivery_id)
        if not ours or level not in _LEVELS:
            return
        # A plug-in's fields must not stand in for what the log itself adds.
        theirs = {f"{name}_" if name in _TAKEN else name: value for name, value in fields.items()}
        getattr(self.surroundings.log, level)(event, **{**theirs, **ours})

    def _about(self, delivery_id: str) -> dict[str, str]:
        """Return what a line about a delivery names; nothing if that does not run here any more."""
        for flight in self.flights.values():
            about = flight.work.delivery
            if about.id == delivery_id:
                return {"event_id": about.event.id, "delivery_id": about.id, "destination": about.destination}
        return {}


def start_worker(
    surroundings: Surroundings, *, on_frame: Callable[[Worker, Head], None], on_end: Callable[[Worker], None]
) -> Worker:
    """Start a worker; it waits for its plan. Raises `OSError`. Call it in the main thread, with which it ends."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-I", "-u", "-m", "hookline.daemon.workers.main", str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            pass_fds=(theirs.fileno(),),
            env=scrubbed(surroundings.environ),
            # A group of its own: Ctrl-C is for the daemon, which lets its workers finish.
            start_new_session=True,
        )
    except OSError:
        ours.close()
        os.close(reading)
        raise
    finally:
        theirs.close()
        os.close(writing)
    worker = Worker(surroundings=surroundings, loop=loop, on_frame=on_frame, on_end=on_end, process=process)
    worker.attach(ours, reading)
    surroundings.tally.alive += 1
    surroundings.tally.started += 1
    return worker
