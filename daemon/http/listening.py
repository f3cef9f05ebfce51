"""Listening sockets: TCP, IPv6 and Unix ones, from addresses as the configuration has them."""

from __future__ import annotations

import ctypes
import socket
import stat
import struct
import sys
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path
from typing import Final

from hookline.daemon.config.settings import Address

BACKLOG: Final = 4096
#: Who may connect to a Unix socket: its owner and group, which the proxy in front is in.
UNIX_MODE: Final = 0o660

#: From asm-generic/socket.h; Python has no name for it.
_SO_ATTACH_FILTER: Final = 26
_NEXT_STEPS: Final = {
    EACCES: "choose a port above 1023, or give the service CAP_NET_BIND_SERVICE",
    EADDRINUSE: "another program listens there: stop it, or choose another port",
    EADDRNOTAVAIL: "no interface of this machine has that address",
}


class ListenError(Exception):
    """An address that cannot be listened on. Caught by `run`, which says so and exits."""


def bind(address: Address, *, backlog: int = BACKLOG) -> socket.socket:
    """Return a socket that listens at the address. Raises `ListenError`.

    A Unix socket that nobody listens on any more is replaced; an IPv6 address takes IPv6 only.
    """
    try:
        sock = _bind_unix(address.unix) if address.unix is not None else _bind_tcp(address)
        sock.listen(backlog)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        step = _NEXT_STEPS.get(error.errno or 0)
        raise ListenError(f"cannot listen on {address}: {reason}" + (f"; {step}" if step else "")) from error
    sock.setblocking(False)
    return sock


def _bind_tcp(address: Address) -> socket.socket:
    found = socket.getaddrinfo(
        address.host or None, address.port or 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, number, _, where = found[0]
    sock = socket.socket(family, kind, number)
    try:
        # A restarted daemon must not wait for the old one's connections to be forgotten.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(path: Path) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        # Before it listens nobody can connect, so there is no moment with a wider mode.
        path.chmod(UNIX_MODE)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"cannot listen on unix:{path}: a file that is no socket is there; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ListenError(f"cannot listen on unix:{path}: another program listens there; stop it, or choose another path")


def drop_new_connections(sock: socket.socket) -> bool:
    """Let the kernel drop what would begin a connection to this listening socket; False if it cannot.

    To close a listening socket resets the connections that the kernel made since the last `accept`, and there is always
    such a moment. With this filter the handshakes that have begun still end and are accepted, and who comes later
    tries again after a second, when the socket is closed, or the next process listens. Never for an inherited socket:
    the filter is the socket's, not the process's.
    """
    if sock.family == socket.AF_UNIX or not sys.platform.startswith("linux"):
        return False
    # Classic BPF on the TCP header: load the flags; if SYN is among them, pass nothing of it, else all.
    program = [(0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
    except OSError:
        return False  # Some sandboxes do not allow it; then the moment is short, but there.
    return True


def release(sock: socket.socket) -> None:
    """Close a socket made by `bind`, and remove its path."""
    path = sock.getsockname() if sock.family == socket.AF_UNIX else None
    sock.close()
    if isinstance(path, str) and path.startswith("/"):
        Path(path).unlink(missing_ok=True)
