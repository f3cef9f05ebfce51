"""Giving way: a process that works only while others leave the processor and the disk alone."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Final

# The C library has no name for it. From the kernel's tables.
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_IOPRIO_WHO_PROCESS: Final = 1
_IDLE: Final = 3 << 13


def give_way(*, has_own_session: bool = False) -> None:
    """Let everybody else go first, as far as the system allows that."""
    if has_own_session:
        # Where processes are grouped by session, the group's niceness is what counts against other groups.
        with suppress(OSError):  # no such grouping here
            Path("/proc/self/autogroup").write_text("19", encoding="ascii")
    with suppress(OSError):  # a system call filter may refuse it
        os.nice(19)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        # What it answers does not matter: most schedulers know no priorities of I/O.
        ctypes.CDLL(None, use_errno=True).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IDLE)
