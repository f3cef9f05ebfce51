"""What a worker process may take, and that it never outlives the daemon."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
#: Between the daemon's 0 and the 1000 that is killed first: of the two, the kernel takes the worker.
_OOM_SCORE: Final = "500"
#: Where the socket to the daemon lies: a plug-in that closes what it takes for its own begins with low numbers.
_LEAST_DESCRIPTOR: Final = 64
#: Address space that is mapped but hardly used, such as the stacks of threads.
_SLACK_BYTES: Final = 256 << 20

_KEPT: Final = frozenset(("PATH", "LANG", "TZ", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"))


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment a worker is given: no secret is among it."""
    return {name: value for name, value in environ.items() if name in _KEPT or name.startswith("LC_")}


def end_with(daemon: int) -> None:
    """Have the kernel end this process when the daemon's main thread ends; end at once if it has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != daemon:
        os._exit(0)


def confine() -> None:
    """Leave no memory behind in files, be taken before the daemon where memory is short, and leave Ctrl-C to it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    except OSError:
        return  # No /proc, or a kernel that lets nobody: then all are taken alike.


def limit_memory(worker_memory: int) -> None:
    """Let an allocation that goes far beyond what a worker may take fail in whoever asks for it."""
    # Of data and not of address space: each thread reserves 64 MiB of that and hardly uses any.
    most = 2 * worker_memory + _SLACK_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def move_away(descriptor: int) -> socket.socket:
    """Return the socket of a descriptor under a high number, which is closed in programs that are run from here."""
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LEAST_DESCRIPTOR)
    os.close(descriptor)
    return socket.socket(fileno=high)
