"""Messages between the daemon and a worker: a socket, and frames of a JSON head with a tail of raw bytes.

Never pickle: what a plug-in makes a worker write must not run in the daemon.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

#: `[kind, …]`.
Head: TypeAlias = "list[Any]"

#: Of what a worker sends: descriptions of a thousand actions fit.
MAX_FRAME_BYTES: Final = 64 << 20
_LENGTHS: Final = struct.Struct("!II")
_CHUNK: Final = 256 * 1024
_SOCKET_BUFFER: Final = 1 << 20


class WireError(Exception):
    """What came is no frame. Caught by whoever reads: the other side is given up on."""


def pack(head: Head, tail: bytes = b"") -> bytes:
    """Return a frame."""
    written = json.dumps(head).encode()
    return b"".join((_LENGTHS.pack(len(written), len(tail)), written, tail))


class FrameReader:
    """Puts frames together from what a socket brings."""

    def __init__(self) -> None:
        """Begin between two frames."""
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[Head, bytes]]:
        """Return the frames that are whole now. Raises `WireError`."""
        data = self._rest + data if self._rest else data
        frames = []
        start = 0
        while len(data) - start >= _LENGTHS.size:
            head_length, tail_length = _LENGTHS.unpack_from(data, start)
            if head_length + tail_length > MAX_FRAME_BYTES:
                raise WireError("a frame that is too long")
            middle = start + _LENGTHS.size + head_length
            end = middle + tail_length
            if len(data) < end:
                break
            frames.append((_head(data[start + _LENGTHS.size : middle]), data[middle:end]))
            start = end
        self._rest = data[start:]
        return frames


def _head(written: bytes) -> Head:
    try:
        head = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise WireError("a frame whose head is not JSON") from error
    if not isinstance(head, list) or not head or not isinstance(head[0], str):
        raise WireError("a frame without a kind")
    return head


class Wire:
    """One end of the socket, in an event loop. What is sent in one turn of the loop goes in one write."""

    def __init__(
        self,
        connection: socket.socket,
        loop: asyncio.AbstractEventLoop,
        *,
        on_frame: Callable[[Head, bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        """Own `connection`. `on_end` is called once: the other side has closed, or sent what is no frame."""
        self._socket = connection
        self._loop = loop
        self._on_frame = on_frame
        self._on_end = on_end
        self._reader = FrameReader()
        self._parts: list[bytes] = []
        self._is_flushing = False
        #: What the socket did not take yet.
        self._unsent = b""
        self._is_closed = False
        self._received = 0
        connection.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        loop.add_reader(connection, self._read)

    def send(self, head: Head, tail: bytes = b"") -> None:
        """Send a frame soon; nothing is sent once it is closed."""
        if self._is_closed:
            return
        written = json.dumps(head).encode()
        self._parts.append(_LENGTHS.pack(len(written), len(tail)))
        self._parts.append(written)
        if tail:
            self._parts.append(tail)
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Send nothing more and hear nothing more."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()

    def read_rest(self) -> None:
        """Read what the other side sent before it ended."""
        before = -1
        while not self._is_closed and before != self._received:
            before = self._received
            self._read()

    def abandon(self) -> None:
        """Let go of it in a copy of the process: the loop's registration is shared, and stays the original's."""
        self._is_closed = True
        self._socket.close()

    def send_from_outside(self, head: Head) -> None:
        """Send a last frame from another thread, after what waits, while the loop's own is stuck."""
        self._socket.setblocking(True)
        self._socket.settimeout(1)
        self._socket.sendall(b"".join((self._unsent, *self._parts, pack(head))))

    def _flush(self) -> None:
        self._is_flushing = False
        if self._is_closed:
            return
        data = b"".join((self._unsent, *self._parts)) if self._unsent else b"".join(self._parts)
        self._parts.clear()
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end()
            return
        was_waiting, self._unsent = bool(self._unsent), data[sent:]
        if self._unsent and not was_waiting:
            self._loop.add_writer(self._socket, self._flush)
        elif was_waiting and not self._unsent:
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._received += len(data)
        try:
            for head, tail in self._reader.feed(data):
                self._on_frame(head, tail)
        except WireError:
            self._end()

    def _end(self) -> None:
        if not self._is_closed:
            self.close()
            self._on_end()


class BlockingWire:
    """One end of the socket before there is an event loop."""

    def __init__(self, connection: socket.socket) -> None:
        """Use `connection`, which stays its owner's."""
        self._socket = connection
        connection.setblocking(True)

    def send(self, head: Head, tail: bytes = b"") -> None:
        """Send a frame. Raises `OSError`."""
        self._socket.sendall(pack(head, tail))

    def receive(self) -> tuple[Head, bytes]:
        """Wait for a frame. Raises `EOFError` if the other side has closed, and `WireError`."""
        lengths = self._exactly(_LENGTHS.size)
        head_length, tail_length = _LENGTHS.unpack(lengths)
        return _head(self._exactly(head_length)), self._exactly(tail_length)

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            chunk = self._socket.recv(length - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)
