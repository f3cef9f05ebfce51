"""Telling the service manager how we stand, by the protocol of sd_notify(3)."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, MutableMapping
from datetime import timedelta
from typing import Final

from hookline.daemon.log import printable

_ADDRESS: Final = "NOTIFY_SOCKET"
_LONGEST_STATUS: Final = 400


class Notify:
    """Says it to whoever set `NOTIFY_SOCKET`; to nobody if nobody did. Never waits and never raises."""

    def __init__(self, address: str | None = None) -> None:
        """`address`: a path, or a name in the abstract namespace behind an `@`."""
        self._address = f"\0{address[1:]}" if address and address[0] == "@" else address
        self._socket: socket.socket | None = None
        self._status = ""
        self._reloads = 0
        self._is_ready = False
        self._is_stopping = False

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Notify:
        """Take the address out of an environment: what we start must not speak for us."""
        return cls(environ.pop(_ADDRESS, None))

    @property
    def is_heard(self) -> bool:
        """Whether there is anybody to tell."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Say that requests are served."""
        self._is_ready = True
        self._send("READY=1", self._changed(status))

    def status(self, text: str) -> None:
        """Say in one line how things stand, if that is news."""
        self._send(self._changed(text))

    def stopping(self, limit: timedelta) -> None:
        """Say that we end, within `limit`."""
        if not self._is_stopping:
            self._is_stopping = True
            self._send("STOPPING=1", _extend(limit), self._changed("stopping"))

    def need(self, limit: timedelta, why: str) -> None:
        """Ask for that much time from now on for the start that is under way, and say what takes it."""
        self._send(_extend(limit), self._changed(why))

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that a reload is under way, and at its end, however it ended, that we are ready as before."""
        self._reloads += 1
        if self._reloads == 1 and self._may_say():
            # Of CLOCK_MONOTONIC, as the manager reads it.
            self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            yield
        finally:
            self._reloads -= 1
            if self._reloads == 0 and self._may_say():
                self._send("READY=1")

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _may_say(self) -> bool:
        return self._is_ready and not self._is_stopping

    def _changed(self, status: str) -> str:
        # A line feed would begin another assignment.
        status = printable(status[:_LONGEST_STATUS])
        if status == self._status:
            return ""
        self._status = status
        return f"STATUS={status}"

    def _send(self, *assignments: str) -> None:
        said = "\n".join(filter(None, assignments))
        if self._address is None or not said:
            return
        # A manager that does not listen, or not now, must not hold up or end what it manages.
        with contextlib.suppress(OSError):
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            self._socket.sendto(said.encode(), self._address)


def _extend(limit: timedelta) -> str:
    return f"EXTEND_TIMEOUT_USEC={limit // timedelta(microseconds=1)}"
