"""The server: accepts connections, bounds them, and stops without losing a request or hanging."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.utils import LifespanTimeoutError, wrap_app
from structlog.typing import FilteringBoundLogger

from hookline.daemon.http.connection import Connection, Deadlines
from hookline.daemon.http.listening import drop_new_connections, release
from hookline.daemon.http.protocol import OnRefused, ServerConfig
from hookline.daemon.http.refusal import refusal

#: Connections accepted in one turn of the loop: those that wait must not keep those that are open from being served.
_ACCEPT_AT_ONCE: Final = 100
#: How often that many are taken when the server stops; more than a backlog holds.
_LAST_ROUNDS: Final = 50
#: How long accepting rests when the system has no room for another connection.
_ACCEPT_REST_SECONDS: Final = 0.2
#: How long cancelled connections may take to end before they are left behind.
_CANCEL_SECONDS: Final = 1.0
#: Who cannot open a file any more can neither store nor deliver.
_OTHER_DESCRIPTORS: Final = 128
#: The peer gave up while it waited; the next one may not have.
_GONE: Final = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})
_FULL: Final = refusal(503, "limit", "too many connections", {"retry-after": "1"})


@dataclass(slots=True, kw_only=True)
class Traffic:
    """What a server has seen; read it for metrics."""

    #: Connections that are open.
    open: int = 0
    accepted: int = 0
    #: Closed at once, because too many were open.
    refused: int = 0
    #: How often the system had no room for another connection.
    accept_errors: int = 0
    #: Connections that ended by a fault of ours.
    faults: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listening socket and the ASGI application behind it."""

    socket: socket.socket
    app: Any
    #: How many connections may be open at one time; what is called is asked for each.
    connections: int | Callable[[], int] = 1000
    #: True: the service manager holds the socket as well, and its queue is the next process's.
    is_inherited: bool = False
    deadlines: Deadlines = field(default_factory=Deadlines)
    traffic: Traffic = field(default_factory=Traffic)
    #: Told of each request that is refused before the application sees it.
    on_refused: OnRefused | None = None


async def serve(  # noqa: PLR0913 - all but two have their defaults
    listeners: Sequence[Listener],
    *,
    stop: anyio.Event,
    log: FilteringBoundLogger,
    drain: timedelta = timedelta(seconds=0.5),
    grace: timedelta = timedelta(seconds=10),
    on_drain: Callable[[], None] = lambda: None,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set, then end within `drain` + `grace` + a second and the applications' own shutdown.

    Nobody new is let in first. While it drains, who was on the way is accepted, and requests on open connections are
    answered with `Connection: close`; then idle connections are closed, busy ones get `grace` to end, and what is
    left is cut off. `on_drain` is called when the drain begins; `task_status` tells `start` that connections are
    accepted.
    Closes the sockets. Raises what an application's start-up raises.
    """
    lifespans: dict[int, _Life] = {}
    acceptors: list[_Acceptor] = []
    try:
        for listener in listeners:
            if id(listener.app) not in lifespans:
                lifespans[id(listener.app)] = life = _Life(listener.app)
                await life.start()
        acceptors = [_Acceptor(listener, lifespans[id(listener.app)], log) for listener in listeners]
        for acceptor in acceptors:
            acceptor.resume()
        task_status.started()
        await stop.wait()
        on_drain()
        for life in lifespans.values():
            life.drain()
        for acceptor in acceptors:
            acceptor.drain()
        await anyio.sleep(drain.total_seconds())
        for acceptor in acceptors:
            acceptor.stop()
        await _finish(acceptors, grace.total_seconds(), log)
        for life in lifespans.values():
            await life.stop(log)
    finally:
        # Only what needs no waiting: whoever cancels us is waited for already.
        for acceptor in acceptors:
            acceptor.cut_off()
        for listener in listeners:
            _let_go(listener)
        for life in lifespans.values():
            life.cancel()


async def _finish(acceptors: Sequence[_Acceptor], grace: float, log: FilteringBoundLogger) -> None:
    """Close idle connections, wait for busy ones, cut off the rest."""
    for acceptor in acceptors:
        await acceptor.terminate()
    tasks = {task for acceptor in acceptors for task in acceptor.connections}
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=grace)
        if late:
            log.warning("connections.cut_off", count=len(late), seconds=grace)
            for acceptor in acceptors:
                acceptor.cut_off()
            await asyncio.wait(late, timeout=_CANCEL_SECONDS)


class _Life:
    """An application's lifespan, and what its connections share."""

    def __init__(self, app: Any) -> None:
        self.config = ServerConfig()
        self.context = WorkerContext(None)
        self.app = wrap_app(app, self.config.wsgi_max_body_size, "asgi")
        self.state: dict[str, Any] = {}
        loop = asyncio.get_running_loop()
        self._lifespan = Lifespan(self.app, self.config, loop, self.state)
        self._task = loop.create_task(self._lifespan.handle_lifespan())

    async def start(self) -> None:
        """Wait until the application is ready. Raises its failure."""
        await self._lifespan.wait_for_startup()
        if self._task.done():
            self._task.result()

    def drain(self) -> None:
        """Let every answer from now on be its connection's last; Hypercorn adds `Connection: close`."""
        self.config.keep_alive_max_requests = 0

    async def stop(self, log: FilteringBoundLogger) -> None:
        """Let the application shut down, bounded."""
        try:
            await self._lifespan.wait_for_shutdown()
        except LifespanTimeoutError:
            log.warning("application.late", seconds=self.config.shutdown_timeout)

    def cancel(self) -> None:
        """End the lifespan's task, if it has not ended."""
        self._task.cancel()


class _Acceptor:
    """Accepts the connections of one listener and keeps their tasks."""

    def __init__(self, listener: Listener, life: _Life, log: FilteringBoundLogger) -> None:
        self.connections: dict[asyncio.Task[None], Connection] = {}
        self._listener = listener
        self._life = life
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._most = _descriptors_to_spare()
        self._fd = listener.socket.fileno()
        name = listener.socket.getsockname()
        self._server = (name[0], name[1]) if isinstance(name, tuple) else (str(name), None)
        listener.socket.setblocking(False)

    def resume(self) -> None:
        """Accept, from now on."""
        self._rest = None
        self._loop.add_reader(self._fd, self._accept)

    def drain(self) -> None:
        """Let nobody new come; who is on the way is still accepted, until `stop`."""
        if self._listener.is_inherited or not drop_new_connections(self._listener.socket):
            self.stop()

    def stop(self) -> None:
        """Accept nothing more: what the kernel has queued for us is taken, for nobody else will answer it."""
        if self._fd == -1:
            return
        if not self._listener.is_inherited:
            for _ in range(_LAST_ROUNDS):
                if not self._accept():
                    break
        self._close()

    def _close(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._loop.remove_reader(self._fd)
        self._fd = -1
        _let_go(self._listener)

    async def terminate(self) -> None:
        """End idle connections now, and busy ones after their answer."""
        await self._life.context.terminated.set()
        for connection in list(self.connections.values()):
            connection.finish()

    def cut_off(self) -> None:
        """End every connection now."""
        if self._fd != -1:
            self._close()
        for task, connection in self.connections.items():
            connection.abort()
            task.cancel()

    def _accept(self) -> bool:
        """Take what waits; True if more may wait."""
        traffic = self._listener.traffic
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                sock, address = self._listener.socket.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno in _GONE:
                    continue
                # Mostly EMFILE: file descriptors have run out.
                traffic.accept_errors += 1
                self._log.warning(
                    "connection.not_accepted", why=error.strerror, next_step="raise LimitNOFILE, or limits.connections"
                )
                self._pause()
                return False
            most = self._listener.connections
            limit = min(self._most, most if isinstance(most, int) else most())
            if len(self.connections) >= limit:
                traffic.refused += 1
                self._log.warning(
                    "connection.refused",
                    limit=limit,
                    next_step="raise limits.connections, or LimitNOFILE, if senders need as many",
                )
                _turn_away(sock)
                continue
            self._start(sock, address)
        return True

    def _start(self, sock: socket.socket, address: Any) -> None:
        life = self._life
        sock.setblocking(False)
        client = (address[0], address[1]) if isinstance(address, tuple) else None
        connection = Connection(
            life.app,
            life.config,
            life.context,
            deadlines=self._listener.deadlines,
            state=life.state,
            on_refused=self._listener.on_refused,
        )
        # Not in a task group: leaving one waits for its tasks without a bound, and one that swallows its
        # cancellation would keep the daemon from ending. They are kept and awaited here instead.
        task = self._loop.create_task(connection.run(sock, client, self._server))
        self.connections[task] = connection
        self._listener.traffic.accepted += 1
        self._listener.traffic.open += 1
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self.connections[task]
        self._listener.traffic.open -= 1
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._listener.traffic.faults += 1
            self._log.warning("connection.fault", exc_info=fault)

    def _pause(self) -> None:
        # The socket stays readable: without a rest the loop would spin, and asyncio's own server logs each turn.
        self._loop.remove_reader(self._fd)
        if self._rest is None:
            self._rest = self._loop.call_later(_ACCEPT_REST_SECONDS, self.resume)


def _descriptors_to_spare() -> int:
    """Return how many connections leave the store, the workers and the other listener theirs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft // 4, soft - _OTHER_DESCRIPTORS)


def _let_go(listener: Listener) -> None:
    if listener.is_inherited:
        listener.socket.close()  # Our copy; the service manager goes on listening.
    elif listener.socket.fileno() != -1:
        release(listener.socket)


def _turn_away(sock: socket.socket) -> None:
    sock.setblocking(False)
    with contextlib.suppress(OSError):  # It gets no answer then: nobody may wait for it.
        sock.send(_FULL)
    sock.close()
