"""Connections to mail servers between two messages: each is used by one delivery at a time."""

from __future__ import annotations

import asyncio
import contextlib
import typing
from collections.abc import AsyncGenerator, Hashable
from dataclasses import dataclass

import aiosmtplib

IDLE_SECONDS = 30.0
#: Servers count messages, and greet those with a delay who send many by one connection.
MAX_MESSAGES = 100
#: Of one server; a destination's concurrency says how many there can be at all.
MAX_IDLE = 4
_CHECK_SECONDS = 3.0


@dataclass(slots=True, eq=False)
class Connection:
    """A session with a server that is logged in."""

    smtp: aiosmtplib.SMTP
    messages: int = 0
    #: Whether the text of the last message has been sent, so that it may have arrived whatever was answered.
    is_handed_over: bool = False
    expiry: asyncio.TimerHandle | None = None

    def end(self) -> None:
        """Take leave and close, without waiting for an answer."""
        protocol = self.smtp.protocol
        if protocol is not None and self.smtp.is_connected:
            with contextlib.suppress(aiosmtplib.SMTPServerDisconnected):
                protocol.write(b"QUIT\r\n")
        self.smtp.close()

    def cut(self) -> None:
        """Close at once: an event loop that ends has no time for a TLS farewell."""
        if self.smtp.transport is not None:
            typing.cast(asyncio.WriteTransport, self.smtp.transport).abort()
        self.smtp.close()


class Connections:
    """What is kept of every server, by all that it takes to be the same: address, encryption and credentials."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._idle: dict[Hashable, list[Connection]] = {}

    async def take(self, server: Hashable) -> Connection | None:
        """Return a connection that answers, ready for a message; None if there is none."""
        while idle := self._idle.get(server):
            connection = idle.pop()
            _stop(connection.expiry)
            is_well = False
            try:
                # Ends what the last message may have left, and shows that somebody is there.
                await connection.smtp.rset(timeout=_CHECK_SECONDS)
                is_well = True
            except (aiosmtplib.SMTPException, OSError):
                # The others are as old; checking each could take longer than the attempt may.
                self._end_all(server)
            finally:
                if not is_well:
                    connection.cut()
            if is_well:
                return connection
        return None

    def give_back(self, server: Hashable, connection: Connection, *, is_reusable: bool) -> None:
        """Keep the connection for the next message, or close it."""
        connection.messages += 1
        idle = self._idle.setdefault(server, [])
        is_kept = is_reusable and connection.messages < MAX_MESSAGES and len(idle) < MAX_IDLE
        if not is_kept or not connection.smtp.is_connected:
            connection.end() if is_reusable else connection.cut()
        else:
            loop = asyncio.get_running_loop()
            connection.expiry = loop.call_later(IDLE_SECONDS, self._expire, server, connection)
            idle.append(connection)
        if not idle:
            del self._idle[server]

    def close(self) -> None:
        """Close all of them."""
        for idle in self._idle.values():
            for connection in idle:
                _stop(connection.expiry)
                connection.cut()
        self._idle.clear()

    def _expire(self, server: Hashable, connection: Connection) -> None:
        self._idle[server].remove(connection)
        if not self._idle[server]:
            del self._idle[server]
        connection.end()

    def _end_all(self, server: Hashable) -> None:
        for connection in self._idle.pop(server, ()):
            _stop(connection.expiry)
            connection.cut()


# By event loop, because a connection lives in one.
_OF_LOOP: dict[asyncio.AbstractEventLoop, tuple[Connections, AsyncGenerator[Connections, None]]] = {}


async def connections() -> Connections:
    """Return those of the running event loop; they are closed when it ends."""
    loop = asyncio.get_running_loop()
    if loop not in _OF_LOOP:
        lifetime = _until_the_end(loop)
        _OF_LOOP[loop] = (await anext(lifetime), lifetime)
    return _OF_LOOP[loop][0]


async def _until_the_end(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Connections, None]:
    # Nobody tells an action that the process ends, but an event loop that does closes its asynchronous generators.
    made = Connections()
    try:
        yield made
    finally:
        del _OF_LOOP[loop]
        made.close()


def _stop(expiry: asyncio.TimerHandle | None) -> None:
    if expiry is not None:
        expiry.cancel()
