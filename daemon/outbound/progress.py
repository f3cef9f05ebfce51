"""How far a request got: whether it was sent, and whether the other side can have had the whole of it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
import termios
from dataclasses import dataclass, field

import aiohttp

_ESTABLISHED = 1  # linux/tcp.h


@dataclass(slots=True)
class Progress:
    """How far one request got; the runner asks it when time is up."""

    was_sent: bool = False
    #: Addresses that this request tried, each with the reason it was refused for, or None. None tried: it went into
    #: a connection that was open.
    dialed: list[str | None] = field(default_factory=list)
    # A descriptor of the socket it was sent into, of our own: it can be asked when aiohttp has closed its one.
    _descriptor: int = -1

    def note_sending(self, transport: asyncio.BaseTransport) -> None:
        """Remember what it is sent into, until `close`. Raises `ServerDisconnectedError` if that is closed already."""
        self.close()
        connection = transport.get_extra_info("socket")
        # The kernel knows before the loop does. `tcpi_state` comes first of all that it tells.
        if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED:
            raise aiohttp.ServerDisconnectedError
        self._descriptor = os.dup(connection.fileno())

    def was_refused_whole(self, error: Exception) -> bool:
        """Whether the other side had closed its end before it had the whole request, so that nothing came of it.

        A close says which bytes came before it (TCP acknowledges them in it); a reset does not, and leaves it unknown.
        """
        is_close = isinstance(error, aiohttp.ServerDisconnectedError) or (
            isinstance(error, OSError) and error.errno == errno.EPIPE
        )
        return is_close and (self._descriptor < 0 or _unacknowledged(self._descriptor) > 0)

    def close(self) -> None:
        """Let go of the socket."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _unacknowledged(descriptor: int) -> int:
    """Return how many bytes were sent and not acknowledged (tcp(7), SIOCOUTQ)."""
    count: int
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, struct.pack("i", 0)))
    return count
