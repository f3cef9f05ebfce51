"""Listening sockets that the service manager holds and hands over, by the protocol of sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hookline.daemon.config.settings import Address
from hookline.daemon.http.listening import ListenError

_FIRST: Final = 3
_PID, _COUNT, _NAMES = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"
_ADMIN: Final = "admin"
#: `unknown` stands for one without a name; a socket unit that gives none gives its own.
_PUBLIC: Final = frozenset({"http", "", "unknown"})
_NAME_STEP: Final = "write FileDescriptorName=http or FileDescriptorName=admin into the socket unit"
_KIND_STEP: Final = "hand over what ListenStream= makes, with Accept=no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """The sockets that were handed over; they go on listening when we end."""

    public: tuple[socket.socket, ...] = ()
    admin: tuple[socket.socket, ...] = ()


def take_sockets(environ: MutableMapping[str, str], *, pid: int) -> Inherited:
    """Return what was handed to the process `pid`, and take the word of it out of the environment.

    What was meant for another process is ignored. Raises `ListenError` for a descriptor that cannot be listened on.
    """
    meant_for, count, names = (environ.pop(name, "") for name in (_PID, _COUNT, _NAMES))
    if meant_for != str(pid) or not (count.isascii() and count.isdigit()):
        return Inherited()
    given = names.split(":") if names else []
    public: list[socket.socket] = []
    admin: list[socket.socket] = []
    with ExitStack() as opened:
        for position in range(int(count)):
            name = given[position] if position < len(given) else ""
            called = f"descriptor {_FIRST + position}" + (f" ({name})" if name else "")
            taken = opened.enter_context(_take(_FIRST + position, called))
            _check(taken, called)
            if name == _ADMIN:
                admin.append(taken)
            elif name in _PUBLIC or name.endswith(".socket"):
                public.append(taken)
            else:
                raise ListenError(f"the service manager handed over a socket called {name!r}: {_NAME_STEP}")
        opened.pop_all()
    return Inherited(public=tuple(public), admin=tuple(admin))


def _take(descriptor: int, called: str) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise _no_listener(called)
        os.set_inheritable(descriptor, False)
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(f"{called} was to be a socket of the service manager's: {error.strerror}") from error


def _check(taken: socket.socket, called: str) -> None:
    is_known = taken.family in {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}
    is_stream = is_known and taken.type == socket.SOCK_STREAM
    if not is_stream or not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise _no_listener(called)
    taken.setblocking(False)


def _no_listener(called: str) -> ListenError:
    return ListenError(f"{called}, which the service manager handed over, is no listening stream socket: {_KIND_STEP}")


def address_of(listening: socket.socket) -> Address:
    """Return where a socket listens."""
    name = listening.getsockname()
    if listening.family != socket.AF_UNIX:
        return Address(host=name[0], port=name[1])
    # Bytes: a name in the abstract namespace.
    return Address(unix=Path(name if isinstance(name, str) else name.decode("utf-8", "replace").replace("\0", "@", 1)))
