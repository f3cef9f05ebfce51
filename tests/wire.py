"""A network between a program and a server on this machine, that a test can cut without a word or close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PIECE = 1 << 16


class Wire:
    """Listens on a port of its own and forwards. While it is cut it takes what comes, and says nothing to anybody."""

    def __init__(self, to_port: int) -> None:
        """Nothing listens yet."""
        self.port = 0
        #: How many were let through or swallowed.
        self.connections = 0
        self._to_port = to_port
        self._whole = asyncio.Event()
        self._whole.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Let nothing through any more; who connects is taken, and hears nothing."""
        self._whole.clear()

    def mend(self) -> None:
        """Let new connections through. What was connected before stays dead, and still hears nothing of it."""
        self._whole = asyncio.Event()
        self._whole.set()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        whole = self._whole
        try:
            with suppress(OSError):
                await whole.wait()
                to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
                self._writers.add(to_writer)
                await asyncio.gather(_forward(reader, to_writer, whole), _forward(to_reader, writer, whole))
        except asyncio.CancelledError:
            # Of the end of the test; a stream's task that ends so is a fault to Python 3.11.
            return
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, whole: asyncio.Event) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE):
            await whole.wait()
            writer.write(piece)
            await writer.drain()
        # Its end, too, is nothing that comes through a cut.
        await whole.wait()
    writer.transport.abort()


@asynccontextmanager
async def wire(to_port: int) -> AsyncIterator[Wire]:
    """Lay one to a port of this machine."""
    made = Wire(to_port)
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made._drop()
        tasks = tuple(made._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()
