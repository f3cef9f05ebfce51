"""A worker at work: deliveries come over the socket, run side by side in one event loop, and their results go back."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, Final

from hookline.daemon.actions.executor import Executor
from hookline.daemon.actions.kits import Kit
from hookline.daemon.actions.registry import Actions
from hookline.daemon.delivery.runner import Result
from hookline.daemon.outbound.connections import Outbound
from hookline.daemon.workers.messages import plain, read_work, result_values
from hookline.daemon.workers.output import LineBudget
from hookline.daemon.workers.printed import printing, stand_in_front
from hookline.daemon.workers.watchdog import Watchdog
from hookline.daemon.workers.wire import Head, Wire
from hookline.plugins import Delivery

#: How long an attempt may take to end once it was cancelled.
CANCEL_SECONDS: Final = 1.0
#: How long connections may take to close.
_CLOSE_SECONDS: Final = 1.0


@dataclass(slots=True, eq=False)
class Running:
    """An attempt under way."""

    number: int
    delivery_id: str
    limit: timedelta
    #: By the loop's clock: when it must have ended.
    deadline: float
    task: asyncio.Task[None] | None = None
    is_answered: bool = False


class Serving:
    """Runs what comes over the wire."""

    def __init__(self, connection: socket.socket, actions: Actions, loop: asyncio.AbstractEventLoop) -> None:
        """Own `connection`; begin when the loop runs."""
        self._loop = loop
        self._wire = Wire(connection, loop, on_frame=self._on_frame, on_end=lambda: os._exit(0))
        self._listeners: tuple[tuple[str, int], ...] = ()
        self._outbound = Outbound(listeners=lambda: self._listeners)
        self._log = WireLog(self._wire, loop, thread=threading.get_ident())
        self._executor = Executor(actions.by_name.get, outbound=self._outbound, log=self._log)
        self._kits: dict[str, Kit] = {}
        self._running: dict[int, Running] = {}
        self.ended = asyncio.Event()
        self._watchdog = Watchdog(loop, on_turn=self._on_turn, on_blocked=self._on_blocked)
        os.register_at_fork(after_in_child=self._end_copy)

    async def close(self) -> None:
        """Cancel what runs and close connections, as far as they let us."""
        for running in self._running.values():
            if running.task is not None:
                running.task.cancel()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._outbound.close()
        except TimeoutError:
            return  # The process ends, and they with it.

    def _on_frame(self, head: Head, tail: bytes) -> None:
        match head[0]:
            case "run":
                self._begin(head, tail)
            case "kit":
                kit = Kit.from_json(head[1])
                self._kits[kit.digest] = kit
            case "forget":
                self._kits.pop(head[1], None)
            case "cancel":
                running = self._running.get(head[1])
                if running is not None and running.task is not None:
                    running.is_answered = True
                    running.deadline = self._loop.time()
                    running.task.cancel()
            case "listeners":
                self._listeners = tuple((host, port) for host, port in head[1])
            case _:
                self.ended.set()

    def _begin(self, head: Head, tail: bytes) -> None:
        number, kit = head[1], self._kits[head[2]]
        delivery, limit = read_work(head, tail)
        deadline = self._loop.time() + limit.total_seconds()
        running = Running(number, delivery.id, limit, deadline)
        self._running[number] = running
        running.task = self._loop.create_task(self._run(running, kit, delivery))
        self._watchdog.note_begun(running.task, running)

    async def _run(self, running: Running, kit: Kit, delivery: Delivery) -> None:
        try:
            with printing(self._log.bind(delivery_id=delivery.id).printed):
                result = await self._executor.run(kit, delivery, running.limit)
            if not running.is_answered:
                running.is_answered = True
                self._wire.send(["result", running.number, result_values(result)])
            if delivery.id in self._executor.in_threads:
                # Nothing can stop a thread: this process can only be replaced.
                self._wire.send(["zombie", running.number])
        finally:
            del self._running[running.number]
            if running.task is not None:
                self._watchdog.note_ended(running.task)

    def _on_turn(self) -> None:
        """Look for attempts that go on although they were cancelled: answer for them, and have us replaced."""
        now = self._loop.time()
        for running in self._running.values():
            if now > running.deadline + CANCEL_SECONDS and running.deadline != float("inf"):
                running.deadline = float("inf")
                if not running.is_answered:
                    running.is_answered = True
                    note = (
                        f"no answer within {running.limit.total_seconds():g} s, and it did not let itself be cancelled"
                    )
                    self._wire.send(["result", running.number, result_values(self._cut_off(running, note))])
                self._wire.send(["zombie", running.number])

    def _on_blocked(self, running: Running | None, seconds: float) -> None:
        """Tell who holds the loop, in the watchdog's thread, and end: nothing else gets a turn any more."""
        if running is not None:
            note = f"blocked the worker for {seconds:.1f} s: await what waits, or write deliver as a plain function"
            self._wire.send_from_outside(["blocked", running.number, result_values(self._cut_off(running, note))])
        os._exit(os.EX_SOFTWARE)

    def _cut_off(self, running: Running, note: str) -> Result:
        outcome = self._executor.how_cut_off(running.delivery_id)
        return Result(outcome=outcome, duration=running.limit, note=note)

    def _end_copy(self) -> None:
        """In a process that a plug-in has forked: say nothing to the daemon, and end at the next turn of the loop."""
        self._wire.abandon()
        self._loop.call_soon(os._exit, 0)


class WireLog:
    """The log of the daemon, from afar. Any thread may write to it."""

    def __init__(
        self,
        wire: Wire,
        loop: asyncio.AbstractEventLoop,
        *,
        thread: int,
        delivery_id: str = "",
        budgets: Mapping[str, LineBudget] | None = None,
    ) -> None:
        """Write of one delivery, if it is named; `thread` is the loop's own, `budgets` are those of the process."""
        self._wire = wire
        self._loop = loop
        self._thread = thread
        self._delivery_id = delivery_id
        # Here and not in the daemon: a plug-in in a loop must not keep it busy with what it would throw away.
        self._budgets = budgets or {kind: LineBudget(loop) for kind in ("debug", "info", "warning", "printed")}

    def bind(self, *, delivery_id: str, **_: Any) -> WireLog:
        """Return a log about a delivery; the daemon knows the rest."""
        return WireLog(self._wire, self._loop, thread=self._thread, delivery_id=delivery_id, budgets=self._budgets)

    def debug(self, event: str, **fields: Any) -> None:
        """Write for whoever hunts a fault."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Write for whoever reads the log."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Write for whoever must act."""
        self._write("warning", event, fields)

    def printed(self, line: str) -> None:
        """Write what was printed."""
        budget = self._budgets["printed"]
        if budget.take():
            self._send(["printed", self._delivery_id, line, budget.told()])

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        budget = self._budgets[level]
        if budget.take():
            self._send(["log", self._delivery_id, level, str(event), plain(fields), budget.told()])

    def _send(self, head: Head) -> None:
        if threading.get_ident() == self._thread:
            # At once, so that a line comes before the result.
            self._wire.send(head)
        else:
            self._loop.call_soon_threadsafe(self._wire.send, head)


def serve(connection: socket.socket, actions: Actions) -> None:
    """Serve until the daemon says so or is gone. Does not return: threads of plug-ins would keep the process."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415 - it is optional

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(connection, actions))
    os._exit(0)


async def _serve(connection: socket.socket, actions: Actions) -> None:
    serving = Serving(connection, actions, asyncio.get_running_loop())
    stand_in_front()
    await serving.ended.wait()
    await serving.close()
    os._exit(0)
