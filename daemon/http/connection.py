"""One connection: Hypercorn's HTTP/1.1 protocol between a socket and an ASGI application, with every wait bounded.

Stands where Hypercorn's `TCPServer` does, which has no bound on writing, remakes a timer task for each request, and
waits for ever for an application that does not read its whole body.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import h11
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import ConnectionState

from hookline.daemon.http.protocol import OnRefused, Protocol, ServerConfig, Tasks
from hookline.daemon.http.refusal import refusal

_READ_BYTES: Final = 64 << 10
#: How much of a refused request is read, so that its sender sees the answer and not a reset.
_LINGER_BYTES: Final = 4 << 20
#: How long each write to a connection that is closed takes.
_TO_NOBODY_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a peer may take."""

    #: From a request's first byte, or the connection's begin, to the end of its headers.
    head: timedelta = timedelta(seconds=5)
    #: Between two requests.
    idle: timedelta = timedelta(seconds=5)
    #: To take what we write.
    write: timedelta = timedelta(seconds=30)
    #: To stop sending a request that was refused.
    linger: timedelta = timedelta(seconds=1)


class Connection:
    """Reads, writes and closes one accepted socket. `run` returns when all is over."""

    def __init__(  # noqa: PLR0913 - what a server's connections share, each once
        self,
        app: Any,
        config: ServerConfig,
        context: WorkerContext,
        *,
        deadlines: Deadlines,
        state: dict[str, Any],
        on_refused: OnRefused | None = None,
    ) -> None:
        """`context` and `config` are shared by a server's connections; `state` is what the lifespan left."""
        self._app = app
        self._config = config
        self._context = context
        self._state = state
        self._on_refused = on_refused
        self._head = deadlines.head.total_seconds()
        self._idle = deadlines.idle.total_seconds()
        self._write = deadlines.write.total_seconds()
        self._linger = deadlines.linger.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._deadline: float | None = None
        self._is_waiting = True
        self._is_closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._protocol: Protocol | None = None

    async def run(self, sock: socket.socket, client: Any, server: Any) -> None:
        """Serve the socket until either side ends it."""
        self._task = asyncio.current_task()
        reader = asyncio.StreamReader(loop=self._loop)
        stream = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        transport, _ = await self._loop.connect_accepted_socket(lambda: stream, sock)
        self._writer = asyncio.StreamWriter(transport, stream, reader, self._loop)
        try:
            async with Tasks(self._loop, self._continue) as tasks:
                protocol = self._protocol = Protocol(
                    self._app,
                    self._config,
                    self._context,
                    tasks,
                    ConnectionState(self._state),
                    False,
                    client,
                    server,
                    self._send,
                )
                protocol.on_refused = self._on_refused
                self._deadline = self._loop.time() + self._head
                self._timer = self._loop.call_at(self._deadline, self._tick)
                await self._read(reader, protocol)
                self._give_up_soon()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._end is not None:
                self._end.cancel()
            await self._close(self._writer)

    def finish(self) -> None:
        """End the connection if it waits for a request; otherwise it ends after the answer (the context says so)."""
        protocol = self._protocol
        if protocol is not None and protocol.is_idle and not protocol.has_partial_head:
            self._begin_close()

    def abort(self) -> None:
        """Cut the connection off."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _has_ended(self) -> bool:
        return self._is_closing

    async def _read(self, reader: asyncio.StreamReader, protocol: Protocol) -> None:
        discarded = 0
        is_told = False
        try:
            while not reader.at_eof():
                data = await reader.read(_READ_BYTES)
                if self._has_ended():
                    discarded += len(data)
                    if discarded > _LINGER_BYTES:
                        break
                    continue
                if self._is_waiting and data:
                    self._is_waiting = False
                    self._deadline = self._loop.time() + self._head
                await protocol.handle(RawData(data))
                if self._has_ended() and not is_told:
                    is_told = True
                    await protocol.handle(Closed())
        except OSError:
            # The peer is gone, in one of the many ways in which peers go.
            pass
        await protocol.handle(Closed())

    async def _send(self, event: Event) -> None:
        """Do what the protocol asks; Hypercorn's `send`."""
        if isinstance(event, RawData):
            await self._write_out(event.data)
        elif isinstance(event, Closed):
            self._begin_close()
        elif isinstance(event, Updated):
            # The timer looks at the deadline when it goes off, so that a request costs no timer.
            self._is_waiting = event.idle
            self._deadline = self._loop.time() + self._idle if event.idle else None

    async def _write_out(self, data: bytes) -> None:
        writer = self._writer
        if writer is None or self._is_closing or writer.transport.is_closing():
            # An application that goes on writing to nobody must neither keep the loop to itself nor go on for ever.
            self._give_up_soon()
            await asyncio.sleep(_TO_NOBODY_SECONDS)
            return
        writer.write(data)
        if writer.transport.get_write_buffer_size():
            try:
                async with asyncio.timeout(self._write):
                    await writer.drain()
            except TimeoutError:
                writer.transport.abort()
            except OSError:
                # The reader sees the end of the connection, and tells the application.
                return

    def _give_up_soon(self) -> None:
        """Cancel the application a while after its sender has gone: it was told, and may still be recording."""
        if self._end is None and self._task is not None:
            self._end = self._loop.call_later(self._write, self._task.cancel)

    def _continue(self) -> None:
        """Ask for the body if the peer waits to be asked; only now, when the application wants it."""
        protocol, writer = self._protocol, self._writer
        if protocol is None or writer is None or self._is_closing or writer.transport.is_closing():
            return
        if protocol.connection.client_is_waiting_for_100_continue:
            writer.write(protocol.connection.send(h11.InformationalResponse(status_code=100, headers=[])))

    def _tick(self) -> None:
        now = self._loop.time()
        if self._deadline is None or now < self._deadline:
            self._timer = self._loop.call_at(self._deadline or now + min(self._idle, self._head), self._tick)
            return
        if self._protocol is not None and self._protocol.has_partial_head and self._writer is not None:
            self._writer.write(refusal(408, "limit", "the request's headers took too long"))
        self._begin_close()

    def _begin_close(self) -> None:
        """Say that nothing more will be written, and close; at once, or when the peer has stopped sending.

        To close a socket that holds unread bytes resets it, and the peer may never see what was answered.
        """
        writer, protocol = self._writer, self._protocol
        if self._is_closing or writer is None:
            return
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        is_partial = protocol is not None and (protocol.expects_more or protocol.has_partial_head)
        if writer.transport.is_closing() or not is_partial:
            writer.close()
            wait = self._write
        else:
            wait = self._linger
            try:
                writer.write_eof()
            except OSError:
                writer.transport.abort()
        self._timer = self._loop.call_later(wait, writer.transport.abort)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        watch = self._loop.call_later(self._write, writer.transport.abort)
        try:
            await writer.wait_closed()
        except OSError:
            pass
        finally:
            watch.cancel()
