"""Which node this is: a number in the state folder, which one process has at a time."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sharing import NodeId

#: Beside the admin token.
FILE: Final = "node"
_NAME_VARIABLE: Final = "HOOKLINE_NODE"
_LONGEST_NAME: Final = 100
_WRITTEN: Final = re.compile(rb"[0-9]{1,19}\n")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is, as long as its process keeps the file locked."""

    id: NodeId
    #: For people.
    name: str
    _file: int

    def close(self) -> None:
        """Let another process be this node."""
        os.close(self._file)


def identify(state: Path, environ: Mapping[str, str]) -> Identity:
    """Read which node this is, or become a new one. Its name is `HOOKLINE_NODE`, or the host's.

    A process that starts in the same folder later is the same node. Raises `StoreError`, of kind `unfit` if another
    process is this node now.
    """
    path = state / FILE
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: the daemon keeps there which node it is", kind="unfit") from error
    try:
        number = _number(file, path)
    except BaseException:
        os.close(file)
        raise
    name = environ.get(_NAME_VARIABLE) or socket.gethostname()
    return Identity(number, name[:_LONGEST_NAME], file)


def _number(file: int, path: Path) -> NodeId:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        written = os.pread(file, 64, 0)
        if not written:
            written = b"%d\n" % (secrets.randbits(63) or 1)
            os.pwrite(file, written, 0)
            os.fsync(file)
    except BlockingIOError as error:
        raise StoreError(
            f"{path}: another daemon runs with this folder: each node needs a state folder of its own", kind="unfit"
        ) from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: the daemon keeps there which node it is", kind="unfit") from error
    if not _WRITTEN.fullmatch(written) or int(written) >= 1 << 63:
        raise StoreError(f"{path}: not a node's number: remove the file, and it becomes a new node", kind="unfit")
    return NodeId(int(written))
